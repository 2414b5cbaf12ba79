"""What the notebook `explore` shows: recorded runs by molecule, model, budget and cost ratio, and forces on a molecule."""

import base64
import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import Tensor

from asteroid import comparison, datasets, losses, plots, runs, sweeps, viewer
from asteroid.datasets import LabelledSet
from asteroid.methods import MODEL_NAMES
from asteroid.profiles import Profile
from asteroid.runs import RunSpec, Store

if TYPE_CHECKING:
    from IPython.display import HTML
    from matplotlib.figure import Figure

METHODS = {"standard": "standard training", "asteroid": "ASTEROID"}


@dataclass(frozen=True)
class Choice:
    """What is looked at.

    Attributes:
        molecule: as in `datasets.load`.
        model: architecture.
        budget: accurate labels that the labels of a training cost.
        ratio: cheap labels that ASTEROID gets for one accurate label; None where it has no run.
    """

    molecule: str
    model: str
    budget: int
    ratio: float | None


class Shelf:
    """The runs of standard training and ASTEROID that are recorded, and what can be seen of them.

    Args:
        profile: says what runs there may be, of its molecules and of others.
        store: where records and force fields are kept.
    """

    def __init__(self, profile: Profile, store: Store):
        self.profile, self.store = profile, store
        self.read()

    def read(self) -> None:
        """Look again what is recorded."""
        notes = [json.loads(path.read_text(encoding="utf-8"))["spec"] for path in self.store.folder.glob("*.json")]
        pairs = {(note["molecule"], note["recipe"]["model"]) for note in notes if note["method"] in METHODS}
        order = [*self.profile.molecules, *datasets.molecules()]
        self.records = [
            record
            for molecule in dict.fromkeys(order)
            for model in self.profile.recipes
            if (molecule, model) in pairs
            for spec in self.planned(molecule, model)
            if (record := self.store.get(spec)) is not None
        ]

    def planned(self, molecule: str, model: str) -> list[RunSpec]:
        """The runs of the profile of a molecule and a model, recorded or not."""
        return [spec for method in METHODS for spec in self.profile.specs(method, model, (molecule,))]

    def missing(self, choice: Choice) -> list[RunSpec]:
        """Those runs of a molecule and a model that are not recorded, and of this choice also those without a file."""
        chosen = self._chosen_specs(choice).values()
        lost = [spec for spec in chosen if not self.store.force_field_path(spec).exists()]
        absent = [spec for spec in self.planned(choice.molecule, choice.model) if self.store.get(spec) is None]
        return list(dict.fromkeys([*absent, *lost]))

    def train(self, choice: Choice) -> None:
        """Make what is missing: all runs of the molecule and the model, and the two force fields of the choice."""
        sweeps.sweep(self.planned(choice.molecule, choice.model), self.store)
        for spec in self._chosen_specs(choice).values():
            runs.force_field(spec, self.store)
        self.read()

    def offered(self, name: str, **known: Any) -> list[Any]:
        """Recorded values of a field of `Choice`, where other fields have certain values; the best to begin with first."""
        return self._values(name, [record.spec for record in self.records], known)

    def choose(self, planned: bool = False, **wanted: Any) -> Choice:
        """The choice with some fields as wanted, and the others as they are offered first.

        Args:
            planned: choose among all runs that the profile has of the molecule and the model, as if they were recorded.
                So it is too where no run is recorded.
            wanted: fields of `Choice`; None is no wish.

        Raises:
            ValueError: if there is no such run; the message lists what there is.
        """
        specs = [record.spec for record in self.records]
        if planned or not specs:
            molecule = wanted.get("molecule") or self.profile.molecules[0]
            specs = self.planned(molecule, wanted.get("model") or next(iter(self.profile.recipes)))
        chosen: dict[str, Any] = {}
        for name in ("molecule", "model", "budget", "ratio"):
            values, wish = self._values(name, specs, chosen), wanted.get(name)
            if wish is not None and wish not in values:
                among = "" if planned else " To make the runs of another: train_missing = True."
                raise ValueError(f"{name} is {wish!r}; there are runs with {', '.join(map(str, values))}.{among}")
            chosen[name] = wish if wish is not None else next(iter(values), None)
        return Choice(**chosen)

    def errors(self, choice: Choice) -> "Figure":
        """Test error against budget: standard training, and ASTEROID at the ratio."""
        rows = comparison.table(self.profile, self._records_of(choice))
        labels = rows["inaccurate_budget"].astype(str) + " " + rows["inaccurate"].str.upper()
        rows["series"] = ("ASTEROID, " + labels).where(rows["method"] == "asteroid", "standard")
        return plots.budgets(rows)

    def courses(self, choice: Choice) -> "Figure":
        """Validation error in the course of the trainings of the choice, with the first seed."""
        courses = {}
        for method, spec in self._chosen_specs(choice).items():
            for stage, history in self.store.get(spec).histories.items():
                told = "fine-tuning" if stage.endswith("tuned") else f"{spec.inaccurate.upper()} labels"
                courses[method if method == METHODS["standard"] else f"{method}, {told}"] = history
        return plots.learning_curves(courses)

    def said(self, choice: Choice) -> str:
        """The errors at the chosen budget in a sentence, as Markdown."""
        name, model = choice.molecule.replace("_", " "), MODEL_NAMES[choice.model]
        records = [record for record in self._records_of(choice) if self._place(record.spec).budget == choice.budget]
        if not records:
            return f"No run of {model} on {name} is recorded. `train_missing = True` makes the profile's."
        rows = comparison.table(self.profile, records)
        means = {METHODS[method]: part["force_mae"] for method, part in rows.groupby("method", sort=False)}
        said = ", ".join(f"{method} {comparison.mean_and_spread(errors)}" for method, errors in means.items())
        ratio = "" if choice.ratio is None else f", {choice.ratio:g} cheap labels for an accurate one"
        return (
            f"**{name.capitalize()}, {model}, at the cost of {choice.budget} accurate labels{ratio}.** "
            f"Test force error: {said} kcal/mol/Å, mean and standard deviation over {rows['seed'].nunique()} seeds."
        )

    def frames(self, choice: Choice) -> LabelledSet:
        """The test frames of the first seed with their accurate labels."""
        return runs.split_of(self._first(choice)).test

    def sources(self, choice: Choice) -> list[str]:
        """Whose forces can be drawn: cheap levels that have labels of all test frames, and force fields that are there.

        A clone has records, not force fields.
        """
        return [*self._labels(choice), *self._force_fields(choice)]

    def force(self, choice: Choice, source: str) -> Tensor:
        """Forces on the test frames, (frames, atoms, 3), kcal/mol/Å.

        Raises:
            ValueError: if it is none of `sources`.
        """
        labels, fields = self._labels(choice), self._force_fields(choice)
        if source in labels:
            return labels[source]
        if source in fields:
            return runs.force_field(fields[source], self.store).energy_and_force(self.frames(choice).pos)[1].double()
        raise ValueError(f"the force of {source!r} is not there; there are {', '.join([*labels, *fields])}")

    def forces(self, choice: Choice, source: str, frame: int) -> tuple[Tensor, Tensor, dict[str, Tensor], str]:
        """One test frame with its accurate force and another, to be drawn, and how far off that is.

        Args:
            choice: whose test frames.
            source: one of `sources`.
            frame: number among the test frames.

        Returns:
            Atomic numbers (atoms,), positions (atoms, 3) in Å, forces by name, (atoms, 3) in kcal/mol/Å, and a sentence.

        Raises:
            ValueError: for a frame that is not there, or an unknown source.
        """
        test, force = self.frames(choice), self.force(choice, source)
        if not 0 <= frame < len(test):
            raise ValueError(f"frame is {frame}; the test frames are 0 to {len(test) - 1}")
        here, everywhere = (
            float(losses.force_mae(force[which], test.force[which])) for which in ([frame], slice(None))
        )
        said = (
            f"The force of {source} on test frame {frame} is off by **{here:.2f} kcal/mol/Å** in the mean over atoms and "
            f"components; over all {len(test)} test frames by {everywhere:.2f}."
        )
        return test.z, test.pos[frame], {test.level.upper(): test.force[frame], source: force[frame]}, said

    def _place(self, spec: RunSpec) -> Choice:
        traded = self.profile.given_up if spec.method == "asteroid" else 0
        ratio = spec.inaccurate_budget / traded if traded else None
        return Choice(spec.molecule, spec.recipe.model, spec.budget + traded, ratio)

    def _values(self, name: str, specs: list[RunSpec], known: Mapping[str, Any]) -> list[Any]:
        places = [asdict(self._place(spec)) for spec in specs]
        fits = [place for place in places if all(place[key] == value for key, value in known.items())]
        values = dict.fromkeys(place[name] for place in fits if place[name] is not None)
        return sorted(values, reverse=name == "ratio") if name in ("budget", "ratio") else list(values)

    def _records_of(self, choice: Choice) -> list[runs.Record]:
        """Of a molecule and a model: all budgets, standard training and ASTEROID at the ratio."""
        wanted = (choice.molecule, choice.model)
        places = [(record, self._place(record.spec)) for record in self.records]
        return [
            record
            for record, place in places
            if (place.molecule, place.model) == wanted and place.ratio in (None, choice.ratio)
        ]

    def _chosen_specs(self, choice: Choice) -> dict[str, RunSpec]:
        """The recorded runs of the choice with the first seed, by name of the method."""
        records = [record for record in self._records_of(choice) if self._place(record.spec).budget == choice.budget]
        return {METHODS[record.spec.method]: record.spec for record in reversed(records)}

    def _first(self, choice: Choice) -> RunSpec:
        specs = self.planned(choice.molecule, choice.model)
        return next(spec for spec in specs if self._place(spec).budget == choice.budget)

    def _labels(self, choice: Choice) -> dict[str, Tensor]:
        test = self.frames(choice)
        known = datasets.levels(choice.molecule) if choice.molecule in datasets.molecules() else []
        found = {}
        for level in sorted(known, key=lambda level: level != self.profile.inaccurate):
            labelled = datasets.load(choice.molecule, level)
            mine, theirs = test.paired_with(labelled)
            if level != test.level and len(mine) == len(test):
                found[level.upper()] = labelled.force[theirs]
        return found

    def _force_fields(self, choice: Choice) -> dict[str, RunSpec]:
        specs = self._chosen_specs(choice)
        return {name: spec for name, spec in specs.items() if self.store.force_field_path(spec).exists()}
