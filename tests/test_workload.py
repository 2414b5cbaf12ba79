"""A plan counts what a sweep makes, and its hours are those of the records, or said to be assumed."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import tiny
from tiny import ASTEROID, STANDARD

from asteroid import __main__ as command
from asteroid import datasets, profiles, training
from asteroid.book import workload
from asteroid.runs import Store, sweeps

METHODS = ("standard", "inaccurate", "asteroid", "score-matching-not-tuned", "score-matching")
SPECS = [
    STANDARD,
    replace(ASTEROID, recipe=replace(ASTEROID.recipe, gammas=(0.5, 2.0))),
    *[replace(ASTEROID, method=f"asteroid-{part}") for part in ("unweighted", "not-tuned")],
    replace(ASTEROID, method="inaccurate"),
]


@pytest.fixture
def paper(monkeypatch):
    """The runs of the paper profile, for which no label is read."""
    monkeypatch.setattr(datasets, "load", lambda *_, **__: pytest.fail("labels were read"))
    profile = profiles.load("paper")
    return [spec for model in profile.recipes for method in METHODS for spec in profile.specs(method, model)]


def made(specs, store):
    with ThreadPoolExecutor(1) as executor:
        return sweeps.sweep(specs, store, executor, progress=False)


def test_it_counts_the_trainings_that_a_sweep_makes(tmp_path, monkeypatch):
    profile, store = profiles.load("smoke"), Store(tmp_path)
    specs = [spec for method in METHODS for spec in profile.specs(method, "egnn")]
    rows = workload.overview([*specs, *specs], {})
    assert rows["runs"].sum() == sum(map(len, sweeps.waves(specs, store)))
    assert set(rows["model"]) == {"EGNN"} and set(rows["molecule"]) == {"methanol"}

    steps, original = [], training.fit
    monkeypatch.setattr(
        training, "fit", lambda *args, **options: (steps.append(args[3].steps), original(*args, **options))[1]
    )
    made(SPECS, store)
    assert workload.overview(SPECS, {})["steps"].sum() == sum(steps)


def test_hours_are_those_of_the_records(tmp_path):
    store = Store(tmp_path)
    (store.folder / "md-methanol-lj.json").write_text('{"key": "of a simulation"}')
    records = made([STANDARD, replace(ASTEROID, method="inaccurate")], store)
    (row, other) = workload.overview(
        [record.spec for record in records], workload.recorded_step_seconds(store.folder)
    ).to_dict("records")
    assert row["source"] == other["source"] == "records"
    assert (row["hours"] + other["hours"]) * 3600 == pytest.approx(sum(record.seconds for record in records), rel=0.1)
    said = workload.report([STANDARD], store.folder)
    assert f"by the step times of the records in {tmp_path}" in said and "GPU" not in said


def test_steps_of_ani_1ccx_are_not_those_of_the_model_of_its_recipe(tmp_path):
    spec = {"molecule": "methanol", "method": "ani-1ccx-tuned", "recipe": {"model": "egnn"}}
    histories = {"ani-1ccx": {"step": [], "seconds": 0.0}, "ani-1ccx-tuned": {"step": [10], "seconds": 5.0}}
    (tmp_path / "record.json").write_text(json.dumps({"spec": spec, "histories": histories}))
    assert workload.recorded_step_seconds(tmp_path) == {}


def test_what_was_never_timed_is_unknown(tmp_path):
    said = workload.report([STANDARD, replace(STANDARD, method="sgdml")], tmp_path)
    assert "Not in these hours: 2 runs" in said and said.count("unknown") == 3 and "GPU" not in said


def test_a_damaged_record_is_named(tmp_path):
    (tmp_path / "half.json").write_text('{"spec": ')
    with pytest.raises(ValueError, match="half.json is damaged.*delete it"):
        workload.report([STANDARD], tmp_path)


def test_the_paper_profile_is_estimated_from_one_core_and_a_stated_assumption(paper, tmp_path):
    rows = workload.overview(paper, {}).set_index(["model", "molecule", "method"])
    hours = rows["hours"].xs("accurate labels only", level="method")
    for model, aspirin in (("EGNN", 0.067), ("GemNet-T", 0.89)):
        assert hours[model, "md17:ethanol"] < hours[model, "md17:benzene"] < hours[model, "md17:aspirin"]
        assert hours[model, "md17:ethanol"] == hours[model, "md17:malonaldehyde"]
        assert hours[model, "md17:aspirin"] == pytest.approx(12 * 40_000 * aspirin / 3600 / workload.SPEED_UP)
    unknown = rows[rows["hours"].isna()]
    assert set(unknown.index.get_level_values("method")) == {"score matching, no labels"}
    assert workload.overview(paper, {}, speed_up=30)["hours"].sum() == pytest.approx(rows["hours"].sum() / 2)
    said = workload.report(paper, tmp_path, 30)
    assert re.search(r"hours on a GPU 30 times as fast as one core, an assumption", said)


def test_hours_of_another_model_size_are_not_made_up(paper):
    small = replace(paper[0], recipe=replace(paper[0].recipe, model_config={"layers": 2}))
    assert np.isnan(workload.overview([small], {})["hours"].item())
    assert not np.isnan(workload.overview(paper[:1], {})["hours"].item())


def test_the_command_line_prints_the_plan_and_makes_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(command, "root", lambda: tmp_path)
    monkeypatch.setattr(sweeps, "sweep", lambda *_: pytest.fail("runs were made"))
    printed = tiny.shell("plan", "--profile", "paper", "--speed-up", "10").stdout
    assert "md17:toluene" in printed and "10 times as fast" in printed and not list(tmp_path.iterdir())


def test_a_speed_of_nothing_is_refused():
    done = tiny.shell("plan", "--speed-up", "0")
    assert done.exit_code == 2 and "--speed-up" in done.stderr
