"""Plans held against runs: regrets and calibrations by hand, and runs of every profile that are possible."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from asteroid import book, datasets, profiles, runs
from asteroid.planning import plans
from asteroid.planning.pilots import ErrorModel
from asteroid.runs import methods
from asteroid.runs.records import Store

SECONDS = (4.0, 1.0)


def model(draws: np.ndarray, scatter: float = 0.0) -> ErrorModel:
    return ErrorModel(
        np.atleast_2d(draws), scatter, most_standard=50, most_accurate=40, most_cheap=200, fewest_accurate=10
    )


# Standard training: 10 / labels. ASTEROID: 2 / √labels, whatever the number of cheap ones.
ERRORS = model(np.array([0.0, np.log(10), 1.0, np.log(2), 0.5, 0.0]))


def rows(found: dict[tuple[int, int], list[float]]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"way": "ASTEROID" if i else "standard", "accurate": a, "cheap": i, "seed": seed, "error": error}
            for (a, i), several in found.items()
            for seed, error in enumerate(several)
        ]
    )


def test_regret_by_hand():
    # 100 accurate labels cost 400 s. The fourth split costs 6 % more, and the last one half of it.
    found = {
        (100, 0): [0.2, 0.4],
        (90, 40): [0.25, 0.25],
        (50, 202): [0.4, 0.4],
        (100, 24): [0.1, 0.1],
        (50, 0): [0.1] * 2,
    }
    (row,) = plans.regret(ERRORS, rows(found), SECONDS, [100], given_up=10).itertuples(index=False, name=None)
    columns = list(plans.regret(ERRORS, rows(found), SECONDS, [100], given_up=10).columns)
    row = dict(zip(columns, row, strict=True))
    assert row["splits"] == 3 and row["core minutes"] == pytest.approx(400 / 60)
    # Predicted are 0.1 for standard training, and 0.21 and 0.28.
    assert row["planner's split"] == "100 + 0" and row["planner, error"] == pytest.approx(0.3)
    assert row["best error"] == row["paper, error"] == pytest.approx(0.25)
    assert row["planner, regret [%]"] == row["accurate only, regret [%]"] == pytest.approx(20)
    assert row["paper, regret [%]"] == 0 and row["best split"] == "90 + 40"


def test_a_split_that_was_not_trained_at_that_cost_is_named():
    with pytest.raises(ValueError, match="the cost of 100 accurate labels; one costs 4 cheap ones.*ratio"):
        plans.regret(ERRORS, rows({(100, 0): [0.1], (90, 400): [0.2]}), SECONDS, [100], 10)
    with pytest.raises(ValueError, match="the cost of 200 accurate labels"):  # where no split costs as much
        plans.regret(ERRORS, rows({(100, 0): [0.1]}), SECONDS, [200], 10)


def test_errors_by_the_share_for_cheap_labels():
    # As many as the smallest pilot's 50 cheap labels take 50 of 400 s.
    found = {(100, 0): [0.2, 0.4], (50, 200): [0.4], (50, 250): [0.1]}
    curve, equal = plans.by_share(ERRORS, rows(found), SECONDS, 100, fewest_cheap=50)
    assert curve["share"].tolist() == [0, *range(14, 90, 2)]
    assert curve["predicted"].iloc[[0, -1]].tolist() == pytest.approx([0.1, 2 / np.sqrt(12)])
    assert equal["share"].tolist() == [0, 0, 50] and equal["error"].tolist() == [0.2, 0.4, 0.4]


def test_a_molecule_without_pairs_has_no_report(monkeypatch):
    profile = profiles.load("laptop")
    assert plans.has_pairs(profile, "methanol")
    apart = {"ccsd(t)": slice(0, 100), "pbe": slice(91, 300), "mmff": slice(0, 300)}
    load = datasets.load
    monkeypatch.setattr(datasets, "load", lambda molecule, level: load(molecule, level)[apart[level]])
    assert not plans.has_pairs(profile, "methanol")


def test_calibration_by_hand():
    spread = model(ERRORS.draws, scatter=0.1)
    inside, outside = np.exp(0.15), np.exp(0.25)  # 1.5 and 2.5 standard deviations
    found = {(100, 0): [0.1, 0.1 * inside, 0.1 * outside, 0.1 / outside], (25, 100): [0.4, 0.4]}
    table = plans.calibration(spread, rows(found))
    assert table.loc["standard"].tolist() == pytest.approx([4, 25, 50, np.exp(0.075)], rel=0.01)
    assert table.loc["ASTEROID"].tolist() == pytest.approx([2, 100, 100, 1])


def test_predictions_stand_beside_the_mean_of_what_was_found():
    table = plans.predicted(ERRORS, rows({(100, 0): [0.1, 0.3], (25, 100): [0.5, 0.5]})).set_index("way")
    assert table.loc["standard", ["predicted", "found"]].tolist() == pytest.approx([0.1, 0.2])
    assert table.loc["ASTEROID", ["predicted", "found"]].tolist() == pytest.approx([0.4, 0.5])


@pytest.mark.parametrize("name", ["laptop", "smoke"])
def test_the_fixed_split_costs_as_much_as_accurate_labels_only(name):
    profile = profiles.load(name)
    for molecule in profile.planner.molecules:
        accurate, cheap = plans.seconds_per_label(profile, molecule)
        assert accurate / cheap == pytest.approx(profile.planner.ratio[molecule], rel=0.1)
        for spec in profile.planner_specs(molecule)["fixed"]:
            cost = spec.budget * accurate + spec.inaccurate_budget * cheap
            assert cost == pytest.approx((spec.budget + profile.given_up) * accurate, rel=plans.TOLERANCE)


@pytest.mark.parametrize("name", profiles.names())
def test_the_pilots_are_small_and_enough(name):
    profile = profiles.load(name)
    assert set(profile.planner.ratio) >= set(profile.planner.molecules)
    for molecule in profile.planner.molecules:
        specs = profile.planner_specs(molecule)
        small = [spec for spec in specs["pilots"] if spec.method == "standard"]
        mixed = [spec for spec in specs["pilots"] if spec.method == "asteroid"]
        assert len({spec.budget for spec in small}) >= 3
        assert len({spec.budget for spec in mixed}) >= 2 and len({spec.inaccurate_budget for spec in mixed}) >= 2
        assert max(spec.budget for spec in small) <= max(profile.budgets) / 2
        assert {spec.seed for spec in specs["pilots"]} == set(profile.seeds)
        assert {spec.inaccurate for spec in specs["sampled"]} == {profile.sampled}


def test_verdicts_stand_beside_what_trainings_found(monkeypatch):
    """From committed records: each seed's report knows what its run of ASTEROID knew, and nothing more."""
    profile, store = replace(profiles.load("laptop"), seeds=(0, 1)), Store(book.root() / "results/laptop")
    asked = []

    def report(accurate, cheap, error):
        asked.append((cheap.level, accurate.fingerprint, error))
        return SimpleNamespace(varying_by_frame=np.array([1.0, 3.0]), verdict="pre-train")

    monkeypatch.setattr(plans.bias, "bias_report", report)
    table, _ = plans.verdicts(profile, "methanol", store)
    assert table.index.tolist() == ["PBE", "GFN2", "MMFF"] and (table["varies"] == 2).all()
    model, fewest = profile.planner.model, min(profile.budgets)
    ours, alone = (profile.low_resource(method, model, ("methanol",)) for method in ("asteroid", "standard"))
    assert table.loc["PBE", "labels"] == f"{fewest - profile.given_up} + {max(profile.inaccurate_budgets)}"
    assert table.loc["MMFF", "labels"].startswith(f"{fewest} + ")  # for which no accurate label is given up
    errors = [[store.get(spec).errors["force_mae"] for spec in specs] for specs in (ours, alone)]
    assert table.loc["PBE", "lower by [%]"] == pytest.approx(100 * (1 - np.divide(*errors)).mean())
    stage_one = [store.get(methods.stage_one(spec)[0]).valid_force_mae for spec in ours]
    train = [runs.split_of(spec).train.fingerprint for spec in ours]
    assert [one for one in asked if one[0] == "pbe"] == list(zip(("pbe", "pbe"), train, stage_one))


@pytest.mark.parametrize("name", ["laptop", "smoke"])
def test_the_embedded_labels_suffice(name):
    profile = profiles.load(name)
    for molecule in profile.planner.molecules:
        for part in profile.planner_specs(molecule).values():
            assert len({spec.key for spec in part}) == len(part)
            for spec in part:
                assert len(runs.split_of(spec).test) == profile.test


def test_the_records_of_the_laptop_profile_are_there():
    profile, store = profiles.load("laptop"), Store(book.root() / "results/laptop")
    for molecule in profile.planner.molecules:
        for name, part in profile.planner_specs(molecule).items():
            missing = [spec.file_name for spec in part if store.get(spec) is None]
            assert not missing, f"{name}: {missing}"
