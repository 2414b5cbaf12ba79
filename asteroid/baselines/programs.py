"""Force fields by the programs that others train them with, run as their users run them.

A program has an interpreter of its own, since its package pins what this library pins otherwise; a variable of the
environment says where. It reads the labels from files, trains by its own command, and its own ASE calculator computes.

Energies are written less a constant for each level, so that single precision has the digits that matter; the force
field adds it again. Everything is in single precision and on one thread.
"""

import importlib.util
import io
import json
import math
import re
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from asteroid import files, machine, stages, training, units
from asteroid.baselines import program_server
from asteroid.baselines.package import PackageForceField
from asteroid.datasets import LabelledSet
from asteroid.levels.guard import Guarded
from asteroid.provenance import Provenance, total_seconds, versions
from asteroid.training import losses
from asteroid.validation import Positive, validated

EVAL_EVERY = 250  # steps, as nearly as epochs allow
TIMED = 200  # frames by which a step of dynamics is timed
_CONSTANT = 100  # frames that fix the constant of a trained model
_LAST_LINES = 12  # of a program's output, for the message of its failure
_OF_THE_MODEL = ("channels", "degree", "layers", "cutoff")


@validated
class Settings:
    """What a program is told, by names that all of them share; steps become its epochs.

    Attributes:
        channels: features of each kind.
        degree: the largest angular momentum of the features.
        layers: of message passing.
        cutoff: Å.
        batch_size: frames; fewer where there are fewer.
        steps, learning_rate: from scratch, also of a pre-training.
        decay: share of the learning rate that is left at the end of a training, by an exponential schedule.
        tuning_steps, tuning_learning_rate: of the fine-tuning after a pre-training.
        foundation_model: file of a trained model to start from, with its size, instead of from scratch; in a run's
            identity the file's name alone.
    """

    channels: PositiveInt = 32
    degree: NonNegativeInt = 1
    layers: PositiveInt = 2
    cutoff: Positive = 4.0
    batch_size: PositiveInt = 5
    steps: PositiveInt = 10_000
    learning_rate: Positive = 0.01
    decay: Positive = 0.01
    tuning_steps: PositiveInt = 2000
    tuning_learning_rate: Positive = 0.001
    foundation_model: str = ""


