"""Levels that are not ours: any ASE calculator, programs that it starts, and sums of levels."""

import os
import pickle
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from types import SimpleNamespace

import my_levels
import numpy as np
import pytest
import tiny
import torch
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import CalculationFailed, CalculatorSetupError
from ase.constraints import FixAtoms

import asteroid
from asteroid import levels, processes, units
from asteroid.datasets import DatasetError
from asteroid.levels import registry, sums
from asteroid.levels.labelling import label
from asteroid.levels.ledger import ledger_name, read_labels

QUIET = {"progress": False}
SPRINGS = "my_levels:Springs"

# As ORCA writes what ASE reads: an energy, and a gradient in a file of its own; the energy is Σ r² over pairs.
ORCA = """#!{python}
import itertools, os, sys, time
lines = open(sys.argv[1]).read().split("*xyz")[1].splitlines()
charge, atoms = int(lines[0].split()[0]), [line.split() for line in lines[1:] if line.strip() not in ("", "*")]
bohr = 0.529177210903
pos = [[float(value) / bohr for value in atom[1:]] for atom in atoms]
energy, gradient = 0.001 * charge, [[0.0] * 3 for _ in pos]
for (i, a), (j, b) in itertools.permutations(enumerate(pos), 2):
    for k in range(3):
        energy += 0.0005 * (a[k] - b[k]) ** 2
        gradient[i][k] += 0.002 * (a[k] - b[k])
if len(atoms) == 2:
    sys.exit("the stand-in has failed")
with open({log!r}, "a") as file:
    file.write(open(sys.argv[1]).read() + os.getcwd() + "\\n")
time.sleep({pause})
print("Number of atoms                             ...     ", len(atoms))
print("CARTESIAN COORDINATES (ANGSTROEM)\\n---------------------------------")
print("\\n".join(" ".join(atom) for atom in atoms), "\\n")
if len(open({log!r}).read().split("EnGrad")) == {silent} + 1:
    sys.exit()
print("FINAL SINGLE POINT ENERGY    ", repr(energy), "\\n****ORCA TERMINATED NORMALLY****")
with open("orca.engrad", "w") as file:
    file.write("# The current gradient in Eh/bohr\\n#\\n")
    file.write("".join(f"{{value!r}}\\n" for row in gradient for value in row) + "#\\n# The atomic numbers\\n")
"""


@pytest.fixture
def frames():
    return asteroid.load("methanol", "gfn2")[:4]


@pytest.fixture
def springs(monkeypatch):
    """Registered by a name, for this test."""
    monkeypatch.setattr(registry, "_REGISTERED", {})
    levels.register("springs", my_levels.Springs)


def test_a_function_of_a_module_and_a_registered_one_are_levels(frames, springs, tmp_path):
    expected = []
    for pos in frames.pos.numpy():
        atoms = Atoms(frames.z.numpy(), pos, calculator=my_levels.Springs(k=2.0))
        expected.append(atoms.get_potential_energy() / units.KCAL_PER_MOL_IN_EV)
    for level in (SPRINGS, "springs"):
        labelled = label(frames, level, tmp_path / ledger_name("methanol", level), k=2.0, **QUIET)
        np.testing.assert_allclose(labelled.energy.numpy(), expected, rtol=1e-9)
        assert labelled.level == level and labelled.provenance["code"] == level
        assert labelled.provenance["settings"]["parameters"] == {"k": 2.0}
        assert "my_levels" in labelled.provenance["code_version"]
    assert read_labels(tmp_path / "methanol_my_levels-Springs.jsonl")[0]["seconds"] > 0


def test_it_sees_the_charge_or_refuses_it():
    ion, neutral = (Atoms("OH", [[0, 0, 0], [0, 0, 0.97]]) for _ in range(2))
    ion.calc = levels.calculator(SPRINGS, charge=-1)
    neutral.calc = levels.calculator(SPRINGS)  # an odd number of electrons is its own affair
    assert neutral.get_potential_energy() - ion.get_potential_energy() == pytest.approx(1)
    ion.calc = levels.calculator("my_levels:morse", charge=-1)
    with pytest.raises(CalculatorSetupError, match="no argument `charge`.*-1"):
        ion.get_potential_energy()


