"""Files of labelled frames as people have them: what ASE reads, npz files and ANI's hdf5, under the usual names."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from asteroid import state, units
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
_ENERGY, _FORCE = ("energy", "energies"), ("force", "forces")
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
        said: what else it says: name, level, theory, code, settings, energy_unit, length_unit, the unit_of each of the
            labels; read, where the labels stand; charge and multiplicity.
    """

    numbers: list[int]
    z: np.ndarray
    pos: np.ndarray
    labels: dict[str, list[Any]]
    said: dict[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, int]:
        """The charge and multiplicity that the file states, where they are not 0 and 1."""
        usual = {"charge": 0, "multiplicity": 1}
        return {name: self.said[name] for name in usual if self.said.get(name, usual[name]) != usual[name]}


def format_of(path: Path) -> str | None:
    """A value of `FORMATS`, or None for another ending."""
    *_, before, last = ["", "", *map(str.lower, path.suffixes)]
    if last in _COMPRESSED:
        return "extxyz" if FORMATS.get(before) == "extxyz" else None
    return FORMATS.get(last)


def read(
    path: Path,
    level: str | None,
    energy_unit: str | None = None,
    length_unit: str | None = None,
    force_unit: str | None = None,
    energy_key: str | None = None,
    forces_key: str | None = None,
    skip: Sequence[int] = (),
) -> dict[str, Any]:
    """Read labelled frames of one molecule; the options are those of `datasets.load`.

    Returns:
        Fields of a `LabelledSet`; `molecule` is what the file says, or else its name. The provenance has the charge and
        multiplicity that the frames state.

    Raises:
        DatasetError: an unreadable file, missing or several labels, missing units, or what `frames` refuses.
    """
    if format_of(path) is None:
        raise DatasetError(f"{path} ends with {path.suffix!r}; files are read that end with {', '.join(FORMATS)}.")
    frames_ = frames(path, skip)
    said = frames_.said
    level = level or said.get("level")
    if level is None:
        raise DatasetError(f"{path} does not say its level of theory: pass a name for it, as in level='b3lyp'.")
    energy_key, forces_key = _label_keys(path, frames_.labels, energy_key, forces_key)
    energy = _column(path, frames_, energy_key, "energy", ())
    force = _column(path, frames_, forces_key, "forces", frames_.pos.shape[1:])
    unit_of = said.get("unit_of", {})
    if energy_unit is None:
        force_unit = force_unit or unit_of.get(forces_key)
    energy_unit = energy_unit or unit_of.get(energy_key) or said.get("energy_unit")
    length_unit = length_unit or said.get("length_unit")
    scale = _factors(path, energy_unit, length_unit, force_unit)
    provenance = {name: said[name] for name in ("theory", "code", "settings") if name in said}
    provenance["read"] = f"{energy_key} and {forces_key} of the {said['read']} in {path.name}"
    if frames_.settings:
        note = {"note": provenance["settings"]} if "settings" in provenance else {}
        provenance["settings"] = frames_.settings | note
    if len(skip):
        provenance["skipped"] = sorted({int(k) for k in skip})
    seconds = frames_.labels.get("seconds")
    return {
        "molecule": said.get("name", _stem(path)),
        "level": level,
        "z": frames_.z,
        "pos": frames_.pos * scale[0],
        "energy": energy * scale[1],
        "force": force * scale[2],
        "seconds": None if seconds is None else np.asarray(seconds, dtype=float),
        "provenance": provenance,
    }


def frames(path: Path, skip: Sequence[int] = ()) -> Frames:
    """Frames of one molecule, labelled or not, in the file's units; unlabelled ones of all files that ASE reads.

    Raises:
        DatasetError: an unreadable file, several molecules, levels, charges or multiplicities in one file, a crystal.
    """
    known = format_of(path)
    if not path.is_file():
        raise DatasetError(f"There is no file {path}.")
    return _from_arrays(path, skip, known) if known in ("npz", "h5") else _from_ase(path, skip, known)


def _from_ase(path: Path, skip: Sequence[int], known: str | None) -> Frames:
    said: dict[str, Any] = {}
    try:
        images = _rows(path, said) if known == "db" else _images(path, known)
    except DatasetError:
        raise
    except Exception as error:  # Whatever ASE's parsers raise, the cause is the file.
        raise DatasetError(f"{path} is not a file that ASE reads ({type(error).__name__}: {error}).") from None
    numbers = _kept(path, len(images), skip)
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
            said[name] = images[0].info[name]
    said.setdefault("read", "frames")
    said |= _state(path, images)  # for labels of further levels
    labels = [_numbers_of(atoms) for atoms in images]
    names = dict.fromkeys(name for label in labels for name in label)
    columns = {name: [label.get(name) for label in labels] for name in names}
    return Frames(numbers, z, np.array(pos), columns, said)


def _images(path: Path, known: str | None) -> list[Atoms]:
    import ase.io

    return ase.io.read(path, index=":", format=known, do_not_split_by_at_sign=True)


