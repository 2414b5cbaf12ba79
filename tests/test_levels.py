"""Levels of theory: equal to their source, to each other between codes, and to the embedded labels."""

import copy
import os
import pickle
import shutil
import signal
import sys

import numpy as np
import pytest
import threadpoolctl
import tiny
import torch
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import CalculationFailed, CalculatorSetupError

import asteroid
from asteroid import datasets, levels, units
from asteroid.datasets import sources
from asteroid.levels import ab_initio, sampling

TOLERANCE = {
    "perceived bonds": 1e-9,  # relative
    "OpenMM": (1e-6, 1e-6),  # which computed the embedded MMFF94 labels from RDKit's parameters
    "same code": (0.01, 0.01),  # kcal/mol and kcal/mol/Å, here and below
    "same fit": (0.001, 0.005),
    "grid": (0.01, 0.15),  # both codes with 50 radial points, which they place differently
    "density fitting": (0.15, 0.08),
    "finite difference": 0.02,
}

needs_pyscf = tiny.needs("pyscf")
needs_psi4 = pytest.mark.skipif(shutil.which("psi4") is None, reason="the program psi4 is not installed")
needs_tblite = tiny.needs("tblite")
needs_rdkit = tiny.needs("rdkit")
CODES = [pytest.param("psi4", marks=needs_psi4), pytest.param("pyscf", marks=needs_pyscf)]

# Every kind of term and of atom: rings of three and four, linear atoms, charges, conjugation, sulfur, halogens.
SMILES = (
    *("O", "CO", "OC=O", "CC=O", "CCO", "O=CCC=O", "C1CC1", "O=C1CCC1", "C=C=C", "CC#N", "CN=[N+]=[N-]", "CC#C"),
    *(
        "Cc1ccccc1",
        "c1ccncc1",
        "c1ccsc1",
        "CS(N)(=O)=O",
        "CS(C)=O",
        "FC(Cl)Br",
        "CC(=O)Oc1ccccc1C(=O)O",
        "[O-][N+](=O)c1ccccc1",
    ),
    *("C[NH3+]", "CC(=O)[O-]", "[NH3+]CC(=O)[O-]", "C[N+](C)(C)C"),
    # From which other resonance structures are read, the first by the order of its atoms.
    *("[N-]=[N+]=NC", "c1ccccc1N=[N+]=[N-]", "CC(=O)C=[N+]=[N-]", "C[N+]#N", "[O-]C(=O)c1ccccc1[N+]#N"),
)


def water(shake: float = 0.05) -> Atoms:
    atoms = molecule("H2O")
    atoms.rattle(shake, seed=1)
    return atoms


def label(atoms: Atoms) -> tuple[float, np.ndarray]:
    """Energy in kcal/mol and forces (atoms, 3) in kcal/mol/Å."""
    forces = atoms.get_forces() / units.KCAL_PER_MOL_IN_EV
    return atoms.get_potential_energy() / units.KCAL_PER_MOL_IN_EV, forces


def assert_same(a: tuple[float, np.ndarray], b: tuple[float, np.ndarray], kind: str) -> None:
    energy, force = TOLERANCE[kind]
    assert a[0] == pytest.approx(b[0], rel=0, abs=energy)
    np.testing.assert_allclose(a[1], b[1], rtol=0, atol=force)


