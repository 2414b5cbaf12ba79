"""Sampling: the temperature that was asked for, whole molecules only, the same frames for the same seed."""

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor

import ase.io
import numpy as np
import pytest
import tiny
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import CalculatorSetupError

from asteroid import levels, units
from asteroid.levels import sampling
from asteroid.md import stability

pytestmark = tiny.needs("rdkit", "tblite")

TOLERANCE = {"temperature": 0.05, "potential energy": 0.06}  # relative; three times what varies from seed to seed
QUIET = {"progress": False}


def kinetic(atoms: int, temperature: float) -> float:
    return (3 * atoms - 6) / 2 * units.BOLTZMANN * temperature


def test_mmff_is_sampled_at_its_temperature():
    """At 100 K a molecule is harmonic: its 3 · atoms − 6 vibrations hold half a k_B T of potential energy each."""
    sample = sampling.from_dynamics(
        "CO", "mmff", frames=6000, trajectories=5, temperature=100, friction=0.02, every=20, **QUIET
    )
    assert len(sample) == 6000 and sample.pos.shape == (6000, 6, 3)
    assert sample.provenance["temperature_measured_K"] == pytest.approx(100, rel=TOLERANCE["temperature"])
    minimum = sampling.from_normal_modes("CO", "mmff", frames=1, temperature=1e-6).potential_energy[0]
    mean = sample.potential_energy.mean() - minimum
    assert mean == pytest.approx(kinetic(6, 100), rel=TOLERANCE["potential energy"])


def test_gfn2_is_sampled_at_its_temperature():
    settings = {"trajectories": 4, "friction": 0.1, "every": 10, "equilibration": 100}
    sample = sampling.from_dynamics("O", "gfn2", frames=400, temperature=300, **settings, **QUIET)
    assert sample.provenance["temperature_measured_K"] == pytest.approx(300, rel=3 * TOLERANCE["temperature"])
    minimum = sampling.from_normal_modes("O", "gfn2", frames=1, temperature=1e-6).potential_energy[0]
    mean = sample.potential_energy.mean() - minimum
    assert mean == pytest.approx(kinetic(3, 300), rel=4 * TOLERANCE["potential energy"])


def test_frames_are_energies_of_their_level_about_the_centre_of_mass():
    sample = sampling.from_dynamics("CCO", "mmff", frames=6, trajectories=3, every=5, equilibration=10, **QUIET)
    assert sample.trajectory.tolist() == [0, 0, 1, 1, 2, 2] and sample.z.tolist() == [6, 6, 8, *[1] * 6]
    atoms = Atoms(sample.z, calculator=levels.calculator("mmff", reference=sampling.geometry("CCO")))
    for pos, energy in zip(sample.pos, sample.potential_energy):
        atoms.positions = pos
        np.testing.assert_allclose(atoms.get_center_of_mass(), 0, atol=1e-9)
        assert atoms.get_potential_energy() / units.KCAL_PER_MOL_IN_EV == pytest.approx(energy, rel=1e-6)


@pytest.mark.parametrize(("level", "every"), [("mmff", 20), ("gfn2", 2)])
def test_a_seed_repeats_its_frames_and_another_does_not(level, every):
    settings = {"frames": 7, "trajectories": 3, "every": every, "equilibration": every, **QUIET}
    first, again, other = (sampling.from_dynamics("ase:H2O", level, seed=seed, **settings) for seed in (0, 0, 1))
    # Several threads add in another order each time, and dynamics makes the last digits larger.
    np.testing.assert_allclose(first.pos, again.pos, rtol=0, atol=1e-6)
    assert not np.isclose(first.pos, other.pos).all(axis=(1, 2)).any()
    starts = first.pos[np.unique(first.trajectory, return_index=True)[1]]
    assert len(np.unique(starts.round(6), axis=0)) == 3  # each trajectory is another


def test_other_processes_sample_the_same():
    settings = {"frames": 4, "trajectories": 2, "equilibration": 40, **QUIET}
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        there = sampling.from_dynamics("CO", "mmff", executor=executor, **settings)
    np.testing.assert_allclose(there.pos, sampling.from_dynamics("CO", "mmff", **settings).pos, rtol=0, atol=1e-4)


def test_a_wrong_temperature_is_warned_of():
    with pytest.warns(RuntimeWarning, match="745 K where 500 K was asked for"):
        sampling.check_temperature(745, 500, atoms=9, frames=1000, spacing=0.2)
    sampling.check_temperature(510, 500, atoms=9, frames=1000, spacing=0.2)
    sampling.check_temperature(600, 500, atoms=9, frames=5, spacing=0.2)  # five frames say little


