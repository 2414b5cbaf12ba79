"""How each claim of the paper is judged by the records of a profile: a function for each, from evidence to a finding.

A claim of a number is *reproduced* if the 95 % interval of ours lies above zero and reaches the paper's, *partly* if it
lies above zero and stays below, and else *not reproduced*. A claim of an order is reproduced if it holds for all
molecules and models that were run, partly if for at least half: of mean errors, chance alone makes half the lower ones.
Intervals are Student's, over molecules and seeds.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from asteroid import datasets, statistics
from asteroid.book import comparison
from asteroid.levels import labelling
from asteroid.md import stability
from asteroid.profiles import Profile, simulated
from asteroid.runs import RunSpec, simulations, sweeps, toy
from asteroid.runs.methods import MODEL_NAMES
from asteroid.runs.records import Store

if TYPE_CHECKING:
    import pandas as pd

REPRODUCED, PARTLY, NOT, OTHER_DATA = "reproduced", "partly", "not reproduced", "needs MD17"


@dataclass(frozen=True)
class Finding:
    """What was found.

    Attributes:
        ours: in words.
        verdict: whether the claim holds.
        percent: where it is a reduction of the error, its mean and 95 % interval, %.
        claimed: the paper's number for it, %.
    """

    ours: str
    verdict: str
    percent: tuple[float, float, float] | None = None
    claimed: float | None = None


class Evidence:
    """Records of a profile; those that are missing are made.

    Args:
        profile: the profile.
        store: its records.
    """

    def __init__(self, profile: Profile, store: Store):
        self.profile, self.store = profile, store
        self.records: dict[str, Any] = {}

    def table(self, specs: Iterable[RunSpec]) -> "pd.DataFrame":
        """Rows of runs, see `comparison.table`."""
        records = sweeps.sweep(specs, self.store)
        self.records |= {record.key: record for record in records}
        return comparison.table(self.profile, records)

    def simulations(self, specs: Mapping[Any, simulations.Simulation]) -> dict[Any, simulations.SimulationRecord]:
        """Records of simulations by name."""
        found = {name: simulations.simulate(spec, self.store) for name, spec in specs.items()}
        self.records |= {record.key: record for record in found.values()}
        return found


def of_number(values: np.ndarray, claimed: float) -> Finding:
    """Verdict on a reduction of the error by so many percent."""
    mean, low, high = statistics.mean_interval(values)
    verdict = NOT if low <= 0 else REPRODUCED if high >= claimed else PARTLY
    return Finding(comparison.percent(values), verdict, (mean, low, high), claimed)


def of_order(holds: Mapping[str, bool], ours: str) -> Finding:
    """Verdict on what should hold everywhere."""
    held = list(map(bool, holds.values()))
    verdict = REPRODUCED if all(held) else PARTLY if 2 * sum(held) >= len(held) else NOT
    return Finding(ours, verdict)


def straight_line(evidence: Evidence) -> Finding:
    """Fig 1a: the share of the scatter in double logarithmic axes that a straight line explains, which must fall."""
    holds, said = {}, []
    for model in evidence.profile.recipes:
        for molecule, rows in evidence.table(evidence.profile.specs("standard", model)).groupby("molecule", sort=False):
            name = f"{_name(molecule)}, {MODEL_NAMES[model]}"
            r, holds[name] = comparison.straight_line(rows)
            said.append(f"{name}: R² {r**2:.2f}" + (", but errors rise" if r > 0 else ""))
    return of_order(holds, "; ".join(said))


def cheap_alone(evidence: Evidence) -> Finding:
    """Fig 1b: error of models of cheap labels alone over that of the smallest accurate training set."""
    holds, said = {}, []
    for model in evidence.profile.recipes:
        few = evidence.table(evidence.profile.low_resource("standard", model)).groupby("molecule")["force_mae"].mean()
        cheap = evidence.table(evidence.profile.specs("inaccurate", model))
        best = (
            cheap.groupby(["molecule", "inaccurate", "inaccurate_budget"])["force_mae"].mean().groupby("molecule").min()
        )
        ratio = best / few
        holds |= {f"{model} {molecule}": value > 1 for molecule, value in ratio.items()}
        said.append(f"{MODEL_NAMES[model]}: at least {ratio.min():.1f} times the error of the fewest accurate labels")
    return of_order(holds, "; ".join(said))


def everywhere(model: str) -> Callable[[Evidence], Finding]:
    """Fig 3 and 4: a lower error at every budget and with every number of cheap labels, in the mean over seeds."""

    def judge(evidence: Evidence) -> Finding:
        rows = evidence.table(evidence.profile.specs("asteroid", model))
        rows["gain"] = comparison.reduction(rows, evidence.table(evidence.profile.specs("standard", model)))
        gains = rows.groupby(["molecule", "total_budget", "inaccurate_budget"])["gain"].mean()
        said = (
            f"lower in {(gains > 0).sum()} of {len(gains)} cases; by {gains.min():.0f} to {gains.max():.0f} %, over all"
        )
        return of_order((gains > 0).to_dict(), said)

    return judge


def low_resource(method: str, model: str, claimed: float, against: str = "standard") -> Callable[[Evidence], Finding]:
    """Fig 3, Fig 4, Tables 2 and 3: reduction at the smallest budget with the most cheap labels or geometries."""

    def judge(evidence: Evidence) -> Finding:
        profile = evidence.profile
        rows = evidence.table(profile.low_resource(method, model))
        return of_number(comparison.reduction(rows, evidence.table(profile.low_resource(against, model))), claimed)

    return judge


def sample_efficiency(model: str, claimed: float) -> Callable[[Evidence], Finding]:
    """Fig 3 and 4: labels that standard training needs for ASTEROID's error, over ASTEROID's budget.

    Each seed is held against its own power law: one of all seeds would err alike in each ratio, which their interval
    does not see. That of all says whether standard training improves at all.
    """

    def judge(evidence: Evidence) -> Finding:
        profile, ratios, extrapolated, left_out = evidence.profile, [], False, []
        standard = evidence.table(profile.specs("standard", model))
        for molecule, rows in evidence.table(profile.low_resource("asteroid", model)).groupby("molecule", sort=False):
            alone = standard[standard["molecule"] == molecule]
            if statistics.fit_power_law(alone["budget"], alone["force_mae"]).interval[0] <= 0:
                left_out.append(_name(molecule))
                continue
            for row in rows.itertuples():
                own = alone[alone["seed"] == row.seed]
                law = statistics.fit_power_law(own["budget"], own["force_mae"]) if own["budget"].nunique() > 1 else None
                if law is None or law.exponent <= 0:
                    left_out.append(f"{_name(molecule)} of seed {row.seed}")
                    continue
                labels = law.labels_for(row.force_mae)
                ratios.append(labels / row.total_budget)
                extrapolated |= not own["budget"].min() <= labels <= own["budget"].max()
        if not ratios:
            return Finding("standard training does not improve with labels beyond doubt", NOT)
        mean, low, high = statistics.mean_interval(np.array(ratios))
        verdict = NOT if low <= 1 else REPRODUCED if high >= claimed and not left_out else PARTLY
        beyond = ", by extrapolation" if extrapolated else ""
        if left_out:
            beyond += f"; without {', '.join(left_out)}, where standard training does not improve beyond doubt"
        return Finding(f"{mean:.1f} times (95 % interval {low:.1f} to {high:.1f}){beyond}", verdict)

    return judge


def empirical(model: str, claimed: float | None) -> Callable[[Evidence], Finding]:
    """Table 1 at the fewest accurate labels; without a number A.3: a gain at every budget."""

    def judge(evidence: Evidence) -> Finding:
        profile = evidence.profile
        specs = profile.empirical_specs(model)
        if claimed is not None:
            specs = [spec for spec in specs if spec.budget == min(profile.budgets)]
        rows = evidence.table(specs)
        rows["gain"] = comparison.reduction(rows, evidence.table(profile.specs("standard", model)))
        if claimed is not None:
            return of_number(rows["gain"].to_numpy(), claimed)
        gains = rows.groupby(["molecule", "budget"])["gain"].mean()
        said = f"{gains.min():.0f} to {gains.max():.0f} %, by budget and molecule"
        return of_order((gains > 0).to_dict(), said)

    return judge


def between(evidence: Evidence) -> Finding:
    """Fig 5: score matching between cheap labels of DFT and of an empirical force field."""
    profile, holds, said = evidence.profile, {}, []
    for model in profile.recipes:
        labelled = evidence.table(profile.specs("inaccurate", model))
        geometries = evidence.table(profile.low_resource("score-matching-not-tuned", model))
        for molecule, rows in geometries.groupby("molecule", sort=False):
            value = rows["force_mae"].mean()
            errors = labelled[labelled["molecule"] == molecule].groupby(["inaccurate", "inaccurate_budget"])
            best = errors["force_mae"].mean().groupby("inaccurate").min()
            low, high = best[profile.inaccurate], best[profile.empirical.level]
            name = f"{_name(molecule)}, {MODEL_NAMES[model]}"
            holds[name] = bool(low < value < high)
            said.append(f"{name}: {value:.1f}, labels {low:.1f} and {high:.1f} kcal/mol/Å")
    return of_order(holds, "; ".join(said))


def stable(evidence: Evidence) -> Finding:
    """Fig 6a: which simulations lost a replica."""
    molecule = evidence.profile.dynamics.molecule
    found = evidence.simulations(simulated.long_runs(evidence.profile, "egnn", molecule))
    lost = {name: sum(record.failed) for name, record in found.items()}
    holds = {
        "ASTEROID stable": lost["asteroid"] == 0,
        "cheap labels diverge": lost["inaccurate"] > 0,
        "Lennard-Jones diverges": lost["lj"] > 0,
    }
    names = {"asteroid": "ASTEROID", "inaccurate": "cheap labels only", "lj": "Lennard-Jones"}
    said = ", ".join(f"{text} {lost[name]}" for name, text in names.items())
    return of_order(holds, f"{_name(molecule)}, lost of {len(found['lj'].failed)}: {said}")


def longer_steps(evidence: Evidence) -> Finding:
    """Fig 6b: the longest step at which nine in ten simulations last, by method."""
    profile, molecule = evidence.profile, evidence.profile.dynamics.step_molecule
    found = evidence.simulations(simulated.short_runs(profile, "egnn", molecule))
    longest = {"standard": 0.0, "asteroid": 0.0}
    apart = []
    for (name, step), record in found.items():
        if np.mean(record.failed) <= 0.1:
            longest[name] = max(longest[name], step)
    for step in profile.dynamics.step_sizes:
        failed = {name: found[name, step].failed for name in longest}
        lows = {name: stability.proportion(len(f) - sum(f), len(f)) for name, f in failed.items()}
        if lows["asteroid"][1] > lows["standard"][2]:
            apart.append(f"{step:g} fs")
    three_times = longest["asteroid"] > 0 and longest["asteroid"] >= 3 * longest["standard"]
    said = f"{_name(molecule)}: up to {longest['asteroid']:g} fs against {longest['standard']:g} fs"
    said += f"; lasts more often, beyond both intervals, at {', '.join(apart)}" if apart else ""
    return Finding(said, REPRODUCED if three_times and apart else PARTLY if apart else NOT)


def every_part_helps(evidence: Evidence) -> Finding:
    """Table 3: ASTEROID against itself without a part."""
    profile, holds, said = evidence.profile, {}, []
    for model in profile.recipes:
        whole = evidence.table(profile.low_resource("asteroid", model))
        for part, name in (("asteroid-not-tuned", "fine-tuning"), ("asteroid-unweighted", "weights")):
            gain = comparison.reduction(whole, evidence.table(profile.low_resource(part, model)))
            holds[f"{model} {part}"] = statistics.mean_interval(gain)[1] > 0
            said.append(f"{MODEL_NAMES[model]}, {name}: {comparison.percent(gain)}")
    return of_order(holds, "; ".join(said))


def every_gamma(evidence: Evidence) -> Finding:
    """Fig 7a."""
    profile, holds, said = evidence.profile, {}, []
    standard = evidence.table(profile.low_resource("standard", "gemnet-t"))
    for gamma in profile.gammas:
        gain = comparison.reduction(evidence.table(profile.gamma_specs("gemnet-t", gamma)), standard)
        holds[f"{gamma:g}"] = statistics.mean_interval(gain)[1] > 0
        said.append(f"γ {gamma:g}: {gain.mean():.0f} %")
    return of_order(holds, "; ".join(said))


def _ratios(evidence: Evidence) -> dict[float, np.ndarray]:
    profile = evidence.profile
    standard = evidence.table(profile.low_resource("standard", "gemnet-t"))
    fewest = min(profile.budgets) - profile.given_up
    rows = evidence.table([spec for spec in profile.specs("asteroid", "gemnet-t") if spec.budget == fewest])
    return {
        labels / profile.given_up: comparison.reduction(part, standard)
        for labels, part in rows.groupby("inaccurate_budget")
    }


def most_is_best(evidence: Evidence) -> Finding:
    """Fig 7b: the gain by cost ratio; partly, where the best is not told apart from the largest."""
    gains = _ratios(evidence)
    best = max(gains, key=lambda ratio: gains[ratio].mean())
    said = "; ".join(f"{ratio:.0f}:1 {gain.mean():.0f} %" for ratio, gain in gains.items())
    behind = statistics.mean_interval(gains[best] - gains[max(gains)])[1] > 0
    return Finding(said, REPRODUCED if best == max(gains) else NOT if behind else PARTLY)


def small_ratio(evidence: Evidence) -> Finding:
    """Fig 7b: the gain at the smallest cost ratio."""
    gains = _ratios(evidence)
    return of_number(gains[min(gains)], 20)


def lowest(evidence: Evidence) -> Finding:
    """Table 4: ASTEROID against the rows of the paper but for Δ-ML; those that need a package are left out."""
    profile, holds, said, lacking = evidence.profile, {}, [], {}
    for model in profile.recipes:
        compared = profile.compared(model)
        ways = {name: compared[name] for name in ("sGDML", "ANI-1ccx", "ANI-1ccx, fine-tuned")}
        lacking = sweeps.missing(ways, evidence.store)
        whole = evidence.table(profile.low_resource("asteroid", model))
        for name, specs in ways.items():
            fewest = min(spec.budget for spec in specs)
            if name not in lacking:
                other = evidence.table([spec for spec in specs if spec.budget == fewest])
                for molecule, rows in whole.groupby("molecule", sort=False):
                    gain = comparison.reduction(rows, other, ("molecule", "seed"))
                    holds[f"{model} {name} {molecule}"] = statistics.mean_interval(gain)[1] > 0
                    who = f"{MODEL_NAMES[model]}, than {name}, {_name(molecule)}"
                    said.append(f"{who}: {comparison.percent(gain)}")
    if not holds:
        return Finding("none of them can be run here", NOT)
    if lacking:
        said.append(f"not run: {' and '.join(name for name in ways if name in lacking)}")
    return of_order(holds, "; ".join(said))


def together(evidence: Evidence) -> Finding:
    """Table 5: one pre-training for all molecules against standard training of each."""
    profile, holds, said = evidence.profile, {}, []
    if len(profile.together) < 2:
        return Finding("no molecules are trained together", OTHER_DATA)
    alone = evidence.table(profile.low_resource("standard", "gemnet-t", profile.together))
    multi = evidence.table(profile.low_resource("asteroid-multi", "gemnet-t", profile.together))
    for molecule, rows in multi.groupby("molecule", sort=False):
        gain = comparison.reduction(rows, alone)
        holds[molecule] = statistics.mean_interval(gain)[1] > 0
        said.append(f"{_name(molecule)}: {comparison.percent(gain)}")
    return of_order(holds, "; ".join(said))


def toy_points(evidence: Evidence) -> Finding:
    """A.5: at every number of accurate points."""
    holds, said = {}, []
    for spec in toy.by_accurate(evidence.profile.toy):
        record = toy.run(spec, evidence.store)
        evidence.records[record.key] = record
        gain = 100 * (1 - np.array(record.errors["asteroid"]) / np.array(record.errors["standard"]))
        holds[spec.accurate] = statistics.mean_interval(gain)[1] > 0
        said.append(f"{spec.accurate} points: {gain.mean():.0f} %")
    return of_order(holds, "; ".join(said))


def _name(molecule: str) -> str:
    return molecule.replace("_", " ")


def label_cost(evidence: Evidence) -> Finding:
    """Section 5.1: seconds of a CCSD(T) label over those of a PBE label, as the page on costs measured them.

    The paper's smallest molecule has nine atoms; CCSD(T) grows with the size by three or four powers more than DFT.
    """
    folder, ratios, large = evidence.store.folder.parent / "label_cost", {}, {}
    for molecule in datasets.molecules():
        ledgers = [folder / f"{molecule}_{level}.jsonl" for level in ("ccsd(t)", "pbe")]
        if all(ledger.exists() for ledger in ledgers):
            # The first label of a session takes longer by the start of its program.
            seconds = [[row["seconds"] for row in labelling.rows(ledger) if row["frame"]] for ledger in ledgers]
            ratios[molecule] = np.median(seconds[0]) / np.median(seconds[1])
            if len(datasets.load(molecule, level="mmff").z) >= 9:
                large[molecule] = bool(ratios[molecule] >= 20)
    if not ratios:
        return Finding("these labels were not timed", OTHER_DATA)
    said = "; ".join(f"{_name(molecule)} {ratios[molecule]:.1f}" for molecule in sorted(ratios, key=ratios.get))
    return of_order(large, said) if large else Finding(said, OTHER_DATA)
