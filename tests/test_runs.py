"""Runs: their keys and their records."""

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from tiny import ASTEROID, STANDARD, with_recipe

from asteroid import datasets, runs, stages, training
from asteroid.force_field import ForceField
from asteroid.runs import Record, RunSpec, Store
from asteroid.runs.spec import fingerprints

QUICK = replace(tiny.TRAIN, steps=8)


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "results")


# The key


def test_the_key_is_the_same_in_every_process_and_for_every_order_of_settings():
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import tiny, dataclasses; from asteroid.runs import RunSpec\n"
        "config = dict(reversed(list(tiny.MODEL.items())))\n"
        "recipe = dataclasses.replace(tiny.RECIPE, model_config=config)\n"
        "print(RunSpec(molecule='methanol', method='asteroid', budget=6, inaccurate_budget=10, valid=5, test=8, "
        "recipe=recipe).key)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    command = [sys.executable, "-c", program, str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == ASTEROID.key
    assert re.fullmatch("[0-9a-f]{16}", ASTEROID.key)


@pytest.mark.parametrize(
    "other",
    [
        replace(ASTEROID, seed=1),
        replace(ASTEROID, budget=7),
        replace(ASTEROID, inaccurate_budget=11),
        replace(ASTEROID, inaccurate="gfn2"),
        replace(ASTEROID, valid=6),
        replace(ASTEROID, test=9),
        replace(ASTEROID, method="asteroid-unweighted"),
        with_recipe(ASTEROID, identification=QUICK),
        with_recipe(ASTEROID, inaccurate=QUICK),
        with_recipe(ASTEROID, fine_tuning=QUICK),
        with_recipe(ASTEROID, gammas=(2.0,)),
        with_recipe(ASTEROID, model_config={**tiny.MODEL, "hidden": 24}),
    ],
    ids=lambda spec: spec.file_name,
)
def test_the_key_changes_with_what_decides_the_outcome(other):
    assert other.key != ASTEROID.key


INACCURATE = replace(ASTEROID, method="inaccurate", budget=0)
NO_WEIGHTS = replace(ASTEROID, method="asteroid-unweighted")
NO_TUNING = replace(ASTEROID, method="asteroid-not-tuned")


@pytest.mark.parametrize(
    ("spec", "same"),
    [
        (STANDARD, with_recipe(STANDARD, identification=QUICK, inaccurate=QUICK, fine_tuning=QUICK, gammas=(0.5, 9.0))),
        (STANDARD, replace(STANDARD, inaccurate="gfn2")),
        (STANDARD, replace(STANDARD, inaccurate_budget=20)),
        (INACCURATE, with_recipe(INACCURATE, accurate=QUICK, identification=QUICK, fine_tuning=QUICK, gammas=(9.0,))),
        (INACCURATE, replace(INACCURATE, budget=4)),
        (ASTEROID, with_recipe(ASTEROID, accurate=QUICK)),
        (NO_WEIGHTS, with_recipe(NO_WEIGHTS, accurate=QUICK, identification=QUICK, gammas=(9.0,))),
        (NO_TUNING, with_recipe(NO_TUNING, fine_tuning=QUICK)),
    ],
    ids=lambda spec: spec.method,
)
def test_what_a_method_does_not_use_is_no_part_of_its_key(spec, same):
    assert same.key == spec.key and same.file_name == spec.file_name


def test_the_key_changes_with_the_version_of_the_recipe(monkeypatch):
    before = STANDARD.key
    monkeypatch.setattr("asteroid.runs.spec.RECIPE_VERSION", 1000)
    assert STANDARD.key != before


def test_stage_one_is_the_standard_training_of_the_same_labels():
    (theta_a,) = NO_TUNING.builds_on
    assert theta_a.key == STANDARD.key
    assert replace(NO_TUNING, inaccurate_budget=20).builds_on == (theta_a,)
    assert with_recipe(NO_TUNING, identification=QUICK).builds_on == (
        with_recipe(STANDARD, identification=QUICK, accurate=QUICK),
    )
    assert STANDARD.builds_on == INACCURATE.builds_on == ()


