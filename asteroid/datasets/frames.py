"""Labelled frames of one molecule at one level of theory.

Axes: frames, atoms, 3. Units: kcal/mol, Å, seconds of wall time on one core.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from asteroid.datasets import structure, writers
from asteroid.datasets.checks import check, check_same_molecule
from asteroid.datasets.sources import DatasetError
from asteroid.datasets.structure import SAME_GEOMETRY


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
        # Published arrays may have the frame as their fastest index. A graph traced with one order of memory does not
        # always run with another, and stages with labels of several sets share graphs.
        for name in ("pos", "force"):
            object.__setattr__(self, name, getattr(self, name).contiguous())

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
        # Places in the whole set are not those of a part; the price of a label stays what it is.
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
        return cKDTree(structure.shapes(self.z, self.pos))

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
        mine, theirs = same_geometries(self, other)
        centred = [part - part.mean(dim=1, keepdim=True) for part in (self.pos[mine], other.pos[theirs])]
        unturned = (centred[0] - centred[1]).abs().amax(dim=(1, 2)) < SAME_GEOMETRY
        mine, first = np.unique(mine[unturned].numpy(), return_index=True)  # one partner for each
        return torch.from_numpy(mine), theirs[unturned][torch.from_numpy(first)]

    def common_with(self, other: "LabelledSet") -> str:
        """How many frames the sets have in common, and how many more if they were turned, for messages of errors."""
        mine, _ = self.paired_with(other)
        turned = len(same_geometries(self, other)[0].unique()) - len(mine)
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
        writers.write_extxyz(self, path, weights)


def same_geometries(one: LabelledSet, other: LabelledSet) -> tuple[Tensor, Tensor]:
    """Indices (pairs,) of frames of the one, ascending, and of the other, that are one geometry.

    Turned and moved copies are, mirror images and those with like atoms exchanged: all tell the forces of the frame.
    """
    found = other.by_shape.query_ball_point(structure.shapes(one.z, one.pos), SAME_GEOMETRY, p=np.inf)
    pairs = torch.tensor([(k, j) for k, near in enumerate(found) for j in near], dtype=torch.int64).reshape(-1, 2)
    mine, theirs = pairs.unbind(1)
    same = structure.alike(one.z, one.pos[mine], other.pos[theirs])
    return mine[same], theirs[same]


def _numpy_index(index: slice | Tensor | np.ndarray | Sequence[int]) -> slice | np.ndarray:
    if isinstance(index, slice):
        return index
    rows = np.asarray(index.cpu() if isinstance(index, Tensor) else index)
    if rows.ndim != 1:
        raise TypeError("Frames are taken by a slice or a list of indices; frame k alone is labelled[k : k + 1].")
    return rows if rows.size else rows.astype(np.int64)
