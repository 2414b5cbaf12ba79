"""The paper's method, stage by stage (sections 3.1 to 3.3), and the chain of all three."""

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt
from torch import Tensor

from asteroid import machine, models, training, units
from asteroid.datasets import LabelledSet, Split
from asteroid.force_field import ForceField, energy_and_force_on, force_on
from asteroid.provenance import total_seconds
from asteroid.runner import run_stage
from asteroid.training import TrainConfig, losses
from asteroid.training.objectives import ScoreMatching
from asteroid.validation import Positive, validated

STAGES = ("accurate", "identification", "inaccurate", "fine_tuning", "score_matching", "score_fine_tuning")
SCALE_FRAMES = 32  # on which a model's scaling factors are fitted
MOST_HELD_OUT = 100  # cheap labels that decide which weights of stage 2 are kept


def sorted_pairs(settings: Any) -> list[tuple[str, Any]]:
    """Settings as a run keeps them, so that it can be a key of a dictionary; ValueError for anything else."""
    try:
        return sorted(dict(settings).items())
    except (TypeError, ValueError):
        raise ValueError(f"{settings!r} given; expected settings by name, such as {{'hidden': 64}}") from None


@validated
class Recipe:
    """Model and training settings that a comparison holds fixed.

    Attributes:
        model: name of the architecture, see `models.build`.
        model_config: its settings where they differ from the published ones, as a mapping (kept as sorted pairs).
        accurate: standard training, from scratch on accurate labels.
        identification: stage 1; it may be shorter, since a bias is larger than the error of the model that shows it.
        inaccurate: stage 2.
        fine_tuning: stage 3, gentle: what θ_I knows is to be corrected, not learned anew.
        gammas: γ of Eq. 2 in units of the median bias; of several, accurate validation frames choose one.
        score_matching: training on geometries alone, in the place of stages 1 and 2.
        score_fine_tuning: stage 3 after it; the bias to be unlearned is that of the level that drove the simulation.
        slices: random directions of each frame in every step of it.
        temperature: of the simulation that gave the geometries, K; None takes what their record says.
    """

    model: str = "egnn"
    # Sorted pairs, so that a run can be a key of a dictionary.
    model_config: Annotated[tuple[tuple[str, Any], ...], BeforeValidator(sorted_pairs)] = ()
    accurate: TrainConfig = TrainConfig()
    identification: TrainConfig = TrainConfig()
    inaccurate: TrainConfig = TrainConfig(batch_size=32)
    fine_tuning: TrainConfig = TrainConfig()
    gammas: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (0.5, 1.0, 2.0)
    score_matching: TrainConfig = TrainConfig()
    score_fine_tuning: TrainConfig = TrainConfig()
    slices: PositiveInt = 1
    temperature: Positive | None = None

    def __post_init__(self):
        models.configuration(self.model, **dict(self.model_config))  # refuses what no run could build


def standard(
    train: LabelledSet,
    valid: LabelledSet | None,
    recipe: Recipe = Recipe(),
    *,
    seed: int = 0,
    folder: str | Path | None = None,
    progress: bool = True,
) -> ForceField:
    """Standard training: a fresh model on labels of one level (Eq. 1).

    Args:
        train: labels to learn.
        valid: frames that decide which weights are kept; of the accurate level. None keeps the last, for budgets that
            have no labels to spare.
        recipe: model and settings.
        seed: of the initial weights and of the shuffles.
        folder: where to keep checkpoints, so that an interrupted training goes on; None keeps none.
        progress: show a progress bar.

    Returns:
        The force field.
    """
    model = initial_model(recipe, train, seed)
    return run_stage("standard", model, train, valid, recipe.accurate, seed, folder, progress)


