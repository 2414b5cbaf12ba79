"""Labels of many frames: each is kept as soon as it is made, with the seconds that it took.

The ledger is a file of JSON lines that only grows. A line that starts a session says what is computed and where; each
other line is one label, or why there is none. A job that was stopped goes on at the frame after its last whole line.
"""

import hashlib
import json
import os
import pickle
import platform
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import BrokenExecutor, Executor, as_completed
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import CalculationFailed, Calculator
from filelock import Timeout

from asteroid import files, levels, processes, state, units
from asteroid.datasets import LabelledSet
from asteroid.datasets.checks import LARGEST_FORCE, check_geometries
from asteroid.datasets.consistency import check_isomers
from asteroid.datasets.sources import DatasetError
from asteroid.levels.ab_initio import FUNCTIONALS
from asteroid.levels.molecules import SHORTEST, check_closed_shell, check_molecule
from asteroid.machine import progress_bar

# What must not change from one session of a ledger to the next.
_TASK = ("molecule", "level", "code", "settings", "z")
# Attributes of a calculator that say how it computes; lj keeps its own in `parameters`.
_SETTINGS = ("charge", "basis", "grid", "parameters")
_THEORY = {"lj": "Lennard-Jones", "mmff": "MMFF94", "gfn2": "GFN2-xTB"}


class Frames(Protocol):
    """What is labelled: a `LabelledSet`, a `Sample`, or anything with z (atoms,) and pos (frames, atoms, 3) in Å."""

    z: Any
    pos: Any


def label(
    frames: Frames,
    level: str,
    ledger: str | os.PathLike,
    *,
    molecule: str | None = None,
    executor: Executor | None = None,
    retry: bool = False,
    progress: bool = True,
    **settings: Any,
) -> LabelledSet:
    """Label frames at a level of theory, or go on where an earlier call with the same ledger ended.

    Whatever ends the call, finished labels are in the ledger. A frame at which the code fails is recorded and skipped.
    Later calls may have more frames, as long as they begin with the same ones.

    Args:
        frames: of one molecule.
        level: of `levels.overview()`.
        ledger: file of JSON lines, made if it is not there.
        molecule: name; None: what the frames' `molecule` or provenance says.
        executor: any concurrent.futures executor of processes; None: one frame after the other, here.
        retry: try frames again that failed earlier.
        progress: show a bar with the time left.
        settings: of `levels.calculator`; by default the charge under which the frames were sampled and the code of the
            ledger. The bonds of `mmff` are those of the first frame that is whole, unless `reference` is given.

    Returns:
        The frames that have a label, in their order, with `seconds`. The provenance names theory, code, its version,
        settings, machines and the number of failures, and keeps what that of the frames says of their sampling.

    Raises:
        ValueError: an unknown level, code or setting, frames of which nothing says the molecule, or none.
        ImportError: the code is not installed.
        CalculatorSetupError: the level cannot do this molecule.
        RuntimeError: a process of the executor was killed, or a lack of disk or memory, as `MachineError`, that no
            frame is to blame for; the same call goes on.
        DatasetError: the ledger is of another task or other frames, is damaged, cannot be written, or another call is
            writing to it; no frame has a label; or the frames are in another unit than Å.
    """
    ledger = Path(ledger)
    z, pos = np.asarray(frames.z).astype(int), np.asarray(frames.pos, dtype=np.float64)
    known = getattr(frames, "provenance", {})
    molecule = molecule or getattr(frames, "molecule", None) or known.get("molecule")
    if pos.ndim != 3 or not len(pos) or pos.shape[1:] != (len(z), 3):
        raise ValueError(f"positions have the shape {pos.shape}; expected (frames, {len(z)}, 3), one frame or more")
    if molecule is None:
        raise ValueError("nothing says which molecule the frames are of; pass molecule, such as molecule='ethanol'")
    if level == "mmff":
        settings = {"reference": Atoms(z, _first_whole(z, pos))} | settings
    if level != "lj":  # which knows no state
        sampled = state.recorded(known.get("settings"))
        check_closed_shell(sampled.get("multiplicity"), molecule)
        settings.setdefault("charge", sampled.get("charge", 0))
    _check_frames(molecule, z, pos)
    sessions, rows = _read(ledger)
    if sessions and sessions[-1]["level"] == level:  # not another code that was installed meanwhile
        settings.setdefault("code", sessions[-1]["code"])
    calculator = levels.calculator(level, **settings)
    plain = {name: getattr(calculator, name, None) for name in _SETTINGS}
    plain = {name: value for name, value in plain.items() if value not in (None, {})}
    # As JSON has it, to compare with what was read.
    session = json.loads(json.dumps({"molecule": molecule, "level": level, "code": calculator.code, "settings": plain}))
    session |= {"code_version": levels.version(calculator.code), "z": z.tolist(), "machine": _machine()}
    _check_same_task(ledger, sessions, session)
    _check_same_frames(ledger, rows, z, pos)
    todo = [k for k in range(len(pos)) if k not in rows or (retry and "failure" in rows[k])]
    if todo:
        sessions.append(session)
        settings["code"] = calculator.code
        wanted = f"{molecule} {level}" if progress else None
        done = len(pos) - len(todo)
        with _opened(ledger) as opened, progress_bar(wanted, total=len(pos), initial=done, unit="label") as bar:
            lines = [session]  # written with the first row: a task that is refused leaves no trace
            for k, row in _computed(todo, z, pos, level, settings, executor):
                rows[k] = {"frame": k, "geometry": geometry_key(z, pos[k]), **row}
                for line in (*lines, rows[k]):
                    _append(opened, line)
                lines = []
                bar.update()
    return _labelled(z, pos, rows, sessions, known)


