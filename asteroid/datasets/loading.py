"""Embedded sets, MD17 and files: load and save."""

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from asteroid.datasets import labels, readers, sources
from asteroid.datasets.frames import LabelledSet
from asteroid.datasets.sources import DatasetError

if TYPE_CHECKING:
    import pandas as pd

DATA = Path(__file__).parents[1] / "data"
"""Folder of the embedded sets: MOLECULE_LEVEL.npz, and its record MOLECULE_LEVEL.json."""


_CHEAP_TO_ACCURATE = ("mmff", "gfn2", "pbe", "ccsd", "ccsd(t)")


def load(
    molecule: str | os.PathLike,
    level: str | None = None,
    *,
    root: str | os.PathLike | None = None,
    energy_unit: str | None = None,
    length_unit: str | None = None,
    force_unit: str | None = None,
    energy_key: str | None = None,
    forces_key: str | None = None,
    skip: Sequence[int] = (),
    group: str | None = None,
) -> LabelledSet:
    """Load an embedded set, a molecule of MD17, or a file.

    Names of labels that are known in files are energy, energies or E with forces, force or F, alone or with the same
    word before or behind them (REF_energy and REF_forces, total_energy, wb97x_dz.energy); those of sGDML, MD17 and
    revised MD17, NequIP, SchNetPack, MACE and ANI are among them. Periodic frames are taken if they are of a molecule
    alone in a large cell, which is made whole where the cell cuts it.

    Args:
        molecule: one of `molecules()`; or "md17:NAME", such as "md17:aspirin"; or the path of a file: extended xyz,
            compressed or not, .traj or .db of ASE, .npz, or ANI's .h5.
        level: embedded: one of `levels(molecule)`, may be left out where there is only one. MD17: "dft",
            "dft-revised", "dft-fhi-aims", "ccsd" or "ccsd(t)"; or one of your own, if `save` wrote NAME_LEVEL.npz in
            `root`. A file: a name of your own, needed unless `save` or `to_extxyz` wrote the file.
        root: MD17 only, folder of its files; default: the environment's ASTEROID_MD17, else ~/.cache/asteroid/md17.
        energy_unit: files only, as are all that follow; such as "eV"; goes before what the file states.
        length_unit: of positions, such as "angstrom"; goes before what the file states.
        force_unit: such as "hartree/bohr"; None: energy over length.
        energy_key: name of the energies, where the file has several or one that is not known.
        forces_key: name of the forces.
        skip: numbers of frames to leave out, counted from 0. The isolated atoms of MACE's files are left out anyway.
        group: the molecule's group in an .h5 file that has several.

    Returns:
        The labelled frames in kcal/mol and Å.

    Raises:
        DatasetError: unknown molecule or level, failed download, damaged file, unusable labels.
    """
    name = os.fspath(molecule)
    is_md17 = name.startswith("md17:")
    is_file = isinstance(molecule, os.PathLike) or bool(Path(name).suffix) or Path(name).is_file()
    options = {"energy_unit": energy_unit, "length_unit": length_unit, "force_unit": force_unit}
    skip = tuple(np.atleast_1d(np.asarray(skip, dtype=object)).tolist())
    options |= {"energy_key": energy_key, "forces_key": forces_key, "skip": skip, "group": group}
    if root is not None and not is_md17:
        raise DatasetError(f"root is the folder of MD17's files and means nothing for {name!r}; leave it out.")
    given = [option for option, value in options.items() if value is not None and value != ()]
    if given and (is_md17 or not is_file):
        raise DatasetError(f"The units and frames of {name!r} are known; give {' and '.join(given)} for files only.")
    if is_md17:
        return _build(**sources.read_md17(name.removeprefix("md17:"), level, root))
    if is_file:
        return _load_file(Path(name).expanduser(), level, options)
    known = levels(name)
    if level is None and len(known) > 1:
        raise DatasetError(f"{name} has the levels {', '.join(known)}; pass one, as in load({name!r}, {known[-1]!r}).")
    level = level or known[0]
    if level not in known:
        raise DatasetError(f"{name} has no level {level!r}; it has {', '.join(known)}.{_suggestion(level, known)}")
    return _build(**sources.read_saved(DATA / f"{name}_{level}.npz", "Reinstall asteroid, or `git checkout` the file."))


