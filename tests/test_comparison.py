"""Comparisons: partners are found, wrong ones refused, costs counted as the paper does."""

import numpy as np
import pandas as pd
import pytest

from asteroid import comparison, profiles

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
    assert comparison.mean_and_spread(pd.Series([1.0, 3.0])) == "2.000 ± 1.414"
    assert comparison.mean_and_spread(pd.Series([1.0])) == "1.000"
