"""The one training loop; every stage and every loss goes through it."""

import math
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from asteroid import files, identity, machine
from asteroid.training import forces, losses
from asteroid.training.objectives import Labelled, Objective, Supervised
from asteroid.training.optimisers import OPTIMIZERS, Optimizer
from asteroid.validation import NotNegative, Positive, validated

# Tracing takes seconds and then saves a third of every step; compiling takes minutes and saves a half.
TRACE_FROM_STEPS = 500
COMPILE_FROM_STEPS = 30_000

CHECKPOINT_SECONDS = 60  # what a kill may cost


@validated
class TrainConfig:
    """Settings of one stage of training; the defaults are the paper's (appendix A.2) and its release's.

    Weight matrices are moved by the `optimizer`, "muon", "soap" or "adamw", and all other parameters by AdamW. The
    learning rate at a step, counted from 0, is `learning_rate` · min(1, (step + 1) / `warmup`) ·
    `decay_rate`^(step / `decay_steps`), halved each time the validation error has not improved for `plateau` steps. The
    decay of the averaged weights is min(`ema`, (1 + step) / (10 + step)).

    Raises:
        ValueError: lists every setting that is out of its range.
    """

    steps: PositiveInt = 170_000  # 2000 epochs of the largest budget
    batch_size: PositiveInt = 10
    optimizer: Literal[OPTIMIZERS] = "muon"  # the paper's is "adamw"
    learning_rate: Positive = 1e-3
    warmup: NonNegativeInt = 10_000
    decay_steps: PositiveInt = 1_200_000
    decay_rate: Annotated[float, Field(gt=0, le=1)] = 0.01
    plateau: PositiveInt = 50_000  # steps
    patience: PositiveInt = 100_000  # stop after so many steps without a better validation error
    weight_decay: NotNegative = 2e-6
    clip: PositiveFloat = 10.0  # largest norm of the gradient
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.999  # of the averaged weights, with which the model is evaluated
    rho: Annotated[float, Field(ge=0, le=1)] = losses.RHO
    eval_every: PositiveInt = 100  # steps
    compile: bool | None = None  # None: when the run is long enough to earn back the compile time

    def __post_init__(self):
        if self.patience < self.eval_every:
            raise ValueError(f"patience is {self.patience}, expected at least eval_every ({self.eval_every})")

    def times(self, number: int) -> "TrainConfig":
        """The same course in so many times as many steps."""
        lengths = ("steps", "warmup", "decay_steps", "plateau", "patience", "eval_every")
        return replace(self, **{name: number * getattr(self, name) for name in lengths})


@dataclass
class History:
    """The course of one training: a row per evaluation."""

    step: list[int] = field(default_factory=list)
    train_loss: list[float] = field(default_factory=list)  # mean since the row before
    valid_force_mae: list[float] = field(default_factory=list)  # kcal/mol/Å; empty without validation frames
    learning_rate: list[float] = field(default_factory=list)
    best_step: int = 0  # of the weights that were kept
    seconds: float = 0.0
    uncompiled: str | None = None  # why steps that were to be traced or compiled ran eagerly, slower; None: none did

    @property
    def best(self) -> float | None:
        """Smallest validation force error, kcal/mol/Å; None without validation frames."""
        return min(self.valid_force_mae, default=None)


class TrainingDiverged(ArithmeticError):
    """The loss became NaN, infinite, or far larger than at the start."""


