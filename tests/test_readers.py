"""Files of labelled frames as other programs and people write them."""

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import ase
import ase.db
import ase.io
import numpy as np
import pytest
import tiny
import torch
from ase.calculators.singlepoint import SinglePointCalculator

from asteroid import load, state, units
from asteroid.datasets import DatasetError, LabelledSet, readers
from asteroid.levels.labelling import label

EV = {"energy_unit": "eV", "length_unit": "angstrom"}
KCAL = {"energy_unit": "kcal/mol", "length_unit": "angstrom"}


@pytest.fixture(scope="module")
def few() -> LabelledSet:
    return load("formic_acid", "ccsd(t)")[:6]


def images(
    labelled: LabelledSet, energy: str = "REF_energy", forces: str = "REF_forces", **info: object
) -> list[ase.Atoms]:
    """The frames with labels in kcal/mol under names that ASE does not know."""
    found = []
    for pos, value, force in zip(labelled.pos, labelled.energy, labelled.force, strict=True):
        atoms = ase.Atoms(labelled.z.numpy(), pos.numpy(), info={energy: float(value), **info})
        atoms.arrays[forces] = force.numpy().copy()
        found.append(atoms)
    return found


def assert_same(a: LabelledSet, b: LabelledSet, tolerance: float = 1e-5) -> None:
    assert torch.equal(a.z, b.z)
    for field in ("pos", "energy", "force"):
        torch.testing.assert_close(getattr(a, field), getattr(b, field), rtol=0, atol=tolerance)


def write(path: Path, frames: list[ase.Atoms]) -> Path:
    ase.io.write(path, frames, format="extxyz")
    return path


@pytest.mark.parametrize(
    ("energy", "forces"),
    [
        ("REF_energy", "REF_forces"),
        ("total_energy", "forces"),
        ("dft_energy", "dft_forces"),
        ("energy_mp2", "forces_mp2"),
    ],
)
@pytest.mark.parametrize("ending", ["extxyz", "XYZ", "xyz.gz"])
def test_labels_under_other_names_and_endings(energy: str, forces: str, ending: str, few, tmp_path) -> None:
    path = write(tmp_path / f"mine.{ending}", images(few, energy, forces, kinetic_energy=1.0))
    found = load(str(path), "mine", **KCAL)
    assert_same(found, few)
    assert found.molecule == "mine"


def test_two_sets_of_labels_in_one_file_have_to_be_chosen_from(few, tmp_path) -> None:
    frames = images(few)
    for atoms in frames:
        atoms.calc = SinglePointCalculator(
            atoms, energy=atoms.info["REF_energy"] + 7, forces=atoms.arrays["REF_forces"] + 1
        )
    path = write(tmp_path / "both.xyz", frames)
    with pytest.raises(DatasetError, match="energy and forces; REF_energy and REF_forces. Choose .*energy_key='REF_en"):
        load(path, "x", **KCAL)
    assert_same(load(path, "x", energy_key="REF_energy", **KCAL), few)
    assert_same(load(path, "x", forces_key="REF_forces", **KCAL), few)
    assert_same(
        load(path, "x", energy_key="energy", forces_key="REF_forces", **KCAL), replace(few, energy=few.energy + 7)
    )
    with pytest.raises(DatasetError, match="has no 'dft_energy'; energy_key is one of .*REF_energy"):
        load(path, "x", energy_key="dft_energy", **KCAL)


def test_the_same_labels_under_two_names_are_one_set(few, tmp_path) -> None:
    frames = images(few)
    for atoms in frames:
        atoms.calc = SinglePointCalculator(atoms, energy=atoms.info["REF_energy"], forces=atoms.arrays["REF_forces"])
    assert_same(load(write(tmp_path / "both.xyz", frames), "x", **KCAL), few)


ARRAYS = {
    "sGDML": ("z", "R", "E", "F"),
    "revised MD17": ("nuclear_charges", "coords", "energies", "forces"),
    "NequIP": ("Z", "R", "total_energy", "forces"),
    "ANI": ("atomic_numbers", "coordinates", "wb97x_dz.energy", "wb97x_dz.forces"),
}


