"""Calculators as users write them, for the tests of levels that are not ours."""

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.morse import MorsePotential


class Springs(Calculator):
    """E = k/2 Σ (r − 1 Å)² over all pairs, shifted by the charge; counts how many there are."""

    implemented_properties = ("energy", "forces")
    made = 0

    def __init__(self, charge: int = 0, k: float = 1.0):
        super().__init__()
        type(self).made += 1
        self.charge, self.k = charge, k

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        if self.atoms.get_all_distances().max() > 20:
            raise RuntimeError("the springs are torn")
        arrows = self.atoms.positions[:, None] - self.atoms.positions[None]
        distance = self.atoms.get_all_distances()
        stretch = np.where(distance > 0, distance - 1, 0)
        forces = -self.k * (stretch / np.maximum(distance, 1e-9))[..., None] * arrows
        self.results = {"energy": self.k / 4 * (stretch**2).sum() + self.charge, "forces": forces.sum(axis=1)}


def morse() -> Calculator:
    """It takes no charge."""
    return MorsePotential(epsilon=0.5, r0=1.1, rho0=5)


def nothing() -> None:
    """No calculator."""


def anything(**settings) -> Calculator:
    """It takes a charge and does not look at it."""
    return morse()


def orca(charge: int = 0, program: str = "orca") -> Calculator:
    """As the page on levels shows it."""
    from ase.calculators.orca import ORCA, OrcaProfile

    how = {"orcasimpleinput": "DLPNO-CCSD(T) cc-pVTZ EnGrad", "charge": charge, "mult": 1}
    return ORCA(profile=OrcaProfile(command=program), **how)


class Broken(Springs):
    """It computes nothing."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        raise RuntimeError("broken")


class Stiff(Springs):
    """Three times as stiff."""

    def __init__(self, charge: int = 0):
        super().__init__(charge, 3.0)
