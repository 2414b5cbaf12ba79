"""Molecular dynamics of many replicas of a molecule at once, and whether they stay together."""

import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import overload

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculationFailed, Calculator
from ase.md.velocitydistribution import Stationary, thermalize_momenta
from ase.units import fs

from asteroid import machine, state
from asteroid.md import stability, vibrations
from asteroid.md.calculator import Potential, batch_of, computes_at_once
from asteroid.units import BOLTZMANN, MASS, WAVENUMBER

STEPS_PER_PERIOD = 5  # fewer are warned of; below π Verlet is unstable for any oscillator


@dataclass(frozen=True)
class Trajectory:
    """Frames of a simulation and what was measured on them.

    Attributes:
        z: (atoms,) atomic numbers.
        pos: (frames, atoms, 3), Å, centre of mass at the origin.
        velocity: (frames, atoms, 3), Å/fs.
        time: (frames,), fs.
        temperature: (frames,), K, of all 3 · atoms degrees of freedom. The centre of mass is at rest at the start, and
            without friction stays so: (atoms − 1)/atoms of what the other degrees of freedom have.
        potential_energy: (frames,), kcal/mol.
        largest_distance: (frames,) largest distance between two atoms, Å.
        limit: the largest distance at which the molecule still counts as whole, Å.
        stable: whether the molecule stayed together to the end.
        verdict: how the simulation ended, in words.
    """

    z: np.ndarray
    pos: np.ndarray
    velocity: np.ndarray
    time: np.ndarray
    temperature: np.ndarray
    potential_energy: np.ndarray
    largest_distance: np.ndarray
    limit: float
    stable: bool
    verdict: str

    @property
    def total_energy(self) -> np.ndarray:
        """(frames,) potential and kinetic energy, kcal/mol."""
        return self.potential_energy + 1.5 * len(self.z) * BOLTZMANN * self.temperature