@pytest.mark.parametrize("whose", ARRAYS)
def test_arrays_of_others(whose: str, few, tmp_path) -> None:
    values = [field.numpy() for field in (few.z, few.pos, few.energy, few.force)]
    if whose == "NequIP":
        values[0] = np.tile(values[0], (len(few), 1))
    arrays = dict(zip(ARRAYS[whose], values, strict=True))
    if whose == "revised MD17":
        arrays |= {"old_energies": values[2] + 1, "old_forces": values[3] + 1, "old_indices": np.arange(len(few))}
    np.savez(tmp_path / "theirs.npz", **arrays)
    assert_same(load(tmp_path / "theirs.npz", "x", **KCAL), few, 0)
    if whose == "ANI":
        np.savez(tmp_path / "theirs.npz", **arrays, **{"hf_dz.energy": values[2] - 3, "hf_dz.forces": values[3]})
        with pytest.raises(DatasetError, match=r"wb97x_dz.energy and wb97x_dz.forces; hf_dz.energy"):
            load(tmp_path / "theirs.npz", "x", **KCAL)
        assert_same(load(tmp_path / "theirs.npz", "x", energy_key="wb97x_dz.energy", **KCAL), few, 0)


def test_a_file_of_ani(few, tmp_path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "ani.h5", "w") as file:
        group = file.create_group("CH2O2")
        group["species"] = np.array([b"O", b"C", b"O", b"H", b"H"])
        group["coordinates"], group["energies"], group["forces"] = (
            few.pos.numpy(),
            few.energy.numpy(),
            few.force.numpy(),
        )
    assert_same(load(tmp_path / "ani.h5", "x", **KCAL), few, 0)
    with h5py.File(tmp_path / "ani.h5", "a") as file:
        file["C2H6O/coordinates"] = np.zeros((1, 9, 3))
    with pytest.raises(DatasetError, match="has the molecules C2H6O, CH2O2; .*group="):
        load(tmp_path / "ani.h5", "x", **KCAL)


def test_a_database_of_schnetpack_states_its_units(few, tmp_path) -> None:
    with ase.db.connect(tmp_path / "theirs.db") as database:
        for pos, energy, force in zip(few.pos.numpy(), few.energy.numpy(), few.force.numpy(), strict=True):
            data = {"energy": energy[None], "forces": force}
            database.write(ase.Atoms(few.z.numpy(), pos / units.LENGTH["bohr"]), data=data)
        stated = {"energy": "kcal/mol", "forces": "kcal/mol/Ang"}
        database.metadata = {"_distance_unit": "Bohr", "_property_unit_dict": stated, "atomrefs": {}}
    assert_same(load(tmp_path / "theirs.db", "x"), few)


def test_rows_of_several_kinds_are_named(few, tmp_path) -> None:
    frames = images(few, "energy", "forces")
    with ase.db.connect(tmp_path / "mine.db") as database:
        for k, atoms in enumerate(frames):
            atoms.calc = SinglePointCalculator(atoms, energy=atoms.info["energy"], forces=atoms.arrays.pop("forces"))
            database.write(atoms, method="pbe" if k < 4 else "hf")
        database.write(ase.Atoms("H2", [[0, 0, 0], [0, 0, 0.74]]))
    with pytest.raises(DatasetError, match=r"frame 6 is .* skip=\[6, …\]"):
        load(tmp_path / "mine.db", "x", **KCAL)
    with pytest.raises(DatasetError, match="method is hf and pbe"):
        load(tmp_path / "mine.db", "x", skip=[6], **KCAL)
    assert_same(load(tmp_path / "mine.db", "x", skip=[6, 4, 5], **KCAL), few[:4])


def test_a_trajectory_of_ase(few, tmp_path) -> None:
    frames = images(few)
    for atoms in frames:
        atoms.calc = SinglePointCalculator(atoms, energy=atoms.info["REF_energy"], forces=atoms.arrays["REF_forces"])
    ase.io.write(tmp_path / "mine.traj", frames)
    assert_same(load(tmp_path / "mine.traj", "x", energy_key="energy", **KCAL), few)


