"""A program and its scratch folder that end with whoever started them, however that ends.

A kill gives Python no chance to clean up, and a program may be a wrapper (of a container, `conda run`) whose child does
the work. So this file, run by itself, starts the program, and ends it, all its children and the folder once it is told
to or the process that it works for has gone.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress

import psutil


class Guarded:
    """A scratch folder, and a program that runs in it.

    Args:
        prefix: of the folder's name.
        scratch: where it is made; None: where Python has its temporary files.
        command: the program and its arguments, on one thread; none: the folder alone.

    Attributes:
        folder: path of the scratch folder.
        process: has the program's standard input and output, as text, and its exit status: 128 + N for signal N.

    Raises:
        OSError: there is no such place, or it is full.
    """

    def __init__(self, prefix: str, scratch: str | None = None, command: Sequence[str] = ()):
        self.folder = tempfile.mkdtemp(prefix=prefix, dir=scratch)
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self.process = subprocess.Popen(
            # -P: this file's folder has modules of common names.
            [sys.executable, "-P", __file__, str(os.getpid()), self.folder, *command],
            env={**os.environ, **threads, "PSI_SCRATCH": self.folder},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # an interrupt from the keyboard is for this process, which then ends it
        )
        self.end = weakref.finalize(self, _end, self.process, self.folder, os.getpid())


def _end(process: subprocess.Popen, folder: str, owner: int) -> None:
    if os.getpid() != owner:  # a fork's copy
        return
    process.terminate()
    process.wait()
    with suppress(BrokenPipeError):  # of what it never read
        process.stdin.close()
    process.stdout.close()
    shutil.rmtree(folder, ignore_errors=True)


def _guard(parent: int, folder: str, command: Sequence[str]) -> int:
    """Exit status of the command, or 128 + N for signal N."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        program = subprocess.Popen(command, cwd=folder) if command else None
        while os.getppid() == parent:
            if program is None:
                time.sleep(0.2)
                continue
            with suppress(subprocess.TimeoutExpired):
                status = program.wait(timeout=0.2)
                return status if status >= 0 else 128 - status
        return 1
    finally:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        for _ in range(100):  # what is starting others meanwhile may need a second time
            left = _descendants()
            for process in left:
                with suppress(psutil.Error):
                    process.kill()
            if not left:
                break
            time.sleep(0.02)
        shutil.rmtree(folder, ignore_errors=True)


def _descendants() -> list[psutil.Process]:
    """All that were started from here: children, and of those whose parent has ended, what is left in the session."""
    me = psutil.Process()
    found = set(me.children(recursive=True))
    for process in psutil.process_iter():
        with suppress(OSError):
            if process != me and os.getsid(process.pid) == me.pid:
                found.add(process)
    return [process for process in found if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


if __name__ == "__main__":
    sys.exit(_guard(int(sys.argv[1]), sys.argv[2], sys.argv[3:]))
