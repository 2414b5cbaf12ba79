"""Seconds that a force field takes for one step of molecular dynamics, measured here and now."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np

from asteroid import datasets, machine, runs
from asteroid.runs import RunSpec
from asteroid.runs.methods import METHODS

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
    same = replace(spec, seed=0)
    if spec.about.untrained is METHODS["standard"].untrained:  # a network, whatever it has learned
        method = spec.method if spec.about.computes_cheap_level else "standard"
        same = replace(same, budget=1, inaccurate_budget=0, method=method)
    return _measured(same)


@cache
def _measured(spec: RunSpec) -> float | None:
    labels = datasets.load(spec.molecule, level=spec.accurate)
    try:
        with machine.one_thread():
            force_field = spec.about.untrained(spec, runs.split_of(spec))
            seconds = _shortest(force_field.evaluator(labels.z.numpy(), _TO_COME), labels.pos.numpy())
    except ImportError:
        return None
    if not spec.about.computes_cheap_level:
        return seconds
    price = datasets.load(spec.molecule, level=spec.inaccurate).median_seconds
    return None if price is None else seconds + price


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