@dataclass(frozen=True)
class Task:
    """One training, as a program is to make it.

    Attributes:
        folder: of its files; `train` and `valid` are extended xyz in eV and eV/Å.
        z: (atoms,) atomic numbers.
        labels, valid_labels: numbers of frames.
        settings: with `steps` and `learning_rate` of this training.
        seed: of initial weights and shuffles.
        start: file of the model to start from, or None.
    """

    folder: Path
    z: list[int]
    labels: int
    valid_labels: int
    settings: Settings
    seed: int
    start: Path | None

    @property
    def train(self) -> Path:
        return self.folder / "train.extxyz"

    @property
    def valid(self) -> Path:
        return self.folder / "valid.extxyz"

    @property
    def batch_size(self) -> int:
        return min(self.settings.batch_size, self.labels)

    @property
    def interval(self) -> int:
        """Epochs from one evaluation to the next."""
        return max(1, round(min(EVAL_EVERY, self.settings.steps) / (self.labels // self.batch_size)))

    @property
    def epochs(self) -> int:
        """As many as make the steps, and so that there is an evaluation at the end."""
        return max(1, round(self.settings.steps / (self.labels // self.batch_size) / self.interval)) * self.interval

    @property
    def decay_per_epoch(self) -> float:
        return self.settings.decay ** (1 / self.epochs)


class Program(ABC):
    """A program that trains force fields.

    Attributes:
        name: of its package as it is imported.
        label: its name in figures and tables.
        requirement: what pip installs.
        python: variable of the environment with the path of its interpreter.
        suffix: of a model's file.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    requirement: ClassVar[str]
    python: ClassVar[str]
    suffix: ClassVar[str]

    @abstractmethod
    def commands(self, task: Task) -> list[list[str]]:
        """Arguments of the interpreter, of one command after another; those that went on before go on again."""

    @abstractmethod
    def model(self, task: Task) -> Path:
        """File of the trained model."""

    @abstractmethod
    def checkpoint(self, task: Task) -> Path:
        """File from which another training can start."""

    @abstractmethod
    def history(self, task: Task) -> dict[str, list]:
        """By evaluation, `epoch` and `valid_force_mae` (kcal/mol/Å)."""

    def interpreter(self) -> str:
        """Path of its interpreter; this one where the package is installed here."""
        return machine.flag(self.python) or sys.executable

    def versions(self) -> dict[str, str]:
        """Versions of its package and of PyTorch in its interpreter; empty where it is not installed."""
        return _versions(self.interpreter(), self.name, self.requirement.partition("==")[0])

    def missing(self) -> str | None:
        """What it lacks on this machine, in one line with the command that gets it, or None."""
        path = machine.flag(self.python)
        if path is None and importlib.util.find_spec(self.name) is None:
            found = "is not installed"
        elif not self.versions():
            found = f"is not installed in the interpreter {self.interpreter()}"
        else:
            return None
        return (
            f"{self.label} {found}: `python -m venv {self.name} && {self.name}/bin/pip install {self.requirement}`, "
            f"then set {self.python} to the path of {self.name}/bin/python"
        )


@cache
def _versions(interpreter: str, package: str, distribution: str) -> dict[str, str]:
    code = (
        "import importlib.metadata as m, importlib.util as u, json, sys; names = sys.argv[2:];"
        "print(json.dumps({n: m.version(n) for n in names} if u.find_spec(sys.argv[1]) else {}))"
    )
    try:
        asked = subprocess.run(
            [interpreter, "-c", code, package, distribution, "torch"], capture_output=True, text=True, timeout=60
        )
        return json.loads(asked.stdout) if asked.returncode == 0 else {}
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return {}


def checked(given: Mapping[str, Any], tuned: bool) -> dict[str, Any]:
    """Settings of a run as it keeps them: those that are given, without what its method does not look at.

    Raises:
        ValueError: for unknown settings, values that no program can have, or a size beside a model to start from.
    """
    settings = Settings(**given)
    if settings.foundation_model and (sizes := sorted(set(given) & set(_OF_THE_MODEL))):
        raise ValueError(f"foundation_model is given, and so is {', '.join(sizes)}; the model has its own")
    return {name: getattr(settings, name) for name in given if tuned or not name.startswith("tuning_")}


def standard(
    program: Program,
    train: LabelledSet,
    valid: LabelledSet,
    settings: Mapping[str, Any],
    *,
    seed: int = 0,
    folder: str | Path | None = None,
    progress: bool = True,
) -> "ProgramForceField":
    """Train on labels of one level, from scratch or from a foundation model.

    Args:
        program: which.
        train: labels to learn.
        valid: frames by whose error the program decides which weights are kept.
        settings: of `Settings`, where they differ.
        seed, folder, progress: see `stages.standard`.

    Raises:
        ImportError: if the program is not installed; the message has the command.
        FileNotFoundError: if there is no such foundation model.
        RuntimeError: if the program fails; the message has the last lines of what it printed.
    """
    return _train(program, program.name, train, valid, Settings(**settings), seed, folder, progress)


def pretrain(
    program: Program,
    inaccurate: LabelledSet,
    settings: Mapping[str, Any],
    *,
    theta_a: Any = None,
    gamma: float = 1.0,
    seed: int = 0,
    folder: str | Path | None = None,
    progress: bool = True,
) -> "ProgramForceField":
    """Train on cheap labels, some of which are held out to decide which weights are kept, as in ASTEROID's stage 2.

    Args:
        theta_a: force field of ASTEROID's stage 1. With it each frame has the weight exp(−Δ/γ) of its bias Δ, as in
            `losses.bias_weights`; None: all weigh alike.
        gamma: γ in units of the median bias.
        program, inaccurate, settings, seed, folder, progress, and errors: see `standard`.
    """
    learned, judging = stages.hold_out(inaccurate, seed)
    bias = weights = None
    if theta_a is not None:
        bias = stages.estimated_bias(theta_a, inaccurate)
        # γ is in units of the median of what is learned from, as it is in stage 2.
        weights = losses.bias_weights(bias[learned], gamma * float(bias[learned].median()))
    stage = f"{program.name}-inaccurate" if theta_a is None else f"{program.name}-weighted"
    train, valid = inaccurate[learned], inaccurate[judging]
    made = _train(program, stage, train, valid, Settings(**settings), seed, folder, progress, weights=weights)
    if theta_a is not None:
        seconds = total_seconds([theta_a.provenance]) + made.provenance["seconds"]
        made.bias, made.provenance = bias, {**made.provenance, "gamma": gamma, "seconds_of_all_stages": seconds}
    return made


def fine_tune(
    start: "ProgramForceField",
    train: LabelledSet,
    valid: LabelledSet,
    settings: Mapping[str, Any],
    *,
    seed: int = 0,
    folder: str | Path | None = None,
    progress: bool = True,
) -> "ProgramForceField":
    """Go on from a trained force field on few accurate labels, by the program's own way to fine-tune.

    Args:
        start: from `pretrain`.
        train, valid, settings, seed, folder, progress, and errors: see `standard`.
    """
    wanted = Settings(**settings)
    wanted = Settings(**asdict(wanted) | {"steps": wanted.tuning_steps, "learning_rate": wanted.tuning_learning_rate})
    made = _train(
        start.program, f"{start.provenance['stage']}-then-accurate", train, valid, wanted, seed, folder, progress, start
    )
    made.bias, made.provenance = start.bias, {**made.provenance, "gamma": start.provenance.get("gamma")}
    return made


def _train(
    program: Program,
    stage: str,
    train: LabelledSet,
    valid: LabelledSet,
    settings: Settings,
    seed: int,
    folder: str | Path | None,
    progress: bool,
    start: "ProgramForceField | None" = None,
    weights: Tensor | None = None,
) -> "ProgramForceField":
    if lacking := program.missing():
        raise ImportError(lacking)
    started_from = dict(start.provenance) if start else None
    if start is None and settings.foundation_model:
        start = foundation(program, settings.foundation_model, train)
    # What the model to start from predicts is right but for a constant; a fresh one predicts about zero.
    offset = torch.zeros(len(train)) if start is None else start.energy_and_force(train.pos)[0] - start.shift
    shift = float(training.robust_mean(train.energy - offset))
    with nullcontext(folder) if folder else tempfile.TemporaryDirectory(prefix="asteroid-") as place:
        place = (Path(place) / stage).absolute()
        place.mkdir(parents=True, exist_ok=True)
        begun = None
        if start is not None:
            begun = place / f"start{program.suffix}"
            begun.write_bytes(start.checkpoint or start.model)
        task = Task(place, train.z.tolist(), len(train), len(valid), settings, int(seed), begun)
        for labelled, path, of_frames in ((train, task.train, weights), (valid, task.valid, None)):
            labelled.derived(energy=labelled.energy - shift).to_extxyz(path, of_frames)
        if not program.model(task).exists():  # or it was finished, and a kill came before the record
            _run(program, task, stage if progress else None)
        provenance: Provenance = {
            "stage": stage,
            "molecule": train.molecule,
            "level": train.level,
            "labels": len(train),
            "fingerprints": {"train": train.fingerprint, "valid": valid.fingerprint},
            "config": asdict(settings) | {"foundation_model": Path(settings.foundation_model).name},
            "seed": int(seed),
            "history": program.history(task),
            "seconds": _seconds(place),
            "versions": versions() | program.versions(),
            "started_from": started_from,
        }
        model, checkpoint = (path.read_bytes() for path in (program.model(task), program.checkpoint(task)))
        checkpoint = b"" if checkpoint == model else checkpoint
        made = ProgramForceField(program, model, train.z, shift, train.level, provenance, checkpoint)
    # The constant is found again for the trained model, as it is for ours.
    some = train[:: math.ceil(len(train) / _CONSTANT)]
    made.shift += float(training.robust_mean(some.energy - made.energy_and_force(some.pos)[0]))
    made.provenance = {**provenance, "valid_force_mae": stages.force_error(made, valid)}
    return made


def foundation(program: Program, path: str, like: LabelledSet) -> "ProgramForceField":
    """A trained model of the user's, for the molecule of some labels.

    Raises:
        FileNotFoundError: if there is no such file.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f"foundation_model is {path!r}, and there is no such file; give the path of the model")
    return ProgramForceField(program, file.read_bytes(), like.z, 0.0, "foundation", {"stage": "foundation"})


def _run(program: Program, task: Task, caption: str | None) -> None:
    """Run its commands; what they print is kept beside their files, one log for each attempt.

    Raises:
        RuntimeError: if one fails.
    """
    log = task.folder / f"{time.time():.3f}.attempt"
    with (
        open(log, "w", encoding="utf-8") as file,
        machine.progress_bar(caption, total=task.epochs, unit="epoch") as bar,
    ):
        for command in program.commands(task):
            running = Guarded(f"asteroid-{program.name}-", command=[program.interpreter(), *command])
            try:
                for line in running.process.stdout:
                    print(line, end="", file=file, flush=True)
                    if found := re.search(r"\b[Ee]poch:? +(\d+)", line):
                        bar.update(min(int(found[1]) + 1, task.epochs) - bar.n)
                status = running.process.wait()
            finally:
                running.end()
            if status:
                last = log.read_text(encoding="utf-8").strip().splitlines()[-_LAST_LINES:]
                raise RuntimeError(
                    f"{program.label} ended with the exit status {status}; its last lines (of {log}):\n"
                    + "\n".join(last)
                )


def _seconds(folder: Path) -> float:
    """Of all attempts: the name of a log says when it began, and its last line was written when it ended."""
    return sum(max(0.0, log.stat().st_mtime - float(log.stem)) for log in folder.glob("*.attempt"))


@dataclass(eq=False)
class ProgramForceField(PackageForceField):
    """A trained model of a program behind the interface of `ForceField`; the program's own calculator computes.

    A process of its interpreter is started at the first call, and ends with this one.

    Attributes:
        program: which.
        model: the program's file.
        z: (atoms,) atomic numbers in the order of training.
        shift: constant added to the model's energies, kcal/mol, by which they fit the labels on average.
        level: level of theory.
        provenance: how it came about; plain JSON values.
        checkpoint: the program's file from which another training starts, where it is not the model's.
        bias: (frames,) estimated bias of each cheap frame that it was weighted by, kcal/mol/Å, or None.
    """

    program: Program
    model: bytes
    z: Tensor
    shift: float
    level: str
    provenance: Provenance = field(default_factory=dict)
    checkpoint: bytes = b""
    bias: Tensor | None = None

    @property
    def package(self) -> str:
        return self.program.label

    def seconds_per_step(self, pos: Tensor) -> float:
        """Seconds of one frame's energy and force by the program's calculator on one core, the shortest of many calls.

        Args:
            pos: (frames, atoms, 3), Å, which take turns.
        """
        frames = pos[torch.arange(TIMED) % len(pos)]
        return self._computes(frames.numpy())[2]

    def save(self, path: str | Path) -> None:
        """Write one npz file with the program's own files in it.

        Raises:
            OSError: if it cannot be written; an older file of that name is then still whole.
        """
        about = {"program": self.program.name, "level": self.level, "shift": self.shift}
        content = {"z": self.z.numpy(), "about": json.dumps(about | {"provenance": dict(self.provenance)})}
        for name in ("model", "checkpoint"):
            content[name] = np.frombuffer(getattr(self, name), dtype=np.uint8)
        if self.bias is not None:
            content["bias"] = self.bias.numpy()
        with files.replacing(Path(path), "the force field") as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, **content)

    @classmethod
    def load(cls, path: str | Path, program: Program) -> "ProgramForceField":
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is damaged or of another program.
        """
        try:
            with np.load(io.BytesIO(Path(path).read_bytes()), allow_pickle=False) as file:
                content = {name: file[name] for name in file.files}
            about = json.loads(str(content["about"]))
            if about["program"] != program.name:
                raise ValueError(f"it is of {about['program']}")
            bias = torch.from_numpy(content["bias"]) if "bias" in content else None
            model, checkpoint = (content[name].tobytes() for name in ("model", "checkpoint"))
            z = torch.from_numpy(content["z"])
            return cls(program, model, z, about["shift"], about["level"], about["provenance"], checkpoint, bias)
        except FileNotFoundError:
            raise FileNotFoundError(f"there is no force field at {path}") from None
        except Exception as error:  # numpy and zipfile raise many types for a damaged file
            raise ValueError(f"{path} is damaged or no model of {program.label} ({error}); train it again") from None

    def _predict(self, pos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        energy, force, _ = self._computes(pos)
        return energy, force

    @cached_property
    def _computes(self) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, float]]:
        return _Server(self)


class _Server:
    """The calculator of a program in a process of its interpreter.

    Raises:
        ImportError: if the program is not installed.
    """

    def __init__(self, force_field: ProgramForceField):
        program = force_field.program
        if lacking := program.missing():
            raise ImportError(lacking)
        self.label, self.shift = program.label, force_field.shift
        command = [program.interpreter(), program_server.__file__]
        self.running = Guarded(f"asteroid-{program.name}-", command=command)
        model = Path(self.running.folder, f"model{program.suffix}")
        model.write_bytes(force_field.model)
        self._send({"program": program.name, "model": str(model), "z": force_field.z.tolist()})

    def __call__(self, pos: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """Energies (frames,), kcal/mol, forces (frames, atoms, 3), kcal/mol/Å, and the seconds of the fastest frame."""
        asked, answer = (Path(self.running.folder, name) for name in ("pos.npy", "answer.npz"))
        np.save(asked, pos)
        self._send({"pos": str(asked), "answer": str(answer)})
        seconds = self._receive()
        with np.load(answer) as found:
            energy, force = (found[name] / units.KCAL_PER_MOL_IN_EV for name in ("energy", "force"))
        return energy + self.shift, force, seconds

    def _send(self, message: object) -> None:
        with suppress(BrokenPipeError):  # it has ended, and what it printed is read where its answer is awaited
            print(json.dumps(message), file=self.running.process.stdin, flush=True)

    def _receive(self) -> Any:
        printed: list[str] = []
        for line in self.running.process.stdout:
            if line.startswith(program_server.ANSWER):
                return json.loads(line.removeprefix(program_server.ANSWER))
            printed = [*printed, line][-_LAST_LINES:]
        status = self.running.process.wait()
        raise RuntimeError(
            f"the calculator of {self.label} ended with the exit status {status}; its last lines:\n" + "".join(printed)
        )
