"""One model trained on both levels of theory at once: with an embedding of the level, or with an output head for each.

It has the labels of ASTEROID and no stages: every step sees as many accurate frames as inaccurate ones.

Source:
    The level as an input: Ko, Ong, npj Comput. Mater. 11, 65 (2025); Kim et al., arXiv:2409.07947 (2024), where what
    the levels do not share begins at zero as well. Two heads: Batatia et al., arXiv:2510.25380 (2025).
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from asteroid import stages, training
from asteroid.datasets import LabelledSet, Split
from asteroid.datasets.checks import check_same_molecule
from asteroid.force_field import ForceField
from asteroid.models.fidelity import FidelityEmbedding, TwoHeads
from asteroid.runner import run_stage
from asteroid.stages import Recipe

WAYS = {"fidelity": FidelityEmbedding, "two-heads": TwoHeads}


@dataclass(frozen=True, eq=False)
class LevelPairs:
    """Labels of two levels side by side, the accurate one first; the frames of a pair have nothing in common.

    The set that has fewer frames is repeated, so that half of what every batch holds is accurate: drawn as they are,
    40 accurate frames would be lost among 800 others.

    Attributes:
        z: (atoms,) atomic numbers.
        pos, force: (pairs, 2, atoms, 3), Å and kcal/mol/Å.
        energy: (pairs, 2), kcal/mol, each level less its mean.
    """

    z: Tensor
    pos: Tensor
    energy: Tensor
    force: Tensor

    def __len__(self) -> int:
        return len(self.energy)


def side_by_side(accurate: LabelledSet, inaccurate: LabelledSet) -> LevelPairs:
    """Pairs of frames, as many as the larger set has, of which a training step takes some.

    Raises:
        DatasetError: if the sets hold different molecules.
    """
    check_same_molecule(accurate, inaccurate)
    pairs = torch.arange(max(len(accurate), len(inaccurate)))
    columns = {
        name: torch.stack([values[pairs % len(values)] for values in of_levels], dim=1)
        for name, of_levels in {
            "pos": (accurate.pos, inaccurate.pos),
            "energy": tuple(one.energy - training.robust_mean(one.energy) for one in (accurate, inaccurate)),
            "force": (accurate.force, inaccurate.force),
        }.items()
    }
    return LevelPairs(accurate.z, **columns)


def train(
    split: Split,
    way: str,
    recipe: Recipe,
    *,
    seed: int = 0,
    folder: str | Path | None = None,
    progress: bool = True,
) -> ForceField:
    """Train on both levels at once, in as many steps of as many frames as standard training takes.

    Args:
        split: from `datasets.split`, with inaccurate labels.
        way: one of `WAYS`.
        recipe: model and settings; of these, `accurate`.
        seed, folder, progress: see `stages.standard`.

    Returns:
        The force field of the accurate level, which costs no more than that of standard training.

    Raises:
        ValueError: for an unknown way, a model that it cannot do, or a split without inaccurate labels.
    """
    if way not in WAYS:
        raise ValueError(f"unknown way {way!r} to train on two levels; known: {', '.join(WAYS)}")
    if split.inaccurate is None:
        raise ValueError("the split has no inaccurate labels; give datasets.split a second set, or use stages.standard")
    check_same_molecule(split.train, split.inaccurate)
    backbone = stages.initial_model(recipe, split.train, seed)
    return run_stage(
        way,
        backbone,
        split.train,
        split.valid,
        replace(recipe.accurate, batch_size=max(1, recipe.accurate.batch_size // 2)),
        seed,
        folder,
        progress,
        network=WAYS[way](backbone),
        learned=side_by_side(split.train, split.inaccurate),
        beside=split.inaccurate,
    )
