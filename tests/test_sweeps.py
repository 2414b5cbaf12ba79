"""Sweeps: everything is made, nothing twice, and nothing is lost."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny
from tiny import ASTEROID, STANDARD

from asteroid import __main__ as command
from asteroid import profiles, runs, training
from asteroid.datasets import sources
from asteroid.planning import rounds
from asteroid.runs import Record, RunSpec, Store, sweeps
from asteroid.runs.methods import METHODS


def sweep(specs: list[RunSpec], store: Store) -> list[Record]:
    """In this process, so that what a test has replaced is used."""
    with ThreadPoolExecutor(1) as executor:
        return sweeps.sweep(specs, store, executor, progress=False)


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
        calls.extend(one.level for one in training.as_list(train))
        return original(model, train, *args, **options)

    monkeypatch.setattr(training, "fit", counted)
    return calls


def test_a_sweep_that_trains_nothing_returns_what_is_recorded(store, trainings):
    other = replace(STANDARD, budget=8)
    sweep([STANDARD], store)
    assert [record.spec for record in sweeps.sweep([other, STANDARD], store, train=False)] == [STANDARD]
    assert len(trainings) == 1 and store.get(other) is None


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
        replace(ASTEROID, method="asteroid-not-tuned"),  # the stage 2 of the first
        STANDARD,
    ]
    assert len(sweep(specs, store)) == 4
    assert sorted(trainings) == sorted(["ccsd(t)"] + 2 * ["pbe", "ccsd(t)"])


def test_stage_two_is_trained_once_for_several_stages_three(store, trainings):
    specs = [tiny.with_recipe(ASTEROID, fine_tuning=replace(tiny.TRAIN, steps=steps)) for steps in (2, 3, 4)]
    sweep(specs, store)
    assert sorted(trainings) == sorted(["ccsd(t)", "pbe"] + 3 * ["ccsd(t)"])
    sweep([replace(ASTEROID, method="asteroid-unweighted"), replace(ASTEROID, method="inaccurate")], store)
    assert trainings[5:] == ["pbe", "ccsd(t)"]


def test_a_shared_stage_one_gives_what_the_whole_chain_alone_gives(store, tmp_path):
    shared = sweep([replace(ASTEROID, inaccurate_budget=15), ASTEROID], store)[1]
    alone = runs.run(ASTEROID, Store(tmp_path / "alone"), progress=False)
    assert numbers(shared) == numbers(alone)


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
        seen.append(sum(map(len, training.as_list(train))))
        if seen[-1] == budget and seen.count(budget) <= times:
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


def test_a_store_that_takes_nothing_ends_the_sweep_with_one_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="a run failed .*Not a directory.*its failure could not be written.*file/results"):
        sweep([STANDARD, replace(STANDARD, budget=8)], Store(tmp_path / "file" / "results"))


@pytest.mark.filterwarnings("ignore:a run failed:UserWarning")
def test_runs_whose_stage_one_failed_do_not_each_train_it_again(store, monkeypatch):
    seen = failing(monkeypatch, 6, training.TrainingDiverged("NaN"), times=100)
    assert sweep([ASTEROID, replace(ASTEROID, inaccurate_budget=15)], store) == []
    assert len(seen) <= 3


def test_a_run_that_cannot_be_is_refused_before_anything_is_trained(store, trainings):
    with pytest.raises(ValueError, match="budget"):
        sweep([STANDARD, replace(STANDARD, budget=100_000)], store)
    assert trainings == []


def test_runs_whose_labels_are_not_here_are_left_out_with_one_warning(store, trainings, tmp_path, monkeypatch):
    """Nothing is downloaded; the others are made, and what is recorded is shown."""

    def refused(*args):
        raise AssertionError("a download was tried")

    monkeypatch.setenv("ASTEROID_MD17", str(tmp_path))
    sources.pyg_md17()  # importing it here would warn
    monkeypatch.setattr("torch_geometric.datasets.md17.download_url", refused)
    absent = [replace(STANDARD, molecule="md17:ethanol", seed=seed) for seed in range(3)]
    with pytest.warns(UserWarning, match=r"2 runs .*labels are not on this machine \(md17:ethanol\)") as caught:
        (first,) = sweep([STANDARD], store)
        store.put(replace(first, spec=absent[0], key=absent[0].key, data={"ccsd(t) of ethanol": "0" * 16}))
        records = sweep([*absent, STANDARD, replace(STANDARD, budget=8)], store)
    assert len(caught) == 1 and trainings == ["ccsd(t)"] * 2
    assert [record.spec for record in records] == [absent[0], STANDARD, replace(STANDARD, budget=8)]


SWEEP = """
import sys
sys.path.insert(0, sys.argv[1])
import test_sweeps
from asteroid import runs
from asteroid.runs import sweeps
from asteroid.runs.methods import METHODS
if __name__ == "__main__":
    print(len(sweeps.sweep(test_sweeps.MANY, runs.Store(sys.argv[2]), progress=False)), flush=True)
