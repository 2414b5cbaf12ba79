"""What is wrong with cheap labels, and whether to train on them: a report from a few frames, before any training."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from asteroid import statistics
from asteroid.datasets import DatasetError, LabelledSet
from asteroid.files import in_words
from asteroid.force_field import ForceField, force_on
from asteroid.integration import distortion
from asteroid.training import losses

if TYPE_CHECKING:
    import pandas as pd

PRE_TRAIN, WITH_WEIGHTS, DO_NOT = "pre-train", "pre-train with weights", "do not pre-train"
FOLDS = 5
FEWEST, MOST = 10, 100  # frames: fewer show no chance, more show nothing new and take time
_RIDGE = 1e-4  # of the mean squared feature
_LENGTH = 6.0  # standard deviations of every distance, over which a smooth energy changes


@dataclass(frozen=True, eq=False)
class BiasReport:
    """How the forces of a cheap level differ from accurate ones, and what follows from it.

    Attributes:
        molecule, accurate, cheap: names of the molecule and the levels.
        by_frame: (frames,) mean size of a component of the bias, Δ of section 3.1, kcal/mol/Å.
        by_atom: (atoms,) the same by atom.
        varying_by_frame: (frames,) the same of what neither a constant nor a linear correction removes.
        constant: share of the squared bias that is a constant pull along each pair of atoms, on frames that did not
            show it; slightly negative where there is none.
        linear: further share that is linear in the distortion of the molecule.
        error: kcal/mol/Å, what accurate labels reach alone: as given, or else a harmonic force field of these frames,
            on frames that it has not seen.
        verdict: `PRE_TRAIN`, `WITH_WEIGHTS` or `DO_NOT`.
        reason: of the verdict, a sentence.
    """

    molecule: str
    accurate: str
    cheap: str
    by_frame: np.ndarray
    by_atom: np.ndarray
    varying_by_frame: np.ndarray
    constant: float
    linear: float
    error: float
    verdict: str
    reason: str

    @property
    def varying(self) -> float:
        """Share of the squared bias that fine-tuning on few frames does not remove."""
        return 1 - self.constant - self.linear

    def __str__(self) -> str:
        return f"{self.verdict}: {self.reason}"


def bias_report(accurate: LabelledSet | ForceField, cheap: LabelledSet, error: float | None = None) -> BiasReport:
    """Look at the bias of cheap labels before anything is trained on them.

    The bias F_cheap − F is divided into what is *constant*, a pull along each pair of atoms; what is *linear* in the
    distortion of the molecule, as wrong force constants are; and what *varies* otherwise. The first two are the force
    of an energy of first and second degree in the inverse distances between atoms, fitted by ridge regression and
    judged on frames that were left out. A few accurate labels are enough to unlearn them, so they do no harm.

    Pre-training leads to a model that is wrong by what varies. It pays if that is less than the error of a model that
    was trained on the accurate labels alone; otherwise this model knows more already than the cheap labels can teach
    it. Weights exp(−Δ/γ), with the median of Δ as γ, are worth their price if they lower what varies by a larger factor
    than √(effective labels / labels), the factor by which an error of a mean rises with the labels they take away.
    Both must hold with 97.5 % certainty, by the scatter between frames.

    Args:
        accurate: labels, of which those frames count that `cheap` has as well; or a force field that predicts them, θ_A
            of `stages.identify_bias`. At most 100 frames are looked at, evenly spread over those there are.
        cheap: cheap labels of the same molecule.
        error: mean absolute force error, on frames that it has not seen, of a model of the accurate labels alone,
            kcal/mol/Å, such as `theta_a.provenance["valid_force_mae"]`. Without it the report takes a harmonic force
            field of the same frames, which a network beats once it has some dozens of labels: the verdict is then more
            hopeful than it may turn out to be.

    Returns:
        The report.

    Raises:
        DatasetError: if fewer than 10 frames have both labels, the labels are the same, or the molecules differ.
        ValueError: if the force field is of another molecule, or the error is not above 0.

    Source:
        The bias of a frame: Bukharin et al. 2023, section 3.1; the weights: Eq. 2. Effective labels: Kish, "Survey
        Sampling" (1965). That a difference of levels helps if it is easier to learn than the level itself: Ramakrishnan
        et al., J. Chem. Theory Comput. 11, 2087 (2015).
    """
    if error is not None and not error > 0:
        raise ValueError(f"error is {error!r}; expected a force error above 0 in kcal/mol/Å, or None")
    if isinstance(accurate, ForceField):
        cheap = cheap[_spread(len(cheap))]
        level, force, common = f"model of {accurate.level}", force_on(accurate, cheap), ""
    else:
        mine, theirs = accurate.paired_with(cheap)
        common = f" ({accurate.common_with(cheap)})" if len(mine) < FEWEST else ""
        some = _spread(len(mine))
        level, force, cheap = accurate.level, accurate.force[mine[some]], cheap[theirs[some]]
    name = f"{cheap.level} labels of {cheap.molecule}"
    if len(cheap) < FEWEST:
        raise DatasetError(
            f"{len(cheap)} frames have both {level} and {name}; a report takes {FEWEST}: label the same frames at both"
            f"{common}"
        )
    bias = (cheap.force - force).numpy()
    if not bias.any():
        raise DatasetError(f"the {name} are those of {level}: give labels of two levels")
    constant, linear = kernels(cheap.pos.numpy())
    left, varying = bias - _left_out(constant, bias), bias - _left_out(linear, bias)
    squared = np.square(bias).sum()
    by_frame = losses.frame_bias(force, cheap.force)
    varying_by_frame = _size(varying)
    alone = np.full(len(cheap), error) if error else _size(force.numpy() - _left_out(linear, force.numpy()))
    verdict, reason = verdict_of(by_frame, varying_by_frame, alone, error is not None)
    return BiasReport(
        molecule=cheap.molecule,
        accurate=level,
        cheap=cheap.level,
        by_frame=by_frame.numpy(),
        by_atom=np.abs(bias).mean(axis=(0, 2)),
        varying_by_frame=varying_by_frame,
        constant=float(1 - np.square(left).sum() / squared),
        linear=float((np.square(left).sum() - np.square(varying).sum()) / squared),
        error=float(alone.mean()),
        verdict=verdict,
        reason=reason,
    )


def overview(reports: Iterable[BiasReport]) -> "pd.DataFrame":
    """A row per report: sizes in kcal/mol/Å, and shares of the squared bias in %."""
    import pandas as pd

    rows = [
        {
            "molecule": in_words(report.molecule),
            "level": report.cheap,
            "frames": len(report.by_frame),
            "bias": report.by_frame.mean(),
            "constant [%]": 100 * report.constant,
            "linear [%]": 100 * report.linear,
            "varies": report.varying_by_frame.mean(),
            "accurate labels alone": report.error,
            "verdict": report.verdict,
        }
        for report in reports
    ]
    return pd.DataFrame(rows)


def verdict_of(bias: torch.Tensor, varying: np.ndarray, alone: np.ndarray, given: bool) -> tuple[str, str]:
    """Verdict and reason, from (frames,) of the bias, of what varies of it, and of the error without cheap labels."""
    whose = "that of accurate labels alone" if given else "that of a harmonic force field of the same frames"
    sizes = (
        f"a model of these labels is wrong by what varies of their bias, {varying.mean():.2f} kcal/mol/Å; this error is"
    )
    than = f"smaller than {whose}, {alone.mean():.2f}"
    if statistics.mean_interval(varying - alone)[2] >= 0:
        return DO_NOT, f"{sizes} not surely {than}, so there is nothing left to learn from them"
    weight = losses.bias_weights(bias, float(bias.median())).numpy()
    draws = np.random.default_rng(0).integers(len(weight), size=(2000, len(weight)))
    w, v = weight[draws], varying[draws]
    effective = w.sum(axis=1) ** 2 / np.square(w).sum(axis=1) / len(weight)
    lowered = (w * v).sum(axis=1) / w.sum(axis=1) / v.mean(axis=1)
    kept, left = 100 * np.mean(effective), 100 * np.mean(lowered)
    factors = f"weighted frames count like {kept:.0f} % of them, and what varies is {left:.0f} % of what it was"
    if np.percentile(lowered / np.sqrt(effective), 97.5) < 1:
        return WITH_WEIGHTS, f"{sizes} {than}, and it differs between frames: {factors}"
    return PRE_TRAIN, f"{sizes} {than}, and much the same in all frames: {factors}"


def _spread(frames: int) -> np.ndarray:
    """Indices of at most `MOST` frames; the first ones alone may be of one trajectory."""
    return np.linspace(0, frames - 1, min(frames, MOST)).astype(int)


def kernels(pos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Covariances of force components (3 · frames · atoms, the same) for a random energy of first and second degree.

    With q the inverse distances of all pairs of atoms, in standard deviations from their means, and J = −∂q/∂x, an
    energy of first degree has the kernel q·q' and its force J J'ᵀ; one of both degrees has (1 + q·q')² / 2 and
    (1 + q·q') J J'ᵀ + (J q') (J' q)ᵀ.
    """
    q, jacobian = pulls(pos)
    frames, components, pairs = jacobian.shape
    flat = jacobian.reshape(-1, pairs)
    first = flat @ flat.T
    mixed = (flat @ q.T).reshape(frames, components, frames)  # J of the first frame, q of the second
    second = np.repeat(np.repeat(1 + q @ q.T, components, axis=0), components, axis=1) * first
    second += np.einsum("iaj,jbi->iajb", mixed, mixed).reshape(second.shape)
    return first, second