@needs_rdkit
@pytest.mark.parametrize("smiles", SMILES)
def test_mmff_perceives_the_bonds_of_the_smiles(smiles):
    from rdkit import Chem
    from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

    theirs = Chem.AddHs(Chem.MolFromSmiles(smiles))
    rdDistGeom.EmbedMolecule(theirs, randomSeed=1)
    rdForceFieldHelpers.MMFFOptimizeMolecule(theirs)
    minimum = theirs.GetConformer().GetPositions()
    ours = Atoms([atom.GetAtomicNum() for atom in theirs.GetAtoms()], minimum)
    ours.calc = levels.calculator("mmff", charge=Chem.GetFormalCharge(theirs), reference=ours)
    parameters = rdForceFieldHelpers.MMFFGetMoleculeProperties(theirs)
    for shift in np.random.default_rng(0).normal(0, 0.08, (3, *minimum.shape)):
        ours.positions = minimum + shift
        theirs.GetConformer().SetPositions(ours.positions)
        reference = rdForceFieldHelpers.MMFFGetMoleculeForceField(theirs, parameters)
        expected = -np.reshape(reference.CalcGrad(), (-1, 3))
        energy, force = label(ours)
        assert energy == pytest.approx(reference.CalcEnergy(), rel=TOLERANCE["perceived bonds"])
        assert np.abs(force - expected).max() <= TOLERANCE["perceived bonds"] * np.abs(expected).max()


@needs_rdkit
@pytest.mark.parametrize("name", ["methanol", "formic_acid", "acetaldehyde", "ethanol", "malonaldehyde"])
def test_bonds_are_perceived_from_every_frame_of_a_trajectory(name):
    from rdkit import Chem

    from asteroid.levels.mmff import perceive_bonds

    frames = asteroid.load(name, "gfn2")[::500]
    found = {perceive_bonds(Atoms(frames.z.numpy(), pos.numpy())) for pos in frames.pos}
    expected = Chem.MolToSmiles(Chem.MolFromSmiles(frames.provenance["smiles"]))
    assert {Chem.MolToSmiles(Chem.RemoveHs(bonds)) for bonds in found} == {expected}


@pytest.mark.parametrize(
    "level",
    [
        "lj",
        pytest.param("mmff", marks=needs_rdkit),
        pytest.param("gfn2", marks=needs_tblite),
        *(pytest.param(level, marks=needs_pyscf) for level in ("hf", "mp2", "ccsd", "ccsd(t)")),
    ],
)
def test_forces_are_minus_the_gradient_of_the_energy(level):
    settings = {"code": "pyscf"} if level in ("hf", "mp2", "ccsd", "ccsd(t)") else {}
    atoms = water()
    atoms.calc = levels.calculator(level, **settings)
    _, force = label(atoms)
    step = 0.005
    start = atoms.positions.copy()
    energies = []
    for sign in (1, -1):
        atoms.positions = start
        atoms.positions[0, 2] += sign * step
        energies.append(label(atoms)[0])
    assert -(energies[0] - energies[1]) / (2 * step) == pytest.approx(
        force[0, 2], abs=TOLERANCE["finite difference"], rel=1e-3
    )
    np.testing.assert_allclose(force.sum(axis=0), 0, atol=0.001)


@needs_psi4
@needs_pyscf
@pytest.mark.parametrize(
    ("level", "basis", "kind"),
    [
        ("hf", "6-31g*", "same fit"),
        ("pbe", "cc-pvdz", "grid"),
        ("b3lyp", "cc-pvdz", "grid"),
        ("mp2", "cc-pvdz", "density fitting"),
        ("ccsd", "6-31g", "density fitting"),
        ("ccsd(t)", "6-31g", "density fitting"),
    ],
)
def test_psi4_and_pyscf_agree(level, basis, kind):
    labels = []
    for code in ("psi4", "pyscf"):
        atoms = water()
        atoms.calc = levels.calculator(level, code=code, basis=basis)
        labels.append(label(atoms))
    assert_same(*labels, kind)


@needs_psi4
@needs_pyscf
def test_psi4_and_pyscf_freeze_the_same_cores():
    """Of sodium both leave out ten electrons, where PySCF's own choice is two."""
    labels = []
    for code in ("psi4", "pyscf"):
        atoms = Atoms("NaH", [[0, 0, 0], [0, 0, 1.89]])
        atoms.calc = levels.calculator("mp2", code=code)
        labels.append(label(atoms))
    assert_same(*labels, "density fitting")


