"""Embedded sets, foreign files, MD17 and splits."""

import errno
import io
import json
import math
import re
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from urllib.error import URLError

import ase
import ase.db
import ase.io
import numpy as np
import pytest
import torch
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms

from asteroid import datasets, runs, units
from asteroid.datasets import DatasetError, LabelledSet, frames, levels, load, loading, molecules, save, sources, split
from asteroid.levels import embed
from asteroid.levels.labelling import label

EMBEDDED = [(molecule, level) for molecule in molecules() for level in levels(molecule)]


@pytest.fixture(scope="module")
def accurate() -> LabelledSet:
    return load("methanol", "ccsd(t)")


@pytest.fixture(scope="module")
def cheap() -> LabelledSet:
    return load("methanol", "gfn2")


def arrays_of(labelled: LabelledSet) -> dict[str, np.ndarray]:
    """The labels under the names of the published npz layout."""
    fields = {"R": labelled.pos, "z": labelled.z, "E": labelled.energy, "F": labelled.force}
    return {key: tensor.numpy() for key, tensor in fields.items()}


def atoms_of(labelled: LabelledSet) -> list[ase.Atoms]:
    """The frames as ASE holds them, in eV and Å."""
    frames = []
    for k in range(len(labelled)):
        atoms = ase.Atoms(labelled.z.numpy(), labelled.pos[k].numpy())
        energy, force = (labelled.energy[k].item(), labelled.force[k].numpy())
        scale = units.KCAL_PER_MOL_IN_EV
        atoms.calc = SinglePointCalculator(atoms, energy=energy * scale, forces=force * scale)
        frames.append(atoms)
    return frames


def assert_same_labels(a: LabelledSet, b: LabelledSet, tolerance: float = 0.0) -> None:
    assert torch.equal(a.z, b.z)
    for field in ("pos", "energy", "force"):
        torch.testing.assert_close(getattr(a, field), getattr(b, field), rtol=0, atol=tolerance)


# Embedded sets


@pytest.mark.parametrize(("molecule", "level"), EMBEDDED)
def test_embedded_set_is_what_its_record_says(molecule: str, level: str) -> None:
    labelled = load(molecule, level)
    record = json.loads((datasets.DATA / f"{molecule}_{level}.json").read_text())
    assert (len(labelled), len(labelled.z)) == (record["frames"], record["atoms"])
    assert (labelled.molecule, labelled.level) == (molecule, level)
    assert labelled.provenance["licence"] == "CC0-1.0"
    assert record["seconds_median"] > 0
    if labelled.seconds is not None:
        assert np.nanmedian(labelled.seconds) == pytest.approx(record["seconds_median"], rel=0.02)
    # Only the molecule's own forces: they add up to zero, for PBE within the error of its integration grid.
    net = labelled.force.sum(1).abs().max()
    assert net < {"ccsd(t)": 1e-3, "ccsd": 1e-3, "gfn2": 1e-2, "mmff": 1e-2, "pbe": 1.0}[level]


def test_the_five_molecules_are_embedded() -> None:
    assert {"methanol", "formic_acid", "acetaldehyde", "ethanol", "malonaldehyde"} <= set(molecules())
    assert levels("methanol") == ["mmff", "gfn2", "pbe", "ccsd(t)"]


@pytest.mark.parametrize("molecule", ["methanol", "formic_acid", "acetaldehyde", "ethanol", "malonaldehyde"])
def test_virial_theorem(molecule: str) -> None:
    """In equilibrium -<sum r·F> = (3 atoms - 3) k T: sign and units of positions, forces and temperature."""
    labelled = load(molecule, "gfn2")
    centred = labelled.pos - labelled.pos.mean(1, keepdim=True)
    virial = -(centred * labelled.force).sum((1, 2))
    expected = (3 * len(labelled.z) - 3) * units.BOLTZMANN * labelled.provenance["temperature_K"]
    assert virial.mean() == pytest.approx(expected, rel=0.1)


def test_gfn2_differs_from_ccsd_t_as_measured(accurate: LabelledSet, cheap: LabelledSet) -> None:
    mine, theirs = accurate.paired_with(cheap)
    assert len(mine) == len(accurate)
    error = (accurate.force[mine] - cheap.force[theirs]).abs().mean()
    assert 5 < error < 9


@pytest.mark.parametrize("level", ["mmff", "pbe", "ccsd(t)"])
def test_pairing_by_geometry_is_pairing_by_frame_number(level: str, cheap: LabelledSet) -> None:
    labelled = load("methanol", level)
    frame = np.load(datasets.DATA / f"methanol_{level}.npz")["frame"]
    mine, theirs = labelled.paired_with(cheap)
    assert torch.equal(mine, torch.arange(len(labelled)))
    assert np.array_equal(theirs.numpy(), frame)


def test_pairing_survives_rounding_but_not_movement(accurate: LabelledSet) -> None:
    few = accurate[:20]
    moved = few.pos.clone()
    moved[3, 0, 0] += 0.01
    mine, theirs = few.paired_with(replace(few, pos=moved))
    assert 3 not in mine.tolist() and len(mine) == 19 and torch.equal(mine, theirs)


def test_pairing_of_different_molecules_fails(accurate: LabelledSet) -> None:
    with pytest.raises(DatasetError, match="methanol.*ethanol.*one molecule"):
        accurate.paired_with(load("ethanol", "ccsd(t)"))


def test_the_order_of_published_arrays_in_memory_is_not_that_of_the_set(accurate: LabelledSet) -> None:
    """MD17's coupled-cluster files have the frame as their fastest index."""
    turned = {name: getattr(accurate, name).permute(2, 1, 0).contiguous().permute(2, 1, 0) for name in ("pos", "force")}
    assert not turned["pos"].is_contiguous()
    again = replace(accurate, **turned)
    assert again.pos.is_contiguous() and again.force.is_contiguous() and again[[2, 0]].pos.is_contiguous()
    assert again.fingerprint == accurate.fingerprint


def test_fingerprint_depends_on_labels_and_level_only(accurate: LabelledSet) -> None:
    assert accurate.fingerprint == load("methanol", "ccsd(t)").fingerprint
    assert accurate[:10].fingerprint != accurate.fingerprint
    for name in ("pos", "energy", "force"):
        assert replace(accurate, **{name: getattr(accurate, name) + 1e-6}).fingerprint != accurate.fingerprint
    assert replace(accurate, level="b3lyp").fingerprint != accurate.fingerprint
    assert replace(accurate, seconds=None, provenance={}).fingerprint == accurate.fingerprint