def smooth_kernel(pos: np.ndarray) -> np.ndarray:
    """Covariances of force components (3 · frames · atoms, the same) for a random energy that changes smoothly.

    With q and J of `bias.pulls`, d = q − q' and ℓ² in units of the number of pairs, the energy has the covariance
    exp(−d²/2ℓ²) and its force that times J J'ᵀ/ℓ² − (J d)(J' d)ᵀ/ℓ⁴. Ten frames are enough for it.
    """
    q, jacobian = pulls(pos)
    frames, components, pairs = jacobian.shape
    square = _LENGTH**2 * pairs
    apart = q[:, None] - q  # (frames, frames, pairs)
    flat = jacobian.reshape(-1, pairs)
    along = np.einsum("fcp,fgp->fcg", jacobian, apart), np.einsum("gcp,fgp->fgc", jacobian, apart)
    covariance = (flat @ flat.T).reshape(frames, components, frames, components) / square
    covariance -= np.einsum("fcg,fgd->fcgd", *along) / square**2
    covariance *= np.exp(-np.square(apart).sum(axis=2) / 2 / square)[:, None, :, None]
    return covariance.reshape(len(flat), len(flat))


def pulls(pos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distortion q (frames, pairs) of `integration.distortion`, and J = −∂q/∂x, (frames, 3 · atoms, pairs), 1/Å."""
    i, j, q, slope = distortion(pos)
    frames, atoms, _ = pos.shape
    pairs = np.arange(len(i))
    jacobian = np.zeros((frames, len(i), atoms, 3))
    jacobian[:, pairs, i], jacobian[:, pairs, j] = slope, -slope
    return q, jacobian.reshape(frames, len(i), 3 * atoms).swapaxes(1, 2)


def _left_out(kernel: np.ndarray, force: np.ndarray) -> np.ndarray:
    """Predictions of forces (frames, atoms, 3) by ridge regression on the other frames, in `FOLDS` folds."""
    fold = np.random.default_rng(0).permutation(len(force)) % FOLDS
    fold = np.repeat(fold, force[0].size)
    flat, predicted = force.ravel(), np.empty(force.size)
    for number in range(FOLDS):
        seen, new = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        inner = kernel[np.ix_(seen, seen)]
        inner[np.diag_indices_from(inner)] += _RIDGE * np.trace(inner) / len(inner)
        predicted[new] = kernel[np.ix_(new, seen)] @ np.linalg.solve(inner, flat[seen])
    return predicted.reshape(force.shape)


def _size(force: np.ndarray) -> np.ndarray:
    """(frames,) mean size of a component."""
    return np.abs(force).mean(axis=(1, 2))
