"""Plans judged by runs: made from pilots, and compared with what larger trainings at equal measured cost found."""

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from asteroid import datasets, runs, statistics
from asteroid.levels.ledger import read_labels
from asteroid.planning import bias, cheap_levels
from asteroid.planning.pilots import ErrorModel, Pilot
from asteroid.profiles import Profile
from asteroid.runs import methods, sweeps
from asteroid.runs.records import Record, Store

if TYPE_CHECKING:
    import pandas as pd

TOLERANCE = 0.05  # to which costs are equal


def pilots(records: Iterable[Record]) -> list[Pilot]:
    """Pilots from records, by their validation errors: a plan must not look at test frames."""
    return [Pilot(record.spec.budget, record.spec.inaccurate_budget, record.valid_force_mae) for record in records]


def seconds_per_label(profile: Profile, molecule: str) -> tuple[float, float]:
    """Median seconds of an accurate and of a cheap label; where they were not timed, the profile's ratio and 1."""
    levels = (profile.accurate_level(molecule), profile.inaccurate)
    accurate, cheap = (datasets.load(molecule, level=level).median_seconds for level in levels)
    if accurate is None or cheap is None:
        return float(profile.planner.ratio[molecule]), 1.0
    return accurate, cheap


def has_pairs(profile: Profile, molecule: str) -> bool:
    """Whether enough frames for a bias report have an accurate label and those of the levels trained on alone."""
    accurate = datasets.load(molecule, level=profile.accurate_level(molecule))
    cheap = (datasets.load(molecule, level=level) for level in profile.cheap_alone)
    return all(len(accurate.paired_with(labels)[0]) >= bias.FEWEST for labels in cheap)


def truth(profile: Profile, molecule: str, store: Store) -> "pd.DataFrame":
    """The larger trainings of the pages on planning; those that are missing are made.

    Returns:
        A row per training: `way`, `accurate` and `cheap` labels, `seed`, `error` (test, kcal/mol/Å).
    """
    import pandas as pd

    specs = profile.planner_specs(molecule)
    records = sweeps.sweep(dict.fromkeys([*specs["grid"], *specs["fixed"]]), store)
    known = set(specs["pilots"])
    rows = [
        {
            "way": "ASTEROID" if record.spec.inaccurate_budget else "standard",
            "accurate": record.spec.budget,
            "cheap": record.spec.inaccurate_budget,
            "seed": record.spec.seed,
            "error": record.errors["force_mae"],
        }
        for record in records
        if record.spec not in known
    ]
    return pd.DataFrame(rows)


def cheap_levels_found(profile: Profile, molecule: str, store: Store) -> tuple["pd.DataFrame", list[Record]]:
    """What recorded trainings with each cheap level found; none is made here.

    Returns:
        A row per training: `way`, `level` (in capitals), `accurate` labels, `seed`, `error` (test, kcal/mol/Å); and the
        records.
    """
    import pandas as pd

    rows, records = [], []
    for way, specs in profile.cheap_level_specs(molecule).items():
        for record in sweeps.sweep(specs, store, train=False):
            spec = record.spec
            rows.append((way, spec.inaccurate.upper(), spec.budget, spec.seed, record.errors["force_mae"]))
            records.append(record)
    return pd.DataFrame(rows, columns=["way", "level", "accurate", "seed", "error"]), records


def labelled_beside(frames: datasets.LabelledSet, results: Path) -> dict[str, datasets.LabelledSet]:
    """Labels of further levels for exactly these frames, from ledgers in `results`/cheap_levels, by level.

    The price of a label is the median of those in `results`/label_cost, which were timed on an idle machine; a level
    that is not there has none.
    """
    found = {}
    for ledger in sorted((results / "cheap_levels").glob(f"{frames.molecule}_*.jsonl")):
        rows, timed = read_labels(ledger), results / "label_cost" / ledger.name
        if len(rows) == len(frames):
            # The first label of a session takes longer by the start of its program.
            seconds = np.median([row["seconds"] for row in read_labels(timed)[1:]]) if timed.exists() else None
            provenance = {"code": rows[0]["code"], "seconds_median": seconds}
            force = torch.tensor([row["F"] for row in rows], dtype=torch.float64)
            level = ledger.stem.rpartition("_")[2]
            found[level] = frames.derived(level=level, force=force, seconds=None, provenance=provenance)
    return found


