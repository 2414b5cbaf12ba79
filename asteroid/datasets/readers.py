"""Frames in files as people have them: what ASE reads, npz files and ANI's hdf5, under the usual names."""

import re
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from asteroid import state
from asteroid.datasets import sources, structure
from asteroid.datasets.sources import DatasetError

FORMATS = {
    ".extxyz": "extxyz",
    ".xyz": "extxyz",
    ".traj": "traj",
    ".db": "db",
    ".npz": "npz",
    ".h5": "h5",
    ".hdf5": "h5",
}
"""Endings of the files that are read, in any case, those of text compressed or not."""

_COMPRESSED = (".gz", ".bz2", ".xz")
# Names in sGDML's and MD17's files, revised MD17, NequIP's and ANI's; in any case but for single letters.
_POSITIONS = ("R", "coords", "coordinates", "positions", "pos")
_NUMBERS = ("z", "Z", "nuclear_charges", "atomic_numbers", "numbers", "species")
ENERGY, FORCE = ("energy", "energies"), ("force", "forces")
"""Words that name labels."""

_NO_LABEL = {
    *("kinetic", "std", "var", "error", "mean", "min", "max", "atom", "atomic", "node", "unit", "units", "mask", "per"),
}
_LEVEL = ("level", "method", "theory", "functional", "xc", "basis")


@dataclass
class Frames:
    """Frames of one molecule as a file has them, in its units.

    Attributes:
        numbers: of the frames in the file, of which some may be skipped.
        z: (atoms,), pos: (frames, atoms, 3).
        labels: numbers that the file keeps with each frame, by name; None where a frame lacks one.
        about: what else it says: name, level, theory, code, settings, energy_unit, length_unit, the unit_of each of the
            labels; read, where the labels stand; charge and multiplicity.
        unfit: why what is there under a name is no label, by name.
        left_out: numbers of frames that are not of the molecule and were left out: the isolated atoms of MACE's files.
    """

    numbers: list[int]
    z: np.ndarray
    pos: np.ndarray
    labels: dict[str, list[Any]]
    about: dict[str, Any] = field(default_factory=dict)
    unfit: dict[str, str] = field(default_factory=dict)
    left_out: list[int] = field(default_factory=list)

    @property
    def settings(self) -> dict[str, int]:
        """The charge and multiplicity that the file states, where they are not 0 and 1."""
        usual = {"charge": 0, "multiplicity": 1}
        return {name: self.about[name] for name in usual if self.about.get(name, usual[name]) != usual[name]}


def format_of(path: Path) -> str | None:
    """A value of `FORMATS`, or None for another ending."""
    *_, before, last = ["", "", *map(str.lower, path.suffixes)]
    if last in _COMPRESSED:
        return "extxyz" if FORMATS.get(before) == "extxyz" else None
    return FORMATS.get(last)


def frames(path: Path, skip: Sequence[int] = (), group: str | None = None, keys: Sequence[str] = ()) -> Frames:
    """Frames of one molecule, labelled or not, in the file's units; unlabelled ones of all files that ASE reads.

    Args:
        path: of the file.
        skip: numbers of frames to leave out.
        group: of an hdf5 file with several molecules, that of one.
        keys: names under which labels stand that their words do not tell.

    Raises:
        DatasetError: an unreadable file, several molecules, levels, charges or multiplicities in one file, a crystal.
    """
    known = format_of(path)
    if not path.is_file():
        raise DatasetError(f"There is no file {path}.")
    if group is not None and known != "h5":
        raise DatasetError(f"group is {group!r}, and {path} has no groups, which hdf5 files have; leave it out.")
    if known in ("npz", "h5"):
        return _from_arrays(path, skip, _h5(path, group) if known == "h5" else _npz(path), keys)
    return _from_ase(path, skip, known)


