"""Many runs: what the store does not have is made by processes or a cluster, and no failure costs more than one run."""

import json
import threading
import time
import traceback
import uuid
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict

from tqdm import tqdm

from asteroid import machine, processes
from asteroid.machine import progress_bar
from asteroid.runs.make import force_field, run
from asteroid.runs.methods import METHODS
from asteroid.runs.records import Record, Store
from asteroid.runs.spec import RunSpec, fingerprints, split_of

ATTEMPTS = 3  # at a run
# Errors that every further attempt would meet again.
LASTING = (ValueError, TypeError, ArithmeticError, ImportError, FileNotFoundError)
NEW_POOLS = 3  # in a row, without a run that ended
_one_at_a_time = threading.Lock()  # in a process: initial weights are drawn from a seed that is its own


def sweep(
    specs: Iterable[RunSpec],
    store: Store,
    executor: Executor | None = None,
    progress: bool = True,
    train: bool = True,
) -> list[Record]:
    """Make every run that the store does not have yet, and return the records of all.

    What several runs build on, such as the standard training of their stage 1, is made first, once. A run that fails is
    tried twice more, but not after a ValueError, TypeError, ArithmeticError, ImportError or FileNotFoundError (wrong
    settings or labels, a training that diverged, a package or its weights missing), which would come again. Then the
    failure is written to the store's `failures` folder, a warning names it, and the sweep goes on. Where a process of
    the default pool dies, a warning says so and a new pool goes on from the checkpoints. Runs whose labels are not on
    this machine are left out, with one warning; nothing is downloaded here.

    Args:
        specs: the runs.
        store: where records are kept.
        executor: any concurrent.futures executor, of a Dask cluster `Client(...).get_executor()`; by default a pool of
            processes that share the cores, for which a script calls this below `if __name__ == "__main__":`. A worker
            makes one run at a time, whatever the number of its threads.
        progress: say what is to do and show a bar, or print a line for each run where no bar can be shown. False
            prints nothing; warnings stay.
        train: False makes none: a page of a profile that takes days shows what is recorded.

    Returns:
        The records, in the order of `specs`, without the runs that failed and those whose labels are not here.

    Raises:
        ValueError: if the labels do not suffice for a run, or a record is damaged; before anything is trained.
        OSError: if the store can take neither a run nor its failure, as on a full disk.
        RuntimeError: if processes of the default pool die again and again before a run has ended.
        BrokenExecutor: if the given executor has broken, or has dropped a run, as Dask's does when its scheduler ends.
    """
    specs = list(specs)
    missing = [spec for spec in dict.fromkeys(specs) if train and store.get(spec) is None]
    absent = {spec for spec in missing if fingerprints(spec) is None}
    if absent:
        warnings.warn(
            f"{len(absent)} runs are not recorded in {store.folder}, and their labels are not on this machine "
            f"({', '.join(sorted({spec.molecule for spec in absent}))}): they are left out. "
            f"`python -m asteroid sweep --profile {store.folder.name}` gets the labels and makes them",
            stacklevel=2,
        )
    to_make = [spec for spec in missing if spec not in absent]
    for spec in to_make:
        split_of(spec)  # what its labels do not suffice for should fail before anything is trained
    total = sum(map(len, waves(to_make, store)))
    if total:
        if progress:
            print(f"{len(specs) - len(missing)} of {len(specs)} runs are recorded; {total} trainings to do", flush=True)
        with progress_bar("sweep" if progress else None, total=total, unit="run", smoothing=0) as bar:
            under_way = _Sweep(to_make, store, bar, lines=progress and bar.disable)
            if executor is None:
                under_way.run_in_processes()
            else:
                try:
                    under_way.run(executor)
                finally:
                    # After an interrupt, what waits is dropped; what is under way has checkpoints.
                    for future in under_way.pending:
                        future.cancel()
    return [record for spec in specs if (record := store.get(spec)) is not None]


def missing(ways: Mapping[str, Iterable[RunSpec]], store: Store) -> dict[str, str]:
    """What this machine lacks for groups of runs, in a line each with the command that gets it.

    Args:
        ways: groups by name.
        store: a group whose records are all there lacks nothing.

    Returns:
        By name, only of those that lack something.
    """
    to_make = {name: {spec.method for spec in specs if store.get(spec) is None} for name, specs in ways.items()}
    lacking = {method: METHODS[method].missing() for method in sorted(set().union(*to_make.values()))}
    return {name: why for name, methods in to_make.items() for method in methods if (why := lacking[method])}


def local_pool(runs: int) -> ProcessPoolExecutor:
    """Processes for so many runs, with a share of the cores each; they end with this process."""
    return processes.pool(runs, _start_worker)


