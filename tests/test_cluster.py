"""Sweeps on a Dask cluster: a scheduler and worker processes of this machine."""

import os
import subprocess
import sys
from concurrent.futures import BrokenExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from test_sweeps import LONGER, failing, numbers, sweep
from tiny import ASTEROID, STANDARD

from asteroid import training
from asteroid.runs import Store, sweeps
from asteroid.training import forces

pytest.importorskip("distributed", reason="Dask is not installed: `pip install -c constraints.txt dask distributed`")

MANY = [replace(ASTEROID, recipe=LONGER), *[replace(STANDARD, seed=seed, recipe=LONGER) for seed in range(1, 4)]]
STEPS = 3 * 12 + 3 * 60  # of all trainings

PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import test_cluster
from asteroid import runs
from asteroid.runs import sweeps
from distributed import Client, LocalCluster

if __name__ == "__main__":
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "silence_logs": "ERROR"}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        client.run(test_cluster.make_one_worker_lethal, sys.argv[2], sys.argv[3])
        print(len(sweeps.sweep(test_cluster.MANY, runs.Store("results"), client.get_executor(), progress=False)))
"""


def make_one_worker_lethal(folder: str, log: str) -> None:
    """In a worker: after 30 steps of a training its process kills itself if two records are there and none has yet."""
    training.loop.CHECKPOINT_SECONDS = 0  # one after each step
    original, log, mark = forces.training_step, Path(log), Path(log).with_suffix(".killed")

    def training_step(*args):
        step, taken = original(*args), []

        def counted(*batch):
            taken.append(batch)
            if len(taken) == 30 and len(list(Path(folder).glob("*.json"))) >= 2 and not mark.exists():
                mark.write_text(str(os.getpid()))
                os.kill(os.getpid(), 9)
            with log.open("a") as file:
                file.write(".")
            return step(*batch)

        return counted

    forces.training_step = training_step


def test_a_worker_that_is_killed_costs_the_steps_since_its_last_checkpoint(tmp_path):
    """Halfway through a training: no record is missing, the numbers are those of one thread, and no process is left."""
    program, log, store = tmp_path / "program.py", tmp_path / "steps", Store(tmp_path / "results")
    program.write_text(PROGRAM)
    command = [sys.executable, "-W", "error", str(program), str(Path(__file__).parent), str(store.folder), str(log)]
    # Its output ends when the last process that has it has gone; a relative folder is meant where the sweep is started.
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, f"{len(MANY)}\n"), done.stderr
    assert done.stderr == ""
    assert log.with_suffix(".killed").exists() and len(log.read_text()) == STEPS  # no step was made twice
    expected = sweep(MANY, Store(tmp_path / "thread"))
    assert [numbers(store.get(spec)) for spec in MANY] == [numbers(record) for record in expected]
    assert not list(store.folder.glob("work/*")) and not (store.folder / "failures").exists()


@pytest.fixture
def client():
    """Of a scheduler with a worker in this process, so that what a test has replaced is used."""
    import dask
    from distributed import Client

    soon = dask.config.set({"distributed.comm.timeouts.connect": "1s"})  # of a scheduler that has ended
    with soon, Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=None) as client:
        yield client


def test_a_run_that_fails_twice_is_made_at_the_third_attempt(client, tmp_path, monkeypatch):
    """Dask would give the same failure three times, and make the run once, if the attempts were equal calls."""
    seen = failing(monkeypatch, 6, OSError("the disk was away"), times=2)
    assert len(sweeps.sweep([STANDARD], Store(tmp_path), client.get_executor(), progress=False)) == 1
    assert seen == [6, 6, 6]


def test_the_end_of_the_scheduler_ends_the_sweep(client, tmp_path, monkeypatch):
    original = training.fit

    def fit(*args, **options):
        client.loop.add_callback(client.cluster.scheduler.close)
        return original(*args, **options)

    monkeypatch.setattr(training, "fit", fit)
    with pytest.raises(BrokenExecutor, match="has its scheduler ended"):
        sweeps.sweep([STANDARD, replace(STANDARD, seed=1)], Store(tmp_path), client.get_executor(), progress=False)
