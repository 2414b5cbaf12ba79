"""Simulations: a specification in, a record of how they went out, kept beside the records of runs."""

import decimal
import platform
import re
import time
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ase
import numpy as np
import torch

from asteroid import datasets, files, levels, machine, state
from asteroid.datasets import LabelledSet
from asteroid.md import dynamics, stability
from asteroid.md.dynamics import Trajectory
from asteroid.runs import make, records
from asteroid.runs.records import Store
from asteroid.runs.spec import RunSpec, fingerprints, fingerprints_of, molecule_name

if TYPE_CHECKING:
    import pandas as pd


# Counts up when a change of the code makes recorded simulations obsolete that no setting tells apart.
VERSION = 2

EDGES = np.round(np.arange(0, 15.01, 0.05), 2)
"""Bins of the distance distribution, Å."""

NYQUIST_SPACING = 4.0
"""Longest time between frames, fs, at which the fastest vibrations (4000/cm) are still seen."""

_POINTS = 1000  # of all curves in a record


@dataclass(frozen=True)
class Simulation:
    """Everything that decides the outcome of a batch of replicas.

    Attributes:
        potential: the run whose force field moves the atoms, or the name of a level, see `levels.calculator`.
        molecule, level: the labelled set whose first frames are the starts, one for each replica.
        steps, temperature (K), timestep (fs), friction (1/fs), every, seed: see `dynamics.langevin`.
        replicas: their number.
    """

    potential: RunSpec | str
    molecule: str
    level: str
    steps: int
    replicas: int = 1
    temperature: float = 500.0
    timestep: float = 0.5
    friction: float = 0.002
    every: int = 10
    seed: int = 0

    @property
    def key(self) -> str:
        """Hash of the settings, the force field's run and `VERSION`."""
        content = asdict(self)
        content["potential"] = self.potential if isinstance(self.potential, str) else self.potential.key
        content["molecule"] = molecule_name(self.molecule)
        content["version"] = VERSION
        return files.key_of(content)

    @property
    def file_name(self) -> str:
        """Name of the record's file, which a person can read too."""
        run = self.potential
        name = (
            run if isinstance(run, str) else f"{run.recipe.model}-{run.method}-a{run.budget}-i{run.inaccurate_budget}"
        )
        how = f"{self.timestep:g}fs-{self.steps}x{self.replicas}" + ("-nve" if self.friction == 0 else "")
        return "md-" + re.sub(r"[^\w.-]+", "-", f"{files.short(Path(self.molecule).stem)}-{name}-{how}-{self.key}.json")


@dataclass(frozen=True)
class SimulationRecord:
    """How the replicas went; some tens of kilobytes of JSON.

    Attributes:
        spec: the simulation.
        key: its key when it was made.
        data: what names the labels of the starts and of the force field's run, by level and molecule.
        verdicts: how each replica ended, in words.
        limit: largest distance at which the molecule counts as whole, Å; the mean over the starts.
        time, failed: (replicas,) time to failure or the end, fs, by the largest distance.
        bond_time, bond_failed: the same by bonds or the largest distance, see `stability.time_to_failure`.
        energy_drift: (replicas that lasted,) kcal/mol/ps; None with friction.
        temperature: (replicas,) mean of `Trajectory.temperature`, K.
        course: a dictionary for each replica: time (fs) and largest_distance (Å).
        distances: (bins,) density of the distances between atoms, 1/Å, in bins of `EDGES`, in the frames before
            `bond_time` where it failed, and at least in the start.
        bond_length: mean length of the bonds in those frames, Å.
        spectrum: wavenumber (1/cm) and density of the vibrations of replicas that lasted; None where none did, or
            where frames are too far apart.
        frames: (frames, atoms, 3), Å, of the first replica, to play.
        warnings: given before the run.
        seconds: wall time.
        threads, date, versions: as in `records.Record`.
    """

    spec: Simulation
    key: str
    data: Mapping[str, str]
    verdicts: list[str]
    limit: float
    time: list[float]
    failed: list[bool]
    bond_time: list[float]
    bond_failed: list[bool]
    energy_drift: list[float] | None
    temperature: list[float]
    course: list[Mapping[str, list[float]]]
    distances: list[float]
    bond_length: float
    spectrum: Mapping[str, list[float]] | None
    frames: list
    warnings: list[str]
    seconds: float
    threads: int
    date: str
    versions: Mapping[str, str]


def simulate(spec: Simulation, store: Store) -> SimulationRecord:
    """Make a simulation, or read its record if the store has it.

    Args:
        spec: the simulation.
        store: where records and force fields are kept; a force field that is not there is trained first.

    Raises:
        ImportError: if the potential is a level whose program is not installed.
        ValueError: if the record is damaged, or the molecule has fewer frames than replicas.
    """
    return records.made(SimulationRecord, spec, store, _simulate, _data_of)


