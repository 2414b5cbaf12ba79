"""Comparisons: partners are found, wrong ones refused, costs counted as the paper does."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from asteroid import profiles
from asteroid.book import comparison

PROFILE = profiles.load("smoke")


def rows(errors: dict[int, float], budget: int = 20) -> pd.DataFrame:
    common = {"molecule": "methanol", "model": "egnn", "total_budget": budget}
    return pd.DataFrame([{**common, "seed": seed, "force_mae": error} for seed, error in errors.items()])


def test_each_run_is_compared_with_the_same_seed():
    found = comparison.reduction(rows({1: 1.0, 0: 3.0}), rows({0: 2.0, 1: 4.0, 2: 9.0}))
    np.testing.assert_allclose(found, [75, -50])


@pytest.mark.parametrize("reference", [rows({0: 2.0}), rows({0: 2.0, 1: 4.0}, budget=40), rows({0: 1.0}).iloc[[0, 0]]])
def test_a_run_without_one_partner_is_refused(reference):
    with pytest.raises(ValueError, match="one partner with the same molecule, model, total_budget, seed"):
        comparison.reduction(rows({0: 3.0, 1: 1.0}), reference)


def test_an_interval_holds_the_mean():
    assert comparison.percent(np.array([10.0, 20.0, 30.0])) == "20 % (95 % interval -5 to 45)"
    assert comparison.percent(np.array([-0.2, -0.2])) == "0 % (95 % interval 0 to 0)"
    assert comparison.mean_and_spread(pd.Series([1.0, 3.0])) == "2.000 ± 1.414"
    assert comparison.mean_and_spread(pd.Series([1.0])) == "1.000"


def test_at_the_measured_cost_the_reference_is_the_power_law_of_the_same_molecule():
    common = {"inaccurate_label_seconds": 0.0, "inaccurate_budget": 0, "budget": 1}

    def standard(molecule: str, scale: float) -> list[dict]:
        cells = {"molecule": molecule, "method": "standard", **common}
        return [cells | {"accurate_label_seconds": s, "force_mae": scale / s} for s in (10.0, 100.0, 1000.0)]

    def trained(molecule: str, seconds: float, error: float) -> dict:
        paid = {"accurate_label_seconds": 0.75 * seconds, "inaccurate_label_seconds": 0.25 * seconds}
        return {
            "molecule": molecule,
            "method": "asteroid",
            "inaccurate_budget": 8,
            "budget": 2,
            "force_mae": error,
        } | paid

    ours = [trained("methanol", 150, 0.4), trained("methanol", 250, 0.6)]
    ours += [trained("ethanol", 2000, 0.05), trained("benzene", 5, 4.0)]
    scales = {"methanol": 200, "ethanol": 50, "benzene": 20}
    alone = [row for molecule, scale in scales.items() for row in standard(molecule, scale)]
    found = comparison.at_measured_cost(pd.DataFrame([*alone, *ours]))
    assert found["molecule"].tolist() == list(scales) and found["paid"].tolist() == [200, 2000, 5]
    np.testing.assert_allclose(found["force_mae"], [0.5, 0.05, 4.0])
    np.testing.assert_allclose(found["gain"], [50, -100, 0], atol=1e-9)
    assert found["beyond"].tolist() == [False, True, True]
    untimed = pd.DataFrame(standard("methanol", 200)).assign(accurate_label_seconds=np.nan)
    with pytest.raises(ValueError, match="must be positive"):
        comparison.at_measured_cost(untimed)


@pytest.mark.parametrize(
    ("gains", "border"),
    [
        ({4.0: [-1, -2, 3], 9.0: [1, 2, -3]}, (4.0, 9.0)),
        ({4.0: [-1, -2], 9.0: [1, -3]}, (9.0, np.inf)),  # half of the cases are not most
        ({4.0: [1], 9.0: [2]}, (0.0, 4.0)),
        ({4.0: [1], 9.0: [-2]}, None),
    ],
)
def test_the_border_lies_between_price_ratios_where_most_cases_differ(gains, border):
    cases = pd.DataFrame([{"ratio": ratio, "gain": gain} for ratio, several in gains.items() for gain in several])
    assert comparison.price_border(cases) == border


def test_stage_two_is_judged_by_held_out_cheap_labels_alone():
    def record(date, **histories):
        return SimpleNamespace(date=date, histories={k: {"valid_force_mae": v} for k, v in histories.items()})

    stages = {"inaccurate-gamma1": [0.5, 0.2, 0.3], "inaccurate-gamma1-tuned": [0.1], "standard": [0.05]}
    assert comparison.cheap_error(record("2026-11-30T10:00:00Z", **stages)) == 0.2
    assert np.isnan(comparison.cheap_error(record("2026-11-24T10:00:00Z", **stages)))  # by accurate frames
    assert np.isnan(comparison.cheap_error(record("2026-11-30T10:00:00Z", standard=[0.05])))


def test_an_interval_over_molecules_does_not_count_seeds():
    rows = pd.DataFrame({"molecule": ["a", "a", "a", "b", "c"], "reduction": [10.0, 20.0, 30.0, 40.0, 60.0]})
    assert comparison.independent(rows).tolist() == [20, 40, 60]
    assert comparison.independent(rows[rows["molecule"] != "c"]).tolist() == [10, 20, 30, 40]
