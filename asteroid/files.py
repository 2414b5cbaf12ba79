"""Files that are there whole, or as they were before, and the names of what they hold."""

import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: Path, what: str | None = None) -> Iterator[Path]:
    """Name of a temporary file that takes the place of `path` at the end.

    A failure inside, or a kill, leaves at `path` what was there before. Several processes and threads may write the
    same file: the last one's stays.

    Args:
        path: its folder is made if it is missing.
        what: "the record", say, for the message of an OSError, which then names `path` too.
    """
    temporary = path.with_name(f"{fitting(path.name)}.{os.getpid()}-{threading.get_ident()}.tmp")
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


def fitting(name: str, most: int = 200) -> str:
    """A name of at most so many bytes, of which file systems take 255: a longer one is cut and ends with its hash."""
    encoded = os.fsencode(name)
    if len(encoded) <= most:
        return name
    return f"{encoded[: most - 17].decode(errors='ignore')}-{hashlib.sha256(encoded).hexdigest()[:16]}"


def key_of(content: Mapping[str, Any]) -> str:
    """16 hexadecimal digits that name settings: SHA-256 of their JSON."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