"""
LONGER = replace(tiny.RECIPE, accurate=replace(tiny.TRAIN, steps=60))
MANY = [replace(ASTEROID, recipe=LONGER), *[replace(STANDARD, seed=seed, recipe=LONGER) for seed in range(1, 6)]]


def test_a_sweep_that_was_killed_goes_on_with_the_same_numbers(store, tmp_path):
    """Some runs by processes, killed in the middle, and the others by a thread, against all by a thread."""
    program = tmp_path / "program.py"
    program.write_text(SWEEP)
    command = [sys.executable, str(program), str(Path(__file__).parent), str(store.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        deadline = time.monotonic() + 300
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


def test_without_progress_a_sweep_prints_nothing(store, capsys):
    sweep([STANDARD], store)
    assert capsys.readouterr() == ("", "")


def test_where_no_bar_is_shown_a_sweep_prints_a_line_for_each_run(store, capsys, monkeypatch):
    monkeypatch.setenv("ASTEROID_QUIET", "1")
    with ThreadPoolExecutor(1) as executor:
        sweeps.sweep([STANDARD, replace(STANDARD, budget=8)], store, executor)
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "0 of 2 runs are recorded; 2 trainings to do" and len(lines) == 2
    assert STANDARD.file_name in lines[0]


class Broken(Executor):
    """Makes so many runs, and loses what is submitted then."""

    def __init__(self, makes: int = 0):
        self.makes = makes

    def submit(self, function, *args) -> Future:
        future = Future()
        if self.makes > 0:
            future.set_result(function(*args))
        else:
            future.set_exception(BrokenExecutor("the workers are gone"))
        self.makes -= 1
        return future


def test_a_given_executor_that_breaks_is_the_callers_to_mend(store):
    with pytest.raises(BrokenExecutor, match="the workers are gone"):
        sweeps.sweep([STANDARD], store, Broken(), progress=False)


class Elsewhere(Executor):
    """A worker of another machine: in another current folder, with a store of its own unless the folder is shared."""

    def __init__(self, folder: Path, shared: bool, **other: object):
        self.folder, self.shared, self.other = folder, shared, other

    def submit(self, function, spec, store, key, data, call) -> Future:
        future, back = Future(), Path.cwd()
        os.chdir(self.folder)
        try:
            there = store if self.shared else Store(self.folder / "own")
            future.set_result(function(spec, there, self.other.get("key", key), self.other.get("data", data), call))
        except Exception as error:
            future.set_exception(error)
        finally:
            os.chdir(back)
        return future


@pytest.mark.parametrize("shared", [True, False])
def test_a_relative_folder_is_that_of_the_sweep_and_no_record_stays_elsewhere(shared, tmp_path, monkeypatch):
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (record,) = sweeps.sweep([STANDARD], Store("results"), Elsewhere(tmp_path / "there", shared), progress=False)
    assert record.spec == STANDARD and (tmp_path / "here/results" / STANDARD.file_name).exists()
    assert list((tmp_path / "there").iterdir()) == ([] if shared else [tmp_path / "there/own"])


@pytest.mark.filterwarnings("ignore:a run failed:UserWarning")
@pytest.mark.parametrize("other", [{"key": "0" * 16}, {"data": {"ccsd(t) of methanol": "0" * 16}}], ids=str)
def test_a_worker_with_other_labels_or_another_version_makes_nothing(other, store, tmp_path, trainings):
    assert sweeps.sweep([STANDARD], store, Elsewhere(tmp_path, True, **other), progress=False) == []
    failure = json.loads((store.folder / "failures" / STANDARD.file_name).read_text())
    assert "are not those with which the sweep was started" in failure["error"] and trainings == []


def test_a_process_makes_one_run_at_a_time(store, monkeypatch):
    """Initial weights come from the process's own seed, which two trainings at once would share."""
    under_way, most, original = [], [], training.fit

    def fit(*args, **options):
        under_way.append(None)
        most.append(len(under_way))
        time.sleep(0.05)
        fitted = original(*args, **options)
        under_way.pop()
        return fitted

    monkeypatch.setattr(training, "fit", fit)
    with ThreadPoolExecutor(3) as executor:
        sweeps.sweep([replace(STANDARD, seed=seed) for seed in range(3)], store, executor, progress=False)
    assert most == [1, 1, 1]


