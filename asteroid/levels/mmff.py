"""MMFF94 as an OpenMM system: RDKit assigns the parameters, OpenMM computes, and integrates where it is asked to.

Source:
    T. A. Halgren, J. Comput. Chem. 17, 490 (1996) and 520 (1996), whose equation numbers stand at each term.
"""

from itertools import combinations
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculatorSetupError

from asteroid import units
from asteroid.levels.molecules import MoleculeCalculator, check_molecule

if TYPE_CHECKING:
    import openmm
    from rdkit import Chem

# MMFF94's own constants, rounded as published and as RDKit has them.
_MDYN_A = 143.9325  # kcal/mol in one mdyn·Å
_RADIAN = np.pi / 180
_CUBIC_STRETCH = -2.0  # 1/Å
_CUBIC_BEND = -0.4 * _RADIAN  # 1/degree
_COULOMB = 332.0716  # kcal/mol·Å
_COULOMB_BUFFER = 0.05  # Å
_COULOMB_1_4 = 0.75
# Types of which the parameter file MMFFPROP.PAR says that two neighbours stand in a line.
_LINEAR = (4, 53, 61)

# OpenMM takes kJ/mol and nm.
_KJ = 1 / units.ENERGY["kJ/mol"]
_PER_NM = units.LENGTH["nm"]
_DEGREES = f"{1 / _RADIAN!r}"


class MMFF(MoleculeCalculator):
    """`MoleculeCalculator` whose bonds, and their orders, are perceived from one geometry and then kept: none breaks.

    Args:
        charge: as there.
        reference: geometry from which bonds are perceived, near a minimum; None: the first that is calculated.
    """

    _programs: ClassVar[tuple[str, ...]] = ("_context",)
    _modules: ClassVar[tuple[str, ...]] = ("openmm", "rdkit")
    _context: "tuple[int, openmm.Context] | None" = None  # with the charge of its bonds

    def __init__(self, charge: int | None = None, reference: Atoms | None = None):
        super().__init__(charge)
        self.reference = reference

    def _energy_and_forces(self, charge: int) -> tuple[float, np.ndarray]:
        if self._context is None or self._context[0] != charge:
            import openmm

            # There is no context without an integrator; this one makes no step.
            self._context = charge, self.context(self.atoms, openmm.VerletIntegrator(0))
        self._check_atoms(self.atoms)
        _, context = self._context
        context.setPositions(self.atoms.positions / _PER_NM)
        energy, forces = _energy_and_forces(context)
        return energy * units.KCAL_PER_MOL_IN_EV, forces * units.KCAL_PER_MOL_IN_EV

    def context(self, atoms: Atoms, integrator: "openmm.Integrator") -> "openmm.Context":
        """An OpenMM context of the atoms at their positions, with the bonds of the reference.

        It is on OpenMM's Reference platform: double precision, and for one small molecule the fastest.

        Args:
            atoms: positions and masses.
            integrator: whatever moves them.

        Raises:
            CalculatorSetupError: no bonds can be perceived, or MMFF94 has no parameters for them.
            ValueError: the atoms are not those of the reference, or periodic.
        """
        import openmm

        charge = check_molecule(atoms, self.charge)
        if self.reference is None:
            self.reference = atoms.copy()
        self._check_atoms(atoms)
        parts = system(perceive_bonds(self.reference, charge), atoms.get_masses())
        result = openmm.Context(parts, integrator, openmm.Platform.getPlatformByName("Reference"))
        result.setPositions(atoms.positions / _PER_NM)
        return result

    def _check_atoms(self, atoms: Atoms) -> None:
        if not np.array_equal(self.reference.numbers, atoms.numbers):
            raise ValueError(
                f"This calculator's bonds are those of the atoms {self.reference.numbers.tolist()}, in this order; it "
                f"was given {atoms.numbers.tolist()}. Make another calculator for another molecule."
            )


