"""Seconds that a force field takes for one step of molecular dynamics, measured here and now."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np

from asteroid import datasets, machine, models, runs, stages
from asteroid.baselines import ani, sgdml
from asteroid.datasets import LabelledSet
from asteroid.force_field import ForceField
from asteroid.runs import RunSpec

CALLS = 200
_TO_COME = 10_000  # as many calls as dynamics makes, so that the model's graph is used


def seconds_per_step(spec: RunSpec) -> float | None:
    """Seconds of one frame's energy and force on one core, as dynamics asks for them: the shortest of several calls.

    What a network costs depends neither on its weights nor on its labels, so that none is trained for this; sGDML,
    whose cost grows with its labels, is trained with one σ. Δ-ML computes its cheap level as well, for which the price
    of that level's labels counts: measured at every call it would differ with what else the machine does. What was
    measured once in this process is not measured again.

    Args:
        spec: the run whose force field is meant.

    Returns:
        Seconds; None where a package of the method is missing, or a cheap level was never timed.
    """
    if spec.method == "sgdml":
        same = replace(spec, seed=0)
    elif spec.method in ("delta", "ani-1ccx", "ani-1ccx-tuned"):
        same = replace(spec, seed=0, budget=1)
    else:
        same = replace(spec, seed=0, budget=1, inaccurate_budget=0, method="standard")
    return _measured(same)


@cache
def _measured(spec: RunSpec) -> float | None:
    labels = datasets.load(spec.molecule, level=spec.accurate)
    try:
        with machine.one_thread():
            force_field = _force_field(spec, labels)
            seconds = _shortest(force_field.evaluator(labels.z.numpy(), _TO_COME), labels.pos.numpy())
    except ImportError:
        return None
    if spec.method != "delta":
        return seconds
    price = datasets.load(spec.molecule, level=spec.inaccurate).median_seconds
    return None if price is None else seconds + price


def _force_field(spec: RunSpec, labels: LabelledSet) -> ForceField | sgdml.SGDMLForceField:
    if spec.method == "sgdml":
        split = runs.split_of(spec)
        return sgdml.train(split.train, split.valid, sigmas=sgdml.SIGMAS[:1])
    if spec.method.startswith("ani-1ccx"):
        model = models.build("ani", members=ani.MEMBERS)
    else:
        model = stages.initial_model(spec.recipe, labels, spec.seed)
    return ForceField(model, labels.z, 0.0, labels.level)


def _shortest(evaluate: Callable, pos: np.ndarray) -> float:
    """Of calls with one frame after another: on a busy machine the others have waited.

    The first calls, which set up what is kept, do not count.
    """
    warm_up, seconds = max(1, CALLS // 10), []
    for call in range(warm_up + CALLS):
        frame = pos[[call % len(pos)]]
        started = time.perf_counter()
        evaluate(frame)
        seconds.append(time.perf_counter() - started)
    return min(seconds[warm_up:])
