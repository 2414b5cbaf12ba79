"""Labels of many frames: each is kept as soon as it is made, with the seconds that it took.

A job that was stopped goes on at the frame after the last whole line of its ledger.
"""

import json
import os
import pickle
import platform
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, as_completed
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import CalculationFailed, Calculator

from asteroid import levels, processes, state, units
from asteroid.datasets import LabelledSet
from asteroid.datasets.checks import LARGEST_FORCE, check_geometries
from asteroid.datasets.consistency import check_isomers
from asteroid.datasets.sources import DatasetError
from asteroid.levels import registry, sums
from asteroid.levels.ab_initio import FUNCTIONALS
from asteroid.levels.ledger import TASK, append, geometry_key, ledger_name, opened, read
from asteroid.levels.molecules import SHORTEST, check_closed_shell, check_molecule
from asteroid.machine import progress_bar

# Attributes of a calculator that say how it computes; lj keeps its own in `parameters`.
_SETTINGS = ("charge", "basis", "grid", "parameters", "source")
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
        level: as in `levels.calculator`. Of a sum of levels, each has a ledger of its own, so that labels which another
            sum or the level alone has needed are used again.
        ledger: file of JSON lines, made if it is not there; of a sum, its folder holds `ledger_name` of each level.
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
    if (terms := sums.terms(level)) is not None:
        how = {"molecule": molecule, "executor": executor, "retry": retry, "progress": progress}
        return _labels_of_sum(frames, level, terms, ledger, **how, **settings)
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
    sessions, rows = read(ledger)
    if sessions and sessions[-1]["level"] == level:  # not another code that was installed meanwhile
        settings.setdefault("code", sessions[-1]["code"])
    calculator = levels.calculator(level, **settings)
    plain = {name: getattr(calculator, name, None) for name in _SETTINGS}
    plain = {name: value for name, value in plain.items() if value not in (None, {})}
    # As JSON has it, to compare with what was read.
    try:
        session = {"molecule": molecule, "level": level, "code": calculator.code, "settings": plain}
        session = json.loads(json.dumps(session))
    except TypeError as error:
        raise ValueError(
            f"settings are {plain}, which a ledger cannot hold ({error}); give numbers and texts"
        ) from None
    version = getattr(calculator, "version", None) or levels.version(calculator.code)
    session |= {"code_version": version, "z": z.tolist(), "machine": _machine()}
    _check_same_task(ledger, sessions, session)
    _check_same_frames(ledger, rows, z, pos)
    todo = [k for k in range(len(pos)) if k not in rows or (retry and "failure" in rows[k])]
    if todo:
        sessions.append(session)
        settings["code"] = calculator.code
        wanted = f"{molecule} {level}" if progress else None
        done = len(pos) - len(todo)
        with opened(ledger) as file, progress_bar(wanted, total=len(pos), initial=done, unit="label") as bar:
            lines = [session]  # written with the first row: a task that is refused leaves no trace
            for k, row in _computed(todo, z, pos, level, settings, executor):
                rows[k] = {"frame": k, "geometry": geometry_key(z, pos[k]), **row}
                for line in (*lines, rows[k]):
                    append(file, line)
                lines = []
                bar.update()
    return _labelled(z, pos, rows, sessions, known)


