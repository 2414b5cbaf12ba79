"""Labels from the shell, for jobs of hours and days; without arguments, the table of levels.

python -m asteroid label --molecule ethanol --level "ccsd(t)" --frames 450
"""

import os

if __name__ == "__main__":
    # Before anything loads a numerical library: labels are made, and timed, on one core each.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

from ase.calculators.calculator import CalculatorError

from asteroid import datasets, files, levels, processes, units
from asteroid.datasets import readers, sources
from asteroid.levels.labelling import label


def main(arguments: Sequence[str] | None = None) -> int:
    """Label what the arguments say; the exit status is 0 unless something was refused, or an interrupt came."""
    parser = argparse.ArgumentParser(
        prog="python -m asteroid label", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--molecule",
        help="an embedded molecule, whose frames are taken in their fixed order; or a file of frames, in Å unless an "
        "npz file states its r_unit",
    )
    parser.add_argument("--level", help="a level of the table")
    parser.add_argument("--frames", type=int, help="how many, from the first; default: all")
    parser.add_argument("--output", type=Path, help="the ledger; default: MOLECULE_LEVEL.jsonl")
    parser.add_argument("--resume", action="store_true", help="go on with a ledger that is there")
    parser.add_argument("--retry", action="store_true", help="try frames again that failed")
    parser.add_argument("--processes", type=int, default=1, help="labels made at once, no more than cores; default: 1")
    parser.add_argument("--charge", type=int, help="total charge; default: what the file of frames says, else 0")
    parser.add_argument("--basis", help="default: cc-pvdz")
    parser.add_argument("--code", help="default: the first installed of the level's")
    options = parser.parse_args(arguments)
    if options.molecule is None and options.level is None:
        print(levels.table().to_string(index=False))
        return 0
    if options.molecule is None or options.level is None:
        parser.error("give both --molecule and --level, or neither for the table")
    try:
        _label(options)
    except (ValueError, ImportError, OSError, RuntimeError, CalculatorError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command with --resume goes on from here", file=sys.stderr)
        return 1
    return 0


def _label(options: argparse.Namespace) -> None:
    name, frames = _frames(options.molecule)
    if options.frames is not None:
        if not 0 < options.frames <= len(frames.pos):
            raise ValueError(f"--frames is {options.frames}; {name} has {len(frames.pos)} frames")
        frames.pos = frames.pos[: options.frames]
    ledger = options.output or Path(f"{files.short(name)}_{options.level}.jsonl")
    if ledger.suffix in (".npz", ".json"):
        raise ValueError(f"--output {ledger} is where the finished set goes; name the ledger .jsonl")
    if options.processes < 1:
        raise ValueError(f"--processes is {options.processes}; expected 1 or more")
    target = ledger.with_suffix(".npz")
    if target.exists() and Path(options.molecule).exists() and target.samefile(options.molecule):
        raise ValueError(f"{target} would take the place of the frames themselves; choose another --output")
    there = [path for path in (ledger, target) if path.exists() and path.stat().st_size]
    if there and not options.resume:
        raise ValueError(f"{there[0]} is there already; go on with it by --resume, or choose another --output")
    given = {key: getattr(options, key) for key in ("charge", "basis", "code")}
    settings = {key: value for key, value in given.items() if value is not None}
    sampled = frames.provenance.get("settings")
    sampled = sampled if isinstance(sampled, dict) else {}
    if options.charge is not None and sampled.get("charge", options.charge) != options.charge:
        raise ValueError(
            f"--charge is {options.charge}, and the frames of {name} say {sampled['charge']}; leave it out, or put "
            "right what the file says"
        )
    executor = processes.pool(options.processes) if options.processes > 1 else None
    try:
        with processes.ended_on_interrupt():
            labelled = label(frames, options.level, ledger, executor=executor, retry=options.retry, **settings)
    finally:
        if executor:
            executor.shutdown(cancel_futures=True)
    datasets.save(labelled, target)
    seconds = float(labelled.seconds.median())
    print(
        f"{len(labelled)} {options.level} labels of {name} in {target}, median {seconds:.3g} s; "
        f"{labelled.provenance['failures']} frames failed"
    )


def _frames(molecule: str) -> tuple[str, SimpleNamespace]:
    """Name and frames of an embedded molecule, in the order in which levels share frames, or of a file."""
    path = Path(molecule)
    if molecule in datasets.molecules():
        sampled = datasets.load(molecule, "gfn2")
        order = sources.archive(datasets.DATA / f"{molecule}_gfn2.npz", ["order"])["order"]
        known = {key: sampled.provenance[key] for key in ("smiles", "sampling", "temperature_K")}
        frames = {"z": sampled.z.numpy(), "pos": sampled.pos.numpy()[order], "provenance": known}
    elif not os.path.exists(path):  # False too for what is too long for a path
        raise ValueError(
            f"{molecule!r} is neither a file nor one of the embedded molecules {', '.join(datasets.molecules())}"
        )
    else:
        found = readers.frames(path)
        to_angstrom = units.factor(found.about.get("length_unit", "angstrom"), units.LENGTH)
        frames = {"z": found.z, "pos": to_angstrom * found.pos, "provenance": {"settings": found.settings}}
        if path.suffix == ".npz" and sources.has_record(path):  # as `asteroid.save` writes it, with the charge
            frames["provenance"] = sources.read_record(path)
    name = molecule if molecule in datasets.molecules() else path.stem
    return name, SimpleNamespace(molecule=name, **frames)


if __name__ == "__main__":
    sys.exit(main())
