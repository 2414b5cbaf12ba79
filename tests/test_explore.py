"""What the notebook `explore` offers is what is recorded; its menus are used as a hand would, without a browser."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import tiny
import torch
from jupyter_client.manager import start_new_kernel

from asteroid import book, datasets, profiles
from asteroid.book import explore
from asteroid.book.explore import Choice, Panel, Shelf
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


def kinds(output) -> list[str]:
    return [kind for shown in output.outputs for kind in shown["data"]]


def test_only_what_is_recorded_is_offered(profile, full, tmp_path):
    shelf = Shelf(profile, full)
    assert [shelf.offered(name) for name in ("molecule", "model", "budget", "ratio")] == [
        ["methanol"],
        ["egnn"],
        [8, 10],
        [10.0, 5.0],
    ]
    store = Store(tmp_path)
    sweep(replace(profile, budgets=(10,)), store, ("standard",))
    shelf = Shelf(profile, store)
    assert shelf.choose() == Choice("methanol", "egnn", 10, None)
    with pytest.raises(ValueError, match="budget is 8; there are runs with 10; train_missing = True makes other runs"):
        shelf.choose(budget=8)
    assert shelf.choose(planned=True, budget=8, ratio=5) == Choice("methanol", "egnn", 8, 5)
    with pytest.raises(ValueError, match="ratio is 7; there are runs with 10.0, 5.0$"):
        shelf.choose(planned=True, ratio=7)


def test_without_records_the_forces_of_the_levels_are_there_and_a_sentence(profile, tmp_path):
    shelf = Shelf(profile, Store(tmp_path))
    choice = shelf.choose()
    assert choice == Choice("methanol", "egnn", 8, 10.0) and not shelf.has(choice)
    assert shelf.said(choice).startswith("No run of EGNN on methanol is recorded. `train_missing = True`")
    assert shelf.sources(choice) == ["PBE", "GFN2", "MMFF"]
    panel = Panel(shelf, choice)
    assert kinds(panel.curves) == ["text/markdown"] and kinds(panel.molecule) == ["text/markdown", "text/html"]
    assert not panel.train.disabled and panel.train.description == "train what is missing (12)"


def test_the_figures_show_the_records(profile, full):
    shelf = Shelf(profile, full)
    choice = shelf.choose(budget=10, ratio=5)
    standard = [full.get(spec).errors["force_mae"] for spec in profile.specs("standard", "egnn") if spec.budget == 10]
    mean = sum(standard) / 2
    assert f"standard training {mean:.3f} ±" in shelf.said(choice) and "(2), ASTEROID" in shelf.said(choice)
    (axes,) = shelf.errors(choice).axes
    lines = {bars.get_label(): bars.lines[0].get_xydata().tolist() for bars in axes.containers}
    assert set(lines) == {"standard", "ASTEROID, 10 PBE"}
    assert lines["standard"][1] == pytest.approx([10, mean])
    courses = {line.get_label(): line.get_ydata().tolist() for line in shelf.courses(choice).axes[0].get_lines()}
    (first,) = [spec for spec in profile.specs("standard", "egnn") if (spec.budget, spec.seed) == (10, 0)]
    assert courses["standard training"] == full.get(first).histories["standard"]["valid_force_mae"]
    assert set(courses) == {"standard training", "ASTEROID, stage 2: PBE labels", "ASTEROID"}


def test_the_forces_of_a_level_are_its_labels_and_those_of_a_force_field_its_predictions(profile, full):
    shelf = Shelf(profile, full)
    choice = shelf.choose()
    z, pos, forces, said = shelf.forces(choice, "PBE", 3)
    pbe = datasets.load("methanol", "pbe")
    (at,) = [k for k in range(len(pbe)) if torch.equal(pbe.pos[k], pos)]
    assert z.tolist() == pbe.z.tolist() and torch.equal(forces["PBE"], pbe.force[at])
    assert torch.equal(forces["CCSD(T)"], shelf.frames(choice).force[3])
    assert f"off by **{float((forces['PBE'] - forces['CCSD(T)']).abs().mean()):.2f} kcal" in said
    assert shelf.sources(choice) == ["PBE", "GFN2", "MMFF", "standard training", "ASTEROID"]
    # The error of the test frames that the record has, made by another way.
    (spec,) = [spec for spec in profile.specs("standard", "egnn") if (spec.budget, spec.seed) == (8, 0)]
    assert shelf.off(choice)["standard training"] == pytest.approx(full.get(spec).errors["force_mae"], rel=1e-4)
    with pytest.raises(ValueError, match="source is 'DFT'; forces that are there: PBE, GFN2, MMFF, standard training"):
        shelf.forces(choice, "DFT", 0)
    with pytest.raises(ValueError, match="frame is 8; the test frames are 0 to 7"):
        shelf.forces(choice, "PBE", 8)


def test_the_menus_show_what_they_say(profile, full):
    panel = Panel(Shelf(profile, full), Choice("methanol", "egnn", 8, 10.0), "PBE", 2)
    assert kinds(panel.curves) == ["text/markdown", "image/png", "image/png"]
    assert panel.train.disabled and panel.frame.max == 7 and panel.frame.value == 2
    assert [label for label, _ in panel.menus["ratio"].options] == ["10 : 1", "5 : 1"]
    curves, molecule = panel.curves.outputs, panel.molecule.outputs
    panel.menus["budget"].value = 10
    assert panel.choice == Choice("methanol", "egnn", 10, 10.0) and "cost of 10" in str(panel.curves.outputs[0])
    assert all(now != before for now, before in zip(panel.curves.outputs, curves, strict=True))
    panel.frame.value = 5
    panel.source.value = "MMFF"
    assert "MMFF: off by" in str(panel.molecule.outputs[0]) and "frame 5" in str(panel.molecule.outputs[0])
    assert panel.molecule.outputs[1] != molecule[1]


def test_the_button_trains_what_is_missing_and_then_it_is_offered(profile, tmp_path, here):
    few = replace(profile, inaccurate_budgets=(10,), seeds=(0,))
    store = Store(tmp_path)
    sweep(replace(few, budgets=(8,)), store, ("standard",))
    panel = Panel(Shelf(few, store), Shelf(few, store).choose())
    assert panel.choice == Choice("methanol", "egnn", 8, None) and "(3)" in panel.train.description
    panel.train.click()
    assert panel.train.disabled and panel.train.description == "train what is missing (0)"
    assert [menu.value for menu in panel.menus.values()] == ["methanol", "egnn", 8, None]
    assert [value for _, value in panel.menus["budget"].options] == [8, 10]
    panel.menus["ratio"].value = 5.0
    assert "ASTEROID" in panel.source.options


def test_the_force_fields_that_a_clone_lacks_are_trained_again(profile, full, tmp_path, here):
    clone = Store(tmp_path)
    for path in full.folder.glob("*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    shelf = Shelf(profile, clone)
    choice = shelf.choose()
    assert shelf.sources(choice) == ["PBE", "GFN2", "MMFF"] and len(shelf.missing(choice)) == 2
    shelf.train(choice)
    assert shelf.sources(choice)[3:] == ["standard training", "ASTEROID"] and shelf.missing(choice) == []


def test_menus_are_for_somebody_who_sits_at_the_notebook(tmp_path):
    """Jupyter's own pages let the kernel ask for input; what executes notebooks for a book does not."""
    code, said = "from asteroid.book import explore\nprint(explore.live())", []
    with book.pages._this_interpreter(tmp_path):
        manager, client = start_new_kernel(kernel_name="python3")
        try:
            for asked in (True, False):
                client.allow_stdin = asked
                client.execute_interactive(code, output_hook=lambda message: said.append(message["content"]))
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)
    assert [content["text"] for content in said if "text" in content] == ["True\n", "False\n"]
    assert not explore.live()


def test_records_of_other_methods_do_not_count(profile, tmp_path):
    sweep(profile, store := Store(tmp_path), ("inaccurate",))
    assert json.loads(next(tmp_path.glob("*.json")).read_text())["spec"]["method"] == "inaccurate"
    assert Shelf(profile, store).records == []