def ranked_pairs(table: "pd.DataFrame", found: "pd.DataFrame") -> "pd.DataFrame":
    """Whether trainings rank cheap levels as a comparison of few frames does.

    Args:
        table: from `cheap_levels.cheap_levels`, with the levels' names in capitals.
        found: from `cheap_levels_found`.

    Returns:
        A row per way and pair of levels with trainings of the same seeds: `leaves less` and `leaves more`, by how much
        the second one's test error is `larger` (kcal/mol/Å), the 95 % interval of that over seeds, `from` and `to`, NaN
        of one seed; the number of `seeds`, and whether the `bias` of the second is larger, too.
    """
    import pandas as pd

    rows = []
    for way, part in found.groupby("way", sort=False):
        errors = part.pivot(index="seed", columns="level", values="error")
        for less, more in itertools.combinations(table[table.index.isin(errors)].sort_values("left").index, 2):
            larger = (errors[more] - errors[less]).dropna()
            if len(larger):
                interval = dict(zip(("larger", "from", "to"), statistics.mean_interval(larger), strict=True))
                pair = {"way": way, "leaves less": less, "leaves more": more, **interval, "seeds": len(larger)}
                rows.append(pair | {"bias": table.loc[less, "bias"] < table.loc[more, "bias"]})
    columns = ["way", "leaves less", "leaves more", "larger", "from", "to", "seeds", "bias"]
    return pd.DataFrame(rows, columns=columns).replace([-np.inf, np.inf], np.nan)


def repeated(accurate: datasets.LabelledSet, cheap: Mapping[str, datasets.LabelledSet], times: int) -> "pd.DataFrame":
    """Verdicts of a comparison that is repeated with other tens of frames, none of them twice: a row per ten."""
    import pandas as pd

    order = np.random.default_rng(0).permutation(len(accurate))[: 10 * times].reshape(-1, 10)
    return pd.DataFrame(cheap_levels.cheap_levels(accurate[np.sort(ten)], cheap)["verdict"] for ten in order)


def regret(
    errors: ErrorModel, rows: "pd.DataFrame", seconds: tuple[float, float], budgets: Sequence[int], given_up: int
) -> "pd.DataFrame":
    """What a plan would have cost in error against the best split of the same cost.

    Of the splits that were trained and cost as much as so many accurate labels, to 5 %, the planner takes that whose
    error it predicts to be the smallest. Regret is by how much the error of a choice exceeds that of the best one.

    Args:
        errors: from the pilots.
        rows: from `truth`.
        seconds: of an accurate and of a cheap label.
        budgets: numbers of accurate labels that say what is spent.
        given_up: accurate labels that the paper's split gives up at every budget.

    Returns:
        A row per budget: numbers of splits, the chosen one, the mean test errors (kcal/mol/Å) of the choices, the best
        split, and their regrets (%).

    Raises:
        ValueError: if a choice was not trained at the cost of a budget.
    """
    import pandas as pd

    means = rows.groupby(["accurate", "cheap"])["error"].mean()
    found = []
    for budget in budgets:
        cost = {split: split[0] * seconds[0] + split[1] * seconds[1] for split in means.index}
        equal = [split for split in means.index if abs(cost[split] / (budget * seconds[0]) - 1) <= TOLERANCE]
        # Of the splits with that many accurate labels, the one of equal cost.
        fixed = [split for split in equal if split[0] == budget - given_up and split[1]]
        if not fixed or (budget, 0) not in equal:
            raise ValueError(
                f"no training has the paper's split, or accurate labels only, at the cost of {budget} accurate labels; "
                f"one costs {seconds[0] / seconds[1]:.3g} cheap ones: round that to the profile's planner `ratio`"
            )
        chosen = min(equal, key=lambda split: errors.predict(*split)[0])
        choices = {"planner": chosen, "paper": fixed[0], "accurate only": (budget, 0)}
        best_split, best = means[equal].idxmin(), means[equal].min()
        found.append(
            {
                "budget": budget,
                "core minutes": budget * seconds[0] / 60,
                "splits": len(equal),
                "planner's split": f"{chosen[0]} + {chosen[1]}",
                **{f"{name}, error": means[split] for name, split in choices.items()},
                "best split": f"{best_split[0]} + {best_split[1]}",
                "best error": best,
                **{f"{name}, regret [%]": 100 * (means[split] / best - 1) for name, split in choices.items()},
            }
        )
    return pd.DataFrame(found).set_index("budget")


def by_share(
    errors: ErrorModel, rows: "pd.DataFrame", seconds: tuple[float, float], budget: int, fewest_cheap: int
) -> tuple["pd.DataFrame", "pd.DataFrame"]:
    """Errors by the share of a budget that is spent on cheap labels.

    Args:
        errors: from the pilots.
        rows: from `truth`.
        seconds: of an accurate and of a cheap label.
        budget: the accurate labels that it would buy.
        fewest_cheap: labels of the smallest pilot of ASTEROID, with which its curve begins.

    Returns:
        What is predicted, a row for each second percent up to 90: `share` (%), `predicted`, `low` and `high`, the 95 %
        interval of one training (kcal/mol/Å); and the trainings that cost as much to 5 %, with their `share`.
    """
    import pandas as pd

    spent, curve = budget * seconds[0], []
    for share in range(0, 90, 2):
        cheap = int(share / 100 * spent / seconds[1])
        accurate = int((spent - cheap * seconds[1]) / seconds[0] + 1e-6)
        if accurate >= errors.fewest_accurate and (share == 0 or cheap >= fewest_cheap):
            curve.append((share, *errors.predict(accurate, cheap)))
    cost = rows["accurate"] * seconds[0] + rows["cheap"] * seconds[1]
    equal = rows.assign(share=100 * rows["cheap"] * seconds[1] / cost)[abs(cost / spent - 1) <= TOLERANCE]
    return pd.DataFrame(curve, columns=["share", "predicted", "low", "high"]), equal