def _rows(path: Path, said: dict[str, Any]) -> list[Atoms]:
    """The rows of an ASE database, what it keeps with them in `info`; SchNetPack states units for all of them."""
    import ase.db

    images = []
    with ase.db.connect(path, type="db") as database:
        for row in database.select():
            images.append(row.toatoms())
            images[-1].info |= {**row.key_value_pairs, **row.data}
        if "_distance_unit" in database.metadata:
            said["length_unit"] = database.metadata["_distance_unit"]
        said["unit_of"] = database.metadata.get("_property_unit_dict", {})
    said["read"] = "data and results of the rows"
    return images


def _numbers_of(atoms: Atoms) -> dict[str, Any]:
    """Energies and forces of a frame, wherever ASE keeps them; a constrained atom's force as it was calculated."""
    found = dict(atoms.calc.results if atoms.calc else {})
    for name, value in {**atoms.info, **atoms.arrays}.items():
        # Where a calculator and the frame say different ones, they are two sets of labels.
        found[name if _equal(found.get(name, value), value) else f"{name} of the frame"] = value
    return {name: value for name, value in found.items() if name not in ("numbers", "positions") and _is_number(value)}


def _is_number(value: Any) -> bool:
    if isinstance(value, bool | np.bool_):  # ASE's reading of a word without "="
        return False
    return isinstance(value, int | float | np.number) or (isinstance(value, np.ndarray) and value.dtype.kind in "fiu")


def _equal(a: Any, b: Any) -> bool:
    return a is b or (a is not None and b is not None and np.array_equal(a, b))


def _from_arrays(path: Path, skip: Sequence[int], known: str) -> Frames:
    names, arrays_of = _h5(path) if known == "h5" else (sources.names(path), lambda *keys: sources.archive(path, *keys))
    z_key, pos_key = _one_of(path, names, _NUMBERS, "atomic numbers"), _one_of(path, names, _POSITIONS, "positions")
    labels = [name for name in names if _tag(name, _ENERGY) is not None or _tag(name, _FORCE) is not None]
    texts = ("name", "theory", "code", "settings", "r_unit", "e_unit")
    states = [name for name in names if state.names_one(name)]
    arrays = arrays_of([z_key, pos_key, *labels], [*texts, *states, "seconds"])
    said = {name: arrays[name].astype(str) for name in texts if name in arrays}
    said = {name: text.item() for name, text in said.items() if text.size == 1}
    for ours, theirs in (("length_unit", "r_unit"), ("energy_unit", "e_unit")):
        if theirs in said:
            said[ours] = said.pop(theirs)
    pos = _as_numbers(path, pos_key, arrays[pos_key])
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
    columns = {name: _as_numbers(path, name, arrays[name]) for name in labels}
    # The first MD17 files hold energies as a column.
    columns = {name: column.reshape(-1) if column.size == len(pos) else column for name, column in columns.items()}
    columns |= {"seconds": arrays["seconds"]} if "seconds" in arrays else {}
    for name, column in columns.items():
        if column.ndim == 0 or len(column) != len(pos):
            raise DatasetError(f"{path}: {name} has the shape {column.shape}, and {pos_key} has {len(pos)} frames.")
    info = {name: arrays[name].reshape(-1)[0].item() for name in states if arrays[name].size}
    for name in states:
        if len(found := np.unique(arrays[name])) > 1:
            raise DatasetError(f"{path}: {name} holds {found.tolist()}; expected that of one molecule.")
    said["read"] = f"frames, {z_key} and {pos_key},"
    said |= _state(path, [Atoms(z, pos[0], info=info)])
    return Frames(kept, z, pos[kept], {name: list(column[kept]) for name, column in columns.items()}, said)


def _state(path: Path, frames: Iterable[Atoms]) -> dict[str, int]:
    try:
        return state.of_all(frames)
    except ValueError as error:
        raise DatasetError(f"{path}: {error}") from None