def test_frames_are_skipped_and_named_by_their_numbers_in_the_file(few, tmp_path) -> None:
    frames = images(few)
    del frames[1].info["REF_energy"]
    path = write(tmp_path / "mine.xyz", frames)
    with pytest.raises(DatasetError, match=r"frame 1 has no energy under 'REF_energy' \(5 of 6 have it\).* skip=\[1\]"):
        load(path, "x", **KCAL)
    found = load(path, "x", skip=[1], **KCAL)
    assert_same(found, few[[0, 2, 3, 4, 5]])
    assert found.provenance["skipped"] == [1] and "skipped" not in found[:2].provenance
    frames[4].info["REF_energy"] = float("nan")
    with pytest.raises(DatasetError, match=r"energy of frame 4 is not finite.*skip=\[4\]"):
        load(write(path, frames), "x", skip=[1], **KCAL)
    for wrong in ([6], [-1], [0.5]):
        with pytest.raises(DatasetError, match="has the frames 0 to 5"):
            load(path, "x", skip=wrong, **KCAL)


@pytest.mark.parametrize("unit", ["hartree/bohr", "kcal/mol/Ang"])
def test_forces_have_a_unit_of_their_own(unit: str, few, tmp_path) -> None:
    arrays = {
        "z": few.z,
        "R": few.pos,
        "E": few.energy / units.ENERGY["hartree"],
        "F": few.force / units.force_factor(unit),
    }
    np.savez(tmp_path / "mine.npz", **{name: value.numpy() for name, value in arrays.items()})
    given = {"energy_unit": "hartree", "length_unit": "angstrom", "force_unit": unit}
    assert_same(load(tmp_path / "mine.npz", "x", **given), few, 1e-8)
    with pytest.raises(DatasetError, match="Unknown unit 'newton' of a force"):
        load(tmp_path / "mine.npz", "x", **given | {"force_unit": "newton"})


def test_options_of_files_are_refused_elsewhere() -> None:
    with pytest.raises(DatasetError, match="give skip and energy_key|give energy_key and skip"):
        load("methanol", "gfn2", skip=[1], energy_key="E")


def test_what_was_written_for_others_loads_back(few, tmp_path) -> None:
    charged = replace(few, provenance={"settings": {"charge": -2, "multiplicity": 3}})
    charged.to_extxyz(tmp_path / "mine.extxyz")
    found = load(tmp_path / "mine.extxyz")
    assert_same(found, few)
    assert found.level == "ccsd(t)" and found.provenance["settings"] == {"charge": -2, "multiplicity": 3}


# The state of the molecule


@pytest.mark.parametrize("name", ["charge", "total_charge", "Total_Charge"])
def test_the_charge_is_read_under_its_usual_names(name: str, few, tmp_path) -> None:
    path = write(tmp_path / "mine.xyz", images(few, **{name: -1}))
    assert load(path, "x", **KCAL).provenance["settings"] == {"charge": -1}
    np.savez(tmp_path / "mine.npz", z=few.z, R=few.pos, E=few.energy, F=few.force, **{name: -1})
    assert load(tmp_path / "mine.npz", "x", **KCAL).provenance["settings"] == {"charge": -1}


def test_the_charge_is_the_sum_of_initial_charges(few, tmp_path) -> None:
    frames = images(few)
    for atoms in frames:
        atoms.set_initial_charges([-0.6, 0.2, -0.6, 0.0, 0.0])
    assert state.of_all(frames)["charge"] == -1
    frames[0].info["charge"] = -1
    assert state.of_all(frames)["charge"] == -1
    frames[0].info["total_charge"] = 0
    with pytest.raises(ValueError, match="total_charge is 0.*expected one whole number"):
        state.of_all(frames)
    frames[0].info = {"charge": 1}
    frames[0].set_initial_charges(None)
    path = write(tmp_path / "mine.xyz", frames)
    with pytest.raises(DatasetError, match="mine.xyz: the frames say the charge -1 and 1; expected one whole number"):
        load(path, "x", **KCAL)


def test_the_multiplicity_is_read(few) -> None:
    frames = images(few)
    for name, value, expected in (("spin", 1, 1), ("total_spin", 1, 1), ("spin", 0, 1), ("multiplicity", 3, 3)):
        assert state.of_all([ase.Atoms("O2", info={name: value})])["multiplicity"] == expected
    frames[0].info["charge"] = frames[1].info["charge"] = 1
    frames[0].set_initial_magnetic_moments([1, 0, 0, 0, 0])
    assert state.of_all(frames[:1])["multiplicity"] == 2
    frames[1].info["multiplicity"] = 1
    with pytest.raises(ValueError, match="the multiplicity 1 and 2"):
        state.of_all(frames[:2])