def test_stage_three_starts_from_the_runs_that_end_with_stage_two():
    """Of several γ, from one each; they know nothing of the settings of stage 3, so that several may start from one."""
    assert ASTEROID.builds_on == (NO_TUNING,)
    assert with_recipe(ASTEROID, fine_tuning=QUICK).builds_on[0].key == NO_TUNING.key
    several = with_recipe(ASTEROID, gammas=(0.5, 2.0)).builds_on
    assert [one.recipe.gammas for one in several] == [(0.5,), (2.0,)] and len({one.key for one in several}) == 2
    (theta_i,) = NO_WEIGHTS.builds_on
    assert theta_i.key == INACCURATE.key
    split, of_theta_i = runs.split_of(NO_WEIGHTS), runs.split_of(theta_i)
    assert split.inaccurate.fingerprint == of_theta_i.inaccurate.fingerprint


@pytest.mark.parametrize("gammas", [(1.0,), (0.5, 2.0)])
@pytest.mark.parametrize("method", ["asteroid", "asteroid-unweighted"])
def test_a_run_in_parts_is_the_whole_chain(method, gammas, store):
    """The weights, the bias, and the seconds of everything that went into them."""
    spec = with_recipe(replace(ASTEROID, method=method), gammas=gammas)
    record = runs.run(spec, store, progress=False)
    ours = runs.force_field(spec, store)
    whole = stages.asteroid(runs.split_of(spec), spec.recipe, weighted=method == "asteroid", progress=False)
    assert torch.equal(tiny.weights(ours.model), tiny.weights(whole.model))
    assert record.gamma == (whole.provenance["gamma"] if method == "asteroid" else None)
    assert (ours.bias is None and whole.bias is None) or torch.equal(ours.bias, whole.bias)
    assert ours.provenance["valid_force_mae_by_gamma"] == whole.provenance["valid_force_mae_by_gamma"]
    thetas_i = spec.builds_on
    stage_one = {theta_a.key: theta_a for theta_i in thetas_i for theta_a in theta_i.builds_on}.values()
    parts = [runs.force_field(one, store).provenance["seconds"] for one in (*stage_one, *thetas_i)]
    assert sum(parts) < record.seconds == ours.provenance["seconds_of_all_stages"]
    assert list(record.histories) == list(runs.make.record_of(spec, runs.split_of(spec), whole).histories)


def test_unknown_method_lists_the_known():
    with pytest.raises(ValueError, match="'magic'.*standard.*asteroid"):
        RunSpec(molecule="methanol", method="magic", budget=5)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"budget": 0}, "asteroid run: budget is 0, expected a whole number of 1 or more"),
        ({"budget": 5.5}, "budget is 5.5; "),
        ({"budget": "five"}, "budget is 'five'; "),
        ({"inaccurate_budget": -1}, "inaccurate_budget is -1; "),
        ({"test": 1}, "test is 1; "),
        ({"seed": -1}, "seed is -1; "),
        ({"budget": -3, "valid": -1}, "budget is -3; .*; valid is -1; "),
    ],
)
def test_numbers_that_no_run_can_have_are_refused(numbers, message):
    with pytest.raises(ValueError, match=message):
        replace(ASTEROID, **numbers)


def test_numbers_may_be_those_of_numpy():
    spec = replace(ASTEROID, budget=np.int64(6), seed=np.int32(0))
    assert spec == ASTEROID and spec.key == ASTEROID.key


def in_a_file(labelled: datasets.LabelledSet, path: Path) -> RunSpec:
    path.parent.mkdir()
    datasets.save(labelled, path)
    return replace(STANDARD, molecule=path)


