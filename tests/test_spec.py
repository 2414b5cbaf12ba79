"""What a run is: named without its labels, recorded with what names them, and shown where they are the same."""

import json
import os
import shutil
import warnings
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import tiny
import torch
from tiny import ASTEROID, STANDARD

from asteroid import datasets, runs, stages
from asteroid.datasets import sources
from asteroid.runs import simulations
from asteroid.runs.methods import METHODS
from asteroid.runs.records import Record, Store
from asteroid.runs.selection import Selection
from asteroid.runs.simulations import Simulation
from asteroid.runs.spec import RunSpec, fingerprints

TOGETHER = {"methanol": "ccsd(t)", "formic_acid": "ccsd(t)"}
BOTH = {"ccsd(t) of methanol", "pbe of methanol"}

WITHOUT_VALIDATION = [name for name, method in METHODS.items() if not method.needs_validation]


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture
def no_data(tmp_path, monkeypatch) -> Path:
    """An empty folder for MD17, and an error where labels are loaded or downloaded."""

    def refused(*args, **options):
        raise AssertionError("labels were asked for")

    monkeypatch.setenv("ASTEROID_MD17", str(tmp_path / "md17"))
    (tmp_path / "md17").mkdir()
    sources.pyg_md17()  # importing it here would warn
    monkeypatch.setattr("torch_geometric.datasets.md17.download_url", refused)
    monkeypatch.setattr(datasets, "load", refused)
    return tmp_path / "md17"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Record:
    return runs.run(STANDARD, Store(tmp_path_factory.mktemp("store")), progress=False)


def every_method(molecule: str, valid: int = 5) -> list[RunSpec]:
    together = {molecule: "ccsd(t)", "formic_acid": "ccsd(t)"}
    settings = {"budget": 6, "inaccurate_budget": 10, "valid": valid, "test": 8, "recipe": tiny.RECIPE}
    return [RunSpec(molecule=molecule, method=method, together=together, **settings) for method in METHODS]


def without_labels(one: RunSpec, record: Record) -> Record:
    """A record as another machine would have made it, where the labels were."""
    return replace(record, spec=one, key=one.key, data={f"{one.accurate} of {one.molecule}": "0" * 16})


# The key needs no labels


@pytest.mark.parametrize("molecule", ["md17:ethanol", "md17:no_such_molecule", "folder/of/{level}/mine_{level}.npz"])
def test_a_run_is_named_without_its_labels(molecule, no_data):
    specs = every_method(molecule)
    names = {one.file_name for one in specs}
    assert len(names) == len({one.key for one in specs}) == len(METHODS)
    for one in specs:
        assert one.key in one.file_name and (one.method == "multi-not-tuned" or one.builds_on is not None)
        assert fingerprints(one) is None
    assert list(no_data.iterdir()) == []


def test_a_simulation_is_named_without_its_labels(no_data):
    one = Simulation(every_method("md17:ethanol")[0], "md17:ethanol", "ccsd(t)", 20)
    assert one.key in one.file_name and list(no_data.iterdir()) == []
    moved = replace(one, molecule="here/mine.npz"), replace(one, molecule="there/mine.npz")
    assert moved[0].key == moved[1].key != one.key


def test_settings_and_the_name_of_the_molecule_are_all_that_the_key_knows():
    """The same labels in another folder make the same run."""
    mine = replace(ASTEROID, molecule="here/mine_{level}.npz")
    assert replace(mine, molecule="there/mine_{level}.npz").key == mine.key
    assert replace(mine, molecule="here/yours_{level}.npz").key != mine.key


@pytest.mark.parametrize(
    "one",
    [
        *every_method("methanol"),
        replace(STANDARD, budget=12, selection=Selection(30, "bias", (6, 9), 1)),
        replace(ASTEROID, valid=0, molecule="mine_{level}.npz"),
        tiny.with_recipe(ASTEROID, slices=3, temperature=300.0, gammas=(0.5, float("inf"))),
    ],
    ids=lambda one: one.file_name,
)
def test_what_json_keeps_of_a_run_is_the_run(one):
    again = RunSpec(**json.loads(json.dumps(asdict(one))))
    assert again == one and hash(again) == hash(one) and again.key == one.key


