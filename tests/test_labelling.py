"""Labelling: every finished label is kept, a stopped job goes on, failures are recorded, foreign ledgers refused."""

import contextlib
import json
import math
import multiprocessing
import os
import signal
from concurrent.futures import ProcessPoolExecutor
from types import SimpleNamespace

import ase.build
import ase.io
import numpy as np
import pytest
import tiny
import torch
from ase import Atoms
from ase.calculators.calculator import CalculationFailed, CalculatorSetupError
from ase.calculators.singlepoint import SinglePointCalculator

import asteroid
from asteroid import levels, processes, units
from asteroid.datasets import DatasetError, loading
from asteroid.levels import embed, labelling, sampling
from asteroid.levels import ledger as ledgers
from asteroid.levels.gfn2 import GFN2
from asteroid.levels.labelling import label

pytestmark = tiny.needs("rdkit", "tblite")

QUIET = {"progress": False}
HYDROGEN = SimpleNamespace(
    molecule="hydrogen", z=np.array([1, 1]), pos=np.array([[[0, 0, 0], [0, 0, length]] for length in (0.74, 0.8)])
)

needs_pyscf = tiny.needs("pyscf")


@pytest.fixture
def frames():
    return asteroid.load("methanol", "gfn2")[:6]


@pytest.fixture
def ledger(tmp_path):
    return tmp_path / "folder" / "methanol_gfn2.jsonl"


@pytest.fixture(scope="module")
def dication():
    """A sample whose charge is even, so that without it no level refuses and all labels are wrong."""
    how = {"frames": 2, "trajectories": 1, "every": 2, "equilibration": 2}
    return sampling.from_dynamics("[NH3+]CC[NH3+]", "gfn2", **how, **QUIET)


def computed(monkeypatch) -> list[np.ndarray]:
    """Positions of the frames that are computed from now on."""
    seen, compute = [], labelling.label_one

    def counted(task, z, pos):
        seen.append(pos)
        return compute(task, z, pos)

    monkeypatch.setattr(labelling, "label_one", counted)
    return seen


def break_frame(monkeypatch, pos: torch.Tensor, error: BaseException | None = None) -> None:
    """From now on the frame at pos fails to converge, or raises another error."""
    compute = levels.calculator("gfn2").__class__.calculate

    def failing(self, atoms=None, *args, **kwargs):
        if np.allclose(atoms.positions, pos):
            raise error or CalculationFailed("SCF not converged in 250 cycles")
        return compute(self, atoms, *args, **kwargs)

    monkeypatch.setattr("asteroid.levels.gfn2.GFN2.calculate", failing)


def test_labels_are_those_of_the_level_and_say_where_they_come_from(frames, ledger):
    labelled = label(frames, "gfn2", ledger, **QUIET)
    assert (labelled.molecule, labelled.level, len(labelled)) == ("methanol", "gfn2", 6)
    torch.testing.assert_close(labelled.energy, frames.energy, rtol=0, atol=0.01)
    torch.testing.assert_close(labelled.force, frames.force, rtol=0, atol=0.01)
    assert torch.equal(labelled.pos, frames.pos) and (labelled.seconds > 0).all()
    expected = {"theory": "GFN2-xTB", "code": "tblite", "settings": {"charge": 0}, "failures": 0, "smiles": "CO"}
    assert expected.items() <= labelled.provenance.items()
    assert labelled.provenance["temperature_K"] == 500 and "cores" in labelled.provenance["machine"]


def test_a_ledger_goes_on_where_it_ended(frames, ledger, monkeypatch):
    first = label(frames[:4], "gfn2", ledger, **QUIET)
    seen = computed(monkeypatch)
    longer = label(frames, "gfn2", ledger, **QUIET)
    np.testing.assert_array_equal(seen, frames.pos[4:])
    assert torch.equal(longer.energy[:4], first.energy) and torch.equal(longer.seconds[:4], first.seconds)
    assert len(label(frames[:2], "gfn2", ledger, **QUIET)) == 2 and len(seen) == 2