def test_an_interrupt_drops_what_a_given_executor_has_not_begun(store, monkeypatch):
    def as_completed(futures):
        raise KeyboardInterrupt

    monkeypatch.setattr(sweeps, "as_completed", as_completed)
    with ThreadPoolExecutor(1) as executor, pytest.raises(KeyboardInterrupt):
        sweeps.sweep([replace(STANDARD, seed=seed) for seed in range(9)], store, executor, progress=False)
    assert len(list(store.folder.glob("*.json"))) < 9


@pytest.mark.filterwarnings("ignore:a process of the sweep died:UserWarning")
@pytest.mark.parametrize("makes", [[0, 0, 0, 0], [0, 0, 1, 0, 0, 0]])
def test_a_pool_that_breaks_again_and_again_ends_the_sweep(makes, store, monkeypatch):
    """After three new pools in a row; a run that one of them finished starts the count anew."""
    pools = [Broken(number) for number in makes]
    monkeypatch.setattr(sweeps, "local_pool", lambda runs: pools.pop(0))
    with pytest.raises(RuntimeError, match="died 4 times in a row.*memory.*fewer workers"):
        sweeps.sweep([STANDARD, replace(STANDARD, budget=8)], store, progress=False)
    assert not pools and len(list(store.folder.glob("*.json"))) == sum(makes)


INTERRUPTED = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it, and so would Python
sys.path.insert(0, sys.argv[1])
from dataclasses import replace
import tiny
from asteroid import runs
from asteroid.runs import sweeps
ENDLESS = replace(tiny.RECIPE, accurate=replace(tiny.TRAIN, steps=10**7))
if __name__ == "__main__":
    specs = [tiny.STANDARD, *[replace(tiny.STANDARD, seed=seed, recipe=ENDLESS) for seed in range(8)]]
    try:
        sweeps.sweep(specs, runs.Store(sys.argv[2]), progress=False)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


def test_an_interrupt_ends_the_runs_under_way_and_those_that_wait(store, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(INTERRUPTED)
    command = [sys.executable, str(program), str(Path(__file__).parent), str(store.folder)]
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, start_new_session=True, **output) as process:
        try:
            deadline = time.monotonic() + 300  # on a busy machine the processes take long to start
            while store.get(STANDARD) is None and time.monotonic() < deadline:
                time.sleep(0.02)
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does
            assert process.communicate(timeout=120)[0] == "interrupted\n"
        finally:
            process.kill()


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import test_sweeps
from asteroid import runs, training
from asteroid.runs import sweeps
from asteroid.training import forces

training.loop.CHECKPOINT_SECONDS = 0.05
original, mark = forces.training_step, Path(sys.argv[3])

def training_step(*args):
    step, taken = original(*args), []
    def lethal(*batch):
        taken.append(batch)
        if len(taken) == 30 and len(list(Path(sys.argv[2]).glob("*.json"))) >= 2 and not mark.exists():
            mark.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return step(*batch)
    return lethal

forces.training_step = training_step
if __name__ == "__main__":
    sweeps.sweep(test_sweeps.MANY, runs.Store(sys.argv[2]), progress=False)