@pytest.mark.parametrize(
    "index", [slice(2, 5), [2, 3, 4], np.array([2, 3, 4]), torch.tensor([2, 3, 4]), torch.arange(450).sub(3).abs() < 2]
)
def test_indexing(index: object, accurate: LabelledSet) -> None:
    part = accurate[index]
    assert len(part) == 3
    assert torch.equal(part.pos, accurate.pos[2:5]) and torch.equal(part.seconds, accurate.seconds[2:5])


def test_a_part_is_not_checked_again(accurate: LabelledSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which takes a second where a slice takes a ten-thousandth of it."""
    monkeypatch.setattr(frames, "check", lambda labelled: pytest.fail("checked again"))
    assert len(accurate[3:9]) == 6 and len(split(accurate, None, 50, seed=0).train) == 50


def test_a_part_of_a_set_has_the_price_of_the_whole(accurate: LabelledSet) -> None:
    seconds = torch.tensor([1.0, 2, torch.nan, 30, 50], dtype=torch.float64)
    labelled = replace(accurate[:5], seconds=seconds, provenance={})
    assert labelled.median_seconds == labelled[3:].median_seconds == labelled[2:3].median_seconds == 16


def test_a_set_is_printed_in_a_line(accurate: LabelledSet) -> None:
    assert repr(accurate[:8]) == "LabelledSet('methanol', 'ccsd(t)', 8 frames of 6 atoms)"


def test_one_integer_is_no_set(accurate: LabelledSet) -> None:
    with pytest.raises(TypeError, match="k : k"):
        accurate[3]


def test_table_states_counts_and_costs() -> None:
    table = datasets.overview()
    assert len(table) == len(EMBEDDED)
    rows = table.set_index(["molecule", "level"])
    for molecule in molecules():
        accurate = "ccsd" if molecule == "malonaldehyde" else "ccsd(t)"
        assert dict(rows.loc[molecule, "labels"]) == {"mmff": 10_000, "gfn2": 10_000, "pbe": 1450, accurate: 450}
        assert (rows.loc[molecule, "also accurate"] == 450).all()
    assert rows.loc[("ethanol", "gfn2"), "SMILES"] == "CCO"
    cost = rows["seconds per label"]
    np.testing.assert_allclose(rows["core hours"], rows["labels"] * cost / (60 * 60))
    assert cost[("methanol", "gfn2")] < 0.05 < cost[("methanol", "pbe")] < cost[("methanol", "ccsd(t)")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("methanol",), r"gfn2, pbe, ccsd\(t\)"),
        (("methnol", "gfn2"), r"methanol.*Did you mean 'methanol'"),
        (("Methanol", "gfn2"), r"methanol.*Did you mean 'methanol'"),
        (("methanol", "gfn1"), r"no level 'gfn1'.*pbe.*Did you mean 'gfn2'"),
    ],
)
def test_unknown_molecule_or_level(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        load(*arguments)


def test_options_that_mean_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="root"):
        load("methanol", "gfn2", root=tmp_path)
    with pytest.raises(DatasetError, match="units"):
        load("methanol", "gfn2", energy_unit="eV")


def test_damaged_embedded_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for ending in ("npz", "json"):
        shutil.copy(datasets.DATA / f"methanol_ccsd(t).{ending}", tmp_path)
    path = tmp_path / "methanol_ccsd(t).npz"
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    for module in (datasets, loading):
        monkeypatch.setattr(module, "DATA", tmp_path)
    with pytest.raises(DatasetError, match="SHA-256.*Reinstall.*git checkout"):
        load("methanol", "ccsd(t)")
    path.unlink()
    with pytest.raises(DatasetError, match="missing.*Reinstall"):
        load("methanol")


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of labels that can be embedded where methanol's gfn2 set alone is."""
    data = tmp_path / "data"
    data.mkdir()
    for path in datasets.DATA.glob("methanol_gfn2.*"):
        shutil.copy(path, data)
    for module in (datasets, loading):
        monkeypatch.setattr(module, "DATA", data)
    return tmp_path / "methanol_ccsd(t).jsonl"


def lines_of(labelled: LabelledSet) -> list[dict[str, object]]:
    """The labels of the first frames of methanol's order, as a job writes them."""
    order = np.load(datasets.DATA / "methanol_gfn2.npz")["order"]
    labels = zip(labelled.energy.tolist(), labelled.force.tolist(), strict=True)
    return [
        {"place": k, "frame": int(order[k]), "E": energy, "F": force, "seconds": 4.0}
        for k, (energy, force) in enumerate(labels)
    ]


def test_growing_labels_are_embedded(source: Path, accurate: LabelledSet) -> None:
    lines = lines_of(accurate[:6])
    text = "".join(json.dumps(line) + "\n" for line in lines)
    source.write_text(text[:-20])
    embed.embed([source])
    assert_same_labels(load("methanol", "ccsd(t)"), accurate[:5])
    source.write_text(text)
    embed.embed([source])
    assert_same_labels(load("methanol", "ccsd(t)"), accurate[:6])
    assert datasets.overview()["also accurate"].tolist() == [6, 6]
    source.write_text(json.dumps({**lines[0], "frame": 1}) + "\n")
    with pytest.raises(DatasetError, match="order"):
        embed.embed([source])


@pytest.mark.parametrize(
    "damage",
    [
        *({lost: ...} for lost in ("place", "frame", "F", "seconds")),
        {"place": 10_000},
        {"place": -1, "frame": 3263},  # that of the last place
        {"place": "x"},
        {"frame": 10_000},
        {"frame": 10_000, "geometry": "0"},  # of a ledger
        {"F": [[1.0, 2.0, 3.0]]},
        {"E": "x"},
        {"seconds": None},
    ],
    ids=str,
)
def test_a_line_that_cannot_be_embedded_is_one_error(damage: dict, source: Path, accurate: LabelledSet) -> None:
    first, second = lines_of(accurate[:2])
    second = {key: value for key, value in (second | damage).items() if value is not ...}
    source.write_text("".join(json.dumps(line) + "\n" for line in (first, second)))
    with pytest.raises(DatasetError, match=r"methanol_ccsd\(t\).jsonl holds no labels of frames of the gfn2 set"):
        embed.embed([source])
    assert levels("methanol") == ["gfn2"]


@pytest.mark.parametrize(
    ("content", "message"), [("5\n", "holds no labels of frames"), ("", "no label is in it yet")], ids=["5", "empty"]
)
def test_a_file_without_a_label_is_not_embedded(content: str, message: str, source: Path) -> None:
    source.write_text(content)
    with pytest.raises(DatasetError, match=rf"methanol_ccsd\(t\).jsonl.* {message}"):
        embed.embed([source])


def test_a_ledger_prices_the_sampled_set(source: Path, cheap: LabelledSet) -> None:
    pytest.importorskip("tblite")
    order = np.load(datasets.DATA / "methanol_gfn2.npz")["order"]
    ledger = source.with_name("methanol_gfn2.jsonl")
    label(cheap[order[:3]], "gfn2", ledger, progress=False)
    timed = [json.loads(line)["seconds"] for line in ledger.read_text().splitlines()[1:]]
    embed.embed([ledger])
    after = load("methanol", "gfn2")
    assert_same_labels(after, cheap)
    assert after.provenance["timed"] == 3
    assert after.median_seconds == pytest.approx(np.median(timed), rel=0.01)
    assert after.provenance["machine"] == json.loads(ledger.read_text().splitlines()[0])["machine"]
    ledger.write_text("")
    with pytest.raises(DatasetError, match="no label is in it yet"):
        embed.embed([ledger])
    assert load("methanol", "gfn2").median_seconds == after.median_seconds
    shutil.copy(datasets.DATA / "methanol_gfn2.npz", ledger.with_suffix(".npz"))
    embed.embed([ledger.with_suffix(".npz")])
    assert load("methanol", "gfn2").median_seconds is None
    assert datasets.overview()[["seconds per label", "core hours"]].isna().all(axis=None)


def test_labels_that_were_slowed_down_give_no_price(source: Path, cheap: LabelledSet) -> None:
    lines = lines_of(cheap[:3])
    for line, seconds in zip(lines, (4.0, math.nan, 6.0), strict=True):
        line["seconds"] = seconds
    path = source.with_name("methanol_gfn2.jsonl")
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    embed.embed([path])
    after = load("methanol", "gfn2")
    assert (after.median_seconds, after.provenance["timed"]) == (5.0, 2)


@pytest.mark.parametrize("key", ["frame", "place_in_order"])
def test_an_npz_file_of_other_frames_is_not_embedded(key: str, source: Path, accurate: LabelledSet) -> None:
    order = np.load(datasets.DATA / "methanol_gfn2.npz")["order"]
    numbers = {"frame": order[:3], "place_in_order": np.arange(3)} | {key: np.array([0, 1, 10_000])}
    path = source.with_suffix(".npz")
    np.savez(path, **arrays_of(accurate[:3]), seconds=np.ones(3), **numbers)
    with pytest.raises(DatasetError, match=r"methanol_ccsd\(t\).npz holds no labels of frames of the gfn2 set"):
        embed.embed([path])


# Validation


@pytest.mark.parametrize(("molecule", "level"), EMBEDDED)
def test_kcal_per_mol_taken_for_ev_are_noticed(molecule: str, level: str) -> None:
    labelled = load(molecule, level)
    with pytest.raises(DatasetError, match=r"mean force.*energy_unit='kcal/mol'"):
        replace(labelled, force=labelled.force * units.ENERGY["eV"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {"force": s.force[:, :-1]}, r"force has the shape \(8, 5, 3\).*\(8, 6, 3\)"),
        (lambda s: {"pos": s.pos[:-1]}, r"pos has the shape \(7, 6, 3\)"),
        (lambda s: {"energy": s.energy[:, None]}, r"energy has the shape \(8, 1\)"),
        (lambda s: {"energy": s.energy[:0]}, "at least 1 frame"),
        (lambda s: {"seconds": s.seconds[:3]}, "seconds has the shape"),
        (lambda s: {"z": s.z[None]}, "z has the shape"),
        (lambda s: {"pos": s.pos.numpy()}, r"pos is a ndarray; expected a tensor"),
        (lambda s: {"energy": s.energy.tolist()}, r"energy is a list; expected a tensor"),
        (lambda s: {"z": s.z[:0], "pos": s.pos[:, :0], "force": s.force[:, :0]}, "z is empty"),
        (lambda s: {"z": s.z * 20}, r"z holds \[120, 160\]; atomic numbers"),
        (lambda s: {"pos": s.pos.float()}, r"pos is torch.float32; expected torch.float64"),
        (lambda s: {"energy": s.energy.index_fill(0, torch.tensor([5]), torch.nan)}, "energy of frame 5 is not finite"),
        (lambda s: {"force": s.force.index_fill(0, torch.tensor([2]), torch.inf)}, "force of frame 2 is not finite"),
        (lambda s: {"pos": s.pos / 10}, r"atoms 0 and \d of frame 0 are 0\.1.*length unit"),
        (lambda s: {"pos": s.pos / units.LENGTH["bohr"]}, r"hydrogen atoms closer .* 1\.\d times.*length_unit='bohr'"),
        (lambda s: {"pos": s.pos * 10}, r"hydrogen atoms closer .* \d\.\d times.*as nm"),
        (lambda s: {"force": s.force * units.ENERGY["hartree"]}, r"mean force.*energy_unit='kcal/mol'"),
    ],
)
def test_unusable_labels(change: object, message: str, accurate: LabelledSet) -> None:
    few = accurate[:8]
    with pytest.raises(DatasetError, match=message):
        replace(few, **change(few))


