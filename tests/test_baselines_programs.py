"""Programs of others as baselines: what they are given, what comes back, and what happens when they fail.

A stand-in plays MACE's package: it "learns" the weighted means of energies and forces, and predicts these. The programs
themselves are tried where a variable of the environment says which interpreter has them.
"""

import importlib.util
import json
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from ase.io import read

from asteroid import datasets, profiles, runs, units
from asteroid.baselines import mace, nequip, programs
from asteroid.runs import RunSpec, Store
from asteroid.runs.methods import METHODS
from asteroid.runs.sweeps import missing
from asteroid.training import losses

PROGRAMS = {"mace": mace.PROGRAM, "nequip": nequip.PROGRAM}
SMALL = {"channels": 4, "steps": 20, "tuning_steps": 10}
SPEC = RunSpec(
    molecule="methanol", method="mace", budget=6, valid=5, test=8, recipe=tiny.RECIPE, program=SMALL
)  # of the stand-in
TWO_STAGES = {"inaccurate_budget": 21, "program": SMALL}

RUN_TRAIN = """
import json, os, sys, ase.io, numpy as np
words = sys.argv[1:]
options = {one[2:]: words[k + 1] for k, one in enumerate(words[:-1]) if one.startswith("--")}
place = options["work_dir"]
frames = ase.io.read(options["train_file"], ":")
weights = np.array([one.info["config_weight"] for one in frames])
checkpoint = os.path.join(place, "checkpoint.json")
resumed = os.path.exists(checkpoint) and "--restart_latest" in words
print("INFO: Epoch 3: head: Default")
open(checkpoint, "w").close()
if os.environ.get("STAND_IN") == "fails":
    print("ValueError: the stand-in does as it is told", file=sys.stderr)
    sys.exit(3)
energy = np.average([one.info["REF_energy"] for one in frames], weights=weights)
forces = np.average([one.arrays["REF_forces"] for one in frames], axis=0, weights=weights)
os.makedirs(os.path.join(place, "results"), exist_ok=True)
with open(os.path.join(place, "results", f"asteroid_run-{options['seed']}_train.txt"), "a") as file:
    print(json.dumps({"mode": "eval", "epoch": None, "mae_f": 9.0}), file=file)
    print(json.dumps({"mode": "opt", "epoch": 3}), file=file)
    print(json.dumps({"mode": "eval", "epoch": 3, "mae_f": 0.5}), file=file)
model = {"energy": energy, "forces": forces.tolist(), "options": options, "resumed": resumed}
with open(os.path.join(place, options["name"] + ".model"), "w") as file:
    json.dump(model, file)
"""
CALCULATOR = """
import json, numpy as np
from ase.calculators.calculator import Calculator
class MACECalculator(Calculator):
    implemented_properties = ["energy", "forces"]
    def __init__(self, model_paths, device, default_dtype):
        super().__init__()
        assert device == "cpu" and default_dtype == "float32"
        print("as packages do, it prints")
        self.model = json.load(open(model_paths))
    def calculate(self, atoms, properties, changes):
        super().calculate(atoms, properties, changes)
        self.results = {"energy": self.model["energy"], "forces": np.array(self.model["forces"])}
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """MACE's package, as far as it is used, where the interpreter finds it."""
    place = tmp_path / "packages"
    for path, content in {
        "mace/__init__.py": "",
        "mace/cli/__init__.py": "",
        "mace/cli/run_train.py": RUN_TRAIN,
        "mace/calculators/__init__.py": CALCULATOR,
        "mace_torch-0.0.1.dist-info/METADATA": "Metadata-Version: 2.1\nName: mace-torch\nVersion: 0.0.1\n",
    }.items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_text(content)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(place), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]))
    monkeypatch.setenv(mace.PROGRAM.python, sys.executable)
    programs._versions.cache_clear()
    yield place
    programs._versions.cache_clear()


@pytest.fixture
def split():
    return tiny.methanol(budget=6, inaccurate_budget=21, valid=5, test=8)


def options_of(force_field) -> dict[str, str]:
    return json.loads(force_field.model)["options"]


# What a program is given, and what comes back


