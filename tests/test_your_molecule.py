"""Labels of one's own: the budget divided, configurations kept in their order, and what the notebook refuses."""

import importlib.util
import json
import math
from dataclasses import asdict

import ase.io
import nbformat
import numpy as np
import pytest
import tiny
from ase import Atoms
from ase.calculators.calculator import CalculatorSetupError

from asteroid import book, profiles, stages, training
from asteroid.datasets import DatasetError
from asteroid.levels import labelling, sampling, series
from asteroid.planning import planner
from asteroid.planning.planner import Spending, least_budget, spend

NOTEBOOK = book.root() / "notebooks/your_molecule.ipynb"
COSTS = [(0.5, 0.0014), (30.0, 1.5), (10.0, 9.0), (3600.0, 0.002), (0.01, 0.00999)]  # of an accurate and a cheap label
QUICK = {"trajectories": 2, "every": 2, "equilibration": 4, "progress": False}

needs_labels = tiny.needs("rdkit", "tblite", "pyscf")


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("times", [1.0, 1.5, 3.0, 20.0, 1000.0])
def test_both_sides_cost_the_same_and_all_fits_into_the_budget(cost, times):
    accurate, cheap = cost
    budget = times * least_budget(*cost)
    plan = spend(budget, *cost)
    seconds = (plan.held_out + plan.standard) * accurate + (plan.held_out + plan.cheap) * cheap
    assert budget - 2 * accurate < seconds <= budget * (1 + 1e-6)  # and nothing is left over
    cost_of_asteroid = plan.asteroid * accurate + plan.cheap * cheap
    assert plan.standard * accurate - accurate < cost_of_asteroid <= plan.standard * accurate * (1 + 1e-9)
    assert planner.FEWEST <= plan.asteroid < plan.standard
    share = planner.LARGER_SHARE if accurate >= planner.MANY * cheap else planner.SHARE
    assert plan.standard - plan.asteroid <= math.ceil(share * plan.standard)
    assert 0 < plan.cheap <= planner.CHEAP_PER_ACCURATE * plan.standard


def test_a_budget_that_was_worked_out_by_hand():
    # A tenth and a fifth of 1000 labels are above the limits: 50 + 200 are held out, at both levels. Of the
    # rest, 10000 - 250 · 12 s, an accurate label and its cheap one, a fifth of its time, take 10 + 2 s.
    assert spend(10_000, 10, 2) == Spending(valid=50, test=200, standard=583, asteroid=583 - 117, cheap=583)
    # Where ten cost as much as an accurate one, five for each are half of its time: 10000 - 250 · 11 s, 10 + 5 s.
    assert spend(10_000, 10, 1) == Spending(valid=50, test=200, standard=483, asteroid=483 - 242, cheap=2415)
    # Cheap labels that cost nothing are taken ten for each accurate one, and one accurate label pays for them.
    assert spend(10_000, 10, 1e-4) == Spending(valid=50, test=200, standard=749, asteroid=748, cheap=7490)


def test_a_larger_budget_buys_no_less():
    plans = [asdict(spend(budget, 2, 0.05)) for budget in np.geomspace(least_budget(2, 0.05), 1e5, 30)]
    for name in ("valid", "test"):
        assert all(np.diff([plan[name] for plan in plans]) >= 0)
    assert plans[-1]["asteroid"] > 10 * plans[0]["asteroid"]


def test_too_small_a_budget_names_the_smallest():
    least = least_budget(5, 0.1)
    with pytest.raises(ValueError, match=rf"at least {math.ceil(least)} s \(0\.0\d+ hours\)"):
        spend(0.99 * least, 5, 0.1)
    for nothing in (-1, 0, math.nan):
        with pytest.raises(ValueError, match=f"a budget of {nothing} s is too small"):
            spend(nothing, 5, 0.1)


@pytest.mark.parametrize("cost", [(1, 1), (1, 2), (0, 0), (1, 0), (math.nan, 1), (math.inf, 1)])
def test_cheap_labels_that_are_not_cheaper_are_refused(cost):
    with pytest.raises(ValueError, match="must take less"):
        spend(1e6, *cost)


@needs_labels
def test_more_configurations_begin_with_the_same_ones(tmp_path):
    few = series.frames(tmp_path, "O", "mmff", 3, batch=4, **QUICK)
    assert len(few) == 3 and len(list(tmp_path.iterdir())) == 1
    more = series.frames(tmp_path, "O", "mmff", 9, batch=4, **QUICK)
    np.testing.assert_array_equal(more.pos[:3], few.pos)
    assert len(more) == 9 and len(list(tmp_path.iterdir())) == 3
    assert len({frame.tobytes() for frame in more.pos}) == 9
    # A batch has two trajectories of two frames each, and the third batch is cut short.
    assert [sorted(more.trajectory[k : k + 4]) for k in (0, 4)] == [[0, 0, 1, 1], [4, 4, 5, 5]]
    assert more.trajectory.tolist() != sorted(more.trajectory)  # a few labels are not all of the first trajectory
    assert more.provenance["molecule"] == "O" and more.provenance["seconds"] > few.provenance["seconds"] > 0
    known = [series.frames(tmp_path, "O", "mmff", 9, batch=4, **QUICK) for _ in range(2)]
    np.testing.assert_array_equal(known[0].pos, known[1].pos)


