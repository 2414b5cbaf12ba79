"""Criteria of the claims about something else than test errors: dynamics, the toy example, the price of a label."""

import numpy as np

from asteroid import datasets
from asteroid.book.verdicts import (
    NOT,
    OTHER_DATA,
    PARTLY,
    REPRODUCED,
    Evidence,
    Finding,
    NotRun,
    beyond_intervals,
    of_order,
)
from asteroid.files import in_words
from asteroid.levels.ledger import read_labels
from asteroid.md import stability
from asteroid.profiles import simulated
from asteroid.runs import toy


def stable(evidence: Evidence) -> Finding:
    """Fig 6a: which simulations lost a replica; ASTEROID should lose none, and the two others some."""
    molecule = evidence.profile.dynamics.molecule
    found = evidence.simulations(simulated.long_runs(evidence.profile, "egnn", molecule))
    names = {"asteroid": "ASTEROID", "inaccurate": "cheap labels only", "lj": "Lennard-Jones"}
    lost = {name: sum(found[name].failed) for name in names}
    text = ", ".join(f"{names[name]} {number}" for name, number in lost.items())
    holds = [(number == 0) == (name == "asteroid") for name, number in lost.items()]
    return of_order(holds, f"{in_words(molecule)}, lost of {len(found['lj'].failed)}: {text}")


def longer_steps(evidence: Evidence) -> Finding:
    """Fig 6b: the longest step at which nine in ten simulations last, by method."""
    profile, molecule = evidence.profile, evidence.profile.dynamics.step_molecule
    found = evidence.simulations(simulated.short_runs(profile, "egnn", molecule))
    longest = {"standard": 0.0, "asteroid": 0.0}
    for (name, step), record in found.items():
        if np.mean(record.failed) <= 0.1:
            longest[name] = max(longest[name], step)
    apart = []
    for step in profile.dynamics.step_sizes:
        failed = {name: found[name, step].failed for name in longest}
        whole = {name: stability.proportion(len(f) - sum(f), len(f)) for name, f in failed.items()}
        if whole["asteroid"].low > whole["standard"].high:
            apart.append(f"{step:g} fs")
    three_times = longest["asteroid"] > 0 and longest["asteroid"] >= 3 * longest["standard"]
    text = f"{in_words(molecule)}: up to {longest['asteroid']:g} fs against {longest['standard']:g} fs"
    if not apart:
        return Finding(text, NOT)
    text += f"; lasts more often, beyond both intervals, at {', '.join(apart)}"
    return Finding(text, REPRODUCED if three_times else PARTLY)


def toy_points(evidence: Evidence) -> Finding:
    """A.5: at every number of accurate points."""
    gains = {}
    for spec in toy.by_accurate(evidence.profile.toy):
        record = toy.run(spec, evidence.store) if evidence.profile.pages_train else toy.recorded(spec, evidence.store)
        if record is None:
            raise NotRun
        evidence.records[record.key] = record
        ratios = np.array(record.errors["asteroid"]) / np.array(record.errors["standard"])
        gains[f"{spec.accurate} points"] = 100 * (1 - ratios)
    return beyond_intervals(gains, brief=True)


def label_cost(evidence: Evidence) -> Finding:
    """Section 5.1: seconds of a CCSD(T) label over those of a PBE label, as the page on costs measured them.

    The paper's smallest molecule has nine atoms; CCSD(T) grows with the size by three or four powers more than DFT.
    """
    folder, ratios = evidence.store.folder.parent / "label_cost", {}
    for molecule in datasets.molecules():
        ledgers = [folder / f"{molecule}_{level}.jsonl" for level in ("ccsd(t)", "pbe")]
        if all(ledger.exists() for ledger in ledgers):
            # The first label of a session takes longer by the start of its program.
            seconds = [[row["seconds"] for row in read_labels(ledger) if row["frame"]] for ledger in ledgers]
            ratios[molecule] = np.median(seconds[0]) / np.median(seconds[1])
    if not ratios:
        return Finding("these labels were not timed", OTHER_DATA)
    text = "; ".join(f"{in_words(molecule)} {ratios[molecule]:.1f}" for molecule in sorted(ratios, key=ratios.get))
    holds = [ratio >= 20 for molecule, ratio in ratios.items() if len(datasets.load(molecule, level="mmff").z) >= 9]
    return of_order(holds, text) if holds else Finding(text, OTHER_DATA)
