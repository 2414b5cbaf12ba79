"""Power laws: recovered exactly, inverted exactly, and as uncertain as they say."""

import numpy as np
import pytest
from scipy import stats

from asteroid.statistics import fit_power_law, mean_interval

LABELS = np.repeat([50.0, 90.0, 130.0, 170.0], 3)  # four budgets, three seeds
COVERAGE = (0.88, 0.995)  # of a 95 % interval, in 200 repeats


def noisy(generator: np.random.Generator, exponent: float = 0.6, spread: float = 0.05) -> np.ndarray:
    return 20 * LABELS**-exponent * np.exp(spread * generator.standard_normal(len(LABELS)))


@pytest.mark.parametrize(("scale", "exponent"), [(12.5, 0.73), (0.4, 0.1), (3.0, -0.2)])
def test_an_exact_power_law_is_recovered(scale, exponent):
    law = fit_power_law(LABELS, scale * LABELS**-exponent)
    assert law.scale == pytest.approx(scale, rel=1e-9) and law.exponent == pytest.approx(exponent, abs=1e-9)
    assert law.interval == pytest.approx((exponent, exponent), abs=1e-9)
    assert law(100.0) == pytest.approx(scale * 100.0**-exponent)


def test_labels_for_is_the_inverse():
    law = fit_power_law(LABELS, noisy(np.random.default_rng(0)))
    labels = np.array([10.0, 200.0, 5000.0])
    np.testing.assert_allclose(law.labels_for(law(labels)), labels, rtol=1e-10)
    assert law.labels_for(law(77.0)) == pytest.approx(77.0)
    assert law.labels_for(0.5 * law(100.0)) > 100  # half the error takes more labels


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    generator, covered, repeats = np.random.default_rng(1), 0, 200
    for _ in range(repeats):
        low, high = fit_power_law(LABELS, noisy(generator)).interval
        assert low < high
        covered += low <= 0.6 <= high
    assert COVERAGE[0] <= covered / repeats <= COVERAGE[1]


@pytest.mark.parametrize("points", [3, 4, 12])
def test_the_interval_is_that_of_a_linear_regression_by_scipy(points):
    labels, errors = np.geomspace(50, 170, points), noisy(np.random.default_rng(2))[:points]
    line = stats.linregress(np.log(labels), np.log(errors))
    half = stats.t.ppf(0.975, points - 2) * line.stderr
    assert fit_power_law(labels, errors).interval == pytest.approx((-line.slope - half, -line.slope + half))


@pytest.mark.parametrize(
    ("labels", "errors"),
    [
        ([50, 50], [1.0, 2.0]),
        ([50], [1.0]),
        ([], []),
        ([50, 90], [1.0, 0.0]),
        ([0, 90], [1.0, 1.0]),
        ([50, 90], [1.0, np.nan]),
        ([50, 90], [1.0, 1.0, 1.0]),
    ],
)
def test_points_without_a_line_through_them_are_refused(labels, errors):
    with pytest.raises(ValueError, match="positive|two numbers"):
        fit_power_law(np.array(labels), np.array(errors))


@pytest.mark.parametrize("seeds", [2, 3, 40])
def test_mean_interval_covers_the_truth(seeds):
    generator, covered, repeats = np.random.default_rng(5), 0, 400
    for _ in range(repeats):
        mean, low, high = mean_interval(generator.normal(3.0, 1.0, seeds))
        assert low <= mean <= high
        covered += low <= 3.0 <= high
    assert COVERAGE[0] <= covered / repeats <= COVERAGE[1]