def identify_bias(
    train: LabelledSet,
    valid: LabelledSet | None,
    inaccurate: LabelledSet,
    recipe: Recipe = Recipe(),
    *,
    seed: int = 0,
    folder: str | Path | None = None,
    progress: bool = True,
) -> tuple[ForceField, Tensor]:
    """Stage 1: train θ_A on the accurate labels, then estimate the bias of every inaccurate frame.

    Args:
        train, valid: accurate labels, see `standard`.
        inaccurate: inaccurate labels of the same molecule.
        recipe, seed, folder, progress: see `standard`.

    Returns:
        θ_A, and the bias Δ(x) (frames of `inaccurate`,), kcal/mol/Å.

    Source:
        Bukharin et al. 2023, section 3.1.
    """
    stage = replace(recipe, accurate=recipe.identification)
    theta_a = standard(train, valid, stage, seed=seed, folder=folder, progress=progress)
    return theta_a, estimated_bias(theta_a, inaccurate)


def estimated_bias(theta_a: ForceField, inaccurate: LabelledSet) -> Tensor:
    """Bias Δ(x) (frames,) of inaccurate labels by an accurately trained force field, kcal/mol/Å (section 3.1).

    Raises:
        ValueError: if the labels are of another molecule.
    """
    return losses.frame_bias(force_on(theta_a, inaccurate), inaccurate.force)


def train_on_inaccurate(
    inaccurate: LabelledSet | Sequence[LabelledSet],
    bias: Tensor | None,
    gamma: float,
    recipe: Recipe = Recipe(),
    *,
    seed: int = 0,
    folder: str | Path | None = None,
    progress: bool = True,
) -> ForceField:
    """Stage 2: train θ_I from scratch on the inaccurate labels with the bias-aware loss (Eq. 2).

    One in twenty of the labels, at most `MOST_HELD_OUT`, are not learned from: they decide which weights are kept. The
    error on accurate frames could not, since most of it is the bias. Several molecules take turns, a step each, so that
    every one has as many steps as it would have alone.

    Args:
        inaccurate: the cheap labels of one molecule, or of several, of one level; two or more of each.
        bias: (frames,) from `identify_bias`, kcal/mol/Å, one molecule after another; None trains without weights.
        gamma: γ of the weights exp(−Δ/γ) in units of a molecule's median bias; infinity trains without weights.
        recipe, seed, folder, progress: see `standard`.

    Returns:
        θ_I, which reproduces the inaccurate level; its `bias` the one that weighted its training. Of several molecules
        it is the force field of the first, from which `fine_tune` makes that of any.

    Raises:
        ValueError: if the bias has not one value for each frame, gamma is not positive, a set has one frame only, or
            the sets are of different levels or twice of one molecule.

    Source:
        Bukharin et al. 2023, section 3.2.
    """
    if bias is None or gamma == math.inf:
        bias = gamma = None
    sets = training.as_list(inaccurate)
    frames = [len(one) for one in sets]
    if bias is not None and bias.shape != (sum(frames),):
        raise ValueError(f"bias has the shape {tuple(bias.shape)}; expected one value for each of {sum(frames)} frames")
    name = "inaccurate" if bias is None else f"inaccurate-gamma{gamma:g}"
    model = initial_model(recipe, sets[0], seed)
    rows = [hold_out(one, seed) for one in sets]
    learned = None
    if bias is not None:
        learned = torch.cat([part[keep] for part, (keep, _) in zip(bias.split(frames), rows, strict=True)])
    train, valid = ([one[pair[k]] for one, pair in zip(sets, rows, strict=True)] for k in (0, 1))
    theta_i = run_stage(name, model, train, valid, recipe.inaccurate, seed, folder, progress, bias=learned, gamma=gamma)
    theta_i.bias = bias
    return theta_i


def match_scores(
    geometries: LabelledSet,
    valid: LabelledSet,
    recipe: Recipe = Recipe(),
    *,
    seed: int = 0,
    folder: str | Path | None = None,
    progress: bool = True,
) -> ForceField:
    """Without labels, in the place of stages 1 and 2: learn θ_SM from geometries of a simulation (Eq. 3).

    At constant temperature they follow exp(−E / k_B T), whose score is the force over k_B T.

    Args:
        geometries: frames of the simulation; their energies and forces are not looked at.
        valid: accurate frames that decide when to stop, and that fix the energy's constant.
        recipe, seed, folder, progress: see `standard`.

    Returns:
        θ_SM, which reproduces the level that drove the simulation.

    Raises:
        ValueError: if neither the recipe nor the record of the geometries says the temperature.

    Source:
        Bukharin et al. 2023, section 4.
    """
    temperature = recipe.temperature or geometries.provenance.get("temperature_K")
    if temperature is None:
        raise ValueError(
            f"the geometries of {geometries.molecule} come without a temperature; give the recipe's `temperature`"
        )
    objective = ScoreMatching(units.BOLTZMANN * temperature, recipe.slices)
    model, config = initial_model(recipe, geometries, seed), recipe.score_matching
    return run_stage("score-matching", model, geometries, valid, config, seed, folder, progress, objective=objective)


