"""The toy example of appendix A.5: a linear function, learned from few exact points and many with a bias.

All repetitions train at once, as one batch of networks. What the paper does not give (outputs, set of biases, training)
is a field of `Toy`.
"""

import math
import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Annotated, NamedTuple

import torch
from pydantic import Field, FiniteFloat, NonNegativeInt, PositiveInt
from torch import Tensor

from asteroid import files
from asteroid.runs import records
from asteroid.runs.records import Store
from asteroid.training import losses
from asteroid.validation import EachOnce, NotNegative, Positive, validated

# Counts up when a change of the code makes recorded results obsolete that no setting tells apart.
VERSION = 2

INPUTS, HIDDEN = 16, 128
BATCH = 50
EVALUATIONS = 20  # on the validation points, in each training

Parameters = list[Tensor]  # weight (networks, in, out) and bias (networks, 1, out) of each layer


@validated
class Toy:
    """Everything that decides the outcome of the toy example.

    Attributes:
        accurate: points with exact targets A x, where A is a random Gaussian matrix that gives them unit variance.
        biases: the targets of a biased point are A x + b, with one of these drawn for each point.
        by_input: the bias is not drawn but a function of x: its place among these by the projection of x on a hidden
            direction, as often each.
        biased: number of biased points.
        outputs: number of targets of a point.
        valid, test: exact points held out; as many biased ones as `valid` are held out too.
        steps: of standard training; of the three stages, the second takes two thirds of them and the third one third.
        learning_rates: all are tried in each training, and the validation error chooses.
        weight_decay: of AdamW.
        gammas: γ in units of the median bias; the validation error after the last stage chooses.
        seeds: a repetition for each, with other points, matrix and initial weights.

    Raises:
        ValueError: lists every setting that is out of its range.
    """

    accurate: PositiveInt
    biases: EachOnce[FiniteFloat] = (0.0, 0.5, 1.0)
    by_input: bool = False
    biased: Annotated[int, Field(ge=2)] = 2000
    outputs: PositiveInt = 8
    valid: PositiveInt = 50
    test: PositiveInt = 1000
    steps: Annotated[int, Field(ge=3)] = 750
    learning_rates: EachOnce[Positive] = (0.0003, 0.001, 0.003, 0.01)
    weight_decay: NotNegative = 1.0
    gammas: EachOnce[Positive] = (0.125, 0.25, 0.5, 1.0)
    seeds: EachOnce[NonNegativeInt] = tuple(range(10))

    @property
    def key(self) -> str:
        """Hash of the settings and `VERSION`."""
        return files.key_of(asdict(self) | {"version": VERSION})

    @property
    def file_name(self) -> str:
        """Name of the record's file, which a person can read too."""
        return f"toy-a{self.accurate}-i{self.biased}-o{self.outputs}-{self.key}.json"


@validated
class ToySizes:
    """How large the toy example is; `toy` of a profile.

    Attributes:
        accurate: numbers of accurate points.
        few: of them, where something else varies.
        largest_bias: of a point.
        steps: of a training.
        seeds: number of repetitions.
    """

    accurate: EachOnce[PositiveInt]
    few: PositiveInt
    largest_bias: EachOnce[Positive]
    steps: PositiveInt
    seeds: PositiveInt


@dataclass(frozen=True)
class ToyRecord:
    """What the methods came to; a few kilobytes of JSON.

    Attributes:
        spec: the settings.
        key: their key when the record was made.
        errors: by method, named as in `methods.METHODS`, the mean absolute error on the test points of each repetition.
        gamma: (repetitions,) γ chosen by ASTEROID, in units of the median bias.
        learning_rates: by training ("standard", "stage 2", "stage 3"), those chosen by (repetitions,); stages of the
            chosen γ.
        weight_shares: for each of `spec.biases`, the share in the sum of all weights that its points have at the chosen
            γ, mean over repetitions.
        seconds: wall time.
        threads, date, versions: as in `records.Record`.
    """

    spec: Toy
    key: str
    errors: Mapping[str, list[float]]
    gamma: list[float]
    learning_rates: Mapping[str, list[float]]
    weight_shares: list[float]
    seconds: float
    threads: int
    date: str
    versions: Mapping[str, str]


