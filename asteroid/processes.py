"""Pools of processes on this machine."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager


def cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pool(tasks: int, prepare: Callable[[int], None] | None = None) -> ProcessPoolExecutor:
    """Processes that divide the cores among them, so that their threads do not fight; they end with this process.

    Args:
        tasks: at most so many processes.
        prepare: called first in each of them, with its number of cores; a function at the top of a module.
    """
    workers = max(1, min(cores(), tasks))
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, context, initializer=_start, initargs=(prepare, max(1, cores() // workers)))


@contextmanager
def ended_on_interrupt() -> Iterator[None]:
    """End the processes that were started meanwhile when this one is interrupted.

    Some may not have got the interrupt, or were still starting and lost it; Python would wait for them.
    """
    foreign = set(multiprocessing.active_children())
    try:
        yield
    except KeyboardInterrupt:
        for process in set(multiprocessing.active_children()) - foreign:
            process.terminate()
        raise


def _start(prepare: Callable[[int], None] | None, threads: int) -> None:
    # Python's own handler would end the task, with a page of traceback, and begin the next.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # A pool whose parent was killed would wait for work for ever.
    parent = multiprocessing.parent_process()
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()
    if prepare is not None:
        prepare(threads)