def recorded(spec: Simulation, store: Store) -> SimulationRecord | None:
    """Its record, if the store has it; ValueError if that is damaged."""
    return records.recorded(SimulationRecord, spec, store, _data_of)


def found(specs: Mapping[Any, Simulation], store: Store, make: bool = True) -> dict[Any, SimulationRecord]:
    """Records of simulations by name, in the order of `specs`; those that are not recorded are made, or left out."""
    by_name = {name: simulate(spec, store) if make else recorded(spec, store) for name, spec in specs.items()}
    return {name: record for name, record in by_name.items() if record is not None}


@dataclass(frozen=True)
class LabelledFrames:
    """The labelled frames of a molecule that simulations are compared with, in a record for where they are not."""

    molecule: str
    level: str

    @property
    def key(self) -> str:
        """Hash of the two and `VERSION`."""
        return files.key_of({"molecule": molecule_name(self.molecule), "level": self.level, "version": VERSION})

    @property
    def file_name(self) -> str:
        """Name of the record's file, which a person can read too."""
        name = f"frames-{files.short(Path(self.molecule).stem)}-{self.level}-{self.key}.json"
        return re.sub(r"[^\w.-]+", "-", name)


@dataclass(frozen=True)
class LabelledFramesRecord:
    """What simulations are compared with.

    Attributes:
        spec, key, data: as in `SimulationRecord`.
        z: (atoms,) atomic numbers.
        frames: their number.
        widest: largest distance between two atoms in any frame, Å.
        bond_length: mean length of the bonds, Å.
        distances: (bins,) density of the distances between atoms, 1/Å, in bins of `EDGES`.
        halves: error of the distances of the first half of the frames against those of the second, see
            `stability.distribution_error`.
    """

    spec: LabelledFrames
    key: str
    data: Mapping[str, str]
    z: list[int]
    frames: int
    widest: float
    bond_length: float
    distances: list[float]
    halves: float


def labelled_frames(spec: LabelledFrames, store: Store) -> LabelledFramesRecord | None:
    """What the labelled frames say, from the record, or else from the labels; None where neither is here."""
    if _names_of_frames(spec) is None:
        return records.recorded(LabelledFramesRecord, spec, store, _names_of_frames)
    return records.made(LabelledFramesRecord, spec, store, _describe_frames, _names_of_frames)


def _names_of_frames(spec: LabelledFrames) -> dict[str, str] | None:
    return fingerprints_of([(spec.molecule, spec.level)])


def _describe_frames(spec: LabelledFrames, store: Store) -> LabelledFramesRecord:
    labels = datasets.load(spec.molecule, level=spec.level)
    half = len(labels) // 2
    halves = [stability.distance_distribution(part.numpy(), EDGES) for part in (labels.pos[:half], labels.pos[half:])]
    pairs = stability.bonds(labels.z.numpy(), labels.pos[0].numpy())
    record = LabelledFramesRecord(
        spec=spec,
        key=spec.key,
        data=_names_of_frames(spec),
        z=labels.z.tolist(),
        frames=len(labels),
        widest=max(map(stability.largest_distance, labels.pos.numpy())),
        bond_length=float(stability.bond_lengths(labels.pos.numpy(), pairs).mean()),
        distances=_digits(stability.distance_distribution(labels.pos.numpy(), EDGES)),
        halves=stability.distribution_error(*halves, EDGES),
    )
    records.write_record(store.folder / spec.file_name, asdict(record), indent=None)
    return record


def _simulate(spec: Simulation, store: Store) -> SimulationRecord:
    labels = _labels(spec)
    if len(labels) < spec.replicas:
        raise ValueError(f"{spec.replicas} replicas need as many frames to start from; there are {len(labels)}")
    if isinstance(spec.potential, str):
        potential = levels.calculator(spec.potential)
    else:
        potential = make.force_field(spec.potential, store)
    made = labels.provenance.get("settings")
    starts = [state.atoms_of(labels.z.numpy(), pos.numpy(), made) for pos in labels.pos[: spec.replicas]]
    settings = {name: getattr(spec, name) for name in ("steps", "temperature", "timestep", "friction", "every", "seed")}
    started = time.perf_counter()
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always", UserWarning)
        trajectories = dynamics.langevin(starts, potential, **settings)
    seconds = time.perf_counter() - started
    record = _record(spec, labels, trajectories, [str(warning.message) for warning in given], seconds)
    records.write_record(store.folder / spec.file_name, asdict(record), indent=None)  # long columns of numbers
    return record


