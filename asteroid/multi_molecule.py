"""One pre-training for several molecules, from which the force field of each is fine-tuned (section 6, Table 5)."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from asteroid import stages
from asteroid.datasets import Split
from asteroid.force_field import ForceField
from asteroid.provenance import total_seconds
from asteroid.stages import Recipe


def pretrain(
    splits: Sequence[Split],
    thetas_a: Sequence[ForceField],
    recipe: Recipe,
    *,
    seed: int = 0,
    folder: str | Path | None = None,
    progress: bool = True,
) -> ForceField:
    """Stage 2 on the inaccurate labels of all molecules; `stages.fine_tune` makes a force field of each.

    The bias of a molecule's labels is that which its own θ_A finds, and γ counts in its own median. Of several γ in the
    recipe, the smallest error on the accurate validation frames wins, the mean over molecules.

    Args:
        splits: of each molecule, from `datasets.split`, with inaccurate labels.
        thetas_a: of each molecule, from `stages.identify_bias`.
        recipe, seed, folder, progress: see `stages.standard`.

    Returns:
        θ_I, as the force field of the first molecule; its `bias` one molecule after another.

    Raises:
        ValueError: if a split has no inaccurate labels, there is not one θ_A for each, or one of another molecule, or
            the sets are of different levels or twice of one molecule.

    Source:
        Bukharin et al. 2023, section 6.
    """
    if len(splits) != len(thetas_a):
        raise ValueError(f"there are {len(splits)} splits and {len(thetas_a)} force fields; give one for one")
    sets = [split.inaccurate for split in splits]
    if None in sets:
        raise ValueError("a split has no inaccurate labels; give datasets.split a second set for every molecule")
    bias = torch.cat([stages.estimated_bias(theta_a, one) for theta_a, one in zip(thetas_a, sets, strict=True)])
    keep = {"seed": seed, "folder": folder, "progress": progress}
    valid = [split.valid for split in splits]
    if None in valid:
        stages.check_gammas(recipe)
    candidates = [stages.train_on_inaccurate(sets, bias, gamma, recipe, **keep) for gamma in recipe.gammas]
    chosen = candidates[0]
    if len(candidates) > 1:
        chosen = min(
            candidates,
            key=lambda one: sum(stages.force_error(replace(one, z=frames.z), frames) for frames in valid),
        )
    chosen.bias = bias
    seconds = total_seconds([one.provenance for one in (*candidates, *thetas_a)])
    chosen.provenance = {**chosen.provenance, "seconds_of_all_stages": seconds}
    return chosen
