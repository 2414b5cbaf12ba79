"""The claims of the paper by page, with the criterion of each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from asteroid.book import criteria, other_criteria
from asteroid.book.verdicts import NOT_RUN, Evidence, Finding, NotRun

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Claim:
    """A claim of the paper.

    Attributes:
        where: figure, table or section of the paper.
        text: what is claimed.
        paper: the paper's number, in words.
        criterion: a function of `criteria` or `other_criteria`.
        settings: what it takes beside the evidence.
    """

    where: str
    text: str
    paper: str
    criterion: Callable[..., Finding]
    settings: tuple[Any, ...] = ()

    def finding(self, evidence: Evidence) -> Finding:
        """What the evidence says."""
        return self.criterion(evidence, *self.settings)


def findings(evidence: Evidence) -> "pd.DataFrame":
    """The claims with what was found: a row each, with the numbers (%) of those that are reductions of the error."""
    import pandas as pd

    rows = []
    for page, claims in CLAIMS.items():
        for claim in claims:
            try:
                found = claim.finding(evidence)
            except NotRun:
                found = Finding("", NOT_RUN)
            numbers = (*(found.percent or (np.nan,) * 3), found.claimed)
            rows.append((claim.where, claim.text, claim.paper, found.text, found.verdict, page, *numbers))
    columns = ["where", "claim", "paper", "ours", "verdict", "page", "mean", "low", "high", "claimed"]
    return pd.DataFrame(rows, columns=columns)


# By page of the book.
CLAIMS = {
    "power_law": [
        Claim(
            "Fig 1a", "error against accurate labels is close to a power law", "a straight line", criteria.straight_line
        ),
        Claim("Fig 1b", "models of cheap labels alone are poor", "poor", criteria.cheap_alone),
    ],
    "dft_enhancement": [
        Claim(
            "Fig 3",
            "GemNet: lower error at the smallest budget",
            "39.4 %",
            criteria.smallest_budget,
            ("asteroid", "gemnet-t", 39.4),
        ),
        Claim("Fig 3", "GemNet: lower error at all budgets and ratios", "all", criteria.all_budgets, ("gemnet-t",)),
        Claim("Fig 3", "GemNet: sample efficiency", "2 times", criteria.sample_efficiency, ("gemnet-t", 2)),
        Claim(
            "Fig 4",
            "EGNN: lower error at the smallest budget",
            "56 %",
            criteria.smallest_budget,
            ("asteroid", "egnn", 56),
        ),
        Claim("Fig 4", "EGNN: lower error at all budgets and ratios", "all", criteria.all_budgets, ("egnn",)),
        Claim("Fig 4", "EGNN: sample efficiency", "more than 3 times", criteria.sample_efficiency, ("egnn", 3)),
    ],
    "empirical": [
        Claim("Table 1", "GemNet: an empirical force field helps", "36 %", criteria.empirical, ("gemnet-t", 36)),
        Claim("Table 1", "EGNN: an empirical force field helps", "17 %", criteria.empirical, ("egnn", 17)),
        Claim(
            "A.3",
            "GemNet: it helps at all budgets",
            "consistent gains",
            criteria.empirical_at_all_budgets,
            ("gemnet-t",),
        ),
    ],
    "unlabelled": [
        Claim("Fig 5", "score matching lies between DFT and empirical labels", "between", criteria.between),
        Claim(
            "Table 2",
            "GemNet: score matching and fine-tuning",
            "18 %",
            criteria.smallest_budget,
            ("score-matching", "gemnet-t", 18),
        ),
        Claim(
            "Table 2",
            "EGNN: score matching and fine-tuning",
            "4 %",
            criteria.smallest_budget,
            ("score-matching", "egnn", 4),
        ),
    ],
    "md_stability": [
        Claim("Fig 6a", "only ASTEROID is stable in dynamics", "the others diverge", other_criteria.stable),
        Claim("Fig 6b", "ASTEROID bears longer steps", "3 times", other_criteria.longer_steps),
    ],
    "ablation": [
        Claim("Table 3", "every part of the method helps", "each", criteria.every_part_helps),
        Claim(
            "Table 3",
            "GemNet: bias-aware training",
            "6.5 %",
            criteria.smallest_budget,
            ("asteroid", "gemnet-t", 6.5, "asteroid-unweighted"),
        ),
    ],
    "sensitivity": [
        Claim("Fig 7a", "GemNet: better than standard training at every γ", "every γ", criteria.every_gamma),
        Claim("Fig 7b", "GemNet: best with most cheap labels", "at the largest ratio", criteria.most_is_best),
        Claim("Fig 7b", "GemNet: still better at a small ratio", "20 %", criteria.small_ratio, (20,)),
    ],
    "baselines": [
        Claim("Table 4", "ASTEROID is better than sGDML and ANI-1ccx", "lowest but for Δ-ML", criteria.lowest)
    ],
    "multi_molecule": [
        Claim(
            "Table 5",
            "GemNet: one pre-training for all molecules is better than standard training",
            "everywhere",
            criteria.together,
        )
    ],
    "toy": [
        Claim(
            "A.5", "toy example: better than standard training", "at all numbers of points", other_criteria.toy_points
        )
    ],
    "label_cost": [Claim("5.1", "an accurate label costs many DFT labels", "about 40", other_criteria.label_cost)],
}
