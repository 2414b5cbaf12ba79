"""Jobs of many labels, of hours and days: frames of an embedded molecule or of a file, a ledger, and a finished set."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from asteroid import datasets, processes, state, units
from asteroid.datasets import readers, sources
from asteroid.levels.labelling import label
from asteroid.levels.ledger import ledger_name


def run(
    molecule: str,
    level: str,
    *,
    frames: int | None = None,
    output: Path | None = None,
    resume: bool = False,
    retry: bool = False,
    at_once: int = 1,
    **settings: Any,
) -> tuple[datasets.LabelledSet, Path]:
    """Label frames at a level of theory, and save the set beside the ledger.

    Args:
        molecule: an embedded molecule, whose frames are taken in the order in which levels share them; or the path of a
            file of frames, in Å unless an npz file states its `r_unit`.
        level: of `levels.overview()`.
        frames: how many, from the first; None: all.
        output: the ledger; None: MOLECULE_LEVEL.jsonl in the current folder.
        resume: go on with a ledger that is there.
        retry: try frames again that failed.
        at_once: labels made at once, no more than cores.
        settings: of `levels.calculator`; the charge is by default what the file says, else 0.

    Returns:
        The labelled frames, and the path of the npz file that holds them.

    Raises:
        ValueError: numbers or files that do not fit; for this and others see also `labelling.label`.
    """
    name, found = _frames(molecule)
    if frames is not None:
        if not 0 < frames <= len(found.pos):
            raise ValueError(f"the number of frames is {frames}; {name} has {len(found.pos)} frames")
        found.pos = found.pos[:frames]
    ledger = output or Path(ledger_name(name, level))
    if ledger.suffix in (".npz", ".json"):
        raise ValueError(f"the output is {ledger}, where the finished set goes; name the ledger .jsonl")
    if at_once < 1:
        raise ValueError(f"the number of processes is {at_once}; expected 1 or more")
    target = ledger.with_suffix(".npz")
    if target.exists() and Path(molecule).exists() and target.samefile(molecule):
        raise ValueError(f"{target} would take the place of the frames themselves; choose another output")
    there = [path for path in (ledger, target) if path.exists() and path.stat().st_size]
    if there and not resume:
        raise ValueError(f"{there[0]} is there already; go on with it by --resume, or choose another output")
    sampled = state.recorded(found.provenance.get("settings"))
    charge = settings.get("charge")
    if charge is not None and sampled.get("charge", charge) != charge:
        raise ValueError(
            f"the charge given is {charge}, and the frames of {name} say {sampled['charge']}; leave it out, or put "
            "right what the file says"
        )
    executor = processes.pool(at_once) if at_once > 1 else None
    try:
        with processes.ended_on_interrupt():
            labelled = label(found, level, ledger, executor=executor, retry=retry, **settings)
    finally:
        if executor:
            executor.shutdown(cancel_futures=True)
    datasets.save(labelled, target)
    return labelled, target


def _frames(molecule: str) -> tuple[str, SimpleNamespace]:
    """Name and frames of an embedded molecule or of a file."""
    if molecule in datasets.molecules():
        sampled = datasets.load(molecule, "gfn2")
        order = sources.archive(datasets.DATA / f"{molecule}_gfn2.npz", ["order"])["order"]
        known = {key: sampled.provenance[key] for key in ("smiles", "sampling", "temperature_K")}
        pos = sampled.pos.numpy()[order]
        return molecule, SimpleNamespace(molecule=molecule, z=sampled.z.numpy(), pos=pos, provenance=known)
    path = Path(molecule)
    if not os.path.exists(path):  # False too for what is too long for a path
        known = ", ".join(datasets.molecules())
        raise ValueError(f"{molecule!r} is neither a file nor one of the embedded molecules {known}")
    found = readers.frames(path)
    to_angstrom = units.factor(found.about.get("length_unit", "angstrom"), units.LENGTH)
    if path.suffix == ".npz" and sources.has_record(path):  # as `asteroid.save` writes it, with the charge
        known = sources.read_record(path)
    else:
        known = {"settings": found.settings}
    pos = to_angstrom * found.pos
    return path.stem, SimpleNamespace(molecule=path.stem, z=found.z, pos=pos, provenance=known)