@overload
def langevin(atoms: Atoms, potential: Potential | Calculator, **settings) -> Trajectory: ...
@overload
def langevin(atoms: Sequence[Atoms], potential: Potential | Calculator, **settings) -> list[Trajectory]: ...
def langevin(
    atoms,
    potential,
    *,
    steps: int,
    temperature: float = 500.0,
    timestep: float = 0.5,
    friction: float = 0.002,
    every: int = 10,
    limit: float | None = None,
    seed: int = 0,
):
    """Langevin dynamics from Maxwell-Boltzmann velocities, of one molecule or of many replicas of it at once.

    With the velocity v, the acceleration a = F/m, the friction γ, σ² = 2 k_B T γ / m and normal numbers ξ and η, a step
    h changes the velocity by a half step, the position, and the velocity by the same half step with the new force:

        v ← v + h/2 (a − γv) − h²γ/8 (a − γv) + √h σξ/2 − h^(3/2) γσ (ξ/8 + η/(4√3)),
        x ← x + hv + h^(3/2) σ η / (2√3).

    It is what ASE's `Langevin(fixcm=False)` does, with the same random numbers. Without friction it is velocity Verlet,
    which conserves the total energy (NVE).

    The centre of mass starts at rest. A replica that comes apart ends with its frames up to there; the others go on. A
    time step that is too long for the fastest vibration at the starts is warned of before the run, where to find that
    costs at most a tenth of it; so is a temperature above that of the frames which a force field has learned from.

    Args:
        atoms: start, or one for each replica, all of the same atoms in the same order; not changed. A calculator sees
            all that the first one says, such as its charge.
        potential: a ForceField, or any ASE calculator, which computes one replica after another. (A calculator of a
            force field is slower than the force field itself, its `force_field`.)
        steps: number of steps.
        temperature: K.
        timestep: fs.
        friction: 1/fs.
        every: steps between two frames kept.
        limit: largest distance between two atoms of a molecule that is whole, Å; None: `stability.extent_limit` of the
            start.
        seed: of velocities and noise; each replica has a stream of its own, whatever others there are.

    Returns:
        The trajectory, or one for each replica.

    Raises:
        ValueError: if the steps are no multiple of `every`, a setting is out of its range, the starts are different
            molecules, isotopes or states of charge, periodic or constrained, or the potential is of another molecule.

    Source:
        Vanden-Eijnden and Ciccotti, Chem. Phys. Lett. 429, 310 (2006), Eq. 23. Bukharin et al. 2023, section 5.5, for
        the defaults of temperature, timestep and friction, and for the largest distance as the measure of stability.
    """
    if every < 1 or steps < 1 or steps % every:
        raise ValueError(f"steps is {steps} and every is {every}; expected positive numbers, steps a multiple of every")
    if not (
        0 <= temperature < np.inf
        and 0 <= friction < np.inf
        and 0 < timestep < np.inf
        and (limit is None or limit > 0)  # no NaN, which no distance exceeds
    ):
        raise ValueError(
            f"temperature is {temperature} K, friction {friction}/fs, timestep {timestep} fs and limit {limit} Å; "
            "expected finite numbers, the first two not negative, the others positive"
        )
    starts = [atoms] if isinstance(atoms, Atoms) else list(atoms)
    if not starts or any(not np.array_equal(start.numbers, starts[0].numbers) for start in starts):
        raise ValueError("expected one start or more, all of the same atoms in the same order")
    for start in starts:
        state.check_alone(start)
        if start.constraints:
            raise ValueError(
                "a start has constraints, which these dynamics do not keep: take them off with "
                "`atoms.set_constraint()`, or run ASE's own dynamics with a force field's `calculator()`"
            )
    if any(not np.array_equal(start.get_masses(), starts[0].get_masses()) for start in starts):
        raise ValueError("the starts have different masses; expected the same isotopes in all of them")
    state.check_same(starts)
    affordable = min(5, steps * len(starts) // (10 * 6 * len(starts[0])))
    if frequencies := [highest_frequency(start, potential) for start in starts[:affordable]]:
        _warn_of_long_steps(timestep, max(frequencies))
    domain = potential.domain if computes_at_once(potential) else None
    if domain is not None and domain.temperature is not None and temperature > 1.01 * domain.temperature:
        warnings.warn(
            f"the simulation is at {temperature:g} K, and the force field has learned from frames sampled at "
            f"{domain.temperature:g} K: it will extrapolate",
            stacklevel=2,
        )
    replicas = [_Replica(start, temperature, [seed, place], limit) for place, start in enumerate(starts)]
    guarded = _Guarded(potential, starts[0], steps + 1)
    with machine.long_work() if guarded.at_once else nullcontext():
        _run(replicas, guarded, steps, temperature, timestep, friction, every)
    trajectories = [replica.trajectory(steps, timestep) for replica in replicas]
    return trajectories[0] if isinstance(atoms, Atoms) else trajectories


def highest_frequency(atoms: Atoms, potential: Potential | Calculator) -> float:
    """Wavenumber of the fastest vibration, 1/cm, from the mass-weighted Hessian by central differences of forces.

    Args:
        atoms: the geometry; a minimum gives the harmonic frequency, any other about the same.
        potential: as in `langevin`; it computes 6 · atoms geometries.
    """
    weighted = vibrations.mass_weighted(atoms, vibrations.hessian(atoms, potential))
    squared = np.linalg.eigvalsh(weighted)[-1] / MASS if np.isfinite(weighted).all() else np.nan
    return float(np.sqrt(max(squared, 0.0)) / (2 * np.pi) * WAVENUMBER)


def _warn_of_long_steps(timestep: float, wavenumber: float) -> None:
    period = WAVENUMBER / wavenumber if wavenumber > 0 else np.inf  # fs
    if timestep * STEPS_PER_PERIOD > period:
        warnings.warn(
            f"a time step of {timestep:g} fs is long for the fastest vibration at the start ({wavenumber:.0f}/cm, "
            f"period {period:.3g} fs): from {period / np.pi:.2g} fs on, or before, it is unstable; take "
            f"{period / 10:.2g} fs",
            stacklevel=3,
        )


class _Guarded:
    """Energy and force of replicas of which some may have exploded: those get NaN, and the others what they should."""

    def __init__(self, potential: Potential | Calculator, atoms: Atoms, calls: int):
        self.batch, self.at_once = batch_of(potential, atoms, calls), computes_at_once(potential)
        self.cause = "positions are no longer finite"

    def __call__(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        energy, force = np.full(len(x), np.nan), np.full_like(x, np.nan)
        finite = np.flatnonzero(np.isfinite(x).all(axis=(1, 2)))
        for rows in finite[None] if self.at_once and len(finite) else finite[:, None]:
            try:
                energy[rows], force[rows] = self.batch(x[rows])
            except CalculationFailed as error:
                self.cause = f"the calculator failed ({error})"
        return energy, force


class _Replica:
    """One simulation under way."""

    def __init__(self, start: Atoms, temperature: float, seed: list[int], limit: float | None):
        atoms = start.copy()
        self.z, self.mass = atoms.numbers, atoms.get_masses()[:, None]
        self.generator = np.random.default_rng(seed)
        thermalize_momenta(atoms, temperature, rng=self.generator)
        if len(atoms) > 1:
            Stationary(atoms, preserve_temperature=False)  # rescaled, inner motion would be too hot
        self.start, self.velocity = atoms.positions, atoms.get_velocities() * fs
        self.limit = stability.extent_limit(atoms.positions) if limit is None else limit
        self.rows: list[tuple] = []
        self.failure: str | None = None

    def keep(self, step: int, timestep: float, x: np.ndarray, v: np.ndarray, energy: float, cause: str) -> None:
        """Keep a frame, and note whether the molecule is still whole; `cause` is why it may hold no numbers."""
        distance = stability.largest_distance(x)
        if not (np.isfinite(distance) and np.isfinite(energy) and np.isfinite(v).all()):
            self.failure = f"came apart before step {step}: {cause}"
            return
        x = x - (self.mass * x).sum(axis=0) / self.mass.sum()
        kelvin = MASS * (self.mass * v**2).sum() / (3 * len(x) * BOLTZMANN)
        self.rows.append((x, v.copy(), step * timestep, kelvin, energy, distance))
        if distance > self.limit:
            apart = f"two atoms are {distance:.1f} Å apart, more than {self.limit:.1f} Å"
            self.failure = f"came apart by step {step}: {apart}"

    def trajectory(self, steps: int, timestep: float) -> Trajectory:
        columns = [np.array(column) for column in zip(*self.rows, strict=True)]
        stable = self.failure is None
        verdict = f"stayed together for {steps} steps ({steps * timestep / 1000:g} ps)" if stable else self.failure
        return Trajectory(self.z, *columns, limit=self.limit, stable=stable, verdict=verdict)


def _run(
    replicas: list[_Replica],
    potential: _Guarded,
    steps: int,
    temperature: float,
    timestep: float,
    friction: float,
    every: int,
) -> None:
    """Move the replicas; those that fail are left behind."""
    mass, h = replicas[0].mass, timestep
    sigma = np.sqrt(2 * BOLTZMANN * temperature * friction / (mass * MASS))
    of_acceleration, of_velocity = h / 2 - h**2 * friction / 8, h * friction / 2 - (h * friction) ** 2 / 8
    to_position = h**1.5 * sigma / (2 * np.sqrt(3))
    to_velocity, both = np.sqrt(h) * sigma / 2 - h**1.5 * friction * sigma / 8, friction / 2 * to_position

    x, v = (np.array(part) for part in zip(*[(replica.start, replica.velocity) for replica in replicas], strict=True))
    energy, force = potential.batch(x)  # a start that cannot be computed is an error
    if not (np.isfinite(energy).all() and np.isfinite(force).all()):
        raise ValueError("the potential gives no finite energy and force at the start")
    acceleration = force / (mass * MASS)
    for replica, *now in zip(replicas, x, v, energy, strict=True):
        replica.keep(0, h, *now, potential.cause)
    for first in range(0, steps, every):
        running = [replica.failure is None for replica in replicas]
        replicas = [replica for replica in replicas if replica.failure is None]
        if not replicas:
            return
        x, v, acceleration = x[running], v[running], acceleration[running]
        # (every, 2, replicas, atoms, 3): drawn for many steps at once, by each replica in the order of ASE's
        noise = np.stack([r.generator.standard_normal((every, 2, *r.start.shape)) for r in replicas], axis=2)
        with np.errstate(over="ignore", invalid="ignore"):  # of replicas that explode
            for xi, eta in noise:
                kick = to_velocity * xi - both * eta
                v += of_acceleration * acceleration - of_velocity * v + kick
                x += h * v + to_position * eta
                energy, force = potential(x)
                acceleration = force / (mass * MASS)
                v += of_acceleration * acceleration - of_velocity * v + kick
            for replica, *now in zip(replicas, x, v, energy, strict=True):
                replica.keep(first + every, h, *now, potential.cause)