class Points(NamedTuple):
    """Inputs x (repetitions, points, inputs), targets y (repetitions, points, outputs) and weights (networks, points).

    No weights are weights of one.
    """

    x: Tensor
    y: Tensor
    weight: Tensor | None = None

    def part(self, rows: slice) -> "Points":
        """Some of the points of each repetition."""
        return Points(*(part if part is None else part[:, rows] for part in self))


class Data(NamedTuple):
    """The points of all repetitions.

    The last `Toy.valid` of the biased points are held out; `drawn` (repetitions, points) says which of the biases a
    biased point has.
    """

    accurate: Points
    biased: Points
    drawn: Tensor
    valid: Points
    test: Points


class Trained(NamedTuple):
    """Networks with their validation errors and the learning rates (networks,) that gave the smallest."""

    parameters: Parameters
    error: Tensor
    learning_rate: Tensor


def run(spec: Toy, store: Store) -> ToyRecord:
    """Make the toy example, or read its record if the store has it; ValueError if the record is damaged."""
    return records.made(ToyRecord, spec, store, _run)


def recorded(spec: Toy, store: Store) -> ToyRecord | None:
    """Its record, if the store has it; ValueError if that is damaged."""
    return records.recorded(ToyRecord, spec, store)


def _run(spec: Toy, store: Store) -> ToyRecord:
    started = time.perf_counter()
    found = compare(spec)
    record = ToyRecord(
        spec=spec,
        key=spec.key,
        **found,
        seconds=time.perf_counter() - started,
        threads=torch.get_num_threads(),
        date=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        versions={"python": platform.python_version(), "torch": torch.__version__, "platform": platform.machine()},
    )
    records.write_record(store.folder / spec.file_name, asdict(record))
    return record


def by_accurate(sizes: ToySizes) -> list[Toy]:
    """One for each number of accurate points."""
    return [_of(sizes, accurate=number) for number in sizes.accurate]


def by_largest_bias(sizes: ToySizes) -> list[Toy]:
    """One for each size of the bias, with few accurate points."""
    return [_of(sizes, biases=(0.0, size / 2, size)) for size in sizes.largest_bias]


def by_choice(sizes: ToySizes) -> dict[str, Toy]:
    """What the paper leaves open, chosen otherwise: by a name, with few accurate points."""
    return {
        "as above": _of(sizes),
        "1 output": _of(sizes, outputs=1),
        "32 outputs": _of(sizes, outputs=32),
        "no weight decay": _of(sizes, weight_decay=0.0),
        "biases −1, 0, 1": _of(sizes, biases=(-1.0, 0.0, 1.0)),
        "biases ½, 1, 1½: every point has one": _of(sizes, biases=(0.5, 1.0, 1.5)),
        "bias 1 for every point": _of(sizes, biases=(1.0,)),
        "bias a function of x": _of(sizes, by_input=True),
    }


