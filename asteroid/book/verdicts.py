"""What the records say of a claim: the evidence, and the rules by which it gives a verdict.

A claim of a number is *reproduced* if the 95 % interval of ours lies above zero and reaches the paper's, *partly* if it
lies above zero and stays below, and else *not reproduced*. A claim of an order is reproduced if it holds for all
molecules and models that were run, partly if for at least half: of mean errors, chance alone makes half the lower ones.
Intervals are Student's: over the means of molecules where three or more were run, else over molecules and seeds. What
was not run, or once only, has no verdict.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from asteroid import statistics
from asteroid.book import comparison
from asteroid.profiles import Profile
from asteroid.runs import RunSpec, simulations, sweeps
from asteroid.runs.records import Store

if TYPE_CHECKING:
    import pandas as pd

REPRODUCED, PARTLY, NOT, OTHER_DATA = "reproduced", "partly", "not reproduced", "needs MD17"
NOT_RUN = "not run yet"


@dataclass(frozen=True)
class Finding:
    """What was found.

    Attributes:
        text: in words.
        verdict: whether the claim holds.
        percent: where it is a reduction of the error, its mean and 95 % interval, %.
        claimed: the paper's number for it, %.
    """

    text: str
    verdict: str
    percent: tuple[float, float, float] | None = None
    claimed: float | None = None


class NotRun(Exception):
    """No record says anything about a claim."""


class Evidence:
    """Records of a profile; those that are missing are made, if its pages train.

    Args:
        profile: the profile.
        store: its records.
    """

    def __init__(self, profile: Profile, store: Store):
        self.profile, self.store = profile, store
        self.records: dict[str, Any] = {}

    def runs(self, specs: Iterable[RunSpec]) -> "pd.DataFrame":
        """Rows of runs, see `comparison.with_total_budget`."""
        records = sweeps.sweep(specs, self.store, train=self.profile.pages_train)
        if not records:
            raise NotRun
        self.records |= {record.key: record for record in records}
        return comparison.with_total_budget(self.profile, records)

    def gains(
        self, specs: Iterable[RunSpec], reference: Iterable[RunSpec], pair_by: Sequence[str] = comparison.PAIRED
    ) -> "pd.DataFrame":
        """Rows of the runs that have a partner, see `comparison.reductions`."""
        rows = comparison.reductions(self.runs(specs), self.runs(reference), pair_by)
        if rows.empty:
            raise NotRun
        return rows

    def simulations(self, specs: Mapping[Any, simulations.Simulation]) -> dict[Any, simulations.SimulationRecord]:
        """Records of simulations by name."""
        found = simulations.found(specs, self.store, self.profile.pages_train)
        if len(found) < len(specs):
            raise NotRun
        self.records |= {record.key: record for record in found.values()}
        return found


def of_number(rows: "pd.DataFrame", claimed: float) -> Finding:
    """Verdict on reductions of the error, of which the paper claims so many percent; none on a single one.

    Args:
        rows: from `Evidence.gains`.
        claimed: the paper's number, %.
    """
    values = comparison.independent(rows)
    number = rows["molecule"].nunique()
    trainings = f"{len(rows)} pairs of trainings" if len(rows) > 1 else "one pair of trainings"
    text = f"{comparison.percent(values)}; {number} molecule{'s' * (number > 1)}, {trainings}"
    if len(values) < 2:
        return Finding(text, NOT_RUN)
    mean, low, high = statistics.mean_interval(values)
    verdict = NOT if low <= 0 else REPRODUCED if high >= claimed else PARTLY
    return Finding(text, verdict, (mean, low, high), claimed)


def of_order(holds: Iterable[bool], text: str) -> Finding:
    """Verdict on what should hold everywhere."""
    held = list(map(bool, holds))
    return Finding(text, REPRODUCED if all(held) else PARTLY if 2 * sum(held) >= len(held) else NOT)


def beyond_intervals(gains: Mapping[str, np.ndarray], brief: bool = False) -> Finding:
    """Verdict on reductions of the error by name, %, each of which should lie above zero beyond its interval.

    Args:
        gains: (runs or molecules,) by name, two or more each.
        brief: give the means without their intervals.
    """
    if min(map(len, gains.values())) < 2:
        raise NotRun
    numbers = {name: f"{np.mean(gain):.0f} %" if brief else comparison.percent(gain) for name, gain in gains.items()}
    holds = [statistics.mean_interval(gain)[1] > 0 for gain in gains.values()]
    return of_order(holds, "; ".join(f"{name}: {number}" for name, number in numbers.items()))