def test_an_interrupt_loses_the_frame_under_way_only(frames, ledger, monkeypatch):
    with monkeypatch.context() as patch:
        break_frame(patch, frames.pos[3], KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            label(frames, "gfn2", ledger, **QUIET)
    seen = computed(monkeypatch)
    assert len(label(frames, "gfn2", ledger, **QUIET)) == 6
    np.testing.assert_array_equal(seen, frames.pos[3:])


def test_a_second_call_is_told_that_the_first_is_writing(frames, ledger, monkeypatch):
    told = []

    def second(task, z, pos):
        monkeypatch.undo()
        with pytest.raises(DatasetError, match="another call is writing to .*methanol_gfn2.jsonl"):
            label(frames, "gfn2", ledger, **QUIET)
        told.append(True)
        return labelling.label_one(task, z, pos)

    monkeypatch.setattr(labelling, "label_one", second)
    assert len(label(frames[:2], "gfn2", ledger, **QUIET)) == 2 and told
    assert list(ledger.parent.iterdir()) == [ledger]


def test_a_line_that_a_kill_cut_short_is_made_anew(frames, ledger, monkeypatch):
    whole = label(frames, "gfn2", ledger, **QUIET)
    ledger.write_bytes(ledger.read_bytes()[:-100])
    seen = computed(monkeypatch)
    again = label(frames, "gfn2", ledger, **QUIET)
    assert len(seen) == 1 and again.fingerprint == whole.fingerprint
    assert all(json.loads(line) for line in ledger.read_text().splitlines())


def test_a_geometry_is_known_again_to_the_digits_of_a_file(frames):
    z, pos = frames.z.numpy(), frames.pos[0].numpy().round(4)
    key = ledgers.geometry_key(z, pos)
    assert key == ledgers.geometry_key(z, pos + 4e-5) and key != ledgers.geometry_key(z[::-1], pos)
    assert key != ledgers.geometry_key(z, pos + 2e-4 * np.eye(6, 3))


def test_failures_are_recorded_skipped_and_tried_again_on_demand(frames, ledger, monkeypatch):
    with monkeypatch.context() as patch:
        break_frame(patch, frames.pos[1])
        labelled = label(frames, "gfn2", ledger, **QUIET)
    assert len(labelled) == 5 and labelled.provenance["failures"] == 1
    assert torch.equal(labelled.pos, frames.pos[[0, 2, 3, 4, 5]])
    assert "SCF not converged" in ledger.read_text()
    seen = computed(monkeypatch)
    assert len(label(frames, "gfn2", ledger, **QUIET)) == 5 and not seen
    assert len(label(frames, "gfn2", ledger, retry=True, **QUIET)) == 6
    np.testing.assert_array_equal(seen, frames.pos[[1]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"my": "results of a year"}', "is no ledger"),  # as json.dump writes it, without an end of the line
        ('{"my": "results of a year"}\n', "Line 1 of .* is not that of a ledger"),
        ('{"frame": 0, "geometry": "0", "E": 1.0, "F": [], "seconds": 1}\n', "does not begin with a line that says"),
    ],
)
def test_a_foreign_file_is_left_as_it_is(content, message, frames, ledger):
    ledger.parent.mkdir()
    ledger.write_text(content)
    with pytest.raises(DatasetError, match=message):
        label(frames, "gfn2", ledger, **QUIET)
    assert ledger.read_text() == content


@pytest.mark.parametrize(
    "damage",
    [
        *({lost: ...} for lost in ("geometry", "E", "F", "seconds")),
        {"F": [[1.0, 2.0, 3.0]]},
        {"F": [[math.nan] * 3] * 6},
        {"E": "x"},
        {"E": "1.0"},
        {"E": math.nan},
        {"seconds": None},
        {"frame": "x"},
    ],
    ids=str,
)
def test_a_damaged_label_is_named_by_its_line(damage, frames, ledger):
    label(frames[:2], "gfn2", ledger, **QUIET)
    head, first, second = map(json.loads, ledger.read_text().splitlines())
    second = {key: value for key, value in (second | damage).items() if value is not ...}
    ledger.write_text("".join(json.dumps(line) + "\n" for line in (head, first, second)))
    with pytest.raises(DatasetError, match="Line 3 of"):
        label(frames, "gfn2", ledger, **QUIET)


