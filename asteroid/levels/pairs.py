"""A Lennard-Jones potential between all pairs."""

from ase.calculators.calculator import all_changes
from ase.calculators.lj import LennardJones

from asteroid import state


class Pairs(LennardJones):
    """ASE's, smooth at the cutoff, of a molecule alone as all levels are.

    Args:
        epsilon: depth of the well, eV.
        sigma: distance at which the energy is zero, Å.
        cutoff: distance from which it is zero, Å.
    """

    def __init__(self, epsilon: float = 0.01, sigma: float = 3.0, cutoff: float = 12.0):
        super().__init__(epsilon=epsilon, sigma=sigma, rc=cutoff, smooth=True)

    def calculate(self, atoms=None, properties=("energy", "forces"), system_changes=all_changes):
        """Fill `results`; ValueError for periodic atoms."""
        state.check_alone(atoms if atoms is not None else self.atoms)
        super().calculate(atoms, properties, system_changes)
