"""What processor and memory are told before long work, and what the environment says to the library."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import threadpoolctl
import torch
from tqdm import tqdm

FLAGS = {
    "ASTEROID_PROFILE": "profile of pages and commands for which none is given",
    "ASTEROID_QUIET": "no progress bars",
    "ASTEROID_PAGES": "folder beside whose pages a notebook keeps its figures and tables; set while pages are made",
    "ASTEROID_MD17": "folder of MD17's files, in PyTorch Geometric's layout; else ~/.cache/asteroid/md17",
    "ASTEROID_ANI1CCX": "file of ANI-1ccx's weights, where they cannot be fetched",
    "ASTEROID_MACE_PYTHON": "interpreter that has MACE, where it is not this one",
    "ASTEROID_NEQUIP_PYTHON": "interpreter that has NequIP, where it is not this one",
    "PSI_SCRATCH": "folder in which Psi4 keeps its scratch files",
    "OMP_NUM_THREADS": "threads of a page's kernel; one if not given",
    "JUPYTER_PATH": "folders of kernels, behind which a page's own is put",
}
"""Variables of the environment that the library reads, and what they are for."""


def flag(name: str) -> str | None:
    """Value of one of `FLAGS`; None where it is not set, or empty. KeyError for any other name."""
    if name not in FLAGS:
        raise KeyError(f"{name} is no variable that the library reads; known: {', '.join(FLAGS)}")
    return os.environ.get(name) or None


# Of the C library's malloc.h, as are the defaults below.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_DEFAULTS = {_TRIM_THRESHOLD: 128 * 2**10, _TOP_PAD: 128 * 2**10, _MMAP_MAX: 65_536}
_KEEPING = {_TRIM_THRESHOLD: -1, _TOP_PAD: 64 * 2**20, _MMAP_MAX: 0}


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for what is timed, or is to be the same to the last digit whatever the number of threads.

    That is one of PyTorch's, and of every OpenMP and linear algebra library that this process has loaded.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with _libraries(len(sys.modules)).limit(limits=1):
            yield
    finally:
        torch.set_num_threads(before)


@lru_cache(maxsize=1)
def _libraries(modules: int) -> threadpoolctl.ThreadpoolController:
    """Finding them takes a millisecond, as a cheap label does: they are sought anew once more modules are there."""
    return threadpoolctl.ThreadpoolController()


_keeps_memory = False  # which the C library cannot be asked
_share: int | None = None  # threads of long work; None: as many as PyTorch has anyway


def share(threads: int) -> None:
    """Make this process, a worker among others, take so many threads for long work, and one for all else.

    Labels are made in workers too, on one thread: once OpenMP has more, a program that shares it takes them as well.
    """
    global _share
    _share = threads
    torch.set_num_threads(1)


def threads() -> int:
    """Number of threads of long work."""
    return _share or torch.get_num_threads()


@contextmanager
def long_work() -> Iterator[None]:
    """Settings under which the same operations on the same shapes, repeated many thousand times, run fastest.

    Numbers below 1e-38, the saturated activations of far atoms among them, take processors many times as long: they
    become zero. And freed memory is kept for the next step: each large tensor would otherwise be fetched from the
    operating system and given back, a page at a time, which is a sixth of an uncompiled step. At the end it goes back,
    unless this was long work within long work.
    """
    global _keeps_memory
    library = ctypes.CDLL(None) if sys.platform == "linux" and not _keeps_memory else None
    tunable = hasattr(library, "mallopt")  # GNU's C library has it, others do not
    before, flushed = torch.get_num_threads(), float(torch.tensor(1e-40) * 1) == 0
    try:
        torch.set_num_threads(threads())
        torch.set_flush_denormal(True)
        _keeps_memory |= tunable
        for setting, value in _KEEPING.items() if tunable else ():
            library.mallopt(setting, value)
        yield
    finally:
        torch.set_flush_denormal(flushed)
        torch.set_num_threads(before)
        for setting, value in _DEFAULTS.items() if tunable else ():
            library.mallopt(setting, value)
        if tunable:
            _keeps_memory = False
            library.malloc_trim(0)


def progress_bar(label: str | None, **settings: Any) -> tqdm:
    """A bar on a terminal, a slow one in a live notebook, which keeps every line, and none in logs and in the book."""
    terminal = sys.stderr.isatty()
    wanted = label is not None and (terminal or "ipykernel" in sys.modules) and not flag("ASTEROID_QUIET")
    return tqdm(desc=label, disable=not wanted, mininterval=0.1 if terminal else 5.0, **settings)