def test_a_task_that_is_refused_leaves_no_trace(frames, ledger):
    with pytest.raises(CalculatorSetupError):
        label(frames, "gfn2", ledger, charge=1, **QUIET)
    assert len(label(frames, "gfn2", ledger, **QUIET)) == 6


def test_bonds_are_those_of_the_first_frame_that_is_whole(frames, ledger):
    pos = frames.pos.numpy().copy()
    pos[0] = np.nan
    labelled = label(SimpleNamespace(z=frames.z, pos=pos), "mmff", ledger, molecule="methanol", **QUIET)
    assert len(labelled) == 5 and labelled.provenance["failures"] == 1


@pytest.mark.parametrize("pos", [np.zeros((0, 6, 3)), np.zeros((6, 3)), np.zeros((2, 5, 3))])
def test_positions_of_another_shape_are_one_error(pos, frames, ledger):
    with pytest.raises(ValueError, match=r"positions have the shape .*expected \(frames, 6, 3\), one frame or more"):
        label(SimpleNamespace(z=frames.z, pos=pos), "gfn2", ledger, molecule="methanol", **QUIET)
    assert not ledger.exists()


def killed(task, z, pos):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed_is_one_error_and_no_label_is_lost(frames, ledger, monkeypatch):
    label(frames[:3], "gfn2", ledger, **QUIET)
    monkeypatch.setattr(labelling, "label_one", killed)
    with processes.pool(2) as executor, pytest.raises(RuntimeError, match="was killed.*call again: it goes on"):
        label(frames, "gfn2", ledger, executor=executor, **QUIET)
    monkeypatch.undo()
    assert len(label(frames, "gfn2", ledger, **QUIET)) == 6


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), MemoryError("Unable to allocate 9 GiB")])
def test_a_trouble_of_the_machine_ends_the_job_and_is_no_failure(error, frames, ledger, monkeypatch):
    with monkeypatch.context() as patch:
        compute = GFN2._energy_and_forces

        def lacking(self, charge):
            if np.allclose(self.atoms.positions, frames.pos[2]):
                raise error
            return compute(self, charge)

        patch.setattr(GFN2, "_energy_and_forces", lacking)
        with pytest.raises(RuntimeError, match=f"{error.args[-1]}.*goes on with the labels that are there"):
            label(frames, "gfn2", ledger, **QUIET)
    assert "failure" not in ledger.read_text()
    assert len(label(frames, "gfn2", ledger, **QUIET)) == 6


def test_a_triplet_is_not_labelled_as_a_closed_shell(frames, ledger):
    frames.provenance["settings"] = {"multiplicity": 3}
    with pytest.raises(CalculatorSetupError, match="methanol has the multiplicity 3; only closed shells"):
        label(frames, "gfn2", ledger, **QUIET)
    assert not ledger.exists()


def test_an_exploded_frame_is_a_failure_that_costs_no_other(frames, ledger):
    pos = frames.pos.numpy().copy()
    pos[1, 5] += 50
    labelled = label(SimpleNamespace(z=frames.z, pos=pos), "mmff", ledger, molecule="methanol", **QUIET)
    assert torch.equal(labelled.pos, frames.pos[[0, 2, 3, 4, 5]]) and labelled.provenance["failures"] == 1
    assert "the mean force is" in ledger.read_text()


def test_a_level_under_which_the_molecule_explodes_is_an_error_with_the_reason(frames, ledger):
    with pytest.raises(DatasetError, match="None of the 3 frames of methanol has a lj label: the mean force is"):
        label(frames[:3], "lj", ledger, **QUIET)


