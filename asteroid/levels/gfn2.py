"""GFN2-xTB by tblite.

Source:
    C. Bannwarth, S. Ehlert and S. Grimme, J. Chem. Theory Comput. 15, 1652 (2019).
"""

from typing import ClassVar

from ase.calculators.calculator import Calculator, CalculatorSetupError, InputError, all_changes

from asteroid.levels.molecules import check_molecule


class GFN2(Calculator):
    """ASE calculator of a closed-shell molecule: energy in eV, forces in eV/Å.

    Args:
        charge: total charge.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "forces"]

    def __init__(self, charge: int = 0):
        from tblite.ase import TBLite

        super().__init__()
        self.charge = charge
        self._tblite = TBLite(method="GFN2-xTB", charge=charge, multiplicity=1, verbosity=0)

    def calculate(self, atoms=None, properties=("energy", "forces"), system_changes=all_changes):
        """Fill `results` with energy and forces of the atoms.

        Raises:
            CalculatorSetupError: an odd number of electrons, or an element beyond radon.
            CalculationFailed: an exploded geometry, or charges that did not become self-consistent.
        """
        super().calculate(atoms, properties, system_changes)
        check_molecule(self.atoms, self.charge)
        try:
            # Which finds out itself what changed: it may not have seen the molecule before, where that was refused.
            energy, forces = self._tblite.get_potential_energy(self.atoms), self._tblite.get_forces(self.atoms)
        except InputError as error:
            raise CalculatorSetupError(f"gfn2: {error}") from None
        self.results = {"energy": energy, "forces": forces}
