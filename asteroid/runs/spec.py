"""What a run is: a specification, the key that names it for ever, and the labels that it is about."""

import os
import re
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, NonNegativeInt

from asteroid import datasets
from asteroid.files import key_of, short
from asteroid.runs import methods, selection
from asteroid.runs.labels import labels, molecule_name
from asteroid.runs.methods import METHODS, Method
from asteroid.runs.selection import Selection
from asteroid.stages import Recipe, check_gammas, sorted_pairs
from asteroid.validation import validated

# Counts up when a change of the code makes recorded results obsolete that no setting tells apart.
RECIPE_VERSION = 1

PathName = Annotated[str, BeforeValidator(lambda path: os.fspath(path) if isinstance(path, os.PathLike) else path)]


def _sorted_pairs(together: Any) -> list[tuple[str, str]]:
    try:
        return sorted(dict(together).items(), key=lambda pair: molecule_name(os.fspath(pair[0])))
    except (TypeError, ValueError):
        raise ValueError(
            f"{together!r} given; expected the accurate level of each molecule, such as "
            "{'methanol': 'ccsd(t)', 'ethanol': 'ccsd(t)'}"
        ) from None


def _known(method: str) -> str:
    methods.named(method)
    return method


@validated
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
        program: settings of the program of a method that runs one, see `programs.Settings`, where they differ (kept as
            sorted pairs, without those that the method does not look at).
        selection: how the accurate frames were chosen, in standard training and ASTEROID, which then gets the cheap
            labels of all candidates first; None takes the first of the split.

    Raises:
        ValueError: for an unknown method, or numbers or molecules that no run can have.
    """

    molecule: PathName
    method: Annotated[str, AfterValidator(_known)]
    budget: NonNegativeInt
    inaccurate_budget: NonNegativeInt = 0
    accurate: str = "ccsd(t)"
    inaccurate: str = "pbe"
    valid: NonNegativeInt = 50
    test: Annotated[int, Field(ge=2)] = 100  # one frame has no standard error
    seed: NonNegativeInt = 0
    recipe: Recipe = Recipe()
    together: Annotated[tuple[tuple[PathName, str], ...], BeforeValidator(_sorted_pairs)] = ()
    selection: Selection | None = None
    program: Annotated[tuple[tuple[str, Any], ...], BeforeValidator(sorted_pairs)] = ()

    def __post_init__(self):
        about = self.about
        object.__setattr__(self, "program", tuple(sorted_pairs(about.settings(dict(self.program)))))
        # What the method never sees must not decide which frames are drawn, nor tell equal runs apart.
        for name, nothing in {"budget": 0, "inaccurate_budget": 0, "together": ()}.items():
            if name in about.unused:
                object.__setattr__(self, name, nothing)
        needed = {"budget": True, "inaccurate_budget": True, "valid": about.needs_validation}
        wrong = [
            f"{name} is 0, expected a whole number of 1 or more"
            for name, wanted in needed.items()
            if wanted and name not in about.unused and getattr(self, name) == 0
        ]
        if wrong:
            raise ValueError(f"{self.method} run: {'; '.join(wrong)}")
        if not self.valid and "recipe.gammas" not in about.unused:
            check_gammas(self.recipe)
        if "together" not in about.unused:
            self._settle_together()
        if self.selection is not None:
            self._settle_selection()
        for name in {self.molecule, *dict(self.together)}:
            if Path(name).suffix and "{level}" not in name and "inaccurate" not in about.unused:
                raise ValueError(
                    f"{self.method} run: {name} is one file, and the run needs labels of {self.accurate} and "
                    f"{self.inaccurate}; name the files of both as one, such as 'ethanol_{{level}}.npz'"
                )

    def _settle_together(self) -> None:
        """Bring the molecules that are trained together into one order, and refuse what cannot be trained."""
        names = [molecule_name(molecule) for molecule, _ in self.together]
        if len(set(names)) < max(2, len(names)):
            raise ValueError(f"{self.method} run: together are {names}; expected two or more different molecules")
        if self.about.serves_all:
            for name, value in zip(("molecule", "accurate"), self.together[0]):
                object.__setattr__(self, name, value)
        if (self.molecule, self.accurate) not in self.together:
            raise ValueError(
                f"{self.method} run: {self.molecule} at {self.accurate} is not among those that are trained together, "
                f"{dict(self.together)}; expected it there, with the same accurate level"
            )

    def _settle_selection(self) -> None:
        """Drop a selection that makes no difference, and refuse what cannot be trained."""
        if not self.about.selects:
            able = ", ".join(name for name, method in METHODS.items() if method.selects)
            raise ValueError(f"{self.method} run: it cannot choose frames; expected no selection, or one of {able}")
        rounds, candidates = self.selection.rounds, self.selection.candidates
        if not max(rounds, default=0) < self.budget <= candidates:
            raise ValueError(
                f"{self.method} run: budget is {self.budget} after rounds of {rounds} of {candidates} candidates; "
                "expected more than in the round before, and no more than there are"
            )
        if self.method == "standard" and self.selection == Selection(candidates):
            object.__setattr__(self, "selection", None)

    @property
    def about(self) -> Method:
        """What its method is."""
        return METHODS[self.method]

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
        # The file of a model is known by its name, wherever it lies.
        content["program"] = [
            (name, Path(value).name if name == "foundation_model" else value) for name, value in self.program
        ]
        if not self.program:
            content.pop("program")
        for name in self.about.unused:
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
        model = "" if "recipe.model" in self.about.unused else f"-{self.recipe.model}"
        name = f"{short(molecule_name(self.molecule))}{model}-{self.method}-{sizes}-{self.key}.json"
        return re.sub(r"[^\w.-]+", "-", name)

    @property
    def builds_on(self) -> "tuple[RunSpec, ...]":
        """The runs whose force fields this one builds on, and other runs too: θ_A, θ_I or θ_SM."""
        return tuple(self.about.builds_on(self))

    @property
    def trained_together(self) -> tuple[tuple[str, str], ...]:
        """Molecule and accurate level of all that it is about."""
        return self.together or ((self.molecule, self.accurate),)


def split_of(spec: RunSpec) -> datasets.Split:
    """The frames that a run trains, validates and tests on.

    For Δ-ML they are the same as for the others, but the labels are differences of the levels, and the inaccurate ones
    are those that went into the differences of the training frames. For a run that chooses its frames, those for
    training are all candidates.
    """
    if spec.about.split is not None:
        return spec.about.split(spec)
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
    if "inaccurate" not in spec.about.unused or chosen_by_bias:
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