"""


def test_a_worker_that_is_killed_costs_nothing_but_a_new_pool(store, tmp_path):
    """Killed halfway through a training, after two runs: all are there at the end, with the numbers of one thread."""
    program, mark = tmp_path / "program.py", tmp_path / "killed"
    program.write_text(KILLED)
    command = [sys.executable, str(program), str(Path(__file__).parent), str(store.folder), str(mark)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stdout == "", done.stderr
    assert mark.exists() and done.stderr.count("a process of the sweep died") == 1
    assert done.stderr.count("Warning") == 1
    records = [store.get(spec) for spec in MANY]
    expected = sweep(MANY, Store(tmp_path / "thread"))
    assert [numbers(record) for record in records] == [numbers(record) for record in expected]
    assert not list(store.folder.glob("work/*")) and not list(store.folder.glob("**/*.tmp"))


# The command line


@pytest.fixture
def smoke(tmp_path, monkeypatch) -> Store:
    """Where the command line finds the profile smoke, cut down to two tiny runs of this process."""
    planner = SimpleNamespace(rounds=SimpleNamespace(molecules=["ethanol"]))
    profile = SimpleNamespace(name="smoke", recipes={"egnn": tiny.RECIPE}, planner=planner)
    profile.shown = lambda: [STANDARD, ASTEROID]
    profile.low_resource = lambda method, model: [one for one in (STANDARD, ASTEROID) if one.method == method]
    profile.compared = lambda model: {"standard": [STANDARD]}
    profile.few_specs = lambda method, model: []
    profile.rival_specs = dict
    monkeypatch.setattr(profiles, "load", lambda name: profile)
    monkeypatch.setattr(command, "root", lambda: tmp_path)
    monkeypatch.setattr(sweeps, "local_pool", lambda runs: ThreadPoolExecutor(1))
    monkeypatch.setattr(rounds, "compare", lambda profile, molecule, store: (store.folder / molecule).touch())
    return Store(tmp_path / "results" / "smoke")


def test_the_command_line_makes_the_runs_of_a_profile(smoke):
    assert tiny.shell("sweep", "--profile", "smoke").exit_code == 0
    assert smoke.get(STANDARD) is not None and smoke.get(ASTEROID) is not None
    assert (smoke.folder / "ethanol").exists()  # rounds


def test_the_command_line_makes_the_main_comparison_first_and_then_seed_by_seed(smoke, monkeypatch):
    def seeds(spec):
        return [replace(spec, seed=seed) for seed in (0, 1)]

    main, rest = [*seeds(STANDARD), *seeds(ASTEROID)], seeds(replace(STANDARD, budget=8))
    profile, asked = profiles.load("smoke"), []
    profile.shown = lambda: [*rest, *main]
    profile.low_resource = lambda method, model: [one for one in main if one.method == method]
    monkeypatch.setattr(sweeps, "sweep", lambda specs, store: asked.append(specs) or specs)
    monkeypatch.setattr(rounds, "compare", lambda profile, molecule, store: None)
    tiny.shell("sweep", "--profile", "smoke")
    assert [set(part) for part in asked] == [set(main), {rest[0]}, {rest[1]}]


@pytest.mark.filterwarnings("ignore:a run failed:UserWarning")
def test_the_command_line_says_how_many_runs_failed_and_exits_with_one(smoke, monkeypatch):
    failing(monkeypatch, 9, training.TrainingDiverged("NaN"), times=100)  # stage 2, which holds out one label of ten
    done = tiny.shell("sweep", "--profile", "smoke")
    assert done.exit_code == 1 and re.search("1 of 2 runs failed, see .*failures", done.stderr)
    assert smoke.get(STANDARD) is not None


def test_what_lacks_a_package_is_left_out_with_a_line_unless_it_is_recorded(smoke, monkeypatch):
    monkeypatch.setitem(METHODS, "sgdml", replace(METHODS["sgdml"], missing=lambda: "get it"))
    ways = {"kernel": [replace(STANDARD, method="sgdml")], "standard": [STANDARD]}
    assert sweeps.missing(ways, smoke) == {"kernel": "get it"}
    profiles.load("smoke").compared = lambda model: ways
    assert tiny.shell("sweep", "--profile", "smoke").stdout.count("left out: get it\n") == 1
    assert smoke.get(STANDARD) is not None and smoke.get(ways["kernel"][0]) is None
    monkeypatch.setattr(smoke, "get", lambda spec: "a record")
    assert sweeps.missing(ways, smoke) == {}


def test_the_command_line_refuses_an_unknown_profile_in_one_line():
    command = [sys.executable, "-m", "asteroid", "sweep", "--profile", "desktop"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == f"Error: unknown profile 'desktop'; known: {', '.join(profiles.names())}\n"
