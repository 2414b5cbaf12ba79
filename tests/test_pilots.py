"""Errors of small trainings extrapolated: recovered exactly, as uncertain as they say, ten times at the farthest."""

import numpy as np
import pytest

from asteroid.planning.pilots import Pilot, fit_pilots
from asteroid.planning.planner import plan

SIZES = [(10, 0), (25, 0), (50, 0), (10, 50), (10, 200), (40, 50), (40, 200)]
SECONDS = (4.0, 1.0)  # of an accurate and of a cheap label


def truth(accurate: int, cheap: int, scale: float = 10.0) -> float:
    """Error of a made-up model with a floor; `scale` is of ASTEROID."""
    if not cheap:
        return 0.1 + 20 * accurate**-1.0
    return 0.1 + scale * accurate**-0.6 * cheap**-0.3


def trained(spread: float = 0.0, seed: int = 0, scale: float = 10.0) -> list[Pilot]:
    """Three trainings of each size, their errors off by a random factor."""
    generator = np.random.default_rng(seed)
    return [
        Pilot(*size, truth(*size, scale) * np.exp(spread * generator.standard_normal()))
        for size in SIZES
        for _ in range(3)
    ]


@pytest.mark.parametrize("size", [(10, 0), (170, 0), (500, 0), (40, 100), (120, 800), (400, 2000)])
def test_exact_errors_are_extrapolated_exactly(size):
    median, low, high = fit_pilots(trained()).predict(*size)
    assert median == pytest.approx(truth(*size), rel=0.01)
    assert low == pytest.approx(high, rel=0.02)


def test_the_interval_covers_a_training_about_as_often_as_it_says():
    generator, sizes = np.random.default_rng(3), ((40, 0), (40, 150), (150, 0), (100, 400))
    covered = []
    for repeat in range(40):
        errors = fit_pilots(trained(0.1, repeat), seed=repeat, draws=40)
        intervals = np.array([errors.predict(*size)[1:] for size in sizes])
        found = np.array([truth(*size) for size in sizes]) * np.exp(0.1 * generator.standard_normal(len(sizes)))
        covered.append((intervals[:, 0] <= found) & (found <= intervals[:, 1]))
    among, beyond = np.mean(covered, axis=0).reshape(2, 2).mean(axis=1)
    assert 0.85 <= among <= 0.995 and 0.85 <= beyond <= 1


def test_more_scatter_is_a_wider_interval():
    width = []
    for spread in (0.02, 0.2):
        _, low, high = fit_pilots(trained(spread)).predict(170, 0)
        width.append(np.log(high / low))
    assert width[1] > 3 * width[0]


def test_the_scatter_is_that_of_the_trainings_and_not_that_of_the_fitted_residuals():
    """Which six numbers, fitted to 21 errors, make smaller by a sixth."""
    found = [fit_pilots(trained(0.1, repeat), draws=1).scatter for repeat in range(30)]
    assert np.mean(found) == pytest.approx(0.1, rel=0.1)


def test_the_same_pilots_give_the_same_model():
    first, second = (fit_pilots(trained(0.1)) for _ in range(2))
    np.testing.assert_array_equal(first.draws, second.draws)


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ([pilot for pilot in trained() if pilot.cheap], r"\[\] accurate labels of standard training; give two"),
        ([pilot for pilot in trained() if pilot.cheap != 50], r"\[200.0\] cheap labels of ASTEROID; give two"),
        ([], "there are 0 pilots; give 8 or more"),
        (trained()[::3], "there are 7 pilots; give 8 or more"),
        ([*trained(), Pilot(10, 0, 0.0)], "errors from 0 to .*; give positive, finite ones"),
        ([*trained(), Pilot(10, 0, np.nan)], "errors from nan to nan; give positive, finite ones"),
    ],
)
def test_pilots_that_show_too_little_are_refused(chosen, said):
    with pytest.raises(ValueError, match=said):
        fit_pilots(chosen)


@pytest.mark.parametrize("hours", [0.1, 0.2, 0.4])
def test_the_best_split_is_proposed_whichever_it_is(hours):
    for scale in (3.0, 60.0):  # cheap labels that are worth a lot, and nothing
        found = plan(hours, fit_pilots(trained(scale=scale)), *SECONDS)
        splits = [(int(3600 * hours - cheap) // 4, cheap) for cheap in range(0, int(3600 * hours), 5)]
        possible = [truth(a, i, scale) for a, i in splits if 10 <= a <= (400 if i else 500) and i <= 2000]
        assert truth(found.accurate, found.cheap, scale) == pytest.approx(min(possible), rel=0.02)
        assert (found.cheap > 0) == (scale == 3.0)
        assert str(found.accurate) in found.advice and ("no cheap ones" in found.advice) == (scale == 60.0)
        assert ("smaller than" in found.advice and "probability of 100 %" in found.advice) == (scale == 3.0)


def test_every_split_of_the_table_spends_the_budget():
    found = plan(0.2, fit_pilots(trained(0.05)), *SECONDS)
    spent = found.table["hours, accurate"] + found.table["hours, cheap"]
    assert (spent <= 0.2 + 1e-9).all() and (spent > 0.2 - 2 * SECONDS[0] / 3600).all()
    assert (found.table["low"] < found.table["error"]).all() and (found.table["error"] < found.table["high"]).all()
    assert found.table.index.str.contains("proposed").sum() == 1
    for shown in (str(found), found._repr_html_()):
        assert "proposed" in shown and found.advice in shown


def test_nothing_is_proposed_beyond_the_reach_of_the_pilots():
    errors = fit_pilots(trained())
    assert plan(499 * 4 / 3600, errors, *SECONDS).accurate is not None
    found = plan(600 * 4 / 3600, errors, *SECONDS)
    assert (found.accurate, found.cheap) == (None, None) and not found.table.index.str.contains("proposed").any()
    assert "More pilots are needed" in found.advice and "Train some with 60" in found.advice
    assert np.isnan(found.table.loc["accurate labels only", "error"]) and "more pilots" in found._repr_html_()
    larger = [*trained(), *(Pilot(60, 0, truth(60, 0)) for _ in range(3))]
    assert plan(600 * 4 / 3600, fit_pilots(larger), *SECONDS).accurate is not None


def test_a_budget_or_times_that_make_no_sense_are_refused():
    errors = fit_pilots(trained())
    with pytest.raises(ValueError, match=r"0.01 hours buy 9 accurate labels.*give at least 0.0112 hours"):
        plan(0.01, errors, *SECONDS)
    assert plan(0.0112, errors, *SECONDS).accurate is not None
    with pytest.raises(ValueError, match=r"give at least 123.4562 hours"):
        plan(1, errors, 44444.2, 1.0)
    with pytest.raises(ValueError, match=r"do not pay for 25 accurate and 107 cheap labels; they take 0.0575 hours"):
        plan(0.05, errors, *SECONDS, bought=(25, 107))  # 207 s
    assert plan(0.0575, errors, *SECONDS, bought=(25, 107)).cheap >= 107
    for hours in (0, -1, np.nan, np.inf):
        with pytest.raises(ValueError, match=f"the budget is {hours} hours; give a positive, finite number"):
            plan(hours, errors, *SECONDS)
    with pytest.raises(ValueError, match="the cheap one must take less"):
        plan(1, errors, 1.0, 4.0)
