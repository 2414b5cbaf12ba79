"""Error against number of labels: power laws, and what they say about the number of labels an error costs.

And the other way round: how a budget of labelling time is spent, by a rule (`spend`), or by what small trainings show
(`pilots.fit_pilots`, `plan`).
"""

import itertools
import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from asteroid.planning.pilots import FARTHEST, ErrorModel

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Spending:
    """Numbers of labels that a budget buys: standard training and ASTEROID at the same cost, and what is held out.

    Attributes:
        valid, test: frames that no training sees. They are labelled at both levels, so that the error of the cheap
            level itself is known.
        standard: accurate labels of standard training.
        asteroid: those of them that ASTEROID keeps.
        cheap: cheap labels that it gets for the others.
    """

    valid: int
    test: int
    standard: int
    asteroid: int
    cheap: int

    @property
    def held_out(self) -> int:
        """Frames for validation and test."""
        return self.valid + self.test


FEWEST = 10  # accurate labels from which ASTEROID is trained
SHARE = 0.2  # of standard training's accurate labels, at most, given up for cheap ones: the paper's 50 of 250
LARGER_SHARE = 0.5  # where an accurate label costs as much as `MANY` cheap ones or more, which then teach more for it
MANY = 10
CHEAP_PER_ACCURATE = 10  # at most, since each needs a configuration, which takes many forces to sample
_MOST_VALID, _TEST = 50, (20, 200)  # in between, a tenth and a fifth of what the budget buys
FEW = 100  # accurate labels below which none is spent on validation


def spend(budget_seconds: float, seconds_accurate: float, seconds_cheap: float) -> Spending:
    """Divide a budget of labelling time.

    A part of it buys the held-out frames. With the rest, standard training gets accurate labels, and ASTEROID gives up
    some of these for as many cheap ones as take the same time. Both sides are paid for, so that they can be compared.

    Args:
        budget_seconds: for all labels together.
        seconds_accurate, seconds_cheap: of one label.

    Raises:
        ValueError: if the budget is too small, with the smallest that is not; or if cheap labels are not cheaper.
    """
    if not budget_seconds >= (least := least_budget(seconds_accurate, seconds_cheap)):  # NaN is too small, too
        raise ValueError(
            f"a budget of {budget_seconds:.3g} s is too small for labels of {seconds_accurate:.3g} and "
            f"{seconds_cheap:.3g} s; give at least {math.ceil(least)} s ({_hours(least)} hours), or "
            "take a smaller basis or a cheaper accurate level"
        )
    affordable = budget_seconds / seconds_accurate
    # Few labels are all learned from: a gentle last stage of fixed length needs no validation.
    valid = min(int(affordable / 10), _MOST_VALID) if affordable >= FEW else 0
    test = min(max(int(affordable / 5), _TEST[0]), _TEST[1])
    rest = budget_seconds - (valid + test) * (seconds_accurate + seconds_cheap)
    each = _cheap_for_each(seconds_accurate, seconds_cheap)
    # A budget that was computed from a number of labels must buy that number.
    standard = int(rest / (seconds_accurate + each * seconds_cheap) + 1e-6)
    return Spending(valid, test, standard, *_traded(standard, seconds_accurate, seconds_cheap))


def least_budget(seconds_accurate: float, seconds_cheap: float) -> float:
    """Seconds from which `spend` leaves ASTEROID its fewest accurate labels.

    Raises:
        ValueError: if the times are not positive, or cheap labels are not cheaper.
    """
    _check_seconds(seconds_accurate, seconds_cheap)
    times = (seconds_accurate, seconds_cheap)
    standard = next(labels for labels in itertools.count(FEWEST) if _traded(labels, *times)[0] >= FEWEST)
    held_out = _TEST[0] * sum(times)
    return held_out + standard * (seconds_accurate + _cheap_for_each(*times) * seconds_cheap)


def _cheap_for_each(seconds_accurate: float, seconds_cheap: float) -> float:
    """Cheap labels for each accurate one of standard training."""
    ratio = seconds_accurate / seconds_cheap
    return min((LARGER_SHARE if ratio >= MANY else SHARE) * ratio, CHEAP_PER_ACCURATE)


def _traded(standard: int, seconds_accurate: float, seconds_cheap: float) -> tuple[int, int]:
    """Accurate and cheap labels that take no longer than a number of accurate ones."""
    cheap = max(1, int(standard * _cheap_for_each(seconds_accurate, seconds_cheap)))
    return standard - math.ceil(cheap * seconds_cheap / seconds_accurate), cheap


def _hours(seconds: float) -> str:
    """Rounded up, so that the hours that are named are enough."""
    return f"{math.ceil(seconds / 0.36) / 1e4:.12g}"


def _check_seconds(seconds_accurate: float, seconds_cheap: float) -> None:
    if not (math.isfinite(seconds_accurate) and 0 < seconds_cheap < seconds_accurate):
        raise ValueError(
            f"an accurate label takes {seconds_accurate:.3g} s and a cheap one {seconds_cheap:.3g} s; the cheap one "
            "must take less, or it has nothing to offer: take a cheaper level for it"
        )


@dataclass(frozen=True, eq=False)
class Plan:
    """How to spend a budget.

    Attributes:
        hours: the budget.
        table: a row per split of it: accurate and cheap labels, the hours of each, the predicted error and its 95 %
            interval for one training (kcal/mol/Å, NaN where it is out of the pilots' reach), and the probability that
            it is smaller than with accurate labels only, %. The proposed split is called so.
        accurate, cheap: labels of the proposed split; None where more pilots are needed.
        advice: what to do, in words.
    """

    hours: float
    table: "pd.DataFrame"
    accurate: int | None
    cheap: int | None
    advice: str

    def __str__(self) -> str:
        return f"{self.table.to_string(float_format='{:.2f}'.format)}\n{self.advice}"

    def _repr_html_(self) -> str:
        return f"{self.table.to_html(float_format='{:.2f}'.format, na_rep='more pilots')}<p>{self.advice}</p>"


