"""Configurations in a folder, whose order stays when more of them are asked for."""

import json
import os
import time
from collections.abc import Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from asteroid import files
from asteroid.datasets import sources
from asteroid.datasets.sources import DatasetError
from asteroid.levels.ledger import geometry_key
from asteroid.levels.sampling import Sample, from_dynamics, geometry, with_charge
from asteroid.machine import progress_bar

_ARRAYS = ("pos", "potential_energy", "trajectory")


def frames(
    folder: str | os.PathLike,
    molecule: str | os.PathLike | Atoms,
    level: str,
    number: int,
    *,
    batch: int = 100,
    seed: int = 0,
    executor: Executor | None = None,
    progress: bool = True,
    **settings: Any,
) -> Sample:
    """The first configurations of a folder; those that it lacks are sampled.

    They come in batches, each of trajectories of its own and in random order. So a call for more frames begins with the
    same ones, and labels of these are not lost. A batch is written once it is whole.

    Args:
        folder: of one molecule, sampled in one way; made if it is not there.
        molecule: what `sampling.geometry` takes.
        level: of `levels.overview()`, drives the dynamics.
        number: of frames.
        batch: frames that are sampled at a time.
        seed: makes them repeatable.
        executor: see `sampling.from_dynamics`.
        progress: show a bar.
        settings: others of `sampling.from_dynamics`, and those of `levels.calculator`.

    Returns:
        The frames. The provenance holds the `seconds` that the sampling of their batches took, on the wall's clock.

    Raises:
        ValueError: numbers that do not fit together, or a molecule that `sampling.geometry` refuses.
        DatasetError: the folder's configurations are of another molecule or were sampled in another way, or damaged.
        CalculatorSetupError: the level cannot do the molecule.
        RuntimeError: all frames of a batch are of broken molecules.
    """
    if number < 1:
        raise ValueError(f"number of frames is {number}; it must be positive")
    start = geometry(molecule, seed)
    name = str(start.symbols) if isinstance(molecule, Atoms) else str(molecule)
    task = {"molecule": name, "atoms": str(start.symbols), "level": level, "batch": batch, "seed": seed, **settings}
    if start.info.get("smiles") != molecule:  # what the name of a file says nothing of
        task = with_charge(start, task) | {"start": geometry_key(start.numbers, start.positions)}
    task = json.loads(json.dumps(task))  # as it is read back
    batches: list[dict[str, Any]] = []
    there = 0
    # What is there already is read before a bar shows.
    with progress_bar(f"sample {level}" if progress else None, total=number, unit="frame", delay=1) as bar:
        while there < number:
            path = Path(folder, f"frames_{len(batches)}.npz")
            if not path.exists():
                how = {"seed": 1000 * seed + len(batches), "executor": executor, **settings}
                _sample(path, start, level, batch, task, how)
            batches.append(_read(path, task))
            there += len(batches[-1]["pos"])
            bar.update(min(there, number) - bar.n)
    about = [part["provenance"] for part in batches]
    dropped = sum(one["dropped"] for one in about)
    provenance = {
        **{key: value for key, value in about[0].items() if key != "temperature_measured_K"},
        "sampling": f"{len(batches)} times {about[0]['sampling']}",
        "molecule": name,
        "seed": seed,
        "dropped": dropped,
        "seconds": sum(one["seconds"] for one in about),
    }
    # Trajectories are numbered within a batch, where none has a number above its number of frames.
    columns = {key: np.concatenate([part[key] for part in batches])[:number] for key in ("pos", "potential_energy")}
    trajectory = np.concatenate([k * batch + part["trajectory"] for k, part in enumerate(batches)])[:number]
    return Sample(start.numbers, **columns, trajectory=trajectory, dropped=dropped, provenance=provenance)


def _sample(path: Path, start: Atoms, level: str, batch: int, task: Mapping[str, Any], how: Mapping[str, Any]) -> None:
    """Write one batch, whole or not at all."""
    began = time.perf_counter()
    sample = from_dynamics(start, level, frames=batch, progress=False, **how)
    provenance = {**sample.provenance, "seconds": round(time.perf_counter() - began, 4)}
    order = np.random.default_rng([how["seed"], 2]).permutation(len(sample))
    arrays = {key: getattr(sample, key)[order] for key in _ARRAYS}
    with files.replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays, task=json.dumps(task), provenance=json.dumps(provenance))


def _read(path: Path, task: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays and provenance of a batch that was sampled as the task says."""
    try:
        found = sources.archive(path, [*_ARRAYS, "task", "provenance"])
    except DatasetError as error:
        raise DatasetError(f"{error} Delete it and it is sampled again.") from None
    earlier = json.loads(str(found.pop("task")))
    for key in sorted(task.keys() | earlier.keys()):
        if earlier.get(key) != task.get(key):
            raise DatasetError(
                f"{path} holds configurations of {key} {earlier.get(key)!r}, not {task.get(key)!r}; choose another "
                "folder."
            )
    return found | {"provenance": json.loads(str(found["provenance"]))}