@machine.long_work()  # which the compiler is to know of, too
def fit(
    model: nn.Module,
    train: Labelled | Sequence[Labelled],
    valid: Labelled | Sequence[Labelled] | None,
    config: TrainConfig = TrainConfig(),
    *,
    objective: Objective | None = None,
    weight: Tensor | None = None,
    seed: int = 0,
    checkpoint: Path | None = None,
    progress: str | None = None,
    shapes: Mapping[str, int] | Sequence[Mapping[str, int]] = MappingProxyType({}),
) -> History:
    """Train a model on labels of one molecule or several; it ends with the averaged weights of the best validation.

    Where few labels are, none need be spent on validation: then it ends with the averaged weights of the last step.

    A batch holds frames of one molecule. Several take turns: step k trains on number k modulo their number. Batches run
    through one shuffle of a molecule's frames after another, all of the same size. Energies are learned up to the shift
    that `energy_shift` finds for the untrained model, one for each molecule; find it again for the trained one.

    Args:
        model: maps z and pos to energies; trained in place, in its own precision and on its own device.
        train: frames to learn from, kcal/mol and Å; a set, or a sequence of them.
        valid: frames of the same molecule on which the force error decides what to keep, a set for each of `train`; of
            several molecules it is the mean error that decides. Their level may differ. None keeps the last weights.
        config: settings; of several molecules, the steps are those of all together.
        objective: what is minimised; None is `Supervised` with the settings' rho.
        weight: (frames,) weight of each training frame in the supervised loss (Eq. 2), one set after another, or None.
        seed: of the shuffles, and of what an objective draws.
        checkpoint: file that is written once a minute and from which an interrupted training goes on, with the same
            numbers as one that was not interrupted; the caller removes it when the result is safe.
        progress: label of a progress bar, or None for silence.
        shapes: from `models.static_shapes` for the training frames, of each set where they differ.

    Returns:
        The history.

    Raises:
        TrainingDiverged: if the loss is NaN or infinite, or, where it has no sign, grows to a thousand times its start.
        ValueError: if there is not one weight for each frame or one validation set for each training set, or if the
            checkpoint belongs to another training.
    """
    sets, seed = as_list(train), int(seed)  # torch takes no integer of NumPy
    valid_sets = [] if valid is None else as_list(valid)
    if valid is not None and len(valid_sets) != len(sets):
        raise ValueError(f"there are {len(sets)} training sets and {len(valid_sets)} for validation; give one for one")
    frames = [len(one) for one in sets]
    if weight is not None and weight.shape != (sum(frames),):
        raise ValueError(f"weight has the shape {tuple(weight.shape)}; expected one for each of {sum(frames)} frames")
    weights = [None] * len(sets) if weight is None else weight.split(frames)
    objective = objective or Supervised(config.rho)
    molecules = [
        Molecule(model, *one, objective, config.batch_size, seed)
        for one in zip(sets, valid_sets or [None] * len(sets), weights, strict=True)
    ]

    state = State(model, config)
    signature = _signature(model, sets, valid_sets, config, objective, seed)
    if checkpoint is not None and checkpoint.exists():
        state.load(checkpoint, signature, weight)
    history, traceable, steps = state.history, forces.traceable(model), config.steps // len(sets)  # of each molecule
    compiled = traceable and steps >= COMPILE_FROM_STEPS if config.compile is None else config.compile
    traced, step_of, untraced = compiled or (traceable and steps >= TRACE_FROM_STEPS), [], []
    for one, fixed in zip(molecules, [shapes] * len(sets) if isinstance(shapes, Mapping) else shapes, strict=True):
        step = forces.training_step(model, one.z, objective, fixed)
        try:
            if traced:
                step = forces.traced_training_step(model, one.z, objective, one.batch(0), fixed, compiled)
        except forces.NotTraced as error:
            untraced.append(str(error))
        step_of.append(step)
    if untraced:  # what an earlier process met stays in the history
        history.uncompiled = "; ".join(dict.fromkeys(untraced))
        warnings.warn(f"training runs uncompiled and slower ({history.uncompiled})", stacklevel=3)

    started, saved = time.perf_counter() - history.seconds, time.perf_counter()
    bar = machine.progress_bar(progress, total=config.steps, initial=state.step, unit="step")
    with bar:
        while state.step < config.steps and state.step - history.best_step < config.patience:
            turn, which = divmod(state.step, len(molecules))
            value, gradients = step_of[which](*molecules[which].batch(turn))
            state.add_loss(float(value), objective.signed)
            state.update(gradients)
            bar.update()

            if state.step % config.eval_every == 0 or state.step == config.steps:
                with state.averaged_weights():
                    errors = [molecule.force_error(model) for molecule in molecules if valid_sets]
                state.evaluated(sum(errors) / len(errors) if errors else None)
                history.seconds = time.perf_counter() - started
                if valid_sets:
                    bar.set_postfix_str(f"{history.best:.3f} kcal/mol/Å")
            if checkpoint is not None and time.perf_counter() - saved > CHECKPOINT_SECONDS:
                history.seconds = time.perf_counter() - started
                state.save(checkpoint, signature, weight)
                saved = time.perf_counter()

    state.weights.copy_(state.best)
    # Each parameter has its own memory again: a pickle would hold the whole vector for every one of them.
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()
    return history