def _from_ase(path: Path, skip: Sequence[int], known: str | None) -> Frames:
    about: dict[str, Any] = {"read": "frames"}
    try:
        images = _rows(path, about) if known == "db" else _images(path, known)
    except DatasetError:
        raise
    except Exception as error:  # Whatever ASE's parsers raise, the cause is the file.
        raise DatasetError(f"{path} is not a file that ASE reads ({type(error).__name__}: {error}).") from None
    isolated = [k for k, atoms in enumerate(images) if _is_isolated_atom(atoms)]
    if len(isolated) == len(images):  # a set of one atom is what was meant
        isolated = []
    numbers = [k for k in _kept(path, len(images), skip) if k not in isolated]
    images = [images[k] for k in numbers]
    z, pos = images[0].numbers, []
    for k, atoms in zip(numbers, images, strict=True):
        if not np.array_equal(atoms.numbers, z):
            raise DatasetError(
                f"{path}: frame {k} is {atoms.get_chemical_formula('reduce')}, frame {numbers[0]} is "
                f"{images[0].get_chemical_formula('reduce')}. One file holds one molecule, its atoms in one order; "
                f"split the file or reorder the atoms, or leave frames out by skip=[{k}, …]."
            )
        placed = structure.whole(atoms)
        if placed is None:
            raise DatasetError(
                f"{path}: frame {k} is periodic, and no molecule alone: its images are nearer than "
                f"{structure.LEAST_GAP:g} Å, or it is in pieces. Expected an isolated molecule; write it without pbc."
            )
        pos.append(placed)
    for name in (*_LEVEL, "energy_unit", "length_unit"):
        if len(found := sorted({str(atoms.info[name]) for atoms in images if name in atoms.info})) > 1:
            raise DatasetError(
                f"{path} holds frames of several kinds: {name} is {' and '.join(found)}. One set has one level and one "
                "unit; split the file, or leave the frames of the other out by skip=[…]."
            )
    for name in ("level", "energy_unit", "length_unit"):  # as `to_extxyz` writes them
        if name in images[0].info:
            about[name] = images[0].info[name]
    about |= _state(path, images)  # for labels of further levels
    labels = [_numbers_of(atoms) for atoms in images]
    names = dict.fromkeys(name for label in labels for name in label)
    columns = {name: [label.get(name) for label in labels] for name in names}
    others = {name: value for atoms in images for name, value in atoms.info.items() if name not in columns}
    unfit = {name: f"holds {value!r}; numbers were expected" for name, value in others.items()}
    return Frames(numbers, z, np.array(pos), columns, about, unfit, isolated)


def _is_isolated_atom(atoms: Atoms) -> bool:
    """Whether a frame is one of MACE's for the energy of an atom alone, which stand beside those of the molecule."""
    return len(atoms) == 1 and str(atoms.info.get("config_type", "")).lower() == "isolatedatom"


def _images(path: Path, known: str | None) -> list[Atoms]:
    import ase.io

    return ase.io.read(path, index=":", format=known, do_not_split_by_at_sign=True)


def _rows(path: Path, about: dict[str, Any]) -> list[Atoms]:
    """The rows of an ASE database, what it keeps with them in `info`; SchNetPack states units for all of them."""
    import ase.db

    _check_ase_database(path)
    images = []
    with ase.db.connect(path, type="db") as database:
        for row in database.select():
            images.append(row.toatoms())
            images[-1].info |= {**row.key_value_pairs, **row.data}
        if "_distance_unit" in database.metadata:
            about["length_unit"] = database.metadata["_distance_unit"]
        about["unit_of"] = database.metadata.get("_property_unit_dict", {})
    about["read"] = "data and results of the rows"
    return images


def _check_ase_database(path: Path) -> None:
    """Raise a DatasetError for another program's database: ASE would add its tables to it."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    if "systems" not in tables:
        raise DatasetError(
            f"{path} is a database, but not of ASE: it has the tables {', '.join(tables) or 'none'}; expected systems. "
            "Write its frames as extended xyz or npz."
        )


def _numbers_of(atoms: Atoms) -> dict[str, Any]:
    """Energies and forces of a frame, wherever ASE keeps them; a constrained atom's force as it was calculated."""
    found = dict(atoms.calc.results if atoms.calc else {})
    for name, value in {**atoms.info, **atoms.arrays}.items():
        # Where a calculator and the frame say different ones, they are two sets of labels.
        found[name if equal(found.get(name, value), value) else f"{name} of the frame"] = value
    return {name: value for name, value in found.items() if name not in ("numbers", "positions") and _is_number(value)}