def fine_tune(
    theta_i: ForceField,
    train: LabelledSet | Sequence[LabelledSet],
    valid: LabelledSet | Sequence[LabelledSet] | None,
    recipe: Recipe = Recipe(),
    *,
    seed: int = 0,
    folder: str | Path | None = None,
    progress: bool = True,
) -> ForceField:
    """Stage 3: start from θ_I and train on the few accurate labels (Eq. 1), with the energy shift refitted to them.

    Args:
        theta_i: force field of stage 2; left as it is.
        train: accurate labels of the molecule of θ_I, or, where it learned several, of one of them or of some.
        valid: see `standard`; a set for each of `train`.
        recipe, seed, folder, progress: see `standard`.

    Returns:
        The final force field; of several molecules, see `train_on_inaccurate`.

    Raises:
        ValueError: if θ_I is of another molecule.

    Source:
        Bukharin et al. 2023, section 3.3.
    """
    together = theta_i.provenance.get("together")
    known = list(together.values()) if together else [theta_i.z.tolist()]
    for one in training.as_list(train):
        if one.z.tolist() not in known:
            raise ValueError(
                f"the force field to start from has the atoms {' or '.join(map(str, known))}, the labels of "
                f"{one.molecule} have {one.z.tolist()}; expected the same molecule, its atoms in the same order"
            )
    model = copy.deepcopy(theta_i.model)
    started_from = dict(theta_i.provenance)
    stage = f"{started_from.get('stage', 'given')}-tuned"
    return run_stage(stage, model, train, valid, recipe.fine_tuning, seed, folder, progress, started_from=started_from)


def asteroid(
    split: Split,
    recipe: Recipe = Recipe(),
    *,
    seed: int = 0,
    weighted: bool = True,
    tuned: bool = True,
    theta_a: ForceField | None = None,
    thetas_i: Sequence[ForceField] = (),
    folder: str | Path | None = None,
    progress: bool = True,
) -> ForceField:
    """ASTEROID: identify the bias, train on the inaccurate labels with it in mind, fine-tune on the accurate ones.

    With several γ in the recipe, stages 2 and 3 are run for each and the smallest error on `split.valid` wins.

    Args:
        split: from `datasets.split`, with inaccurate labels; with one γ, it needs no validation frames.
        recipe, seed, folder, progress: see `standard`.
        weighted: False leaves out stage 1 and the weights (the ablation of Table 3).
        tuned: False leaves out stage 3 (the other ablation).
        theta_a: force field of stage 1, if it is already there (one serves several amounts of inaccurate labels).
        thetas_i: force fields of stage 2, one for each γ, if they are already there (they serve several stages 3).

    Returns:
        The force field, its `bias` the estimated bias of each frame of `split.inaccurate`.

    Raises:
        ValueError: if the split has no inaccurate labels, or none that could choose among several γ, or θ_A is of
            another molecule.

    Source:
        Bukharin et al. 2023, section 3.
    """
    if split.inaccurate is None:
        raise ValueError("the split has no inaccurate labels; give datasets.split a second set, or use stages.standard")
    if weighted and split.valid is None:
        check_gammas(recipe)
    keep = {"seed": seed, "folder": folder, "progress": progress}
    gammas = recipe.gammas if weighted else (math.inf,)
    if thetas_i:
        bias, stage_one = thetas_i[0].bias, thetas_i[0].provenance.get("bias_identification")
    else:
        bias = stage_one = None
        if weighted and theta_a is None:
            theta_a, bias = identify_bias(split.train, split.valid, split.inaccurate, recipe, **keep)
        elif weighted:
            bias = estimated_bias(theta_a, split.inaccurate)
        if weighted:
            stage_one = dict(theta_a.provenance)
        thetas_i = [train_on_inaccurate(split.inaccurate, bias, gamma, recipe, **keep) for gamma in gammas]
    candidates = thetas_i
    if tuned:
        candidates = [fine_tune(theta_i, split.train, split.valid, recipe, **keep) for theta_i in thetas_i]
    errors = [None if split.valid is None else force_error(candidate, split.valid) for candidate in candidates]
    best = errors.index(min(errors)) if len(errors) > 1 else 0
    chosen = candidates[best]
    chosen.bias = bias
    seconds = total_seconds([stage_one] if stage_one else [])
    for one in {id(one): one for one in (*thetas_i, *candidates)}.values():
        seconds += one.provenance["seconds"]
    chosen.provenance = {
        **chosen.provenance,
        "method": "asteroid" + ("" if weighted else "-unweighted") + ("" if tuned else "-not-tuned"),
        "gamma": gammas[best],
        "valid_force_mae": errors[best],
        "valid_force_mae_by_gamma": dict(zip(map(str, gammas), errors, strict=True)),
        "bias_identification": stage_one,
        "seconds_of_all_stages": seconds,
    }
    return chosen