def langevin(
    atoms: Atoms,
    calculator: MMFF,
    *,
    steps: int,
    temperature: float,
    timestep: float,
    friction: float,
    every: int,
    seed: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Langevin dynamics by OpenMM's own integrator, in a hundredth of the time that ASE's takes.

    Args:
        atoms: start; not changed.
        calculator: whose bonds hold, so that the molecule never breaks.
        steps: number of steps, a multiple of `every`.
        temperature: K.
        timestep: fs.
        friction: 1/fs.
        every: steps between two frames kept.
        seed: of velocities and noise.

    Returns:
        pos (frames, atoms, 3) in Å, centre of mass at the origin; potential energy (frames,) in kcal/mol; and kinetic
        temperature (frames,) in K; the start first. Frames end where positions are no longer finite.

    Raises:
        CalculatorSetupError: no bonds can be perceived, or MMFF94 has no parameters for them.

    Source:
        Z. Zhang et al., J. Phys. Chem. A 123, 6056 (2019), the "middle" scheme.
    """
    import openmm
    from openmm import unit

    integrator = openmm.LangevinMiddleIntegrator(
        temperature * unit.kelvin, friction / unit.femtosecond, timestep * unit.femtosecond
    )
    # OpenMM takes the seed 0 as a wish for another one each time.
    noise, velocities = (int(number) for number in np.random.default_rng(seed).integers(1, 2**31 - 1, 2))
    integrator.setRandomNumberSeed(noise)
    context = calculator.context(atoms, integrator)
    context.setVelocitiesToTemperature(temperature * unit.kelvin, velocities)
    masses = atoms.get_masses()
    rows = []
    for step in range(0, steps + 1, every):
        try:
            integrator.step(every if step else 0)
            state = context.getState(positions=True, energy=True)
        except openmm.OpenMMException:  # coordinates or energy are no longer numbers
            break
        pos = np.asarray(state.getPositions(asNumpy=True).value_in_unit(unit.angstrom))
        kinetic = state.getKineticEnergy().value_in_unit(unit.kilocalorie_per_mole)
        potential = state.getPotentialEnergy().value_in_unit(unit.kilocalorie_per_mole)
        kelvin = 2 * kinetic / (3 * len(atoms) * units.BOLTZMANN)
        rows.append((pos - masses @ pos / masses.sum(), potential, kelvin))
    pos, potential_energy, kelvin = (np.array(column) for column in zip(*rows))
    return pos, potential_energy, kelvin


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


def system(molecule: "Chem.Mol", masses: np.ndarray) -> "openmm.System":
    """OpenMM's system of a molecule under MMFF94, without any cutoff.

    Args:
        molecule: RDKit's molecule with all its hydrogens, for which MMFF94 has parameters.
        masses: (atoms,), unified atomic mass units.

    Returns:
        The system: one force for each kind of term, in kJ/mol and nm as everything in OpenMM.
    """
    import openmm
    from rdkit.Chem import rdForceFieldHelpers

    parameters = rdForceFieldHelpers.MMFFGetMoleculeProperties(molecule)
    result = openmm.System()
    for mass in masses:
        result.addParticle(mass)
    bonds = [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in molecule.GetBonds()]
    neighbours = [[atom.GetIdx() for atom in centre.GetNeighbors()] for centre in molecule.GetAtoms()]
    angles = [(i, j, k) for j, around in enumerate(neighbours) for i, k in combinations(around, 2)]
    torsions = [
        (first, j, k, last)
        for j, k in bonds
        for first in neighbours[j]
        for last in neighbours[k]
        if len({first, j, k, last}) == 4  # not around a ring of three
    ]
    for force in (
        _bond_stretching(molecule, parameters, bonds),
        _angle_bending(molecule, parameters, angles),
        _stretch_bending(molecule, parameters, angles),
        _out_of_plane_bending(molecule, parameters, neighbours),
        _torsion(molecule, parameters, torsions),
        _nonbonded(molecule, parameters),
    ):
        result.addForce(force)
    return result


def _energy_and_forces(context: "openmm.Context") -> tuple[float, np.ndarray]:
    """Energy in kcal/mol and forces (atoms, 3) in kcal/mol/Å at a context's positions."""
    from openmm import unit

    state = context.getState(energy=True, forces=True)
    forces = state.getForces(asNumpy=True).value_in_unit(unit.kilocalorie_per_mole / unit.angstrom)
    return state.getPotentialEnergy().value_in_unit(unit.kilocalorie_per_mole), np.asarray(forces)


def _bond_stretching(molecule, parameters, bonds):
    """Eq. 2: a quartic in the stretch."""
    import openmm

    force = openmm.CustomBondForce(
        f"{_KJ * _MDYN_A / 2!r} * kb * stretch^2 * (1 + cs * stretch + 7/12 * (cs * stretch)^2);"
        f"stretch = {_PER_NM!r} * r - r0; cs = {_CUBIC_STRETCH!r}"
    )
    force.addPerBondParameter("kb")
    force.addPerBondParameter("r0")
    for i, j in bonds:
        _, kb, r0 = parameters.GetMMFFBondStretchParams(molecule, i, j)
        force.addBond(i, j, (kb, r0))
    return force


def _angle_bending(molecule, parameters, angles):
    """Eq. 3: a cubic in the bend; eq. 4, a cosine, where the central atom is linear."""
    import openmm

    force = openmm.CustomAngleForce(
        f"{_KJ * _MDYN_A!r} * ka * select(linear, 1 + cos(theta), bent);"
        f"bent = {_RADIAN**2 / 2!r} * bend^2 * (1 + {_CUBIC_BEND!r} * bend);"
        f"bend = {_DEGREES} * theta - theta0"
    )
    for name in ("ka", "theta0", "linear"):
        force.addPerAngleParameter(name)
    for i, j, k in angles:
        _, ka, theta0 = parameters.GetMMFFAngleBendParams(molecule, i, j, k)
        force.addAngle(i, j, k, (ka, theta0, float(parameters.GetMMFFAtomType(j) in _LINEAR)))
    return force


def _stretch_bending(molecule, parameters, angles):
    """Eq. 5: each stretch times the bend."""
    import openmm

    force = openmm.CustomCompoundBondForce(
        3,
        f"{_KJ * _MDYN_A * _RADIAN!r} * (kij * (10 * distance(p1, p2) - rij) + kkj * (10 * distance(p3, p2) - rkj))"
        f"* ({_DEGREES} * angle(p1, p2, p3) - theta0)",
    )
    for name in ("kij", "kkj", "rij", "rkj", "theta0"):
        force.addPerBondParameter(name)
    for i, j, k in angles:
        found = parameters.GetMMFFStretchBendParams(molecule, i, j, k)
        if found is not None:  # a linear angle has none
            _, kij, kkj = found
            _, _, rij = parameters.GetMMFFBondStretchParams(molecule, i, j)
            _, _, rkj = parameters.GetMMFFBondStretchParams(molecule, k, j)
            _, _, theta0 = parameters.GetMMFFAngleBendParams(molecule, i, j, k)
            force.addBond((i, j, k), (kij, kkj, rij, rkj, theta0))
    return force


def _out_of_plane_bending(molecule, parameters, neighbours):
    """Eq. 6: a quadratic in Wilson's angle between the bond j–l and the plane i–j–k."""
    import openmm

    difference = ";".join(
        f"{axis}{n} = {axis}{p} - {axis}2" for n, p in (("a", 1), ("b", 3), ("c", 4)) for axis in "xyz"
    )
    force = openmm.CustomCompoundBondForce(
        4,
        f"{_KJ * _MDYN_A / 2!r} * koop * asin(sine)^2;"
        "sine = (nx * xc + ny * yc + nz * zc) / sqrt((nx^2 + ny^2 + nz^2) * (xc^2 + yc^2 + zc^2));"
        f"nx = ya * zb - za * yb; ny = za * xb - xa * zb; nz = xa * yb - ya * xb; {difference}",
    )
    force.addPerBondParameter("koop")
    for j, around in enumerate(neighbours):
        if len(around) != 3:
            continue
        for outer in around:
            i, k = (atom for atom in around if atom != outer)
            koop = parameters.GetMMFFOopBendParams(molecule, i, j, k, outer)
            if koop:
                force.addBond((i, j, k, outer), (koop,))
    return force


def _torsion(molecule, parameters, torsions):
    """Eq. 7: three cosines of the dihedral angle."""
    import openmm

    force = openmm.PeriodicTorsionForce()
    for atoms in torsions:
        found = parameters.GetMMFFTorsionParams(molecule, *atoms)
        if found is None:  # about a linear atom there is none
            continue
        for periodicity, height in enumerate(found[1:], start=1):
            if height:
                force.addTorsion(*atoms, periodicity, np.pi * (periodicity == 2), _KJ * height / 2)
    return force


def _nonbonded(molecule, parameters):
    """Eq. 8, buffered 14-7 van der Waals, and eq. 13, buffered Coulomb, of all pairs three or more bonds apart."""
    import openmm
    from rdkit import Chem

    force = openmm.CustomBondForce(
        f"{_KJ!r} * (epsilon * (1.07 / (rho + 0.07))^7 * (1.12 / (rho^7 + 0.12) - 2) + qq / (d + {_COULOMB_BUFFER!r}));"
        f"rho = d / rstar; d = {_PER_NM!r} * r"
    )
    for name in ("epsilon", "rstar", "qq"):
        force.addPerBondParameter(name)
    apart = Chem.GetDistanceMatrix(molecule)  # in bonds
    charge = [parameters.GetMMFFPartialCharge(i) for i in range(molecule.GetNumAtoms())]
    for i, j in combinations(range(molecule.GetNumAtoms()), 2):
        if apart[i, j] >= 3:
            _, _, rstar, epsilon = parameters.GetMMFFVdWParams(i, j)
            scale = _COULOMB_1_4 if apart[i, j] == 3 else 1.0
            force.addBond(i, j, (epsilon, rstar, _COULOMB * scale * charge[i] * charge[j]))
    return force
