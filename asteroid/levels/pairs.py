"""A Lennard-Jones potential between all pairs."""

from ase.calculators.calculator import all_changes
from ase.calculators.lj import LennardJones

from asteroid import state


class Pairs(LennardJones):
    """ASE's, of a molecule alone as all levels are."""

    def calculate(self, atoms=None, properties=("energy", "forces"), system_changes=all_changes):
        """Fill `results`; ValueError for periodic atoms."""
        state.check_alone(atoms if atoms is not None else self.atoms)
        super().calculate(atoms, properties, system_changes)