def _is_number(value: Any) -> bool:
    if isinstance(value, bool | np.bool_):  # ASE's reading of a word without "="
        return False
    return isinstance(value, int | float | np.number) or (isinstance(value, np.ndarray) and value.dtype.kind in "fiu")


def equal(a: Any, b: Any) -> bool:
    return a is b or (a is not None and b is not None and np.array_equal(a, b))


# Names of arrays, and what reads those of which the first must be there and the others may be.
_Arrays = tuple[list[str], Callable[[Sequence[str], Sequence[str]], dict[str, np.ndarray]]]


def _from_arrays(path: Path, skip: Sequence[int], opened: _Arrays, keys: Sequence[str]) -> Frames:
    names, arrays_of = opened
    z_key, pos_key = _one_of(path, names, _NUMBERS, "atomic numbers"), _one_of(path, names, _POSITIONS, "positions")
    labels = [name for name in names if name in keys or is_label(name)]
    texts = ("name", "theory", "code", "settings", "r_unit", "e_unit")
    states = [name for name in names if state.names_one(name)] or [name for name in names if name == "Q"]  # PhysNet's
    arrays = arrays_of([z_key, pos_key], [*labels, *texts, *states, "seconds"])
    about = {name: arrays[name].astype(str) for name in texts if name in arrays}
    about = {name: text.item() for name, text in about.items() if text.size == 1}
    for ours, theirs in (("length_unit", "r_unit"), ("energy_unit", "e_unit")):
        if theirs in about:
            about[ours] = about.pop(theirs)
    if arrays[pos_key].dtype.kind not in "fiu":
        raise DatasetError(f"{path}: {pos_key} holds {arrays[pos_key].dtype}; numbers were expected.")
    pos = arrays[pos_key].astype(np.float64)
    if pos.ndim != 3 or pos.shape[2] != 3:
        raise DatasetError(f"{path}: {pos_key} has the shape {pos.shape}; expected (frames, atoms, 3).")
    kept = _kept(path, len(pos), skip)
    z = _elements(path, z_key, arrays[z_key])
    if z.ndim == 2:  # NequIP's, for each frame
        if (other := (z != z[0]).any(axis=1)).any():
            k = int(other.argmax())
            raise DatasetError(
                f"{path}: {z_key} of frame {k} is {z[k].tolist()}, of frame 0 {z[0].tolist()}. One file holds one "
                "molecule, its atoms in one order; split the file or reorder the atoms."
            )
        z = z[0]
    columns, unfit = {}, {}
    for name in dict.fromkeys([*labels, *(["seconds"] if "seconds" in arrays else [])]):
        column = arrays.get(name)
        if column is None:
            unfit[name] = "holds pickled objects, which are not read"
        elif column.dtype.kind not in "fiu":
            unfit[name] = f"holds {column.dtype}; numbers were expected"
        elif column.size == len(pos):  # the first MD17 files hold energies as a column
            columns[name] = column.reshape(-1).astype(np.float64)
        elif column.ndim == 0 or len(column) != len(pos):
            unfit[name] = f"has the shape {column.shape}, and {pos_key} has {len(pos)} frames"
        else:
            columns[name] = column.astype(np.float64)
    info = {}
    for name in states:
        array = arrays.get(name)  # None is a pickled object
        if array is None:
            continue
        if name == "Q" and array.size not in (1, len(pos)):  # charges of atoms
            continue
        if len(found := np.unique(array)) > 1:
            several = ", ".join(map(str, found[:5].tolist())) + (" and others" if len(found) > 5 else "")
            raise DatasetError(f"{path}: {name} holds {several}; expected that of one molecule.")
        info |= {"charge" if name == "Q" else name: value.item() for value in array.reshape(-1)[:1]}
    about["read"] = f"frames, {z_key} and {pos_key},"
    about |= _state(path, [Atoms(z, pos[0], info=info)])
    return Frames(kept, z, pos[kept], {name: list(column[kept]) for name, column in columns.items()}, about, unfit)


def _npz(path: Path) -> _Arrays:
    return sources.names(path), lambda required, optional: sources.archive(path, required, optional)


