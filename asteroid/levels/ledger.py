"""The ledger of a labelling job: a file of JSON lines that only grows.

A line that starts a session says what is computed and where; each other line is one label, or why there is none.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from filelock import Timeout

from asteroid import files
from asteroid.datasets.sources import DatasetError

TASK = ("molecule", "level", "code", "settings", "z")
"""What must not change from one session of a ledger to the next."""


def ledger_name(molecule: str, level: str) -> str:
    """Name of the ledger of a molecule's labels, which has no slash, colon or space in it."""
    return re.sub(r"[/:*\s]", "-", f"{files.short(molecule)}_{level}.jsonl")


def read_labels(ledger: str | os.PathLike) -> list[dict[str, Any]]:
    """The labels of a ledger as they are, without the code that made them.

    Returns:
        For each frame that has a label, in their order: molecule, level, code, frame, E (kcal/mol), F (kcal/mol/Å) and
        seconds. The first label of a session takes longer by the start of its program.

    Raises:
        DatasetError: the ledger is damaged or not there.
    """
    sessions, labels = read(Path(ledger))
    if not sessions:
        raise DatasetError(f"{ledger} is not there or holds nothing; make it with `python -m asteroid label`")
    about = {name: sessions[-1][name] for name in ("molecule", "level", "code")}
    return [about | row for _, row in sorted(labels.items()) if "failure" not in row]


def read(ledger: Path) -> tuple[list[dict[str, Any]], dict[int, dict[str, Any]]]:
    """The sessions of a ledger, and its last line about each frame; a last line cut short does not count."""
    if not ledger.exists():
        return [], {}
    sessions, rows = [], {}
    lines = ledger.read_bytes().split(b"\n")
    for number, line in enumerate(lines[:-1], start=1):
        try:
            content = json.loads(line)
            if "frame" not in content:
                sessions.append({key: content[key] for key in (*TASK, "code_version", "machine")})
            elif sessions:
                _check_label(content, len(sessions[-1]["z"]))
                rows[content["frame"]] = content
        except (ValueError, KeyError, TypeError):
            raise DatasetError(
                f"Line {number} of {ledger} is not that of a ledger of labels. If it is one, delete that line and the "
                "frame will be labelled again; if not, choose another file."
            ) from None
        if not sessions:
            raise DatasetError(
                f"{ledger} does not begin with a line that says what its labels are of; choose another file."
            )
    if lines[-1].strip() and not any(
        lines[-1].startswith(start[: len(lines[-1])]) for start in (b'{"molecule"', b'{"frame"')
    ):
        raise DatasetError(f"{ledger} is no ledger of labels; choose another file.")
    return sessions, rows


def _check_label(content: Mapping[str, Any], atoms: int) -> None:
    """Raise a ValueError, KeyError or TypeError for a line that says less than a label of so many atoms must."""
    if not (isinstance(content["frame"], int) and "geometry" in content):
        raise KeyError("frame and geometry")
    if "failure" not in content:
        force = np.array(content["F"]).reshape(atoms, 3)
        if not np.isfinite([*force.flat, content["E"], content["seconds"]]).all():
            raise ValueError("not finite")


@contextmanager
def opened(ledger: Path) -> Iterator[IO[bytes]]:
    """The ledger to write at its end, without what a kill left of its last line; nobody else writes to it meanwhile."""
    with ExitStack() as stack:
        with _write_errors(ledger):
            try:
                stack.enter_context(files.locked(ledger, wait=False))
            except Timeout:
                raise DatasetError(
                    f"another call is writing to {ledger}; wait until it has ended, or choose another file"
                ) from None
            # Unbuffered, so that a line is in the file when the next frame begins.
            opened = stack.enter_context(open(ledger, "ab", buffering=0))
            opened.truncate(ledger.read_bytes().rfind(b"\n") + 1)
        yield opened


def append(opened: IO[bytes], content: Mapping[str, Any]) -> None:
    line = (json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n").encode()
    with _write_errors(Path(opened.name)):
        while line:  # a disk that fills up takes a part of it without an error
            line = line[opened.write(line) :]


@contextmanager
def _write_errors(ledger: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        cause = error.strerror or error
        raise DatasetError(
            f"Writing {ledger} failed ({cause}); free space or choose another folder, and call again: it goes on with "
            "the labels that are there."
        ) from None


def geometry_key(z: np.ndarray, pos: np.ndarray) -> str:
    """16 hexadecimal digits by which a geometry z (atoms,), pos (atoms, 3) is known again, to 1e-4 Å."""
    grid = np.rint(np.where(np.isfinite(pos), pos, 0) * 1e4).astype("<i4")
    return hashlib.sha256(z.astype("<i4").tobytes() + grid.tobytes()).hexdigest()[:16]
