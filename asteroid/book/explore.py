"""What the notebook `explore` shows: recorded runs by molecule, model, budget and cost ratio; forces on a molecule."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from asteroid import datasets, plots, runs
from asteroid.book import comparison
from asteroid.datasets import LabelledSet
from asteroid.force_field import force_on
from asteroid.plots import viewer
from asteroid.profiles import Profile
from asteroid.runs import Record, RunSpec, Store, sweeps
from asteroid.runs.methods import MODEL_NAMES
from asteroid.training import losses

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

METHODS = {"standard": "standard training", "asteroid": "ASTEROID"}


@dataclass(frozen=True)
class Choice:
    """What is looked at.

    Attributes:
        molecule: as in `datasets.load`.
        model: architecture.
        budget: accurate labels for whose cost there is training.
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
        """Look anew what is recorded."""
        self._forces: dict[tuple[Choice, str], Tensor] = {}
        molecules = dict.fromkeys([*self.profile.molecules, *datasets.molecules()])
        pairs = [(molecule, model) for molecule in molecules for model in self.profile.recipes]
        specs = [spec for pair in pairs if self._has_records(*pair) for spec in self.planned(*pair)]
        self.records = [record for spec in specs if (record := self.store.get(spec)) is not None]

    def planned(self, molecule: str, model: str) -> list[RunSpec]:
        """The profile's runs of a molecule and a model, recorded or not."""
        return [spec for method in METHODS for spec in self.profile.specs(method, model, (molecule,))]

    def missing(self, choice: Choice) -> list[RunSpec]:
        """Runs of the molecule and the model without a record, and those of the choice without a force field."""
        absent = [spec for spec in self.planned(choice.molecule, choice.model) if self.store.get(spec) is None]
        chosen = self._first_seed(choice).values()
        lost = [spec for spec in chosen if not self.store.force_field_path(spec).exists()]
        return list(dict.fromkeys([*absent, *lost]))

    def train(self, choice: Choice) -> None:
        """Make what is missing: all runs of the molecule and the model, and the force fields of the choice."""
        sweeps.sweep(self.planned(choice.molecule, choice.model), self.store)
        self.read()
        for spec in self._first_seed(choice).values():
            runs.force_field(spec, self.store)

    def offered(self, name: str, **known: Any) -> list[Any]:
        """Recorded values of a field of `Choice` where other fields have known values, the one to begin with first."""
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
        for name in Choice.__dataclass_fields__:
            values, wish = self._values(name, specs, chosen), wanted.get(name)
            if wish is not None and wish not in values:
                advice = "" if planned else "; train_missing = True makes other runs of the profile"
                raise ValueError(f"{name} is {wish!r}; there are runs with {', '.join(map(str, values))}{advice}")
            chosen[name] = next(iter(values), None) if wish is None else wish
        return Choice(**chosen)

    def has(self, choice: Choice) -> bool:
        """Whether a run of the choice is recorded."""
        return bool(self._first_seed(choice))

    def records_of(self, choice: Choice) -> list[Record]:
        """Records of the molecule and the model at all budgets: standard training, and ASTEROID at the ratio."""
        alike = {(choice.molecule, choice.model, ratio) for ratio in (None, choice.ratio)}
        places = [self._place(record.spec) for record in self.records]
        return [
            record for record, place in zip(self.records, places) if (place.molecule, place.model, place.ratio) in alike
        ]

    def said(self, choice: Choice) -> str:
        """The errors of the choice in a sentence, as Markdown."""
        name, model = choice.molecule.replace("_", " "), MODEL_NAMES[choice.model]
        if not self.has(choice):
            return f"No run of {model} on {name} is recorded. `train_missing = True` makes the profile's."
        rows = comparison.table(self.profile, self.records_of(choice))
        rows = rows[rows["total_budget"] == choice.budget]
        errors = {METHODS[method]: part["force_mae"] for method, part in rows.groupby("method", sort=False)}
        found = [f"{method} {comparison.mean_and_spread(values)} ({len(values)})" for method, values in errors.items()]
        ratio = "" if choice.ratio is None else f", {choice.ratio:g} cheap labels for each accurate one"
        return (
            f"**{name.capitalize()}, {model}, at the cost of {choice.budget} accurate labels{ratio}.** Test force "
            f"error in kcal/mol/Å, mean ± standard deviation (number of seeds): {', '.join(found)}."
        )

    def errors(self, choice: Choice) -> "Figure":
        """Test error against budget: standard training, and ASTEROID at the ratio; a grey bar at the chosen budget."""
        rows = comparison.table(self.profile, self.records_of(choice))
        labels = rows["inaccurate_budget"].astype(str) + " " + rows["inaccurate"].str.upper()
        rows["series"] = ("ASTEROID, " + labels).where(rows["method"] == "asteroid", "standard")
        figure = plots.budgets(rows)
        figure.axes[0].axvline(choice.budget, color="0.85", lw=6, zorder=0)
        return figure

    def courses(self, choice: Choice) -> "Figure":
        """Validation error in the course of the trainings of the choice, with the first seed."""
        courses = {}
        for name, spec in self._first_seed(choice).items():
            for stage, history in self.store.get(spec).histories.items():
                part = "" if stage.endswith("tuned") else f", stage 2: {spec.inaccurate.upper()} labels"
                courses[name if spec.method == "standard" else f"{name}{part}"] = history
        return plots.learning_curves(courses)

    def frames(self, choice: Choice) -> LabelledSet:
        """The test frames of the first seed with their accurate labels."""
        specs = self.planned(choice.molecule, choice.model)
        return runs.split_of(next(spec for spec in specs if self._place(spec).budget == choice.budget)).test

    def sources(self, choice: Choice) -> list[str]:
        """Whose forces can be drawn: cheap levels with labels of all test frames, and force fields that are there.

        A clone has records, but no force fields.
        """
        return [*self._labels(choice), *self._force_fields(choice)]

    def off(self, choice: Choice) -> "pd.Series":
        """Mean absolute error of the forces of all sources, over test frames, atoms and components, kcal/mol/Å."""
        import pandas as pd

        true = self.frames(choice).force
        errors = {source: float(losses.force_mae(self._force(choice, source), true)) for source in self.sources(choice)}
        return pd.Series(errors, name="mean absolute error of the force [kcal/mol/Å]", dtype=float)

    def forces(
        self, choice: Choice, source: str | None = None, frame: int = 0
    ) -> tuple[Tensor, Tensor, dict[str, Tensor], str]:
        """A test frame with its accurate force and another one, to be drawn, and how far off that is.

        Args:
            choice: whose test frames.
            source: one of `sources`; None is the first, and draws the accurate force alone where there is none.
            frame: number among the test frames.

        Returns:
            Atomic numbers (atoms,), positions (atoms, 3) in Å, forces (atoms, 3) in kcal/mol/Å by name, a sentence.

        Raises:
            ValueError: for a frame that is not there, or an unknown source.
        """
        test = self.frames(choice)
        if not 0 <= frame < len(test):
            raise ValueError(f"frame is {frame}; the test frames are 0 to {len(test) - 1}")
        accurate = test.level.upper()
        forces, said = {accurate: test.force[frame]}, f"The force of {accurate} on test frame {frame}"
        source = source or next(iter(self.sources(choice)), None)
        if source is None:
            return test.z, test.pos[frame], forces, f"{said}; no other is there."
        forces[source] = self._force(choice, source)[frame]
        error = float(losses.force_mae(forces[source][None], forces[accurate][None]))
        said += f", and that of {source}: off by **{error:.2f} kcal/mol/Å** in the mean over atoms and components."
        return test.z, test.pos[frame], forces, said

    def _place(self, spec: RunSpec) -> Choice:
        traded = self.profile.given_up if spec.method == "asteroid" else 0
        ratio = spec.inaccurate_budget / traded if traded else None
        return Choice(spec.molecule, spec.recipe.model, spec.budget + traded, ratio)

    def _values(self, name: str, specs: list[RunSpec], known: Mapping[str, Any]) -> list[Any]:
        places = [asdict(self._place(spec)) for spec in specs]
        fitting = [place for place in places if all(place[field] == value for field, value in known.items())]
        values = dict.fromkeys(place[name] for place in fitting if place[name] is not None)
        return sorted(values, reverse=name == "ratio") if name in ("budget", "ratio") else list(values)

    def _first_seed(self, choice: Choice) -> dict[str, RunSpec]:
        """The recorded runs of the choice by name of the method, each with its first seed."""
        chosen: dict[str, RunSpec] = {}
        for record in self.records_of(choice):
            if self._place(record.spec).budget == choice.budget:
                chosen.setdefault(METHODS[record.spec.method], record.spec)
        return chosen

    def _labels(self, choice: Choice) -> dict[str, Tensor]:
        test = self.frames(choice)
        levels = datasets.levels(choice.molecule) if choice.molecule in datasets.molecules() else []
        found = {}
        for level in sorted(set(levels) - {test.level}, key=lambda level: (level != self.profile.inaccurate, level)):
            labelled = datasets.load(choice.molecule, level)
            mine, theirs = test.paired_with(labelled)
            if len(mine) == len(test):
                found[level.upper()] = labelled.force[theirs]
        return found

    def _force_fields(self, choice: Choice) -> dict[str, RunSpec]:
        specs = self._first_seed(choice)
        return {name: spec for name, spec in specs.items() if self.store.force_field_path(spec).exists()}

    def _force(self, choice: Choice, source: str) -> Tensor:
        """Forces on the test frames, (frames, atoms, 3), kcal/mol/Å, kept until `read`."""
        if (choice, source) not in self._forces:
            fields = self._force_fields(choice)
            if source in fields:
                field = runs.force_field(fields[source], self.store)
                self._forces[choice, source] = force_on(field, self.frames(choice))
            self._forces |= {(choice, level): force for level, force in self._labels(choice).items()}
        if (choice, source) not in self._forces:
            there = ", ".join(self.sources(choice))
            raise ValueError(f"source is {source!r}; forces that are there: {there or 'none'}")
        return self._forces[choice, source]

    def _has_records(self, molecule: str, model: str) -> bool:
        stem = re.sub(r"[^\w.-]+", "-", molecule)  # as in `RunSpec.file_name`
        return any(any(self.store.folder.glob(f"{stem}-{model}-{method}-a*.json")) for method in METHODS)


