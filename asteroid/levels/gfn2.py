"""GFN2-xTB by tblite.

Source:
    C. Bannwarth, S. Ehlert and S. Grimme, J. Chem. Theory Comput. 15, 1652 (2019).
"""

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from ase.calculators.calculator import CalculatorSetupError, InputError

from asteroid.levels.molecules import MoleculeCalculator

if TYPE_CHECKING:
    from tblite.ase import TBLite


class GFN2(MoleculeCalculator):
    """`MoleculeCalculator` of all elements up to radon."""

    _programs: ClassVar[tuple[str, ...]] = ("_tblite",)
    _modules: ClassVar[tuple[str, ...]] = ("tblite.ase",)
    _tblite: "TBLite | None" = None

    def _energy_and_forces(self, charge: int) -> tuple[float, np.ndarray]:
        if self._tblite is None:
            from tblite.ase import TBLite

            self._tblite = TBLite(method="GFN2-xTB", multiplicity=1, verbosity=0)
        self._tblite.set(charge=charge)
        try:
            # Which finds out itself what changed: it may not have seen the molecule before, where that was refused.
            return self._tblite.get_potential_energy(self.atoms), self._tblite.get_forces(self.atoms)
        except InputError as error:
            raise CalculatorSetupError(f"gfn2: {error}") from None