@needs_pyscf
@pytest.mark.parametrize(
    ("element", "expected"), [("H", 0), ("Li", 1), ("F", 1), ("Na", 5), ("Cl", 5), ("K", 9), ("Br", 9), ("I", 4)]
)
def test_cores_are_those_of_noble_gases(element, expected):
    from pyscf import gto

    ecp = {"I": "def2-svp"} if element == "I" else {}  # in place of 28 of the 36 electrons of krypton
    molecule = gto.M(atom=f"{element} 0 0 0; H 0 0 2", basis="def2-svp", ecp=ecp, verbose=0)
    assert ab_initio.core_orbitals(molecule) == expected


def embedded_labels() -> list:
    """Each embedded molecule and level, with how many frames are computed anew."""
    params = []
    for name in datasets.molecules():
        for level in datasets.levels(name):
            atoms = sources.read_record(datasets.DATA / f"{name}_{level}.npz")["atoms"]
            if level in ("mmff", "gfn2"):
                params.append(pytest.param(name, level, 20, marks=needs_rdkit if level == "mmff" else needs_tblite))
            elif level == "pbe" or atoms <= 6:  # coupled cluster of more takes minutes
                params.append(pytest.param(name, level, 1, marks=needs_psi4))
    return params


def recompute(name: str, level: str, frames: int, kind: str, **settings: object) -> None:
    embedded = asteroid.load(name, level)[:frames]
    atoms = Atoms(embedded.z.numpy())
    atoms.calc = levels.calculator(level, **settings)
    for pos, energy, force in zip(embedded.pos, embedded.energy, embedded.force):
        atoms.positions = pos.numpy()
        assert_same(label(atoms), (float(energy), force.numpy()), kind)


@pytest.mark.parametrize(("name", "level", "frames"), embedded_labels())
def test_embedded_labels_come_again(name, level, frames):
    kind = "OpenMM" if level == "mmff" else "same code"
    recompute(name, level, frames, kind, **({} if level in ("mmff", "gfn2") else {"code": "psi4"}))


@needs_pyscf
def test_embedded_pbe_labels_come_again_by_another_code():
    recompute("methanol", "pbe", 2, "grid", code="pyscf")


@needs_pyscf
def test_correlation_and_basis_lower_the_energy():
    """Each step to a better wave function, and to a larger basis, finds more of the correlation energy."""
    energies = []
    for level, basis in [("hf", "cc-pvdz"), ("mp2", "cc-pvdz"), ("ccsd", "cc-pvdz"), ("ccsd(t)", "cc-pvdz")]:
        atoms = water()
        atoms.calc = levels.calculator(level, basis=basis, code="pyscf")
        energies.append(label(atoms)[0])
    assert energies == sorted(energies, reverse=True)
    atoms = water()
    atoms.calc = levels.calculator("hf", basis="cc-pvtz", code="pyscf")
    assert label(atoms)[0] < energies[0]


def test_the_table_lists_levels_from_cheap_to_accurate():
    table = levels.overview()
    order = ["lj", "mmff", "gfn2", "hf", "pbe", "b3lyp", "mp2", "ccsd", "ccsd(t)"]
    assert list(dict.fromkeys(table["level"])) == order
    assert set(table.loc[table["level"] == "ccsd(t)", "code"]) == {"psi4", "pyscf"}
    assert table.loc[table["default"]].groupby("level").size().max() == 1
    assert not (table["default"] & ~table["usable"]).any()