def test_a_triplet_is_refused_before_its_first_label(tmp_path) -> None:
    methylene = ase.Atoms("CH2", [[0, 0, 0.1], [0, 0.99, -0.3], [0, -0.99, -0.3]], info={"spin": 3})
    path = write(tmp_path / "methylene.xyz", [methylene])
    ledger = tmp_path / "labels.jsonl"
    done = tiny.shell("label", "--molecule", str(path), "--level", "gfn2", "--output", str(ledger))
    assert done.exit_code == 1 and "has the multiplicity 3" in done.stderr and not ledger.exists()


# Cells


@pytest.mark.parametrize("pbc", [True, False])
def test_a_molecule_that_its_cell_cuts_is_made_whole(pbc: bool, few, tmp_path) -> None:
    frames = images(few)
    for atoms in frames:
        atoms.set_cell([[11, 0, 0], [2, 11, 0], [0, 1, 12]])
        atoms.pbc = True
        atoms.wrap()
        atoms.pbc = pbc
    assert max(atoms.get_all_distances().max() for atoms in frames) > 6
    found = load(write(tmp_path / "cut.xyz", frames), "x", **KCAL)
    torch.testing.assert_close(torch.cdist(found.pos, found.pos), torch.cdist(few.pos, few.pos), atol=1e-5, rtol=0)


# Frames to label


def test_frames_in_bohr_are_refused_before_the_first_label(few, tmp_path) -> None:
    wrong = few.derived(pos=few.pos / units.LENGTH["bohr"])
    with pytest.raises(DatasetError, match="length_unit='bohr'"):
        label(wrong, "lj", tmp_path / "labels.jsonl", progress=False)
    assert not (tmp_path / "labels.jsonl").exists()


@tiny.needs("tblite")
@pytest.mark.parametrize("ending", ["npz", "db"])
def test_frames_of_other_files_are_labelled(ending: str, few, tmp_path) -> None:
    path = tmp_path / f"theirs.{ending}"
    if ending == "npz":
        np.savez(path, nuclear_charges=few.z, coords=few.pos)
    else:
        with ase.db.connect(path) as database:
            for atoms in images(few):
                database.write(ase.Atoms(atoms.numbers, atoms.positions))
    found = readers.frames(path)
    assert found.z.tolist() == few.z.tolist() and found.settings == {}
    np.testing.assert_allclose(found.pos, few.pos, atol=1e-9)
    ledger = tmp_path / "labels.jsonl"
    assert tiny.shell("label", "--molecule", str(path), "--level", "gfn2", "--output", str(ledger)).exit_code == 0
    assert len([line for line in ledger.read_text().splitlines() if "frame" in json.loads(line)]) == len(few)


# What files of others hold besides


def test_a_word_without_a_number_is_no_charge_and_no_energy(few, tmp_path) -> None:
    path = tmp_path / "ethoxide.xyz"
    path.write_text("2\nethoxide charge -1\nO 0 0 0\nH 0 0 0.97\n")
    with pytest.raises(DatasetError, match="charge has no value; expected charge=NUMBER"):
        readers.frames(path)


def test_half_of_a_second_set_is_a_second_set(few, tmp_path) -> None:
    frames = images(few)
    for atoms in frames:
        atoms.info["dft_energy"] = atoms.info["REF_energy"]
        atoms.arrays["dft_forces"] = 2 * atoms.arrays["REF_forces"]
    path = write(tmp_path / "mine.xyz", frames)
    with pytest.raises(DatasetError, match="several sets of labels: .*dft_energy and dft_forces"):
        load(path, "x", **KCAL)
    for atoms in frames:
        atoms.arrays["dft_forces"] = atoms.arrays["REF_forces"]
    path = write(tmp_path / "same.xyz", frames)
    by_key = load(path, "x", energy_key="dft_energy", forces_key="dft_forces", **KCAL)
    assert torch.equal(by_key.force, load(path, "x", **KCAL).force)


