"""The methods that are compared, each an entry of `METHODS`: what it looks at, builds on, trains and costs.

A new method is one more entry, from which sweeps, plans, records and figures take what they need; which runs of it
there are stands in the profiles.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from asteroid import datasets, models, multi_molecule, stages
from asteroid.baselines import ani, delta, fidelity, mace, missing_package, nequip, programs, sgdml
from asteroid.datasets import Split
from asteroid.force_field import ForceField, force_on
from asteroid.runs import selection
from asteroid.runs.labels import labels, pairs
from asteroid.stages import Recipe
from asteroid.training import TrainConfig, losses

if TYPE_CHECKING:
    from asteroid.runs.spec import RunSpec

AnyForceField = ForceField | delta.DeltaForceField | sgdml.SGDMLForceField | programs.ProgramForceField

MODEL_NAMES = {"egnn": "EGNN", "gemnet-t": "GemNet-T", "gemnet-q": "GemNet-Q", "ani": "ANI"}

_OPTIONAL = ("budget", "inaccurate", "inaccurate_budget", "together", *(f"recipe.{one.name}" for one in fields(Recipe)))


@dataclass(frozen=True)
class Job:
    """What a method trains from.

    Attributes:
        spec: the run.
        split: its frames.
        others: those of the other molecules, of a method that learns several together.
        built_on: the force fields of `Method.builds_on`, in its order.
        keep: the arguments `seed`, `folder` and `progress` of every stage.
    """

    spec: "RunSpec"
    split: Split
    others: Sequence[Split]
    built_on: Sequence[ForceField]
    keep: Mapping[str, Any]


def _untrained_network(spec: "RunSpec", split: Split) -> AnyForceField:
    model = stages.initial_model(spec.recipe, split.train, spec.seed)
    return ForceField(model, split.train.z, 0.0, split.train.level)


@dataclass(frozen=True)
class Method:
    """One way to a force field.

    Attributes:
        label: its name in figures and tables.
        uses: the fields of a run that it looks at, of those that not every method needs, separated by spaces; all
            others are no part of a run's identity. Without a point it is a field of `RunSpec`, with one of `Recipe`.
        train: makes the force field.
        trainings: kind and settings of each training of its own, by which steps and hours are counted; the kinds are
            those of the records' histories.
        builds_on: the runs whose force fields it starts from.
        trades: it gives up accurate labels for cheap ones of the same cost.
        cheap: which cheap labels a profile gives it, a key of `Profile.cheap_labels`.
        needs_validation: it cannot do without validation frames; the others can keep their last weights.
        selects: its accurate frames can be chosen, see `Selection`.
        serves_all: one run serves all the molecules that are trained together.
        split: its frames, where they are not those of `datasets.split`.
        errors: what its records have besides `stages.test_errors`, from run, split and force field.
        settings: what it makes of a run's `program`: checked, without what it does not look at.
        load: reads its force field back, from its file and the run.
        suffix: of that file.
        untrained: a force field that costs as much per step as a trained one.
        computes_cheap_level: at every step of a simulation, which then pays for a cheap label too.
        missing: what it lacks on this machine, in one line with the command that gets it, or None.
        color: of its label in figures: a place in seaborn's "colorblind" palette, or a colour of matplotlib.
    """

    label: str
    uses: str
    train: Callable[[Job], AnyForceField]
    trainings: Callable[[Recipe], Sequence[tuple[str, TrainConfig]]] = lambda recipe: ()
    builds_on: "Callable[[RunSpec], Sequence[RunSpec]]" = lambda spec: ()
    trades: bool = False
    cheap: str = "none"
    needs_validation: bool = True
    selects: bool = False
    serves_all: bool = False
    split: "Callable[[RunSpec], Split] | None" = None
    errors: "Callable[[RunSpec, Split, AnyForceField], dict[str, float]]" = lambda spec, split, trained: {}
    settings: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda given: {}
    load: "Callable[[Path, RunSpec], AnyForceField]" = lambda path, spec: ForceField.load(path)
    suffix: str = ".safetensors"
    untrained: "Callable[[RunSpec, Split], AnyForceField]" = _untrained_network
    computes_cheap_level: bool = False
    missing: Callable[[], str | None] = lambda: None
    color: int | str | None = None

    def __post_init__(self):
        if unknown := set(self.uses.split()) - set(_OPTIONAL):
            raise ValueError(f"{self.label} uses {', '.join(sorted(unknown))}; known: {', '.join(_OPTIONAL)}")

    @property
    def unused(self) -> tuple[str, ...]:
        """The fields of a run that it does not look at."""
        used = self.uses.split()
        return tuple(name for name in _OPTIONAL if name not in used)


NETWORK = "recipe.model recipe.model_config"
CHEAP = "inaccurate inaccurate_budget recipe.inaccurate"
WEIGHTS = "recipe.identification recipe.gammas"
SCORES = "inaccurate inaccurate_budget recipe.score_matching recipe.slices recipe.temperature"


def _tuned(job: Job) -> ForceField:
    return stages.fine_tune(job.built_on[0], job.split.train, job.split.valid, job.spec.recipe, **job.keep)


def _tuned_after_scores(job: Job) -> ForceField:
    recipe = replace(job.spec.recipe, fine_tuning=job.spec.recipe.score_fine_tuning)
    return stages.fine_tune(job.built_on[0], job.split.train, job.split.valid, recipe, **job.keep)


def _standard(job: Job) -> ForceField:
    return stages.standard(job.split.train, job.split.valid, job.spec.recipe, **job.keep)


def stage_one(spec: "RunSpec") -> "list[RunSpec]":
    """θ_A of each molecule: standard training with the settings of stage 1."""
    recipe = replace(spec.recipe, accurate=spec.recipe.identification)
    one = replace(spec, method="standard", inaccurate_budget=0, recipe=recipe)
    return [replace(one, molecule=molecule, accurate=level) for molecule, level in spec.trained_together]


def _round_before(spec: "RunSpec") -> "list[RunSpec]":
    """Standard training on chosen labels builds on those of the round before, which chose them."""
    if not (spec.selection and spec.selection.rounds):
        return []
    *before, last = spec.selection.rounds
    return [
        replace(spec, budget=last, selection=replace(spec.selection, rounds=before, member=member))
        for member in range(selection.MEMBERS[spec.selection.by])
    ]


def _as(method: str) -> "Callable[[RunSpec], list[RunSpec]]":
    return lambda spec: [replace(spec, method=method)]


def _differences(spec: "RunSpec") -> Split:
    """The other methods' frames, labelled with differences of the levels, and the cheap labels that went into them."""
    found = pairs(spec.molecule, spec.accurate, spec.inaccurate)
    split = datasets.split(found.labels, None, spec.budget, spec.seed, valid=spec.valid, test=spec.test)
    _, theirs = split.train.paired_with(found.cheap)
    return replace(split, inaccurate=found.cheap[theirs])