def test_labels_are_written_in_its_units_less_a_constant(stand_in, split, tmp_path):
    made = programs.standard(mace.PROGRAM, split.train, split.valid, SMALL, folder=tmp_path / "work", progress=False)
    frames = read(tmp_path / "work" / "mace" / "train.extxyz", ":")
    energies = np.array([one.info["REF_energy"] for one in frames]) / units.KCAL_PER_MOL_IN_EV
    np.testing.assert_allclose(energies + made.shift, split.train.energy, atol=1e-4)
    assert abs(energies.mean()) < 1e-3 and made.shift == pytest.approx(float(split.train.energy.mean()))
    forces = np.array([one.arrays["REF_forces"] for one in frames]) / units.KCAL_PER_MOL_IN_EV
    np.testing.assert_allclose(forces, split.train.force, atol=1e-5)
    assert {one.info["config_weight"] for one in frames} == {1.0}
    energy, force = made.energy_and_force(split.test.pos)
    torch.testing.assert_close(force[3], split.train.force.mean(dim=0), atol=1e-5, rtol=0)
    assert float(energy[0]) == pytest.approx(made.shift, abs=1e-3)


def test_settings_become_its_options(stand_in, split, tmp_path):
    settings = SMALL | {"degree": 2, "cutoff": 3.5, "learning_rate": 0.02, "batch_size": 3, "decay": 0.25}
    made = programs.standard(mace.PROGRAM, split.train, split.valid, settings, seed=7, folder=tmp_path, progress=False)
    options = options_of(made)
    expected = {"num_channels": "4", "max_L": "2", "r_max": "3.5", "lr": "0.02", "batch_size": "3", "seed": "7"}
    assert options.items() >= expected.items() and options["default_dtype"] == "float32"
    assert options["E0s"] == "{1: 0.0, 6: 0.0, 8: 0.0}" and "foundation_model" not in options
    epochs, interval = int(options["max_num_epochs"]), int(options["eval_interval"])
    assert epochs - 1 == interval == 10  # two steps an epoch, and the last of them is evaluated
    assert float(options["lr_scheduler_gamma"]) ** 10 == pytest.approx(0.25)


@pytest.mark.parametrize(("labels", "steps"), [(20, 2000), (250, 10_000), (3900, 12_500), (7, 3), (1, 1)])
def test_epochs_make_the_steps_and_end_with_an_evaluation(labels, steps, tmp_path):
    task = programs.Task(tmp_path, [1, 1], labels, 5, programs.Settings(steps=steps), 0, None)
    an_epoch = labels // task.batch_size
    assert task.epochs % task.interval == 0
    assert abs(task.epochs * an_epoch - steps) <= max(an_epoch * task.interval, 1) / 2 + an_epoch
    assert task.interval * an_epoch <= max(1.5 * programs.EVAL_EVERY, an_epoch)


def test_a_model_is_fine_tuned_from_its_own_file(stand_in, split, tmp_path):
    settings = SMALL | {"tuning_learning_rate": 0.0005}
    keep = {"folder": tmp_path, "progress": False}
    cheap = programs.pretrain(mace.PROGRAM, split.inaccurate, settings, **keep)
    assert cheap.level == "pbe" and cheap.provenance["labels"] == 20  # of 21, one judges
    tuned = programs.fine_tune(cheap, split.train, split.valid, settings, **keep)
    options = options_of(tuned)
    assert Path(options["foundation_model"]).read_bytes() == cheap.model and options["lr"] == "0.0005"
    assert options["E0s"] == "foundation" and options["multiheads_finetuning"] == "False"
    assert "num_channels" not in options
    # The constant is refitted, so that the start is right on average.
    start = cheap.energy_and_force(split.train.pos)[0] - cheap.shift
    assert tuned.shift == pytest.approx(float((split.train.energy - start).mean()), abs=1e-6)
    assert tuned.level == "ccsd(t)" and tuned.provenance["started_from"] == cheap.provenance
    assert [one["stage"] for one in (cheap.provenance, tuned.provenance)] == [
        "mace-inaccurate",
        "mace-inaccurate-then-accurate",
    ]


