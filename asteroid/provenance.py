"""Where a trained force field comes from: plain JSON values that travel in its file."""

import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any, TypedDict


class Provenance(TypedDict, total=False):
    """One training, and those that it started from.

    Which keys there are depends on the method; `stage`, `molecule`, `level`, `labels`, `fingerprints`, `start` (of
    networks), `valid_force_mae`, `history`, `seconds`, `versions` and `started_from` are always there.
    """

    stage: str  # "standard", "inaccurate", "inaccurate-gamma1-tuned", "score-matching", "fidelity", "sgdml" and so on
    molecule: str  # of several, joined by "+"
    level: str  # of the labels, which the force field reproduces
    labels: int  # learned from
    fingerprints: Mapping[str, str]  # of the labels: "train", "valid" and, of methods on two levels, "inaccurate"
    config: Mapping[str, Any]  # of `training.TrainConfig`
    seed: int  # of the shuffles
    start: str  # fingerprint of the weights before the training
    gamma: float | None  # γ of the weights of the frames, in units of the median bias
    score_matching: Mapping[str, Any] | None  # settings of that objective
    together: Mapping[str, list[int]]  # of several molecules, the atomic numbers of each
    domain: Mapping[str, Any] | None  # see `domain.Domain`
    charge: int
    multiplicity: int
    valid_force_mae: float | None  # kcal/mol/Å; None without validation frames
    history: Mapping[str, Any]  # columns of `training.History`
    seconds: float  # of this training
    versions: Mapping[str, str]
    started_from: "Provenance | None"
    # Of ASTEROID's chain of stages only:
    method: str
    valid_force_mae_by_gamma: Mapping[str, float | None]
    bias_identification: "Provenance | None"  # of θ_A
    seconds_of_all_stages: float  # those of the γ that were not chosen too


def versions(*packages: str) -> dict[str, str]:
    """Versions of Python and of what a training was made with."""
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


def chain(last: Provenance) -> list[Provenance]:
    """The trainings that led to a force field, the first one first."""
    found = [last]
    while found[0].get("started_from"):
        found.insert(0, found[0]["started_from"])
    return found


def total_seconds(trainings: Iterable[Provenance]) -> float:
    """Training seconds of force fields, and of what they started from."""
    total = 0.0
    for training in trainings:
        for one in reversed(chain(training)):
            if "seconds_of_all_stages" in one:  # those before it are among them
                total += one["seconds_of_all_stages"]
                break
            total += one["seconds"]
    return total