def test_a_trajectory_counts_up_to_where_it_breaks():
    water = molecule("H2O")
    torn, fused = water.positions.copy(), water.positions.copy()
    torn[1] *= 1.6
    fused[1] = fused[2] + [0, 0.5, 0]
    for broken in (torn, fused, np.full((3, 3), np.nan)):
        pos = np.stack([water.positions] * 3 + [broken] + [water.positions])
        assert stability.whole_frames(water.numbers, water.positions, pos) == 3
    assert stability.whole_frames(water.numbers, water.positions, np.stack([water.positions] * 3)) == 3


def test_broken_molecules_are_dropped_with_a_count():
    settings = {"trajectories": 5, "friction": 0.05, "every": 10, "equilibration": 0, "temperature": 9000}
    sample = sampling.from_dynamics("OO", "gfn2", frames=200, **settings, **QUIET)
    assert 0 < sample.dropped < 200 and len(sample) + sample.dropped == 200
    assert sample.provenance["dropped"] == sample.dropped
    start = sampling.geometry("OO")
    for number in np.unique(sample.trajectory):
        pos = sample.pos[sample.trajectory == number]
        assert stability.whole_frames(start.numbers, start.positions, pos) == len(pos)


def test_a_molecule_that_explodes_under_its_level_is_one_error():
    with pytest.raises(RuntimeError, match="all 4 frames of COH4 under lj at 500 K are of broken molecules; lower"):
        sampling.from_dynamics("ase:CH3OH", "lj", frames=4, trajectories=2, equilibration=0, **QUIET)


@pytest.mark.parametrize(("name", "modes"), [("CO", 12), ("ase:HCN", 4)], ids=["bent", "linear"])
def test_normal_modes_hold_half_a_kt_each(name, modes):
    sample = sampling.from_normal_modes(name, "mmff", frames=4000, temperature=20)
    atoms = Atoms(sample.z, sample.pos[0], calculator=levels.calculator("mmff", reference=sampling.geometry(name)))
    minimum = sampling.from_normal_modes(name, "mmff", frames=1, temperature=1e-6).potential_energy[0]
    expected = modes / 2 * units.BOLTZMANN * 20
    assert sample.potential_energy.mean() - minimum == pytest.approx(expected, rel=TOLERANCE["potential energy"])
    energies = []
    for atoms.positions in sample.pos[:300]:
        energies.append(atoms.get_potential_energy() / units.KCAL_PER_MOL_IN_EV - minimum)
    assert np.mean(energies) == pytest.approx(expected, rel=2 * TOLERANCE["potential energy"])
    assert np.corrcoef(energies, sample.potential_energy[:300])[0, 1] > 0.95
    assert np.array_equal(sample.pos, sampling.from_normal_modes(name, "mmff", frames=4000, temperature=20).pos)


def test_a_nearly_free_turn_is_no_saddle_point():
    """2-butyne's methyl groups turn with no barrier to speak of."""
    sample = sampling.from_normal_modes("CC#CC", "mmff", frames=50, temperature=300)
    assert len(sample) > 30 and np.isfinite(sample.potential_energy).all()


def test_a_single_atom_moves():
    sample = sampling.from_dynamics("[He]", "lj", frames=4, trajectories=2, equilibration=40, every=40, **QUIET)
    assert len(sample) == 4 and np.isfinite(sample.pos).all()


def test_a_saddle_point_is_no_minimum():
    flat = Atoms("NH3", [[0, 0, 0], *([np.cos(angle), np.sin(angle), 0] for angle in 2 * np.pi * np.arange(3) / 3)])
    with pytest.raises(RuntimeError, match="saddle point with 1 imaginary"):
        sampling.from_normal_modes(flat, "gfn2", frames=10)


def test_geometries_from_smiles_names_files_and_atoms(tmp_path):
    ethanol = sampling.geometry("CCO")
    assert str(ethanol.symbols) == "C2OH6" and ethanol.info["charge"] == 0
    assert np.array_equal(ethanol.positions, sampling.geometry("CCO").positions)
    assert sampling.geometry("CC(=O)[O-]").info["charge"] == -1
    assert sampling.geometry("ase:CH3CH2OH").get_chemical_formula() == "C2H6O"
    ase.io.write(tmp_path / "ethanol.xyz", ethanol)
    for path in (tmp_path / "ethanol.xyz", str(tmp_path / "ethanol.xyz")):
        np.testing.assert_allclose(sampling.geometry(path).positions, ethanol.positions, atol=1e-6)
    assert sampling.geometry(ethanol) is not ethanol


