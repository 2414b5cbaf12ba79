"""The border to ASE: a force field as an ASE calculator."""

from typing import ClassVar

import numpy as np
from ase.calculators.calculator import Calculator, all_changes

from asteroid.evaluator import Evaluator
from asteroid.force_field import ForceField
from asteroid.units import KCAL_PER_MOL_IN_EV


class ForceFieldCalculator(Calculator):
    """ASE calculator of a ForceField: energy in eV, forces in eV/Å."""

    implemented_properties: ClassVar[list[str]] = ["energy", "forces"]

    def __init__(self, force_field: ForceField):
        super().__init__()
        self.force_field = force_field
        self._evaluator: Evaluator | None = None
        self._numbers: np.ndarray | None = None

    def evaluator(self, numbers: np.ndarray, calls: int | None = None) -> Evaluator:
        """`ForceField.evaluator`, in kcal/mol, by which dynamics moves many replicas at once."""
        return self.force_field.evaluator(numbers, calls)

    def calculate(self, atoms=None, properties=("energy", "forces"), system_changes=all_changes):
        """Fill `results` with energy and forces of the atoms."""
        super().calculate(atoms, properties, system_changes)
        if self._evaluator is None or not np.array_equal(self._numbers, self.atoms.numbers):
            self._evaluator, self._numbers = self.evaluator(self.atoms.numbers), self.atoms.numbers
        energy, force = self._evaluator(self.atoms.positions[None])
        self.results = {"energy": float(energy[0]) * KCAL_PER_MOL_IN_EV, "forces": force[0] * KCAL_PER_MOL_IN_EV}