def _state(path: Path, frames: Iterable[Atoms]) -> dict[str, int]:
    try:
        return state.of_all(frames)
    except ValueError as error:
        raise DatasetError(f"{path}: {error}") from None


def _h5(path: Path, group: str | None) -> _Arrays:
    """The arrays of one molecule of an hdf5 file, which has a group for each, as ANI's has for each composition."""
    try:
        import h5py
    except ModuleNotFoundError:
        raise ImportError(f"{path} needs h5py: `pip install h5py`; or write its arrays into an .npz file") from None
    groups: dict[str, list[str]] = {}

    def note(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            parent, _, key = name.rpartition("/")
            groups.setdefault(parent, []).append(key)

    try:
        with h5py.File(path) as opened:
            opened.visititems(note)
            molecules = [
                name for name, keys in groups.items() if {key.lower() for key in keys} & {"coordinates", "coords", "r"}
            ]
            if group is None and len(molecules) == 1:
                group = molecules[0]
            if group not in molecules:
                more = f" and {len(molecules) - 20} more" if len(molecules) > 20 else ""
                found = f"the molecules {', '.join(molecules[:20])}{more}" if molecules else "no group with positions"
                asked = "" if group is None else f", and not {group!r}"
                choose = f" Choose one, as by group={molecules[0]!r}." if molecules else ""
                raise DatasetError(f"{path} has {found}{asked}; one molecule was expected.{choose}")
            arrays = {key: opened[f"{group}/{key}"][()] for key in groups[group]}
    except OSError as error:
        raise DatasetError(f"{path} is truncated, damaged or no hdf5 file ({error}).") from None
    return list(arrays), lambda required, optional: {
        key: arrays[key] for key in (*required, *optional) if key in arrays
    }


def _one_of(path: Path, names: list[str], known: tuple[str, ...], what: str) -> str:
    found = [name for name in names if name in known or name.lower() in known[1:]]
    if not found:
        raise DatasetError(
            f"{path} has no {what}: one of {', '.join(known)} was expected, found {', '.join(names)}. Rename the array."
        )
    return found[0]


def _elements(path: Path, key: str, array: np.ndarray) -> np.ndarray:
    """Atomic numbers, which ANI's files write as symbols."""
    if array.dtype.kind in "SUO":
        symbols = np.char.decode(array.astype("S")) if array.dtype.kind != "U" else array
        try:
            return np.vectorize(atomic_numbers.__getitem__)(symbols)
        except KeyError as error:
            raise DatasetError(f"{path}: {key} holds {error}; symbols of elements were expected.") from None
    if array.dtype.kind not in "fiu" or (array % 1 != 0).any():
        raise DatasetError(f"{path}: {key} holds {array.tolist()}; whole atomic numbers were expected.")
    return array.astype(np.int64)


def _kept(path: Path, count: int, skip: Sequence[int]) -> list[int]:
    """Numbers of the frames that are not skipped."""
    if strange := [k for k in skip if k not in range(count)]:
        raise DatasetError(f"skip has {strange[0]!r}; {path} has the frames 0 to {count - 1}.")
    kept = sorted(set(range(count)) - {int(k) for k in skip})
    if not kept:
        raise DatasetError(
            f"{path} holds no frame{' that is not skipped' if count else ''}; at least one was expected."
        )
    return kept


def is_label(name: str) -> bool:
    """Whether a name says that energies or forces stand under it."""
    return any(tag(name, words) is not None for words in (ENERGY, FORCE))


def tag(name: str, words: tuple[str, ...]) -> str | None:
    """What a name says besides that it is an energy, such as "ref" of REF_energy; None if it is no energy, or force."""
    if name == words[0][0].upper():
        return ""
    parts = re.split(r"[_.\-\s]+", name.lower())
    if not set(parts) & set(words) or set(parts) & _NO_LABEL:
        return None
    return "_".join(part for part in parts if part not in (*words, "total", "potential"))


def stem(path: Path) -> str:
    """The name of a file without its ending, of a compressed one without both."""
    return path.name[
        : len(path.name) - sum(map(len, path.suffixes[-2 if path.suffix.lower() in _COMPRESSED else -1 :]))
    ]