def _errors_by_level(spec: "RunSpec", split: Split, trained: AnyForceField) -> dict[str, float]:
    """Force errors of a model without labels against every level that has the test frames, kcal/mol/Å.

    Where the level that drove the simulation lacks some, against as many others of its own that were not learned from.
    """
    embedded = spec.molecule in datasets.molecules()
    force, errors = force_on(trained, split.test), {}
    for level in datasets.levels(spec.molecule) if embedded else (spec.accurate, spec.inaccurate):
        labelled = labels(spec.molecule, level)
        mine, theirs = split.test.paired_with(labelled)
        if len(mine) == len(split.test):
            errors[f"force_mae_{level}"] = float(losses.force_mae(force[mine], labelled.force[theirs]))
        elif level == spec.inaccurate:
            learned = split.inaccurate.paired_with(labelled)[1].numpy()
            others = np.setdiff1d(np.arange(len(labelled)), learned)
            if len(others):
                spread = np.linspace(0, len(others) - 1, min(len(others), len(split.test))).astype(int)
                frames = labelled[others[spread]]
                errors[f"force_mae_{level}"] = float(losses.force_mae(force_on(trained, frames), frames.force))
    return errors


def _untrained_ani(spec: "RunSpec", split: Split) -> ForceField:
    return ForceField(models.build("ani", members=ani.MEMBERS), split.train.z, 0.0, split.train.level)


def _two_levels(label: str, way: str) -> Method:
    return Method(
        label,
        f"budget inaccurate inaccurate_budget {NETWORK} recipe.accurate",
        lambda job: fidelity.train(job.split, way, job.spec.recipe, **job.keep),
        lambda recipe: [(way, recipe.accurate)],
        trades=True,
        cheap="most",
        color=3,
    )


