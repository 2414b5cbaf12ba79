"""The border to ASE: a force field as an ASE calculator, and ASE's calculators in our units."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import CalculationFailed, Calculator, all_changes
from torch import Tensor

from asteroid import state
from asteroid.domain import Domain
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
        self._warned = False

    def calculate(self, atoms=None, properties=("energy", "forces"), system_changes=all_changes):
        """Fill `results` with energies and forces; ValueError for another molecule or charge, or a periodic one."""
        super().calculate(atoms, properties, system_changes)
        state.check_alone(self.atoms)
        state.check_trained(self.atoms, self.force_field.provenance)
        if self._evaluator is None or not np.array_equal(self._numbers, self.atoms.numbers):
            self._numbers = self.atoms.numbers
            self._evaluator = self.force_field.evaluator(self._numbers)
        if not self._warned:
            self._warn_outside_domain()
        energy, force = self._evaluator(self.atoms.positions[None])
        total = float(energy[0]) * KCAL_PER_MOL_IN_EV
        self.results = {"energy": total, "free_energy": total, "forces": force[0] * KCAL_PER_MOL_IN_EV}

    def _warn_outside_domain(self) -> None:
        domain = self.force_field.domain
        if domain is None or not np.array_equal(self.atoms.numbers, self.force_field.z.numpy(force=True)):
            return  # atoms in another order have other pairs
        if beyond := domain.left_by(torch.as_tensor(self.atoms.positions)):
            self._warned = True
            message = f"the force field extrapolates: {beyond}; it says so once"
            warnings.warn(message, stacklevel=2)

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_evaluator": None}  # whose graph cannot be copied
