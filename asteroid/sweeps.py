"""Many runs: what the store does not have is made by processes or a cluster, and no failure costs more than one run."""

import argparse
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict

import torch
from tqdm import tqdm

from asteroid import book, profiles
from asteroid.runs import Record, RunSpec, Store, force_field, run
from asteroid.training import progress_bar

ATTEMPTS = 3  # at a run
# Errors that every further attempt would meet again.
LASTING = (ValueError, TypeError, ArithmeticError, ImportError, FileNotFoundError)
NEW_POOLS = 3  # in a row, without a run that ended


def sweep(
    specs: Iterable[RunSpec],
    store: Store,
    executor: Executor | None = None,
    progress: bool = True,
) -> list[Record]:
    """Make every run that the store does not have yet, and return the records of all.

    Stage 1 of several runs is often the same standard training: those are made first, once. A run that fails is tried
    twice more, but not after a ValueError, TypeError, ArithmeticError, ImportError or FileNotFoundError (wrong settings
    or labels, a training that diverged, a package or its weights missing), which would come again. Then the failure is
    written to the store's `failures` folder, a warning names it, and the sweep goes on. Where a process of the default
    pool dies, a warning says so and a new pool goes on from the checkpoints.

    Args:
        specs: the runs.
        store: where records are kept.
        executor: any concurrent.futures executor; by default a pool of processes that share the cores, for which a
            script calls this below `if __name__ == "__main__":`.
        progress: say what is to do and show a bar, or print a line for each run where no bar can be shown. False
            prints nothing; warnings stay.

    Returns:
        The records, in the order of `specs`, without the runs that failed.

    Raises:
        ValueError: if the labels do not suffice for a run, or a record is damaged; before anything is trained.
        OSError: if the store can take neither a run nor its failure, as on a full disk.
        RuntimeError: if processes of the default pool die again and again before a run has ended.
        BrokenExecutor: if the given executor has broken.
    """
    specs = list(specs)
    total = sum(map(len, _waves(specs, store)))
    if total:
        if progress:
            recorded = sum(store.get(spec) is not None for spec in specs)
            print(f"{recorded} of {len(specs)} runs are recorded; {total} trainings to do", flush=True)
        with progress_bar("sweep" if progress else None, total=total, unit="run", smoothing=0) as bar:
            course = _Course(specs, store, bar, lines=progress and bar.disable)
            if executor is None:
                course.run_in_processes()
            else:
                course.run(executor)
    return [record for spec in specs if (record := store.get(spec)) is not None]


def local_pool(runs: int) -> ProcessPoolExecutor:
    """Processes that divide the cores among them, so that their threads do not fight; they end with this process."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = max(1, min(cores, runs))
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(max(1, cores // workers),))


def main(arguments: list[str] | None = None) -> None:
    """Command line: python -m asteroid.sweeps [--profile NAME] makes all missing runs of a profile.

    It exits with 1 where a run failed.
    """
    about = "Make the missing runs of a profile."
    parser = argparse.ArgumentParser(prog="python -m asteroid.sweeps", description=about)
    parser.add_argument("--profile", default="laptop", help="smoke, laptop (default) or paper")
    options = parser.parse_args(arguments)
    try:
        profile = profiles.load(options.profile)
        # What the book's pages ask for, but for a few variants of settings that they make themselves.
        shown = ("standard", "inaccurate", "asteroid", "score-matching-not-tuned", "score-matching")
        specs = [spec for model in profile.recipes for method in shown for spec in profile.specs(method, model)]
        specs.sort(key=lambda spec: spec.seed)  # stable: after any interruption whole sets of runs are there
        store = Store(book.root() / "results" / profile.name)
        failed = len(specs) - len(sweep(specs, store))
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"{error}")
    except KeyboardInterrupt:
        sys.exit("interrupted; the same command goes on from here")
    if failed:
        sys.exit(
            f"{failed} of {len(specs)} runs failed, see {store.folder / 'failures'}; the same command retries them"
        )


class _Course:
    """A sweep under way: the runs that failed, and what there is to see of it."""

    def __init__(self, specs: list[RunSpec], store: Store, bar: tqdm, lines: bool):
        self.specs, self.store, self.bar, self.lines = specs, store, bar, lines
        self.failed: set[str] = set()  # keys

    def run_in_processes(self) -> None:
        """Make what is missing in a pool of our own, and in a new one whenever a process of it was killed."""
        deaths, left = 0, self._left()
        while left:
            foreign = set(multiprocessing.active_children())
            pool = local_pool(left)
            try:
                self.run(pool)
            except KeyboardInterrupt:
                # Some may not have got the interrupt, or were still starting and lost it; Python would wait for them.
                for process in set(multiprocessing.active_children()) - foreign:
                    process.terminate()
                raise
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
                left = 0
            finally:
                # After an interrupt, what waits is dropped; what is under way has checkpoints.
                pool.shutdown(wait=False, cancel_futures=True)

    def run(self, executor: Executor) -> None:
        """Make what is missing, and note what fails."""
        for wave in _waves(self.specs, self.store, self.failed):
            pending: dict[Future, RunSpec] = {}
            for spec in wave:
                stage_one = spec.stage_one
                if stage_one is not None and stage_one.key in self.failed:
                    self._note_failure(spec, RuntimeError(f"stage 1 failed: {stage_one.file_name}"))
                else:
                    pending[executor.submit(_run_quietly, spec, self.store)] = spec
            attempts = Counter(pending.values())
            while pending:
                for future in as_completed(list(pending)):
                    spec, error = pending.pop(future), future.exception()
                    if isinstance(error, BrokenExecutor):
                        raise error
                    if error is None:
                        self._note_success(spec, future.result())
                    elif attempts[spec] < ATTEMPTS and not isinstance(error, LASTING):
                        attempts[spec] += 1
                        pending[executor.submit(_run_quietly, spec, self.store)] = spec
                    else:
                        self._note_failure(spec, error)

    def _left(self) -> int:
        return sum(map(len, _waves(self.specs, self.store, self.failed)))

    def _note_success(self, spec: RunSpec, seconds: float) -> None:
        self.bar.update()
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


def _waves(specs: list[RunSpec], store: Store, failed: Iterable[str] = ()) -> list[list[RunSpec]]:
    """What is to be trained: stage 1 of several runs, and then the runs, each key once and none that has failed."""
    missing = {spec.key: spec for spec in specs if store.get(spec) is None and spec.key not in failed}
    stages_one = {one.key: one for spec in missing.values() if (one := spec.stage_one) is not None}
    first = {
        key: one for key, one in stages_one.items() if not store.force_field_path(one).exists() and key not in failed
    }
    return [list(first.values()), [spec for key, spec in missing.items() if key not in first]]


def _start_worker(threads: int) -> None:
    torch.set_num_threads(threads)
    # Its own lock is a semaphore, which a process that is killed leaves behind, with a warning.
    tqdm.set_lock(threading.RLock())
    # Python's own handler would end the run, with a page of traceback, and begin the next.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # A pool whose parent was killed would wait for work for ever.
    parent = multiprocessing.parent_process()
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def _run_quietly(spec: RunSpec, store: Store) -> float:
    """In a worker: leave record and force field in the store; returns the seconds it took."""
    started = time.perf_counter()
    run(spec, store, progress=False)
    force_field(spec, store, progress=False)  # of a run that was recorded elsewhere, it may be missing
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