def _by_program(
    program: programs.Program,
    what: str,
    uses: str,
    train: Callable[[Job, Mapping[str, Any]], AnyForceField],
    tuned: bool = False,
    **about: Any,
) -> Method:
    """A way to train with a program; `train` gets the settings too."""

    def untrained(spec: "RunSpec", split: Split) -> AnyForceField:
        raise ImportError(f"what a step of {program.label} costs is measured by its own calculator, see its records")

    return Method(
        f"{program.label}{what}",
        uses,
        lambda job: train(job, dict(job.spec.program)),
        errors=lambda spec, split, trained: {"md_step_seconds": trained.seconds_per_step(split.test.pos)},
        settings=lambda given: programs.checked(given, tuned),
        load=lambda path, spec: programs.ProgramForceField.load(path, program),
        suffix=".npz",
        untrained=untrained,
        missing=program.missing,
        **about,
    )


def _of_program(program: programs.Program, weighs: bool, color: int) -> dict[str, Method]:
    """The ways to train with a program: from scratch, and in two stages, the first with weights if it knows any."""

    def pretrained(job: Job, settings: Mapping[str, Any]) -> AnyForceField:
        if not job.built_on:
            return programs.pretrain(program, job.split.inaccurate, settings, **job.keep)
        theta_a, (gamma, *_) = job.built_on[0], job.spec.recipe.gammas
        weighted = {"theta_a": theta_a, "gamma": gamma}
        return programs.pretrain(program, job.split.inaccurate, settings, **weighted, **job.keep)

    def tuned(job: Job, settings: Mapping[str, Any]) -> AnyForceField:
        return programs.fine_tune(job.built_on[0], job.split.train, job.split.valid, settings, **job.keep)

    def scratch(job: Job, settings: Mapping[str, Any]) -> AnyForceField:
        return programs.standard(program, job.split.train, job.split.valid, settings, **job.keep)

    name, cheap = program.name, "inaccurate inaccurate_budget"
    two_stages = {"trades": True, "cheap": "most"}
    ways = {
        name: _by_program(program, "", "budget", scratch, color=color),
        f"{name}-inaccurate": _by_program(program, ", cheap labels only", cheap, pretrained, cheap="most"),
        f"{name}-tuned": _by_program(
            program,
            ", pre-trained and fine-tuned",
            f"budget {cheap}",
            tuned,
            tuned=True,
            builds_on=_as(f"{name}-inaccurate"),
            **two_stages,
        ),
    }
    if weighs:
        weights = f"budget {cheap} {NETWORK} {WEIGHTS}"
        ways[f"{name}-weighted"] = _by_program(
            program, ", cheap labels with ASTEROID's weights", weights, pretrained, builds_on=stage_one, **two_stages
        )
        ways[f"{name}-weighted-tuned"] = _by_program(
            program,
            ", pre-trained with ASTEROID's weights and fine-tuned",
            weights,
            tuned,
            tuned=True,
            builds_on=_as(f"{name}-weighted"),
            **two_stages,
        )
    return ways