def possible(spec: Simulation, store: Store) -> bool:
    """Whether a simulation is recorded or can be made here: a level may have no program, or one not installed."""
    if recorded(spec, store) is None and isinstance(spec.potential, str):
        try:
            levels.calculator(spec.potential)
        except (ImportError, ValueError):
            return False
    return True


def overview(found: Mapping[str, SimulationRecord]) -> "pd.DataFrame":
    """How many replicas were whole at the end, and the mean time to failure by both measures, a row per record."""
    import pandas as pd

    rows = {}
    for name, record in found.items():
        replicas, lost = len(record.failed), sum(record.failed)
        rows[name] = {"whole at the end": f"{replicas - lost} of {replicas}"}
        measures = {"distance": (record.time, record.failed), "bonds": (record.bond_time, record.bond_failed)}
        for measure, (end, failed) in measures.items():
            mean = stability.mean_time_to_failure(np.array(end) / 1000, failed)
            text = f"{mean.estimate:.2g} ({mean.low:.2g} to {mean.high:.2g})"
            if not any(failed):  # a bound that was rounded up would not be one
                text = f"> {float(decimal.Context(2, decimal.ROUND_FLOOR).create_decimal(mean.low)):g}"
            rows[name][f"mean time to failure, {measure} [ps]"] = text
    return pd.DataFrame(rows).T


def _record(
    spec: Simulation, labels: LabelledSet, trajectories: list[Trajectory], given: list[str], seconds: float
) -> SimulationRecord:
    pairs = stability.bonds(labels.z.numpy(), labels.pos[0].numpy())
    lengths = stability.bond_lengths(labels.pos.numpy(), pairs).mean(axis=0)
    by_distance = [stability.time_to_failure(trajectory) for trajectory in trajectories]
    by_bonds = [stability.time_to_failure(trajectory, pairs, lengths) for trajectory in trajectories]
    whole = np.concatenate(
        [
            run.pos[: max(1, np.searchsorted(run.time, end))] if failed else run.pos
            for run, (end, failed) in zip(trajectories, by_bonds)
        ]
    )
    lasted = [run for run, (_, failed) in zip(trajectories, by_bonds) if not failed]
    spectrum, spacing = None, spec.timestep * spec.every
    if lasted and spacing <= NYQUIST_SPACING:
        mass = ase.Atoms(labels.z.numpy()).get_masses()
        moving = (np.stack([getattr(run, name) for run in lasted]) for name in ("pos", "velocity"))
        columns = stability.vibrational_spectrum(*moving, mass, spacing)
        spectrum = dict(zip(("wavenumber", "density"), map(_digits, columns), strict=True))
    return SimulationRecord(
        spec=spec,
        key=spec.key,
        data=_data_of(spec),
        verdicts=[run.verdict for run in trajectories],
        limit=float(np.mean([run.limit for run in trajectories])),
        time=[end for end, _ in by_distance],
        failed=[failed for _, failed in by_distance],
        bond_time=[end for end, _ in by_bonds],
        bond_failed=[failed for _, failed in by_bonds],
        energy_drift=None if spec.friction else [stability.energy_drift(run) for run in trajectories if run.stable],
        temperature=_digits([run.temperature.mean() for run in trajectories]),
        course=[thinned(run, _POINTS // spec.replicas) for run in trajectories],
        distances=_digits(stability.distance_distribution(whole, EDGES)),
        bond_length=float(stability.bond_lengths(whole, pairs).mean()),
        spectrum=spectrum,
        frames=np.round(stability.frames_to_play(trajectories[0], 100), 2).tolist(),
        warnings=given,
        seconds=seconds,
        threads=machine.threads(),
        date=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        versions={"python": platform.python_version(), "torch": torch.__version__, "platform": platform.machine()},
    )


def thinned(run: Trajectory, points: int) -> dict[str, list[float]]:
    """The largest distance in time with fewer points, each the largest of those that it stands for."""
    stride = -(-len(run.time) // max(points, 10))
    first = np.arange(0, len(run.time) - stride + 1, stride)  # the last may stand for more than the others
    return {
        "time": _digits(run.time[first]),
        "largest_distance": _digits(np.maximum.reduceat(run.largest_distance, first)),
    }


def _digits(values: Iterable[float]) -> list[float]:
    return [float(f"{value:.4g}") for value in values]


def _data_of(spec: Simulation) -> dict[str, str] | None:
    """See `spec.fingerprints`."""
    starts = fingerprints_of([(spec.molecule, spec.level)])
    trained = {} if isinstance(spec.potential, str) else fingerprints(spec.potential)
    return None if starts is None or trained is None else starts | trained


def _labels(spec: Simulation) -> LabelledSet:
    return datasets.load(spec.molecule, level=spec.level)
