"""Criteria of the claims about test errors of trainings, a function each; `verdicts` has the rules that they share."""

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from asteroid import statistics
from asteroid.book import comparison
from asteroid.book.verdicts import (
    NOT,
    NOT_RUN,
    OTHER_DATA,
    PARTLY,
    REPRODUCED,
    Evidence,
    Finding,
    NotRun,
    beyond_intervals,
    of_number,
    of_order,
)
from asteroid.files import in_words
from asteroid.runs import RunSpec, sweeps
from asteroid.runs.methods import MODEL_NAMES

if TYPE_CHECKING:
    import pandas as pd


def smallest_budget(
    evidence: Evidence, method: str, model: str, claimed: float, reference: str = "standard"
) -> Finding:
    """Fig 3, Fig 4, Tables 2 and 3: reduction at the smallest budget with the most cheap labels or geometries."""
    few = evidence.profile.low_resource
    return of_number(evidence.gains(few(method, model), few(reference, model)), claimed)


def all_budgets(evidence: Evidence, model: str) -> Finding:
    """Fig 3 and 4: a lower error at every budget and with every number of cheap labels, in the mean over seeds."""
    profile = evidence.profile
    specs = profile.specs("asteroid", model)
    rows = evidence.gains(specs, profile.specs("standard", model))
    _all_of(rows, specs, "budget", "inaccurate_budget")
    gains = rows.groupby(["molecule", "total_budget", "inaccurate_budget"])["reduction"].mean()
    cases = f"lower in {(gains > 0).sum()} of {len(gains)} cases"
    return of_order(gains > 0, f"{cases}; by {gains.min():.0f} to {gains.max():.0f} %")


def empirical(evidence: Evidence, model: str, claimed: float) -> Finding:
    """Table 1: reduction by an empirical force field at the fewest accurate labels."""
    profile = evidence.profile
    specs = [spec for spec in profile.empirical_specs(model) if spec.budget == min(profile.budgets)]
    return of_number(evidence.gains(specs, profile.specs("standard", model)), claimed)


def empirical_at_all_budgets(evidence: Evidence, model: str) -> Finding:
    """A.3: a gain by an empirical force field at every budget."""
    profile = evidence.profile
    specs = profile.empirical_specs(model)
    rows = evidence.gains(specs, profile.specs("standard", model))
    _all_of(rows, specs, "budget")
    gains = rows.groupby(["molecule", "budget"])["reduction"].mean()
    return of_order(gains > 0, f"{gains.min():.0f} to {gains.max():.0f} %, by budget and molecule")


def straight_line(evidence: Evidence) -> Finding:
    """Fig 1a: the share of the scatter in double logarithmic axes that a straight line explains, which must fall."""
    holds, texts = [], []
    for model in evidence.profile.recipes:
        specs = [*evidence.profile.specs("standard", model), *evidence.profile.few_specs("standard", model)]
        for molecule, rows in evidence.runs(specs).groupby("molecule", sort=False):
            if rows["budget"].nunique() < 3:  # two points are always on a line
                continue
            r, close = comparison.straight_line(rows)
            holds.append(close)
            texts.append(
                f"{in_words(molecule)}, {MODEL_NAMES[model]}: R² {r**2:.2f}{', but errors rise' * bool(r > 0)}"
            )
    if not holds:
        raise NotRun
    return of_order(holds, "; ".join(texts))


def cheap_alone(evidence: Evidence) -> Finding:
    """Fig 1b: error of models of cheap labels alone over that of the smallest accurate training set."""
    holds, texts = [], []
    for model in evidence.profile.recipes:
        few = evidence.runs(evidence.profile.low_resource("standard", model)).groupby("molecule")["force_mae"].mean()
        cheap = evidence.runs(evidence.profile.specs("inaccurate", model))
        means = cheap.groupby(["molecule", "inaccurate", "inaccurate_budget"])["force_mae"].mean()
        ratio = (means.groupby("molecule").min() / few).dropna()
        if ratio.empty:
            raise NotRun
        holds += list(ratio > 1)
        texts.append(f"{MODEL_NAMES[model]}: at least {ratio.min():.1f} times the error of the fewest accurate labels")
    return of_order(holds, "; ".join(texts))


