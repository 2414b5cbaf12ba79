"""How much lower an error is than another's: runs paired by molecule, budget and seed, with intervals."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from asteroid import runs, statistics
from asteroid.profiles import Profile
from asteroid.runs.methods import METHODS
from asteroid.runs.records import Record

if TYPE_CHECKING:
    import pandas as pd

CHEAP_VALIDATION = "2026-11-29"  # from when stage 2 is kept by held-out cheap labels
PAIRED = ("molecule", "model", "total_budget", "seed")


def with_total_budget(profile: Profile, records: Iterable[Record]) -> "pd.DataFrame":
    """`runs.overview` with a column `total_budget`: accurate labels that cost as much, by the paper's ratios.

    Args:
        profile: says how many accurate labels were given up for the cheap ones; an empirical force field's are free.
        records: of the runs.
    """
    rows = runs.overview(records)
    paid = rows["method"].map(lambda name: METHODS[name].trades) & (rows["inaccurate"] == profile.inaccurate)
    rows["total_budget"] = rows["budget"] + np.where(paid, profile.given_up, 0)
    return rows


def reduction(rows: "pd.DataFrame", reference: "pd.DataFrame", pair_by: Sequence[str] = PAIRED) -> np.ndarray:
    """By how many percent the error of each run is lower than that of its partner.

    Args:
        rows: from `with_total_budget`.
        reference: from `with_total_budget`; one row for each combination of `pair_by`.
        pair_by: columns in which partners agree.

    Returns:
        (rows,), %; negative where the partner is better.

    Raises:
        ValueError: if a row has no partner, or several.
    """
    partners = reference.set_index(list(pair_by))["force_mae"]
    pairs = rows.set_index(list(pair_by)).index
    if not partners.index.is_unique or not pairs.isin(partners.index).all():
        raise ValueError(f"every run needs one partner with the same {', '.join(pair_by)}; some have none or several")
    return 100 * (1 - rows["force_mae"].to_numpy() / partners.reindex(pairs).to_numpy())


def reductions(rows: "pd.DataFrame", reference: "pd.DataFrame", pair_by: Sequence[str] = PAIRED) -> "pd.DataFrame":
    """The runs of `paired` with a column `reduction`; see there."""
    rows = paired(rows, reference, pair_by)
    return rows.assign(reduction=reduction(rows, reference, pair_by))


def paired(rows: "pd.DataFrame", reference: "pd.DataFrame", pair_by: Sequence[str] = PAIRED) -> "pd.DataFrame":
    """The runs that have a partner; those of others are not recorded yet."""
    partners = reference.set_index(list(pair_by)).index
    return rows[rows.set_index(list(pair_by)).index.isin(partners)]


def independent(rows: "pd.DataFrame", column: str = "reduction") -> np.ndarray:
    """The values whose scatter says how far a mean can be trusted.

    Means of molecules where there are three or more, so that the interval is about other molecules too and one with
    more seeds counts no more than the rest; else single runs.
    """
    means = rows.groupby("molecule", sort=False)[column].mean()
    return (means if len(means) > 2 else rows[column]).to_numpy()


def straight_line(rows: "pd.DataFrame") -> tuple[float, bool]:
    """How well the mean errors of standard training follow a power law, a straight line in double logarithmic axes.

    Args:
        rows: from `with_total_budget`, of one molecule and model.

    Returns:
        Correlation r of the logarithms, above 0 if errors rise; and whether they fall with an R² of at least 0.95,
        which counts as close (Fig 1a).
    """
    means = rows.groupby("budget")["force_mae"].mean()
    r = np.corrcoef(np.log(means.index), np.log(means))[0, 1]
    return r, bool(r < 0 and r**2 >= 0.95)


def at_measured_cost(rows: "pd.DataFrame") -> "pd.DataFrame":
    """ASTEROID against standard training that costs the same seconds of labels, by its power law for the molecule.

    Args:
        rows: from `with_total_budget`, of one model: standard training and ASTEROID, with labels that were timed.

    Returns:
        A row for each molecule, number of cheap labels and of accurate ones. Of means over seeds, `paid` is seconds of
        all labels, `force_mae` kcal/mol/Å, and `gain` by how many percent it is lower than that of standard training;
        `beyond` says whether `paid` is outside what standard trainings cost, so that their error is extrapolated.

    Raises:
        ValueError: if the seconds of standard training are unknown, or all alike.
    """
    import pandas as pd

    rows, found = rows.assign(paid=rows["accurate_label_seconds"] + rows["inaccurate_label_seconds"]), []
    for _, part in rows.groupby("molecule", sort=False):
        alone, ours = part[part["method"] == "standard"], part[part["method"] == "asteroid"]
        mean = ours.groupby(["molecule", "inaccurate_budget", "budget"])[["paid", "force_mae"]].mean()
        standard = statistics.fit_power_law(alone["paid"], alone["force_mae"])(mean["paid"])
        gain = 100 * (1 - mean["force_mae"] / standard)
        beyond = ~mean["paid"].between(alone["paid"].min(), alone["paid"].max())
        found.append(mean.assign(gain=gain, beyond=beyond))
    return pd.concat(found).reset_index()


def price_border(cases: "pd.DataFrame") -> tuple[float, float] | None:
    """Between which price ratios ASTEROID begins to be better at equal measured cost, in more than half of the cases.

    Args:
        cases: from `at_measured_cost`, with a column `ratio`, cheap labels that cost as much as an accurate one.

    Returns:
        The largest ratio at which it is not, 0 if there is none, and the smallest at which it is, infinity if there is
        none; None if it is at a ratio and not at a larger one, so that the ratio alone does not say.
    """
    better = (cases["gain"] > 0).groupby(cases["ratio"]).mean() > 0.5
    below, above = max(better.index[~better], default=0.0), min(better.index[better], default=np.inf)
    return (below, above) if below < above else None


def percent(values: np.ndarray) -> str:
    """Mean of percentages with the 95 % interval, in words: "39 % (95 % interval 33 to 44)"."""
    mean, low, high = statistics.mean_interval(values)
    if len(values) == 1:
        return f"{mean:z.0f} % (one run)"
    return f"{mean:z.0f} % (95 % interval {low:z.0f} to {high:z.0f})"


def mean_and_spread(values: "pd.Series") -> str:
    """Mean ± standard deviation over seeds; of a single one there is no deviation."""
    return f"{values.mean():.3f}" + (f" ± {values.std():.3f}" if len(values) > 1 else "")


def cheap_error(record: Record) -> float:
    """Error of θ_I, of a record of ASTEROID, against held-out labels of its cheap level, kcal/mol/Å; else NaN.

    The smallest of the γ that were tried, since the best of each stage 2 is kept. NaN too for records of before
    `CHEAP_VALIDATION`, whose stage 2 was validated by accurate frames.
    """
    if record.date < CHEAP_VALIDATION:
        return np.nan
    errors = [
        min(history["valid_force_mae"])
        for stage, history in record.histories.items()
        if stage.startswith("inaccurate") and "tuned" not in stage
    ]
    return min(errors, default=np.nan)