@needs_labels
def test_labels_outlive_a_larger_number_of_configurations(tmp_path):
    ledger = tmp_path / "gfn2.jsonl"
    labelling.label(series.frames(tmp_path, "O", "mmff", 3, batch=4, **QUICK), "gfn2", ledger, progress=False)
    written = ledger.read_text()
    labelling.label(series.frames(tmp_path, "O", "mmff", 6, batch=4, **QUICK), "gfn2", ledger, progress=False)
    assert ledger.read_text().startswith(written)
    made = [row["frame"] for row in map(json.loads, ledger.read_text().splitlines()) if "frame" in row]
    assert made == [0, 1, 2, 3, 4, 5]


@needs_labels
@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"molecule": "N"}, "configurations of atoms 'OH2', not 'NH3'"),
        ({"seed": 1}, "configurations of seed 0, not 1"),
        ({"level": "gfn2"}, "configurations of level 'mmff', not 'gfn2'"),
        ({"batch": 5}, "configurations of batch 4, not 5"),
        ({"temperature": 300}, "configurations of temperature None, not 300"),
    ],
)
def test_a_folder_of_other_configurations_is_refused(tmp_path, other, said):
    given = {"molecule": "O", "level": "mmff", "number": 2, "batch": 4}
    series.frames(tmp_path, **given, **QUICK)
    with pytest.raises(DatasetError, match=said):
        series.frames(tmp_path, **(given | other), **QUICK)


@needs_labels
def test_configurations_are_of_the_molecule_that_the_file_held(tmp_path):
    path, given = tmp_path / "mine.xyz", {"level": "mmff", "number": 2, "batch": 2}
    ethanol, ether = sampling.geometry("CCO"), sampling.geometry("COC")[[0, 2, 1, *range(3, 9)]]
    assert np.array_equal(ethanol.numbers, ether.numbers)
    ase.io.write(path, ethanol)
    for folder, molecule in (("file", path), ("atoms", ethanol)):
        first = series.frames(tmp_path / folder, molecule, **given, **QUICK)
        np.testing.assert_array_equal(series.frames(tmp_path / folder, molecule, **given, **QUICK).pos, first.pos)
    ase.io.write(path, ether)
    for folder, molecule in (("file", path), ("atoms", ether)):
        with pytest.raises(DatasetError, match="holds configurations of start .* choose another folder"):
            series.frames(tmp_path / folder, molecule, **given, **QUICK)


