"""Which frames to label next: at random, where the cheap labels are wrong, or where models disagree."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from asteroid.datasets import DatasetError, LabelledSet
from asteroid.force_field import ForceField, force_on
from asteroid.training import losses
from asteroid.validation import validated

CHOICES = {
    "random": "at random",
    "bias": "by estimated bias",
    "disagreement": "by disagreement",
}
MEMBERS = {"random": 0, "bias": 1, "disagreement": 3}
"""Force fields of stage 1 that a choice takes, which differ in initial weights and shuffles."""


@validated
class Selection:
    """How the accurate frames of a run were chosen.

    Attributes:
        candidates: number of frames that can be chosen, the first of the split that are neither validation nor test.
        by: a key of `CHOICES`.
        rounds: number of accurate labels at the end of each earlier round, ascending. The first are always random; the
            force fields trained on them chose those of the next round, and so on.
        member: of the ensemble.

    Raises:
        ValueError: for an unknown choice, or numbers that do not ascend.
    """

    candidates: PositiveInt
    by: Literal[tuple(CHOICES)] = "random"
    rounds: tuple[PositiveInt, ...] = ()
    member: NonNegativeInt = 0

    def __post_init__(self):
        ascending = (0, *self.rounds, self.candidates)
        if not all(low < high for low, high in pairwise(ascending)):
            raise ValueError(
                f"rounds are {self.rounds} of {self.candidates} candidates; expected numbers of labels that ascend, "
                "below that of the candidates"
            )
        # A choice makes no difference before the second round, nor does it ever where frames are random.
        if self.by == "random" or not self.rounds:
            object.__setattr__(self, "rounds", ())
            object.__setattr__(self, "by", "random")


def scores(by: str, thetas_a: Sequence[ForceField], candidates: LabelledSet, cheap: LabelledSet) -> np.ndarray:
    """How much a label of each candidate is wanted, kcal/mol/Å.

    Args:
        by: "bias" or "disagreement".
        thetas_a: force fields of stage 1, as many as `MEMBERS` says.
        candidates: frames; their labels are not looked at.
        cheap: cheap labels, of which "bias" takes those of the candidates.

    Returns:
        (candidates,). By bias, Δ(x) of section 3.1; minus infinity where a candidate has no cheap label. By
        disagreement, the standard deviation of a force component over the force fields, root mean square over
        components.

    Raises:
        ValueError: if the choice is by bias, and no candidate has a cheap label, or a force field is of another
            molecule.

    Source:
        Disagreement: query by committee, Seung et al. (COLT 1992); for force fields, Smith et al., J. Chem. Phys. 148,
        241733 (2018).
    """
    if by == "disagreement":
        force = torch.stack([force_on(theta_a, candidates) for theta_a in thetas_a])
        return force.var(dim=0).mean(dim=(1, 2)).sqrt().numpy()
    (theta_a,) = thetas_a
    mine, theirs = candidates.paired_with(cheap)
    if not len(mine):
        raise ValueError(
            f"none of the {len(candidates)} candidates has a {cheap.level} label, so there is no bias to choose by; "
            f"label them at that level, or choose by disagreement ({candidates.common_with(cheap)})"
        )
    found = np.full(len(candidates), -np.inf)
    found[mine.numpy()] = losses.frame_bias(force_on(theta_a, candidates[mine]), cheap.force[theirs]).numpy()
    return found


def extended(known: np.ndarray, score: np.ndarray, number: int) -> np.ndarray:
    """Positions of candidates: the known ones, and of the others those with the highest scores, up to a number."""
    others = np.setdiff1d(np.arange(len(score)), known)
    wanted = others[np.argsort(-score[others], kind="stable")]
    return np.concatenate([known, wanted[: number - len(known)]])


def candidates_first(cheap: LabelledSet, candidates: LabelledSet, number: int) -> LabelledSet:
    """So many cheap labels, those of the candidates before the others: a choice among them has to know them anyway.

    Raises:
        DatasetError: if there are fewer.
    """
    if number > len(cheap):
        raise DatasetError(
            f"inaccurate_budget is {number}, but only {len(cheap)} {cheap.level} frames are not held out; "
            f"lower it to {len(cheap)} or less."
        )
    _, theirs = candidates.paired_with(cheap)
    rest = torch.ones(len(cheap), dtype=torch.bool)
    rest[theirs] = False
    order: Tensor = torch.cat([theirs, rest.nonzero().flatten()])
    return cheap[order[:number]]