def as_list(sets: Any) -> list[Any]:
    """The sets of several molecules, or of one alone; ValueError if there is none."""
    listed = list(sets) if isinstance(sets, Sequence) else [sets]
    if not listed:
        raise ValueError("there is no set of labels to train on; give one, or one for each molecule")
    return listed


class Molecule:
    """One molecule's part in a training: its batches, and its validation error."""

    def __init__(
        self,
        model: nn.Module,
        train: Labelled,
        valid: Labelled | None,
        weight: Tensor | None,
        objective: Objective,
        batch_size: int,
        seed: int,
    ):
        like = next(model.parameters())
        to = partial(torch.Tensor.to, device=like.device, dtype=like.dtype)
        self.z = train.z.to(like.device)
        self.columns = [to(column) for column in objective.columns(train, model, weight)]
        self.valid_pos, self.valid_force = (None, None) if valid is None else (to(valid.pos), to(valid.force))
        self.frames, self.batch_size = len(train), min(batch_size, len(train))
        self.objective, self.seed = objective, seed

    def batch(self, turn: int) -> tuple[Tensor, ...]:
        """What the molecule's step number `turn` sees."""
        index = _frames_of_step(turn, self.frames, self.batch_size, self.seed).to(self.z.device)
        rows = [column[index] for column in self.columns]
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + turn)
        return *rows, *self.objective.draws(rows[0], generator)

    def force_error(self, model: nn.Module) -> float:
        """Mean absolute error of the force on the validation frames, kcal/mol/Å."""
        _, force = forces.predict(model, self.z, self.valid_pos)
        return float(losses.force_mae(force, self.valid_force))