@pytest.mark.parametrize(("molecule", "level"), EMBEDDED)
def test_bohr_taken_for_angstrom_are_noticed(molecule: str, level: str) -> None:
    labelled = load(molecule, level)
    with pytest.raises(DatasetError, match="length_unit='bohr'"):
        replace(labelled, pos=labelled.pos / units.LENGTH["bohr"])


def test_a_molecule_that_is_pulled_apart_is_no_wrong_unit() -> None:
    distance = torch.linspace(0.6, 4, 30, dtype=torch.float64)
    pos = torch.zeros(30, 2, 3, dtype=torch.float64)
    pos[:, 1, 0] = distance
    force = torch.zeros(30, 3, 3, dtype=torch.float64)
    force[:, 0, 0], force[:, 1, 0] = 1, -1
    for z in ([1, 1], [1, 9], [18, 18]):
        scan = LabelledSet("scan", "mine", torch.tensor(z), pos, distance, force[:, :2], None, {})
        assert len(scan[25:]) == 5  # the longest distances only
    water = torch.cat([pos, torch.tensor([0, 0.96, 0], dtype=torch.float64).expand(30, 1, 3)], dim=1)
    scan = LabelledSet("water", "mine", torch.tensor([8, 1, 1]), water, distance, force, None, {})
    assert len(scan[25:]) == 5


