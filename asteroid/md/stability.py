"""Does a simulated molecule stay itself? Bonds, energy drift, distances, vibrations and times to failure.

There are three measures of a broken molecule, each for a question of its own:

- by its extent (`LARGEST_EXTENT`): the paper's measure, which needs no bonds. It ends a simulation, and is what
  records call the largest distance.
- by a bond that deviates (`BOND_LIMIT`): that of Fu et al., which sees a collapse earlier. Records count failures by it
  beside the paper's.
- by other bonds than the start (`LONGEST_BOND`, `SHORTEST_CONTACT`): the strictest, for frames that are to be labelled,
  of which none may be of another molecule.
"""

import warnings
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from ase.data import covalent_radii
from scipy import signal, stats
from scipy.spatial.transform import Rotation

from asteroid.units import WAVENUMBER

if TYPE_CHECKING:
    from asteroid.md.dynamics import Trajectory

LARGEST_EXTENT = 2.0
"""Largest distance between two atoms in parts of that at the start: no conformation reaches it, and the parts of a
broken molecule pass it within a picosecond."""

BOND_LIMIT = 0.5
"""Å by which a bond may deviate before a simulation counts as collapsed (Fu et al. 2023)."""

LONGEST_BOND, SHORTEST_CONTACT = 1.5, 1.0
"""Of frames to label: length of a bond at most, in parts of that at the start, and distance of atoms that have none, at
least, in sums of their covalent radii."""

_BONDED = 1.25  # times the sum of the covalent radii


class Interval(NamedTuple):
    """An estimate and its 95 % confidence interval."""

    estimate: float
    low: float
    high: float


def bonds(z: np.ndarray, pos: np.ndarray) -> np.ndarray:
    """Bonded pairs of atoms, those closer than 1.25 times the sum of their covalent radii.

    Args:
        z: (atoms,) atomic numbers.
        pos: (atoms, 3), Å.

    Returns:
        (bonds, 2) indices.
    """
    pairs = np.stack(np.triu_indices(len(z), 1), axis=1)
    radii = covalent_radii[np.asarray(z)]
    return pairs[bond_lengths(pos, pairs) < _BONDED * radii[pairs].sum(axis=1)]