def compare(spec: Toy) -> dict:
    """Train by every method: the fields of `ToyRecord` that are results."""
    data, fresh = draw(spec), initial(spec)
    final = spec.steps // 3
    standard = train(spec, fresh, data.accurate, data.valid, spec.steps)
    # Stage 1 is the same training as the standard one.
    bias = estimated_bias(standard.parameters, data.biased)
    weights = [weights_of(bias, gamma) for gamma in spec.gammas]
    # One batch of networks for all γ, the last of them infinite, which is training without weights.
    repeats = len(weights) + 1
    weighted = data.biased._replace(weight=torch.cat([*weights, torch.ones_like(bias)]))
    # Points of the same kind choose: where all share a bias, exact ones would prefer an untrained network.
    learned, held_out = weighted.part(slice(spec.biased)), weighted.part(slice(spec.biased, None))
    stage_two = train(spec, [part.repeat(repeats, 1, 1) for part in fresh], learned, held_out, spec.steps - final)
    stage_three = train(spec, stage_two.parameters, data.accurate, data.valid, final)

    def by_gamma(values: Tensor) -> Tensor:  # (γ, repetitions)
        return values.view(repeats, -1)

    def at(values: Tensor, place: Tensor) -> list[float]:
        return by_gamma(values).gather(0, place[None])[0].tolist()

    best = by_gamma(stage_three.error)[:-1].argmin(dim=0)  # which γ, (repetitions,)
    best_untuned = by_gamma(mean_error(stage_two.parameters, data.valid))[:-1].argmin(dim=0)
    without = torch.full_like(best, len(weights))
    before, after = (mean_error(part.parameters, data.test) for part in (stage_two, stage_three))
    chosen = torch.stack(weights)[best, torch.arange(len(best))]  # (repetitions, points)
    shares = [chosen[data.drawn == place].sum() / chosen.sum() for place in range(len(spec.biases))]
    return {
        "errors": {
            "standard": mean_error(standard.parameters, data.test).tolist(),
            "asteroid": at(after, best),
            "asteroid-unweighted": at(after, without),
            "asteroid-not-tuned": at(before, best_untuned),
            "inaccurate": at(before, without),
        },
        "gamma": torch.tensor(spec.gammas, dtype=torch.float64)[best].tolist(),
        "learning_rates": {
            "standard": standard.learning_rate.tolist(),
            "stage 2": at(stage_two.learning_rate, best),
            "stage 3": at(stage_three.learning_rate, best),
        },
        "weight_shares": [float(share) for share in shares],
    }


def draw(spec: Toy) -> Data:
    """The points of every repetition. The inputs are standard normal."""
    number = spec.biased + spec.valid
    sizes = {"valid": spec.valid, "test": spec.test, "biased": number, "accurate": spec.accurate}
    inputs, matrices, places = [], [], []
    for seed in spec.seeds:
        generator = _generator(seed, 0)
        matrices.append(torch.randn(INPUTS, spec.outputs, generator=generator) / math.sqrt(INPUTS))
        direction = torch.randn(INPUTS, generator=generator)
        inputs.append({name: torch.randn(size, INPUTS, generator=generator) for name, size in sizes.items()})
        place = torch.randint(len(spec.biases), (number,), generator=generator)
        if spec.by_input:
            rank = (inputs[-1]["biased"] @ direction).argsort().argsort()
            place = rank * len(spec.biases) // number
        places.append(place)
    matrix, drawn = torch.stack(matrices), torch.stack(places)
    x = {name: torch.stack([one[name] for one in inputs]) for name in sizes}
    exact = {name: Points(found, found @ matrix) for name, found in x.items()}
    added = torch.tensor(spec.biases)[drawn].unsqueeze(2)
    biased = Points(x["biased"], exact["biased"].y + added)
    return Data(exact["accurate"], biased, drawn, exact["valid"], exact["test"])


def initial(spec: Toy) -> Parameters:
    """Untrained networks of two hidden layers, one for each repetition, uniform within ± 1/√(inputs of the layer)."""
    networks = []
    for seed in spec.seeds:
        generator = _generator(seed, 1)
        networks.append(
            [
                (2 * torch.rand(rows, outputs, generator=generator) - 1) / math.sqrt(inputs)
                for inputs, outputs in pairwise((INPUTS, HIDDEN, HIDDEN, spec.outputs))
                for rows in (inputs, 1)
            ]
        )
    return [torch.stack(part) for part in zip(*networks)]


def predict(parameters: Parameters, x: Tensor) -> Tensor:
    """Outputs (networks, points, outputs) for x (networks, points, inputs), each network its own."""
    *hidden, last = zip(parameters[::2], parameters[1::2])
    for weight, bias in hidden:
        x = torch.baddbmm(bias, x, weight).relu()
    return torch.baddbmm(last[1], x, last[0])


