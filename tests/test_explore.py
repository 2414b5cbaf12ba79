"""What the notebook `explore` offers is what is recorded; its menus are used as a hand would, without a browser."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import IPython.display
import ipywidgets
import pytest
import tiny
import torch
from jupyter_client.manager import start_new_kernel

from asteroid import book, datasets, profiles
from asteroid.book import explore
from asteroid.book.explore import Catalogue, Choice, panel
from asteroid.runs import Store, sweeps


@pytest.fixture(scope="module")
def profile() -> profiles.Profile:
    """Two budgets, two ratios and two seeds of methanol, which a second trains."""
    sizes = {"budgets": (8, 10), "given_up": 2, "inaccurate_budgets": (10, 20), "seeds": (0, 1), "valid": 5, "test": 8}
    return replace(profiles.load("smoke"), recipes={"egnn": tiny.RECIPE}, **sizes)


def sweep(profile: profiles.Profile, store: Store, methods: tuple[str, ...]) -> None:
    with ThreadPoolExecutor(1) as executor:
        specs = [spec for method in methods for spec in profile.specs(method, "egnn")]
        sweeps.sweep(specs, store, executor, progress=False)


@pytest.fixture(scope="module")
def full(profile, tmp_path_factory) -> Store:
    store = Store(tmp_path_factory.mktemp("full"))
    sweep(profile, store, ("standard", "asteroid"))
    return store


@pytest.fixture
def here(monkeypatch) -> None:
    """Sweeps train in this process."""
    monkeypatch.setattr(sweeps, "local_pool", lambda runs: ThreadPoolExecutor(1))


class Menus:
    """A panel whose displays are kept in place of being sent to a browser."""

    def __init__(self, *arguments):
        self.displayed = []
        with pytest.MonkeyPatch.context() as patch:
            self.patch(patch)
            self.displayed.insert(0, panel(*arguments))

    def patch(self, patch: pytest.MonkeyPatch) -> None:
        for module in (IPython.display, ipywidgets.widgets.interaction):
            patch.setattr(module, "display", lambda *things: self.displayed.extend(things))

    def controls(self) -> dict:
        """By name, as they stand now: what was displayed last is in place of what was there before."""
        widgets = [thing for thing in self.displayed if isinstance(thing, ipywidgets.VBox)]
        return {getattr(control, "description", ""): control for widget in widgets for control in widget.children}

    def values(self) -> list:
        return [self.controls()[name].value for name in ("molecule", "model", "budget", "ratio")]

    def options(self, name: str) -> list:
        return [value for _, value in self.controls()[name].options]

    def button(self):
        """The one displayed last, or None."""
        buttons = [control for control in self.controls().values() if isinstance(control, ipywidgets.Button)]
        return next(reversed(buttons), None)

    def choose(self, name: str, value) -> None:
        """Use a menu; only what is displayed from then on is `shown`."""
        self.use(lambda: setattr(self.controls()[name], "value", value))

    def use(self, action) -> None:
        self.since = len(self.displayed)
        with pytest.MonkeyPatch.context() as patch:
            self.patch(patch)
            action()

    since = 0

    def shown(self) -> list:
        return [thing for thing in self.displayed[self.since :] if not isinstance(thing, ipywidgets.VBox)]


def kinds(shown: list) -> list[str]:
    return [type(thing).__name__ for thing in shown]


def test_only_what_is_recorded_is_offered(profile, full, tmp_path):
    catalogue = Catalogue(profile, full)
    assert [catalogue.offered(name) for name in ("molecule", "model", "budget", "ratio")] == [
        ["methanol"],
        ["egnn"],
        [8, 10],
        [10.0, 5.0],
    ]
    store = Store(tmp_path)
    sweep(replace(profile, budgets=(10,)), store, ("standard",))
    catalogue = Catalogue(profile, store)
    assert catalogue.choose() == Choice("methanol", "egnn", 10, None)
    with pytest.raises(ValueError, match="budget is 8; there are runs with 10; train_missing = True makes other runs"):
        catalogue.choose(budget=8)
    assert catalogue.choose(planned=True, budget=8, ratio=5) == Choice("methanol", "egnn", 8, 5)
    with pytest.raises(ValueError, match="ratio is 7; there are runs with 10.0, 5.0$"):
        catalogue.choose(planned=True, ratio=7)


def test_without_records_the_forces_of_the_levels_are_there_and_a_sentence(profile, tmp_path):
    catalogue = Catalogue(profile, Store(tmp_path))
    choice = catalogue.choose()
    assert choice == Choice("methanol", "egnn", 8, 10.0) and not catalogue.has(choice)
    assert "No run" in catalogue.summary(choice)
    assert catalogue.sources(choice) == ["PBE", "GFN2", "MMFF"]
    menus = Menus(catalogue, choice)
    assert kinds(menus.shown()) == ["Markdown", "Markdown", "HTML"]
    assert "12" in menus.button().description


def test_the_figures_show_the_records(profile, full):
    catalogue = Catalogue(profile, full)
    choice = catalogue.choose(budget=10, ratio=5)
    standard = [full.get(spec).errors["force_mae"] for spec in profile.specs("standard", "egnn") if spec.budget == 10]
    mean = sum(standard) / 2
    assert f"standard training {mean:.3f} ±" in catalogue.summary(choice) and "(2), ASTEROID" in catalogue.summary(
        choice
    )
    (axes,) = catalogue.errors(choice).axes
    lines = {bars.get_label(): bars.lines[0].get_xydata().tolist() for bars in axes.containers}
    assert set(lines) == {"standard", "ASTEROID, 10 PBE"}
    assert lines["standard"][1] == pytest.approx([10, mean])
    curves = {
        line.get_label(): line.get_ydata().tolist() for line in catalogue.learning_curves(choice).axes[0].get_lines()
    }
    (first,) = [spec for spec in profile.specs("standard", "egnn") if (spec.budget, spec.seed) == (10, 0)]
    assert curves["standard training"] == full.get(first).histories["standard"]["valid_force_mae"]
    assert set(curves) == {"standard training", "ASTEROID, stage 2: PBE labels", "ASTEROID"}


def test_the_forces_of_a_level_are_its_labels_and_those_of_a_force_field_its_predictions(profile, full):
    catalogue = Catalogue(profile, full)
    choice = catalogue.choose()
    z, pos, forces, sentence = catalogue.forces(choice, "PBE", 3)
    pbe = datasets.load("methanol", "pbe")
    (at,) = [k for k in range(len(pbe)) if torch.equal(pbe.pos[k], pos)]
    assert z.tolist() == pbe.z.tolist() and torch.equal(forces["PBE"], pbe.force[at])
    assert torch.equal(forces["CCSD(T)"], catalogue.frames(choice).force[3])
    assert f"off by **{float((forces['PBE'] - forces['CCSD(T)']).abs().mean()):.2f} kcal" in sentence
    assert catalogue.sources(choice) == ["PBE", "GFN2", "MMFF", "standard training", "ASTEROID"]
    # The error of the test frames that the record has, made by another way.
    (spec,) = [spec for spec in profile.specs("standard", "egnn") if (spec.budget, spec.seed) == (8, 0)]
    assert catalogue.force_errors(choice)["standard training"] == pytest.approx(
        full.get(spec).errors["force_mae"], rel=1e-4
    )
    with pytest.raises(ValueError, match="source is 'DFT'; forces that are there: PBE, GFN2, MMFF, standard training"):
        catalogue.forces(choice, "DFT", 0)
    with pytest.raises(ValueError, match="frame is 8; the test frames are 0 to 7"):
        catalogue.forces(choice, "PBE", 8)


def test_the_menus_show_what_they_say(profile, full):
    menus = Menus(Catalogue(profile, full), Choice("methanol", "egnn", 8, 10.0), "PBE", 2)
    assert kinds(menus.shown()) == ["Markdown", "Figure", "Figure", "Markdown", "HTML"]
    assert menus.button() is None and menus.controls()["test frame"].max == 7
    assert "PBE" in menus.shown()[3].data and "frame 2" in menus.shown()[3].data
    assert [label for label, _ in menus.controls()["ratio"].options] == ["10 : 1", "5 : 1"]
    menus.choose("ratio", 5.0)
    menus.choose("budget", 10)
    assert menus.values() == ["methanol", "egnn", 10, 5.0]  # what goes with a new choice stays
    assert kinds(menus.shown()) == ["Markdown", "Figure", "Figure", "Markdown", "HTML"]
    assert "cost of 10" in menus.shown()[0].data and "frame 2" in menus.shown()[3].data
    menus.choose("test frame", 5)
    menus.choose("force of", "MMFF")
    sentence, view = menus.shown()
    assert "MMFF" in sentence.data and "frame 5" in sentence.data and "3dmolviewer" in view.data


def test_the_button_trains_what_is_missing_and_then_it_is_offered(profile, tmp_path, here):
    few = replace(profile, inaccurate_budgets=(10,), seeds=(0,))
    store = Store(tmp_path)
    sweep(replace(few, budgets=(8,)), store, ("standard",))
    catalogue = Catalogue(few, store)
    menus = Menus(catalogue, catalogue.choose())
    assert menus.values() == ["methanol", "egnn", 8, None] and menus.options("budget") == [8]
    assert "3" in menus.button().description
    menus.use(menus.button().click)
    assert menus.options("budget") == [8, 10] and menus.options("ratio") == [5.0]
    assert "ASTEROID" in menus.controls()["force of"].options[-1]
    assert catalogue.missing(Choice(*menus.values())) == []


def test_the_force_fields_that_a_clone_lacks_are_trained_again(profile, full, tmp_path, here):
    clone = Store(tmp_path)
    for path in full.folder.glob("*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    catalogue = Catalogue(profile, clone)
    choice = catalogue.choose()
    assert catalogue.sources(choice) == ["PBE", "GFN2", "MMFF"] and len(catalogue.missing(choice)) == 2
    catalogue.train(choice)
    assert catalogue.sources(choice)[3:] == ["standard training", "ASTEROID"] and catalogue.missing(choice) == []


def test_menus_are_for_somebody_who_sits_at_the_notebook(tmp_path):
    """Jupyter's own pages let the kernel ask for input; what executes notebooks for a book does not."""
    code, answers = "from asteroid.book import explore\nprint(explore.live())", []
    with book.pages.this_interpreter(tmp_path):
        manager, client = start_new_kernel(kernel_name="python3")
        try:
            for asked in (True, False):
                client.allow_stdin = asked
                client.execute_interactive(code, output_hook=lambda message: answers.append(message["content"]))
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)
    assert [content["text"] for content in answers if "text" in content] == ["True\n", "False\n"]
    assert not explore.live()


def test_records_of_other_methods_do_not_count(profile, tmp_path):
    sweep(profile, store := Store(tmp_path), ("inaccurate",))
    assert json.loads(next(tmp_path.glob("*.json")).read_text())["spec"]["method"] == "inaccurate"
    assert Catalogue(profile, store).records == []
