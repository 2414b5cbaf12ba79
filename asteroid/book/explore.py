"""What the notebook `explore` shows: recorded runs by molecule, model, budget and cost ratio; forces on a molecule."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from asteroid import datasets, plots, runs
from asteroid.book import comparison
from asteroid.datasets import LabelledSet
from asteroid.files import in_words
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


class Catalogue:
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
        return _values(name, [self._place(record.spec) for record in self.records], known)

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
        places, chosen = [self._place(spec) for spec in specs], {}
        for name in Choice.__dataclass_fields__:
            values, wish = _values(name, places, chosen), wanted.get(name)
            if wish is not None and wish not in values:
                advice = "" if planned else "; train_missing = True makes other runs of the profile"
                raise ValueError(f"{name} is {wish!r}; there are runs with {', '.join(map(str, values))}{advice}")
            chosen[name] = values[0] if wish is None else wish
        return Choice(**chosen)

    def has(self, choice: Choice) -> bool:
        """Whether a run of the choice is recorded."""
        return bool(self._first_seed(choice))

    def records_of(self, choice: Choice) -> list[Record]:
        """Records of the molecule and the model at all budgets: standard training, and ASTEROID at the ratio."""
        alike = {replace(choice, ratio=ratio) for ratio in (None, choice.ratio)}
        return [record for record in self.records if replace(self._place(record.spec), budget=choice.budget) in alike]

    def summary(self, choice: Choice) -> str:
        """The errors of the choice in a sentence, as Markdown."""
        name, model = in_words(choice.molecule), MODEL_NAMES[choice.model]
        if not self.has(choice):
            return f"No run of {model} on {name} is recorded. `train_missing = True` makes the profile's."
        rows = comparison.with_total_budget(self.profile, self.records_of(choice))
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
        rows = comparison.with_total_budget(self.profile, self.records_of(choice))
        labels = rows["inaccurate_budget"].astype(str) + " " + rows["inaccurate"].str.upper()
        rows["series"] = ("ASTEROID, " + labels).where(rows["method"] == "asteroid", "standard")
        figure = plots.budgets(rows)
        figure.axes[0].axvline(choice.budget, color="0.85", lw=6, zorder=0)
        return figure

    def learning_curves(self, choice: Choice) -> "Figure":
        """Validation error in the course of the trainings of the choice, with the first seed."""
        curves = {}
        for name, spec in self._first_seed(choice).items():
            for stage, history in self.store.get(spec).histories.items():
                part = "" if stage.endswith("tuned") else f", stage 2: {spec.inaccurate.upper()} labels"
                curves[name if spec.method == "standard" else f"{name}{part}"] = history
        return plots.learning_curves(curves)

    def frames(self, choice: Choice) -> LabelledSet:
        """The test frames of the first seed with their accurate labels."""
        specs = self.planned(choice.molecule, choice.model)
        return runs.split_of(next(spec for spec in specs if self._place(spec).budget == choice.budget)).test

    def sources(self, choice: Choice) -> list[str]:
        """Whose forces can be drawn: cheap levels with labels of all test frames, and force fields that are there.

        A clone has records, but no force fields.
        """
        return [*self._labels(choice), *self._force_fields(choice)]

    def force_errors(self, choice: Choice) -> "pd.Series":
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
        forces, sentence = {accurate: test.force[frame]}, f"The force of {accurate} on test frame {frame}"
        source = source or next(iter(self.sources(choice)), None)
        if source is None:
            return test.z, test.pos[frame], forces, f"{sentence}; no other is there."
        forces[source] = self._force(choice, source)[frame]
        error = float(losses.force_mae(forces[source][None], forces[accurate][None]))
        sentence += f", and that of {source}: off by **{error:.2f} kcal/mol/Å** in the mean over atoms and components."
        return test.z, test.pos[frame], forces, sentence

    def _place(self, spec: RunSpec) -> Choice:
        traded = self.profile.given_up if spec.method == "asteroid" else 0
        ratio = spec.inaccurate_budget / traded if traded else None
        return Choice(spec.molecule, spec.recipe.model, spec.budget + traded, ratio)

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


def panel(catalogue: Catalogue, choice: Choice, source: str | None = None, frame: int = 0) -> Any:
    """Menus of what is recorded, and below them what is chosen; it stands last in a cell.

    Each menu offers what goes with those above it, and keeps what was chosen before where that is offered still.

    Args:
        catalogue: what there is.
        choice: what is shown first.
        source: whose force is drawn first; one of `Catalogue.sources`, None for the first of them.
        frame: test frame that is drawn first.

    Returns:
        An ipywidgets `interactive`.
    """
    import ipywidgets as widgets
    from IPython.display import Markdown, display

    chosen = {**asdict(choice), "force of": source, "test frame": frame}

    def menu(name: str, offered: list[Any]) -> widgets.Dropdown:
        value = chosen[name] if chosen[name] in offered else offered[0]
        return widgets.Dropdown(options=[(_label(name, each), each) for each in offered], value=value, description=name)

    def runs_menu(**known: Any) -> dict[str, widgets.Dropdown]:
        name = next(name for name in Choice.__dataclass_fields__ if name not in known)
        return {name: menu(name, catalogue.offered(name, **known) or [getattr(choice, name)])}

    def choose(**known: Any) -> None:
        chosen.update(known)
        if len(known) < len(Choice.__dataclass_fields__):
            above = {name: widgets.fixed(value) for name, value in known.items()}
            widgets.interact(choose, **above, **runs_menu(**known))
        else:
            show(Choice(**known))

    def show(choice: Choice) -> None:
        def train() -> None:
            catalogue.train(choice)
            top.update()

        def draw(source: str | None, frame: int) -> None:
            chosen.update({"force of": source, "test frame": frame})
            z, pos, forces, sentence = catalogue.forces(choice, source, frame)
            display(Markdown(sentence), viewer.molecule_view(z, pos, forces=forces))

        if missing := catalogue.missing(choice):
            widgets.interact_manual.options(manual_name=f"train {len(missing)} missing")(train)
        display(Markdown(catalogue.summary(choice)))
        if catalogue.has(choice):
            display(catalogue.errors(choice), catalogue.learning_curves(choice))
        last = len(catalogue.frames(choice)) - 1
        at = {"value": min(chosen["test frame"], last), "max": last, "description": "test frame"}
        sources = menu("force of", catalogue.sources(choice) or [None])
        widgets.interact(draw, source=sources, frame=widgets.IntSlider(**at, continuous_update=False))

    top = widgets.interactive(choose, **runs_menu())
    return top


def live() -> bool:
    """Whether somebody sits at the notebook: what executes it for a page can be asked nothing by the kernel."""
    from IPython import get_ipython

    kernel = getattr(get_ipython(), "kernel", None)
    return kernel is not None and bool(kernel.get_parent().get("content", {}).get("allow_stdin"))


def _label(name: str, value: Any) -> str:
    if value is None:
        return "none"
    return f"{value:g} : 1" if name == "ratio" else MODEL_NAMES.get(value, in_words(str(value)))


def _values(name: str, places: list[Choice], known: Mapping[str, Any]) -> list[Any]:
    """What a field of `Choice` may be where others are known, the first to begin with; None only where nothing else."""
    fitting = [place for place in places if all(getattr(place, other) == value for other, value in known.items())]
    values = list(dict.fromkeys(getattr(place, name) for place in fitting))
    given = [value for value in values if value is not None]
    return sorted(given, reverse=name == "ratio") if given and name in ("budget", "ratio") else values