def test_a_set_without_a_label_is_an_error_with_the_reason(frames, ledger, monkeypatch):
    break_frame(monkeypatch, frames.pos[0])
    with pytest.raises(DatasetError, match="None of the 1 frames of methanol has a gfn2 label: SCF not converged"):
        label(frames[:1], "gfn2", ledger, **QUIET)


def test_a_level_that_cannot_do_the_molecule_writes_no_label(ledger):
    oxygen = SimpleNamespace(z=np.array([8, 1]), pos=np.array([[[0, 0, 0], [0, 0, 1.0]]]))
    with pytest.raises(CalculatorSetupError, match="only closed shells"):
        label(oxygen, "gfn2", ledger, molecule="hydroxyl", **QUIET)
    with pytest.raises(ValueError, match="pass molecule"):
        label(oxygen, "gfn2", ledger, **QUIET)


def test_processes_make_the_same_labels(frames, ledger, tmp_path):
    here = label(frames, "mmff", ledger, **QUIET)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        there = label(frames, "mmff", tmp_path / "there.jsonl", executor=executor, **QUIET)
    assert there.fingerprint == here.fingerprint


def test_ledgers_of_something_else_are_refused_and_kept(frames, ledger, tmp_path):
    label(frames, "gfn2", ledger, **QUIET)
    before = ledger.read_bytes()
    with pytest.raises(DatasetError, match="made for other frames: its frame 0 is not the one given"):
        label(frames[1:], "gfn2", ledger, **QUIET)
    with pytest.raises(DatasetError, match="holds labels of level 'gfn2', not 'mmff'"):
        label(frames, "mmff", ledger, **QUIET)
    with pytest.raises(DatasetError, match=r"settings {'charge': 0}, not {'charge': 2}"):
        label(frames, "gfn2", ledger, charge=2, **QUIET)
    with pytest.raises(DatasetError, match="molecule 'methanol', not 'ethanol'"):
        label(frames, "gfn2", ledger, molecule="ethanol", **QUIET)
    assert ledger.read_bytes() == before
    (tmp_path / "notes.txt").write_text("not a ledger\n")
    with pytest.raises(DatasetError, match="Line 1 of .*notes.txt is not that of a ledger"):
        label(frames, "gfn2", tmp_path / "notes.txt", **QUIET)


@needs_pyscf
def test_a_ledger_goes_on_with_its_own_code(ledger, monkeypatch):
    first = SimpleNamespace(**(vars(HYDROGEN) | {"pos": HYDROGEN.pos[:1]}))
    label(first, "hf", ledger, code="pyscf", basis="sto-3g", **QUIET)
    monkeypatch.setattr(levels.shutil, "which", lambda name: name)  # Psi4 is there now
    assert levels.calculator("hf").code == "psi4"
    labelled = label(HYDROGEN, "hf", ledger, basis="sto-3g", **QUIET)
    assert len(labelled) == 2 and labelled.provenance["code"] == "pyscf"
    with monkeypatch.context() as patch:
        patch.setattr(levels.importlib.util, "find_spec", lambda name: None)
        with pytest.raises(ImportError, match="hf needs a program that is not installed. Install pyscf"):
            label(HYDROGEN, "hf", ledger, basis="sto-3g", **QUIET)
    ledger.write_text(ledger.read_text().replace('"code": "pyscf"', '"code": "orca"'))
    with pytest.raises(ValueError, match="hf is not computed by 'orca'; it is by: psi4, pyscf"):
        label(HYDROGEN, "hf", ledger, basis="sto-3g", **QUIET)


@needs_pyscf
@pytest.mark.parametrize(("level", "grid"), [("pbe", [50, 194]), ("ccsd(t)", None)])
def test_only_a_functional_is_said_to_have_a_grid(level, grid, ledger):
    labelled = label(HYDROGEN, level, ledger, code="pyscf", basis="6-31g", **QUIET)
    assert labelled.provenance["settings"].get("grid") == grid