@pytest.mark.parametrize(
    "changes",
    [{"method": "magic"}, {"recipe": {"accurate": {"steps": 0}}}, {"colour": "red"}, {"recipe": {"accurate": 3}}],
    ids=str,
)
def test_what_is_no_run_is_refused(changes):
    with pytest.raises((ValueError, TypeError)):
        RunSpec(**json.loads(json.dumps(asdict(STANDARD))) | changes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RunSpec(5, "standard", 10), "molecule is 5; "),
        (lambda: replace(ASTEROID, together=5, method="asteroid-multi"), "together: 5 given; expected"),
        (lambda: Selection(5, "random", (), 0, 7), "more than 4 settings were given; known: candidates, by"),
        (lambda: tiny.with_recipe(ASTEROID, gammas=(float("nan"),)), "Recipe: gammas.0 is nan; [^;]*$"),
    ],
)
def test_values_of_another_kind_are_named_once(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# What a record says of its labels


def test_the_labels_of_a_run_are_whole_sets_by_level_and_molecule():
    expected = {f"{level} of methanol": datasets.load("methanol", level).fingerprint for level in ("ccsd(t)", "pbe")}
    assert fingerprints(ASTEROID) == expected
    of_standard = {"ccsd(t) of methanol": expected["ccsd(t) of methanol"]}
    assert fingerprints(STANDARD) == of_standard == fingerprints(replace(STANDARD, budget=9, seed=3))
    for method in ("standard", "sgdml"):
        assert fingerprints(replace(ASTEROID, method=method)) == of_standard
    for method in ("inaccurate", "delta", "score-matching", "fidelity", "asteroid-unweighted"):
        assert fingerprints(replace(ASTEROID, method=method)).keys() == BOTH


def test_a_record_has_the_labels_that_it_was_made_from(made):
    assert made.data == fingerprints(STANDARD)


# Where the labels are not here


def test_a_record_is_shown_where_its_labels_are_not(no_data, made, store):
    specs = every_method("md17:ethanol")
    for one in specs:
        store.put(without_labels(one, made))
        assert store.get(one) == without_labels(one, made)
    assert {record.key for record in store.records()} == {one.key for one in specs}
    assert list(no_data.iterdir()) == []


def test_a_record_is_shown_where_one_of_its_sets_is_missing(tmp_path, made, store):
    one = replace(ASTEROID, molecule=str(tmp_path / "mine_{level}.npz"))
    store.put(without_labels(one, made))
    for level in ("ccsd(t)", "pbe"):
        assert store.get(one) is not None
        datasets.save(datasets.load("methanol", level), tmp_path / f"mine_{level}.npz")
    with pytest.warns(UserWarning, match="other labels"):
        assert store.get(one) is None


@pytest.mark.parametrize("level", ["ccsd(t)", "dft", "mmff", "ccsd", None])
def test_whether_labels_are_here_is_told_without_reading_them(level, no_data, monkeypatch):
    assert not datasets.is_here("md17:ethanol", level)
    places = {
        "ccsd(t)": "ethanol CCSD(T)/raw/ethanol_ccsd_t-train.npz",
        "dft": "ethanol/raw/md17_ethanol.npz",
        "mmff": "ethanol_mmff.npz",
    }
    for path in places.values():
        (no_data / path).parent.mkdir(parents=True, exist_ok=True)
        (no_data / path).write_bytes(b"no archive")
    assert datasets.is_here("md17:ethanol", level) == (level in places)
    assert not datasets.is_here("md17:toluene", level) and not datasets.is_here("md17:no_molecule", level)
    monkeypatch.setenv("ASTEROID_MD17", str(no_data / "nowhere"))
    assert not datasets.is_here("md17:ethanol", level) and not (no_data / "nowhere").exists()


def test_embedded_labels_and_files_are_here(tmp_path):
    assert datasets.is_here("methanol", "pbe") and not datasets.is_here("methanol", "mp5")
    assert not datasets.is_here(str(tmp_path / "mine.npz"), "pbe") and not datasets.is_here(str(tmp_path), "pbe")
    (tmp_path / "mine.npz").touch()
    assert datasets.is_here(str(tmp_path / "mine.npz"), "pbe")


# Where they are others


def in_a_file(path: Path, scale: float = 1.0) -> RunSpec:
    """A run on a file of methanol labels, whose forces are scaled."""
    labelled = datasets.load("methanol", "ccsd(t)")
    before = path.stat().st_mtime_ns if path.exists() else 0
    datasets.save(replace(labelled, energy=scale * labelled.energy, force=scale * labelled.force), path)
    os.utime(path, ns=(0, max(path.stat().st_mtime_ns, before + 1)))  # a clock may be coarse
    return replace(STANDARD, molecule=str(path))


def test_a_record_of_other_labels_is_not_shown_and_that_is_said_once(tmp_path, store):
    one = in_a_file(tmp_path / "mine.npz")
    before = runs.run(one, store, progress=False)
    in_a_file(tmp_path / "mine.npz", scale=1.1)
    other = replace(one, seed=1)
    store.put(replace(before, spec=other, key=other.key))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        assert [store.get(asked) for asked in (one, other) for _ in range(3)] == [None] * 6
        first = len(caught)
        assert store.records() == []
    (said, *_) = (str(warning.message) for warning in caught)
    assert first == 1 and len({str(warning.message) for warning in caught}) == 1
    assert str(store.folder) in said and "(ccsd(t) of mine)" in said and "making the runs again replaces them" in said
    in_a_file(tmp_path / "mine.npz")  # the old labels are back
    assert store.get(one) == before and len(store.records()) == 2


@pytest.mark.filterwarnings("ignore:records in .* were made from other labels:UserWarning")
def test_making_a_run_again_replaces_the_record_of_other_labels(tmp_path, store):
    one = in_a_file(tmp_path / "mine.npz")
    before = runs.run(one, store, progress=False)
    in_a_file(tmp_path / "mine.npz", scale=1.1)
    after = runs.run(one, store, progress=False)
    assert after.data == fingerprints(one) != before.data and after.errors != before.errors
    assert store.get(one) == after and len(list(store.folder.glob("*.json"))) == 1
    test = runs.split_of(one).test
    error = (runs.force_field(one, store, progress=False).energy_and_force(test.pos)[1] - test.force).abs().mean()
    assert float(error) == pytest.approx(after.errors["force_mae"])


@pytest.mark.filterwarnings("ignore:records in .* were made from other labels:UserWarning")
def test_a_force_field_of_other_labels_is_not_taken_for_one_of_these(tmp_path, store):
    """Nor built upon: the θ_A of a run has the labels of the run."""
    one = in_a_file(tmp_path / "mine.npz")
    old = runs.force_field(one, store, progress=False)
    in_a_file(tmp_path / "mine.npz", scale=1.1)
    new = runs.force_field(one, store, progress=False)
    assert new.provenance["fingerprints"]["train"] == runs.split_of(one).train.fingerprint
    assert not torch.equal(tiny.weights(new.model), tiny.weights(old.model))


def test_an_interrupted_run_of_other_labels_is_not_gone_on_with(tmp_path, store, monkeypatch):
    one = in_a_file(tmp_path / "mine.npz")

    def interrupt(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stages, "test_errors", interrupt)  # when its training is kept already
        with pytest.raises(KeyboardInterrupt):
            runs.run(one, store, progress=False)
    assert list(store.work(one).rglob("*.safetensors"))
    in_a_file(tmp_path / "mine.npz", scale=1.1)
    assert runs.run(one, store, progress=False).data == fingerprints(one)


@pytest.mark.filterwarnings("ignore:records in .* were made from other labels:UserWarning")
def test_simulations_of_other_labels_are_made_again(tmp_path, store):
    one = in_a_file(tmp_path / "mine.npz")
    settings = {"molecule": one.molecule, "level": "ccsd(t)", "steps": 4, "every": 2}
    for moved in (Simulation("lj", **settings), Simulation(one, **settings)):
        in_a_file(tmp_path / "mine.npz")
        before = simulations.simulate(moved, store)
        assert before.data == fingerprints(one) and simulations.simulate(moved, store) == before
        in_a_file(tmp_path / "mine.npz", scale=1.1)
        after = simulations.simulate(moved, store)
        assert after.data == fingerprints(one) != before.data
        assert simulations.simulate(moved, store) == after
        os.remove(tmp_path / "mine.npz")
        assert simulations.simulate(moved, store) == after  # shown where the labels are not


def test_a_simulation_has_the_labels_of_its_starts_and_of_its_force_field(store):
    moved = Simulation(ASTEROID, "methanol", "gfn2", steps=2, every=1)
    assert simulations.simulate(moved, store).data.keys() == {*BOTH, "gfn2 of methanol"}


# All records


def test_all_records_are_those_of_the_runs(store, made):
    assert store.records() == []
    others = [replace(made, spec=one, key=one.key) for seed in range(3) for one in (replace(STANDARD, seed=seed),)]
    for record in others:
        store.put(record)
    (store.folder / "toy-0.json").write_text('{"spec": {"accurate": 25}}')
    (store.folder / "md-0.json").write_text('{"spec": {"potential": "lj"}}')
    (store.folder / "failures").mkdir()
    shutil.copy(store.folder / STANDARD.file_name, store.folder / "failures")
    found = {record.key: record for record in store.records()}
    assert found == {record.key: record for record in others}


@pytest.mark.parametrize("content", ["", "{", "[]", "3", '{"spec": 1}', '{"spec": {"method": "standard"}}', "null"])
def test_a_damaged_file_among_all_records_is_named(content, store, made):
    store.put(made)
    (store.folder / "mine.json").write_text(content)
    with pytest.raises(ValueError, match="mine.json is damaged.*delete it"):
        store.records()


# Without validation frames


def test_which_runs_can_do_without_validation_frames():
    for method in METHODS:
        if method in WITHOUT_VALIDATION:
            assert replace(ASTEROID, method=method, valid=0).valid == 0
        else:
            with pytest.raises(ValueError, match="valid is 0, expected a whole number of 1 or more"):
                replace(ASTEROID, method=method, valid=0, together=TOGETHER)


def test_several_gammas_need_validation_frames_where_there_are_gammas():
    recipe = replace(tiny.RECIPE, gammas=(0.5, 2.0))
    for method in ("asteroid", "asteroid-not-tuned"):
        with pytest.raises(ValueError, match=r"gammas \(0.5, 2.0\).*no accurate validation frames"):
            replace(ASTEROID, method=method, valid=0, recipe=recipe)
        assert replace(ASTEROID, method=method, recipe=recipe).recipe == recipe
    for method in set(WITHOUT_VALIDATION) - {"asteroid", "asteroid-not-tuned"}:
        assert replace(ASTEROID, method=method, valid=0, recipe=recipe).valid == 0


@pytest.mark.parametrize(
    "method", [pytest.param(name, marks=tiny.needs("tblite") if name == "delta" else ()) for name in WITHOUT_VALIDATION]
)
def test_a_run_without_validation_frames_leaves_a_record(method, store):
    one = replace(ASTEROID, method=method, inaccurate="gfn2" if method == "delta" else "pbe", valid=0)
    record = runs.run(one, store, progress=False)
    assert store.get(one) == record and record.errors["force_mae"] > 0
    # The cheap labels that are held out decide, where no accurate ones are learned after them.
    assert (record.valid_force_mae is None) == (method != "inaccurate")
    assert len(runs.overview([record])) == 1
    first = replace(one, valid=5)
    assert first.key != one.key
    if method != "inaccurate":
        split = runs.split_of(one)
        assert split.valid is None and len(split.train) == 6 and len(split.test) == 8
