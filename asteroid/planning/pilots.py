"""Small trainings, and the errors of larger ones that follow from them."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
from scipy import optimize, stats

FARTHEST = 10  # times the labels of the largest pilot, to which an error is extrapolated
DRAWS = 200  # of a bootstrap
_STEEPEST = 2.0  # exponent
_ENOUGH = 1e-4  # relative gain below which a fit ends: errors that no label lowers leave it a valley without an end


@dataclass(frozen=True)
class Pilot:
    """A small training: numbers of accurate and cheap labels (0 in standard training), and its error, kcal/mol/Å."""

    accurate: int
    cheap: int
    error: float


@dataclass(frozen=True, eq=False)
class ErrorModel:
    """Errors of standard training and of ASTEROID by numbers of labels, see `fit_pilots`.

    Attributes:
        draws: (draws, 6), the parameters floor, log scale and exponent of standard training, and log scale, exponent of
            accurate and of cheap labels of ASTEROID, fitted to bootstrap resamples of the pilots.
        scatter: standard deviation of the logarithm of one training's error about the fit.
        most_standard, most_accurate, most_cheap: labels of the largest pilots, of standard training and of ASTEROID.
        fewest_accurate: of ASTEROID's smallest.
    """

    draws: np.ndarray
    scatter: float
    most_standard: int
    most_accurate: int
    most_cheap: int
    fewest_accurate: int

    def errors(self, accurate: int, cheap: int) -> np.ndarray:
        """(draws,) expected errors of a training, kcal/mol/Å."""
        return np.exp(_log_error(self.draws.T, accurate, cheap))

    def predict(self, accurate: int, cheap: int, coverage: float = 0.95) -> tuple[float, float, float]:
        """Error of one training, kcal/mol/Å: (median, low, high), the interval with that probability."""
        # Quantiles of each draw's own scatter, so that the interval of one training needs no further random numbers.
        scatter = self.scatter * stats.norm.ppf((np.arange(50) + 0.5) / 50)
        single = np.log(self.errors(accurate, cheap))[:, None] + scatter
        return tuple(np.exp(np.quantile(single, [0.5, 0.5 - coverage / 2, 0.5 + coverage / 2])).tolist())

    def within_reach(self, accurate: int, cheap: int) -> bool:
        """Whether no number of labels is more than `FARTHEST` times that of the largest pilot."""
        if not cheap:
            return accurate <= FARTHEST * self.most_standard
        return accurate <= FARTHEST * self.most_accurate and cheap <= FARTHEST * self.most_cheap


def fit_pilots(pilots: Sequence[Pilot], seed: int = 0, draws: int = DRAWS) -> ErrorModel:
    """Fit power laws with a floor to the errors of small trainings.

    Standard training has error = floor + scale · accurate^(−α), and ASTEROID error = floor + scale′ · accurate^(−α′) ·
    cheap^(−β), with one floor, that of the model and the length of training. Logarithms of errors are fitted by least
    squares, none of the exponents negative. How sure that is, resampled residuals say.

    Args:
        pilots: of both ways, with two numbers of labels or more of each kind, and better three of standard training;
            at least eight trainings, since six numbers are fitted. Several seeds each.
        seed, draws: of the bootstrap.

    Raises:
        ValueError: if there are too few pilots, or an error is not positive.

    Source:
        One way's power law: Bukharin et al. 2023, Fig. 1a. The product of powers of both numbers of labels:
        Mikami et al., "A Scaling Law for Syn2real Transfer" (ECCV 2022).
    """
    if len(pilots) < 8:
        raise ValueError(f"there are {len(pilots)} pilots; give 8 or more")
    accurate, cheap, error = (np.array(column, dtype=float) for column in zip(*map(astuple, pilots), strict=True))
    mixed = cheap > 0
    kinds = {
        "accurate labels of standard training": accurate[~mixed],
        "accurate labels of ASTEROID": accurate[mixed],
        "cheap labels of ASTEROID": cheap[mixed],
    }
    for kind, numbers in kinds.items():
        if len(np.unique(numbers)) < 2:
            raise ValueError(
                f"the pilots have {np.unique(numbers).tolist()} {kind}; give two different numbers or more"
            )
    if not (np.isfinite(error) & (error > 0)).all():
        raise ValueError(f"the pilots have errors from {error.min():g} to {error.max():g}; give positive, finite ones")
    y = np.log(error)

    def fit(y: np.ndarray) -> np.ndarray:
        least = float(np.exp(y.min()))
        start = [least / 2, 1.0, 0.5, 1.0, 0.5, 0.1]
        bounds = [[0, -20, 0, -20, 0, 0], [least, 20, _STEEPEST, 20, _STEEPEST, _STEEPEST]]
        found = optimize.least_squares(
            lambda p: _log_error(p, accurate, cheap) - y,
            start,
            jac=lambda p: _slopes(p, accurate, cheap),
            bounds=bounds,
            ftol=_ENOUGH,
        )
        return found.x

    best = fit(y)
    fitted = _log_error(best, accurate, cheap)
    # Residuals of a fit are smaller than the errors that made them.
    residual = (y - fitted) * np.sqrt(len(y) / (len(y) - len(best)))
    generator = np.random.default_rng(seed)
    parameters = [fit(fitted + generator.choice(residual, len(y))) for _ in range(draws)]
    return ErrorModel(
        draws=np.array(parameters),
        scatter=float(np.sqrt(np.mean(residual**2))),
        most_standard=int(accurate[~mixed].max()),
        most_accurate=int(accurate[mixed].max()),
        most_cheap=int(cheap[mixed].max()),
        fewest_accurate=int(accurate[mixed].min()),
    )


def _slopes(parameters: np.ndarray, accurate: np.ndarray, cheap: np.ndarray) -> np.ndarray:
    """(pilots, 6) derivatives of `_log_error`."""
    error = np.exp(_log_error(parameters, accurate, cheap))
    power = 1 - parameters[0] / error  # share of the power law in the error
    mixed, ones = cheap > 0, np.ones_like(error)
    one, other = np.where(mixed, 0, power), np.where(mixed, power, 0)
    few, many = -np.log(accurate), -np.log(np.maximum(cheap, 1))
    return np.stack([ones / error, one, one * few, other, other * few, other * many], axis=1)


def _log_error(parameters: Sequence[Any], accurate: Any, cheap: Any) -> Any:
    """Logarithm of the error for the parameters of `ErrorModel.draws`; what is not single broadcasts."""
    floor, scale, exponent, scale_mixed, exponent_accurate, exponent_cheap = parameters
    mixed = np.asarray(cheap) > 0
    many = np.log(np.maximum(cheap, 1))
    log_power = np.where(
        mixed,
        scale_mixed - exponent_accurate * np.log(accurate) - exponent_cheap * many,
        scale - exponent * np.log(accurate),
    )
    return np.logaddexp(np.log(np.maximum(floor, 1e-12)), log_power)