def test_what_is_not_installed_is_said_with_the_command(monkeypatch):
    monkeypatch.setattr(levels.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(levels.shutil, "which", lambda name: None)
    with pytest.raises(
        ImportError, match="pbe.*psi4: `apt install psi4.*conda-forge psi4`; or pyscf: `pip install pyscf`"
    ):
        levels.calculator("pbe")
    with pytest.raises(ImportError, match="pip install tblite"):
        levels.calculator("gfn2")
    assert not levels.overview()["usable"].any()


@needs_pyscf
def test_the_next_code_is_taken_where_psi4_is_not(monkeypatch):
    monkeypatch.setattr(levels.shutil, "which", lambda name: None)
    assert levels.calculator("pbe").code == "pyscf"
    with pytest.raises(ImportError, match="apt install psi4"):
        levels.calculator("pbe", code="psi4")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"level": "pbe0"}, "unknown level 'pbe0'; known: lj, mmff"),
        ({"level": "pbe", "code": "orca"}, "not computed by 'orca'; it is by: psi4, pyscf"),
        ({"level": "lj", "basis": "cc-pvdz"}, "lj has no setting basis; it has: epsilon, sigma, cutoff"),
        pytest.param({"level": "mp2", "grid": (50, 194)}, "mp2 has no grid", marks=needs_pyscf),
    ],
)
def test_unknown_names_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        levels.calculator(**arguments)


LEVELS = [
    pytest.param("mmff", None, marks=needs_rdkit),
    pytest.param("gfn2", None, marks=needs_tblite),
    *(pytest.param("hf", *code.values, marks=code.marks) for code in CODES),
]


@pytest.mark.parametrize(("level", "code"), LEVELS)
@pytest.mark.parametrize(
    ("atoms", "error", "message"),
    [
        (molecule("OH"), CalculatorSetupError, "OH with the charge 0 has 9 electrons; only closed shells"),
        (Atoms("H2", [[0, 0, 0], [0, 0, 0.1]]), CalculationFailed, "atoms 0 and 1 are 0.100 Å apart"),
        (Atoms("H2", [[0, 0, 0], [0, 0, np.nan]]), CalculationFailed, "not finite"),
        (molecule("CH2_s3B1d"), CalculatorSetupError, "CH2 has the multiplicity 3; only closed shells"),
        (Atoms("H2", [[0, 0, 0], [0, 0, 0.7]], info={"charge": 1}), CalculatorSetupError, "1 has 1 electrons"),
        (Atoms("H2", [[0, 0, 0], [0, 0, 2]], magmoms=[1, -1]), CalculatorSetupError, "cancel.*an open-shell singlet"),
        (Atoms("H2", [[0, 0, 0], [0, 0, 0.7]], cell=[9] * 3, pbc=True), ValueError, "are periodic.*atoms.pbc = False"),
        (Atoms("Lr2Cl6", 3.0 * np.eye(8)[:, :3] + np.arange(8)[:, None]), CalculatorSetupError, "mmff|gfn2|basis"),
    ],
    ids=[
        "radical",
        "atoms too close",
        "not finite",
        "triplet",
        "radical by its charge",
        "singlet with open shells",
        "periodic",
        "unknown element",
    ],
)
def test_molecules_that_a_level_cannot_do(level, code, atoms, error, message):
    atoms = atoms.copy()
    atoms.calc = levels.calculator(level, code=code)
    with pytest.raises(error, match=message):
        atoms.get_potential_energy()


@pytest.mark.parametrize("code", CODES)
def test_an_unknown_basis(code):
    atoms = water()
    atoms.calc = levels.calculator("hf", basis="cc-pvdzz", code=code)
    with pytest.raises(CalculatorSetupError, match=f"{code} has no basis 'cc-pvdzz'"):
        atoms.get_potential_energy()


@needs_pyscf
@pytest.mark.parametrize("level", ["hf", "b3lyp"])
def test_an_element_that_the_fitting_basis_lacks(level, capfd):
    atoms = Atoms("LiH", [[0, 0, 0], [0, 0, 1.6]])
    atoms.calc = levels.calculator(level, code="pyscf")
    with pytest.raises(CalculatorSetupError, match="pyscf has no basis 'cc-pvdz', or it lacks an element of LiH"):
        atoms.get_potential_energy()
    assert capfd.readouterr() == ("", "")
    atoms.calc = levels.calculator("pbe", code="pyscf")  # which has another
    assert label(atoms)[0] == pytest.approx(-5046.4, abs=1)