def test_close_atoms_are_found_in_later_chunks(cheap: LabelledSet) -> None:
    pos = cheap.pos.clone()
    pos[9000, 4] = pos[9000, 1] + 0.05
    with pytest.raises(DatasetError, match="atoms 1 and 4 of frame 9000"):
        replace(cheap, pos=pos)


# Files


def test_saved_set_comes_back(tmp_path: Path, accurate: LabelledSet) -> None:
    path = tmp_path / "mine.npz"
    save(accurate[:30], path)
    back = load(path)
    assert back.fingerprint == accurate[:30].fingerprint
    assert torch.equal(back.seconds, accurate.seconds[:30])
    of_these_frames = {"seconds_median", "timed"}
    assert all(back.provenance[key] == accurate.provenance[key] for key in set(back.provenance) - of_these_frames)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine.json", "mine.npz"]


def test_a_set_without_a_timed_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accurate: LabelledSet) -> None:
    path = tmp_path / "methanol_ccsd(t).npz"
    untimed = replace(accurate[:3], seconds=torch.full((3,), torch.nan, dtype=torch.float64))
    save(untimed, path, {"frame": np.arange(3)})
    record = json.loads(path.with_suffix(".json").read_text(), parse_constant=pytest.fail)
    assert (record["timed"], record["seconds_median"]) == (0, None)
    assert runs.label_cost([load(path)]) is None
    for module in (datasets, loading):
        monkeypatch.setattr(module, "DATA", tmp_path)
    table = datasets.overview()
    assert table["labels"].tolist() == [3] and table[["seconds per label", "core hours"]].isna().all(axis=None)


def test_saved_file_has_what_sgdml_asks_for(tmp_path: Path, accurate: LabelledSet) -> None:
    save(accurate[:5], tmp_path / "mine.npz")
    with np.load(tmp_path / "mine.npz", allow_pickle=False) as file:
        assert (str(file["type"]), str(file["r_unit"]), str(file["e_unit"])) == ("d", "Ang", "kcal/mol")
        assert (str(file["name"]), str(file["theory"])) == ("methanol", "CCSD(T)/cc-pVDZ")
        assert len(file["md5"].item()) == 32
        assert file["R"].shape == file["F"].shape == (5, 6, 3) and file["E"].shape == (5,)


def test_changed_saved_file_is_refused(tmp_path: Path, accurate: LabelledSet) -> None:
    path = tmp_path / "mine.npz"
    save(accurate[:5], path)
    np.savez(path, **arrays_of(accurate[:4]))
    with pytest.raises(DatasetError, match="SHA-256.*Delete mine.json"):
        load(path)


def test_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accurate: LabelledSet) -> None:
    path = tmp_path / "mine.npz"
    save(accurate[:5], path)

    def full(file: io.BufferedWriter, **arrays: np.ndarray) -> None:
        file.write(b"half a file")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sources.np, "savez_compressed", full)
    with pytest.raises(DatasetError, match="No space left on device") as caught:
        save(accurate, path)
    assert caught.value.__suppress_context__
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine.json", "mine.npz"]
    assert len(load(path)) == 5


def test_save_wants_npz(tmp_path: Path, accurate: LabelledSet) -> None:
    with pytest.raises(DatasetError, match="npz"):
        save(accurate, tmp_path / "mine.xyz")


@pytest.mark.parametrize("ending", ["extxyz", "xyz", "db"])
def test_ase_files_in_electron_volts(ending: str, tmp_path: Path, accurate: LabelledSet) -> None:
    path = tmp_path / f"mine.{ending}"
    few = accurate[:6]
    if ending == "db":
        with ase.db.connect(path) as database:
            for atoms in atoms_of(few):
                database.write(atoms)
    else:
        ase.io.write(path, atoms_of(few), format="extxyz")
    back = load(path, "ccsd(t)", energy_unit="eV", length_unit="angstrom")
    assert_same_labels(back, few, tolerance=1e-4)
    assert back.molecule == "mine" and back.seconds is None
    assert torch.equal(few.paired_with(back)[0], torch.arange(6))


def test_constrained_atoms_keep_their_force(tmp_path: Path, accurate: LabelledSet) -> None:
    frames = atoms_of(accurate[:2])
    for atoms in frames:
        atoms.set_constraint(FixAtoms([0]))
    with ase.db.connect(tmp_path / "mine.db") as database:
        for atoms in frames:
            database.write(atoms)
    back = load(tmp_path / "mine.db", "x", energy_unit="eV", length_unit="Ang")
    assert_same_labels(back, accurate[:2], tolerance=1e-6)


def test_npz_in_atomic_units(tmp_path: Path, accurate: LabelledSet) -> None:
    few, hartree, bohr = accurate[:6], units.ENERGY["hartree"], units.LENGTH["bohr"]
    arrays = arrays_of(few)
    scaled = {"z": arrays["z"], "R": arrays["R"] / bohr, "E": arrays["E"] / hartree, "F": arrays["F"] / hartree * bohr}
    np.savez(tmp_path / "bare.npz", **scaled)
    back = load(tmp_path / "bare.npz", "x", energy_unit="hartree", length_unit="bohr")
    assert_same_labels(back, few, tolerance=1e-8)
    np.savez(tmp_path / "stated.npz", **scaled, r_unit="bohr", e_unit="Ha", name="methanol")
    stated = load(tmp_path / "stated.npz", "x")
    assert_same_labels(stated, back)
    assert stated.molecule == "methanol"
    with pytest.raises(DatasetError, match="does not state its units"):
        load(tmp_path / "bare.npz", "x")
    with pytest.raises(DatasetError, match="furlong.*bohr"):
        load(tmp_path / "bare.npz", "x", energy_unit="eV", length_unit="furlong")


