"""Files that are there whole or as they were before, locks, and the names of what files hold."""

import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock


@contextmanager
def replacing(path: Path, what: str | None = None) -> Iterator[Path]:
    """Name of a temporary file that takes the place of `path` at the end.

    A failure inside, or a kill, leaves at `path` what was there before. Several processes and threads may write the
    same file: the last one's stays.

    Args:
        path: its folder is made if it is missing.
        what: "the record", say, for the message of an OSError, which then names `path` too.
    """
    temporary = path.with_name(f"{short(path.name)}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if what is None:
            raise
        raise OSError(error.errno, f"could not write {what}: {error.strerror}", str(path)) from None
    finally:
        with suppress(OSError):  # where the folder could not be made, there is no file either
            temporary.unlink()


@contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[None]:
    """Hold a lock by the name of `path`, which no other process or thread of this machine holds meanwhile.

    The lock is a file beside `path`, which is removed at the end. A kill lets the lock go, too.

    Args:
        path: its folder is made if it is missing.
        wait: until whoever holds the lock lets it go.

    Raises:
        filelock.Timeout: somebody holds it, and `wait` is false.
        OSError: the lock's file cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{path}.lock", blocking=wait)
    with lock:
        try:
            yield
        finally:
            with suppress(OSError):  # Windows keeps what is open
                os.unlink(lock.lock_file)  # whoever waits for it takes note and makes another


def in_words(name: str) -> str:
    """A name as pages and figures show it: "formic acid" for "formic_acid", "ethanol" for "md17:ethanol"."""
    return name.removeprefix("md17:").replace("_", " ")


def short(name: str) -> str:
    """A name that a file can have together with an ending: of more than 120 bytes, the beginning and a hash of all."""
    encoded = name.encode()
    if len(encoded) <= 120:
        return name
    return f"{encoded[:100].decode(errors='ignore')}-{hashlib.sha256(encoded).hexdigest()[:16]}"


def key_of(content: Mapping[str, Any]) -> str:
    """16 hexadecimal digits that name settings: SHA-256 of their JSON."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def root() -> Path:
    """The repository's root: the nearest folder above this file that holds ``pyproject.toml``.

    Raises:
        FileNotFoundError: If there is none, as when the library was copied into site-packages.
    """
    for folder in Path(__file__).resolve().parents:
        if (folder / "pyproject.toml").is_file():
            return folder
    raise FileNotFoundError(
        f"no pyproject.toml above {__file__}: notebooks, book and records live in the repository; "
        "install the library from a clone of it with `pip install -e .`"
    )