def predicted(errors: ErrorModel, rows: "pd.DataFrame") -> "pd.DataFrame":
    """A row per split of `truth`: its prediction with the 95 % interval of one training, and the mean found."""
    import pandas as pd

    found = []
    for (way, accurate, cheap), part in rows.groupby(["way", "accurate", "cheap"]):
        error, low, high = errors.predict(accurate, cheap)
        named = {"way": way, "accurate": accurate, "cheap": cheap, "predicted": error, "low": low, "high": high}
        found.append(named | {"found": part["error"].mean()})
    return pd.DataFrame(found)


def calibration(errors: ErrorModel, rows: "pd.DataFrame") -> "pd.DataFrame":
    """How often trainings end within the interval that was predicted for them.

    Returns:
        A row for each way: trainings, shares of them within the 50 % and the 95 % interval, and the median of found by
        predicted error.
    """
    import pandas as pd

    def within(row: Any, coverage: float) -> bool:
        _, low, high = errors.predict(row.accurate, row.cheap, coverage)
        return low <= row.error <= high

    found = {}
    for way, part in rows.groupby("way", sort=False):
        each = list(part.itertuples())
        ratios = [row.error / errors.predict(row.accurate, row.cheap)[0] for row in each]
        found[way] = {
            "trainings": len(each),
            "within 50 % interval [%]": 100 * np.mean([within(row, 0.5) for row in each]),
            "within 95 % interval [%]": 100 * np.mean([within(row, 0.95) for row in each]),
            "found / predicted": float(np.median(ratios)),
        }
    return pd.DataFrame.from_dict(found, orient="index")


def verdicts(profile: Profile, molecule: str, store: Store) -> tuple["pd.DataFrame", list[Record]]:
    """Verdicts of the bias report beside what trainings with each level found; those that are missing are made.

    ASTEROID has the most cheap labels and the fewest accurate ones, standard training the accurate labels of the same
    budget; an empirical level gives up none. The report of each seed knows the accurate labels of ASTEROID and the
    validation error of stage 1.

    Returns:
        A row per level: labels, the report's numbers (kcal/mol/Å, mean over seeds) and verdict (of most seeds), and by
        how many percent ASTEROID's error is lower than that of standard training, with a 95 % interval; and the
        records.
    """
    import pandas as pd

    model = profile.planner.model
    empirical = profile.empirical_specs(model, (molecule,))
    fewest = min(spec.budget for spec in empirical)
    by_level = {
        profile.inaccurate: profile.low_resource("asteroid", model, (molecule,)),
        profile.sampled: profile.planner_specs(molecule)["sampled"],
        profile.empirical.level: [spec for spec in empirical if spec.budget == fewest],
    }
    standard = {spec.seed: spec for spec in profile.low_resource("standard", model, (molecule,))}
    rows, records = {}, {}
    for level, specs in by_level.items():
        stage_one = [methods.stage_one(spec)[0] for spec in specs]
        alone = [standard[spec.seed] for spec in specs]
        made = {record.spec: record for record in sweeps.sweep([*stage_one, *alone, *specs], store)}
        cheap = datasets.load(molecule, level=level)
        # Of the labels that the runs were given, seed by seed.
        reports = [
            bias.bias_report(runs.split_of(spec).train, cheap, made[one].valid_force_mae)
            for spec, one in zip(specs, stage_one, strict=True)
        ]
        lower = [
            100 * (1 - made[ours].errors["force_mae"] / made[theirs].errors["force_mae"])
            for ours, theirs in zip(specs, alone, strict=True)
        ]
        rows[level.upper()] = {
            "labels": f"{specs[0].budget} + {specs[0].inaccurate_budget}",
            "varies": np.mean([report.varying_by_frame.mean() for report in reports]),
            "stage 1's error": np.mean([made[spec].valid_force_mae for spec in stage_one]),
            "verdict": Counter(report.verdict for report in reports).most_common(1)[0][0],
            **dict(zip(("lower by [%]", "from", "to"), statistics.mean_interval(lower), strict=True)),
        }
        records |= made
    return pd.DataFrame.from_dict(rows, orient="index"), list(records.values())
