"""The border to ASE: a force field as an ASE calculator."""

from typing import ClassVar

from ase.calculators.calculator import Calculator, all_changes

from asteroid.force_field import ForceField
from asteroid.units import KCAL_PER_MOL_IN_EV


class ForceFieldCalculator(Calculator):
    """ASE calculator of a ForceField: energy in eV, forces in eV/Å."""

    implemented_properties: ClassVar[list[str]] = ["energy", "forces"]

    def __init__(self, force_field: ForceField):
        super().__init__()
        self.force_field = force_field

    def calculate(self, atoms=None, properties=("energy", "forces"), system_changes=all_changes):
        """Fill `results` with energy and forces of the atoms."""
        super().calculate(atoms, properties, system_changes)
        energy, force = self.force_field.energy_and_force(self.atoms)
        self.results = {
            "energy": float(energy) * KCAL_PER_MOL_IN_EV,
            "forces": force.double().cpu().numpy() * KCAL_PER_MOL_IN_EV,
        }