def sample_efficiency(evidence: Evidence, model: str, claimed: float) -> Finding:
    """Fig 3 and 4: labels that standard training needs for ASTEROID's error, over ASTEROID's budget; mean over runs.

    Each seed is held against its own power law: one of all seeds would err alike in each ratio, which their interval
    does not see. That of all says whether standard training improves at all.
    """
    profile, ratios, extrapolated, left_out = evidence.profile, [], False, []
    standard = evidence.runs(profile.specs("standard", model))
    for molecule, rows in evidence.runs(profile.low_resource("asteroid", model)).groupby("molecule", sort=False):
        alone = standard[standard["molecule"] == molecule]
        if alone["budget"].nunique() < 2 or len(alone) < 3:  # no interval of the exponent
            continue
        if statistics.fit_power_law(alone["budget"], alone["force_mae"]).interval[0] <= 0:
            left_out.append(in_words(molecule))
            continue
        for row in rows.itertuples():
            own = alone[alone["seed"] == row.seed]
            law = statistics.fit_power_law(own["budget"], own["force_mae"]) if own["budget"].nunique() > 1 else None
            if law is None or law.exponent <= 0:
                left_out.append(f"{in_words(molecule)} of seed {row.seed}")
                continue
            labels = law.labels_for(row.force_mae)
            ratios.append(labels / row.total_budget)
            extrapolated |= not own["budget"].min() <= labels <= own["budget"].max()
    if not left_out and len(ratios) < 2:
        raise NotRun
    if not ratios:
        return Finding("standard training does not improve with labels beyond doubt", NOT)
    mean, low, high = statistics.mean_interval(np.array(ratios))
    if len(ratios) < 2:
        return Finding(f"{mean:.1f} times (one run); without {', '.join(left_out)}", NOT_RUN)
    verdict = NOT if low <= 1 else REPRODUCED if high >= claimed and not left_out else PARTLY
    text = f"{mean:.1f} times (95 % interval {low:.1f} to {high:.1f})"
    if extrapolated:
        text += ", by extrapolation"
    if left_out:
        text += f"; without {', '.join(left_out)}, where standard training does not improve beyond doubt"
    return Finding(text, verdict)


def between(evidence: Evidence) -> Finding:
    """Fig 5: score matching between cheap labels of DFT and of an empirical force field."""
    profile, holds, texts = evidence.profile, [], []
    for model in profile.recipes:
        labelled = evidence.runs(profile.specs("inaccurate", model))
        geometries = evidence.runs(profile.low_resource("score-matching-not-tuned", model))
        for molecule, rows in geometries.groupby("molecule", sort=False):
            value = rows["force_mae"].mean()
            errors = labelled[labelled["molecule"] == molecule].groupby(["inaccurate", "inaccurate_budget"])
            best = errors["force_mae"].mean().groupby("inaccurate").min()
            if not {profile.inaccurate, profile.empirical.level} <= set(best.index):
                continue
            low, high = best[profile.inaccurate], best[profile.empirical.level]
            holds.append(low < value < high)
            name = f"{in_words(molecule)}, {MODEL_NAMES[model]}"
            texts.append(f"{name}: {value:.1f}, labels {low:.1f} and {high:.1f} kcal/mol/Å")
    if not holds:
        raise NotRun
    return of_order(holds, "; ".join(texts))


def every_part_helps(evidence: Evidence) -> Finding:
    """Table 3: ASTEROID against itself without a part."""
    few = evidence.profile.low_resource
    parts = {"fine-tuning": "asteroid-not-tuned", "weights": "asteroid-unweighted"}
    gains = {
        f"{MODEL_NAMES[model]}, {name}": comparison.independent(
            evidence.gains(few("asteroid", model), few(part, model))
        )
        for model in evidence.profile.recipes
        for name, part in parts.items()
    }
    return beyond_intervals(gains)


def every_gamma(evidence: Evidence) -> Finding:
    """Fig 7a: ASTEROID at each γ against standard training."""
    profile, model = evidence.profile, "gemnet-t"
    standard = profile.low_resource("standard", model)
    gains = {
        f"γ {g:g}": comparison.independent(evidence.gains(profile.gamma_specs(model, g), standard))
        for g in profile.gammas
    }
    return beyond_intervals(gains, brief=True)