def write_two_molecules(path: Path, few: LabelledSet) -> None:
    ase.io.write(path, [*atoms_of(few), *atoms_of(load("ethanol", "ccsd(t)")[:1])])


def write_unlabelled(path: Path, few: LabelledSet) -> None:
    ase.io.write(path, [ase.Atoms(few.z.numpy(), few.pos[0].numpy())])


def write_without_forces(path: Path, few: LabelledSet) -> None:
    frames = atoms_of(few)
    del frames[2].calc.results["forces"]
    ase.io.write(path, frames)


def write_periodic(path: Path, few: LabelledSet) -> None:
    frames = atoms_of(few)
    frames[1].set_cell([4, 4, 4])
    frames[1].pbc = True
    ase.io.write(path, frames)


def write_nothing(path: Path, few: LabelledSet) -> None:
    path.write_text("")


def write_prose(path: Path, few: LabelledSet) -> None:
    path.write_text("Dear reader,\nthis is no molecule.\n")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (write_two_molecules, r"frame 4 is .*frame 0 is .*split the file"),
        (write_unlabelled, "no energy and forces were found .* it has none. Name them by energy_key and forces_key"),
        (write_without_forces, r"frame 2 has no forces under 'forces' \(3 of 4 have it\); .* skip=\[2\]"),
        (write_periodic, "frame 1 is periodic, and no molecule alone"),
        (write_nothing, r"no frame|not a file that ASE reads"),
        (write_prose, "not a file that ASE reads"),
    ],
)
def test_unusable_extxyz(write: object, message: str, tmp_path: Path, accurate: LabelledSet) -> None:
    write(tmp_path / "mine.extxyz", accurate[:4])
    with pytest.raises(DatasetError, match=message):
        load(tmp_path / "mine.extxyz", "x", energy_unit="eV", length_unit="Ang")


def test_files_need_level_units_and_existence(tmp_path: Path, accurate: LabelledSet) -> None:
    path = tmp_path / "mine.extxyz"
    ase.io.write(path, atoms_of(accurate[:2]))
    with pytest.raises(DatasetError, match="level"):
        load(path, energy_unit="eV", length_unit="Ang")
    with pytest.raises(DatasetError, match="pass energy_unit"):
        load(path, "x", length_unit="Ang")
    with pytest.raises(DatasetError, match="pass length_unit"):
        load(path, "x", energy_unit="eV")
    for name in ("absent.extxyz", "absent.npz", "absent.db"):
        with pytest.raises(DatasetError, match="There is no file"):
            load(tmp_path / name, "x", energy_unit="eV", length_unit="Ang")
    with pytest.raises(DatasetError, match=r"'.cif'.*\.extxyz"):
        load(tmp_path / "mine.cif", "x")


def test_damaged_or_foreign_npz(tmp_path: Path, accurate: LabelledSet) -> None:
    given = {"level": "x", "energy_unit": "kcal/mol", "length_unit": "Ang"}
    arrays = arrays_of(accurate[:20])
    path = tmp_path / "mine.npz"
    np.savez(path, **arrays)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DatasetError, match="truncated|no npz file"):
        load(path, **given)
    path.write_bytes(b"")
    with pytest.raises(DatasetError, match="truncated|no npz file"):
        load(path, **given)
    path.write_text("not an archive at all")
    with pytest.raises(DatasetError, match=r"no npz file\.$"):  # and nothing of numpy's advice to unpickle it
        load(path, **given)
    with open(path, "wb") as file:
        np.save(file, arrays["R"])
    with pytest.raises(DatasetError, match="no npz file"):
        load(path, **given)
    np.savez(path, **{key: arrays[key] for key in ("R", "z", "E")})
    with pytest.raises(
        DatasetError, match="no energy and forces were found .* it has E. Name them by energy_key and forces_key"
    ):
        load(path, **given)
    np.savez(path, **{**arrays, "E": np.array(["high"] * 20)})
    with pytest.raises(DatasetError, match="E holds <U4; numbers"):
        load(path, **given)
    np.savez(path, **{**arrays, "F": np.array([{"a": 1}], dtype=object)})
    with pytest.raises(DatasetError, match=r"F holds pickled objects, which are not read"):
        load(path, **given)
    np.savez(path, **{**arrays, "z": arrays["z"] + 0.5})
    with pytest.raises(DatasetError, match="z holds .*8.5.*whole atomic numbers"):
        load(path, **given)


def test_what_an_npz_file_says_besides_its_labels_does_not_spoil_them(tmp_path: Path, accurate: LabelledSet) -> None:
    given = {"level": "x", "energy_unit": "kcal/mol", "length_unit": "Ang"}
    path = tmp_path / "mine.npz"
    np.savez(path, **arrays_of(accurate[:3]), theory=None, name=np.array(["one", "two"]))  # numpy pickles None
    found = load(path, **given)
    assert found.molecule == "mine" and "theory" not in found.provenance and len(found) == 3


# MD17, in the published layout, at the places where PyTorch Geometric keeps it


def md17_like(few: LabelledSet, theory: str = "theory of the file") -> dict[str, np.ndarray]:
    arrays = arrays_of(few)
    return {**arrays, "E": arrays["E"][:, None], "name": "ethanol", "theory": theory, "type": "d"}