def rows(ledger: str | os.PathLike) -> list[dict[str, Any]]:
    """The labels of a ledger as they are, without the code that made them.

    Returns:
        For each frame that has a label, in their order: molecule, level, code, frame, E (kcal/mol), F (kcal/mol/Å) and
        seconds. The first label of a session takes longer by the start of its program.

    Raises:
        DatasetError: the ledger is damaged or not there.
    """
    sessions, labels = _read(Path(ledger))
    if not sessions:
        raise DatasetError(f"{ledger} is not there or holds nothing; make it with `python -m asteroid label`")
    about = {name: sessions[-1][name] for name in ("molecule", "level", "code")}
    return [about | row for _, row in sorted(labels.items()) if "failure" not in row]


def _computed(
    todo: list[int], z: np.ndarray, pos: np.ndarray, level: str, settings: Mapping[str, Any], executor: Executor | None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Frame numbers and their labels, as they come."""
    task = pickle.dumps((level, dict(settings)))
    if executor is None:
        yield from ((k, _label_one(task, z, pos[k])) for k in todo)
        return
    futures = {executor.submit(_label_one, task, z, pos[k]): k for k in todo}
    try:
        for future in as_completed(futures):
            yield futures.pop(future), future.result()
    except BrokenExecutor:
        futures.clear()  # the executor ends them itself, and fails where they were cancelled
        raise RuntimeError(
            "a process that makes labels was killed; was it for want of memory? Take fewer processes, and call again: "
            "it goes on with the labels that are there."
        ) from None
    finally:
        for future in futures:
            future.cancel()


_ONE_LABEL_AT_A_TIME = threading.Lock()
_CALCULATORS: dict[bytes, Calculator] = {}
"""The calculator of this process, kept from frame to frame: Psi4's start takes as long as a small label."""


def _label_one(task: bytes, z: np.ndarray, pos: np.ndarray) -> dict[str, Any]:
    """`_label_alone`; threads of an executor take turns, since a process has one calculator."""
    with _ONE_LABEL_AT_A_TIME:
        return _label_alone(task, z, pos)


def _label_alone(task: bytes, z: np.ndarray, pos: np.ndarray) -> dict[str, Any]:
    """E in kcal/mol, F (atoms, 3) in kcal/mol/Å and seconds, or the failure, in whichever process."""
    if task not in _CALCULATORS:
        for calculator in _CALCULATORS.values():
            getattr(calculator, "close", lambda: None)()  # Psi4's program
        _CALCULATORS.clear()
        level, settings = pickle.loads(task)
        _CALCULATORS[task] = levels.calculator(level, **settings)
    atoms = Atoms(z, pos, calculator=_CALCULATORS[task])
    start = time.perf_counter()
    try:
        force = atoms.get_forces() / units.KCAL_PER_MOL_IN_EV
        energy = float(atoms.get_potential_energy()) / units.KCAL_PER_MOL_IN_EV
    except CalculationFailed as error:
        return {"failure": str(error), "seconds": round(time.perf_counter() - start, 4)}
    seconds = round(time.perf_counter() - start, 4)
    if not (np.isfinite(force).all() and np.isfinite(energy)):
        return {"failure": "energy or forces are not finite", "seconds": seconds}
    if (mean := np.linalg.norm(force, axis=1).mean()) > LARGEST_FORCE:  # one such frame and the whole set is refused
        return {"failure": f"the mean force is {mean:.3g} kcal/mol/Å; did the trajectory explode?", "seconds": seconds}
    return {"E": energy, "F": force.tolist(), "seconds": seconds}


def _read(ledger: Path) -> tuple[list[dict[str, Any]], dict[int, dict[str, Any]]]:
    """The sessions of a ledger, and its last line about each frame; a last line cut short does not count."""
    if not ledger.exists():
        return [], {}
    sessions, rows = [], {}
    lines = ledger.read_bytes().split(b"\n")
    for number, line in enumerate(lines[:-1], start=1):
        try:
            content = json.loads(line)
            if "frame" not in content:
                sessions.append({key: content[key] for key in (*_TASK, "code_version", "machine")})
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


def _check_frames(molecule: str, z: np.ndarray, pos: np.ndarray) -> None:
    """Raise a DatasetError for what a set of labels would be refused for in the end, but for frames that may fail."""
    whole = [k for k, frame in enumerate(pos) if np.isfinite(frame).all() and not _is_too_close(frame)]
    if whole:
        numbers, frames = torch.from_numpy(z.astype(np.int64)), torch.from_numpy(pos[whole])
        check_geometries(numbers, frames, molecule, whole)
        check_isomers(numbers, frames, molecule, whole)


def _is_too_close(frame: np.ndarray) -> bool:
    i, j = np.triu_indices(len(frame), 1)
    return bool((np.linalg.norm(frame[i] - frame[j], axis=1) < SHORTEST).any())


def _first_whole(z: np.ndarray, pos: np.ndarray) -> np.ndarray:
    for frame in pos:
        with suppress(CalculationFailed):
            check_molecule(Atoms(z, frame), int(z.sum()) % 2)  # of the charge the level will say more
            return frame
    return pos[0]


@contextmanager
def _opened(ledger: Path) -> Iterator[IO[bytes]]:
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


def _append(opened: IO[bytes], content: Mapping[str, Any]) -> None:
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


def _check_same_task(ledger: Path, sessions: list[dict[str, Any]], session: dict[str, Any]) -> None:
    for earlier in sessions:
        for key in _TASK:
            if earlier[key] != session[key]:
                raise DatasetError(
                    f"{ledger} holds labels of {key} {earlier[key]!r}, not {session[key]!r}; choose another file."
                )


def _check_same_frames(ledger: Path, rows: dict[int, dict[str, Any]], z: np.ndarray, pos: np.ndarray) -> None:
    for k, row in rows.items():
        if k < len(pos) and row["geometry"] != geometry_key(z, pos[k]):
            raise DatasetError(
                f"{ledger} was made for other frames: its frame {k} is not the one given. Give the frames that it was "
                "made for, or choose another file."
            )


def geometry_key(z: np.ndarray, pos: np.ndarray) -> str:
    """16 hexadecimal digits by which a geometry z (atoms,), pos (atoms, 3) is known again, to 1e-4 Å."""
    grid = np.rint(np.where(np.isfinite(pos), pos, 0) * 1e4).astype("<i4")
    return hashlib.sha256(z.astype("<i4").tobytes() + grid.tobytes()).hexdigest()[:16]


def _labelled(
    z: np.ndarray, pos: np.ndarray, rows: dict[int, dict], sessions: list[dict], known: Mapping[str, Any]
) -> LabelledSet:
    ours = {k: row for k, row in sorted(rows.items()) if k < len(pos)}
    made = {k: row for k, row in ours.items() if "failure" not in row}
    last = sessions[-1]
    settings = {key: value for key, value in last["settings"].items() if key != "grid" or last["level"] in FUNCTIONALS}
    if not made:
        reason = next(iter(ours.values()))["failure"] if ours else "there is none"
        raise DatasetError(
            f"None of the {len(pos)} frames of {last['molecule']} has a {last['level']} label: {reason}. What "
            "was mended meanwhile is tried again by retry=True (--retry)."
        )
    theory = _THEORY.get(last["level"], f"{last['level'].upper()}/{last['settings'].get('basis')}")
    sampling = {key: known[key] for key in ("smiles", "sampling", "sampling_level", "temperature_K") if key in known}
    provenance = {
        **sampling,
        "theory": theory,
        "code": last["code"],
        "code_version": ", ".join(dict.fromkeys(session["code_version"] for session in sessions)),
        "settings": settings,
        "machine": ", ".join(dict.fromkeys(session["machine"] for session in sessions)),
        "seconds_measured": "wall time of energy and forces of each frame",
        "failures": len(ours) - len(made),
    }
    return LabelledSet(
        molecule=last["molecule"],
        level=last["level"],
        z=torch.from_numpy(z.astype(np.int64)),
        pos=torch.from_numpy(pos[list(made)]),
        energy=torch.tensor([row["E"] for row in made.values()], dtype=torch.float64),
        force=torch.tensor([row["F"] for row in made.values()], dtype=torch.float64),
        seconds=torch.tensor([row["seconds"] for row in made.values()], dtype=torch.float64),
        provenance=provenance,
    )


def _machine() -> str:
    """The processor, how many cores this process may use, and how many threads a label has."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return f"{model}, {processes.cores()} cores, 1 threads a label"
