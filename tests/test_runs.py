"""Runs, their keys and records, and sweeps that lose nothing."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import tiny

from asteroid import datasets, runs, training
from asteroid.force_field import ForceField
from asteroid.runs import Record, RunSpec, Store

SETTINGS = {"molecule": "methanol", "valid": 5, "test": 8, "recipe": tiny.RECIPE}
STANDARD = RunSpec(method="standard", budget=6, **SETTINGS)
ASTEROID = RunSpec(method="asteroid", budget=6, inaccurate_budget=10, **SETTINGS)
QUICK = replace(tiny.TRAIN, steps=8)


def sweep(specs: list[RunSpec], store: Store) -> list[Record]:
    """In this process, so that what a test has replaced is used."""
    with ThreadPoolExecutor(1) as executor:
        return runs.sweep(specs, store, executor, progress=False)


def numbers(record: Record) -> dict:
    """What must be the same wherever and whenever a run is made."""
    content = json.loads(json.dumps(asdict(record)))
    for history in content["histories"].values():
        history.pop("seconds")
    return {
        name: content[name] for name in ("key", "errors", "valid_force_mae", "gamma", "bias_quantiles", "histories")
    }


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture
def trainings(monkeypatch) -> list[str]:
    """Levels of the labels of every training."""
    calls, original = [], training.fit

    def counted(model, train, *args, **options):
        calls.append(train.level)
        return original(model, train, *args, **options)

    monkeypatch.setattr(training, "fit", counted)
    return calls


# The key


def test_the_key_is_the_same_in_every_process_and_for_every_order_of_settings():
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import tiny, dataclasses; from asteroid.runs import RunSpec\n"
        "config = dict(reversed(list(tiny.MODEL.items())))\n"
        "recipe = dataclasses.replace(tiny.RECIPE, model_config=config)\n"
        "print(RunSpec(molecule='methanol', method='asteroid', budget=6, inaccurate_budget=10, valid=5, test=8, "
        "recipe=recipe).key)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    command = [sys.executable, "-c", program, str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == ASTEROID.key
    assert re.fullmatch("[0-9a-f]{16}", ASTEROID.key)


def with_recipe(spec: RunSpec, **changes: object) -> RunSpec:
    return replace(spec, recipe=replace(spec.recipe, **changes))


@pytest.mark.parametrize(
    "other",
    [
        replace(ASTEROID, seed=1),
        replace(ASTEROID, budget=7),
        replace(ASTEROID, inaccurate_budget=11),
        replace(ASTEROID, inaccurate="gfn2"),
        replace(ASTEROID, valid=6),
        replace(ASTEROID, test=9),
        replace(ASTEROID, method="asteroid-unweighted"),
        with_recipe(ASTEROID, identification=QUICK),
        with_recipe(ASTEROID, inaccurate=QUICK),
        with_recipe(ASTEROID, fine_tuning=QUICK),
        with_recipe(ASTEROID, gammas=(2.0,)),
        with_recipe(ASTEROID, model_config={**tiny.MODEL, "hidden": 24}),
    ],
    ids=lambda spec: spec.file_name,
)
def test_the_key_changes_with_what_decides_the_outcome(other):
    assert other.key != ASTEROID.key


INACCURATE = replace(ASTEROID, method="inaccurate", budget=0)
NO_WEIGHTS = replace(ASTEROID, method="asteroid-unweighted")
NO_TUNING = replace(ASTEROID, method="asteroid-not-tuned")


@pytest.mark.parametrize(
    ("spec", "same"),
    [
        (STANDARD, with_recipe(STANDARD, identification=QUICK, inaccurate=QUICK, fine_tuning=QUICK, gammas=(0.5, 9.0))),
        (STANDARD, replace(STANDARD, inaccurate="gfn2")),
        (STANDARD, replace(STANDARD, inaccurate_budget=20)),
        (INACCURATE, with_recipe(INACCURATE, accurate=QUICK, identification=QUICK, fine_tuning=QUICK, gammas=(9.0,))),
        (INACCURATE, replace(INACCURATE, budget=4)),
        (ASTEROID, with_recipe(ASTEROID, accurate=QUICK)),
        (NO_WEIGHTS, with_recipe(NO_WEIGHTS, accurate=QUICK, identification=QUICK, gammas=(9.0,))),
        (NO_TUNING, with_recipe(NO_TUNING, fine_tuning=QUICK)),
    ],
    ids=lambda spec: spec.method,
)
def test_what_a_method_does_not_use_is_no_part_of_its_key(spec, same):
    assert same.key == spec.key and same.file_name == spec.file_name


def test_the_key_changes_with_the_version_of_the_recipe(monkeypatch):
    before = STANDARD.key
    monkeypatch.setattr(runs, "RECIPE_VERSION", runs.RECIPE_VERSION + 1)
    assert STANDARD.key != before


def test_stage_one_is_the_standard_training_of_the_same_labels():
    assert ASTEROID.bias_identification.key == STANDARD.key
    assert replace(ASTEROID, inaccurate_budget=20).bias_identification == ASTEROID.bias_identification
    assert with_recipe(ASTEROID, identification=QUICK).bias_identification == with_recipe(
        STANDARD, identification=QUICK, accurate=QUICK
    )
    assert STANDARD.bias_identification is None
    assert replace(ASTEROID, method="asteroid-unweighted").bias_identification is None


def test_unknown_method_lists_the_known():
    with pytest.raises(ValueError, match="'magic'.*standard.*asteroid"):
        RunSpec(molecule="methanol", method="magic", budget=5)


def test_a_molecule_from_a_file_keeps_its_record_inside_the_store(tmp_path, store):
    path = tmp_path / "mine" / "methanol.npz"
    path.parent.mkdir()
    datasets.save(datasets.load("methanol", "ccsd(t)"), path)
    spec = replace(STANDARD, molecule=str(path))
    runs.run(spec, store, progress=False)
    assert len(list(store.folder.glob("*.json"))) == 1
    assert store.get(spec).key == spec.key


# Records


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Store, Record]:
    store = Store(tmp_path_factory.mktemp("store"))
    return store, runs.run(ASTEROID, store, progress=False)


def test_a_record_reads_back_as_it_was_written(made, tmp_path):
    _, record = made
    other = Store(tmp_path)
    other.put(record)
    assert other.get(ASTEROID) == record
    assert len(list(tmp_path.iterdir())) == 1


def test_what_a_record_says(made):
    store, record = made
    assert record.spec == ASTEROID and record.key == ASTEROID.key and record.gamma == 1.0
    assert set(record.errors) == {"force_mae", "force_mae_std_error", "force_rmse", "energy_mae"}
    assert len(record.bias_quantiles) == 7 and list(record.bias_quantiles) == sorted(record.bias_quantiles)
    assert len(record.histories) == 2 and record.seconds > 0 and record.threads >= 1
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", record.date)
    assert set(record.label_seconds) == {"accurate", "inaccurate"}
    size = (store.folder / ASTEROID.file_name).stat().st_size
    assert size < 20_000
    _, force = ForceField.load(store.force_field_path(ASTEROID)).energy_and_force(runs.split_of(ASTEROID).test.pos)
    error = (force - runs.split_of(ASTEROID).test.force).abs().mean()
    assert record.errors["force_mae"] == pytest.approx(float(error), rel=1e-9)


@pytest.mark.parametrize("content", ["", "{", "[]", "3", '{"spec": 1}', "null"])
def test_a_damaged_record_is_refused_by_name(content, store):
    store.folder.mkdir()
    (store.folder / STANDARD.file_name).write_text(content)
    with pytest.raises(ValueError, match=f"{STANDARD.file_name} is damaged.*delete it"):
        store.get(STANDARD)


def test_the_record_of_another_run_is_refused(made, store):
    old = (made[0].folder / ASTEROID.file_name).read_text()
    store.folder.mkdir()
    (store.folder / STANDARD.file_name).write_text(old)
    with pytest.raises(ValueError, match="damaged"):
        store.get(STANDARD)


@pytest.mark.parametrize("step", ["write_text", "replace"])
def test_a_failed_write_leaves_the_older_record(step, made, store, monkeypatch):
    path, record = store.put(made[1]), replace(made[1], seconds=99.0)
    before = path.read_text()

    def full_disk(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((Path, "write_text") if step == "write_text" else (os, "replace")), full_disk)
    with pytest.raises(OSError, match=f"No space left.*{path.name}"):
        store.put(record)
    monkeypatch.undo()
    assert path.read_text() == before and list(store.folder.iterdir()) == [path]


def test_the_table_has_a_row_for_each_record(made):
    table = runs.table([made[1], made[1]])
    expected = (
        "molecule method accurate inaccurate budget inaccurate_budget seed model force_mae energy_mae gamma seconds"
    )
    assert len(table) == 2 and set(expected.split()) <= set(table.columns)
    row = table.iloc[0]
    assert (row["method"], row["budget"], row["inaccurate_budget"], row["model"]) == ("asteroid", 6, 10, "egnn")
    assert row["force_mae"] == made[1].errors["force_mae"]
    assert row["accurate_label_seconds"] == made[1].label_seconds["accurate"]


# Sweeps


def test_a_sweep_makes_what_is_missing_and_nothing_twice(store, trainings):
    other = replace(STANDARD, budget=8)
    first = sweep([STANDARD, STANDARD], store)
    assert trainings == ["ccsd(t)"] and [record.spec for record in first] == [STANDARD, STANDARD]
    records = sweep([other, STANDARD], store)
    assert trainings == ["ccsd(t)"] * 2 and [record.spec for record in records] == [other, STANDARD]
    sweep([other, STANDARD], store)
    assert len(trainings) == 2
    assert not list(store.folder.glob("work/*")) and not list(store.folder.glob("**/*.tmp"))


def test_stage_one_is_trained_once_for_several_amounts_of_inaccurate_labels(store, trainings):
    specs = [
        ASTEROID,
        replace(ASTEROID, inaccurate_budget=15),
        replace(ASTEROID, method="asteroid-not-tuned"),
        STANDARD,
    ]
    assert len(sweep(specs, store)) == 4
    assert sorted(trainings) == sorted(["ccsd(t)"] + 2 * ["pbe", "ccsd(t)"] + ["pbe"])


def test_a_shared_stage_one_gives_what_the_whole_chain_alone_gives(store, tmp_path):
    shared = sweep([replace(ASTEROID, inaccurate_budget=15), ASTEROID], store)[1]
    alone = runs.run(ASTEROID, Store(tmp_path / "alone"), progress=False)
    assert numbers(shared) == numbers(alone)


def test_the_force_field_of_a_recorded_run_is_trained_anew_in_a_clone(made, store):
    old = made[0].force_field_path(ASTEROID)
    store.put(made[1])  # a clone has the records only
    again = runs.force_field(ASTEROID, store, progress=False)
    pos = runs.split_of(ASTEROID).test.pos
    assert again.energy_and_force(pos)[1].equal(ForceField.load(old).energy_and_force(pos)[1])


def test_a_deleted_record_is_made_again_though_the_force_field_is_there(store):
    """Also the state that a kill between the two writes leaves."""
    (before,) = sweep([STANDARD], store)
    (store.folder / STANDARD.file_name).unlink()
    (again,) = sweep([STANDARD], store)
    assert numbers(again) == numbers(before)


def failing(monkeypatch, budget: int, error: Exception, times: int) -> list[int]:
    """Trainings on so many accurate labels fail so many times; returns the sizes of all trainings."""
    original, seen = training.fit, []

    def fit(model, train, *args, **options):
        seen.append(len(train))
        if len(train) == budget and seen.count(budget) <= times:
            raise error
        return original(model, train, *args, **options)

    monkeypatch.setattr(training, "fit", fit)
    return seen


def test_a_run_that_fails_twice_is_made_at_the_third_attempt(store, monkeypatch):
    seen = failing(monkeypatch, 6, OSError("the disk was away"), times=2)
    assert len(sweep([STANDARD], store)) == 1 and seen == [6, 6, 6]
    assert not (store.folder / "failures").exists()


def test_a_run_that_fails_for_good_is_written_down_and_the_others_are_made(store, monkeypatch):
    other = replace(STANDARD, budget=8)
    seen = failing(monkeypatch, 6, OSError("the disk was away"), times=100)
    with pytest.warns(UserWarning, match="failed and is left out.*the disk was away"):
        records = sweep([STANDARD, other], store)
    assert [record.spec for record in records] == [other] and seen.count(6) == 3
    failure = json.loads((store.folder / "failures" / STANDARD.file_name).read_text())
    assert failure["spec"]["budget"] == 6 and "the disk was away" in failure["error"]

    monkeypatch.undo()  # mended: the next sweep makes the run, and the note of the failure goes
    assert len(sweep([STANDARD, other], store)) == 2
    assert not list((store.folder / "failures").iterdir())


@pytest.mark.filterwarnings("ignore:a run failed:UserWarning")
def test_runs_whose_stage_one_failed_do_not_each_train_it_again(store, monkeypatch):
    seen = failing(monkeypatch, 6, training.TrainingDiverged("NaN"), times=100)
    assert sweep([ASTEROID, replace(ASTEROID, inaccurate_budget=15)], store) == []
    assert len(seen) <= 3


def test_a_run_that_cannot_be_is_refused_before_anything_is_trained(store, trainings):
    with pytest.raises(ValueError, match="budget"):
        sweep([STANDARD, replace(STANDARD, budget=100_000)], store)
    assert trainings == []


SWEEP = """
import sys
sys.path.insert(0, sys.argv[1])
import test_runs
from asteroid import runs
if __name__ == "__main__":
    print(len(runs.sweep(test_runs.MANY, runs.Store(sys.argv[2]), progress=False)), flush=True)