@needs_labels
def test_a_batch_that_was_cut_short_is_no_batch(tmp_path, monkeypatch):
    def killed(*paths):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(series.os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            series.frames(tmp_path, "O", "mmff", 2, batch=4, **QUICK)
    assert len(series.frames(tmp_path, "O", "mmff", 2, batch=4, **QUICK)) == 2
    (tmp_path / "frames_0.npz").write_bytes(b"PK")
    with pytest.raises(DatasetError, match="frames_0.npz is no npz file. Delete it and it is sampled again"):
        series.frames(tmp_path, "O", "mmff", 2, batch=4, **QUICK)


@needs_labels
def test_a_charge_is_known_from_the_smiles_string(tmp_path):
    sample = series.frames(tmp_path, "[NH4+]", "gfn2", 2, batch=2, **QUICK)
    assert sample.provenance["settings"]["charge"] == 1
    atoms = Atoms(sample.z, sample.pos[0])  # without a SMILES string the charge is not known, and 11 electrons are odd
    with pytest.raises(CalculatorSetupError, match="11 electrons; only closed shells"):
        series.frames(tmp_path / "other", atoms, "gfn2", 2, batch=2, **QUICK)


@needs_labels
def test_atoms_of_another_charge_are_other_configurations(tmp_path):
    atoms = Atoms("OH", [[0, 0, 0], [0, 0, 0.96]], info={"charge": -1})
    series.frames(tmp_path, atoms, "gfn2", 2, batch=2, **QUICK)
    atoms.info["charge"] = 1
    with pytest.raises(DatasetError, match="configurations of charge -1, not 1"):
        series.frames(tmp_path, atoms, "gfn2", 2, batch=2, **QUICK)


@pytest.mark.parametrize("name", profiles.names())
def test_every_profile_says_what_the_notebook_does(name):
    job = profiles.load(name).your_molecule
    assert job.trainings > 1  # or there is no error to state
    assert job.sampling.equilibration % job.sampling.every == 0 and job.md_steps % 10 == 0
    recipe = job.recipes["egnn"]
    for stage in (recipe.accurate, recipe.identification, recipe.inaccurate, recipe.fine_tuning):
        assert stage.warmup < stage.steps / 2


def checked(until: str = "check", **parameters) -> dict:
    """What the notebook holds after the cell that looks at its parameters, or a later one, executed here."""
    namespace = {}
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        if cell.cell_type == "code":
            exec(cell.source, namespace)
        if "parameters" in cell.metadata.get("tags", []):
            namespace |= {"profile": "smoke", **parameters}
        if cell.id == f"your-molecule-{until}":
            return namespace
    raise AssertionError(f"the notebook has lost its cell {until!r}")


def test_the_trainings_of_the_demonstration_come_with_the_repository(monkeypatch):
    """Nothing that the page shows would then be trained, whatever machine it is made on."""
    found = checked(until="split", profile="laptop")
    found["pool"].shutdown()
    monkeypatch.setattr(training, "fit", None)
    for seed in range(found["job"].trainings):
        labels = found["equal_cost"]
        keep = {"seed": seed, "progress": False}
        folder = found["trainings"] / f"standard-{seed}"
        stages.standard(labels.train, labels.valid, found["recipe"], folder=folder, **keep)
        folder = found["trainings"] / f"asteroid-{seed}"
        stages.asteroid(found["split"], found["recipe"], weighted=found["weighted"], folder=folder, **keep)
    assert (found["trainings"] / "half/standard.safetensors").exists() and found["vibrations_kept"].exists()
    assert [folder.name for folder in found["trainings"].parent.iterdir()] == [found["trainings"].name]


def test_of_several_cheap_levels_ten_labels_each_choose_one():
    found = checked(until="levels", profile="laptop")
    found["pool"].shutdown()
    estimate = found["comparison"]["estimate"]
    assert set(estimate.index) > {"pbe", "gfn2", "mmff"}
    assert found["cheap_level"] == estimate[["pbe", "gfn2", "mmff"]].astype(float).idxmin()


@needs_labels
def test_the_notebook_takes_a_theory_with_its_basis_and_a_charge():
    found = checked(smiles="[NH4+]", cheap_level="mmff", accurate_level="pbe/def2-svp")
    assert found["how"]["pbe/def2-svp"] == {"charge": 1} and found["driver"] == "mmff"
    assert set(found["how"]["mmff"]) == {"charge", "reference"}
    for accurate in ("ccsd(t)", "ccsd(t)/cc-pvdz + mp2/cc-pvtz - mp2/cc-pvdz", "my_levels:Springs"):
        assert checked(smiles="O", cheap_level="pbe", accurate_level=accurate)["driver"] == "gfn2"


@needs_labels
@pytest.mark.parametrize(
    ("parameters", "error", "said"),
    [
        ({"smiles": "ethanol"}, ValueError, "'ethanol' is no SMILES string .* 'ase:NAME'"),
        ({"smiles": "ase:ethanol"}, ValueError, "ASE has no molecule 'ethanol'; it has .*CH3CH2OH"),
        ({"smiles": "mine.xyz"}, FileNotFoundError, "mine.xyz"),
        ({"smiles": "[CH3]"}, ValueError, "1 unpaired electrons; only closed shells"),
        ({"smiles": "ase:CH3"}, CalculatorSetupError, "9 electrons; only closed shells"),
        ({"smiles": "C.O"}, ValueError, "several molecules; give one"),
        ({"smiles": "[He]"}, ValueError, "one atom"),
        ({"smiles": "F[U](F)(F)(F)(F)F"}, CalculatorSetupError, "No support for elements"),
        ({"smiles": "C[B-](C)(C)C", "cheap_level": "mmff"}, CalculatorSetupError, "no parameters for .* Take gfn2"),
        ({"cheap_level": "gfn3"}, ValueError, "unknown level 'gfn3'; known: .*gfn2"),
        ({"cheap_level": "gfn2/sto-3g"}, ValueError, "gfn2 has no setting basis"),
        ({"cheap_level": "pbe", "accurate_level": "pbe"}, ValueError, "both 'pbe'; give two levels"),
        ({"cheap_level": "gfn2, pbe", "accurate_level": "pbe"}, ValueError, "both 'pbe'; give two levels"),
        ({"cheap_level": "gfn2, gfn2"}, ValueError, "'gfn2, gfn2'; name each level once"),
        ({"cheap_level": "gfn2,"}, ValueError, "'gfn2,'; name each level once"),
        ({"wanted": 0.0}, ValueError, "wanted is 0.0 kcal/mol/Å; give a positive number"),
        ({"processes": 0}, ValueError, "processes is 0; give 1 or more"),
        ({"budget_hours": "much"}, ValueError, "budget_hours is 'much'; "),
    ],
)
def test_the_notebook_refuses_before_it_computes(parameters, error, said):
    with pytest.raises(error, match=said) as caught:
        checked(**parameters)
    assert caught.value._render_traceback_() == [f"{type(caught.value).__name__}: {caught.value}"]


@needs_labels
@pytest.mark.parametrize("program", ["rdkit", "tblite", "pyscf"])
def test_the_notebook_says_which_package_is_missing(program, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == program else find(name))
    monkeypatch.setattr("asteroid.levels.shutil.which", lambda name: None)  # no Psi4 either
    for name in ("rdkit", "rdkit.Chem") if program == "rdkit" else ():
        monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(ImportError, match=f"pip install {program}"):
        checked(smiles="CO", cheap_level="gfn2", accurate_level="pbe")