@pytest.mark.parametrize("code", CODES)
def test_the_charge_counts(code):
    atoms = molecule("OH")
    energies = []
    for charge in (1, -1):
        atoms.calc = levels.calculator("hf", charge=charge, code=code)
        energies.append(label(atoms)[0])
    assert energies[1] < energies[0] - 100  # hydroxide, against a cation that lacks an electron pair


@needs_pyscf
def test_a_field_that_does_not_converge_is_an_error():

    from pyscf import scf

    atoms = water()
    atoms.calc = levels.calculator("hf", code="pyscf")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scf.hf.SCF, "max_cycle", 2)
        with pytest.raises(CalculationFailed, match="hf/cc-pvdz of OH2 by pyscf: the self-consistent field did not"):
            label(atoms)


@needs_rdkit
def test_an_azide_that_is_read_as_another_substance_is_refused():
    atoms = sampling.geometry("[N-]=[N+]=NS(=O)(=O)C")
    atoms.calc = levels.calculator("mmff")
    with pytest.raises(CalculatorSetupError, match="an azide or diazo group is read as"):
        atoms.get_potential_energy()


@needs_rdkit
def test_mmff_keeps_the_molecule_it_was_made_for():
    atoms = water()
    atoms.calc = levels.calculator("mmff", reference=molecule("CH4"))
    with pytest.raises(ValueError, match=r"those of the atoms \[6, 1, 1, 1, 1\].*given \[8, 1, 1\]"):
        atoms.get_potential_energy()
    atoms = Atoms("H2", [[0, 0, 0], [0, 0, 5.0]])
    atoms.calc = levels.calculator("mmff")
    with pytest.raises(CalculatorSetupError, match="no bonds of H2 fit its distances"):
        atoms.get_potential_energy()
    calculator = levels.calculator("mmff")
    atoms = water()
    whole, atoms.calc = atoms.positions.copy(), calculator
    atoms.positions[1] += 5
    with pytest.raises(CalculatorSetupError, match="2 fragments"):
        atoms.get_potential_energy()
    atoms.positions = whole
    assert np.isfinite(atoms.get_potential_energy())  # the broken geometry is not kept as the reference


@needs_rdkit
@pytest.mark.parametrize("given", [False, True], ids=["first geometry", "reference"])
def test_mmff_takes_no_isomer_for_the_molecule_of_its_first_geometry(given):
    ethanol, ether = molecule("CH3CH2OH"), molecule("CH3OCH3")
    order = np.argsort(ether.numbers, kind="stable")
    ethanol, ether = ethanol[np.argsort(ethanol.numbers, kind="stable")], ether[order]
    calculator = levels.calculator("mmff", reference=ethanol if given else None)
    ethanol.calc = ether.calc = calculator
    energy, _ = label(ethanol)
    if given:  # its bonds count, whatever the geometry, as along a reaction
        assert label(ether)[0] > energy + 100
    else:
        with pytest.raises(CalculationFailed, match="are bonded in the first geometry.*calculator for an isomer"):
            label(ether)
    assert label(ethanol)[0] == pytest.approx(energy, abs=1e-9)


@needs_tblite
def test_a_label_does_not_depend_on_the_frame_before():
    calculator = levels.calculator("gfn2")
    label(Atoms(water().symbols, water(0.3).positions, calculator=calculator))
    after = Atoms(water().symbols, water().positions, calculator=calculator)
    alone = Atoms(water().symbols, water().positions, calculator=levels.calculator("gfn2"))
    energy, force = label(alone)
    assert label(after)[0] == pytest.approx(energy, rel=0, abs=1e-8)
    np.testing.assert_allclose(label(after)[1], force, rtol=0, atol=1e-8)


