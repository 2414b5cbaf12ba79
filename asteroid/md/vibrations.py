"""Harmonic vibrations about a minimum: the Hessian by differences of forces, and wavenumbers without rigid motion."""

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.optimize import BFGS

from asteroid import files
from asteroid.md import stability
from asteroid.md.calculator import ForceFieldCalculator, Potential, batch_of, computes_at_once
from asteroid.units import KCAL_PER_MOL_IN_EV, MASS, WAVENUMBER

SOFT = 50.0
"""1/cm. What turns nearly freely has no harmonic frequency, and often an imaginary one of some 20/cm. A saddle point
has one that is more imaginary than this."""

_FRAMES_AT_ONCE = 32  # of the Hessian's, which bounds the memory


@dataclass(frozen=True)
class Vibrations:
    """A minimum of the energy and the harmonic vibrations about it.

    Attributes:
        z: (atoms,) atomic numbers.
        pos: (atoms, 3) the minimum, Å.
        wavenumber: (modes,), 1/cm, rising; an imaginary one is a negative number.
    """

    z: np.ndarray
    pos: np.ndarray
    wavenumber: np.ndarray

    @property
    def saddle(self) -> bool:
        """Whether it is no minimum after all: a frequency is more imaginary than `SOFT`."""
        return bool((self.wavenumber < -SOFT).any())


@dataclass(frozen=True)
class Difference:
    """How far the wavenumbers of one potential are off those of another, paired in rising order.

    Attributes:
        mean: of the absolute differences, 1/cm.
        largest: the difference of largest size, 1/cm, with its sign.
        at: the reference's wavenumber there, 1/cm.
    """

    mean: float
    largest: float
    at: float


def at_minimum(
    atoms: Atoms, potential: Potential | Calculator, path: str | os.PathLike | None = None, **settings: float
) -> Vibrations:
    """The minimum next to a geometry, and the vibrations there.

    Args:
        atoms: the geometry; not changed.
        potential: a ForceField, or any ASE calculator. A force field is best in double precision, as `in_precision`
            gives it.
        path: file that the result is kept in, and read from where it holds that of the same geometry; None: none.
        settings: of `minimum`.

    Raises:
        RuntimeError: there is no minimum, see `minimum`.
    """
    if path is not None and (there := _read(Path(path), atoms)) is not None:
        return there
    relaxed = minimum(atoms, potential, **settings)
    found = Vibrations(relaxed.numbers, relaxed.positions, wavenumbers(relaxed, hessian(relaxed, potential)))
    if path is not None:
        with files.replacing(Path(path), "the vibrations") as temporary, open(temporary, "wb") as file:
            np.savez(file, start=atoms.positions, **vars(found))
    return found


def or_why_not(find: Callable[[], Vibrations]) -> tuple[Vibrations | None, str]:
    """What is found, or None and the message of the RuntimeError that says why nothing is."""
    try:
        return find(), ""
    except RuntimeError as error:
        return None, str(error)


def minimum(atoms: Atoms, potential: Potential | Calculator, fmax: float = 0.1, steps: int = 500) -> Atoms:
    """The minimum of the energy next to a geometry, by BFGS.

    Args:
        atoms: the geometry; not changed.
        potential: as in `at_minimum`.
        fmax: largest force on an atom at which it counts as reached, kcal/mol/Å.
        steps: at most.

    Returns:
        The relaxed atoms, without a calculator.

    Raises:
        RuntimeError: the forces stay larger, or the molecule has other bonds in the end.
    """
    relaxed = atoms.copy()
    relaxed.calc = ForceFieldCalculator(potential) if computes_at_once(potential) else potential
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a domain that is left on the way; the end is what counts
        converged = BFGS(relaxed, logfile=None).run(fmax=fmax * KCAL_PER_MOL_IN_EV, steps=steps)
    force = np.linalg.norm(relaxed.get_forces(), axis=1).max() / KCAL_PER_MOL_IN_EV
    relaxed.calc, formula = None, atoms.get_chemical_formula()
    if not converged:
        raise RuntimeError(
            f"{formula} has no minimum within {steps} steps from this geometry: the largest force is still "
            f"{force:.2g} kcal/mol/Å, wanted {fmax:g}; start nearer to one"
        )
    if not stability.whole_frames(atoms.numbers, atoms.positions, relaxed.positions[None]):
        raise RuntimeError(f"{formula} relaxes to a molecule with other bonds than those of the start")
    return relaxed