def test_the_record_of_a_file_is_shown_wherever_the_file_lies_but_not_for_other_labels(tmp_path, store):
    labelled = datasets.load("methanol", "ccsd(t)")
    spec = in_a_file(labelled, tmp_path / "mine" / "methanol.npz")
    record = runs.run(spec, store, progress=False)
    assert [path.name for path in store.folder.glob("*.json")] == [spec.file_name]
    moved = in_a_file(labelled, tmp_path / "moved" / "methanol.npz")
    assert moved.key == spec.key and store.get(moved).errors == record.errors
    other = in_a_file(replace(labelled, force=labelled.force * 1.01), tmp_path / "other" / "methanol.npz")
    assert other.key == spec.key
    with pytest.warns(UserWarning, match=r"other labels than those on this machine \(ccsd.* of methanol\)"):
        assert store.get(other) is None


def test_the_files_of_two_levels_have_one_name(tmp_path):
    sets = {level: datasets.load("methanol", level) for level in (ASTEROID.accurate, ASTEROID.inaccurate)}
    for level, labelled in sets.items():
        datasets.save(labelled, tmp_path / f"mine_{level}.npz")
    spec = replace(ASTEROID, molecule=tmp_path / "mine_{level}.npz")
    assert spec.file_name.startswith("mine-") and spec.settings["molecule"] == "mine"
    ours, theirs = runs.split_of(spec), runs.split_of(ASTEROID)
    assert ours.train.force.equal(theirs.train.force) and ours.inaccurate.force.equal(theirs.inaccurate.force)


@pytest.mark.parametrize("method", ["asteroid", "delta", "score-matching"])
def test_one_file_is_not_two_levels(method):
    with pytest.raises(ValueError, match=r"mine.npz is one file.*ccsd\(t\) and pbe.*'ethanol_\{level\}.npz'"):
        replace(ASTEROID, method=method, molecule="mine.npz")


def test_equal_runs_have_equal_keys():
    """JSON tells 1 from 1.0, Python does not."""
    whole = with_recipe(ASTEROID, gammas=(1,), temperature=500, accurate=replace(QUICK, clip=10, decay_rate=1))
    other = with_recipe(ASTEROID, gammas=(1.0,), temperature=500.0, accurate=replace(QUICK, clip=10.0, decay_rate=1.0))
    assert whole == other and whole.key == other.key


# Records


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Store, Record]:
    store = Store(tmp_path_factory.mktemp("store"))
    return store, runs.run(ASTEROID, store, progress=False)


def test_a_record_reads_back_as_it_was_written(made, tmp_path):
    _, record = made
    other = Store(tmp_path)
    other.put(record)
    assert other.get(ASTEROID) == record
    assert len(list(tmp_path.iterdir())) == 1


def test_score_matching_has_a_last_stage_of_its_own(store):
    recipe = replace(tiny.RECIPE, score_matching=tiny.TRAIN, score_fine_tuning=QUICK)
    spec = replace(ASTEROID, method="score-matching", inaccurate="gfn2", recipe=recipe)
    *_, history = runs.run(spec, store, progress=False).histories.values()
    assert history["step"][-1] == QUICK.steps


def test_what_a_record_says(made):
    store, record = made
    assert record.spec == ASTEROID and record.key == ASTEROID.key and record.gamma == 1.0
    assert set(record.errors) == {"force_mae", "force_mae_std_error", "force_rmse", "energy_mae"}
    assert len(record.histories) == 2 and record.seconds > 0 and record.threads >= 1
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", record.date)
    assert set(record.label_seconds) == {"accurate", "inaccurate"}
    size = (store.folder / ASTEROID.file_name).stat().st_size
    assert size < 20_000
    _, force = ForceField.load(store.force_field_path(ASTEROID)).energy_and_force(runs.split_of(ASTEROID).test.pos)
    error = (force - runs.split_of(ASTEROID).test.force).abs().mean()
    assert record.errors["force_mae"] == pytest.approx(float(error), rel=1e-9)
    bias = ForceField.load(store.force_field_path(ASTEROID)).bias
    np.testing.assert_allclose(record.bias_quantiles, np.percentile(bias, [0, 5, 25, 50, 75, 95, 100]))