def test_a_foundation_model_is_handed_over(stand_in, split, tmp_path):
    file = tmp_path / "MACE-OFF23_small.model"
    file.write_text(json.dumps({"energy": 2.0, "forces": np.zeros((6, 3)).tolist()}))
    settings = {"steps": 10, "foundation_model": str(file)}
    made = programs.standard(mace.PROGRAM, split.train, split.valid, settings, folder=tmp_path, progress=False)
    assert Path(options_of(made)["foundation_model"]).read_bytes() == file.read_bytes()
    predicted = 2.0 / units.KCAL_PER_MOL_IN_EV
    assert made.shift == pytest.approx(float(split.train.energy.mean()) - predicted)
    assert made.provenance["config"]["foundation_model"] == file.name
    with pytest.raises(FileNotFoundError, match="'nowhere.model', and there is no such file"):
        programs.standard(mace.PROGRAM, split.train, split.valid, {"foundation_model": "nowhere.model"})
    with pytest.raises(ValueError, match="which only MACE can start from"):
        nequip.PROGRAM.commands(programs.Task(tmp_path, [1], 5, 5, programs.Settings(**settings), 0, None))


def test_the_frames_have_asteroids_weights(stand_in, split, tmp_path):
    theta_a = tiny_theta_a(split)
    made = programs.pretrain(
        mace.PROGRAM, split.inaccurate, SMALL, theta_a=theta_a, gamma=0.5, folder=tmp_path, progress=False
    )
    frames = read(tmp_path / "mace-weighted" / "train.extxyz", ":")
    written = torch.tensor([one.info["config_weight"] for one in frames], dtype=torch.float64)
    pos = torch.from_numpy(np.array([one.positions for one in frames]))
    learned = [int((split.inaccurate.pos - one).abs().amax(dim=(1, 2)).argmin()) for one in pos]
    bias = made.bias[learned]
    torch.testing.assert_close(written, losses.bias_weights(bias, 0.5 * float(bias.median())), rtol=1e-5, atol=1e-6)
    assert len(made.bias) == len(split.inaccurate) and float(written.max() / written.min()) > 1.2
    assert made.provenance["gamma"] == 0.5
    valid = read(tmp_path / "mace-weighted" / "valid.extxyz", ":")
    assert {one.info["config_weight"] for one in valid} == {1.0}


def tiny_theta_a(split):
    from asteroid import stages

    return stages.standard(split.train, split.valid, tiny.RECIPE, progress=False)


def test_it_reads_back_as_it_was_saved(stand_in, split, tmp_path):
    made = programs.pretrain(
        mace.PROGRAM, split.inaccurate, SMALL, theta_a=tiny_theta_a(split), folder=tmp_path, progress=False
    )
    made.save(path := tmp_path / "new" / "model.npz")
    again = programs.ProgramForceField.load(path, mace.PROGRAM)
    assert (again.model, again.shift, again.level) == (made.model, made.shift, made.level)
    assert again.provenance == made.provenance and torch.equal(again.bias, made.bias) and torch.equal(again.z, made.z)
    with pytest.raises(ValueError, match="no model of NequIP.*it is of mace"):
        programs.ProgramForceField.load(path, nequip.PROGRAM)
    path.write_bytes(b"something else")
    with pytest.raises(ValueError, match="is damaged"):
        programs.ProgramForceField.load(path, mace.PROGRAM)
    with pytest.raises(FileNotFoundError, match="no force field at"):
        programs.ProgramForceField.load(tmp_path / "none.npz", mace.PROGRAM)


def test_atoms_a_calculator_and_wrong_molecules(stand_in, split, tmp_path):
    from ase import Atoms

    made = programs.standard(mace.PROGRAM, split.train, split.valid, SMALL, folder=tmp_path, progress=False)
    atoms = Atoms(split.test.z.numpy(), split.test.pos[0].numpy(), calculator=made.calculator())
    expected = made.energy_and_force(split.test.pos[0])[1] * units.KCAL_PER_MOL_IN_EV
    np.testing.assert_allclose(atoms.get_forces(), expected, atol=1e-9)
    with pytest.raises(ValueError, match="MACE needs the same molecule"):
        made.energy_and_force(Atoms("HOCHHH", np.eye(6, 3)))
    assert 0 < made.seconds_per_step(split.test.pos) < 1


# Failures