def test_a_full_disk_is_one_error_that_keeps_what_is_there(frames, ledger, monkeypatch):
    label(frames[:2], "gfn2", ledger, **QUIET)

    class Full:
        name = str(ledger)

        def write(self, line: bytes) -> None:
            raise OSError(28, "No space left on device")

    with pytest.raises(DatasetError, match="No space left on device.*goes on with the labels that are there"):
        ledgers.append(Full(), {"frame": 3})
    assert len(label(frames, "gfn2", ledger, **QUIET)) == 6


def test_a_label_that_a_full_disk_cuts_short_is_an_error(frames, ledger):
    resource = pytest.importorskip("resource")
    label(frames[:2], "gfn2", ledger, **QUIET)
    session, row, _ = ledger.read_bytes().splitlines()
    room = len(session) + len(row) // 2
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ledger.stat().st_size + room, before[1]))
    try:
        with pytest.raises(DatasetError, match="Writing .* failed"):
            label(frames[:3], "gfn2", ledger, **QUIET)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert len(label(frames, "gfn2", ledger, **QUIET)) == 6


def test_the_charge_of_an_extxyz_file_is_that_of_further_labels(dication, tmp_path):
    labelled = label(dication, "gfn2", tmp_path / "ledger.jsonl", **QUIET)
    images = [Atoms(dication.z, pos, info={"charge": 2}) for pos in dication.pos]
    for image, energy, force in zip(images, labelled.energy, labelled.force):
        image.calc = SinglePointCalculator(image, energy=float(energy), forces=force.numpy())
    ase.io.write(tmp_path / "mine.extxyz", images)
    loaded = asteroid.load(tmp_path / "mine.extxyz", "mine", energy_unit="kcal/mol", length_unit="Ang")
    again = label(loaded, "gfn2", tmp_path / "again.jsonl", **QUIET)
    assert again.provenance["settings"]["charge"] == 2
    assert torch.allclose(again.energy, labelled.energy, atol=0.01)  # neutral, it is another by hundreds
    again.to_extxyz(tmp_path / "out.extxyz")
    assert ase.io.read(tmp_path / "out.extxyz").info["charge"] == 2


def test_a_sample_becomes_a_set_that_can_be_saved(tmp_path):
    sample = sampling.from_dynamics("C[NH3+]", "mmff", frames=4, trajectories=2, equilibration=40, **QUIET)
    labelled = label(sample, "gfn2", tmp_path / "ledger.jsonl", charge=1, **QUIET)
    assert labelled.molecule == "C[NH3+]" and labelled.provenance["sampling_level"] == "mmff"
    asteroid.datasets.save(labelled, tmp_path / "methylammonium.npz")
    assert asteroid.load(tmp_path / "methylammonium.npz").fingerprint == labelled.fingerprint


def test_the_charge_of_a_sample_is_that_of_its_labels(dication, tmp_path):
    labelled = label(dication, "gfn2", tmp_path / "sampled.jsonl", **QUIET)
    assert labelled.provenance["settings"] == {"charge": 2}
    given = label(dication, "gfn2", tmp_path / "given.jsonl", charge=2, **QUIET)
    torch.testing.assert_close(labelled.force, given.force, rtol=0, atol=0.01)
    neutral = label(dication, "gfn2", tmp_path / "neutral.jsonl", charge=0, **QUIET)
    assert (neutral.energy < labelled.energy - 100).all()