"""
LONGER = replace(tiny.RECIPE, accurate=replace(tiny.TRAIN, steps=60))
MANY = [replace(ASTEROID, recipe=LONGER), *[replace(STANDARD, seed=seed, recipe=LONGER) for seed in range(1, 6)]]


def test_a_sweep_that_was_killed_goes_on_with_the_same_numbers(store, tmp_path):
    """Some runs by processes, killed in the middle, and the others by a thread, against all by a thread."""
    program = tmp_path / "program.py"
    program.write_text(SWEEP)
    command = [sys.executable, str(program), str(Path(__file__).parent), str(store.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        deadline = time.monotonic() + 60
        while not list(store.folder.glob("*.json")) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        output = process.stdout.read()  # ends when the last worker has gone too
    done = {path.name: path.read_text() for path in store.folder.glob("*.json")}
    assert process.returncode == -signal.SIGKILL and 0 < len(done) < 1 + len(MANY), output
    records = sweep(MANY, store)
    assert done == {name: (store.folder / name).read_text() for name in done}  # nothing finished was made again
    expected = sweep(MANY, Store(tmp_path / "thread"))
    assert [numbers(record) for record in records] == [numbers(record) for record in expected]
    assert len(records) == len(MANY) and not list(store.folder.glob("work/*"))
