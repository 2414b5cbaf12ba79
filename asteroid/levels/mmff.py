"""MMFF94 by RDKit, which perceives bonds, assigns parameters and computes.

Source:
    T. A. Halgren, J. Comput. Chem. 17, 490 (1996) and 520 (1996).
"""

from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import CalculationFailed, CalculatorSetupError

from asteroid import units
from asteroid.datasets import structure
from asteroid.levels.molecules import MoleculeCalculator, check_molecule
from asteroid.md.calculator import EnergyAndForce

if TYPE_CHECKING:
    from rdkit import Chem
    from rdkit.ForceField import rdForceField


class MMFF(MoleculeCalculator):
    """`MoleculeCalculator` whose bonds, and their orders, are perceived from one geometry and then kept: none breaks.

    Args:
        charge: as there.
        reference: geometry from which bonds are perceived, near a minimum; None: the first that is calculated, and a
            later one of an isomer fails.
    """

    _programs: ClassVar[tuple[str, ...]] = ("_force_field",)
    _modules: ClassVar[tuple[str, ...]] = ("rdkit",)
    _force_field: "tuple[int, rdForceField.ForceField] | None" = None  # with the charge of its bonds

    def __init__(self, charge: int | None = None, reference: Atoms | None = None):
        super().__init__(charge)
        self.reference, self._reference_given = reference, reference is not None

    def _energy_and_forces(self, charge: int) -> tuple[float, np.ndarray]:
        if self._force_field is None or self._force_field[0] != charge:
            self._force_field = charge, self._perceived(self.atoms, charge)
        self._check_atoms(self.atoms)
        energy, forces = _energy_and_forces(self._force_field[1], self.atoms.positions)
        return energy * units.KCAL_PER_MOL_IN_EV, forces * units.KCAL_PER_MOL_IN_EV

    def replicas(self, atoms: Atoms) -> "Replicas":
        """What computes many replicas of the atoms at once, with the bonds of the reference.

        Raises:
            CalculatorSetupError: no bonds can be perceived, or MMFF94 has no parameters for them.
            ValueError: the atoms are not those of the reference, or periodic.
        """
        perceived = self._perceived(atoms, check_molecule(atoms, self.charge))
        self._check_atoms(atoms)
        return Replicas(atoms, perceived)

    def _perceived(self, atoms: Atoms, charge: int) -> "rdForceField.ForceField":
        reference = atoms.copy() if self.reference is None else self.reference
        perceived = force_field(perceive_bonds(reference, charge))
        self.reference = reference  # not if no bonds were found in it
        return perceived

    def _check_atoms(self, atoms: Atoms) -> None:
        if not np.array_equal(self.reference.numbers, atoms.numbers):
            raise ValueError(
                f"This calculator's bonds are those of the atoms {self.reference.numbers.tolist()}, in this order; it "
                f"was given {atoms.numbers.tolist()}. Make another calculator for another molecule."
            )
        if self._reference_given:
            return
        z = torch.from_numpy(atoms.numbers)
        first, now = structure.reach(z, torch.from_numpy(np.stack([self.reference.positions, atoms.positions])))
        if structure.rearranged(z, first, now[None]).any():
            raise CalculationFailed(
                f"mmff of {atoms.symbols}: {structure.changed_pair(z, first, now)} are bonded in the first geometry "
                "of this calculator, not in this one. Make another calculator for an isomer; for a reaction, give the "
                "geometry whose bonds count as `reference`."
            )