def hessian(atoms: Atoms, potential: Potential | Calculator, step: float = 0.01) -> np.ndarray:
    """Second derivatives of the energy by central differences of forces.

    Args:
        atoms: the geometry.
        potential: a ForceField, which computes many geometries at once, or any ASE calculator.
        step: Å by which each coordinate is moved there and back: 6 · atoms geometries.

    Returns:
        (3 · atoms, 3 · atoms), kcal/mol/Å², symmetric.
    """
    batch = batch_of(potential, atoms, 1)
    size = 3 * len(atoms)
    shifts = np.concatenate([step * np.eye(size), -step * np.eye(size)]).reshape(-1, len(atoms), 3)
    geometries = atoms.positions + shifts
    force = np.concatenate(
        [batch(geometries[i : i + _FRAMES_AT_ONCE])[1] for i in range(0, len(geometries), _FRAMES_AT_ONCE)]
    ).reshape(2, size, size)
    found = (force[1] - force[0]) / (2 * step)
    return (found + found.T) / 2


def mass_weighted(atoms: Atoms, hessian: np.ndarray) -> np.ndarray:
    """A Hessian (3 · atoms, 3 · atoms) over √(m_i m_j), per u."""
    mass = np.repeat(atoms.get_masses(), 3)
    return hessian / np.sqrt(mass * mass[:, None])


def internal_modes(atoms: Atoms, hessian: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vibrations without translations and rotations, to which they are orthogonal.

    Args:
        atoms: the geometry.
        hessian: (3 · atoms, 3 · atoms) mass-weighted, in any unit.

    Returns:
        ω² (modes,), rising, in the unit of the Hessian, and modes (3 · atoms, modes); there are 3 · atoms − 6 of them,
        − 5 of a linear molecule.
    """
    root = np.sqrt(atoms.get_masses())[:, None]
    centred = atoms.positions - atoms.get_center_of_mass()
    axes = np.eye(3)
    rigid = [*(root * axis for axis in axes), *(root * np.cross(axis, centred) for axis in axes)]
    linear = len(atoms) == 2 or np.isclose(atoms.get_moments_of_inertia()[0], 0, atol=1e-3)
    outer = 5 if linear else 6
    left, _, _ = np.linalg.svd(np.reshape(rigid, (6, -1)).T, full_matrices=True)
    inner = left[:, outer:]  # orthogonal to all of them
    squared, modes = np.linalg.eigh(inner.T @ hessian @ inner)
    return squared, inner @ modes


def wavenumbers(atoms: Atoms, hessian: np.ndarray) -> np.ndarray:
    """Harmonic wavenumbers (modes,), 1/cm, rising, of a Hessian (3 · atoms, 3 · atoms), kcal/mol/Å².

    Imaginary ones are negative. There are 3 · atoms − 6, and 3 · atoms − 5 of a linear molecule.
    """
    squared = internal_modes(atoms, mass_weighted(atoms, hessian))[0] / MASS
    return np.sign(squared) * np.sqrt(np.abs(squared)) / (2 * np.pi) * WAVENUMBER


def difference(found: Vibrations, reference: Vibrations) -> Difference:
    """How far wavenumbers are off a reference's; ValueError for another molecule.

    Where one of the two minima is bent and the other is linear, the bent one's lowest mode has no partner.
    """
    if not np.array_equal(found.z, reference.z):
        raise ValueError(
            f"vibrations of atoms {found.z.tolist()} and of {reference.z.tolist()}; expected those of one molecule"
        )
    mine, theirs = pairs(found, reference)
    worst = int(np.abs(mine - theirs).argmax())
    return Difference(float(np.abs(mine - theirs).mean()), float((mine - theirs)[worst]), float(theirs[worst]))


def pairs(found: Vibrations, reference: Vibrations) -> tuple[np.ndarray, np.ndarray]:
    """Wavenumbers (modes,) of both, 1/cm, that belong together by their order from the highest on."""
    modes = min(len(found.wavenumber), len(reference.wavenumber))
    return found.wavenumber[-modes:], reference.wavenumber[-modes:]


def _read(path: Path, atoms: Atoms) -> Vibrations | None:
    if not path.exists():
        return None
    with np.load(path) as archive:
        kept = dict(archive)
    start = kept.pop("start")
    same = np.array_equal(kept["z"], atoms.numbers) and np.allclose(start, atoms.positions, rtol=0, atol=1e-6)
    return Vibrations(**kept) if same else None
