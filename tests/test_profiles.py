"""Profiles: complete, possible with the embedded labels, and fair."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from asteroid import models, profiles, runs

NAMES = ["laptop", "md17", "paper", "smoke"]
EMBEDDED = ["laptop", "smoke"]


def test_the_profiles_are_these():
    assert profiles.names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_profile_loads_and_its_models_can_be_built(name):
    profile = profiles.load(name)
    assert profile.name == name and profile.recipes and profile.seeds
    for model, recipe in profile.recipes.items():
        assert recipe.model == model in models.MODELS
        models.build(model, **dict(recipe.model_config))
        assert profile.recipe(model) == recipe


@pytest.mark.parametrize("name", NAMES)
def test_number_of_runs(name):
    profile, model = profiles.load(name), "egnn"
    each = len(profile.molecules) * len(profile.seeds)
    expected = {
        "standard": each * len(profile.budgets),
        "asteroid": each * len(profile.budgets) * len(profile.inaccurate_budgets),
        "inaccurate": each * sum(map(len, profile.cheap_alone.values())),
    }
    for method, number in expected.items():
        specs = profile.specs(method, model)
        assert len(specs) == len(set(specs)) == number
        assert {spec.method for spec in specs} == {method}
    one = profile.specs("standard", model, molecules=profile.molecules[:1])
    assert one == profile.specs("standard", model, molecules=profile.molecules[0])
    assert len(one) == len(profile.seeds) * len(profile.budgets)


@pytest.mark.parametrize("name", NAMES)
def test_standard_training_and_asteroid_cost_the_same(name):
    """ASTEROID gives up some accurate labels, whatever number of cheap ones it gets for them."""
    profile = profiles.load(name)
    place = ("molecule", "accurate", "seed", "valid", "test")
    standard = Counter(
        (*(getattr(spec, name) for name in place), spec.budget) for spec in profile.specs("standard", "egnn")
    )
    for labels in profile.inaccurate_budgets:
        asteroid = Counter(
            (*(getattr(spec, name) for name in place), spec.budget + profile.given_up)
            for spec in profile.specs("asteroid", "egnn")
            if spec.inaccurate_budget == labels
        )
        assert asteroid == standard
    assert all(
        spec.budget > 0 and spec.inaccurate_budget > profile.given_up for spec in profile.specs("asteroid", "egnn")
    )


@pytest.mark.parametrize("name", EMBEDDED)
def test_the_embedded_labels_suffice(name):
    profile = profiles.load(name)
    for method in ("standard", "asteroid", "inaccurate"):
        for spec in profile.specs(method, "egnn"):
            if spec.seed == profile.seeds[0]:
                split = runs.split_of(spec)
                assert len(split.test) == profile.test and len(split.valid) == profile.valid


@pytest.mark.parametrize("quick", [False, True], ids=["full", "quick"])
@pytest.mark.parametrize("name", NAMES)
def test_every_stage_warms_up_within_its_length(name, quick):
    recipe = profiles.load(name).recipe("egnn", quick=quick)
    for stage in (recipe.accurate, recipe.identification, recipe.inaccurate, recipe.fine_tuning):
        assert stage.warmup < stage.steps / 2
        assert not (quick and stage.compile)  # which would take longer than it saves


@pytest.mark.parametrize("name", NAMES)
def test_the_quickstart_is_shorter_than_the_experiments(name):
    profile = profiles.load(name)
    quick, full = profile.recipe("egnn", quick=True), profile.recipe("egnn")
    assert quick.model == full.model and len(quick.gammas) == 1
    for stage in ("accurate", "identification", "inaccurate", "fine_tuning"):
        assert getattr(quick, stage).steps <= getattr(full, stage).steps


@pytest.mark.parametrize("name", NAMES)
def test_the_simulations_are_those_of_figure_6(name):
    sizes = profiles.load(name).dynamics
    molecules = (sizes.molecule, sizes.step_molecule)
    published = name in ("md17", "paper")
    assert molecules == (("md17:benzene", "md17:aspirin") if published else ("methanol", "methanol"))
    assert sizes.steps % 4 == 0 and min(sizes.replicas, sizes.runs) > 1
    if name != "smoke":
        assert (sizes.steps, sizes.length, sizes.runs) == (10_000, 1000, 20)
        assert (min(sizes.step_sizes), max(sizes.step_sizes)) == (0.25, 3)


def test_an_unknown_profile_lists_the_known():
    with pytest.raises(ValueError, match="'desktop'.*laptop.*paper.*smoke"):
        profiles.load("desktop")


def test_an_unknown_model_lists_the_known():
    with pytest.raises(ValueError, match="'schnet'.*egnn"):
        profiles.load("smoke").recipe("schnet")


def test_a_molecule_without_an_accurate_level_lists_those_with_one():
    with pytest.raises(ValueError, match="'paper' has no molecule 'ethanol'; it has: md17:aspirin, .*md17:ethanol"):
        profiles.load("paper").specs("standard", "egnn", "ethanol")


def test_an_unknown_method_lists_the_known():
    with pytest.raises(ValueError, match="'magic'.*standard"):
        profiles.load("smoke").specs("magic", "egnn")


def load_changed(place: str, change: Callable[[dict], object], folder: Path, monkeypatch) -> None:
    content = yaml.safe_load((profiles.FOLDER / "smoke.yaml").read_text(encoding="utf-8"))
    part = content
    for name in filter(None, place.split(".")):
        part = part[name]
    change(part)
    (folder / "mine.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    monkeypatch.setattr(profiles, "FOLDER", folder)
    profiles.load("mine")


SECTIONS = ("empirical", "planner", "planner.rounds", "quickstart", "your_molecule", "your_molecule.sampling")
SECTIONS += ("dynamics", "tuning", "tuning.molecules.methanol", "toy", "recipes.egnn", "recipes.egnn.training", "ani")


@pytest.mark.parametrize("place", ["", *SECTIONS])
def test_an_unknown_setting_anywhere_is_refused_and_the_known_are_listed(place, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="'mine'.*unknown settings stepz; known: .*,"):
        load_changed(place, lambda part: part.update(stepz=1), tmp_path, monkeypatch)


@pytest.mark.parametrize(
    "place", ["seeds", "valid", "recipes.egnn.gammas", "dynamics.steps", "planner.rounds.number", "toy.few"]
)
def test_a_missing_setting_is_named(place, tmp_path, monkeypatch):
    section, _, name = place.rpartition(".")
    with pytest.raises(ValueError, match=f"'mine'.*{name} is missing"):
        load_changed(section, lambda part: part.pop(name), tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("place", "value"),
    [("test", 0), ("seeds", [0, 0]), ("dynamics.step_sizes", [0.5, -1]), ("planner.ratio", {"methanol": "dear"})],
)
def test_a_value_that_no_run_can_have_is_named(place, value, tmp_path, monkeypatch):
    section, _, name = place.rpartition(".")
    with pytest.raises(ValueError, match=f"'mine'.*{place}"):
        load_changed(section, lambda part: part.update({name: value}), tmp_path, monkeypatch)


@pytest.mark.parametrize("name", NAMES)
def test_the_ways_that_are_compared_have_equal_budgets(name):
    profile = profiles.load(name)
    ways = profile.compared("egnn")
    budgets = [(molecule, b, seed) for molecule in profile.molecules for b in profile.budgets for seed in profile.seeds]
    for way, specs in ways.items():
        assert len(specs) == len(set(specs)), way
        if way == "ANI-1ccx":
            assert {spec.budget for spec in specs} == {0}
            continue
        free = way == f"Δ-ML on {profile.sampled.upper()}" and profile.sampled != profile.inaccurate
        paid = specs[0].about.trades and not free
        cost = [(spec.molecule, spec.budget + paid * profile.given_up, spec.seed) for spec in specs]
        assert set(cost) <= set(budgets) and min(profile.budgets) in {budget for _, budget, _ in cost}
        assert way not in ("standard", "ASTEROID", "sGDML") or cost == budgets
    assert {spec.recipe.model for spec in ways["ANI's recipe"]} == {"ani"}
    assert (
        ways["ANI's recipe"]
        == profile.compared("gemnet-t" if "gemnet-t" in profile.recipes else "egnn")["ANI's recipe"]
    )
    assert {spec.inaccurate_budget for spec in ways["two heads"]} == {max(profile.inaccurate_budgets)}


@pytest.mark.parametrize("name", ["smoke", "md17", "paper"])
def test_few_labels_are_those_for_validation_too(name):
    """Below the smallest budget all accurate labels are counted; ASTEROID spends none on validation."""
    profile = profiles.load(name)
    for method in ("standard", "sgdml", "asteroid"):
        specs = profile.few_specs(method, "egnn")
        assert {spec.budget + spec.valid for spec in specs} == set(profile.few)
        assert max(profile.few) < min(profile.budgets)
        assert all((spec.valid == 0) == (method == "asteroid") for spec in specs)
        assert len(specs) == len(set(specs)) == len(profile.few) * len(profile.molecules) * len(profile.seeds)
        assert method == "sgdml" or all(spec in profile.shown() for spec in specs)


@pytest.mark.parametrize("name", ["smoke", "md17"])
@pytest.mark.parametrize("model", ["egnn", "gemnet-t"])
def test_what_the_page_on_tuning_compares(name, model):
    profile = profiles.load(name)
    recipe, found = profile.recipe(model), profile.tuning_specs(model)
    for (molecule, optimizer, rate), spec in found["optimizers"].items():
        config = spec.recipe.accurate
        assert (spec.molecule, config.optimizer, config.learning_rate) == (molecule, optimizer, rate)
        assert config.steps == recipe.accurate.steps
    chosen = [(one[1], one[2]) for one in found["optimizers"] if one[0] == profile.tuning.searched]
    # The recipe's own is among what was searched.
    assert (recipe.accurate.optimizer, recipe.accurate.learning_rate) in chosen
    for (method, factor), spec in found["lengths"].items():
        stage = {"standard": "accurate", "inaccurate": "inaccurate", "asteroid": "fine_tuning"}[method]
        longer, own = getattr(spec.recipe, stage), getattr(recipe, stage)
        assert (longer.steps, longer.decay_steps) == (factor * own.steps, factor * own.decay_steps)
        if factor == 1 and method == "asteroid":  # the same run as that of the seeds, which is made once
            assert spec in found["seeds"].values() or len(recipe.gammas) > 1
    costs = {
        spec.budget + (spec.method == "asteroid") * profile.given_up
        for (molecule, _, _), spec in found["seeds"].items()
        if molecule == profile.tuning.searched
    }
    assert len(costs) == 1  # both ways at equal cost
    assert {spec.seed for spec in found["seeds"].values()} == set(range(profile.tuning.seeds))


@pytest.mark.parametrize(
    ("place", "value"),
    [("recipes", 5), ("recipes.egnn.accurate", None), ("recipes.egnn.model_config", 5), ("ani", [1])],
)
def test_what_is_no_section_is_named(place, value, tmp_path, monkeypatch):
    section, _, name = place.rpartition(".")
    with pytest.raises(ValueError, match=f"'mine'.*{name}.*(expected|should be)"):
        load_changed(section, lambda part: part.update({name: value}), tmp_path, monkeypatch)