class _Sweep:
    """A sweep under way: the runs that failed, and what there is to see of it."""

    def __init__(self, specs: list[RunSpec], store: Store, bar: tqdm, lines: bool):
        self.specs, self.store, self.bar, self.lines = specs, store, bar, lines
        self.failed: set[str] = set()  # keys
        self.pending: dict[Future, RunSpec] = {}

    def run_in_processes(self) -> None:
        """Make what is missing in a pool of our own, and in a new one whenever a process of it was killed."""
        deaths, left = 0, self._left()
        while left:
            pool = local_pool(left)
            try:
                with processes.ended_on_interrupt():
                    self.run(pool)
            except BrokenExecutor as error:
                pool.shutdown()  # until its processes have gone, so that no run is made by two
                before, left = left, self._left()
                deaths = deaths + 1 if left == before else 1
                if deaths > NEW_POOLS:
                    raise RuntimeError(
                        f"processes of the sweep died {deaths} times in a row before a run ended. Was it for want of "
                        "memory? Close other programs or pass an executor with fewer workers; the same sweep goes on "
                        "from the checkpoints. Could they not start? Then call sweep from a file, below "
                        "`if __name__ == '__main__':`."
                    ) from error
                self.bar.update(self.bar.total - left - self.bar.n)
                warnings.warn("a process of the sweep died; new ones go on with what is missing", stacklevel=3)
            else:
                pool.shutdown()
                left = 0
            finally:
                # The pool itself drops what waits: cancelled here, a future may meet the pool's own end of it, when
                # the workers die of the same interrupt.
                pool.shutdown(wait=False, cancel_futures=True)

    def run(self, executor: Executor) -> None:
        """Make what is missing, and note what fails."""
        for wave in waves(self.specs, self.store, self.failed):
            pending = self.pending = {}
            for spec in wave:
                lacking = [one.file_name for one in spec.builds_on if one.key in self.failed]
                if lacking:
                    self._note_failure(spec, RuntimeError(f"what it builds on failed: {', '.join(lacking)}"))
                else:
                    pending[self._submit(executor, spec)] = spec
            attempts = Counter(pending.values())
            while pending:
                for future in as_completed(list(pending)):
                    spec = pending.pop(future)
                    if future.cancelled():
                        raise BrokenExecutor("the executor dropped a run: has its scheduler ended?")
                    error = future.exception()
                    if isinstance(error, BrokenExecutor):
                        raise error
                    if error is None:
                        self._note_success(spec, *future.result())
                    elif attempts[spec] < ATTEMPTS and not isinstance(error, LASTING):
                        attempts[spec] += 1
                        pending[self._submit(executor, spec)] = spec
                    else:
                        self._note_failure(spec, error)

    def _submit(self, executor: Executor, spec: RunSpec) -> Future:
        # A worker elsewhere has another current folder. And Dask takes equal calls for one: a further attempt would get
        # the failure of the one before.
        store, call = Store(self.store.folder.absolute()), uuid.uuid4().hex
        return executor.submit(_run_quietly, spec, store, spec.key, fingerprints(spec), call)

    def _left(self) -> int:
        return sum(map(len, waves(self.specs, self.store, self.failed)))

    def _note_success(self, spec: RunSpec, record: Record, seconds: float) -> None:
        self.bar.update()
        if self.store.get(spec) is None:  # a worker elsewhere has its own folder, or the shared one lags behind
            self.store.put(record)
        (self.store.folder / "failures" / spec.file_name).unlink(missing_ok=True)
        if self.lines:
            print(f"{seconds:6.1f} s  {spec.file_name}", flush=True)

    def _note_failure(self, spec: RunSpec, error: BaseException) -> None:
        self.bar.update()
        self.failed.add(spec.key)
        path = self.store.folder / "failures" / spec.file_name
        note = {"spec": asdict(spec), "error": "".join(traceback.format_exception(error))}
        why = f"{type(error).__name__}: {error}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")
        except OSError as full:
            message = f"a run failed ({why}), and its failure could not be written: {full.strerror}"
            raise OSError(full.errno, message, str(path)) from None
        warnings.warn(f"a run failed and is left out ({why}); see {path}", stacklevel=4)


def waves(specs: list[RunSpec], store: Store, failed: Iterable[str] = ()) -> list[list[RunSpec]]:
    """What is to be trained, each key once and none that has failed: first what others build on, last the runs."""
    wave = {spec.key: spec for spec in specs if store.get(spec) is None and spec.key not in failed}
    waves = []
    while wave:
        # What this wave builds on belongs to an earlier one, though it may have been asked for as well.
        earlier = {one.key: one for spec in wave.values() for one in spec.builds_on}
        earlier = {key: one for key, one in earlier.items() if not store.has_force_field(one) and key not in failed}
        waves = [list(wave.values()), *([one for one in later if one.key not in wave] for later in waves)]
        wave = earlier
    return waves


def _start_worker(threads: int) -> None:
    machine.share(threads)
    # Its own lock is a semaphore, which a process that is killed leaves behind, with a warning.
    tqdm.set_lock(threading.RLock())


def _run_quietly(
    spec: RunSpec, store: Store, key: str, data: Mapping[str, str] | None, call: str
) -> tuple[Record, float]:
    """In a worker: leave record and force field in the store; returns the record and the seconds it took."""
    if (spec.key, fingerprints(spec)) != (key, data):
        raise ValueError(
            f"{spec.file_name}: the worker's labels or its version of asteroid are not those with which the sweep was "
            "started; install the same on all machines"
        )
    with _one_at_a_time:
        started = time.perf_counter()
        record = run(spec, store, progress=False)
        force_field(spec, store, progress=False)  # of a run that was recorded elsewhere, it may be missing
        return record, time.perf_counter() - started