@pytest.mark.parametrize("content", ["", "{", "[]", "3", '{"spec": 1}', "null"])
def test_a_damaged_record_is_refused_by_name(content, store):
    store.folder.mkdir()
    (store.folder / STANDARD.file_name).write_text(content)
    with pytest.raises(ValueError, match=f"{STANDARD.file_name} is damaged.*delete it"):
        store.get(STANDARD)


def test_the_record_of_another_run_is_refused(made, store):
    old = (made[0].folder / ASTEROID.file_name).read_text()
    store.folder.mkdir()
    (store.folder / STANDARD.file_name).write_text(old)
    with pytest.raises(ValueError, match="damaged"):
        store.get(STANDARD)


@pytest.mark.parametrize("step", ["write_text", "replace"])
def test_a_failed_write_leaves_the_older_record(step, made, store, monkeypatch):
    path, record = store.put(made[1]), replace(made[1], seconds=99.0)
    before = path.read_text()

    def full_disk(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((Path, "write_text") if step == "write_text" else (os, "replace")), full_disk)
    with pytest.raises(OSError, match=f"No space left.*{path.name}"):
        store.put(record)
    monkeypatch.undo()
    assert path.read_text() == before and list(store.folder.iterdir()) == [path]


def test_the_force_field_of_a_recorded_run_is_trained_anew_in_a_clone(made, store):
    old = made[0].force_field_path(ASTEROID)
    store.put(made[1])  # a clone has the records only
    again = runs.force_field(ASTEROID, store, progress=False)
    pos = runs.split_of(ASTEROID).test.pos
    assert again.energy_and_force(pos)[1].equal(ForceField.load(old).energy_and_force(pos)[1])


@pytest.mark.parametrize("wanted", ["record", "force field"])
def test_what_another_process_is_making_is_waited_for_and_not_made_twice(wanted, made, store, monkeypatch):
    def train(*args):
        raise AssertionError("trained twice")

    monkeypatch.setattr(runs.make, "_train", train)
    make = {"record": runs.run, "force field": runs.force_field}[wanted]
    with ThreadPoolExecutor(1) as executor:
        with store.alone(ASTEROID):  # as another process would
            asked = executor.submit(make, ASTEROID, store, progress=False)
            with pytest.raises(TimeoutError):
                asked.result(timeout=0.5)
            store.put(made[1])
            store.force_field_path(ASTEROID).parent.mkdir()
            shutil.copy(made[0].force_field_path(ASTEROID), store.force_field_path(ASTEROID))
        assert asked.result(timeout=60) is not None


def test_an_interrupted_run_goes_on_at_the_stage_under_way(store, monkeypatch):
    trained, fit = [], training.fit

    def killed_in_the_last_stage(model, train, *args, **options):
        (labels,) = training.as_list(train)
        trained.append(labels.level)
        if len(trained) == 3:
            raise KeyboardInterrupt
        return fit(model, train, *args, **options)

    monkeypatch.setattr(training, "fit", killed_in_the_last_stage)
    with pytest.raises(KeyboardInterrupt):
        runs.run(ASTEROID, store, progress=False)
    runs.run(ASTEROID, store, progress=False)
    assert trained == ["ccsd(t)", "pbe", "ccsd(t)", "ccsd(t)"]


def test_a_file_in_the_place_of_the_folder_is_an_error_and_no_endless_wait(store):
    store.work(ASTEROID).parent.mkdir(parents=True)
    store.work(ASTEROID).touch()
    with pytest.raises(FileExistsError), store.alone(ASTEROID):
        pass