METHODS = {
    "standard": Method(
        "accurate labels only",
        f"budget {NETWORK} recipe.accurate",
        _standard,
        lambda recipe: [("standard", recipe.accurate)],
        _round_before,
        needs_validation=False,
        selects=True,
        color="black",
    ),
    "asteroid": Method(
        "ASTEROID",
        f"budget {CHEAP} {NETWORK} {WEIGHTS} recipe.fine_tuning",
        lambda job: stages.asteroid(job.split, job.spec.recipe, thetas_i=job.built_on, **job.keep),
        lambda recipe: [("fine-tuning", recipe.fine_tuning)] * len(recipe.gammas),
        lambda spec: [  # each γ has its θ_I
            replace(spec, method="asteroid-not-tuned", recipe=replace(spec.recipe, gammas=(gamma,)))
            for gamma in spec.recipe.gammas
        ],
        trades=True,
        cheap="all",
        needs_validation=False,
        selects=True,
        color=0,
    ),
    "asteroid-unweighted": Method(
        "ASTEROID without bias-aware weights",
        f"budget {CHEAP} {NETWORK} recipe.fine_tuning",
        lambda job: stages.asteroid(job.split, job.spec.recipe, weighted=False, thetas_i=job.built_on, **job.keep),
        lambda recipe: [("fine-tuning", recipe.fine_tuning)],
        _as("inaccurate"),
        trades=True,
        cheap="all",
        needs_validation=False,
        color=9,
    ),
    "asteroid-not-tuned": Method(
        "ASTEROID without fine-tuning",
        f"budget {CHEAP} {NETWORK} {WEIGHTS}",
        lambda job: stages.asteroid(job.split, job.spec.recipe, tuned=False, theta_a=job.built_on[0], **job.keep),
        lambda recipe: [("inaccurate", recipe.inaccurate)] * len(recipe.gammas),
        stage_one,
        trades=True,
        cheap="all",
        needs_validation=False,
        selects=True,
        color=2,
    ),
    "asteroid-multi": Method(
        "ASTEROID, pre-trained on several molecules",
        f"budget together {CHEAP} {NETWORK} {WEIGHTS} recipe.fine_tuning",
        _tuned,
        lambda recipe: [("fine-tuning", recipe.fine_tuning)],
        _as("multi-not-tuned"),
        trades=True,
        cheap="most",
    ),
    "multi-not-tuned": Method(
        "pre-training on several molecules",
        f"budget together {CHEAP} {NETWORK} {WEIGHTS}",
        lambda job: multi_molecule.pretrain([job.split, *job.others], job.built_on, job.spec.recipe, **job.keep),
        lambda recipe: [("inaccurate", recipe.inaccurate)] * len(recipe.gammas),  # of each molecule
        stage_one,
        trades=True,
        cheap="most",
        serves_all=True,
    ),
    "inaccurate": Method(
        "inaccurate labels only",
        f"{CHEAP} {NETWORK}",
        lambda job: stages.train_on_inaccurate(job.split.inaccurate, None, math.inf, job.spec.recipe, **job.keep),
        lambda recipe: [("inaccurate", recipe.inaccurate)],
        cheap="alone",
        needs_validation=False,
        color=1,
    ),
    "score-matching": Method(
        "score matching and fine-tuning",
        f"budget {SCORES} {NETWORK} recipe.score_fine_tuning",
        _tuned_after_scores,
        lambda recipe: [("fine-tuning", recipe.score_fine_tuning)],
        _as("score-matching-not-tuned"),
        cheap="most geometries",
    ),
    "score-matching-not-tuned": Method(
        "score matching, no labels",
        f"{SCORES} {NETWORK}",
        lambda job: stages.match_scores(job.split.inaccurate, job.split.valid, job.spec.recipe, **job.keep),
        lambda recipe: [("score-matching", recipe.score_matching)],
        cheap="geometries",
        errors=_errors_by_level,
    ),
    "delta": Method(
        "Δ-ML",
        f"budget inaccurate {NETWORK} recipe.accurate",  # as many cheap labels as accurate ones, of the same frames
        _standard,
        lambda recipe: [("standard", recipe.accurate)],
        trades=True,
        needs_validation=False,
        split=_differences,
        errors=lambda spec, split, trained: {
            "pair_distance": float(pairs(spec.molecule, spec.accurate, spec.inaccurate).distance.mean())  # Å
        },
        load=lambda path, spec: delta.with_cheap_level(ForceField.load(path), labels(spec.molecule, spec.inaccurate)),
        computes_cheap_level=True,
        color=2,
    ),
    "sgdml": Method(
        "sGDML",
        "budget",
        lambda job: sgdml.train(job.split.train, job.split.valid),
        load=lambda path, spec: sgdml.SGDMLForceField.load(path),
        suffix=".npz",
        # Its cost grows with its labels and with nothing else, so one σ of the search will do.
        untrained=lambda spec, split: sgdml.train(split.train, split.valid, sigmas=sgdml.SIGMAS[:1]),
        missing=lambda: missing_package("sgdml"),
        color=4,
    ),
    "fidelity": _two_levels("fidelity embedding", "fidelity"),
    "two-heads": _two_levels("two heads", "two-heads"),
    "ani": Method(
        "ANI's recipe",
        f"budget together {CHEAP} {NETWORK} recipe.fine_tuning",
        lambda job: ani.transfer(job.split, job.others, job.spec.recipe, **job.keep),
        trades=True,
        cheap="most",
        missing=lambda: missing_package("torchani"),
    ),
    "ani-1ccx": Method(
        "ANI-1ccx",
        "",
        lambda job: ani.zero_shot(job.split.valid),
        untrained=_untrained_ani,
        missing=ani.missing,
    ),
    "ani-1ccx-tuned": Method(
        "ANI-1ccx, fine-tuned",
        "budget recipe.fine_tuning",
        lambda job: stages.fine_tune(
            ani.zero_shot(job.split.valid), job.split.train, job.split.valid, job.spec.recipe, **job.keep
        ),
        untrained=_untrained_ani,
        missing=ani.missing,
    ),
    **_of_program(mace.PROGRAM, weighs=True, color=3),
    **_of_program(nequip.PROGRAM, weighs=False, color=2),
}


def named(method: str) -> Method:
    """An entry of `METHODS`; ValueError lists the known ones."""
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; known: {', '.join(METHODS)}")
    return METHODS[method]