def _labels_of_sum(
    frames: Frames,
    level: str,
    terms: Sequence[tuple[float, str]],
    ledger: Path,
    *,
    molecule: str | None,
    executor: Executor | None,
    retry: bool,
    progress: bool,
    **settings: Any,
) -> LabelledSet:
    """The sum of labels, of the frames that have one of every level; its seconds are theirs together."""
    z, pos = np.asarray(frames.z).astype(int), np.asarray(frames.pos, dtype=np.float64)
    known = getattr(frames, "provenance", {})
    molecule = molecule or getattr(frames, "molecule", None) or known.get("molecule")
    parts, sessions, rows = [], [], []
    for _, one in terms:
        own = ledger.with_name(ledger_name(molecule or "frames", one))
        how = {"molecule": molecule, "executor": executor, "retry": retry, "progress": progress}
        parts.append(label(frames, one, own, **how, **sums.settings_of(one, settings)))
        of_part, lines = read(own)
        sessions.append(of_part[-1])
        rows.append(lines)
    summed = {}
    for k in range(len(pos)):
        lines = [of_level[k] for of_level in rows]
        if failed := [line for line in lines if "failure" in line]:
            summed[k] = failed[0]
            continue
        weighted = [(factor, line) for (factor, _), line in zip(terms, lines, strict=True)]
        summed[k] = {
            "E": sum(factor * line["E"] for factor, line in weighted),
            "F": sum(factor * np.array(line["F"]) for factor, line in weighted).tolist(),
            "seconds": sum(line["seconds"] for line in lines),
        }
    settings = {one: session["settings"] for (_, one), session in zip(terms, sessions, strict=True)}
    session = sessions[0] | {
        name: ", ".join(dict.fromkeys(session[name] for session in sessions))
        for name in ("code", "code_version", "machine")
    }
    session |= {"level": level, "settings": {"parts": settings}}
    # The state is that of the first part that knows one.
    session["settings"] |= next(filter(None, (state.recorded(one) for one in settings.values())), {})
    theory = sums.in_words(
        [(factor, part.provenance["theory"]) for (factor, _), part in zip(terms, parts, strict=True)]
    )
    return _labelled(z, pos, summed, [session], known, theory)


def _computed(
    todo: list[int], z: np.ndarray, pos: np.ndarray, level: str, settings: Mapping[str, Any], executor: Executor | None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Frame numbers and their labels, as they come."""
    own = {name: make for name, make in registry.registered().items() if name == level}
    if executor is not None and any(make.__module__ == "__main__" for make in own.values()):
        raise ValueError(
            f"other processes cannot use the level {level}, which is defined in __main__; put its function into a "
            "file, such as mine.py, and name it mine:function"
        )
    task = pickle.dumps((level, own, registry.changes(), dict(settings)))
    if executor is None:
        yield from ((k, label_one(task, z, pos[k])) for k in todo)
        return
    futures = {executor.submit(label_one, task, z, pos[k]): k for k in todo}
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


def label_one(task: bytes, z: np.ndarray, pos: np.ndarray) -> dict[str, Any]:
    """The line of one frame; threads of an executor take turns, since a process has one calculator."""
    with _ONE_LABEL_AT_A_TIME:
        return _label_alone(task, z, pos)


def _label_alone(task: bytes, z: np.ndarray, pos: np.ndarray) -> dict[str, Any]:
    """E in kcal/mol, F (atoms, 3) in kcal/mol/Å and seconds, or the failure, in whichever process."""
    if task not in _CALCULATORS:
        for calculator in _CALCULATORS.values():
            getattr(calculator, "close", lambda: None)()  # Psi4's program
        _CALCULATORS.clear()
        level, registered, _, settings = pickle.loads(task)
        registry.add(registered)  # of which another process does not know
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
    if (mean := np.linalg.norm(force, axis=1).mean()) > LARGEST_FORCE:
        return {"failure": f"the mean force is {mean:.3g} kcal/mol/Å; did the trajectory explode?", "seconds": seconds}
    return {"E": energy, "F": force.tolist(), "seconds": seconds}


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


def _check_same_task(ledger: Path, sessions: list[dict[str, Any]], session: dict[str, Any]) -> None:
    for earlier in sessions:
        for key in TASK:
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


def _labelled(
    z: np.ndarray,
    pos: np.ndarray,
    rows: dict[int, dict],
    sessions: list[dict],
    known: Mapping[str, Any],
    theory: str | None = None,
) -> LabelledSet:
    ours = {k: row for k, row in sorted(rows.items()) if k < len(pos)}
    made = {k: row for k, row in ours.items() if "failure" not in row}
    last = sessions[-1]
    if not made:
        reason = next(iter(ours.values()))["failure"] if ours else "there is none"
        raise DatasetError(
            f"None of the {len(pos)} frames of {last['molecule']} has a {last['level']} label: {reason}. What "
            "was mended meanwhile is tried again by retry=True (--retry)."
        )
    name, basis = last["level"].partition("/")[0], last["settings"].get("basis")
    settings = {key: value for key, value in last["settings"].items() if key != "grid" or name in FUNCTIONALS}
    theory = theory or _THEORY.get(name, f"{name.upper()}/{basis}" if basis else name)
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