@pytest.mark.parametrize("link", ["", "work"], ids=["results", "results/work"])
def test_a_link_to_a_disk_that_is_not_there_is_an_error_and_no_endless_wait(link, tmp_path):
    store = Store(tmp_path / "results")
    (store.folder / link).parent.mkdir(parents=True, exist_ok=True)
    (store.folder / link).symlink_to(tmp_path / "not-mounted" / "results")
    with pytest.raises(OSError, match="results"), store.alone(ASTEROID):
        pass


def test_of_many_that_arrive_while_the_folder_comes_and_goes_one_holds_it(store):
    inside = []

    def come_and_go(name):
        for _ in range(300):
            with store.alone(ASTEROID) as folder:
                inside.append(name)
                assert inside == [name] and folder.is_dir()
                inside.pop()

    with ThreadPoolExecutor(3) as executor:
        assert list(executor.map(come_and_go, "abc")) == [None] * 3


def test_a_file_that_is_written_anew_is_read_anew(tmp_path):
    path, labels = tmp_path / "mine.npz", datasets.load("methanol", "ccsd(t)")[:30]
    datasets.save(labels, path)
    spec = replace(STANDARD, molecule=str(path))
    before, force = fingerprints(spec), runs.split_of(spec).train.force
    datasets.save(replace(labels, energy=2 * labels.energy, force=2 * labels.force), path)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))  # a clock may be coarse
    assert fingerprints(spec) != before and torch.equal(runs.split_of(spec).train.force, 2 * force)


def test_labels_that_change_while_a_run_is_made_leave_no_record_of_theirs(store, tmp_path, monkeypatch):
    labels, path = datasets.load("methanol", "ccsd(t)"), tmp_path / "mine.npz"
    datasets.save(labels, path)
    spec, train = replace(STANDARD, molecule=path), stages.standard

    def meanwhile(*args, **options):
        datasets.save(replace(labels, energy=2 * labels.energy, force=2 * labels.force), path)
        os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))  # a clock may be coarse
        return train(*args, **options)

    monkeypatch.setattr(stages, "standard", meanwhile)
    with pytest.raises(ValueError, match="mine.npz changed while"):
        runs.run(spec, store, progress=False)
    assert store.get(spec) is None


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)])
def test_an_interrupted_run_goes_on_with_another_number_of_threads(before, after, tmp_path, monkeypatch):
    """As a sweep does when its last run has all cores: the initial weights of GemNet must not depend on it."""
    slow = replace(tiny.TRAIN, learning_rate=0.002)
    recipe = replace(tiny.RECIPE, accurate=slow, identification=slow, inaccurate=slow)
    recipe = replace(recipe, model="gemnet-t", model_config={"preset": "small"})
    store, spec = Store(tmp_path), replace(ASTEROID, recipe=recipe)
    threads, fit = torch.get_num_threads(), training.fit

    calls = []

    def killed_in_the_last_stage(*args, **kwargs):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return fit(*args, **kwargs)

    try:
        torch.set_num_threads(before)
        monkeypatch.setattr(training, "fit", killed_in_the_last_stage)
        with pytest.raises(KeyboardInterrupt):
            runs.run(spec, store, progress=False)
        torch.set_num_threads(after)
        monkeypatch.setattr(training, "fit", fit)
        assert np.isfinite(runs.run(spec, store, progress=False).errors["force_mae"])
    finally:
        torch.set_num_threads(threads)


def test_the_table_has_a_row_for_each_record(made):
    table = runs.overview([made[1], made[1]])
    expected = (
        "molecule method accurate inaccurate budget inaccurate_budget seed model force_mae energy_mae gamma seconds"
    )
    assert len(table) == 2 and set(expected.split()) <= set(table.columns)
    row = table.iloc[0]
    assert (row["method"], row["budget"], row["inaccurate_budget"], row["model"]) == ("asteroid", 6, 10, "egnn")
    assert row["force_mae"] == made[1].errors["force_mae"]
    assert row["accurate_label_seconds"] == made[1].label_seconds["accurate"]