def _gains_by_ratio(evidence: Evidence) -> "dict[float, pd.DataFrame]":
    profile, model = evidence.profile, "gemnet-t"
    fewest = min(profile.budgets) - profile.given_up
    specs = [spec for spec in profile.specs("asteroid", model) if spec.budget == fewest]
    rows = evidence.gains(specs, profile.low_resource("standard", model))
    _all_of(rows, specs, "inaccurate_budget")
    return dict(iter(rows.groupby(rows["inaccurate_budget"] / profile.given_up)))


def most_is_best(evidence: Evidence) -> Finding:
    """Fig 7b: the gain by cost ratio; partly, where the best is not told apart from the largest."""
    rows = _gains_by_ratio(evidence)
    both = set.intersection(*(set(zip(part["molecule"], part["seed"])) for part in rows.values()))
    if len(both) < 2:
        raise NotRun
    gains = {
        ratio: part.set_index(["molecule", "seed"])["reduction"].loc[sorted(both)].to_numpy()
        for ratio, part in rows.items()
    }
    best = max(gains, key=lambda ratio: gains[ratio].mean())
    text = "; ".join(f"{ratio:.0f}:1 {gain.mean():.0f} %" for ratio, gain in gains.items())
    behind = statistics.mean_interval(gains[best] - gains[max(gains)])[1] > 0
    return Finding(text, REPRODUCED if best == max(gains) else NOT if behind else PARTLY)


def small_ratio(evidence: Evidence, claimed: float) -> Finding:
    """Fig 7b: the gain at the smallest cost ratio."""
    gains = _gains_by_ratio(evidence)
    return of_number(gains[min(gains)], claimed)


def lowest(evidence: Evidence) -> Finding:
    """Table 4: ASTEROID against the rows of the paper but for Δ-ML; those that need a package are left out."""
    profile, gains, lacking = evidence.profile, {}, {}
    for model in profile.recipes:
        compared = profile.compared(model)
        ways = {name: compared[name] for name in ("sGDML", "ANI-1ccx", "ANI-1ccx, fine-tuned")}
        lacking |= sweeps.missing(ways, evidence.store) if profile.pages_train else {}
        for name in (name for name in ways if name not in lacking):
            fewest = min(spec.budget for spec in ways[name])
            other = [spec for spec in ways[name] if spec.budget == fewest]
            try:
                rows = evidence.gains(profile.low_resource("asteroid", model), other, ("molecule", "seed"))
            except NotRun:
                rows = []
            if len(rows) < 2:
                lacking[name] = "no record, or one"
                continue
            gains |= _by_molecule(rows, f"{MODEL_NAMES[model]}, than {name}")
    if not gains:
        raise NotRun
    found = beyond_intervals(gains)
    return replace(found, text=f"{found.text}; not run: {' and '.join(lacking)}") if lacking else found


def together(evidence: Evidence) -> Finding:
    """Table 5: one pre-training for all molecules against standard training of each."""
    profile, model = evidence.profile, "gemnet-t"
    if len(profile.together) < 2:
        return Finding("no molecules are trained together", OTHER_DATA)
    specs = (profile.low_resource(method, model, profile.together) for method in ("asteroid-multi", "standard"))
    rows = evidence.gains(*specs)
    found = beyond_intervals(_by_molecule(rows))
    means = rows.groupby("molecule", sort=False)["reduction"].mean()
    worse = [in_words(molecule) for molecule in means.index[means <= 0]]
    if worse and found.verdict == REPRODUCED:  # in the mean, and not everywhere
        found = replace(found, verdict=PARTLY)
    return replace(found, text=f"{found.text}; worse for {', '.join(worse)}") if worse else found


def _by_molecule(rows: "pd.DataFrame", prefix: str = "") -> dict[str, np.ndarray]:
    """Reductions by molecule, or those of all together where there are enough for an interval over molecules."""
    if rows["molecule"].nunique() > 2:
        return {prefix or "all molecules": comparison.independent(rows)}
    prefix = f"{prefix}, " if prefix else ""
    groups = rows.groupby("molecule", sort=False)["reduction"]
    return {f"{prefix}{in_words(molecule)}": part.to_numpy() for molecule, part in groups}


def _all_of(rows: "pd.DataFrame", specs: Iterable[RunSpec], *settings: str) -> None:
    """Raise NotRun if some combination of settings, of which the claim speaks, has no run."""
    found = set(rows[list(settings)].itertuples(index=False, name=None))
    if not {tuple(getattr(spec, name) for name in settings) for spec in specs} <= found:
        raise NotRun
