"""GFN2-xTB by tblite.

Source:
    C. Bannwarth, S. Ehlert and S. Grimme, J. Chem. Theory Comput. 15, 1652 (2019).
"""

from typing import ClassVar

import numpy as np
from ase.calculators.calculator import CalculationFailed, CalculatorSetupError

from asteroid.levels.molecules import BOHR, HARTREE, MoleculeCalculator


class GFN2(MoleculeCalculator):
    """`MoleculeCalculator` of all elements up to radon."""

    _modules: ClassVar[tuple[str, ...]] = ("tblite.interface",)

    def _energy_and_forces(self, charge: int) -> tuple[float, np.ndarray]:
        from tblite.interface import Calculator

        # A new one for each frame, which takes no time to speak of: tblite's ASE calculator starts from the density of
        # the frame before, so that a label would depend on it by up to 0.01 kcal/mol/Å.
        try:
            compute = Calculator("GFN2-xTB", self.atoms.numbers, self.atoms.positions / BOHR, charge, 0)
        except RuntimeError as error:
            raise CalculatorSetupError(f"gfn2: {error}") from None
        compute.set("verbosity", 0)
        try:
            found = compute.singlepoint()
        except RuntimeError as error:
            raise CalculationFailed(f"gfn2: {error}") from None
        return found["energy"] * HARTREE, -found["gradient"] * (HARTREE / BOHR)
