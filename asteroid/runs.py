"""Runs: a specification in, a small record out, kept so that nothing is trained twice."""

import numbers
import os
import platform
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from asteroid import datasets, losses, selection, several, stages
from asteroid.baselines import ani, delta, fidelity, sgdml
from asteroid.force_field import ForceField, force_on
from asteroid.methods import METHODS, UNUSED
from asteroid.records import Record, Store, key_of
from asteroid.selection import Selection
from asteroid.stages import Recipe

if TYPE_CHECKING:
    import pandas as pd

# Counts up when a change of the code makes recorded results obsolete that no setting tells apart.
RECIPE_VERSION = 1

AnyForceField = ForceField | delta.DeltaForceField | sgdml.SGDMLForceField


@dataclass(frozen=True)
class RunSpec:
    """Everything that decides the outcome of one run.

    Attributes:
        molecule: as in `datasets.load`; files of several levels have one name, such as "ethanol_{level}.npz".
        method: one of `METHODS`.
        budget: accurate labels to train on.
        inaccurate_budget: inaccurate labels to train on.
        accurate, inaccurate: levels of theory.
        valid, test: accurate frames held out.
        seed: of split, initial weights and shuffles.
        recipe: model and training settings.
        together: by molecule, the accurate level of those that are pre-trained together, this one among them (kept as
            sorted pairs). ASTEROID's pre-training of them is one run, which is tested on the first of them.
        selection: how the accurate frames were chosen, in standard training and ASTEROID, which then gets the cheap
            labels of all candidates first; None takes the first of the split.

    Raises:
        ValueError: for an unknown method, or numbers or molecules that no run can have.
    """

    molecule: str
    method: str
    budget: int
    inaccurate_budget: int = 0
    accurate: str = "ccsd(t)"
    inaccurate: str = "pbe"
    valid: int = 50
    test: int = 100
    seed: int = 0
    recipe: Recipe = field(default_factory=Recipe)
    together: Mapping[str, str] | tuple[tuple[str, str], ...] = ()
    selection: Selection | None = None

    def __post_init__(self):
        if self.method not in METHODS:
            raise ValueError(f"unknown method {self.method!r}; known: {', '.join(METHODS)}")
        # A number of labels that the method never sees must not decide which frames are drawn.
        unused = {"budget", "inaccurate_budget"} & set(UNUSED[self.method])
        for name in unused:
            object.__setattr__(self, name, 0)
        # One test frame has no standard error.
        least = {"budget": 1, "inaccurate_budget": 1, "valid": 1, "test": 2, "seed": 0}
        wrong = []
        for name in least.keys() - unused:
            value = getattr(self, name)
            if not isinstance(value, numbers.Integral) or value < least[name]:
                wrong.append(f"{name} is {value!r}, expected a whole number of {least[name]} or more")
            else:
                object.__setattr__(self, name, int(value))  # NumPy's have no JSON
        if wrong:
            raise ValueError(f"{self.method} run: {'; '.join(sorted(wrong))}")
        object.__setattr__(self, "molecule", os.fspath(self.molecule))
        self._settle_together()
        self._settle_selection()
        for name in {self.molecule, *dict(self.together)}:
            if Path(name).suffix and "{level}" not in name and "inaccurate" not in UNUSED[self.method]:
                raise ValueError(
                    f"{self.method} run: {name} is one file, and the run needs labels of {self.accurate} and "
                    f"{self.inaccurate}; name the files of both as one, such as 'ethanol_{{level}}.npz'"
                )

    def _settle_together(self) -> None:
        """Bring the molecules that are trained together into one order, and refuse what cannot be trained."""
        if "together" in UNUSED[self.method]:
            object.__setattr__(self, "together", ())
            return
        try:
            pairs = [(os.fspath(molecule), level) for molecule, level in dict(self.together).items()]
        except (TypeError, ValueError):
            expected = "the accurate level of each molecule, such as {'methanol': 'ccsd(t)', 'ethanol': 'ccsd(t)'}"
            raise ValueError(f"{self.method} run: together is {self.together!r}; expected {expected}") from None
        object.__setattr__(self, "together", tuple(sorted(pairs, key=lambda pair: _stem(pair[0]))))
        names = [_stem(molecule) for molecule, _ in self.together]
        if len(set(names)) < max(2, len(names)):
            raise ValueError(f"{self.method} run: together are {names}; expected two or more different molecules")
        if self.method == "multi-not-tuned":
            for name, value in zip(("molecule", "accurate"), self.together[0]):
                object.__setattr__(self, name, value)
        if (self.molecule, self.accurate) not in self.together:
            raise ValueError(
                f"{self.method} run: {self.molecule} at {self.accurate} is not among those that are trained together, "
                f"{dict(self.together)}; expected it there, with the same accurate level"
            )

    def _settle_selection(self) -> None:
        """Drop a selection that makes no difference, and refuse what cannot be trained."""
        if self.selection is None:
            return
        if self.method not in ("standard", "asteroid"):
            raise ValueError(f"{self.method} run: it cannot choose frames; expected standard, asteroid or no selection")
        rounds, candidates = self.selection.rounds, self.selection.candidates
        if not max(rounds, default=0) < self.budget <= candidates:
            raise ValueError(
                f"{self.method} run: budget is {self.budget} after rounds of {rounds} of {candidates} candidates; "
                "expected more than in the round before, and no more than there are"
            )
        if self.method == "standard" and self.selection == Selection(candidates):
            object.__setattr__(self, "selection", None)

    @property
    def key(self) -> str:
        """Hash of the settings that matter, the data and `RECIPE_VERSION`: the name of this run for ever."""
        return key_of({**self.settings, "data": _fingerprint(self, self._written), "version": RECIPE_VERSION})

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that matter, as in JSON: two runs that agree in them differ in the data at most."""
        content = asdict(self)
        if self.selection is None:
            content.pop("selection")
        for name in UNUSED[self.method]:
            if name == "inaccurate" and self.selection:
                continue  # its labels may have chosen the frames
            place, _, leaf = name.rpartition(".")
            (content[place] if place else content).pop(leaf)
        content["molecule"] = _stem(self.molecule)
        if self.together:
            content["together"] = [(_stem(molecule), level) for molecule, level in self.together]
        return content

    @property
    def file_name(self) -> str:
        """Name of the record's file, which a person can read too."""
        sizes = f"a{self.budget}-i{self.inaccurate_budget}-s{self.seed}"
        if self.selection:
            sizes += f"-{self.selection.by}"
        model = "" if "recipe.model" in UNUSED[self.method] else f"-{self.recipe.model}"
        name = f"{_stem(self.molecule)}{model}-{self.method}-{sizes}-{self.key}.json"
        return re.sub(r"[^\w.-]+", "-", name)

    @property
    def _written(self) -> tuple[int | None, ...]:
        pairs = ((self.molecule, self.accurate), *self.together)
        return tuple(_written(molecule, level) for molecule, own in pairs for level in (own, self.inaccurate))

    @property
    def builds_on(self) -> "tuple[RunSpec, ...]":
        """The runs whose force fields this one builds on, and other runs too: θ_A, θ_SM, or θ_I of several molecules.

        θ_A is that of standard training on the same accurate labels, with the settings of stage 1. Standard training on
        chosen labels builds on those of the round before, which chose them.
        """
        if self.method == "standard":
            if not (self.selection and self.selection.rounds):
                return ()
            *before, last = self.selection.rounds
            return tuple(
                replace(self, budget=last, selection=replace(self.selection, rounds=before, member=member))
                for member in range(selection.MEMBERS[self.selection.by])
            )
        if self.method == "score-matching":
            return (replace(self, method="score-matching-not-tuned"),)
        if self.method == "asteroid-multi":
            return (replace(self, method="multi-not-tuned"),)
        if self.method not in ("asteroid", "asteroid-not-tuned", "multi-not-tuned"):
            return ()
        recipe = replace(self.recipe, accurate=self.recipe.identification)
        theta_a = replace(self, method="standard", inaccurate_budget=0, recipe=recipe)
        molecules = self.together or ((self.molecule, self.accurate),)
        return tuple(replace(theta_a, molecule=molecule, accurate=level) for molecule, level in molecules)