@pytest.mark.parametrize("ending", ["mol", "sdf"])
def test_a_charge_is_that_of_a_file_of_rdkit(ending, tmp_path, monkeypatch):
    from rdkit import Chem
    from rdkit.Chem import rdDistGeom

    oxalate = Chem.MolFromSmiles("[O-]C(=O)C(=O)[O-]")
    rdDistGeom.EmbedMolecule(oxalate, randomSeed=1)
    path = tmp_path / f"mine.{ending}"
    if ending == "mol":
        Chem.MolToMolFile(oxalate, str(path))
    else:
        with Chem.SDWriter(str(path)) as writer:
            writer.write(oxalate)
    atoms = sampling.geometry(path)
    assert str(atoms.symbols) == "OCOCO2" and atoms.info["charge"] == -2
    monkeypatch.setitem(sys.modules, "rdkit", None)
    with pytest.raises(ImportError, match=f"mine.{ending} needs RDKit: `pip install rdkit`"):
        sampling.geometry(path)


@pytest.mark.parametrize("ending", ["xyz", "extxyz", "mol", "sdf", "cif"])
@pytest.mark.parametrize("content", ["", "garbage"])
def test_a_file_that_cannot_be_read_is_named(ending, content, tmp_path):
    path = tmp_path / f"mine.{ending}"
    path.write_text(content)
    with pytest.raises(ValueError, match=f"mine.{ending} is no file of a molecule that"):
        sampling.geometry(path)


def test_a_charge_is_that_of_the_smiles():
    settings = {"frames": 3, "trajectories": 1, "every": 2, "equilibration": 0, **QUIET}
    assert sampling.from_dynamics("C[NH3+]", "mmff", **settings).provenance["settings"] == {"charge": 1}
    with pytest.raises(ValueError, match=r"charge is -1, but C\[NH3\+\] has 1"):
        sampling.from_dynamics("C[NH3+]", "gfn2", charge=-1, **settings)
    with pytest.raises(ValueError, match=r"charge is 0\.5; expected one whole number"):
        sampling.geometry(Atoms("OH", np.eye(2, 3), info={"charge": 0.5}))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("C1CC", "no SMILES string"),
        ("ethanol", "no SMILES string.*'ase:NAME'"),
        ("", "no SMILES string"),
        ("[CH3]", "1 unpaired electrons; only closed shells"),
        ("CCO.O", "several molecules"),
        ("ase:ethanol", "ASE has no molecule 'ethanol'; it has .*CH3CH2OH"),
    ],
)
def test_molecules_that_cannot_be_read(name, message):
    with pytest.raises(ValueError, match=message):
        sampling.geometry(name)


def test_a_missing_file():
    with pytest.raises(FileNotFoundError, match="nowhere.xyz"):
        sampling.geometry("nowhere.xyz")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": 0}, "frames is 0"),
        ({"temperature": -1}, "temperature is -1"),
        ({"trajectories": 0}, "trajectories is 0"),
        ({"equilibration": 7}, "equilibration is 7 and every is 40"),
        ({"basis": "cc-pvdz"}, "mmff has no setting basis"),
    ],
)
def test_numbers_that_do_not_fit(changes, message):
    with pytest.raises(ValueError, match=message):
        sampling.from_dynamics("O", "mmff", **({"frames": 4} | changes), **QUIET)
    if not changes.keys() & {"trajectories", "equilibration"}:
        with pytest.raises(ValueError, match=message):
            sampling.from_normal_modes("O", "mmff", **({"frames": 4} | changes))


def test_a_molecule_is_sampled_in_the_state_that_its_atoms_say():
    settings = {"frames": 2, "trajectories": 1, "every": 2, "equilibration": 2, **QUIET}
    ion = Atoms("OH", [[0, 0, 0], [0, 0, 0.96]], info={"total_charge": -1})
    assert sampling.from_dynamics(ion, "gfn2", **settings).provenance["settings"]["charge"] == -1
    silent = Atoms("OH", ion.positions)
    assert sampling.from_dynamics(silent, "gfn2", charge=-1, **settings).provenance["settings"]["charge"] == -1
    with pytest.raises(ValueError, match="charge is 1, but OH has -1"):
        sampling.from_dynamics(ion, "gfn2", charge=1, **settings)
    for level in ("mmff", "gfn2"):
        with pytest.raises(CalculatorSetupError, match="CH2 has the multiplicity 3"):
            sampling.from_dynamics("ase:CH2_s3B1d", level, **settings)
    ion.pbc = True
    with pytest.raises(ValueError, match="are periodic"):
        sampling.from_dynamics(ion, "gfn2", **settings)
