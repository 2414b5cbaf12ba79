"""Molecular dynamics of any ASE calculator, and whether the molecule stays together."""

import warnings
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase import units as ase_units
from ase.calculators.calculator import Calculator
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import Stationary, thermalize_momenta

from asteroid.units import KCAL_PER_MOL_IN_EV


@dataclass(frozen=True)
class Trajectory:
    """Frames of a simulation and what was measured on them.

    Attributes:
        z: (atoms,) atomic numbers.
        pos: (frames, atoms, 3), Å, centre of mass at the origin.
        time: (frames,), fs.
        temperature: (frames,), K, of all 3 · atoms degrees of freedom.
        potential_energy: (frames,), kcal/mol.
        largest_distance: (frames,) largest distance between two atoms, Å.
        limit: the largest distance at which the molecule still counts as whole, Å.
        stable: whether the molecule stayed together to the end.
        verdict: how the simulation ended, in words.
    """

    z: np.ndarray
    pos: np.ndarray
    time: np.ndarray
    temperature: np.ndarray
    potential_energy: np.ndarray
    largest_distance: np.ndarray
    limit: float
    stable: bool
    verdict: str


def langevin(
    atoms: Atoms,
    calculator: Calculator,
    *,
    steps: int,
    temperature: float = 500.0,
    timestep: float = 0.5,
    friction: float = 0.002,
    every: int = 10,
    limit: float | None = None,
    seed: int = 0,
) -> Trajectory:
    """Langevin dynamics with ASE's integrator from Maxwell-Boltzmann velocities.

    A molecule that comes apart ends the simulation; the frames up to there are returned.

    Args:
        atoms: start; not changed.
        calculator: energies and forces.
        steps: number of steps.
        temperature: K.
        timestep: fs.
        friction: 1/fs.
        every: steps between two frames kept.
        limit: largest distance between two atoms of a molecule that is whole, Å; by default twice that at the start.
        seed: of velocities and noise.

    Returns:
        The trajectory.

    Raises:
        ValueError: if the steps are no multiple of `every`, or the calculator is of another molecule.

    Source:
        Bukharin et al. 2023, section 5.5, for the defaults of temperature, timestep and friction.
    """
    if every < 1 or steps < 1 or steps % every:
        raise ValueError(f"steps is {steps} and every is {every}; expected positive numbers, steps a multiple of every")
    atoms = atoms.copy()
    atoms.calc = calculator
    generator = np.random.default_rng(seed)
    thermalize_momenta(atoms, temperature, rng=generator)
    Stationary(atoms)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # ASE announces changes of `fixcm`, which is set here
        # ASE's default takes the centre of mass out of the noise in a way that heats small molecules by half.
        dynamics = Langevin(
            atoms,
            timestep * ase_units.fs,
            temperature_K=temperature,
            friction=friction / ase_units.fs,
            fixcm=False,
            rng=generator,
        )
    limit = 2 * _largest_distance(atoms) if limit is None else limit
    rows: list[tuple] = []
    stable = True
    verdict = f"stayed together for {steps} steps ({steps * timestep / 1000:g} ps)"
    for step in range(0, steps + 1, every):
        try:
            dynamics.run(every if step else 0)
        except ValueError:  # a force field refuses positions that are not finite
            if np.isfinite(atoms.positions).all():
                raise
        distance = _largest_distance(atoms)
        if not np.isfinite(distance):
            stable = False
            verdict = f"came apart before step {step}: positions are no longer finite"
            break
        pos = atoms.positions - atoms.get_center_of_mass()
        kelvin = 2 * atoms.get_kinetic_energy() / (3 * len(atoms) * ase_units.kB)
        energy = atoms.get_potential_energy() / KCAL_PER_MOL_IN_EV
        rows.append((pos, step * timestep, kelvin, energy, distance))
        if distance > limit:
            stable = False
            verdict = f"came apart by step {step}: two atoms are {distance:.1f} Å apart, more than {limit:.1f} Å"
            break
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    return Trajectory(atoms.numbers, *columns, limit=limit, stable=stable, verdict=verdict)


def _largest_distance(atoms: Atoms) -> float:
    pos = atoms.positions
    return float(np.linalg.norm(pos[:, None] - pos[None, :], axis=-1).max())