def test_what_failed_is_told_and_goes_on_from_its_checkpoint(stand_in, split, tmp_path, monkeypatch):
    monkeypatch.setenv("STAND_IN", "fails")
    arguments = (mace.PROGRAM, split.train, split.valid, SMALL)
    with pytest.raises(RuntimeError, match="(?s)MACE ended with the exit status 3.*the stand-in does as it is told"):
        programs.standard(*arguments, folder=tmp_path, progress=False)
    monkeypatch.delenv("STAND_IN")
    (first,) = (tmp_path / "mace").glob("*.attempt")
    os.utime(first, (0, float(first.stem) + 100))  # as if it had taken so long
    made = programs.standard(*arguments, folder=tmp_path, progress=False)
    assert json.loads(made.model)["resumed"] and 100 < made.provenance["seconds"] < 200
    assert len(list((tmp_path / "mace").glob("*.attempt"))) == 2
    # What is finished is not trained again.
    again = programs.standard(*arguments, folder=tmp_path, progress=False)
    assert again.model == made.model and len(list((tmp_path / "mace").glob("*.attempt"))) == 2


def test_a_calculator_that_fails_is_told(stand_in, split):
    broken = programs.ProgramForceField(mace.PROGRAM, b"no model", split.test.z, 0.0, "ccsd(t)")
    with pytest.raises(RuntimeError, match="(?s)calculator of MACE ended with the exit status 1.*JSONDecodeError"):
        broken.energy_and_force(split.test.pos)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_missing_program_is_told_in_one_line(name, monkeypatch, split, tmp_path):
    program = PROGRAMS[name]
    monkeypatch.delenv(program.python, raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    message = METHODS[f"{name}-tuned"].missing()
    assert program.requirement in message and program.python in message and "\n" not in message
    with pytest.raises(ImportError, match="is not installed"):
        programs.standard(program, split.train, split.valid, {})
    for interpreter in (sys.executable, str(tmp_path / "none")):
        monkeypatch.setenv(program.python, interpreter)
        assert f"in the interpreter {interpreter}" in METHODS[name].missing()


# As runs


def test_runs_leave_records_and_force_fields(stand_in, tmp_path):
    store = Store(tmp_path / "results")
    for method in ("mace", "mace-tuned", "mace-weighted-tuned"):
        spec = replace(SPEC, method=method, **TWO_STAGES)
        record = runs.run(spec, store, progress=False)
        assert store.get(spec) == record and record.errors["md_step_seconds"] > 0
        assert record.versions["mace-torch"] == "0.0.1" and record.versions["torch"]
        assert record.seconds > 0 and record.valid_force_mae > 0
        history = record.histories[list(record.histories)[-1]]
        assert history == {"epoch": [3], "valid_force_mae": [pytest.approx(0.5 / units.KCAL_PER_MOL_IN_EV)]}
        assert (record.gamma, len(record.bias_quantiles or [])) == ((1.0, 7) if "weighted" in method else (None, 0))
        test = runs.split_of(spec).test
        found = runs.force_field(spec, store, progress=False).energy_and_force(test.pos)[1]
        assert record.errors["force_mae"] == pytest.approx(float((found - test.force).abs().mean()))
    # All that led to it counts: θ_A, the pre-training, the fine-tuning.
    parts = [store.get(one).seconds for one in spec.builds_on[0].builds_on]
    assert record.seconds > store.get(spec.builds_on[0]).seconds > sum(parts) > 0


def test_settings_are_part_of_a_runs_name_where_they_matter():
    assert replace(SPEC, program=SMALL | {"channels": 8}).key != SPEC.key
    assert replace(SPEC, program=SMALL | {"tuning_steps": 99}).key == SPEC.key  # it does not fine-tune
    tuned = replace(SPEC, method="mace-tuned", **TWO_STAGES)
    other = replace(tuned, program=SMALL | {"tuning_learning_rate": 1e-4})
    assert other.key != tuned.key and other.builds_on == tuned.builds_on
    assert replace(SPEC, method="standard", program={"channels": 8}).program == ()
    again = RunSpec(**json.loads(json.dumps(asdict(tuned))))
    assert again == tuned and hash(again) == hash(tuned) and again.key == tuned.key
    here, there = (replace(SPEC, program={"foundation_model": f"{place}/off.model"}) for place in ("a", "b"))
    assert here.key == there.key != replace(SPEC, program={}).key


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"chanels": 8}, "unknown settings chanels; known: channels"),
        ({"cutoff": -1}, "cutoff is -1"),
        ({"foundation_model": "off.model", "channels": 8}, "so is channels; the model has its own"),
        (5, "5 given; expected settings by name"),
    ],
)
def test_what_no_program_can_be_told_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        replace(SPEC, program=settings)