def mean_error(parameters: Parameters, points: Points) -> Tensor:
    """Mean of w · |error| (networks,). With more networks than repetitions, these are taken round after round."""
    x, y, weight = _for(parameters, points)
    return (weight * (predict(parameters, x) - y).abs().mean(dim=2)).mean(dim=1)


def estimated_bias(parameters: Parameters, biased: Points) -> Tensor:
    """Stage 1: Δ(x) (repetitions, points), by `losses.frame_bias` with the outputs in the place of force components."""
    found = predict(parameters, biased.x)
    return torch.stack([losses.frame_bias(a[..., None], b[..., None]) for a, b in zip(found, biased.y)])


def weights_of(bias: Tensor, gamma: float) -> Tensor:
    """Weights (repetitions, points) by `losses.bias_weights`, with γ in units of each repetition's median bias."""
    return torch.stack([losses.bias_weights(row, gamma * float(row.median())) for row in bias])


def train(spec: Toy, start: Parameters, points: Points, valid: Points, steps: int) -> Trained:
    """Train networks at every learning rate and keep, for each, the rate and the step of the smallest validation error.

    The loss is the mean of w · |error|. AdamW with batches drawn with replacement; the learning rate falls along a
    cosine to zero.

    Args:
        spec: settings.
        start: networks, as many as repetitions or several times as many; left as they are.
        points: to learn, of each repetition.
        valid: validation points, whose error is weighted in the same way.
        steps: number of steps.
    """
    tried = [_fit(spec, start, points, valid, steps, rate) for rate in spec.learning_rates]
    error, place = torch.stack([error for _, error in tried]).min(dim=0)
    networks = torch.arange(len(place))
    parameters = [torch.stack(parts)[place, networks] for parts in zip(*(found for found, _ in tried))]
    return Trained(parameters, error, torch.tensor(spec.learning_rates, dtype=torch.float64)[place])


def _fit(
    spec: Toy, start: Parameters, points: Points, valid: Points, steps: int, learning_rate: float
) -> tuple[Parameters, Tensor]:
    parameters = [part.clone().requires_grad_() for part in start]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=spec.weight_decay, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    points = _for(parameters, points)
    networks = torch.arange(len(points.x))[:, None]
    batches = _batches(spec, points.x, steps)
    best, best_error = [part.clone() for part in start], torch.full((len(points.x),), math.inf)
    for step in range(steps):
        batch = Points(*(part[networks, batches[:, step]] for part in points))
        loss = mean_error(parameters, batch).sum()  # networks do not touch each other
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if (step + 1) % max(1, steps // EVALUATIONS) == 0 or step + 1 == steps:
            with torch.no_grad():
                found = mean_error(parameters, valid)
                better = found < best_error
                best_error = torch.where(better, found, best_error)
                for kept, part in zip(best, parameters):
                    kept[better] = part[better]
    return best, best_error


def _batches(spec: Toy, x: Tensor, steps: int) -> Tensor:
    """Points (networks, steps, batch) of each step, by the seed of the network's repetition."""
    size = (steps, min(BATCH, x.shape[1]))
    drawn = torch.stack([torch.randint(x.shape[1], size, generator=_generator(seed, 2)) for seed in spec.seeds])
    return drawn.repeat(len(x) // len(drawn), 1, 1)


def _for(parameters: Parameters, points: Points) -> Points:
    """The points for each network, where there are several times as many networks as repetitions."""
    networks = len(parameters[0])
    times = networks // len(points.x)
    weight = torch.ones(networks, points.x.shape[1]) if points.weight is None else points.weight
    return Points(points.x.repeat(times, 1, 1), points.y.repeat(times, 1, 1), weight)


def _generator(seed: int, purpose: int) -> torch.Generator:
    return torch.Generator().manual_seed(3 * seed + purpose)


def _of(sizes: ToySizes, **changes: object) -> Toy:
    settings = {"accurate": sizes.few, "steps": sizes.steps, "seeds": tuple(range(sizes.seeds))}
    return Toy(**(settings | changes))
