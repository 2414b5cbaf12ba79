"""A budget spent in rounds: pilots, a plan, some labels, a training, and a new plan, on labels that are there already.

The labels of a molecule are uncovered as they are bought, so that choices can be compared at equal measured cost.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING

from asteroid import datasets, runs, statistics
from asteroid.planning import pilots, planner, plans
from asteroid.planning.pilots import ErrorModel, Pilot
from asteroid.runs import RunSpec, sweeps
from asteroid.runs.records import Record, Store
from asteroid.runs.selection import CHOICES, Selection

if TYPE_CHECKING:
    import pandas as pd

    from asteroid.profiles import Profile

ONE_PLAN, ACCURATE_ONLY = "one plan", "accurate labels only"


@dataclass
class _Campaign:
    """What one way of spending has bought so far, and what it has seen."""

    way: str
    by: str
    rounds: int
    records: list[Record]  # of the pilots, and a training of each round after them
    sizes: list[tuple[int, int]]  # accurate and cheap labels after the pilots, and after each round
    expected: list[float] = field(default_factory=list)  # error of each round's training, by the plan before it


def compare(profile: "Profile", molecule: str, store: Store) -> tuple["pd.DataFrame", list[Record]]:
    """Spend a budget in every way, once for each seed; trainings that are missing are made.

    Pilots take the first labels. Then each round plans the whole budget from all trainings of this seed so far, buys an
    equal part of what is left as the plan proposes, and trains ASTEROID on everything. Accurate frames are chosen among
    those whose cheap labels the pilots have; "one plan" spends all that is left in one round, at random. Beside them
    stands standard training with accurate labels for the whole budget, of which no pilot was paid.

    Args:
        profile: its `planner.rounds` says pilots, budget and number of rounds.
        molecule: one of those of the pages on planning.
        store: of the records.

    Returns:
        A row per way, seed and round, the pilots' being round 0 and a single one the last: `accurate` and `cheap`
        labels, `minutes` of one core that they take by measured seconds, `expected` error, validation error (`valid`),
        and those of the test frames: `error` (mean absolute) and `rmse`, all in kcal/mol/Å. And the records.

    Raises:
        ValueError: if the pilots are too few or too small for a plan, or the budget does not pay for them.
        RuntimeError: if a training fails.
    """
    import pandas as pd

    settings, specs = profile.planner.rounds, pilot_specs(profile, molecule)
    alone = [replace(specs[0], budget=settings.budget, seed=seed) for seed in profile.seeds]
    made = {record.spec: record for record in sweeps.sweep([*specs, *alone], store)}
    bought = tuple(max(size) for size in zip(*settings.asteroid))
    ways = {ONE_PLAN: ("random", 1)} | {CHOICES[by]: (by, settings.number) for by in _choices(specs[-1])}
    _check_made([*specs, *alone], made, store)
    small = {seed: [made[spec] for spec in specs if spec.seed == seed] for seed in profile.seeds}
    campaigns = {
        (way, seed): _Campaign(way, by, number, list(records), [bought])
        for way, (by, number) in ways.items()
        for seed, records in small.items()
    }
    campaigns |= {
        (ACCURATE_ONLY, spec.seed): _Campaign(ACCURATE_ONLY, "random", 0, [made[spec]], [(spec.budget, 0)])
        for spec in alone
    }
    seconds = plans.seconds_per_label(profile, molecule)
    hours = settings.budget * seconds[0] / 3600
    for _ in range(settings.number):
        wanted = [
            (campaign, next_run(campaign, hours, seconds, specs[-1], seed))
            for (_, seed), campaign in campaigns.items()
            if len(campaign.sizes) <= campaign.rounds
        ]
        made = {record.spec: record for record in sweeps.sweep([spec for _, spec in wanted], store)}
        _check_made([spec for _, spec in wanted], made, store)
        for campaign, spec in wanted:
            campaign.records.append(made[spec])
    rows = [row for (_, seed), campaign in campaigns.items() for row in _rows(campaign, seed, seconds, settings.number)]
    found = {record.key: record for campaign in campaigns.values() for record in campaign.records}
    return pd.DataFrame(rows), list(found.values())


def _check_made(specs: list[RunSpec], made: Mapping[RunSpec, Record], store: Store) -> None:
    for spec in specs:
        if spec not in made:
            raise RuntimeError(f"{spec.file_name} failed, and no round follows; see {store.folder / 'failures'}")


def outcome(table: "pd.DataFrame") -> "pd.DataFrame":
    """What came out of `compare`, after each round.

    Returns:
        A row per way and round: mean labels, core minutes, expected and found errors (kcal/mol/Å) over seeds, and by
        how many percent the error is lower than with frames at random at that cost, seed by seed, with a 95 %
        interval.
    """
    import pandas as pd

    found = {}
    at_random = table[table["way"] == CHOICES["random"]].set_index(["round", "seed"])["error"]
    for (way, number), part in table[table["round"] > 0].groupby(["way", "round"], sort=False):
        error = part.set_index("seed")["error"]
        lower = 100 * (1 - error / at_random.loc[number])
        found[way, number] = {
            **part[["accurate", "cheap", "minutes", "expected", "error", "rmse"]].mean(),
            **dict(zip(("lower by [%]", "from", "to"), statistics.mean_interval(lower.to_numpy()), strict=True)),
        }
    return pd.DataFrame.from_dict(found, orient="index").rename_axis(["way", "round"])


def _choices(one: RunSpec) -> list[str]:
    """Keys of `CHOICES`; in published data, the frames with accurate labels may have no cheap ones, thus no bias."""
    candidates = runs.split_of(one).train
    mine, _ = candidates.paired_with(datasets.load(one.molecule, level=one.inaccurate))
    return [by for by in CHOICES if by != "bias" or len(mine) == len(candidates)]


def pilot_specs(profile: "Profile", molecule: str) -> list[RunSpec]:
    """The pilots of all seeds; the last of each seed has all labels that the pilots take."""
    settings = profile.planner.rounds
    one = profile.specs("standard", profile.planner.model, (molecule,))[0]
    candidates = Selection(max(cheap for _, cheap in settings.asteroid))
    sizes = [*((labels, 0) for labels in settings.standard), *sorted(settings.asteroid)]
    return [
        replace(
            one,
            method="asteroid" if cheap else "standard",
            budget=accurate,
            inaccurate_budget=cheap,
            seed=seed,
            selection=candidates,
        )
        for seed in profile.seeds
        for accurate, cheap in sizes
    ]


def next_run(campaign: _Campaign, hours: float, seconds: tuple[float, float], one: RunSpec, seed: int) -> RunSpec:
    """The training of the next round, like one of ASTEROID's pilots; its size and what to expect of it are noted."""
    accurate, cheap = campaign.sizes[-1]
    errors = _fitted(tuple(plans.pilots(campaign.records)))
    plan = planner.plan(hours, errors, *seconds, bought=(accurate, cheap))
    if plan.accurate is None:
        raise ValueError(f"no plan can be made after {accurate} accurate and {cheap} cheap labels. {plan.advice}")
    left = campaign.rounds - (len(campaign.sizes) - 1)
    money = (3600 * hours - accurate * seconds[0] - cheap * seconds[1]) / left
    more_cheap = (plan.cheap - cheap) // left
    more_accurate = int((money - more_cheap * seconds[1]) / seconds[0] + 1e-6)
    size = (accurate + more_accurate, cheap + more_cheap)
    campaign.expected.append(errors.predict(*size)[0])
    campaign.sizes.append(size)
    # A round may buy cheap labels only.
    before = sorted({labels for labels, _ in campaign.sizes if labels < size[0]})
    selection = replace(one.selection, by=campaign.by, rounds=tuple(before))
    return replace(one, budget=size[0], inaccurate_budget=size[1], seed=seed, selection=selection)


@cache
def _fitted(small: tuple[Pilot, ...]) -> ErrorModel:
    """In the first round, the ways have the same pilots; and no interval is asked for, which takes more draws."""
    return pilots.fit_pilots(small, draws=50)


def _rows(campaign: _Campaign, seed: int, seconds: tuple[float, float], last: int) -> Iterable[dict[str, object]]:
    first = len(campaign.records) - len(campaign.expected) - 1
    trainings = zip(campaign.sizes, [float("nan"), *campaign.expected], campaign.records[first:], strict=True)
    for number, ((accurate, cheap), expected, record) in enumerate(trainings):
        yield {
            "way": campaign.way,
            "seed": seed,
            "round": number * last // campaign.rounds if campaign.rounds else last,
            "accurate": accurate,
            "cheap": cheap,
            "minutes": (accurate * seconds[0] + cheap * seconds[1]) / 60,
            "expected": expected,
            "valid": record.valid_force_mae,
            "error": record.errors["force_mae"],
            "rmse": record.errors["force_rmse"],
        }