class Replicas:
    """MMFF94 of many replicas of a molecule at once: a `Potential` for `dynamics.langevin`.

    Through an ASE calculator, which compares atoms and copies results, a step takes several times as long.
    """

    domain, provenance = None, MappingProxyType({})  # it was not trained

    def __init__(self, atoms: Atoms, field: "rdForceField.ForceField"):
        self.z, self._force_field = torch.from_numpy(atoms.numbers), field

    def evaluator(self, numbers: np.ndarray, calls: int | None = None) -> EnergyAndForce:
        """Function from positions (replicas, atoms, 3), Å, to energies, kcal/mol, and forces, kcal/mol/Å."""
        return self._energies_and_forces

    def _energies_and_forces(self, pos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        energies, forces = zip(*(_energy_and_forces(self._force_field, frame) for frame in pos))
        return np.array(energies), np.array(forces)


def perceive_bonds(atoms: Atoms, charge: int = 0) -> "Chem.Mol":
    """The molecule with bonds and bond orders, as RDKit perceives them from distances.

    Args:
        atoms: a geometry near a minimum.
        charge: total charge of the molecule.

    Returns:
        RDKit's molecule, its atoms in the same order, for which MMFF94 has all parameters.

    Raises:
        CalculatorSetupError: distances and charge fit no closed-shell molecule, or MMFF94 has no parameters for it.

    Source:
        Kim and Kim, Bull. Korean Chem. Soc. 36, 1769 (2015), for the bond orders.
    """
    from rdkit import Chem, rdBase
    from rdkit.Chem import rdDetermineBonds, rdForceFieldHelpers

    molecule = Chem.RWMol()
    for number in atoms.numbers:
        molecule.AddAtom(Chem.Atom(int(number)))
    conformer = Chem.Conformer(len(atoms))
    conformer.SetPositions(np.ascontiguousarray(atoms.positions, dtype=np.float64))
    molecule.AddConformer(conformer)
    formula = atoms.get_chemical_formula()
    with rdBase.BlockLogs():  # what RDKit would print is said in the error
        try:
            rdDetermineBonds.DetermineBonds(molecule, charge=charge, allowChargedFragments=True)
            molecule = _cumulate_azides(molecule)
            _join_sulfoxides(molecule)
            Chem.SanitizeMol(molecule)
        except (ValueError, Chem.MolSanitizeException) as error:
            cause = str(error).strip().splitlines()[0]
            raise CalculatorSetupError(
                f"mmff: no bonds of {formula} fit its distances and the charge {charge} ({cause}). Give the total "
                "charge, and an unbroken geometry as `reference`; radicals have no parameters."
            ) from None
        fragments = len(Chem.GetMolFrags(molecule))
        radicals = sum(atom.GetNumRadicalElectrons() for atom in molecule.GetAtoms())
        known = rdForceFieldHelpers.MMFFHasAllMoleculeParams(molecule)
    if fragments > 1 or radicals or not known:
        found = f"{fragments} fragments" if fragments > 1 else f"{radicals} unpaired electrons" if radicals else None
        smiles = Chem.MolToSmiles(Chem.RemoveHs(molecule, sanitize=False))
        raise CalculatorSetupError(
            f"mmff: MMFF94 has no parameters for {formula}, perceived as {smiles}{f' with {found}' if found else ''}; "
            "it knows closed-shell molecules of H, C, N, O, F, Si, P, S, Cl, Br and I. Take gfn2 for others."
        )
    return molecule


def _cumulate_azides(molecule: "Chem.RWMol") -> "Chem.RWMol":
    """Make N⁻=N⁺=X of azides and diazo compounds that were read as N≡N⁺–X⁻, as MMFF94's parameters have it.

    Raises:
        ValueError: RDKit finds no such resonance structure.
    """
    from rdkit import Chem

    read = Chem.MolFromSmarts("[NX1]#[NX2+]-[#6,#7]")
    if molecule.HasSubstructMatch(read):
        for other in Chem.ResonanceMolSupplier(molecule):
            if not other.HasSubstructMatch(read):
                return Chem.RWMol(other)
    if molecule.HasSubstructMatch(Chem.MolFromSmarts("[NX1]#[NX2+]-[C,#7].[*-]")):  # as RDKit finds not all of them
        raise ValueError("an azide or diazo group is read as N≡N⁺–X⁻, for which MMFF94 has no proper parameters")
    return molecule


def _join_sulfoxides(molecule: "Chem.RWMol") -> None:
    """Make S⁺–O⁻ of a sulfur with three neighbours S=O, as MMFF94's parameters have it."""
    from rdkit import Chem

    for bond in molecule.GetBonds():
        ends = (bond.GetBeginAtom(), bond.GetEndAtom())
        found = {(atom.GetSymbol(), atom.GetFormalCharge(), atom.GetDegree()) for atom in ends}
        if found == {("O", -1, 1), ("S", 1, 3)}:
            bond.SetBondType(Chem.BondType.DOUBLE)
            for atom in ends:
                atom.SetFormalCharge(0)


def force_field(molecule: "Chem.Mol") -> "rdForceField.ForceField":
    """RDKit's force field of a molecule with all its hydrogens, for which MMFF94 has parameters, without any cutoff."""
    from rdkit.Chem import rdForceFieldHelpers

    parameters = rdForceFieldHelpers.MMFFGetMoleculeProperties(molecule)
    result = rdForceFieldHelpers.MMFFGetMoleculeForceField(molecule, parameters, nonBondedThresh=np.inf)
    result.Initialize()
    return result


def _energy_and_forces(field: "rdForceField.ForceField", pos: np.ndarray) -> tuple[float, np.ndarray]:
    """Energy in kcal/mol and forces (atoms, 3) in kcal/mol/Å at positions (atoms, 3) in Å."""
    flat = pos.ravel().tolist()
    return field.CalcEnergy(flat), -np.reshape(field.CalcGrad(flat), pos.shape)
