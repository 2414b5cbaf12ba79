"""Labelled frames in files of other codes."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from asteroid import files, state, units
from asteroid.datasets.sources import DatasetError

if TYPE_CHECKING:
    from asteroid.datasets.frames import LabelledSet


def write_extxyz(labelled: "LabelledSet", path: str | os.PathLike, weights: Tensor | np.ndarray | None = None) -> None:
    """Write frames for MACE, NequIP and others that read extended xyz; `LabelledSet.to_extxyz` says how."""
    import ase
    import ase.io

    path = Path(path)
    if path.suffix not in (".extxyz", ".xyz"):
        raise DatasetError(f"{path} ends with {path.suffix!r}; extended xyz files end with .extxyz or .xyz.")
    if weights is None:
        weights = np.ones(len(labelled))
    weights = np.asarray(weights, dtype=float)
    if weights.shape != (len(labelled),) or not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise DatasetError(
            f"weights have the shape {weights.shape}; expected one for each of {len(labelled)} frames, finite and 0 or "
            "more, as losses.bias_weights gives them."
        )
    of_molecule = {"charge": 0} | state.recorded(labelled.provenance.get("settings"))
    frames = []
    for pos, energy, force, weight in zip(labelled.pos, labelled.energy, labelled.force, weights):
        atoms = ase.Atoms(labelled.z.numpy(), pos.numpy())
        atoms.info |= {
            "REF_energy": float(energy) * units.KCAL_PER_MOL_IN_EV,
            "config_weight": float(weight),
            "level": labelled.level,
            "energy_unit": "eV",
            "length_unit": "angstrom",
            **of_molecule,
        }
        atoms.arrays["REF_forces"] = force.numpy() * units.KCAL_PER_MOL_IN_EV
        frames.append(atoms)
    try:
        with files.replacing(path) as temporary:
            ase.io.write(temporary, frames, format="extxyz")
    except OSError as error:
        cause = error.strerror or error
        raise DatasetError(f"Writing {path} failed ({cause}); free space or choose another folder.") from None
