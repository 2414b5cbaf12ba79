"""The page on what a user would pick instead: its ways, its table, its figures and its advice."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny import STANDARD

from asteroid import plots, profiles, runs
from asteroid.book import step_cost, today
from asteroid.runs.records import Record, Store
from asteroid.runs.spec import RunSpec

ROOT = Path(__file__).resolve().parent.parent
PROFILE = profiles.load("md17")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Record:
    return runs.run(STANDARD, Store(tmp_path_factory.mktemp("store")), progress=False)


def record(made: Record, spec: RunSpec, error: float, seconds: float = 100.0, **errors: float) -> Record:
    return replace(made, spec=spec, key=spec.key, errors=made.errors | {"force_mae": error} | errors, seconds=seconds)


def rows(*found: tuple) -> pd.DataFrame:
    columns = ["molecule", "series", "labels", "force_mae", "seconds", "microseconds"]
    return pd.DataFrame([(f"md17:{one[0]}", *one[1:]) for one in found], columns=columns)


SOME = rows(
    ("ethanol", "ASTEROID, EGNN", 250, 0.30, 900.0, 400.0),
    ("ethanol", "ASTEROID, EGNN", 250, 0.32, 1100.0, 400.0),
    ("ethanol", "MACE", 300, 0.25, 1400.0, 9000.0),
    ("ethanol", "sGDML", 300, 0.74, 10.0, 300.0),
    ("ethanol", "sGDML", 10, 6.9, 0.1, 30.0),
    ("toluene", "MACE", 300, 0.40, 2000.0, 12000.0),
    ("toluene", "ASTEROID, EGNN", 250, 0.35, 1600.0, np.nan),
)


@pytest.mark.parametrize("name", ["smoke", "md17"])
def test_the_ways_are_those_of_the_book_and_the_programs(name):
    profile = profiles.load(name)
    ways = today.ways(profile)
    expected = {"standard, EGNN", "ASTEROID, EGNN", "standard, GemNet-T", "sGDML", "ANI-1ccx, fine-tuned"}
    assert ways.keys() >= expected and ways.keys() >= profile.rival_specs().keys()
    assert ("MACE" in ways, "NequIP" in ways) == (name == "md17",) * 2
    molecules = set(profile.rivals.seeds if profile.rivals else profile.molecules)
    for way, specs in ways.items():
        assert len(specs) == len(set(specs)) > 0, way
        assert {spec.molecule for spec in specs} <= molecules


def test_a_row_has_all_accurate_labels_and_the_measured_step(made, monkeypatch):
    monkeypatch.setattr(step_cost, "seconds_per_step", lambda spec: 2e-3)
    spec = replace(STANDARD, method="mace")
    table = today.table(
        {
            "MACE": [record(made, spec, 0.3, md_step_seconds=5e-3)],
            "standard, EGNN": [made],
            "none": [],
            "far": [record(made, replace(STANDARD, molecule="md17:no_such"), 0.4)],
        }
    )
    assert list(table["series"]) == ["MACE", "standard, EGNN", "far"]
    assert set(table["labels"]) == {STANDARD.budget + STANDARD.valid}
    np.testing.assert_allclose(table["microseconds"], [5000, 2000, np.nan])  # the last has no labels here
    assert today.table({"none": []}).empty


def test_missing_records_are_counted(made):
    specs = [replace(STANDARD, seed=seed) for seed in range(3)]
    found = {"MACE": [record(made, specs[0], 0.3)], "sGDML": [made]}
    assert today.missing({"MACE": specs, "sGDML": specs[:1]}, found) == "Not recorded yet: MACE (2 of 3)."
    assert today.missing({"sGDML": specs[:1]}, found) == ""


def test_the_advice_names_the_best_whoever_it_is():
    text = today.advice(SOME)
    # Of 250 and 300 labels, which are alike; a way that is alone with its number is no comparison.
    assert "With 250 to 300 accurate labels in all" in text and "With 10 " not in text
    assert "**MACE** (ethanol, 0.25; next ASTEROID, EGNN, 0.31)" in text
    assert "**ASTEROID, EGNN** (toluene, 0.35; next MACE, 0.40)" in text
    assert (
        "(ethanol, 250 to 300 labels), **ASTEROID, EGNN** is trained fastest (1,000 s), MACE slowest (1,400 s)" in text
    )
    assert "**ASTEROID, EGNN** has the fastest step (400 µs), MACE slowest (9,000 µs)" in text
    assert "nan" not in text and "sGDML" not in text  # whose error is more than twice as large


def test_where_nothing_is_recorded_nothing_is_advised():
    assert today.advice(SOME[:0]) == today.advice(SOME[:1]) == "*Not recorded yet.*"
    untimed = today.advice(SOME.assign(microseconds=np.nan))
    assert "trained fastest" in untimed and "fastest step" not in untimed and "nan" not in untimed


def test_numbers_that_are_alike_are_one_group():
    assert today._alike([300, 250, 100, 70, 50, 250]) == [[50], [70], [100], [250, 300]]


def test_the_search_says_which_rate_is_used(made):
    ways = PROFILE.rival_specs()
    name = f"MACE{today.SEARCHED}"
    used, *others = PROFILE.rivals.programs["mace"].rates
    errors = dict(zip((used, *others), (0.5, 0.4, 0.6)))

    def found(errors):
        pairs = zip(ways[name], errors)
        return {name: [replace(record(made, spec, 1.0), valid_force_mae=errors[rate]) for spec, rate in pairs]}

    text = today.search(PROFILE, found(errors))
    assert f"{others[0]:g}: 0.400" in text and f"{used:g} is used, though {others[0]:g} is better here" in text
    errors[used] = 0.1
    assert today.search(PROFILE, found(errors)).endswith(f"{used:g} is used.")
    assert today.search(PROFILE, {name: [], "MACE": []}) == ""


# The figure


@pytest.mark.parametrize(
    ("price", "label"), [("labels", "accurate labels"), ("seconds", "seconds"), ("microseconds", "microseconds")]
)
def test_a_panel_has_the_means_of_each_way_and_what_nothing_beats(price, label):
    figure = plots.error_by_price(SOME, price, label)
    assert [axes.get_title() for axes in figure.axes] == ["ethanol", "toluene"]
    (legend,) = figure.legends
    assert {text.get_text() for text in legend.get_texts()} == set(SOME["series"])
    axes = figure.axes[0]
    assert axes.get_xscale() == axes.get_yscale() == "log" and label in figure.axes[-1].get_xlabel()
    front = axes.get_lines()[0]
    of_ethanol = SOME[SOME["molecule"] == "md17:ethanol"]
    means = of_ethanol.groupby(["series", "labels"])[[price, "force_mae"]].mean()
    best = means.iloc[plots.front(means[price], means["force_mae"])]
    assert front.get_xdata().tolist() == best[price].tolist()
    drawn = {tuple(point) for line in axes.get_lines()[1:] for point in zip(line.get_xdata(), line.get_ydata())}
    assert drawn >= {tuple(point) for point in means[[price, "force_mae"]].to_numpy().tolist()}
    figure.canvas.draw()


def test_more_ways_than_markers_are_all_drawn():
    many = pd.concat([SOME.assign(series=f"way {k}") for k in range(14)])
    (legend,) = plots.error_by_price(many, "seconds", "s").legends
    assert len(legend.get_texts()) == 14


def test_the_notebook_has_its_profile_first_and_no_output():
    cells = json.loads((ROOT / "notebooks" / "today.ipynb").read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert "parameters" in code[0]["metadata"]["tags"] and "".join(code[0]["source"]) == 'profile = "laptop"'
    assert all(cell["outputs"] == [] for cell in code)