def bond_lengths(pos: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Lengths (..., bonds), Å, of pairs (bonds, 2) in pos (..., atoms, 3)."""
    pos = np.asarray(pos)
    return np.linalg.norm(pos[..., pairs[:, 0], :] - pos[..., pairs[:, 1], :], axis=-1)


def largest_distance(pos: np.ndarray) -> float:
    """Largest distance between two atoms of pos (atoms, 3), Å."""
    with np.errstate(over="ignore", invalid="ignore"):  # of a molecule that has exploded
        return float(np.linalg.norm(pos[:, None] - pos[None], axis=-1).max())


def extent_limit(start: np.ndarray) -> float:
    """Largest distance between two atoms at which a molecule counts as whole, Å, by its start (atoms, 3)."""
    return LARGEST_EXTENT * largest_distance(start)


def whole_frames(z: np.ndarray, start: np.ndarray, pos: np.ndarray) -> int:
    """How many frames come before the first with other bonds than the start.

    Args:
        z: (atoms,) atomic numbers.
        start: (atoms, 3), Å.
        pos: (frames, atoms, 3), Å.
    """
    pairs = np.stack(np.triu_indices(len(z), 1), axis=1)
    first, distance = bond_lengths(start, pairs), bond_lengths(pos, pairs)  # (pairs,), (frames, pairs)
    sum_of_radii = covalent_radii[np.asarray(z)][pairs].sum(axis=1)
    bonded = first < _BONDED * sum_of_radii
    whole = np.where(bonded, distance < LONGEST_BOND * first, distance > SHORTEST_CONTACT * sum_of_radii).all(axis=1)
    return len(pos) if whole.all() else int(whole.argmin())


def time_to_failure(
    trajectory: "Trajectory", pairs: np.ndarray | None = None, lengths: np.ndarray | None = None
) -> tuple[float, bool]:
    """When a simulation failed, or how long it lasted.

    By the paper's measure a simulation fails when two atoms are further apart than the trajectory's limit. With bonds
    given it fails, earlier as a rule, when the first of them deviates by more than `BOND_LIMIT`.

    Args:
        trajectory: from `dynamics.langevin`.
        pairs: (bonds, 2), from `bonds`.
        lengths: (bonds,) reference lengths, Å.

    Returns:
        Time of the first frame that fails, or of the last frame, fs; and whether it failed.

    Source:
        Bukharin et al. 2023, section 5.5; Fu et al., "Forces are not Enough" (TMLR 2023), for bonds.
    """
    if pairs is not None:
        broken = (np.abs(bond_lengths(trajectory.pos, pairs) - lengths) > BOND_LIMIT).any(axis=1)
        if broken.any():
            return float(trajectory.time[broken.argmax()]), True
    return float(trajectory.time[-1]), not trajectory.stable


def energy_drift(trajectory: "Trajectory") -> float:
    """Slope of the total energy of a run without friction, kcal/mol/ps, by least squares."""
    return float(np.polyfit(trajectory.time / 1000, trajectory.total_energy, 1)[0])


def distance_distribution(pos: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Density h(r), 1/Å, of the distances of all pairs of atoms in all frames.

    Args:
        pos: (frames, atoms, 3), Å.
        edges: (bins + 1,) of the bins, Å; distances outside count in the total.

    Returns:
        (bins,) whose integral is 1 where all distances are inside.

    Source:
        Fu et al., "Forces are not Enough" (TMLR 2023).
    """
    distance = bond_lengths(pos, np.stack(np.triu_indices(pos.shape[1], 1), axis=1))
    return np.histogram(distance, edges)[0] / (distance.size * np.diff(edges))


def distribution_error(density: np.ndarray, reference: np.ndarray, edges: np.ndarray) -> float:
    """∫ |h(r) − h_ref(r)| dr, between 0 and 2: the error of the interatomic-distance distribution (Fu et al. 2023)."""
    return float((np.abs(density - reference) * np.diff(edges)).sum())


def vibrational_spectrum(
    pos: np.ndarray, velocity: np.ndarray, mass: np.ndarray, spacing: float, resolution: float = 20.0
) -> tuple[np.ndarray, np.ndarray]:
    """Vibrational density of states: the spectrum of the mass-weighted velocities, without those of the whole molecule.

    S(ν) ∝ Σ_i m_i |∫ v_i(t) exp(−2πiνt) dt|², which is the Fourier transform of their autocorrelation, averaged over
    overlapping stretches of time (Welch).

    Args:
        pos: (..., frames, atoms, 3), Å; an average is taken over leading axes.
        velocity: of the same shape, Å/fs.
        mass: (atoms,), u.
        spacing: time between frames, fs; wavenumbers up to 16678 / spacing are seen.
        resolution: 1/cm; coarser where the run is too short for it.

    Returns:
        Wavenumbers (points,), 1/cm, and density (points,), cm, whose integral is 1.

    Source:
        Dickey and Paskin, Phys. Rev. 188, 1407 (1969).
    """
    weighted = np.sqrt(mass)[:, None] * without_rigid_motion(pos, velocity, mass)
    stretch = min(velocity.shape[-3], max(8, round(WAVENUMBER / (resolution * spacing))))
    frequency, power = signal.welch(weighted, 1 / spacing, nperseg=stretch, detrend=False, axis=-3)
    power = np.moveaxis(power, -3, -1).reshape(-1, len(frequency)).sum(axis=0)
    wavenumber = frequency * WAVENUMBER
    return wavenumber, power / np.trapezoid(power, wavenumber)


def without_rigid_motion(pos: np.ndarray, velocity: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """Velocities less those of the centre of mass and of the rotation, ω = I⁻¹ L.

    Args:
        pos, velocity: (..., atoms, 3).
        mass: (atoms,).
    """
    weight = mass[:, None] / mass.sum()
    offset = pos - (weight * pos).sum(axis=-2, keepdims=True)
    velocity = velocity - (weight * velocity).sum(axis=-2, keepdims=True)
    momentum = (weight * np.cross(offset, velocity)).sum(axis=-2)  # angular, (..., 3)
    square = (weight * offset**2).sum(axis=(-1, -2))[..., None, None] * np.eye(3)
    inertia = square - (weight * offset).swapaxes(-1, -2) @ offset
    # A linear molecule has no inertia about its axis.
    spin = np.linalg.pinv(inertia, rcond=1e-8, hermitian=True) @ momentum[..., None]
    return velocity - np.cross(spin.swapaxes(-1, -2), offset)


def proportion(successes: int, runs: int) -> Interval:
    """Fraction of runs that succeeded, with Wilson's binomial interval."""
    result = stats.binomtest(int(successes), int(runs))
    interval = result.proportion_ci(method="wilson")
    return Interval(float(result.statistic), float(interval.low), float(interval.high))


def survival(time: np.ndarray, failed: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Kaplan-Meier estimate of the fraction of simulations that are still whole.

    Args:
        time: (runs,) time of failure, or of the end of a run that did not fail.
        failed: (runs,) whether it failed.

    Returns:
        Times (points,) from 0 on, the fraction whole from then on, and the lower and upper bound of its 95 % interval,
        by Greenwood's variance of log(−log). Where no run has failed yet, the interval is the binomial one.
    """
    time, failed = np.asarray(time, dtype=float), np.asarray(failed, dtype=bool)
    whole = stats.ecdf(stats.CensoredData.right_censored(time, ~failed)).sf
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # undefined at fractions of 0 and 1, which are filled in below
        interval = whole.confidence_interval(method="log-log")
    low, high = interval.low.probabilities, interval.high.probabilities
    none_left, all_left = proportion(0, len(time)), proportion(len(time), len(time))
    fraction = whole.probabilities
    low = np.select([fraction == 1, fraction == 0], [all_left.low, none_left.low], low)
    high = np.select([fraction == 1, fraction == 0], [all_left.high, none_left.high], high)
    columns = (whole.quantiles, fraction, low, high)
    starts = (0.0, 1.0, all_left.low, all_left.high)
    return tuple(np.concatenate([[start], column]) for start, column in zip(starts, columns, strict=True))


def mean_time_to_failure(time: np.ndarray, failed: np.ndarray) -> Interval:
    """Total time over number of failures, with the interval of a constant rate of failure (Garwood 1936).

    Without a failure the estimate and the upper bound are infinite, and the lower bound says what is excluded.

    Args:
        time: (runs,) time of failure, or of the end of a run that did not fail, in any unit.
        failed: (runs,) whether it failed.
    """
    total, failures = float(np.sum(time)), int(np.sum(failed))
    low = 2 * total / stats.chi2.ppf(0.975, 2 * failures + 2)
    if not failures:
        return Interval(np.inf, float(low), np.inf)
    return Interval(total / failures, float(low), float(2 * total / stats.chi2.ppf(0.025, 2 * failures)))


def frames_to_play(trajectory: "Trajectory", frames: int = 150) -> np.ndarray:
    """At most so many frames (frames, atoms, 3), Å, evenly spaced, each turned onto the first to stay in view."""
    step = -(-len(trajectory.pos) // frames)
    pos = trajectory.pos[::step]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # how far a linear molecule turns about its axis is not defined
        return np.stack([Rotation.align_vectors(pos[0], frame)[0].apply(frame) for frame in pos])
