"""Runs: a specification in, a small record out, kept so that nothing is trained twice."""

import platform
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from asteroid import datasets, files, machine, stages
from asteroid.provenance import chain, total_seconds
from asteroid.runs import selection
from asteroid.runs.labels import labels
from asteroid.runs.methods import AnyForceField, Job
from asteroid.runs.records import Record, Store
from asteroid.runs.spec import RunSpec, fingerprints, other_splits, sets_of, split_of

if TYPE_CHECKING:
    import pandas as pd


def run(spec: RunSpec, store: Store, progress: bool = True) -> Record:
    """Make one run, or read its record if the store has it. An interrupted run goes on from its last checkpoint.

    A run that another process of this machine is making is waited for.

    Args:
        spec: the run.
        store: where records, force fields and checkpoints are kept.
        progress: show a bar for each stage.

    Raises:
        ValueError: if the file of its labels was written anew meanwhile.
    """
    if store.get(spec) is None:
        _make(spec, store, progress)
    return store.get(spec)


def force_field(spec: RunSpec, store: Store, progress: bool = True) -> AnyForceField:
    """The force field of a run, trained now if it is not there (a clone has the records, not the force fields).

    That of Δ-ML includes the cheap level, which is computed at every call.
    """
    path = store.force_field_path(spec)
    if not store.has_force_field(spec):
        _make(spec, store, progress)
    return spec.about.load(path, spec)


def overview(records: Iterable[Record]) -> "pd.DataFrame":
    """A row per record: settings, errors (kcal/mol/Å, kcal/mol), training seconds, measured cost of the labels (s)."""
    import pandas as pd

    columns = ("molecule", "method", "accurate", "inaccurate", "budget", "inaccurate_budget", "seed")
    others = ("model", "force_mae", "gamma", "seconds", "accurate_label_seconds", "inaccurate_label_seconds")
    table = pd.DataFrame(
        {
            **{name: getattr(record.spec, name) for name in columns},
            "model": record.spec.recipe.model,
            **record.errors,
            "gamma": record.gamma,
            "seconds": record.seconds,
            "accurate_label_seconds": record.label_seconds["accurate"],
            "inaccurate_label_seconds": record.label_seconds["inaccurate"],
        }
        for record in records
    )
    return table if len(table) else pd.DataFrame(columns=[*columns, *others])


def chosen_frames(spec: RunSpec, store: Store, progress: bool = True) -> np.ndarray:
    """Positions among the candidates, `split_of(spec).train`, of the frames that a run with a selection trains on.

    Force fields that choose them and are not in the store are trained.
    """
    while spec.method != "standard":  # stage 3 has the frames of stage 2, and that those of stage 1
        spec = spec.builds_on[0]
    if not (spec.selection and spec.selection.rounds):
        return np.arange(spec.budget)
    known = chosen_frames(spec.builds_on[0], store, progress)
    thetas_a = [force_field(one, store, progress) for one in spec.builds_on]
    cheap = labels(spec.molecule, spec.inaccurate)
    score = selection.scores(spec.selection.by, thetas_a, split_of(spec).train, cheap)
    return selection.extended(known, score, spec.budget)


def _make(spec: RunSpec, store: Store, progress: bool) -> None:
    """Train the force field of a run, and record it if that is missing; not what another process did meanwhile."""
    with store.alone(spec):
        for molecule, level in sorted(sets_of(spec)):
            labels(molecule, level)  # downloaded where they are missing
        data, path, recorded = fingerprints(spec), store.force_field_path(spec), store.get(spec) is not None
        if not store.has_force_field(spec):
            split = _chosen_split(spec, store, progress)
            trained = _train(spec, split, store, progress)
            record = None if recorded else record_of(spec, split, trained)
            if fingerprints(spec) != data:  # a record of the old labels would pass for one of the new
                raise ValueError(f"the labels of {spec.molecule} changed while a run of them was made; make it again")
            trained.save(path)
            if record is not None:
                store.put(record)


def _chosen_split(spec: RunSpec, store: Store, progress: bool) -> datasets.Split:
    split = split_of(spec)
    return replace(split, train=split.train[chosen_frames(spec, store, progress)]) if spec.selection else split


def _train(spec: RunSpec, split: datasets.Split, store: Store, progress: bool) -> AnyForceField:
    """The force field of a run; of Δ-ML, that of the difference, whose error is the error of the sum."""
    # A member of an ensemble has the split of the others.
    seed = spec.seed + 1000 * (spec.selection.member if spec.selection else 0)
    # An interrupted training of other labels is not gone on with.
    folder = store.work(spec) / files.key_of(fingerprints(spec))
    built_on = [force_field(one, store, progress) for one in spec.builds_on]
    keep = {"seed": seed, "folder": folder, "progress": progress}
    return spec.about.train(Job(spec, split, other_splits(spec), built_on, keep))


def record_of(spec: RunSpec, split: datasets.Split, trained: AnyForceField) -> Record:
    """The record of a trained force field, tested on the split's test frames."""
    provenance = trained.provenance
    histories = {training["stage"]: training["history"] for training in chain(provenance)}
    quantiles = None
    if trained.bias is not None:
        levels = torch.tensor([0, 0.05, 0.25, 0.5, 0.75, 0.95, 1], dtype=trained.bias.dtype)
        quantiles = torch.quantile(trained.bias, levels).tolist()
    return Record(
        spec=spec,
        key=spec.key,
        data=fingerprints(spec),
        errors=stages.test_errors(trained, split.test) | spec.about.errors(spec, split, trained),
        valid_force_mae=provenance["valid_force_mae"],
        gamma=provenance.get("gamma") if trained.bias is not None else None,
        bias_quantiles=quantiles,
        histories=histories,
        label_seconds=_label_seconds(spec, split),
        seconds=total_seconds([provenance]),
        threads=machine.threads(),
        date=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        versions={**provenance["versions"], "platform": platform.machine()},
    )


def _label_seconds(spec: RunSpec, split: datasets.Split) -> dict[str, float | None]:
    splits = [split, *other_splits(spec)]
    return {
        "accurate": label_cost([part.train for part in splits] if spec.budget else []),
        "inaccurate": label_cost([part.inaccurate for part in splits if part.inaccurate is not None]),
    }


def label_cost(sets: Iterable[datasets.LabelledSet]) -> float | None:
    """Seconds of all labels, each at the price of its set; None where one is unknown."""
    prices = [(len(labelled), labelled.median_seconds) for labelled in sets]
    return None if any(price is None for _, price in prices) else float(sum(number * price for number, price in prices))
