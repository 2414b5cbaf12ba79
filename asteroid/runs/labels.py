"""The labelled sets that runs name, each read once."""

from functools import cache
from pathlib import Path

from asteroid import datasets
from asteroid.baselines import delta


def molecule_name(molecule: str) -> str:
    """The name of a molecule, or of its file: the same labels in another folder make the same run."""
    return Path(molecule).stem.removesuffix("_{level}")


def labels(molecule: str, level: str) -> datasets.LabelledSet:
    """A set that runs name, read once, or anew if its file was written anew."""
    path = Path(molecule.replace("{level}", level))
    return _read(str(path), level, path.stat().st_mtime_ns if path.is_file() else None)


@cache
def _read(molecule: str, level: str, written: int | None) -> datasets.LabelledSet:
    return datasets.load(molecule, level=level)


def pairs(molecule: str, accurate: str, cheap: str) -> delta.Pairs:
    """The labels of two levels of one molecule, frame by frame, as Δ-ML learns them."""
    return _pairs(labels(molecule, accurate), labels(molecule, cheap))


@cache
def _pairs(accurate: datasets.LabelledSet, cheap: datasets.LabelledSet) -> delta.Pairs:
    return delta.pair(accurate, cheap)