def test_original_md17(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = load("ethanol", "ccsd(t)")[:7]
    raw = tmp_path / "ethanol" / "raw"
    raw.mkdir(parents=True)
    np.savez(raw / "md17_ethanol.npz", **md17_like(few))
    monkeypatch.setenv("ASTEROID_MD17", str(tmp_path))
    labelled = load("md17:ethanol", "dft")
    assert_same_labels(labelled, few)
    assert (labelled.molecule, labelled.level, labelled.seconds) == ("ethanol", "dft", None)
    assert labelled.provenance["theory"] == "theory of the file"


def test_agrees_with_pyg_up_to_its_single_precision(tmp_path: Path) -> None:
    few = load("ethanol", "ccsd(t)")[:7]
    raw = tmp_path / "ethanol" / "raw"
    raw.mkdir(parents=True)
    np.savez(raw / "md17_ethanol.npz", **md17_like(few))
    published = sources.pyg_md17()(str(tmp_path), "ethanol")
    labelled = load("md17:ethanol", "dft", root=tmp_path)
    for k, frame in enumerate(published):
        torch.testing.assert_close(frame.pos, labelled.pos[k].float())
        torch.testing.assert_close(frame.force, labelled.force[k].float())
        torch.testing.assert_close(frame.energy.reshape(()), labelled.energy[k].float())
        assert torch.equal(frame.z, labelled.z)


def test_revised_md17(tmp_path: Path) -> None:
    few = load("ethanol", "ccsd(t)")[:7]
    raw = tmp_path / "raw" / "rmd17" / "npz_data"
    raw.mkdir(parents=True)
    labels = {"coords": few.pos, "nuclear_charges": few.z, "energies": few.energy, "forces": few.force}
    np.savez(raw / "rmd17_ethanol.npz", **{key: value.numpy() for key, value in labels.items()})
    labelled = load("md17:ethanol", "dft-revised", root=tmp_path)
    assert_same_labels(labelled, few)
    assert "def2-SVP" in labelled.provenance["theory"]


def test_coupled_cluster_md17_is_downloaded_once_and_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = load("ethanol", "ccsd(t)")[:9]
    urls = []

    def download_url(url: str, folder: str) -> str:
        urls.append(url)
        Path(folder).mkdir(parents=True, exist_ok=True)
        path = Path(folder) / url.rpartition("/")[2]
        with zipfile.ZipFile(path, "w") as archive:
            for name, part in (("train", few[:6]), ("test", few[6:])):
                content = io.BytesIO()
                np.savez(content, **md17_like(part, "CCSD(T)"))
                archive.writestr(f"ethanol_ccsd_t-{name}.npz", content.getvalue())
        return str(path)

    sources.pyg_md17()  # importing it here would warn
    monkeypatch.setattr("torch_geometric.datasets.md17.download_url", download_url)
    for _ in range(2):
        labelled = load("md17:ethanol", "ccsd(t)", root=tmp_path)
        assert_same_labels(labelled, few)
        assert labelled.provenance["published_train"] == 6
    assert urls == ["http://quantum-machine.org/gdml/data/npz/ethanol_ccsd_t.zip"]
    assert [path.name for path in tmp_path.iterdir()] == ["ethanol CCSD(T)"]


@pytest.mark.parametrize(
    ("level", "file", "host"),
    [
        ("dft", "md17_ethanol.npz", "quantum-machine.org"),
        ("dft-revised", "rmd17_ethanol.npz", "materialscloud.org"),
        ("ccsd(t)", "ethanol_ccsd_t-train.npz", "quantum-machine.org"),
    ],
)
def test_no_network(level: str, file: str, host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download_url(url: str, folder: str) -> str:
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / "half.npz").write_bytes(b"half")
        raise URLError("Name or service not known")

    sources.pyg_md17()  # importing it here would warn
    monkeypatch.setattr("torch_geometric.datasets.md17.download_url", download_url)
    with pytest.raises(DatasetError) as caught:
        load("md17:ethanol", level, root=tmp_path)
    message = str(caught.value)
    assert host in message and file in message and str(tmp_path) in message and "Name or service" in message
    assert caught.value.__suppress_context__
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def no_download(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that were asked for; there is no network."""
    asked = []

    def download_url(url: str, folder: str) -> str:
        asked.append(url)
        raise URLError("Name or service not known")

    sources.pyg_md17()  # importing it here would warn
    monkeypatch.setattr("torch_geometric.datasets.md17.download_url", download_url)
    return asked


def published(root: Path, part: str, few: LabelledSet, theory: str = "CCSD(T)", molecule: str = "ethanol") -> Path:
    """A file of the coupled-cluster set of a molecule, at its place."""
    path = root / f"{molecule} CCSD(T)" / "raw" / f"{molecule}_ccsd_t-{part}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **md17_like(few, theory))
    return path


def test_the_published_training_file_alone_is_the_whole_set(tmp_path: Path, no_download: list[str]) -> None:
    few = load("ethanol", "ccsd(t)")[:9]
    published(tmp_path, "train", few)
    labelled = load("md17:ethanol", "ccsd(t)", root=tmp_path)
    assert_same_labels(labelled, few)
    assert "training file only" in labelled.provenance["parts"] and "published_train" not in labelled.provenance
    divided = split(labelled, None, 4, seed=0, valid=2)
    assert (len(divided.train), len(divided.valid), len(divided.test)) == (4, 2, 3)
    published(tmp_path, "test", few[6:])
    both = load("md17:ethanol", "ccsd(t)", root=tmp_path)
    assert len(both) == 12 and both.provenance["published_train"] == 9 and "parts" not in both.provenance
    assert no_download == []


def test_the_published_test_file_alone_is_no_training_set(tmp_path: Path, no_download: list[str]) -> None:
    path = published(tmp_path, "test", load("ethanol", "ccsd(t)")[:9])
    with pytest.raises(DatasetError, match=r"ethanol_ccsd_t-train.npz"):
        load("md17:ethanol", "ccsd(t)", root=tmp_path)
    assert len(no_download) == 1 and path.is_file()


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_truncated_file_of_md17_is_named(part: str, tmp_path: Path, no_download: list[str]) -> None:
    few = load("ethanol", "ccsd(t)")[:9]
    paths = {name: published(tmp_path, name, few) for name in ("train", "test")}
    content = paths[part].read_bytes()
    paths[part].write_bytes(content[: len(content) // 2])
    with pytest.raises(DatasetError, match=f"ethanol_ccsd_t-{part}.npz.*Delete it"):
        load("md17:ethanol", "ccsd(t)", root=tmp_path)
    assert no_download == []


@pytest.mark.parametrize("part", ["train", "test"])
def test_the_file_of_another_molecule_is_refused(part: str, tmp_path: Path, no_download: list[str]) -> None:
    """Though it has the right name."""
    few, other = load("ethanol", "ccsd(t)")[:9], load("methanol", "ccsd(t)")[:9]
    published(tmp_path, "train", other if part == "train" else few)
    published(tmp_path, "test", other if part == "test" else few)
    with pytest.raises(DatasetError, match=f"ethanol_ccsd_t-{part}.npz holds CH4O, and ethanol is C2H6O.*Delete it"):
        load("md17:ethanol", "ccsd(t)", root=tmp_path)
    raw = tmp_path / "ethanol" / "raw"
    raw.mkdir(parents=True)
    np.savez(raw / "md17_ethanol.npz", **md17_like(other))
    with pytest.raises(DatasetError, match="md17_ethanol.npz holds CH4O, and ethanol is C2H6O"):
        load("md17:ethanol", "dft", root=tmp_path)


@pytest.mark.parametrize("theory", ["PBE+vdW-TS", "DFT PBE"])
def test_labels_of_density_functional_theory_are_no_coupled_cluster_ones(theory: str, tmp_path: Path) -> None:
    few = load("ethanol", "ccsd(t)")[:9]
    published(tmp_path, "train", few, theory)
    with pytest.raises(DatasetError, match=re.escape(f"train.npz holds labels of {theory}, not of ccsd(t)")):
        load("md17:ethanol", "ccsd(t)", root=tmp_path)


@pytest.mark.parametrize("theory", ["CCSD(T)", "ccsd(t)/cc-pVTZ", ""])
def test_coupled_cluster_labels_say_so_or_nothing(theory: str, tmp_path: Path) -> None:
    published(tmp_path, "train", load("ethanol", "ccsd(t)")[:9], theory)
    labelled = load("md17:ethanol", "ccsd(t)", root=tmp_path)
    assert labelled.provenance["theory"] == (theory or "CCSD(T)")


def test_files_whose_atoms_are_in_different_orders_are_refused(tmp_path: Path) -> None:
    few = load("ethanol", "ccsd(t)")[:9]
    published(tmp_path, "train", few)
    order = torch.arange(len(few.z)).flip(0)
    turned = replace(few, z=few.z[order], pos=few.pos[:, order], force=few.force[:, order])
    published(tmp_path, "test", turned)
    with pytest.raises(DatasetError, match="train and test files of md17:ethanol hold their atoms in different orders"):
        load("md17:ethanol", "ccsd(t)", root=tmp_path)


def test_every_molecule_of_md17_has_its_formula(tmp_path: Path) -> None:
    """A file of methanol is refused for each of them, by its formula."""
    methanol = load("methanol", "ccsd(t)")[:9]
    names = {name: sources.pyg_md17().file_names[name] for name in sources.md17_molecules()}
    for molecule, file in names.items():
        raw = tmp_path / molecule / "raw"
        raw.mkdir(parents=True)
        np.savez(raw / file, **md17_like(methanol))
        with pytest.raises(DatasetError, match=rf"holds CH4O, and {molecule} is C\d+H\d+"):
            load(f"md17:{molecule}", "dft", root=tmp_path)


def test_unknown_and_damaged_md17(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no molecule 'etanol'.*aspirin.*toluene"):
        load("md17:etanol", "dft", root=tmp_path)
    with pytest.raises(DatasetError, match=r"no level 'ccsd\(t\)'.*'ccsd'"):
        load("md17:aspirin", "ccsd(t)", root=tmp_path)
    with pytest.raises(DatasetError, match="level None.*'dft'"):
        load("md17:aspirin", root=tmp_path)
    raw = tmp_path / "salicylic acid" / "raw"
    raw.mkdir(parents=True)
    (raw / "md17_salicylic.npz").write_bytes(b"PK half of an archive")
    with pytest.raises(DatasetError, match="md17_salicylic.npz.*Delete it"):
        load("md17:salicylic_acid", "dft", root=tmp_path)


# Splits


def geometries(labelled: LabelledSet) -> set[bytes]:
    return {frame.numpy().tobytes() for frame in labelled.pos}


def test_budgets_are_nested_and_validation_and_test_stay(accurate: LabelledSet, cheap: LabelledSet) -> None:
    small = split(accurate, cheap, 10, seed=3, inaccurate_budget=100, test=200)
    large = split(accurate, cheap, 160, seed=3, inaccurate_budget=3000, test=200)
    assert (len(small.train), len(small.valid), len(small.test), len(small.inaccurate)) == (10, 50, 200, 100)
    assert torch.equal(small.train.pos, large.train.pos[:10])
    assert torch.equal(small.inaccurate.pos, large.inaccurate.pos[:100])
    assert small.valid.fingerprint == large.valid.fingerprint
    assert small.test.fingerprint == large.test.fingerprint


def test_parts_share_no_frame(accurate: LabelledSet, cheap: LabelledSet) -> None:
    parts = split(accurate, cheap, 100, seed=0)
    train, valid, test, inaccurate = map(geometries, (parts.train, parts.valid, parts.test, parts.inaccurate))
    assert len(train | valid | test) == len(train) + len(valid) + len(test) == len(accurate)
    assert not inaccurate & (valid | test)
    assert len(inaccurate) == len(cheap) - len(valid) - len(test)
    # The inaccurate labels of training geometries teach the bias, so they stay.
    assert train <= inaccurate


def turned(labelled: LabelledSet) -> LabelledSet:
    generator = torch.Generator().manual_seed(0)
    rotation, _ = torch.linalg.qr(torch.randn(3, 3, dtype=labelled.pos.dtype, generator=generator))
    return replace(labelled, pos=labelled.pos @ rotation + 5, force=labelled.force @ rotation)


STORED = {
    "five decimals": lambda pos: (pos * 1e5).round() / 1e5,
    "single precision": lambda pos: pos.float().double(),
    "centred": lambda pos: pos - pos.mean(dim=1, keepdim=True),
}


@pytest.mark.parametrize("how", [*STORED, "turned"])
def test_held_out_frames_are_known_however_a_file_stores_them(how: str, accurate: LabelledSet) -> None:
    """What a cheap label of the same geometry tells about a test frame must not be learned."""
    pbe = load("methanol", "pbe")
    stored = turned(pbe) if how == "turned" else replace(pbe, pos=STORED[how](pbe.pos))
    parts, expected = (split(accurate, cheap, 50, seed=0) for cheap in (stored, pbe))
    assert torch.equal(parts.inaccurate.energy, expected.inaccurate.energy)


@pytest.mark.parametrize("how", STORED)
def test_pairs_are_found_however_a_file_stores_them(how: str, accurate: LabelledSet) -> None:
    pbe = load("methanol", "pbe")
    mine, theirs = accurate.paired_with(replace(pbe, pos=STORED[how](pbe.pos)))
    assert mine.tolist() == list(range(len(accurate))) and torch.equal(pbe.pos[theirs], accurate.pos)


def test_turned_frames_are_no_pairs_since_their_forces_are_turned_too(accurate: LabelledSet) -> None:
    mine, theirs = accurate.paired_with(turned(accurate))
    assert len(mine) == len(theirs) == 0
    moved = accurate[:9].derived(pos=accurate.pos[:9] + 0.01 * torch.arange(18).view(1, 6, 3))  # another geometry
    assert len(accurate.paired_with(moved)[0]) == 0


def test_split_is_reproducible_by_seed(accurate: LabelledSet, cheap: LabelledSet) -> None:
    first, again, other = (split(accurate, cheap, 50, seed=seed) for seed in (7, 7, 8))
    for part in ("train", "valid", "test", "inaccurate"):
        assert getattr(first, part).fingerprint == getattr(again, part).fingerprint
        assert getattr(first, part).fingerprint != getattr(other, part).fingerprint


def test_split_without_inaccurate_labels(accurate: LabelledSet) -> None:
    assert split(accurate, None, 50, seed=0).inaccurate is None
    with pytest.raises(DatasetError, match="without inaccurate"):
        split(accurate, None, 50, seed=0, inaccurate_budget=10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"budget": 0}, "budget is 0; it must be a whole number, 1 or more"),
        ({"budget": 10.5}, "budget is 10.5; it must be a whole number"),
        ({"budget": 50, "seed": -1}, "seed is -1; it must be a whole number, 0 or more"),
        ({"budget": 400}, r"budget 400 \+ valid 50 \+ test at least 1.*450.*largest possible budget here is 399"),
        ({"budget": 300, "test": 200}, "largest possible budget here is 200"),
        ({"budget": 50, "valid": -1}, "valid is -1; it must be a whole number, 0 or more"),
        ({"budget": 50, "valid": 2.5}, "valid is 2.5; it must be a whole number"),
        ({"budget": 450, "valid": 0}, r"budget 450 \+ valid 0 \+ test at least 1.*largest possible budget here is 449"),
        ({"budget": 50, "valid": 600}, "largest possible budget here is 0"),
        ({"budget": 50, "inaccurate_budget": 0}, "inaccurate_budget is 0"),
        ({"budget": 50, "inaccurate_budget": 9900}, "inaccurate_budget is 9900, but only 9600 of the 10000"),
    ],
)
def test_impossible_splits(arguments: dict, message: str, accurate: LabelledSet, cheap: LabelledSet) -> None:
    with pytest.raises(DatasetError, match=message):
        split(accurate, cheap, **{"seed": 0, **arguments})


def test_a_split_without_validation_has_these_frames_for_training(accurate: LabelledSet, cheap: LabelledSet) -> None:
    """The test frames are those of a split with validation, and no cheap frame is one of them."""
    most = len(accurate) - 30
    without, usual = split(accurate, cheap, most, 0, valid=0, test=30), split(accurate, cheap, most - 50, 0, test=30)
    assert without.valid is None and (len(without.train), len(without.test)) == (most, 30)
    assert without.test.fingerprint == usual.test.fingerprint
    learned, known = (part.pos.flatten(1) for part in (without.train, accurate))
    assert len({tuple(frame) for frame in torch.cat([learned, without.test.pos.flatten(1)]).tolist()}) == len(known)
    assert len(without.test.paired_with(without.inaccurate)[0]) == 0
    # What is not held out for validation may be learned from cheap labels too.
    assert len(without.inaccurate) == len(usual.inaccurate) + len(usual.valid)
    assert split(accurate, None, 50, 0, valid=0).inaccurate is None
    small, large = (split(accurate, cheap, budget, 0, valid=0) for budget in (20, 60))
    assert torch.equal(large.train.pos[:20], small.train.pos) and small.test.fingerprint != without.test.fingerprint


@pytest.mark.parametrize("seed", range(3))
def test_no_frame_is_learned_from_the_blocks_that_are_held_out(seed: int, accurate: LabelledSet) -> None:
    """Neighbours of a held-out frame give it away."""
    numbered = accurate[:200].derived(energy=torch.arange(200, dtype=torch.float64))
    block, numbers = 15, {"valid": 20, "test": 40}
    parts = split(numbered, None, 70, seed, block=block, **numbers)
    rows = {name: getattr(parts, name).energy.long().tolist() for name in ("train", "valid", "test")}
    assert {name: len(found) for name, found in rows.items()} == {"train": 70, **numbers}
    blocks = {name: {row // block for row in found} for name, found in rows.items()}
    assert sum(map(len, blocks.values())) == len(set.union(*blocks.values()))
    assert len(blocks["train"]) > 70 // block + 2  # scattered over all others
    assert len(blocks["test"]) == 3 and len(blocks["valid"]) == 2
    alone, same = (split(numbered, None, 70, seed, **numbers, **how) for how in ({}, {"block": 1}))
    assert torch.equal(same.train.energy, alone.train.energy)
    for wrong in ({"block": 0}, {"block": 15, "test": None}, {"block": 100}):
        with pytest.raises(DatasetError, match="block is"):
            split(numbered, None, 70, seed, **numbers | wrong)
    published = numbered.derived(provenance={"dataset": "MD17"})
    with pytest.raises(DatasetError, match="MD17 do not follow each other"):
        split(published, None, 70, seed, block=block, **numbers)
    half = numbered.derived(pos=numbered.pos[:100].repeat(2, 1, 1))  # a trajectory that was started again
    again = split(half, None, 30, seed, block=block, valid=4, test=4)
    held = {row // block for part in (again.valid, again.test) for row in part.energy.long().tolist()}
    assert held.isdisjoint({row // block for row in again.train.energy.long().tolist()})


def test_split_of_different_molecules(accurate: LabelledSet) -> None:
    with pytest.raises(DatasetError, match="one molecule"):
        split(accurate, load("ethanol", "gfn2"), 50, seed=0)