def test_the_runs_of_a_profile():
    profile = profiles.load("md17")
    ways = profile.rival_specs()
    assert profiles.load("smoke").rival_specs() == {}
    assert {spec.valid for specs in ways.values() for spec in specs} == {profile.valid}
    for name, rival in profile.rivals.programs.items():
        label = METHODS[name].label
        searched = ways[f"{label}, learning rates"]
        rates = [dict(spec.program)["tuning_learning_rate"] for spec in searched]
        assert rates == list(rival.rates) and len({spec.builds_on for spec in searched}) == 1
        tuned = ways[METHODS[f"{name}-tuned"].label]
        assert searched[0] in tuned  # the one that is used
        assert {spec.budget for spec in ways[label]} == set(profile.rivals.scratch)
        for specs in (tuned, ways[label]):
            assert len(specs) == len(set(specs))
            seeds = {
                molecule: {one.seed for one in specs if one.molecule == molecule} for molecule in profile.rivals.seeds
            }
            assert seeds == {molecule: set(range(number)) for molecule, number in profile.rivals.seeds.items()}


def test_a_machine_without_programs_leaves_their_runs_out(monkeypatch, tmp_path):
    for program in PROGRAMS.values():
        monkeypatch.delenv(program.python, raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    ways = profiles.load("md17").rival_specs()
    assert missing(ways, Store(tmp_path)).keys() == ways.keys()


# NequIP's files


def test_nequip_reads_a_configuration(tmp_path):
    settings = programs.Settings(channels=8, layers=3, steps=20)
    task = programs.Task(tmp_path, [6, 8, 1, 1, 1, 1], 10, 5, settings, 3, None)
    train, compiled = nequip.PROGRAM.commands(task)
    assert train[:2] == ["-m", "nequip.scripts.train"] and compiled[1] == "nequip.scripts.compile"
    content = json.loads((tmp_path / "config.yaml").read_text())
    model = content["training_module"]["model"]
    assert (model["num_features"], model["num_layers"], model["seed"]) == (8, 3, 3)
    assert model["type_names"] == ["H", "C", "O"] and model["model_dtype"] == "float32"
    assert content["data"]["train_file_path"] == str(task.train) and content["trainer"]["max_epochs"] == 10
    (tmp_path / "last.ckpt").touch()
    train, _ = nequip.PROGRAM.commands(replace(task, start=tmp_path / "start.ckpt"))
    assert train[-1] == f"++ckpt_path={tmp_path / 'last.ckpt'}"
    model = json.loads((tmp_path / "config.yaml").read_text())["training_module"]["model"]
    assert model == {
        "_target_": "nequip.model.ModelFromCheckpoint",
        "checkpoint_path": str(tmp_path / "start.ckpt"),
    }


def test_nequips_history_is_that_of_all_attempts(tmp_path):
    for attempt, rows in enumerate(("1,0.4,\n1,,7\n3,0.3,\n", "3,0.25,\n5,0.2,\n")):
        folder = tmp_path / "history" / str(attempt)
        folder.mkdir(parents=True)
        (folder / "metrics.csv").write_text("epoch,val0_epoch/forces_mae,other\n" + rows)
    task = programs.Task(tmp_path, [1, 1], 5, 5, programs.Settings(), 0, None)
    history = nequip.PROGRAM.history(task)
    assert history["epoch"] == [1, 3, 5]
    errors = np.array(history["valid_force_mae"]) * units.KCAL_PER_MOL_IN_EV
    np.testing.assert_allclose(errors, [0.4, 0.25, 0.2])


# The programs themselves


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_program_itself_learns(name, tmp_path):
    program = PROGRAMS[name]
    if program.missing():
        pytest.skip(f"{program.label} is not installed")
    store, spec = Store(tmp_path), replace(SPEC, method=f"{name}-tuned", **TWO_STAGES)
    record = runs.run(spec, store, progress=False)
    assert 0 < record.errors["force_mae"] < float(datasets.load("methanol", "ccsd(t)").force.abs().mean()) * 2
    assert program.requirement.split("==")[1] == record.versions[program.requirement.split("==")[0]]
    start = runs.force_field(spec.builds_on[0], store, progress=False)
    path = tmp_path / f"mine{program.suffix}"
    path.write_bytes(start.model)
    if name == "mace":  # as from a copy of published weights
        own = replace(SPEC, program={"steps": 4, "foundation_model": str(path)})
        assert runs.run(own, store, progress=False).errors["force_mae"] > 0