def check_gammas(recipe: Recipe) -> None:
    """Raise a ValueError if a recipe has several γ, where no accurate frame can choose among them."""
    if len(recipe.gammas) > 1:
        raise ValueError(
            f"the recipe has the gammas {recipe.gammas}, and there are no accurate validation frames to choose one by; "
            "give one gamma, or validation frames"
        )


def force_error(force_field: ForceField, labelled: LabelledSet) -> float:
    """Mean absolute error over all force components, kcal/mol/Å."""
    return float(losses.force_mae(force_on(force_field, labelled), labelled.force))


def test_errors(force_field: ForceField, test: LabelledSet) -> dict[str, float]:
    """Errors on test frames.

    Returns:
        force_mae: over all components, kcal/mol/Å, the number that the paper reports; force_rmse; energy_mae,
        kcal/mol; force_mae_std_error: of the mean over frames.

    Raises:
        ValueError: if there are fewer than two frames, or they are of another molecule.
    """
    if len(test) < 2:
        raise ValueError(f"the test set has {len(test)} frame; an error of the mean needs 2 or more, so raise `test`")
    energy, force = energy_and_force_on(force_field, test)
    error = force - test.force
    by_frame = error.abs().mean(dim=(1, 2))
    return {
        "force_mae": float(by_frame.mean()),
        "force_mae_std_error": float(by_frame.std() / math.sqrt(len(test))),
        "force_rmse": float(error.square().mean().sqrt()),
        "energy_mae": float((energy - test.energy).abs().mean()),
    }


test_errors.__test__ = False  # its name is no reason for pytest to collect it


def hold_out(labelled: LabelledSet, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a set that are learned from, and of those that decide what to keep."""
    if len(labelled) < 2:
        raise ValueError(f"there is one label of {labelled.molecule} only; stage 2 needs one to learn and one to judge")
    held_out = min(max(1, len(labelled) // 20), MOST_HELD_OUT)
    order = np.random.default_rng([int(seed), 2]).permutation(len(labelled))
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def initial_model(recipe: Recipe, train: LabelledSet, seed: int) -> torch.nn.Module:
    """The untrained model of a recipe, its scaling factors fitted to frames that it is to learn from.

    Raises:
        ValueError: if it does not know one of their elements.
    """
    # By these weights an interrupted training is known again, which may go on with another number of threads.
    with torch.random.fork_rng(devices=[]), machine.one_thread():
        torch.manual_seed(seed)
        model = models.build(recipe.model, **dict(recipe.model_config))
        models.check_elements(model, train.z)
        models.fit_scales(model, train.z, train.pos[:SCALE_FRAMES])
    return model