def split_of(spec: RunSpec) -> datasets.Split:
    """The frames that a run trains, validates and tests on.

    For Δ-ML they are the same as for the others, but the labels are differences of the levels, and the inaccurate ones
    are those that went into the differences of the training frames. For a run that chooses its frames, those for
    training are all candidates.
    """
    if spec.method == "delta":
        pairs = _pairs_of(spec)
        split = datasets.split(pairs.labels, None, spec.budget, spec.seed, valid=spec.valid, test=spec.test)
        _, theirs = split.train.paired_with(pairs.cheap)
        return replace(split, inaccurate=pairs.cheap[theirs])
    accurate = _labels(spec.molecule, spec.accurate)
    inaccurate = _labels(spec.molecule, spec.inaccurate) if spec.inaccurate_budget else None
    chosen = spec.selection is not None
    split = datasets.split(
        accurate,
        inaccurate,
        # A method without accurate labels still has the others' validation and test frames.
        spec.selection.candidates if chosen else max(spec.budget, 1),
        spec.seed,
        inaccurate_budget=None if chosen else spec.inaccurate_budget or None,
        valid=spec.valid,
        test=spec.test,
    )
    if not chosen or inaccurate is None:
        return split
    cheap = selection.candidates_first(split.inaccurate, split.train, spec.inaccurate_budget)
    return replace(split, inaccurate=cheap)


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
    if not path.exists():
        _make(spec, store, progress)
    if spec.method == "sgdml":
        return sgdml.SGDMLForceField.load(path)
    loaded = ForceField.load(path)
    return delta.with_cheap_level(loaded, _labels(spec.molecule, spec.inaccurate)) if spec.method == "delta" else loaded