class Panel:
    """Menus of what is recorded, and below them what is chosen. `Panel(...).widget` stands last in a cell.

    Args:
        shelf: what there is.
        choice: what is shown first.
        source: whose force is drawn first; one of `Shelf.sources`, None for the first of them.
        frame: test frame that is drawn first.
    """

    def __init__(self, shelf: Shelf, choice: Choice, source: str | None = None, frame: int = 0):
        import ipywidgets as widgets

        self.shelf, self._filling = shelf, False
        self.menus = {name: widgets.Dropdown(description=name) for name in asdict(choice)}
        self.source = widgets.Dropdown(description="force of")
        self.frame = widgets.IntSlider(description="test frame", continuous_update=False)
        self.train = widgets.Button(layout=widgets.Layout(width="auto"))
        self.curves, self.molecule, self.log = widgets.Output(), widgets.Output(), widgets.Output()
        upper, lower = widgets.HBox(list(self.menus.values())), widgets.HBox([self.source, self.frame])
        self.widget = widgets.VBox([upper, self.train, self.log, self.curves, lower, self.molecule])
        self._fill(choice, source, frame)
        for menu in self.menus.values():
            menu.observe(self._choose, "value")
        for menu in (self.source, self.frame):
            menu.observe(self._draw, "value")
        self.train.on_click(self._train)

    @property
    def choice(self) -> Choice:
        """What the menus say."""
        return Choice(**{name: menu.value for name, menu in self.menus.items()})

    def _choose(self, _change: Any) -> None:
        """After a menu was used: what does not go with it gives way to what is offered first."""
        if not self._filling:
            chosen: dict[str, Any] = {}
            for name, menu in self.menus.items():
                offered = self.shelf.offered(name, **chosen)
                chosen[name] = menu.value if menu.value in offered else next(iter(offered), None)
            self._fill(Choice(**chosen), self.source.value, self.frame.value)

    def _fill(self, choice: Choice, source: str | None, frame: int) -> None:
        self._filling = True
        known: dict[str, Any] = {}
        for name, value in asdict(choice).items():
            offered = self.shelf.offered(name, **known) or [value]
            self.menus[name].options = [(_label(name, each), each) for each in offered]
            self.menus[name].value = known[name] = value
        self.source.options = sources = self.shelf.sources(choice)
        self.source.value = source if source in sources else next(iter(sources), None)
        self.frame.max = len(self.shelf.frames(choice)) - 1
        self.frame.value = frame
        missing = len(self.shelf.missing(choice))
        self.train.description, self.train.disabled = f"train what is missing ({missing})", not missing
        self._filling = False
        figures = [self.shelf.errors(choice), self.shelf.courses(choice)] if self.shelf.has(choice) else []
        self.curves.outputs = _shown(self.shelf.said(choice), *figures)
        self._draw(None)

    def _draw(self, _change: Any) -> None:
        if not self._filling:
            z, pos, forces, said = self.shelf.forces(self.choice, self.source.value, self.frame.value)
            self.molecule.outputs = _shown(said, viewer.molecule_view(z, pos, forces=forces))

    def _train(self, _button: Any) -> None:
        self.train.description, self.train.disabled = "training ...", True
        try:
            with self.log:
                self.shelf.train(self.choice)
        finally:
            self._fill(self.choice, self.source.value, self.frame.value)


def live() -> bool:
    """Whether somebody sits at the notebook: what executes it for a page can be asked nothing by the kernel."""
    from IPython import get_ipython

    kernel = getattr(get_ipython(), "kernel", None)
    return kernel is not None and bool(kernel.get_parent().get("content", {}).get("allow_stdin"))


def _label(name: str, value: Any) -> str:
    if name == "ratio":
        return "none" if value is None else f"{value:g} : 1"
    return MODEL_NAMES.get(value, str(value).replace("_", " "))


def _shown(*things: Any) -> tuple[dict[str, Any], ...]:
    """Texts in Markdown, figures and HTML as the outputs of a cell."""
    return tuple({"output_type": "display_data", "data": _bundle(thing), "metadata": {}} for thing in things)


def _bundle(thing: Any) -> dict[str, str]:
    if isinstance(thing, str):
        return {"text/markdown": thing}
    if not hasattr(thing, "savefig"):
        return {"text/html": thing.data}
    from IPython.core.pylabtools import print_figure

    return {"image/png": print_figure(thing, base64=True)}