def test_one_calculator_is_made_and_used_for_all_frames(frames, tmp_path):
    before = my_levels.Springs.made
    label(frames, SPRINGS, tmp_path / "ledger.jsonl", **QUIET)
    assert my_levels.Springs.made <= before + 2  # one says its version


def test_a_frame_at_which_it_fails_is_recorded_and_skipped(frames, tmp_path):
    far = frames.pos.clone()
    far[1, 0] += 25
    torn = frames.derived(pos=far)
    labelled = label(torn, SPRINGS, tmp_path / "ledger.jsonl", **QUIET)
    assert len(labelled) == 3 and labelled.provenance["failures"] == 1
    assert "torn" in (tmp_path / "ledger.jsonl").read_text()


def test_other_processes_know_what_was_registered(frames, springs, tmp_path):
    with ProcessPoolExecutor(1, get_context("forkserver")) as executor:
        labelled = label(frames, "springs", tmp_path / "ledger.jsonl", executor=executor, **QUIET)
    assert len(labelled) == 4
    assert pickle.loads(pickle.dumps(levels.calculator("springs", k=3.0))).parameters == {"k": 3.0}


@pytest.mark.parametrize(
    ("level", "message"),
    [
        ("no_such_module:f", "unknown level 'no_such_module:f'.*module:function"),
        ("my_levels:no_such", "unknown level 'my_levels:no_such'"),
        ("my_levels:np.pi", "expected a function or class"),
        ("no_such_level", "unknown level 'no_such_level'; known: lj.*module:function"),
    ],
)
def test_what_is_no_level_is_refused(level, message):
    with pytest.raises(ValueError, match=message):
        levels.calculator(level)


def test_what_returns_no_calculator_is_refused():
    atoms = molecule("H2O")
    atoms.calc = levels.calculator("my_levels:nothing")
    with pytest.raises(CalculatorSetupError, match="returned None; expected an ASE calculator"):
        atoms.get_potential_energy()


def test_one_that_takes_anything_is_not_trusted_with_a_charge():
    ion = Atoms("OH", [[0, 0, 0], [0, 0, 0.97]])
    ion.calc = levels.calculator("my_levels:anything", charge=-1)
    with pytest.raises(CalculatorSetupError, match="no argument `charge`.*-1"):
        ion.get_potential_energy()


def test_a_level_that_is_registered_anew_is_another(springs, frames, tmp_path):
    soft = label(frames, "springs", tmp_path / "soft.jsonl", **QUIET)
    levels.register("springs", my_levels.Stiff)
    stiff = label(frames, "springs", tmp_path / "stiff.jsonl", **QUIET)
    torch.testing.assert_close(stiff.energy, 3 * soft.energy)
    with pytest.raises(DatasetError, match="holds labels of settings"):  # its source is another
        label(frames, "springs", tmp_path / "soft.jsonl", **QUIET)
    with pytest.raises(ValueError, match="cannot be the level mine.*define it by its name in a module"):
        levels.register("mine", lambda: my_levels.Springs())


def test_each_frame_is_computed_anew_without_constraints_and_a_stated_multiplicity_is_refused():
    atoms = molecule("CH3OH")
    atoms.calc = levels.calculator(SPRINGS)
    free = atoms.get_forces()
    atoms.set_constraint(FixAtoms([0]))
    atoms.rattle(0.01, seed=2)
    atoms.positions -= atoms.positions[0] - molecule("CH3OH").positions[0]
    assert np.abs(atoms.get_forces(apply_constraint=False)[0]).max() > 0.1 and len(free) == 6
    atoms.info["multiplicity"] = 3
    with pytest.raises(CalculatorSetupError, match="multiplicity 3"):
        atoms.get_potential_energy()


def test_unknown_settings_and_taken_names_are_refused(springs):
    with pytest.raises(ValueError, match="has no setting stiffness; it has: charge, k"):
        levels.calculator("springs", stiffness=1)
    for name in ("mp2", "a b", "a/b", "-a", "a:b", ""):
        with pytest.raises(ValueError, match="already|cannot be the name"):
            levels.register(name, my_levels.Springs)


