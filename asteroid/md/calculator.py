"""The border to ASE: a force field as an ASE calculator, and ASE's calculators in our units."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import CalculationFailed, Calculator, all_changes
from torch import Tensor

from asteroid import state
from asteroid.domain import Domain, Watch
from asteroid.units import KCAL_PER_MOL_IN_EV

EnergyAndForce = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Positions (frames, atoms, 3), Å, to energies (frames,), kcal/mol, and forces (frames, atoms, 3), per Å."""


class Potential(Protocol):
    """What the calculator and dynamics need of a force field: a `ForceField`, or one of the baselines'.

    Attributes:
        z: (atoms,) atomic numbers in the order of training.
        provenance: how it came about, with the charge of its labels.
        domain: what it has seen of its molecule; None where it does not say.
    """

    @property
    def z(self) -> Tensor: ...
    @property
    def provenance(self) -> Mapping[str, Any]: ...
    @property
    def domain(self) -> Domain | None: ...
    def evaluator(self, numbers: np.ndarray, calls: int | None = None) -> EnergyAndForce:
        """Energies and forces of many frames at once, for atoms of these numbers; see `ForceField.evaluator`."""


def frame_by_frame(calculator: Calculator, atoms: Atoms, go_on: bool = False) -> EnergyAndForce:
    """Energies and forces of many frames by any ASE calculator, in our units.

    Args:
        calculator: computes one frame after the other.
        atoms: whose elements, `info`, initial charges and magnetic moments it sees in every frame; not changed.
        go_on: whether a frame at which the calculation fails gets NaN, rather than ending with the error.

    Returns:
        A function from positions (frames, atoms, 3), Å, to energies (frames,), kcal/mol, and forces (frames, atoms, 3),
        kcal/mol/Å.
    """
    atoms = atoms.copy()
    atoms.calc = calculator

    def compute(pos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        energy, force = np.empty(len(pos)), np.empty(pos.shape)
        for k, frame in enumerate(pos):
            atoms.positions = frame
            try:
                energy[k], force[k] = atoms.get_potential_energy(), atoms.get_forces()
            except CalculationFailed:
                if not go_on:
                    raise
                energy[k], force[k] = np.nan, np.nan
        return energy / KCAL_PER_MOL_IN_EV, force / KCAL_PER_MOL_IN_EV

    return compute


def computes_at_once(potential: Potential | Calculator) -> bool:
    """Whether it is a force field, which computes many frames together, rather than an ASE calculator."""
    return hasattr(potential, "evaluator")


def batch_of(potential: Potential | Calculator, atoms: Atoms, calls: int | None = None) -> EnergyAndForce:
    """Energies and forces of many frames of a molecule by a force field, at once, or by an ASE calculator, in turn.

    Args:
        potential: which of both.
        atoms: as in `frame_by_frame`.
        calls: as in `ForceField.evaluator`.

    Raises:
        ValueError: for a periodic molecule, or another than that of the force field.
    """
    state.check_alone(atoms)
    if computes_at_once(potential):
        state.check_trained(atoms, potential.provenance)
        return potential.evaluator(atoms.numbers, calls)
    return frame_by_frame(potential, atoms)


def watch(potential: Potential, numbers: np.ndarray) -> Watch:
    """What warns once where a potential's molecule, its atoms in the order of `numbers`, leaves the domain."""
    domain = potential.domain
    return Watch(domain and domain.reordered(potential.z, torch.as_tensor(numbers)))


class StatefulCalculator(Calculator):
    """An ASE calculator that computes anew where the charge or multiplicity that `atoms.info` states has changed."""

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """What has changed since the last calculation."""
        changes = super().check_state(atoms, tol)
        if self.atoms is not None and state.of(self.atoms) != state.of(atoms):
            changes.append("info")
        return changes


class ForceFieldCalculator(StatefulCalculator):
    """ASE calculator of a force field: energy, the same as free energy, in eV, forces in eV/Å.

    It can be pickled and copied at any time. It warns once, at the first geometry outside the force field's `domain`.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces"]

    def __init__(self, force_field: Potential):
        super().__init__()
        self.force_field = force_field
        self._evaluator: EnergyAndForce | None = None
        self._numbers: np.ndarray | None = None
        self._watch = Watch(None)

    def calculate(self, atoms=None, properties=("energy", "forces"), system_changes=all_changes):
        """Fill `results` with energies and forces; ValueError for another molecule or charge, or a periodic one."""
        super().calculate(atoms, properties, system_changes)
        state.check_alone(self.atoms)
        state.check_trained(self.atoms, self.force_field.provenance)
        if not np.array_equal(self._numbers, self.atoms.numbers):
            evaluator = self.force_field.evaluator(self.atoms.numbers)
            self._numbers, self._evaluator = self.atoms.numbers, evaluator
            self._watch = watch(self.force_field, self._numbers)
        elif self._evaluator is None:
            self._evaluator = self.force_field.evaluator(self._numbers)
        self._watch(torch.as_tensor(self.atoms.positions))
        energy, force = self._evaluator(self.atoms.positions[None])
        total = float(energy[0]) * KCAL_PER_MOL_IN_EV
        self.results = {"energy": total, "free_energy": total, "forces": force[0] * KCAL_PER_MOL_IN_EV}

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_evaluator": None}  # whose graph cannot be copied
