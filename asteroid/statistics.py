"""Power laws and intervals of means."""

from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class PowerLaw:
    """error = scale · labels^(−exponent) (Bukharin et al. 2023, Fig. 1a).

    Attributes:
        scale: error at one label, kcal/mol/Å.
        exponent: positive where more labels help.
        interval: 95 % interval of the exponent, from the scatter about the line; without bounds for two points.
    """

    scale: float
    exponent: float
    interval: tuple[float, float]

    def __call__(self, labels: np.ndarray | float) -> np.ndarray | float:
        """Error at a number of labels, kcal/mol/Å."""
        return self.scale * np.asarray(labels, dtype=float) ** -self.exponent

    def labels_for(self, error: np.ndarray | float) -> np.ndarray | float:
        """Labels that an error takes."""
        return (self.scale / np.asarray(error, dtype=float)) ** (1 / self.exponent)


def fit_power_law(labels: np.ndarray, errors: np.ndarray) -> PowerLaw:
    """Straight line through log error against log labels, by least squares.

    Args:
        labels: (points,), positive; at least two different numbers.
        errors: (points,), positive, kcal/mol/Å.

    Raises:
        ValueError: for fewer than two numbers of labels, or values that have no logarithm.
    """
    labels, errors = np.asarray(labels, dtype=float), np.asarray(errors, dtype=float)
    if labels.shape != errors.shape or not (np.all(labels > 0) and np.all(errors > 0)):
        raise ValueError("labels and errors must be positive and of one length")
    if len(np.unique(labels)) < 2:
        raise ValueError(f"a power law needs at least two numbers of labels, got {np.unique(labels).tolist()}")
    x, y = np.log(labels), np.log(errors)
    slope, intercept = np.polyfit(x, y, 1)
    # Student's interval, as in `mean_interval`.
    freedom = len(x) - 2
    if freedom:
        scatter = np.square(y - slope * x - intercept).sum() / freedom
        half = float(stats.t.ppf(0.975, freedom) * np.sqrt(scatter / np.square(x - x.mean()).sum()))
    else:
        half = float("inf")
    return PowerLaw(float(np.exp(intercept)), float(-slope), (float(-slope - half), float(-slope + half)))


def mean_interval(values: np.ndarray) -> tuple[float, float, float]:
    """Mean of values and its 95 % interval, Student's: (mean, low, high); that of a single value has no bounds.

    Drawing again from three seeds, as a bootstrap does, covers the truth in 75 % of repeats only.
    """
    values = np.asarray(values, dtype=float)
    mean, half = values.mean(), np.inf
    if len(values) > 1:
        half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(mean), float(mean - half), float(mean + half)