def table(records: Iterable[Record]) -> "pd.DataFrame":
    """A row per record: settings, errors (kcal/mol/Å, kcal/mol), training seconds, measured cost of the labels (s)."""
    import pandas as pd

    columns = ("molecule", "method", "accurate", "inaccurate", "budget", "inaccurate_budget", "seed")
    return pd.DataFrame(
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


def chosen_frames(spec: RunSpec, store: Store, progress: bool = True) -> np.ndarray:
    """Positions among the candidates, `split_of(spec).train`, of the frames that a run with a selection trains on.

    Force fields that choose them and are not in the store are trained.
    """
    if spec.method == "asteroid":
        (spec,) = spec.builds_on
    if not (spec.selection and spec.selection.rounds):
        return np.arange(spec.budget)
    known = chosen_frames(spec.builds_on[0], store, progress)
    thetas_a = [force_field(one, store, progress) for one in spec.builds_on]
    cheap = _labels(spec.molecule, spec.inaccurate)
    score = selection.scores(spec.selection.by, thetas_a, split_of(spec).train, cheap)
    return selection.extended(known, score, spec.budget)


def _make(spec: RunSpec, store: Store, progress: bool) -> None:
    """Train the force field of a run, and record it if that is missing; not what another process did meanwhile."""
    with store.alone(spec):
        key, path, recorded = spec.key, store.force_field_path(spec), store.get(spec) is not None
        if not (recorded and path.exists()):
            split = _chosen_split(spec, store, progress)
            trained = _train(spec, split, store, progress)
            record = None if recorded else _record(spec, split, trained)
            if spec.key != key:  # a record of the old labels would pass for one of the new
                raise ValueError(f"the labels of {spec.molecule} changed while a run of them was made; make it again")
            trained.save(path)
            if record is not None:
                store.put(record)


def _chosen_split(spec: RunSpec, store: Store, progress: bool) -> datasets.Split:
    split = split_of(spec)
    return replace(split, train=split.train[chosen_frames(spec, store, progress)]) if spec.selection else split


def _train(spec: RunSpec, split: datasets.Split, store: Store, progress: bool) -> ForceField | sgdml.SGDMLForceField:
    """The force field of a run; of Δ-ML, that of the difference, whose error is the error of the sum."""
    if spec.method == "sgdml":
        return sgdml.train(split.train, split.valid)
    first = [force_field(one, store, progress) for one in spec.builds_on]
    # A member of an ensemble has the split of the others.
    seed = spec.seed + 1000 * (spec.selection.member if spec.selection else 0)
    keep = {"seed": seed, "folder": store.work(spec), "progress": progress}
    if spec.method in fidelity.WAYS:
        return fidelity.train(split, spec.method, spec.recipe, **keep)
    if spec.method == "ani":
        return ani.transfer(split, _other_splits(spec), spec.recipe, **keep)
    if spec.method == "ani-1ccx":
        return ani.zero_shot(split.valid)
    if spec.method == "ani-1ccx-tuned":
        return stages.fine_tune(ani.zero_shot(split.valid), split.train, split.valid, spec.recipe, **keep)
    if spec.method in ("standard", "delta"):
        return stages.standard(split.train, split.valid, spec.recipe, **keep)
    if spec.method == "inaccurate":
        return stages.train_on_inaccurate(split.inaccurate, split.valid, None, float("inf"), spec.recipe, **keep)
    if spec.method == "score-matching-not-tuned":
        return stages.match_scores(split.inaccurate, split.valid, spec.recipe, **keep)
    if spec.method == "score-matching":
        recipe = replace(spec.recipe, fine_tuning=spec.recipe.score_fine_tuning)
        return stages.fine_tune(first[0], split.train, split.valid, recipe, **keep)
    if spec.method == "multi-not-tuned":
        return several.pretrain([split, *_other_splits(spec)], first, spec.recipe, **keep)
    if spec.method == "asteroid-multi":
        return stages.fine_tune(first[0], split.train, split.valid, spec.recipe, **keep)
    return stages.asteroid(
        split,
        spec.recipe,
        weighted=spec.method != "asteroid-unweighted",
        tuned=spec.method != "asteroid-not-tuned",
        theta_a=first[0] if first else None,
        **keep,
    )


def _record(spec: RunSpec, split: datasets.Split, trained: ForceField | sgdml.SGDMLForceField) -> Record:
    provenance = trained.provenance
    stage, histories = provenance, {}
    while stage:
        histories = {stage["stage"]: stage["history"], **histories}
        stage = stage["started_from"]
    quantiles = None
    if trained.bias is not None:
        levels = torch.tensor([0, 0.05, 0.25, 0.5, 0.75, 0.95, 1], dtype=trained.bias.dtype)
        quantiles = torch.quantile(trained.bias, levels).tolist()
    return Record(
        spec=spec,
        key=spec.key,
        errors=stages.test_errors(trained, split.test) | _other_errors(spec, split, trained),
        valid_force_mae=provenance["valid_force_mae"],
        gamma=provenance.get("gamma") if trained.bias is not None else None,
        bias_quantiles=quantiles,
        histories=histories,
        label_seconds=_label_seconds(spec, split),
        seconds=stages.total_seconds([trained]),
        threads=torch.get_num_threads(),
        date=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        versions={**provenance["versions"], "platform": platform.machine()},
    )


def _other_errors(spec: RunSpec, split: datasets.Split, trained: ForceField) -> dict[str, float]:
    """What `Record.errors` has besides those of `stages.test_errors`.

    Force errors of a model without labels against every level that has the test frames, kcal/mol/Å; where the level
    that drove the simulation lacks some, against as many others of its own that were not learned from. The distance of
    Δ-ML's pairs, Å.
    """
    if spec.method == "delta":
        return {"pair_distance": float(_pairs_of(spec).distance.mean())}
    if spec.method != "score-matching-not-tuned":
        return {}
    embedded = spec.molecule in datasets.molecules()
    force, errors = force_on(trained, split.test), {}
    for level in datasets.levels(spec.molecule) if embedded else (spec.accurate, spec.inaccurate):
        labelled = _labels(spec.molecule, level)
        mine, theirs = split.test.paired_with(labelled)
        if len(mine) == len(split.test):
            errors[f"force_mae_{level}"] = float(losses.force_mae(force[mine], labelled.force[theirs]))
        elif level == spec.inaccurate:
            learned = split.inaccurate.paired_with(labelled)[1].numpy()
            others = np.setdiff1d(np.arange(len(labelled)), learned)
            if len(others):
                spread = np.linspace(0, len(others) - 1, min(len(others), len(split.test))).astype(int)
                frames = labelled[others[spread]]
                errors[f"force_mae_{level}"] = float(losses.force_mae(force_on(trained, frames), frames.force))
    return errors


def _label_seconds(spec: RunSpec, split: datasets.Split) -> dict[str, float | None]:
    splits = [split, *_other_splits(spec)]
    return {
        "accurate": label_cost([part.train for part in splits] if spec.budget else []),
        "inaccurate": label_cost([part.inaccurate for part in splits if part.inaccurate is not None]),
    }


def label_cost(sets: Iterable[datasets.LabelledSet]) -> float | None:
    """Seconds of all labels, each at the price of its set; None where one is unknown."""
    prices = [(len(labelled), labelled.median_seconds) for labelled in sets]
    return None if any(price is None for _, price in prices) else float(sum(number * price for number, price in prices))


def _other_splits(spec: RunSpec) -> list[datasets.Split]:
    """Those of the other molecules, for the methods that use them."""
    return [
        # The pre-training itself would be that of the first molecule, whichever is asked for.
        split_of(replace(spec, method="asteroid-multi", molecule=molecule, accurate=level))
        for molecule, level in spec.together
        if molecule != spec.molecule
    ]


def _stem(molecule: str) -> str:
    """The name of a molecule, or of its file: the same labels in another folder make the same run."""
    return Path(molecule).stem.removesuffix("_{level}")


def _labels(molecule: str, level: str) -> datasets.LabelledSet:
    return _read(molecule.replace("{level}", level), level, _written(molecule, level))


@cache
def _read(molecule: str, level: str, written: int | None) -> datasets.LabelledSet:
    return datasets.load(molecule, level=level)


def _written(molecule: str, level: str) -> int | None:
    """When the file of a molecule was written, which a notebook may do anew; None of an embedded one."""
    path = Path(molecule.replace("{level}", level))
    return path.stat().st_mtime_ns if path.is_file() else None


def _pairs_of(spec: RunSpec) -> delta.Pairs:
    return _pairs(_labels(spec.molecule, spec.accurate), _labels(spec.molecule, spec.inaccurate))


@cache
def _pairs(accurate: datasets.LabelledSet, cheap: datasets.LabelledSet) -> delta.Pairs:
    return delta.pair(accurate, cheap)


@cache
def _fingerprint(spec: RunSpec, written: tuple[int | None, ...]) -> str:
    split = split_of(spec)
    parts = [split.train, split.valid, split.test] + ([split.inaccurate] if split.inaccurate is not None else [])
    if spec.method == "standard" and spec.selection and spec.selection.by == "bias":  # of which the cheap labels tell
        cheap = _labels(spec.molecule, spec.inaccurate)
        parts.append(cheap[split.train.paired_with(cheap)[1]])
    parts += [part for other in _other_splits(spec) for part in (other.train, other.valid, other.inaccurate)]
    return "-".join(part.fingerprint for part in parts)