@needs_tblite
def test_a_refused_frame_leaves_no_molecule_behind():
    calculator = levels.calculator("gfn2")
    Atoms("N2", [[0, 0, 0], [0, 0, 1.1]], calculator=calculator).get_potential_energy()
    atoms = Atoms("CO", [[0, 0, 0], [0, 0, 0.1]], calculator=calculator)
    with pytest.raises(CalculationFailed, match="0.100 Å apart"):
        atoms.get_potential_energy()
    atoms.positions[1, 2] = 1.13
    found = label(atoms)
    atoms.calc = levels.calculator("gfn2")
    assert_same(found, label(atoms), "same code")


@pytest.mark.skipif(os.name == "nt", reason="a script is a program by its first line")
def test_after_an_interrupt_no_frame_gets_the_answer_to_another(tmp_path, monkeypatch):
    """With a program in the place of psi4 whose energy is the length of the bond."""
    program = tmp_path / "psi4"
    program.write_text(
        f"#!{sys.executable}\n"
        "import json, sys\n"
        "sys.stdin.readline()\n"
        "for line in sys.stdin:\n"
        "    length = float(json.loads(line).splitlines()[2].split()[-1])\n"
        "    answer = {'energy': length, 'gradient': 2 * [[0, 0, 0]], 'core_potential': False}\n"
        "    print('asteroid-answer ' + json.dumps(answer), flush=True)\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    calculator = levels.calculator("hf", code="psi4")

    def energy(length: float) -> float:
        atoms = Atoms("H2", [[0, 0, 0], [0, 0, length]], calculator=calculator)
        return atoms.get_potential_energy() / units.KCAL_PER_MOL_IN_EV / units.ENERGY["hartree"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calculator, "_receive", lambda: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            energy(0.7)
    assert [energy(0.8), energy(0.9)] == pytest.approx([0.8, 0.9])
    calculator.close()


@needs_psi4
def test_the_program_is_started_anew_before_it_has_taken_all_memory(monkeypatch):
    monkeypatch.setattr(ab_initio, "_PSI4_FRAMES", 2)
    started = []
    start = ab_initio.Psi4._start
    monkeypatch.setattr(ab_initio.Psi4, "_start", lambda self: (start(self), started.append(self._running.process))[0])
    atoms = molecule("H2")
    atoms.calc = levels.calculator("hf", basis="sto-3g", code="psi4")
    energies = []
    for _ in range(5):
        atoms.rattle(0.01, seed=0)
        energies.append(atoms.get_potential_energy())
    assert len(started) == 3 and len(set(energies)) == 5
    assert [process.poll() is None for process in started] == [False, False, True]


@pytest.mark.skipif(os.name == "nt", reason="a script is a program by its first line")
def test_a_psi4_that_does_not_run_says_why(tmp_path, monkeypatch):
    program = tmp_path / "psi4"
    program.write_text(f"#!{sys.executable}\nraise Exception('scratch is not a directory')\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(RuntimeError, match="does not run .*scratch is not a directory.*pyscf"):
        levels.version("psi4")


@needs_psi4
def test_files_of_psi4_stand_where_its_users_say_and_go_with_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PSI_SCRATCH", str(tmp_path))
    atoms = molecule("H2")
    atoms.calc = levels.calculator("hf", basis="sto-3g", code="psi4")
    atoms.get_potential_energy()
    (folder,) = tmp_path.iterdir()
    assert (folder / "psi4.out").exists()
    atoms.calc.close()
    assert not list(tmp_path.iterdir())


ALL = ["lj", pytest.param("mmff", marks=needs_rdkit), pytest.param("gfn2", marks=needs_tblite)]
ALL.append(pytest.param("hf", marks=needs_pyscf))


def any_calculator(level: str):
    return levels.calculator(level, **({"code": "pyscf", "basis": "sto-3g"} if level == "hf" else {}))


@pytest.mark.parametrize("level", ALL)
def test_a_calculator_is_what_users_of_ase_expect(level):
    """It gives the energy that belongs to its forces, can be copied after use, and refuses a periodic molecule."""
    atoms = water()
    atoms.calc = any_calculator(level)
    energy = atoms.get_potential_energy()
    assert atoms.get_potential_energy(force_consistent=True) == energy
    for copied in (pickle.loads(pickle.dumps(atoms)), copy.deepcopy(atoms)):
        copied.positions += 0.1
        assert copied.get_potential_energy() == pytest.approx(energy, abs=1e-6)
    atoms.cell, atoms.pbc = [9, 9, 9], [True, False, False]
    with pytest.raises(ValueError, match="are periodic"):
        atoms.get_potential_energy()


@pytest.mark.parametrize("level", ALL[2:])
def test_the_charge_is_what_the_atoms_say(level):
    """Also when it changes, of which ASE takes no notice."""
    atoms = Atoms("OH", [[0, 0, 0], [0, 0, 0.96]])
    atoms.calc = any_calculator(level)
    energies = []
    for charge in (-1, 1, -1):
        atoms.info = {"total_charge": charge}
        energies.append(atoms.get_potential_energy())
    assert energies[0] == pytest.approx(energies[2], abs=1e-5) and abs(energies[0] - energies[1]) > 1
    atoms.calc = levels.calculator(level, charge=1)
    with pytest.raises(CalculatorSetupError, match="OH say the charge -1, and the level was given the charge 1"):
        atoms.get_potential_energy()


@pytest.mark.parametrize("level", ALL[1:])
def test_the_charge_of_a_calculator_stays(level):
    atoms = water()
    atoms.calc = any_calculator(level)
    energy = atoms.get_potential_energy()
    with pytest.raises(ValueError, match="charge cannot be set.*Make another"):
        atoms.calc.set(charge=2)
    assert atoms.get_potential_energy() == energy


@pytest.mark.parametrize("level", ALL[1:])
def test_a_label_takes_one_thread_of_every_library(level, monkeypatch):
    seen = []
    atoms = water()
    atoms.calc = any_calculator(level)
    atoms.get_potential_energy()
    compute = type(atoms.calc)._energy_and_forces

    def counting(self, charge):
        seen.extend(library["num_threads"] for library in threadpoolctl.threadpool_info())
        return compute(self, charge)

    monkeypatch.setattr(type(atoms.calc), "_energy_and_forces", counting)
    atoms.positions += 0.1
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with threadpoolctl.threadpool_limits(3):
            atoms.get_potential_energy()
        assert set(seen) == {1} and torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@needs_pyscf
@pytest.mark.parametrize("level", ["hf", "mp2"])
def test_core_potentials_are_in_the_energy_and_the_forces(level):
    energies = {}
    for length in (1.61, 1.62, 1.63):
        atoms = Atoms("HI", [[0, 0, 0], [0, 0, length]])
        atoms.calc = levels.calculator(level, basis="def2-svp", code="pyscf")
        energies[length], force = label(atoms)
        if length == 1.62:
            expected = force[0, 2]
    slope = (energies[1.63] - energies[1.61]) / 0.02  # of the energy when the iodine moves up, so of H's force
    assert slope == pytest.approx(expected, abs=0.1)  # without them it is thousands
    assert -190_000 < energies[1.62] < -180_000  # of 26 of iodine's electrons


@needs_psi4
def test_psi4_has_core_potentials_in_hartree_fock_alone():
    atoms = Atoms("HI", [[0, 0, 0], [0, 0, 1.62]])
    atoms.calc = levels.calculator("mp2", basis="def2-svp", code="psi4")
    with pytest.raises(CalculatorSetupError, match="core potentials.*mp2.*code='pyscf'"):
        label(atoms)
    atoms.calc = levels.calculator("hf", basis="def2-svp", code="psi4")
    assert label(atoms)[0] == pytest.approx(-186515.5, abs=1)


@needs_pyscf
def test_whatever_fails_in_pyscf_fails_for_one_frame():
    atoms = water()
    atoms.calc = levels.calculator("pbe", basis="sto-3g", code="pyscf", grid=(50, 195))
    with pytest.raises(CalculationFailed, match="pbe/sto-3g of OH2 by pyscf: ValueError"):
        label(atoms)