class State:
    """Everything that a checkpoint has to hold."""

    TENSORS = ("weights", "average", "best")
    PLAIN = ("step", "plateau_scale", "plateau_since", "first_loss", "sum", "count")

    def __init__(self, model: nn.Module, config: TrainConfig):
        self.config = config
        self.optimizer = Optimizer(model, config.optimizer, config.weight_decay)
        self.weights = self.optimizer.weights
        self.average, self.best = self.weights.clone(), self.weights.clone()
        self.history = History()
        self.step = 0
        self.plateau_scale, self.plateau_since = 1.0, 0
        self.first_loss: float | None = None
        self.sum, self.count = 0.0, 0

    def update(self, gradients: Sequence[Tensor]) -> None:
        """One step of the optimiser and of the averaged weights."""
        self.optimizer.step(gradients, self.learning_rate(self.step), self.config.clip)
        # The average of the first steps would be dragged by the random start for 1 / (1 - ema) steps.
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        self.average.lerp_(self.weights, 1 - decay)
        self.step += 1

    def learning_rate(self, step: int) -> float:
        """By the schedule, and by how often the validation error has come to rest."""
        config = self.config
        warm = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
        return self.plateau_scale * config.learning_rate * warm * config.decay_rate ** (step / config.decay_steps)

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """The model has its averaged weights meanwhile."""
        current = self.weights.clone()
        self.weights.copy_(self.average)
        try:
            yield
        finally:
            self.weights.copy_(current)

    def add_loss(self, value: float, signed: bool) -> None:
        if self.first_loss is None:
            self.first_loss = value
        if not math.isfinite(value) or (not signed and value > 1e3 * max(self.first_loss, 1.0)):
            raise TrainingDiverged(
                f"the loss is {value:.3g} at step {self.step} (it began at {self.first_loss:.3g}): lower "
                f"learning_rate ({self.config.learning_rate}), or look for outliers among the labels"
            )
        self.sum, self.count = self.sum + value, self.count + 1

    def evaluated(self, error: float | None) -> None:
        """Note a validation error; keep the weights if it is the best, slow down if it has been none for long.

        Without one, the last weights are the best.
        """
        history, rate = self.history, self.learning_rate(self.step - 1)
        if error is None or not history.valid_force_mae or error < history.best:
            history.best_step = self.plateau_since = self.step
            self.best = self.average.clone()
        elif self.step - self.plateau_since >= self.config.plateau:
            self.plateau_scale, self.plateau_since = self.plateau_scale / 2, self.step
        history.step.append(self.step)
        history.train_loss.append(self.sum / max(self.count, 1))
        if error is not None:
            history.valid_force_mae.append(error)
        history.learning_rate.append(rate)
        self.sum, self.count = 0.0, 0

    def save(self, path: Path, signature: str, frame_weight: Tensor | None) -> None:
        content: dict[str, Any] = {name: getattr(self, name) for name in self.TENSORS + self.PLAIN}
        content |= {
            "signature": signature,
            "frame_weight": frame_weight,
            "optimizer": self.optimizer.state_dict(),
            "history": asdict(self.history),
        }
        try:
            with files.replacing(path) as temporary:
                torch.save(content, temporary)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
            raise OSError(f"could not write the checkpoint {path}; is the disk full? ({error})") from None

    def load(self, path: Path, signature: str, frame_weight: Tensor | None) -> None:
        try:
            content = torch.load(path, map_location=self.weights.device, weights_only=True)
            same = content["signature"] == signature and identity.agree(content["frame_weight"], frame_weight)
        except Exception as error:  # torch raises many types, with long advice, for a damaged file
            raise ValueError(
                f"{path} is not a readable checkpoint ({type(error).__name__}); delete it to start anew"
            ) from None
        if not same:
            raise ValueError(f"{path} was written by another training (data or settings); delete it to start anew")
        for name in self.PLAIN:
            setattr(self, name, content[name])
        for name in self.TENSORS:
            getattr(self, name).copy_(content[name])
        self.optimizer.load_state_dict(content["optimizer"])
        self.history = History(**content["history"])


def _frames_of_step(step: int, frames: int, batch_size: int, seed: int) -> Tensor:
    """Indices (batch_size,) of one step's frames, a function of nothing but the arguments, so that a resume is exact.

    The shuffles of all epochs stand one after another and are cut into batches.
    """
    first, last = step * batch_size, (step + 1) * batch_size - 1
    order = torch.cat([_shuffle(epoch, frames, seed) for epoch in range(first // frames, last // frames + 1)])
    return order[first % frames :][:batch_size]


@lru_cache(maxsize=16)  # of 100,000 frames it takes half a millisecond, and every step asks for it
def _shuffle(epoch: int, frames: int, seed: int) -> Tensor:
    return torch.randperm(frames, generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch))


def _signature(
    model: nn.Module,
    train: Sequence[Labelled],
    valid: Sequence[Labelled],  # empty without any
    config: TrainConfig,
    objective: Objective,
    seed: int,
) -> str:
    """What a training is: its data, its settings and the weights that it starts from."""
    data = identity.digest(
        *(tensor for one in train for tensor in (one.z, one.pos, one.energy, one.force)),
        *(tensor for one in valid for tensor in (one.pos, one.force)),
    )
    return repr((identity.fingerprint(model), data, asdict(config), objective, seed))
