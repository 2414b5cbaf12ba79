"""The claims of the paper, and what was found; `judges` says how each is judged."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from asteroid.book import judges
from asteroid.book.judges import Evidence, Finding
from asteroid.profiles import Profile
from asteroid.runs.records import Store

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Claim:
    """A claim of the paper.

    Attributes:
        where: figure, table or section of the paper.
        text: what is claimed.
        paper: the paper's number, in words.
        page: name of the book's page.
        judge: from evidence to the finding.
    """

    where: str
    text: str
    paper: str
    page: str
    judge: Callable[[Evidence], Finding]


def judged(profile: Profile, store: Store) -> tuple["pd.DataFrame", list[Any]]:
    """The claims with what was found.

    Returns:
        A row per claim, with the numbers (%) of those that are reductions of the error; and the records looked at.
    """
    import pandas as pd

    evidence, rows = Evidence(profile, store), []
    for claim in CLAIMS:
        finding = claim.judge(evidence)
        numbers = (*(finding.percent or (np.nan,) * 3), finding.claimed)
        rows.append((claim.where, claim.text, claim.paper, finding.ours, finding.verdict, claim.page, *numbers))
    columns = ["where", "claim", "paper", "ours", "verdict", "page", "mean", "low", "high", "claimed"]
    return pd.DataFrame(rows, columns=columns), list(evidence.records.values())


CLAIMS = (
    Claim(
        "Fig 1a",
        "error against accurate labels is close to a power law",
        "a straight line",
        "power_law",
        judges.straight_line,
    ),
    Claim("Fig 1b", "models of cheap labels alone are poor", "poor", "power_law", judges.cheap_alone),
    Claim(
        "Fig 3",
        "GemNet: lower error at the smallest budget",
        "39.4 %",
        "dft_enhancement_gemnet",
        judges.low_resource("asteroid", "gemnet-t", 39.4),
    ),
    Claim(
        "Fig 3",
        "GemNet: lower error at all budgets and ratios",
        "all",
        "dft_enhancement_gemnet",
        judges.everywhere("gemnet-t"),
    ),
    Claim(
        "Fig 3",
        "GemNet: sample efficiency",
        "2 times",
        "dft_enhancement_gemnet",
        judges.sample_efficiency("gemnet-t", 2),
    ),
    Claim(
        "Fig 4",
        "EGNN: lower error at the smallest budget",
        "56 %",
        "dft_enhancement",
        judges.low_resource("asteroid", "egnn", 56),
    ),
    Claim("Fig 4", "EGNN: lower error at all budgets and ratios", "all", "dft_enhancement", judges.everywhere("egnn")),
    Claim(
        "Fig 4", "EGNN: sample efficiency", "more than 3 times", "dft_enhancement", judges.sample_efficiency("egnn", 3)
    ),
    Claim("Table 1", "GemNet: an empirical force field helps", "36 %", "empirical", judges.empirical("gemnet-t", 36)),
    Claim("Table 1", "EGNN: an empirical force field helps", "17 %", "empirical", judges.empirical("egnn", 17)),
    Claim(
        "A.3", "GemNet: it helps at all budgets", "consistent gains", "empirical", judges.empirical("gemnet-t", None)
    ),
    Claim("Fig 5", "score matching lies between DFT and empirical labels", "between", "unlabelled", judges.between),
    Claim(
        "Table 2",
        "GemNet: score matching and fine-tuning",
        "18 %",
        "unlabelled",
        judges.low_resource("score-matching", "gemnet-t", 18),
    ),
    Claim(
        "Table 2",
        "EGNN: score matching and fine-tuning",
        "4 %",
        "unlabelled",
        judges.low_resource("score-matching", "egnn", 4),
    ),
    Claim("Fig 6a", "only ASTEROID is stable in dynamics", "the others diverge", "md_stability", judges.stable),
    Claim("Fig 6b", "ASTEROID bears longer steps", "3 times", "md_stability", judges.longer_steps),
    Claim("Table 3", "every part of the method helps", "each", "ablation", judges.every_part_helps),
    Claim(
        "Table 3",
        "GemNet: bias-aware training",
        "6.5 %",
        "ablation",
        judges.low_resource("asteroid", "gemnet-t", 6.5, "asteroid-unweighted"),
    ),
    Claim("Fig 7a", "GemNet: better than standard training at every γ", "every γ", "sensitivity", judges.every_gamma),
    Claim("Fig 7b", "GemNet: best with most cheap labels", "at the largest ratio", "sensitivity", judges.most_is_best),
    Claim("Fig 7b", "GemNet: still better at a small ratio", "20 %", "sensitivity", judges.small_ratio),
    Claim("Table 4", "ASTEROID is better than sGDML and ANI-1ccx", "lowest but for Δ-ML", "baselines", judges.lowest),
    Claim(
        "Table 5",
        "GemNet: one pre-training for all molecules is better than standard training",
        "everywhere",
        "multi_molecule",
        judges.together,
    ),
    Claim("A.5", "toy example: better than standard training", "at all numbers of points", "toy", judges.toy_points),
    Claim("5.1", "an accurate label costs many DFT labels", "about 40", "label_cost", judges.label_cost),
)