def test_a_box_that_a_program_left_behind_moves_no_atom(few, tmp_path) -> None:
    frames = images(few)
    for atoms in frames:
        atoms.cell = [1.0, 1.0, 1.0]
    path = write(tmp_path / "mine.xyz", frames)
    np.testing.assert_allclose(readers.frames(path).pos, few.pos.numpy(), atol=1e-7)


def test_a_file_has_one_unit(few, tmp_path) -> None:
    frames = images(few)
    for k, atoms in enumerate(frames):
        atoms.info["energy_unit"] = "eV" if k else "kcal/mol"
    with pytest.raises(DatasetError, match="energy_unit is eV and kcal/mol.* one unit"):
        load(write(tmp_path / "mine.xyz", frames), "x")


def arrays_of(few: LabelledSet) -> dict[str, np.ndarray]:
    return {"z": few.z.numpy(), "R": few.pos.numpy(), "E": few.energy.numpy(), "F": few.force.numpy()}


@pytest.mark.parametrize(
    ("extra", "key", "message"),
    [
        ({}, "R", r"R of frame 0 has the shape \(5, 3\); expected \(\), the shape of energy"),
        ({"dipole": np.ones((6, 3))}, "dipole", r"dipole of frame 0 has the shape \(3,\)"),
        ({"words": np.array(["a"] * 6)}, "words", r"energy_key is 'words', and words holds <U1; numbers were expected"),
        ({"constant": np.ones(4)}, "constant", r"constant has the shape \(4,\), and R has 6 frames"),
        ({}, "absent", "has no 'absent'; energy_key is one of E, F"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_array_that_holds_no_energies_is_one_error(extra, key, message, few, tmp_path) -> None:
    np.savez(tmp_path / "mine.npz", **arrays_of(few), **extra)
    with pytest.raises(DatasetError, match=message):
        load(tmp_path / "mine.npz", "x", energy_key=key, **KCAL)


def test_energies_under_a_name_of_ones_own(few, tmp_path) -> None:
    arrays = arrays_of(few)
    arrays |= {"mine": arrays.pop("E"), "ours": arrays.pop("F")}
    np.savez(tmp_path / "mine.npz", **arrays)
    assert_same(load(tmp_path / "mine.npz", "x", energy_key="mine", forces_key="ours", **KCAL), few, 0)


@pytest.mark.parametrize("unit", ["angstrom", "debye", "eV/angstrom"])
def test_a_unit_of_another_dimension_is_no_energy_unit(unit: str, few, tmp_path) -> None:
    np.savez(tmp_path / "mine.npz", **arrays_of(few))
    with pytest.raises(DatasetError, match=f"mine.npz, E and F: Unknown unit '{unit}'; known are .*hartree"):
        load(tmp_path / "mine.npz", "x", energy_unit=unit, length_unit="angstrom")


def test_words_in_a_frame_are_no_energies(few, tmp_path) -> None:
    path = write(tmp_path / "mine.xyz", images(few, config_type="md"))
    with pytest.raises(DatasetError, match="energy_key is 'config_type', and config_type holds 'md'; numbers"):
        load(path, "x", energy_key="config_type", **KCAL)


def test_arrays_that_are_no_labels_do_no_harm(few, tmp_path) -> None:
    extra = {
        "energy_unit_name": np.array("kcal"),
        "energy_shift": np.array(3.0),
        "energy_of_atoms": np.arange(9.0),
        "force_constants": np.ones((15, 15)),
        "energy_notes": np.array([{"a": 1}], dtype=object),
        "comment": np.array("none"),
    }
    np.savez(tmp_path / "mine.npz", **arrays_of(few), **extra)
    assert_same(load(tmp_path / "mine.npz", "x", **KCAL), few, 0)
    np.savez(tmp_path / "mine.npz", **{**arrays_of(few), "E": few.energy[1:].numpy()})
    with pytest.raises(DatasetError, match=r"E has the shape \(5,\), and R has 6 frames"):
        load(tmp_path / "mine.npz", "x", **KCAL)


def test_charges_of_physnet_are_known(few, tmp_path) -> None:
    arrays = arrays_of(few)
    theirs = {"N": np.full(6, 5), "Z": np.tile(arrays.pop("z"), (6, 1)), "D": np.ones((6, 3))}
    np.savez(tmp_path / "mine.npz", **arrays, **theirs, Q=np.full(6, -1.0))
    found = load(tmp_path / "mine.npz", "x", **KCAL)
    assert_same(found, few, 0)
    assert found.provenance["settings"] == {"charge": -1}
    np.savez(tmp_path / "mine.npz", **arrays, **theirs, Q=np.array([0.0, 0, 0, 1, 0, 0]))
    with pytest.raises(DatasetError, match=r"Q holds 0.0, 1.0; expected that of one molecule"):
        load(tmp_path / "mine.npz", "x", **KCAL)
    np.savez(tmp_path / "mine.npz", **arrays, **theirs, Q=np.full((6, 5), 0.1))  # of atoms
    assert "settings" not in load(tmp_path / "mine.npz", "x", **KCAL).provenance


def test_the_isolated_atoms_of_mace_are_left_out(few, tmp_path) -> None:
    alone = [ase.Atoms(symbol, info={"config_type": "IsolatedAtom", "REF_energy": -1.0}) for symbol in ("O", "C", "H")]
    for atoms in alone:
        atoms.arrays["REF_forces"] = np.zeros((1, 3))
    path = write(tmp_path / "mace.xyz", [*alone, *images(few)])
    found = load(path, "x", **KCAL)
    assert_same(found, few)
    assert found.frame_numbers == list(range(3, 9))
    assert found.provenance["skipped"] == [0, 1, 2] and "without 3 isolated atoms" in found.provenance["read"]
    assert load(path, "x", skip=[4], **KCAL).frame_numbers == [3, 5, 6, 7, 8]


def test_one_molecule_of_several_in_a_file_of_ani_is_chosen(few, tmp_path) -> None:
    h5py = pytest.importorskip("h5py")
    other = load("methanol", "ccsd(t)")[:4]
    with h5py.File(tmp_path / "ani.h5", "w") as file:
        for name, labelled in (("CH2O2", few), ("CH4O", other)):
            file[f"{name}/atomic_numbers"], file[f"{name}/coordinates"] = labelled.z.numpy(), labelled.pos.numpy()
            file[f"{name}/energies"], file[f"{name}/forces"] = labelled.energy.numpy(), labelled.force.numpy()
    for name, labelled in (("CH2O2", few), ("CH4O", other)):
        assert_same(load(tmp_path / "ani.h5", "x", group=name, **KCAL), labelled, 0)
    for given in ({}, {"group": "C6H6"}):
        with pytest.raises(DatasetError, match="has the molecules CH2O2, CH4O.*; one molecule was .* group='CH2O2'"):
            load(tmp_path / "ani.h5", "x", **given, **KCAL)
    np.savez(tmp_path / "mine.npz", **arrays_of(few))
    with pytest.raises(DatasetError, match=r"group is 'a', and .*mine.npz has no groups"):
        load(tmp_path / "mine.npz", "x", group="a", **KCAL)


@pytest.mark.parametrize("tables", [["CREATE TABLE recipes (name TEXT)"], []], ids=["another program's", "empty"])
def test_a_database_of_another_program_is_not_written_to(tables, tmp_path) -> None:
    path = tmp_path / "mine.db"
    with closing(sqlite3.connect(path)) as database:
        for table in ["CREATE TABLE first (a INT)", *tables] if tables else ["VACUUM"]:
            database.execute(table)
        database.commit()
    before = path.read_bytes()
    with pytest.raises(DatasetError, match="is a database, but not of ASE: it has the tables .*; expected systems"):
        load(path, "x", **KCAL)
    assert path.read_bytes() == before and sorted(tmp_path.iterdir()) == [path]
    path.write_text("no database at all")
    with pytest.raises(DatasetError, match="not a file that ASE reads"):
        load(path, "x", **KCAL)


@pytest.mark.parametrize("content", ["{}", '{"name": "another program"}', "[1, 2]"])
def test_a_json_file_of_another_program_is_no_record(content: str, few, tmp_path) -> None:
    np.savez(tmp_path / "mine.npz", **arrays_of(few))
    (tmp_path / "mine.json").write_text(content)
    assert_same(load(tmp_path / "mine.npz", "x", **KCAL), few, 0)
    (tmp_path / "mine.json").write_text('{"sha256": ')
    with pytest.raises(DatasetError, match="cannot be read as a record .* move it away"):
        load(tmp_path / "mine.npz", "x", **KCAL)