def plan(
    budget_hours: float,
    errors: ErrorModel,
    seconds_accurate: float,
    seconds_cheap: float,
    bought: tuple[int, int] = (0, 0),
) -> Plan:
    """Propose how much of a budget of labelling time goes into cheap labels.

    Among splits of the budget in steps of a hundredth, that with the smallest predicted error is proposed. Splits with
    fewer accurate labels than the smallest pilot, or ten times more of any kind than the largest, are not looked at; if
    accurate labels only are among these, the advice is to train larger pilots first.

    Args:
        budget_hours: core hours for all labels that are trained on, those of the pilots among them.
        errors: from `pilots.fit_pilots`.
        seconds_accurate, seconds_cheap: of one label, such as the medians of `LabelledSet.seconds`.
        bought: accurate and cheap labels that are there already and paid for from the budget: no split with fewer of
            either is looked at.

    Raises:
        ValueError: if the times are not positive, cheap labels are not cheaper, the budget is no positive number,
            buys fewer accurate labels than the smallest pilot, does not pay for what was bought, or pays for hardly
            more; or if more was bought than the pilots reach.
    """
    import pandas as pd

    _check_seconds(seconds_accurate, seconds_cheap)
    if not 0 < budget_hours < math.inf:
        raise ValueError(f"the budget is {budget_hours:g} hours; give a positive, finite number")
    all_accurate = int(3600 * budget_hours / seconds_accurate + 1e-6)
    if all_accurate < errors.fewest_accurate:
        raise ValueError(
            f"{budget_hours:g} hours buy {all_accurate} accurate labels, the smallest pilot has "
            f"{errors.fewest_accurate}; give at least {_hours(errors.fewest_accurate * seconds_accurate)} hours"
        )

    def buys(percent: int) -> tuple[int, int]:
        cheap = int(percent / 100 * 3600 * budget_hours / seconds_cheap)
        return int((3600 * budget_hours - cheap * seconds_cheap) / seconds_accurate + 1e-6), cheap

    splits = {percent: buys(percent) for percent in range(100)}
    reached = {
        percent: errors.predict(*split)[0]
        for percent, split in splits.items()
        if errors.within_reach(*split) and split[0] >= errors.fewest_accurate
    }
    possible = [percent for percent in reached if all(map(operator.ge, splits[percent], bought))]
    if reached and not possible:
        spent = bought[0] * seconds_accurate + bought[1] * seconds_cheap
        why = "do not pay for" if spent > 3600 * budget_hours else "leave nothing to plan in the pilots' reach after"
        raise ValueError(
            f"{budget_hours:g} hours {why} {bought[0]} accurate and {bought[1]} cheap labels; they take "
            f"{_hours(spent)} hours"
        )
    best = min(possible, key=reached.get) if 0 in reached else None
    rows = {}
    for percent in sorted({*_SHOWN, *([] if best is None else [best])}):
        accurate, cheap = splits[percent]
        known = percent in reached
        name = "accurate labels only" if percent == 0 else f"{percent} % for cheap labels"
        rows[f"{name} (proposed)" if percent == best else name] = {
            "accurate labels": accurate,
            "cheap labels": cheap,
            "hours, accurate": accurate * seconds_accurate / 3600,
            "hours, cheap": cheap * seconds_cheap / 3600,
            **dict(zip(("error", "low", "high"), errors.predict(accurate, cheap) if known else (np.nan,) * 3)),
            "better [%]": 100 * _chance(errors, splits[percent], splits[0])
            if known and percent and 0 in reached
            else np.nan,
        }
    advice = _advice(errors, splits, best)
    chosen = (None, None) if best is None else splits[best]
    return Plan(budget_hours, pd.DataFrame.from_dict(rows, orient="index"), *chosen, advice)


def _advice(errors: ErrorModel, splits: Mapping[int, tuple[int, int]], best: int | None) -> str:
    if best is None:
        return (
            f"More pilots are needed: the budget buys {splits[0][0]} accurate labels, more than {FARTHEST} times the "
            f"{errors.most_standard} of the largest pilot. Train some with {math.ceil(splits[0][0] / FARTHEST)} first."
        )
    accurate, cheap = splits[best]
    error, low, high = errors.predict(accurate, cheap)
    expect = f"Expect an error of {error:.2f} kcal/mol/Å, between {low:.2f} and {high:.2f}"
    if not best:
        return f"Buy {accurate} accurate labels and no cheap ones. {expect}."
    chance = _chance(errors, splits[best], splits[0])
    sure = "" if chance > 0.975 else " The pilots do not tell them apart for sure: either will do."
    return (
        f"Buy {accurate} accurate and {cheap} cheap labels. {expect}; it is smaller than with {splits[0][0]} accurate "
        f"labels only with a probability of {100 * chance:.0f} %.{sure}"
    )


def _chance(errors: ErrorModel, split: tuple[int, int], other: tuple[int, int]) -> float:
    """Share of the draws in which one split has the smaller error."""
    return float(np.mean(errors.errors(*split) < errors.errors(*other)))


_SHOWN = (0, 10, 20, 40, 60, 80)  # percent of a budget for cheap labels