@tiny.needs("tblite")
def test_a_level_of_a_notebook_hinders_no_other_level_in_processes(springs, frames, tmp_path, monkeypatch):
    monkeypatch.setattr(my_levels.Springs, "__module__", "__main__")
    with processes.pool(1) as executor:
        assert len(label(frames[:2], "gfn2", tmp_path / "gfn2.jsonl", executor=executor, **QUIET)) == 2
        with pytest.raises(ValueError, match="cannot use the level springs.*mine:function"):
            label(frames[:2], "springs", tmp_path / "springs.jsonl", executor=executor, **QUIET)


# Programs that an ASE calculator starts


@pytest.fixture
def orca(tmp_path):
    program = tmp_path / "orca"
    program.write_text(ORCA.format(python=sys.executable, log=str(tmp_path / "log"), pause=0.05, silent=-1))
    program.chmod(0o755)
    return {"program": str(program)}


@pytest.mark.filterwarnings("ignore:Please use ase.io.read:DeprecationWarning")
def test_orca_gets_its_input_and_its_answer_is_read(orca, tmp_path):
    atoms = molecule("H2O")
    atoms.calc = levels.calculator("my_levels:orca", **orca)
    pos = atoms.positions / units.LENGTH["bohr"]
    arrows = pos[:, None] - pos[None]
    hartree = units.ENERGY["hartree"] * units.KCAL_PER_MOL_IN_EV
    assert atoms.get_potential_energy() == pytest.approx(0.0005 * (arrows**2).sum() * hartree, rel=1e-4)
    expected = -0.002 * arrows.sum(axis=1) * hartree / units.LENGTH["bohr"]
    np.testing.assert_allclose(atoms.get_forces(), expected, rtol=1e-4, atol=1e-6)
    written = (tmp_path / "log").read_text()
    assert "DLPNO-CCSD(T) cc-pVTZ EnGrad" in written and "*xyz 0 1" in written
    failing = molecule("H2")
    failing.calc = levels.calculator("my_levels:orca", **orca)
    with pytest.raises(CalculationFailed):
        failing.get_potential_energy()


@pytest.mark.filterwarnings("ignore:Please use ase.io.read:DeprecationWarning")
def test_programs_of_several_processes_do_not_read_each_other_s_files(orca, frames, tmp_path):
    alone = label(frames, "my_levels:orca", tmp_path / "alone.jsonl", **orca, **QUIET)
    with processes.pool(2) as executor:
        both = label(frames, "my_levels:orca", tmp_path / "both.jsonl", executor=executor, **orca, **QUIET)
    torch.testing.assert_close(both.energy, alone.energy)
    torch.testing.assert_close(both.force, alone.force)
    folders = [line for line in (tmp_path / "log").read_text().splitlines() if line.startswith("/")]
    assert len(set(folders)) == len(folders) == 8 and not any(map(os.path.exists, folders))


def test_a_program_that_is_not_there_stops_the_job_with_its_name(frames, tmp_path):
    with pytest.raises(RuntimeError, match="no_such_orca"):
        label(frames, "my_levels:orca", tmp_path / "ledger.jsonl", program="no_such_orca", **QUIET)


# Sums


def test_a_sum_is_read_with_its_factors():
    assert sums.terms("pbe") is None and sums.terms("2*pbe") == [(2, "pbe")]
    level = "ccsd(t)/cc-pvdz + mp2/cc-pvtz - 0.5*mp2/cc-pvdz"
    assert sums.terms(level) == [(1, "ccsd(t)/cc-pvdz"), (1, "mp2/cc-pvtz"), (-0.5, "mp2/cc-pvdz")]
    assert sums.terms("hf/6-31g* - 2*mp2/6-31g") == [(1, "hf/6-31g*"), (-2, "mp2/6-31g")]
    assert sums.terms("-lj + 2*my-level") == [(-1, "lj"), (2, "my-level")]
    for wrong in ("mp2 hf", "", "mp2 + + hf", "mp2 +"):
        with pytest.raises(ValueError, match="sum of levels|empty"):
            sums.terms(wrong)