def save(labelled: LabelledSet, path: str | os.PathLike, extra: Mapping[str, np.ndarray] | None = None) -> None:
    """Write a set as an npz file that sGDML and readers of MD17 read, and its record as JSON beside it.

    Both are written under temporary names first, so a failure leaves what was there before. The record holds the
    provenance, the number of frames and atoms, how many were timed, their median seconds and the file's SHA-256.

    Args:
        labelled: the set.
        path: ends with .npz; the record gets the same name with .json.
        extra: further arrays to keep in the file for other programs; `load` does not read them.

    Raises:
        DatasetError: the name does not end with .npz, or writing fails, as on a full disk.

    Source:
        The layout of sGDML 1.0 (Chmiela et al., Comput. Phys. Commun. 240, 38, 2019), with its MD5 fingerprint.
    """
    tensors = {name: getattr(labelled, name) for name in ("pos", "z", "energy", "force", "seconds")}
    arrays = {name: None if tensor is None else tensor.cpu().numpy() for name, tensor in tensors.items()}
    record = {"molecule": labelled.molecule, "level": labelled.level, **labelled.provenance}
    sources.write_npz(Path(path), arrays, record, extra or {})


def is_here(molecule: str, level: str) -> bool:
    """Whether `load` finds a set without a network; nothing is downloaded or read."""
    if molecule.startswith("md17:"):
        return sources.md17_is_here(molecule.removeprefix("md17:"), level)
    return (DATA / f"{molecule}_{level}.npz").is_file() or Path(molecule).is_file()


def molecules() -> list[str]:
    """Names of the embedded molecules."""
    return sorted({path.name.rpartition("_")[0] for path in DATA.glob("*_*.json")})


def levels(molecule: str) -> list[str]:
    """Levels of an embedded molecule, the cheapest first.

    Raises:
        DatasetError: unknown molecule; the message lists the known ones.
    """
    known = molecules()
    if molecule not in known:
        raise DatasetError(
            f"No molecule {molecule!r} is embedded; known are {', '.join(known)}.{_suggestion(molecule, known)} "
            f"Others: 'md17:NAME', or the path of a file that ends with {', '.join(readers.FORMATS)}."
        )
    found = {path.stem.rpartition("_")[2] for path in DATA.glob(f"{molecule}_*.json")}
    return sorted(found, key=_CHEAP_TO_ACCURATE.index)


def overview() -> "pd.DataFrame":
    """One row for each embedded molecule and level, from the records and the frame numbers, without reading labels.

    Returns:
        Columns molecule, SMILES, atoms, level, theory, code, labels, "also accurate" (frames that have a label of
        ccsd(t), or of ccsd where there is none, too), "seconds per label" (median, one core), "timed" (labels that it
        is the median of), "core hours" (that price times all labels), "temperature K" (of the sampling).
    """
    import pandas as pd

    rows = []
    for molecule in molecules():
        known = levels(molecule)
        accurate = [level for level in known if level in ("ccsd(t)", "ccsd")][-1:]
        shared = [_frame_numbers(molecule, level) for level in accurate] or [[]]
        for level in known:
            record = sources.read_record(DATA / f"{molecule}_{level}.npz")
            seconds = record["seconds_median"] if record["timed"] else np.nan
            columns = ("molecule", "smiles", "atoms", "level", "theory")
            rows.append(
                {column: record[column] for column in columns}
                | {
                    "code": f"{record['code']} {record['code_version']}",
                    "labels": record["frames"],
                    "also accurate": len(np.intersect1d(_frame_numbers(molecule, level), shared[0])),
                    "seconds per label": seconds,
                    "timed": record["timed"],
                    "core hours": seconds * record["frames"] / 3600,
                    "temperature K": record["temperature_K"],
                }
            )
    return pd.DataFrame(rows).rename(columns={"smiles": "SMILES"})


def _build(molecule: str, level: str, provenance: Mapping[str, Any], **arrays: np.ndarray | None) -> LabelledSet:
    """A set from the arrays of a reader, in any number type."""
    tensors = {
        key: None if array is None else torch.from_numpy(array.astype(np.int64 if key == "z" else np.float64))
        for key, array in arrays.items()
    }
    return LabelledSet(molecule=molecule, level=level, provenance=provenance, **tensors)


def _load_file(path: Path, level: str | None, options: Mapping[str, Any]) -> LabelledSet:
    if path.suffix == ".npz" and sources.has_record(path):
        fix = f"Delete {path.with_suffix('.json').name} if the labels are right, and give level and units."
        labelled = _build(**sources.read_saved(path, fix))
        given = [option for option, value in options.items() if value is not None and value != ()]
        if level not in (None, labelled.level) or given:
            states = f"has a record that states level {labelled.level!r}, kcal/mol and Å"
            raise DatasetError(f"{path} {states}; leave out {' and '.join(given) or 'level'}.")
        return labelled
    arrays = labels.read(path, level, **options)
    try:
        return _build(**arrays)
    except DatasetError as error:
        raise DatasetError(f"{error} (These are {arrays['provenance']['read']}.)") from None


def _frame_numbers(molecule: str, level: str) -> np.ndarray:
    """Indices of an embedded set's frames in the sampled trajectory, which all levels share."""
    return sources.archive(DATA / f"{molecule}_{level}.npz", ["frame"])["frame"]


def _suggestion(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name.lower(), known, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
