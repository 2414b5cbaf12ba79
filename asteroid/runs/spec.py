"""What a run is: a specification, the key that names it for ever, and the labels that it is about."""

import numbers
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from asteroid import datasets
from asteroid.baselines import delta
from asteroid.files import key_of, short
from asteroid.runs import selection
from asteroid.runs.methods import METHODS, UNUSED
from asteroid.runs.selection import Selection
from asteroid.stages import STAGES, Recipe, check_gammas
from asteroid.training import TrainConfig

# Counts up when a change of the code makes recorded results obsolete that no setting tells apart.
RECIPE_VERSION = 1

WITHOUT_VALIDATION = ("standard", "delta", "inaccurate", "asteroid", "asteroid-unweighted", "asteroid-not-tuned")
"""Methods that can do without validation frames: they keep their last weights."""


@dataclass(frozen=True)
class RunSpec:
    """Everything that decides the outcome of one run.

    Attributes:
        molecule: as in `datasets.load`; files of several levels have one name, such as "ethanol_{level}.npz".
        method: one of `METHODS`.
        budget: accurate labels to train on.
        inaccurate_budget: inaccurate labels to train on.
        accurate, inaccurate: levels of theory.
        valid, test: accurate frames held out. Without any for validation the last weights are kept.
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
        valid = 0 if self.method in WITHOUT_VALIDATION else 1
        # One test frame has no standard error.
        least = {"budget": 1, "inaccurate_budget": 1, "valid": valid, "test": 2, "seed": 0}
        wrong = []
        for name in least.keys() - unused:
            value = getattr(self, name)
            if not isinstance(value, numbers.Integral) or value < least[name]:
                wrong.append(f"{name} is {value!r}, expected a whole number of {least[name]} or more")
            else:
                object.__setattr__(self, name, int(value))  # NumPy's have no JSON
        if wrong:
            raise ValueError(f"{self.method} run: {'; '.join(sorted(wrong))}")
        if not self.valid and "recipe.gammas" not in UNUSED[self.method]:
            check_gammas(self.recipe)
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
        object.__setattr__(self, "together", tuple(sorted(pairs, key=lambda pair: molecule_name(pair[0]))))
        names = [molecule_name(molecule) for molecule, _ in self.together]
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
        if self.method not in ("standard", "asteroid", "asteroid-not-tuned"):
            raise ValueError(f"{self.method} run: it cannot choose frames; expected standard, asteroid or no selection")
        rounds, candidates = self.selection.rounds, self.selection.candidates
        if not max(rounds, default=0) < self.budget <= candidates:
            raise ValueError(
                f"{self.method} run: budget is {self.budget} after rounds of {rounds} of {candidates} candidates; "
                "expected more than in the round before, and no more than there are"
            )
        if self.method == "standard" and self.selection == Selection(candidates):
            object.__setattr__(self, "selection", None)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "RunSpec":
        """The specification that `dataclasses.asdict` made, or that a record holds.

        Raises:
            TypeError, ValueError: if it is none.
        """
        recipe = {
            name: TrainConfig(**value) if name in STAGES else value for name, value in dict(content["recipe"]).items()
        }
        chosen = content["selection"] and Selection(**content["selection"])
        return cls(**{**content, "recipe": Recipe(**recipe), "selection": chosen})

    @property
    def key(self) -> str:
        """Hash of the settings that matter and of `RECIPE_VERSION`: the name of this run for ever."""
        return key_of({**self.settings, "version": RECIPE_VERSION})

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
        content["molecule"] = molecule_name(self.molecule)
        if self.together:
            content["together"] = [(molecule_name(molecule), level) for molecule, level in self.together]
        return content

    @property
    def file_name(self) -> str:
        """Name of the record's file, which a person can read too."""
        sizes = f"a{self.budget}-i{self.inaccurate_budget}-s{self.seed}"
        if self.selection:
            sizes += f"-{self.selection.by}"
        model = "" if "recipe.model" in UNUSED[self.method] else f"-{self.recipe.model}"
        name = f"{short(molecule_name(self.molecule))}{model}-{self.method}-{sizes}-{self.key}.json"
        return re.sub(r"[^\w.-]+", "-", name)

    @property
    def builds_on(self) -> "tuple[RunSpec, ...]":
        """The runs whose force fields this one builds on, and other runs too: θ_A, θ_I or θ_SM.

        Standard training on chosen labels builds on those of the round before, which chose them.
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
        if self.method == "asteroid":  # of several γ, each has its θ_I
            return tuple(
                replace(self, method="asteroid-not-tuned", recipe=replace(self.recipe, gammas=(gamma,)))
                for gamma in self.recipe.gammas
            )
        if self.method == "asteroid-unweighted":
            return (replace(self, method="inaccurate"),)
        if self.method == "asteroid-multi":
            return (replace(self, method="multi-not-tuned"),)
        if self.method not in ("asteroid-not-tuned", "multi-not-tuned"):
            return ()
        molecules = self.together or ((self.molecule, self.accurate),)
        return tuple(replace(self.stage_one, molecule=molecule, accurate=level) for molecule, level in molecules)

    @property
    def stage_one(self) -> "RunSpec":
        """The run whose force field is θ_A for this one: standard training with the settings of stage 1."""
        recipe = replace(self.recipe, accurate=self.recipe.identification)
        return replace(self, method="standard", inaccurate_budget=0, recipe=recipe)


def split_of(spec: RunSpec) -> datasets.Split:
    """The frames that a run trains, validates and tests on.

    For Δ-ML they are the same as for the others, but the labels are differences of the levels, and the inaccurate ones
    are those that went into the differences of the training frames. For a run that chooses its frames, those for
    training are all candidates.
    """
    if spec.method == "delta":
        pairs = pairs_of(spec)
        split = datasets.split(pairs.labels, None, spec.budget, spec.seed, valid=spec.valid, test=spec.test)
        _, theirs = split.train.paired_with(pairs.cheap)
        return replace(split, inaccurate=pairs.cheap[theirs])
    accurate = labels(spec.molecule, spec.accurate)
    inaccurate = labels(spec.molecule, spec.inaccurate) if spec.inaccurate_budget else None
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


def sets_of(spec: RunSpec) -> set[tuple[str, str]]:
    """Molecule and level of the labels that a run is about."""
    sets = {(spec.molecule, spec.accurate), *spec.together}
    chosen_by_bias = spec.selection is not None and spec.selection.by == "bias"
    if "inaccurate" not in UNUSED[spec.method] or chosen_by_bias:
        sets |= {(molecule, spec.inaccurate) for molecule, _ in sets}
    return sets


def fingerprints(spec: RunSpec) -> dict[str, str] | None:
    """What names the labels that a run is about, by level and molecule; None where some are not on this machine."""
    return fingerprints_of(sets_of(spec))


def fingerprints_of(sets: Iterable[tuple[str, str]]) -> dict[str, str] | None:
    """The same of sets that are named by molecule and level."""
    sets = sorted(sets)
    if not all(datasets.is_here(molecule.replace("{level}", level), level) for molecule, level in sets):
        return None
    return {f"{level} of {molecule_name(molecule)}": labels(molecule, level).fingerprint for molecule, level in sets}


def other_splits(spec: RunSpec) -> list[datasets.Split]:
    """Those of the other molecules, for the methods that use them."""
    return [
        # The pre-training itself would be that of the first molecule, whichever is asked for.
        split_of(replace(spec, method="asteroid-multi", molecule=molecule, accurate=level))
        for molecule, level in spec.together
        if molecule != spec.molecule
    ]


def molecule_name(molecule: str) -> str:
    """The name of a molecule, or of its file: the same labels in another folder make the same run."""
    return Path(molecule).stem.removesuffix("_{level}")


def labels(molecule: str, level: str) -> datasets.LabelledSet:
    """A set that runs name, read once, or anew if its file was written anew."""
    return _read(molecule.replace("{level}", level), level, _written(molecule, level))


@cache
def _read(molecule: str, level: str, written: int | None) -> datasets.LabelledSet:
    return datasets.load(molecule, level=level)


def _written(molecule: str, level: str) -> int | None:
    """When the file of a molecule was written, which a notebook may do anew; None of an embedded one."""
    path = Path(molecule.replace("{level}", level))
    return path.stat().st_mtime_ns if path.is_file() else None


def pairs_of(spec: RunSpec) -> delta.Pairs:
    return _pairs(labels(spec.molecule, spec.accurate), labels(spec.molecule, spec.inaccurate))


@cache
def _pairs(accurate: datasets.LabelledSet, cheap: datasets.LabelledSet) -> delta.Pairs:
    return delta.pair(accurate, cheap)