def _h5(path: Path) -> tuple[list[str], Callable[..., dict[str, np.ndarray]]]:
    """Names and a reader of the arrays of an hdf5 file of one molecule, as ANI has one group for each composition."""
    try:
        import h5py
    except ModuleNotFoundError:
        raise ImportError(f"{path} needs h5py: `pip install h5py`; or write its arrays into an .npz file") from None
    arrays: dict[str, dict[str, np.ndarray]] = {}

    def keep(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            group, _, key = name.rpartition("/")
            arrays.setdefault(group, {})[key] = item[()]

    try:
        with h5py.File(path) as opened:
            opened.visititems(keep)
    except OSError as error:
        raise DatasetError(f"{path} is truncated, damaged or no hdf5 file ({error}).") from None
    molecules = [
        name for name, found in arrays.items() if {key.lower() for key in found} & {"coordinates", "coords", "r"}
    ]
    if len(molecules) != 1:
        some = ", ".join(molecules[:5])
        raise DatasetError(
            f"{path} holds {len(molecules)} molecules, such as {some}; one was expected. Write the arrays of one group "
            "into an .npz file."
        )
    found = arrays[molecules[0]]
    return list(found), lambda required, optional: {key: found[key] for key in (*required, *optional) if key in found}


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


def _as_numbers(path: Path, key: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "fiu":
        raise DatasetError(f"{path}: {key} holds {array.dtype}; numbers were expected.")
    return array.astype(np.float64)


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


def _tag(name: str, words: tuple[str, ...]) -> str | None:
    """What a name says besides that it is an energy, such as "ref" of REF_energy; None if it is no energy, or force."""
    if name == words[0][0].upper():
        return ""
    parts = re.split(r"[_.\-\s]+", name.lower())
    if not set(parts) & set(words) or set(parts) & _NO_LABEL:
        return None
    return "_".join(part for part in parts if part not in (*words, "total", "potential"))


def _label_keys(
    path: Path, labels: dict[str, list[Any]], energy_key: str | None, forces_key: str | None
) -> tuple[str, str]:
    """The names of the energies and forces that belong together; a pair that repeats another is none of its own."""
    names = list(labels)
    for option, key in (("energy_key", energy_key), ("forces_key", forces_key)):
        if key is not None and key not in names:
            raise DatasetError(f"{path} has no {key!r}; {option} is one of {', '.join(names) or 'none'}.")
    # Revised MD17 keeps the labels that it revises.
    tags = [
        {name: tag for name in names if (tag := _tag(name, words)) not in (None, "old")} for words in (_ENERGY, _FORCE)
    ]
    # ASE's calculators keep an energy for each atom, too.
    tags[0] = {name: tag for name, tag in tags[0].items() if all(np.size(one) == 1 for one in labels[name][:1])}
    energies, forces = tags
    pairs = [(e, f) for e, tag in energies.items() for f, of_force in forces.items() if tag == of_force]
    if len(energies) == len(forces) == 1:
        pairs = [(*energies, *forces)]
    if energy_key is not None or forces_key is not None:
        if energy_key is not None and forces_key is not None:
            return energy_key, forces_key
        pairs = [(e, f) for e, f in pairs if energy_key == e or forces_key == f]
        if not pairs and len(forces if forces_key is None else energies) == 1:
            pairs = [(energy_key or next(iter(energies)), forces_key or next(iter(forces)))]
    pairs = [
        pair
        for k, pair in enumerate(pairs)
        if not any(all(map(_same, map(labels.get, pair), map(labels.get, other))) for other in pairs[:k])
    ]
    if len(pairs) == 1:
        return pairs[0]
    if not pairs:
        raise DatasetError(
            f"{path}: no energy and forces were found that belong together, such as energy and forces, REF_energy and "
            f"REF_forces, E and F; it has {', '.join(names) or 'none'}. Name them by energy_key and forces_key."
        )
    found = "; ".join(f"{e} and {f}" for e, f in pairs)
    raise DatasetError(
        f"{path} has several sets of labels: {found}. Choose one, as by energy_key={pairs[-1][0]!r}, "
        f"forces_key={pairs[-1][1]!r}."
    )


def _same(column: list[Any], other: list[Any]) -> bool:
    return all(_equal(a, b) for a, b in zip(column, other, strict=True))


def _column(path: Path, frames_: Frames, key: str, what: str, shape: tuple[int, ...]) -> np.ndarray:
    """Labels (frames, *shape) under a name, of which no frame may lack one."""
    column = frames_.labels[key]
    lacking = [k for k, value in zip(frames_.numbers, column, strict=True) if value is None]
    if lacking:
        there = f"{len(column) - len(lacking)} of {len(column)} have it"
        raise DatasetError(
            f"{path}: frame {lacking[0]} has no {what} under {key!r} ({there}); leave out the frames without by "
            f"skip={lacking if len(lacking) < 20 else f'[{lacking[0]}, …]'}."
        )
    expected = int(np.prod(shape))
    for k, value in zip(frames_.numbers, column, strict=True):
        if np.size(value) != expected:
            raise DatasetError(f"{path}: {key} of frame {k} has the shape {np.shape(value)}; expected {shape}.")
    return np.array([np.reshape(value, shape) for value in column], dtype=np.float64)


def _factors(path: Path, energy_unit: str | None, length_unit: str | None, force_unit: str | None) -> list[float]:
    """What turns positions, energies and forces of a file into Å, kcal/mol and kcal/mol/Å."""
    for what, unit in (("energy_unit", energy_unit), ("length_unit", length_unit)):
        if unit is None:
            example = "'eV'" if what == "energy_unit" else "'angstrom'"
            raise DatasetError(f"{path} does not state its units: pass {what}, such as {what}={example}.")
    try:
        length, energy = units.factor(length_unit, units.LENGTH), units.factor(energy_unit, units.ENERGY)
        return [length, energy, energy / length if force_unit is None else units.force_factor(force_unit)]
    except ValueError as error:
        raise DatasetError(f"{path}: {error}") from None


def _stem(path: Path) -> str:
    return path.name[
        : len(path.name) - sum(map(len, path.suffixes[-2 if path.suffix.lower() in _COMPRESSED else -1 :]))
    ]
