"""What a user would pick instead: the ways of this book beside the programs that others train with."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from asteroid import datasets, runs
from asteroid.book import step_cost
from asteroid.files import in_words
from asteroid.profiles import Profile
from asteroid.runs import RunSpec
from asteroid.runs.methods import MODEL_NAMES
from asteroid.runs.records import Record

if TYPE_CHECKING:
    import pandas as pd

SEARCHED = ", learning rates"  # with which the names end of ways that are no ways of their own
GOOD = 2.0  # times the smallest error, up to which one may take a way for its speed
ALIKE = 1.25  # numbers of accurate labels whose ratio is smaller are compared with each other


def ways(profile: Profile) -> dict[str, list[RunSpec]]:
    """The runs that are compared, by the name of the way.

    Standard training, ASTEROID and sGDML are at all budgets, also the small ones; the fine-tuned ANI-1ccx is at the
    smallest of the others. The molecules are those of the profile's `rivals`, if it has any.
    """
    molecules = tuple(profile.rivals.seeds) if profile.rivals else tuple(profile.molecules)
    most, found = max(profile.inaccurate_budgets), {}
    for model in profile.recipes:
        for name, method in (("standard", "standard"), ("ASTEROID", "asteroid")):
            specs = [*profile.specs(method, model, molecules), *profile.few_specs(method, model, molecules)]
            chosen = [spec for spec in specs if method == "standard" or spec.inaccurate_budget == most]
            found[f"{name}, {MODEL_NAMES[model]}"] = list(dict.fromkeys(chosen))
    first = next(iter(profile.recipes))
    found["sGDML"] = [*profile.specs("sgdml", first, molecules), *profile.few_specs("sgdml", first, molecules)]
    found["ANI-1ccx, fine-tuned"] = profile.low_resource("ani-1ccx-tuned", first, molecules)
    return found | profile.rival_specs()


def table(made: Mapping[str, Iterable[Record]]) -> "pd.DataFrame":
    """A row for each record.

    Args:
        made: records by way.

    Returns:
        The columns of `runs.overview` and `series`, the way; `labels`, accurate ones in all, those for validation
        included; `microseconds` of a step of dynamics on one core: of a program by its own calculator when it was
        trained, else measured now, NaN where the labels or a package are not here.
    """
    import pandas as pd

    parts = []
    for series, records in made.items():
        records = list(records)
        rows = runs.overview(records).assign(series=series)
        rows["labels"] = [record.spec.budget + record.spec.valid for record in records]
        rows["microseconds"] = np.array([_step_seconds(record) for record in records], dtype=float) * 1e6
        parts.append(rows.sort_values("labels", kind="stable"))
    return pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)


def _step_seconds(record: Record) -> float | None:
    if "md_step_seconds" in record.errors:
        return record.errors["md_step_seconds"]
    here = datasets.is_here(record.spec.molecule, record.spec.accurate)
    return step_cost.seconds_per_step(record.spec) if here else None


def missing(ways: Mapping[str, Iterable[RunSpec]], made: Mapping[str, Iterable[Record]]) -> str:
    """How many runs of which way have no record, in one sentence; empty if none lacks any."""
    wanted = {name: len({spec.key for spec in specs}) for name, specs in ways.items()}
    lacking = {name: number - len({record.key for record in made[name]}) for name, number in wanted.items()}
    of_ways = [f"{name} ({number} of {wanted[name]})" for name, number in lacking.items() if number]
    return f"Not recorded yet: {'; '.join(of_ways)}." if of_ways else ""


def advice(rows: "pd.DataFrame") -> str:
    """What the records advise, in one paragraph: the most accurate way by number of labels, then what is fast.

    Args:
        rows: from `table`.
    """
    said = []
    for group in _alike(rows["labels"]):
        part = rows[rows["labels"].isin(group)]
        by_molecule: dict[str, list[str]] = {}
        for molecule, of_molecule in part.groupby("molecule", sort=False):
            errors = of_molecule.groupby("series", sort=False)["force_mae"].mean().sort_values()
            if len(errors) > 1:  # with nothing beside it, a way says nothing
                (best, second), (error, other) = errors.index[:2], errors.iloc[:2]
                by_molecule.setdefault(best, []).append(
                    f"{in_words(molecule)}, {error:.2f}; next {second}, {other:.2f}"
                )
        if by_molecule:
            number = f"{group[0]}" if len(group) == 1 else f"{group[0]} to {group[-1]}"
            best = "; ".join(f"**{name}** ({' · '.join(found)})" for name, found in by_molecule.items())
            said.append(f"With {number} accurate labels in all the smallest error has {best}.")
    if not said:
        return "*Not recorded yet.*"
    return " ".join(["Errors are in kcal/mol/Å.", *said, *_fast(rows)])


def _fast(rows: "pd.DataFrame") -> list[str]:
    """What is fast among the accurate ways, of the molecule and the numbers of labels that most ways have."""
    places = [
        part[part["labels"].isin(group)]
        for _, part in rows.groupby("molecule", sort=False)
        for group in _alike(part["labels"])
    ]
    place = max(reversed(places), key=lambda part: part["series"].nunique())
    means = place.groupby("series", sort=False)[["force_mae", "seconds", "microseconds"]].mean()
    good = means[means["force_mae"] <= GOOD * means["force_mae"].min()]
    few, many = place["labels"].min(), place["labels"].max()
    where = f"{in_words(place['molecule'].iloc[0])}, {few}" + (f" to {many}" if many > few else "")
    said = []
    for column, what, unit in (("seconds", "is trained fastest", "s"), ("microseconds", "has the fastest step", "µs")):
        by_price = good[column].dropna().sort_values()
        if len(by_price) > 1:
            said.append(
                f"Of the {len(by_price)} ways whose error is at most {GOOD:g} times the smallest ({where} labels), "
                f"**{by_price.index[0]}** {what} ({by_price.iloc[0]:,.0f} {unit}), {by_price.index[-1]} slowest "
                f"({by_price.iloc[-1]:,.0f} {unit})."
            )
    return said


def _alike(labels: Iterable[int]) -> list[list[int]]:
    """Numbers of labels, rising, in groups whose neighbours are alike."""
    groups: list[list[int]] = []
    for number in sorted(set(labels)):
        if groups and number <= ALIKE * groups[-1][-1]:
            groups[-1].append(number)
        else:
            groups.append([number])
    return groups


def search(profile: Profile, made: Mapping[str, Iterable[Record]]) -> str:
    """What the search for learning rates of the fine-tuning found, in a sentence for each program.

    Args:
        profile: with `rivals`, or there is nothing to say.
        made: records by way.
    """
    said = []
    for way in made:
        if not way.endswith(SEARCHED):
            continue
        found = {dict(one.spec.program)["tuning_learning_rate"]: one.valid_force_mae for one in made[way]}
        if found:
            program, spec = way.removesuffix(SEARCHED), next(iter(made[way])).spec
            errors = ", ".join(f"{rate:g}: {error:.3f}" for rate, error in sorted(found.items()))
            used = profile.rivals.programs[spec.method.removesuffix("-tuned")].rates[0]
            best = min(found, key=found.get)
            verdict = f"{used:g} is used" + ("" if best == used else f", though {best:g} is better here")
            said.append(
                f"{program}: validation error in kcal/mol/Å by learning rate of the fine-tuning, {spec.budget} labels "
                f"of {in_words(spec.molecule)}: {errors}; {verdict}."
            )
    return " ".join(said)
