"""Labelled frames of one molecule at one level of theory: load, save, split.

Axes: frames, atoms, 3. Units: kcal/mol, Å, seconds of wall time on one core.
"""

import difflib
import hashlib
import numbers
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from asteroid import export, readers, sources
from asteroid.checks import check, check_same_molecule
from asteroid.sources import DatasetError

if TYPE_CHECKING:
    import pandas as pd

DATA = Path(__file__).parent / "data"
"""Folder of the embedded sets: MOLECULE_LEVEL.npz, and its record MOLECULE_LEVEL.json."""

SAME_GEOMETRY = 1e-3
"""Å by which positions of one geometry may differ: files round them, while a step of dynamics moves atoms ten times as
far."""

_CHEAP_TO_ACCURATE = ("mmff", "gfn2", "pbe", "ccsd", "ccsd(t)")


@dataclass(frozen=True, eq=False)
class LabelledSet:
    """Frames of one molecule, labelled at one level of theory.

    Two frames are the same where no atom is further than `SAME_GEOMETRY` from where it is in the other.

    Args:
        molecule: name.
        level: level of theory, such as "ccsd(t)".
        z: (atoms,) int64, atomic numbers.
        pos: (frames, atoms, 3) float64, Å.
        energy: (frames,) float64, kcal/mol.
        force: (frames, atoms, 3) float64, kcal/mol/Å.
        seconds: (frames,) float64, measured wall seconds of each label, NaN where it was not timed; or None.
        provenance: theory, basis, code, settings, sampling, temperature_K, licence and the like, as JSON types.

    Raises:
        DatasetError: shapes or types that do not fit, no frame, no atomic numbers, numbers that are not finite, atoms
            closer than 0.2 Å, or hydrogen atoms far from all others or a mean force above 500 kcal/mol/Å, which mean
            wrong units; forces that turn the molecule, or, of 50 frames and more, that are not those of the energies.

    Warns:
        UserWarning: frames that stand out by their forces or energy, or that are of an isomer; energies that have
            nothing to do with the forces.
    """

    molecule: str
    level: str
    z: Tensor
    pos: Tensor
    energy: Tensor
    force: Tensor
    seconds: Tensor | None
    provenance: Mapping[str, Any]

    def __post_init__(self) -> None:
        check(self)

    def __repr__(self) -> str:
        return f"LabelledSet({self.molecule!r}, {self.level!r}, {len(self)} frames of {len(self.z)} atoms)"

    def __len__(self) -> int:
        return len(self.energy)

    def __getitem__(self, index: slice | Tensor | np.ndarray | Sequence[int]) -> "LabelledSet":
        """The frames at a slice, a list or array of indices, or a mask."""
        rows = torch.from_numpy(np.arange(len(self))[_numpy_index(index)])
        seconds = None if self.seconds is None else self.seconds[rows]
        labels = (self.z, self.pos[rows], self.energy[rows], self.force[rows])
        if not len(rows):
            raise DatasetError(f"No frame of {self} is chosen; a set has at least 1.")
        # What is said of places in the whole set is not true of a part; the price of a label stays what it is.
        of_places = ("published_train", "skipped")
        provenance = {key: value for key, value in self.provenance.items() if key not in of_places}
        if self.median_seconds is not None:
            provenance["seconds_median"] = self.median_seconds
        names = ("z", "pos", "energy", "force", "seconds", "provenance")
        return self.derived(**dict(zip(names, (*labels, seconds, provenance), strict=True)))

    def derived(self, **changes: Any) -> "LabelledSet":
        """A set with other fields that is not checked, because it is made of sets that were: a part, a difference."""
        made = object.__new__(LabelledSet)
        vars(made).update({field.name: getattr(self, field.name) for field in fields(self)} | changes)
        return made

    @property
    def median_seconds(self) -> float | None:
        """The price of a label: median seconds of the labels of the whole set that were timed; None where none was."""
        if "seconds_median" in self.provenance:
            return self.provenance["seconds_median"]
        timed = self.seconds is not None and not bool(self.seconds.isnan().all())
        return float(np.nanmedian(self.seconds.numpy())) if timed else None

    @property
    def frame_numbers(self) -> list[int] | None:
        """Numbers of the frames in the file they are from, if some of it were skipped."""
        skipped = set(self.provenance.get("skipped", ()))
        if not skipped:
            return None
        return [k for k in range(len(self) + len(skipped)) if k not in skipped]

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that name these labels: SHA-256 of molecule, level, z, pos, energy and force."""
        digest = hashlib.sha256(f"{self.molecule}\n{self.level}\n".encode())
        for tensor, dtype in ((self.z, "<i8"), (self.pos, "<f8"), (self.energy, "<f8"), (self.force, "<f8")):
            digest.update(np.ascontiguousarray(tensor.cpu().numpy(), dtype=dtype).tobytes())
        return digest.hexdigest()[:16]

    @cached_property
    def by_shape(self) -> cKDTree:
        """The frames by the distances of like atoms from the mean position, which motion and exchange do not change."""
        return cKDTree(_shape(self))

    def paired_with(self, other: "LabelledSet") -> tuple[Tensor, Tensor]:
        """Indices of the frames whose geometry both sets have, within `SAME_GEOMETRY`.

        Args:
            other: a set of the same molecule.

        Returns:
            Two int64 tensors (pairs,): row k of the first, into this set and ascending, and row k of the second, into
            the other, are the same geometry. It may be moved, but not turned, so that the forces can be compared.

        Raises:
            DatasetError: the sets hold different molecules.
        """
        check_same_molecule(self, other)
        mine, theirs = _same_geometries(self, other)
        centred = [part - part.mean(dim=1, keepdim=True) for part in (self.pos[mine], other.pos[theirs])]
        unturned = (centred[0] - centred[1]).abs().amax(dim=(1, 2)) < SAME_GEOMETRY
        mine, first = np.unique(mine[unturned].numpy(), return_index=True)  # one partner for each
        return torch.from_numpy(mine), theirs[unturned][torch.from_numpy(first)]

    def common_with(self, other: "LabelledSet") -> str:
        """How many frames the sets have in common, and how many more if they were turned, for messages of errors."""
        mine, _ = self.paired_with(other)
        turned = len(_same_geometries(self, other)[0].unique()) - len(mine)
        text = (
            f"{len(mine)} of the {len(self)} frames of {self.level} have the geometry of one of the {len(other)} of "
            f"{other.level}"
        )
        if turned:
            text += (
                f", and {turned} more would if they were turned, mirrored or like atoms exchanged: forces are compared "
                "in one orientation and order, so write both sets in the same"
            )
        return text

    def to_extxyz(self, path: str | os.PathLike, weights: Tensor | np.ndarray | None = None) -> None:
        """Write the frames as extended xyz in ASE's units, eV and eV/Å, as MACE reads them: the way to other codes.

        Energy and forces are called REF_energy and REF_forces, MACE's defaults; the weight of a frame in the loss is
        `config_weight`. NequIP takes them by a `key_mapping`, and the weight as a further field. The molecule's total
        charge is `charge`.

        Args:
            path: ends with .extxyz or .xyz; a failure leaves what was there before.
            weights: (frames,), such as `losses.bias_weights` of `stages.estimated_bias`; None: 1 for each.

        Raises:
            DatasetError: another ending, weights that are not one for each frame, or a failed write.
        """
        export.write_extxyz(self, path, weights)


@dataclass(frozen=True, eq=False)
class Split:
    """Disjoint parts of the accurate set, and the inaccurate frames that share nothing with `valid` and `test`."""

    train: LabelledSet
    valid: LabelledSet | None
    test: LabelledSet
    inaccurate: LabelledSet | None


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
) -> LabelledSet:
    """Load an embedded set, a molecule of MD17, or a file.

    Names of labels that are known in files are energy, energies or E with forces, force or F, alone or with the same
    word before or behind them (REF_energy and REF_forces, total_energy, wb97x_dz.energy); those of sGDML, MD17 and
    revised MD17, NequIP, SchNetPack, MACE and ANI are among them. Periodic frames are taken if they are of a molecule
    alone in a large cell, which is made whole where the cell cuts it.

    Args:
        molecule: one of `molecules()`; or "md17:NAME", such as "md17:aspirin"; or the path of a file: extended xyz,
            compressed or not, .traj or .db of ASE, .npz, or ANI's .h5 of one molecule.
        level: embedded: one of `levels(molecule)`, may be left out where there is only one. MD17: "dft",
            "dft-revised", "dft-fhi-aims", "ccsd" or "ccsd(t)"; or one of your own, if `save` wrote NAME_LEVEL.npz in
            `root`. A file: a name of your own, needed unless `save` or `to_extxyz` wrote the file.
        root: MD17 only, folder of its files; default: the environment's ASTEROID_MD17, else ~/.cache/asteroid/md17.
        energy_unit: files only, as are all that follow; such as "eV"; goes before what the file states.
        length_unit: of positions, such as "angstrom"; goes before what the file states.
        force_unit: such as "hartree/bohr"; None: energy over length.
        energy_key: name of the energies, where the file has several or one that is not known.
        forces_key: name of the forces.
        skip: numbers of frames to leave out, counted from 0.

    Returns:
        The labelled frames in kcal/mol and Å.

    Raises:
        DatasetError: unknown molecule or level, failed download, damaged file, unusable labels.
    """
    name = os.fspath(molecule)
    is_md17 = name.startswith("md17:")
    is_file = isinstance(molecule, os.PathLike) or bool(Path(name).suffix) or Path(name).is_file()
    options = {"energy_unit": energy_unit, "length_unit": length_unit, "force_unit": force_unit}
    options |= {"energy_key": energy_key, "forces_key": forces_key, "skip": skip}
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


def table() -> "pd.DataFrame":
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


def split(
    accurate: LabelledSet,
    inaccurate: LabelledSet | None,
    budget: int,
    seed: int,
    *,
    inaccurate_budget: int | None = None,
    valid: int = 50,
    test: int | None = None,
) -> Split:
    """Choose training, validation and test frames; smaller budgets are parts of larger ones.

    The accurate frames are put in one order, `numpy.random.default_rng([seed, 0]).permutation`: the first `valid` are
    for validation, the next `budget` for training, the last `test` for testing. So validation does not depend on the
    budget, and neither does the test set where `test` is given. Where the set was published in two parts, as
    MD17@CCSD(T) was, frames for validation and training are of the first part and those for testing of the second. The
    inaccurate frames whose geometry is in neither validation nor test are put in the order of
    `default_rng([seed, 1])`, and the first `inaccurate_budget` are taken.

    A geometry is the same however it lies, as its mirror image or with like atoms exchanged. Of accurate frames that
    repeat one, as a trajectory that was started again does, the first in the order is taken and the others are left;
    but MD17 is taken as it was published.

    Args:
        accurate: labels of the accurate level.
        inaccurate: labels of the inaccurate level, of the same molecule, or None.
        budget: number of accurate training frames.
        seed: of both orders.
        inaccurate_budget: number of inaccurate frames; None: all.
        valid: number of accurate validation frames; of 0, the split has none.
        test: number of accurate test frames; None: all that are left.

    Raises:
        DatasetError: a number is not whole, not positive or more than there is, or the sets hold different molecules.
    """
    given = {"budget": budget, "valid": valid, "seed": seed}
    given |= {} if inaccurate_budget is None else {"inaccurate_budget": inaccurate_budget}
    given |= {} if test is None else {"test": test}
    for what, number in given.items():
        least = 0 if what in ("seed", "valid") else 1
        if not isinstance(number, numbers.Integral) or number < least:
            raise DatasetError(f"{what} is {number!r}; it must be a whole number, {least} or more.")
    order = np.random.default_rng([seed, 0]).permutation(len(accurate))
    # MD17 was published with up to 3 of 1000 frames twice; without them its numbers would not be those of others.
    if accurate.provenance.get("dataset") != "MD17":
        order = _once(accurate, order)
    published = accurate.provenance.get("published_train", len(accurate))
    learned, tested = order[order < published], order[order >= published]
    what = f"{accurate.level} labels of {accurate.molecule}"
    if len(tested) and (test or 1) > len(tested):
        raise DatasetError(f"test is {test}, but the published test part has {len(tested)} {what}; lower it.")
    largest = len(learned) - valid - (0 if len(tested) else test or 1)
    if budget > largest:
        asked = f"budget {budget} + valid {valid}" + ("" if len(tested) else f" + test {test or 'at least 1'}")
        what += " published for training" if len(tested) else ""
        repeated = len(accurate) - len(order)
        what += f" ({repeated} that repeat others do not count)" if repeated else ""
        raise DatasetError(
            f"{asked} is more than the {len(learned)} {what}; the largest possible budget here is {max(largest, 0)}. "
            "Lower budget, valid or test."
        )
    if not len(tested):
        tested = order[valid + budget :]
    parts = {
        "train": accurate[learned[valid : valid + budget]],
        "valid": accurate[learned[:valid]] if valid else None,
        "test": accurate[tested[len(tested) - (test or len(tested)) :]],
    }
    if inaccurate is None:
        if inaccurate_budget is not None:
            raise DatasetError(f"inaccurate_budget is {inaccurate_budget} without inaccurate; pass the inaccurate set.")
        return Split(**parts, inaccurate=None)
    check_same_molecule(accurate, inaccurate)
    is_free = np.ones(len(inaccurate), dtype=bool)
    for held_out in filter(None, (parts["valid"], parts["test"])):  # a turned copy would give a frame away as well
        is_free[_same_geometries(held_out, inaccurate)[1]] = False
    free = np.flatnonzero(is_free)
    if len(free) < (inaccurate_budget or 1):
        raise DatasetError(
            f"inaccurate_budget is {inaccurate_budget}, but only {len(free)} of the {len(inaccurate)} "
            f"{inaccurate.level} frames are outside validation and test; lower it to {len(free)} or less."
        )
    chosen = free[np.random.default_rng([seed, 1]).permutation(len(free))][:inaccurate_budget]
    return Split(**parts, inaccurate=inaccurate[chosen])


def _same_geometries(one: LabelledSet, other: LabelledSet) -> tuple[Tensor, Tensor]:
    """Indices (pairs,) of frames of the one, ascending, and of the other, that are one geometry.

    Turned and moved copies are, mirror images and those with like atoms exchanged: all tell the forces of the frame.
    """
    found = other.by_shape.query_ball_point(_shape(one), SAME_GEOMETRY, p=np.inf)
    pairs = torch.tensor([(k, j) for k, near in enumerate(found) for j in near], dtype=torch.int64).reshape(-1, 2)
    mine, theirs = pairs.unbind(1)
    same = _alike(one, mine, other, theirs)
    return mine[same], theirs[same]


def _once(labelled: LabelledSet, order: np.ndarray) -> np.ndarray:
    """The order (frames,) without the frames whose geometry an earlier one has."""
    near = torch.from_numpy(labelled.by_shape.query_pairs(SAME_GEOMETRY, p=np.inf, output_type="ndarray"))
    pairs = near[_alike(labelled, near[:, 0], labelled, near[:, 1])].numpy()
    if not len(pairs):
        return order
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return np.delete(order, np.unique(place[pairs].max(axis=1)))


def _alike(one: LabelledSet, mine: Tensor, other: LabelledSet, theirs: Tensor) -> Tensor:
    """Which pairs of frames (pairs,) have the same distances between like atoms, those of each two elements sorted."""
    same = torch.ones(len(mine), dtype=torch.bool)
    i, j = torch.triu_indices(len(one.z), len(one.z), 1)
    ends = torch.stack([one.z[i], one.z[j]]).sort(dim=0).values
    kinds = 1000 * ends[0] + ends[1]
    for kind in kinds.unique() if len(mine) else ():
        at = kinds == kind
        distances = [
            (labelled.pos[rows][:, i[at]] - labelled.pos[rows][:, j[at]]).norm(dim=2).sort(dim=1).values
            for labelled, rows in ((one, mine), (other, theirs))
        ]
        same &= ((distances[0] - distances[1]).abs() < 2 * SAME_GEOMETRY).all(dim=1)
    return same


def _shape(labelled: LabelledSet) -> np.ndarray:
    """Distances (frames, atoms) from the mean position, sorted within each element."""
    arm = (labelled.pos - labelled.pos.mean(dim=1, keepdim=True)).norm(dim=2)
    elements = labelled.z.unique()
    return torch.cat([arm[:, labelled.z == element].sort(dim=1).values for element in elements], dim=1).cpu().numpy()


def _numpy_index(index: slice | Tensor | np.ndarray | Sequence[int]) -> slice | np.ndarray:
    if isinstance(index, slice):
        return index
    rows = np.asarray(index.cpu() if isinstance(index, Tensor) else index)
    if rows.ndim != 1:
        raise TypeError("Frames are taken by a slice or a list of indices; frame k alone is labelled[k : k + 1].")
    return rows if rows.size else rows.astype(np.int64)


def _build(molecule: str, level: str, provenance: Mapping[str, Any], **arrays: np.ndarray | None) -> LabelledSet:
    """A set from the arrays of a reader, in any number type."""
    tensors = {
        key: None if array is None else torch.from_numpy(array.astype(np.int64 if key == "z" else np.float64))
        for key, array in arrays.items()
    }
    return LabelledSet(molecule=molecule, level=level, provenance=provenance, **tensors)


def _load_file(path: Path, level: str | None, options: Mapping[str, Any]) -> LabelledSet:
    record = path.with_suffix(".json")
    if path.suffix == ".npz" and record.is_file():
        fix = f"Delete {record.name} if the labels are right, and give level and units."
        labelled = _build(**sources.read_saved(path, fix))
        given = [option for option, value in options.items() if value is not None and value != ()]
        if level not in (None, labelled.level) or given:
            states = f"has a record that states level {labelled.level!r}, kcal/mol and Å"
            raise DatasetError(f"{path} {states}; leave out {' and '.join(given) or 'level'}.")
        return labelled
    arrays = readers.read(path, level, **options)
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
