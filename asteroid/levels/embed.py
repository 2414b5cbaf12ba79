"""Adds labels to the embedded sets, as `python -m asteroid embed FILE` does.

Each file is named MOLECULE_LEVEL.npz or MOLECULE_LEVEL.jsonl; what is already embedded is kept, and a frame that a file
labels anew is replaced. The gfn2 set, which samples the geometries, goes first; its npz file knows no seconds, so that
a ledger of some of its frames gives it its price.

An npz file has the keys R, z, E, F (Å, kcal/mol); at other levels than gfn2 also `frame` (index into the gfn2 set),
`place_in_order` (place of that index in the gfn2 set's `order`) and `seconds`. A line of a jsonl file is one label:
{"place": ..., "frame": ..., "E": kcal/mol, "F": [[...], ...] in kcal/mol/Å, "seconds": ...}, the seconds NaN where
other work slowed the label down; a line cut short is left out. Or it is the ledger that `python -m asteroid label
--molecule MOLECULE --level LEVEL` writes, which counts frames in that order.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from asteroid import datasets
from asteroid.datasets import sources
from asteroid.files import locked
from asteroid.levels.ledger import geometry_key

_PSI4 = {"code": "Psi4", "code_version": "1.3.2", "basis": "cc-pVDZ"}
_COUPLED_CLUSTER = "density-fitted SCF and correlation (cc-pVDZ-JKFIT, cc-pVDZ-RI), frozen core, analytic gradient"
_LEVELS = {
    "gfn2": {
        "theory": "GFN2-xTB",
        "basis": "minimal valence basis of GFN2-xTB",
        "code": "tblite",
        "code_version": "0.8.0",
        "settings": "through ASE 3.29, default accuracy",
    },
    "mmff": {
        "theory": "MMFF94",
        "basis": "none: an empirical force field",
        "code": "RDKit",
        "code_version": "2026.9.1",
        "settings": "bonds perceived at the frame of lowest GFN2-xTB energy",
    },
    "pbe": {"theory": "PBE/cc-pVDZ", **_PSI4, "settings": "density-fitted, grid of 50 radial x 194 angular points"},
    "ccsd": {"theory": "CCSD/cc-pVDZ", **_PSI4, "settings": _COUPLED_CLUSTER},
    "ccsd(t)": {"theory": "CCSD(T)/cc-pVDZ", **_PSI4, "settings": _COUPLED_CLUSTER},
}
_SMILES = {
    "methanol": "CO",
    "formic_acid": "OC=O",
    "acetaldehyde": "CC=O",
    "ethanol": "CCO",
    "malonaldehyde": "O=CCC=O",
}
_COLUMNS = ("place", "frame", "E", "F", "seconds")  # of a label
_SETTINGS = {"charge": 0, "basis": "cc-pvdz", "grid": [50, 194]}  # of a ledger that is embedded
_GFN2_TIMING = "wall time of energy and forces through ASE, one core of a shared machine"
_PSI4_TIMING = "wall time on one core of the labels made while the machine was lightly shared; NaN for the others"
_MMFF_TIMING = "wall time of energy and forces through ASE, one core of a shared machine (Intel Xeon)"
_SAMPLING = (
    "20 independent Langevin trajectories under GFN2-xTB, 500 K, 0.5 fs, friction 0.01/fs, centre of mass removed, "
    "2 ps discarded, a frame every 20 fs"
)


def embed(files: Sequence[Path]) -> list[Path]:
    """Write or extend the embedded sets that the files belong to.

    Args:
        files: named MOLECULE_LEVEL.npz or MOLECULE_LEVEL.jsonl.

    Returns:
        Paths of the sets written.

    Raises:
        DatasetError: a damaged file, an unknown molecule or level, labels of frames that gfn2 does not have.
    """
    written = []
    for stem in dict.fromkeys(path.stem for path in files):
        molecule, _, level = stem.rpartition("_")
        if level not in _LEVELS or molecule not in _SMILES:
            raise datasets.DatasetError(
                f"{stem} is not MOLECULE_LEVEL with one of {', '.join(_SMILES)} and one of {', '.join(_LEVELS)}."
            )
        target = datasets.DATA / f"{stem}.npz"
        own = [path for path in files if path.stem == stem]
        with locked(target):  # or one of two that add labels at once would lose the other's
            if level == "gfn2":
                _embed_sampled(molecule, own, target)
            else:
                _embed_labels(molecule, level, [target, *own] if target.exists() else own, target)
        written.append(target)
    return written


def _embed_sampled(molecule: str, files: Sequence[Path], target: Path) -> None:
    archives = [path for path in files if path.suffix == ".npz"]
    arrays = sources.archive((archives or [target])[-1], ["z", "R", "E", "F", "trajectory", "order"])
    extra = {"frame": np.arange(len(arrays["E"]), dtype=np.int32), **{k: arrays[k] for k in ("trajectory", "order")}}
    ledgers = [_labels(path, arrays) for path in files if path.suffix == ".jsonl"]
    rows = [row for found, _ in ledgers for row in found.values()]
    seconds = [row["seconds"] for row in rows if np.isfinite(row["seconds"])]
    if not (archives or rows):
        raise datasets.DatasetError(f"{', '.join(map(str, files))}: no label is in it yet.")
    machines = dict.fromkeys(session["machine"] for _, sessions in ledgers for session in sessions)
    cost = {"seconds_median": float(f"{np.median(seconds):.3g}") if seconds else None, "timed": len(seconds)}
    cost |= {"seconds_measured": _GFN2_TIMING, "machine": "; ".join(machines)}
    _save(molecule, "gfn2", arrays["z"], arrays["R"], arrays["E"], arrays["F"], None, cost, extra, target)


def _embed_labels(molecule: str, level: str, files: Sequence[Path], target: Path) -> None:
    sampled = sources.archive(datasets.DATA / f"{molecule}_gfn2.npz", ["z", "R", "order"])
    rows: dict[int, dict[str, Any]] = {}
    versions, machines = [], []
    for path in files:
        found, sessions = _labels(path, sampled)
        rows |= found
        versions += [session["code_version"] for session in sessions]
        machines += [session["machine"] for session in sessions]
        if path == target:
            record = sources.read_record(path)
            versions += record["code_version"].split(", ")
            machines += record.get("machine", "").split("; ")
    if not rows:
        raise datasets.DatasetError(f"{', '.join(map(str, files))}: no label is in it yet.")
    places = np.array(sorted(rows))
    frame = np.array([rows[place]["frame"] for place in places])
    energy, force, seconds = (np.array([rows[place][key] for place in places]) for key in ("E", "F", "seconds"))
    extra = {"frame": frame.astype(np.int32), "place_in_order": places.astype(np.int32)}
    pos = sampled["R"][frame]
    cost = {"seconds_measured": _MMFF_TIMING if level == "mmff" else _PSI4_TIMING}
    if versions:
        cost["code_version"] = ", ".join(dict.fromkeys(versions))
    if any(machines):
        cost["machine"] = "; ".join(dict.fromkeys(filter(None, machines)))
    _save(molecule, level, sampled["z"], pos, energy, force, seconds.astype(np.float32), cost, extra, target)


def _save(
    molecule: str,
    level: str,
    z: np.ndarray,
    pos: np.ndarray,
    energy: np.ndarray,
    force: np.ndarray,
    seconds: np.ndarray | None,
    cost: dict[str, Any],
    extra: dict[str, np.ndarray],
    target: Path,
) -> None:
    provenance = {"smiles": _SMILES[molecule], **_LEVELS[level], "sampling": _SAMPLING, "temperature_K": 500.0, **cost}
    labelled = datasets.LabelledSet(
        molecule=molecule,
        level=level,
        z=torch.from_numpy(z.astype(np.int64)),
        pos=torch.from_numpy(pos.astype(np.float64)),
        energy=torch.from_numpy(energy.astype(np.float64)),
        force=torch.from_numpy(force.astype(np.float64)),
        seconds=None if seconds is None else torch.from_numpy(seconds.astype(np.float64)),
        provenance={**provenance, "licence": "CC0-1.0"},
    )
    datasets.save(labelled, target, extra)


def _labels(path: Path, sampled: dict[str, np.ndarray]) -> tuple[dict[int, dict[str, Any]], list[dict[str, Any]]]:
    """Labels of a file by their places in the order, and the sessions of a ledger."""
    try:
        found, sessions = _lines(path, sampled) if path.suffix == ".jsonl" else (_rows(path, sampled), [])
        return {row["place"]: _checked(row, sampled) for row in found}, sessions
    except datasets.DatasetError:
        raise
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise datasets.DatasetError(f"{path} holds no labels of frames of the gfn2 set ({error!r}).") from None


def _rows(path: Path, sampled: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """Labels of an npz file, one row each."""
    arrays = sources.archive(path, ["R", "E", "F", "frame", "place_in_order", "seconds"])
    # A shifted frame number would give every label a wrong geometry without any other sign.
    if not np.allclose(arrays["R"], sampled["R"][arrays["frame"]], rtol=0, atol=1e-6):
        raise datasets.DatasetError(f"{path}: its geometries are not the gfn2 set's at its `frame` numbers.")
    arrays["place"] = arrays["place_in_order"]
    return [{key: arrays[key][k] for key in _COLUMNS} for k in range(len(arrays["E"]))]


def _checked(row: dict[str, Any], sampled: dict[str, np.ndarray]) -> dict[str, Any]:
    """The label of a row; raises an IndexError, KeyError, TypeError or ValueError where it holds none."""
    if row["place"] < 0 or row["frame"] != sampled["order"][row["place"]]:
        raise ValueError(f"frame {row['frame']} is not at place {row['place']} of the order")
    force = np.array(row["F"], dtype=np.float64).reshape(len(sampled["z"]), 3)
    return {"frame": int(row["frame"]), "E": float(row["E"]), "F": force, "seconds": float(row["seconds"])}


def _lines(path: Path, sampled: dict[str, np.ndarray]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Labels of a jsonl file that may be growing, and the sessions of a ledger.

    The last line counts only once it is whole.
    """
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    try:
        content = [json.loads(line) for line in lines if line.endswith("\n")]
    except ValueError as error:
        raise datasets.DatasetError(f"{path} has a line that is no label ({error}); delete it.") from None
    sessions, rows = [row for row in content if "code" in row], [row for row in content if "E" in row]
    for session in sessions:
        _check_session(path, session)
    for row in rows:
        if "geometry" in row:  # a ledger
            row["place"], row["frame"] = row["frame"], int(sampled["order"][row["frame"]])
            if row["geometry"] != geometry_key(sampled["z"], sampled["R"][row["frame"]]):
                raise datasets.DatasetError(f"{path}: its geometries are not the gfn2 set's in their order.")
    return rows, sessions


def _check_session(path: Path, session: dict[str, Any]) -> None:
    """Labels of another program or basis would become part of a set that says otherwise."""
    molecule, _, level = path.stem.rpartition("_")
    expected = {"molecule": molecule, "level": level, "code": _LEVELS[level]["code"].lower()}
    expected |= {key: value for key, value in _SETTINGS.items() if key in session["settings"]}
    found = {key: session.get(key) for key in ("molecule", "level", "code")} | session["settings"]
    if found != expected:
        raise datasets.DatasetError(f"{path} holds labels of {found}; expected {expected}.")