def test_the_calculator_of_a_sum_is_the_sum(springs):
    atoms = molecule("CH3OH")
    atoms.rattle(0.05, seed=1)
    alone = {}
    for level in ("springs", "lj"):
        atoms.calc = levels.calculator(level)
        alone[level] = atoms.get_potential_energy(), atoms.get_forces()
    atoms.calc = levels.calculator("2*springs - lj")
    expected = [2 * a - b for a, b in zip(alone["springs"], alone["lj"], strict=True)]
    assert atoms.get_potential_energy() == pytest.approx(expected[0], rel=1e-9)
    np.testing.assert_allclose(atoms.get_forces(), expected[1], rtol=1e-9, atol=1e-9)
    assert atoms.calc.code == "springs + ase"
    before = atoms.get_potential_energy()
    atoms.info["charge"] = -1  # which Springs adds, and Lennard-Jones does not know
    assert atoms.get_potential_energy() == pytest.approx(before - 2)


@tiny.needs("tblite")
def test_labels_of_a_sum_use_those_that_are_there(frames, springs, tmp_path, monkeypatch):
    ledger = tmp_path / "sum.jsonl"
    alone = [label(frames, level, tmp_path / ledger_name("methanol", level), **QUIET) for level in ("springs", "gfn2")]
    monkeypatch.setattr(my_levels.Springs, "calculate", None)  # nothing is computed again
    both = label(frames, "springs - 0.5*gfn2", ledger, **QUIET)
    torch.testing.assert_close(both.energy, alone[0].energy - 0.5 * alone[1].energy)
    torch.testing.assert_close(both.force, alone[0].force - 0.5 * alone[1].force)
    torch.testing.assert_close(both.seconds, alone[0].seconds + alone[1].seconds)
    assert both.level == "springs - 0.5*gfn2" and both.provenance["theory"] == "springs − 0.5 · GFN2-xTB"
    assert both.provenance["code"] == "springs, tblite" and both.provenance["failures"] == 0


@tiny.needs("tblite")
def test_a_factor_alone_makes_a_sum_and_the_charge_stays(tmp_path):
    ion = asteroid.load("methanol", "gfn2")[:2]
    ion = ion.derived(provenance={"settings": {"charge": 2}})
    half = label(ion, "0.5*gfn2", tmp_path / "half.jsonl", **QUIET)
    whole = label(ion, "gfn2", tmp_path / "gfn2.jsonl", **QUIET)
    torch.testing.assert_close(half.energy, 0.5 * whole.energy)
    assert half.provenance["theory"] == "0.5 · GFN2-xTB" and half.provenance["settings"]["charge"] == 2
    both = label(ion, f"{SPRINGS} + gfn2", tmp_path / "both.jsonl", charge=2, **QUIET)
    assert both.provenance["settings"]["charge"] == 2 and both.provenance["settings"]["parts"]["gfn2"] == {"charge": 2}


def test_frames_that_nearly_coincide_keep_their_own_labels(frames, springs, tmp_path):
    close = frames[:1].pos.repeat(3, 1, 1)
    close[1, 0, 0] += 6e-4
    close[2, 0, 0] -= 6e-4
    close = SimpleNamespace(molecule="methanol", z=frames.z, pos=close)
    both = label(close, "2*springs + 0*my_levels:morse", tmp_path / "sum.jsonl", **QUIET)
    alone = label(close, "springs", tmp_path / "alone" / "springs.jsonl", **QUIET)
    torch.testing.assert_close(both.energy, 2 * alone.energy)
    assert len(set(both.energy.tolist())) == 3


def test_frames_that_lack_a_part_are_left_out(frames, springs, tmp_path):
    far = frames.pos.clone()
    far[1, 0] += 25
    labelled = label(frames.derived(pos=far), "springs + my_levels:morse", tmp_path / "sum.jsonl", **QUIET)
    assert len(labelled) == 3 and labelled.provenance["failures"] == 1
    with pytest.raises(DatasetError, match="None of the 4 frames"):
        label(frames, "springs + my_levels:Broken", tmp_path / "other" / "sum.jsonl", **QUIET)


@pytest.mark.parametrize("level", ["mp2/6-31g", "mp2"])
@tiny.needs("pyscf")
def test_a_basis_stands_behind_the_level_or_in_a_setting(level, tmp_path):
    settings = {} if "/" in level else {"basis": "6-31g"}
    atoms = molecule("H2")
    atoms.calc = levels.calculator(level, code="pyscf", **settings)
    assert atoms.calc.basis == "6-31g" and atoms.get_potential_energy() < -30
    with pytest.raises(ValueError, match="the level says the basis 6-31g, and basis is 'sto-3g'"):
        levels.calculator("mp2/6-31g", basis="sto-3g")