class TestShell:
    def test_without_arguments_it_lists_the_levels(self):
        done = tiny.shell("label")
        assert done.exit_code == 0 and "ccsd(t)" in done.stdout
        assert tiny.shell("label", "--level", "gfn2").exit_code == 2

    def test_embedded_frames_in_their_fixed_order(self, tmp_path):
        ledger = tmp_path / "pbe.jsonl"
        arguments = ["--molecule", "methanol", "--level", "gfn2", "--output", str(ledger)]
        done = tiny.shell("label", *arguments, "--frames", "3")
        assert done.exit_code == 0
        assert "3 gfn2 labels of methanol" in done.stdout
        labelled = asteroid.load(ledger.with_suffix(".npz"))
        embedded = asteroid.load("methanol", "ccsd(t)")[:3]  # made for the first frames of that order
        assert len(labelled.paired_with(embedded)[0]) == 3
        done = tiny.shell("label", *arguments, "--frames", "4")
        assert done.exit_code == 1
        assert "go on with it by --resume" in done.stderr
        done = tiny.shell("label", *arguments, "--frames", "4", "--resume")
        assert done.exit_code == 0
        assert len(ledger.read_text().splitlines()) == 2 + 4  # two sessions

    def test_its_ledger_can_be_embedded(self, tmp_path, monkeypatch):
        for ending in ("npz", "json"):
            name = f"methanol_gfn2.{ending}"
            (tmp_path / name).write_bytes((asteroid.datasets.DATA / name).read_bytes())
        ledger = tmp_path / "methanol_mmff.jsonl"
        settings = ["--level", "mmff", "--output", str(ledger), "--frames", "3"]
        done = tiny.shell("label", "--molecule", "methanol", *settings)
        assert done.exit_code == 0
        labelled = asteroid.load(ledger.with_suffix(".npz"))
        ledger.with_suffix(".npz").unlink()
        for module in (asteroid.datasets, loading):
            monkeypatch.setattr(module, "DATA", tmp_path)
        assert tiny.shell("embed", str(ledger)).stdout.startswith("methanol_mmff.npz: 3 labels")
        embedded = asteroid.load("methanol", "mmff")
        assert embedded.provenance["code_version"] == labelled.provenance["code_version"]
        assert torch.equal(embedded.energy, labelled.energy) and torch.equal(embedded.pos, labelled.pos)
        lines = ledger.read_text().splitlines(keepends=True)
        ledger.write_text("".join(lines).replace('"frame": 2', '"frame": 3'))
        with pytest.raises(DatasetError, match="not the gfn2 set's in their order"):
            embed.embed([ledger])

    @pytest.mark.parametrize(
        ("ours", "other"),
        [('"charge": 0', '"charge": 1'), ('"code": "rdkit"', '"code": "openmm"'), ("methanol", "ethanol")],
    )
    def test_labels_of_something_else_are_not_embedded(self, ours, other, tmp_path, monkeypatch):
        for ending in ("npz", "json"):
            name = f"methanol_gfn2.{ending}"
            (tmp_path / name).write_bytes((asteroid.datasets.DATA / name).read_bytes())
        ledger = tmp_path / "methanol_mmff.jsonl"
        done = tiny.shell(
            "label", "--molecule", "methanol", "--level", "mmff", "--output", str(ledger), "--frames", "2"
        )
        assert done.exit_code == 0
        ledger.with_suffix(".npz").unlink()
        ledger.with_suffix(".json").unlink()
        assert ours in ledger.read_text()
        ledger.write_text(ledger.read_text().replace(ours, other, 1))
        for module in (asteroid.datasets, loading):
            monkeypatch.setattr(module, "DATA", tmp_path)
        with pytest.raises(DatasetError, match="methanol_mmff.jsonl holds labels of .*; expected"):
            embed.embed([ledger])
        assert not ledger.with_suffix(".npz").exists()

    def test_labels_that_are_there_are_not_replaced(self, tmp_path, frames):
        labels = tmp_path / "mine.npz"
        asteroid.datasets.save(frames, labels)
        before = labels.read_bytes()
        onto_itself = ["--molecule", str(labels), "--level", "mmff", "--output", str(tmp_path / "mine.jsonl")]
        for arguments in (onto_itself, [*onto_itself, "--resume"]):
            done = tiny.shell("label", *arguments)
            assert done.exit_code == 1
            assert "would take the place of the frames themselves" in done.stderr
        another = ["--molecule", "methanol", "--level", "mmff", "--output", str(tmp_path / "mine.jsonl")]
        done = tiny.shell("label", *another)
        assert done.exit_code == 1
        assert "mine.npz is there already" in done.stderr
        assert labels.read_bytes() == before and not (tmp_path / "mine.jsonl").exists()

    @pytest.mark.parametrize("unit", ["bohr", b"bohr"])  # as Python 2 wrote it
    def test_frames_of_a_file_in_another_unit(self, unit, tmp_path, frames):
        bohr = frames.pos.numpy() / units.LENGTH["bohr"]
        np.savez(tmp_path / "mine.npz", z=frames.z.numpy(), R=bohr, r_unit=unit)
        output = ["--output", str(tmp_path / "out.jsonl")]
        done = tiny.shell("label", "--molecule", str(tmp_path / "mine.npz"), "--level", "mmff", *output)
        assert done.exit_code == 0
        assert torch.allclose(asteroid.load(tmp_path / "out.npz").pos, frames.pos)

    @pytest.mark.parametrize("ending", ["npz", "extxyz"])
    def test_a_charge_that_a_file_says_is_that_of_its_molecule(self, ending, dication, tmp_path):
        labelled = label(dication, "gfn2", tmp_path / "first.jsonl", charge=2, **QUIET)
        mine = tmp_path / f"mine.{ending}"
        if ending == "npz":
            asteroid.datasets.save(labelled, mine)
        else:
            ase.io.write(mine, [Atoms(dication.z, pos, info={"charge": 2}) for pos in dication.pos])
            assert sampling.geometry(str(mine)).info["charge"] == 2
        output = ["--output", str(tmp_path / "out.jsonl")]
        done = tiny.shell("label", "--molecule", str(mine), "--level", "gfn2", *output)
        assert done.exit_code == 0
        again = asteroid.load(tmp_path / "out.npz")
        assert again.provenance["settings"]["charge"] == 2
        torch.testing.assert_close(again.force, labelled.force, rtol=0, atol=0.01)

    @pytest.mark.parametrize("charges", [[0, 2], [0.5, 0.5]])
    def test_charges_that_are_of_no_molecule_are_refused(self, charges, frames, tmp_path):
        images = [
            Atoms(frames.z.numpy(), pos, info={"charge": charge}) for pos, charge in zip(frames.pos.numpy(), charges)
        ]
        ase.io.write(tmp_path / "mine.extxyz", images)
        output = ["--output", str(tmp_path / "out.jsonl")]
        done = tiny.shell("label", "--molecule", str(tmp_path / "mine.extxyz"), "--level", "gfn2", *output)
        assert done.exit_code == 1
        assert "expected one whole number" in done.stderr

    def test_a_file_says_charge_and_multiplicity_under_the_names_of_others(self, tmp_path):
        atoms = ase.build.molecule("CH2_s3B1d")
        atoms.set_initial_magnetic_moments(None)
        output = ["--level", "gfn2", "--output", str(tmp_path / "out.jsonl")]
        ase.io.write(tmp_path / "mine.extxyz", Atoms(atoms.numbers, atoms.positions, info={"charge": 0, "spin": 3}))
        done = tiny.shell("label", "--molecule", str(tmp_path / "mine.extxyz"), *output)
        assert done.exit_code == 1
        assert "has the multiplicity 3" in done.stderr
        ase.io.write(tmp_path / "mine.extxyz", Atoms(atoms.numbers, atoms.positions, info={"total_charge": 2}))
        done = tiny.shell("label", "--molecule", str(tmp_path / "mine.extxyz"), *output)
        assert done.exit_code == 0
        assert asteroid.load(tmp_path / "out.npz").provenance["settings"]["charge"] == 2

    def test_a_file_with_a_long_name_in_other_letters(self, tmp_path, frames):
        path = tmp_path / f"{'é' * 120}.xyz"
        ase.io.write(path, Atoms(frames.z.numpy(), frames.pos[0].numpy()))
        with contextlib.chdir(tmp_path):
            done = tiny.shell("label", "--molecule", path.name, "--level", "gfn2")
            assert done.exit_code == 0
        assert len(list(tmp_path.glob("é*_gfn2.npz"))) == 1

    @pytest.mark.parametrize("content", ["garbage", ""])
    def test_a_file_that_holds_no_frames_is_one_line(self, content, tmp_path):
        (tmp_path / "mine.xyz").write_text(content)
        done = tiny.shell("label", "--molecule", str(tmp_path / "mine.xyz"), "--level", "gfn2")
        assert done.exit_code == 1
        assert "mine.xyz" in done.stderr

    def test_an_interrupt_is_one_line_that_says_how_to_go_on(self, tmp_path, frames, monkeypatch):
        ase.io.write(tmp_path / "mine.extxyz", [Atoms(frames.z.numpy(), pos.numpy()) for pos in frames.pos])
        arguments = [
            "--molecule",
            str(tmp_path / "mine.extxyz"),
            "--level",
            "gfn2",
            "--output",
            str(tmp_path / "a.jsonl"),
        ]
        with monkeypatch.context() as patch:
            break_frame(patch, frames.pos[3], KeyboardInterrupt())
            done = tiny.shell("label", *arguments)
            assert done.exit_code == 1
        printed = done.stderr.split("\n")[-2:]  # after the bar
        assert printed == ["Error: interrupted; the same command with --resume goes on from here", ""]
        done = tiny.shell("label", *arguments, "--resume")
        assert done.exit_code == 0
        assert "6 gfn2 labels of mine" in done.stdout

    def test_a_task_that_was_refused_can_be_put_right(self, tmp_path):
        arguments = ["--molecule", "methanol", "--level", "gfn2", "--frames", "2"]
        arguments += ["--output", str(tmp_path / "a.jsonl")]
        done = tiny.shell("label", *arguments, "--charge", "1")
        assert done.exit_code == 1
        done = tiny.shell("label", *arguments)
        assert done.exit_code == 0

    def test_a_periodic_file_is_refused(self, tmp_path, frames):
        images = [Atoms(frames.z.numpy(), pos.numpy(), cell=[4, 4, 4], pbc=True) for pos in frames.pos]
        ase.io.write(tmp_path / "mine.extxyz", images)
        done = tiny.shell("label", "--molecule", str(tmp_path / "mine.extxyz"), "--level", "gfn2")
        assert done.exit_code == 1
        assert "frame 0 is periodic" in done.stderr
        with pytest.raises(ValueError, match="are periodic"):
            sampling.geometry(tmp_path / "mine.extxyz")

    def test_frames_of_a_file(self, tmp_path, frames):
        images = [Atoms(frames.z.numpy(), pos.numpy()) for pos in frames.pos]
        ase.io.write(tmp_path / "mine.xyz", images)
        output = ["--output", str(tmp_path / "out.jsonl")]
        done = tiny.shell("label", "--molecule", str(tmp_path / "mine.xyz"), "--level", "mmff", *output)
        assert done.exit_code == 0
        assert "6 mmff labels of mine" in done.stdout

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--molecule", "nonsense", "--level", "gfn2"], "neither a file nor one of the embedded"),
            (["--molecule", "C" * 300, "--level", "gfn2"], "neither a file nor one of the embedded"),
            (["--molecule", "methanol", "--level", "pbe0"], "unknown level 'pbe0'"),
            (["--molecule", "methanol", "--level", "gfn2", "--frames", "99999"], "methanol has 10000 frames"),
            (["--molecule", "methanol", "--level", "gfn2", "--basis", "cc-pvdz"], "gfn2 has no setting basis"),
            (["--molecule", "methanol", "--level", "gfn2", "--output", "a.npz"], "name the ledger .jsonl"),
            (["--molecule", "methanol", "--level", "gfn2", "--processes", "0"], "number of processes is 0"),
        ],
    )
    def test_what_it_cannot_do_is_one_line(self, arguments, message, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        done = tiny.shell("label", *arguments)
        assert done.exit_code == 1
        assert message in done.stderr
        assert not list(tmp_path.iterdir())
