"""The other ways as runs: keys, records, and the force fields that they leave."""

import importlib.util
import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import tiny
import torch
from tiny import STANDARD, with_recipe

from asteroid import datasets, profiles, runs
from asteroid.baselines.delta import DeltaForceField
from asteroid.baselines.sgdml import SGDMLForceField
from asteroid.runs import RunSpec, Store
from asteroid.runs.methods import METHODS
from asteroid.runs.records import recorded as recorded_in
from asteroid.runs.simulations import Simulation, SimulationRecord
from asteroid.runs.spec import fingerprints, fingerprints_of
from asteroid.stages import Recipe

RECORDS = Path(__file__).resolve().parent.parent / "results" / "laptop"
DELTA = replace(STANDARD, method="delta", inaccurate="gfn2")
SGDML = replace(STANDARD, method="sgdml")
QUICK = replace(tiny.TRAIN, steps=8)
needs_sgdml = tiny.needs("sgdml")
needs_tblite = tiny.needs("tblite")


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "results")


def recorded() -> dict[str, dict]:
    """What the committed records of runs say, by file."""
    paths = [path for path in RECORDS.glob("*.json") if not path.name.startswith(("frames-", "md-", "toy-"))]
    return {path.name: json.loads(path.read_text(encoding="utf-8")) for path in paths}


def test_committed_records_are_still_found():
    """A method or a setting that is added must not change the names of runs that were made before, nor the labels."""
    contents = recorded()
    assert contents
    for name, content in contents.items():
        spec = RunSpec(**content["spec"])
        assert (spec.file_name, spec.key) == (name, content["key"])
        written = json.loads(json.dumps(asdict(spec)))
        assert RunSpec(**written) == spec and hash(RunSpec(**written)) == hash(spec)
        # A file may lack a setting that was added later.
        recipe = written["recipe"] | content["spec"]["recipe"]
        assert written | content["spec"] | {"recipe": recipe} == written
        assert fingerprints(spec) == content["data"]
    found = {record.spec.file_name: record for record in Store(RECORDS).records()}  # without a warning
    assert found.keys() == contents.keys()
    for name, record in found.items():
        assert record.key == contents[name]["key"] and record.errors == contents[name]["errors"]


def test_committed_simulations_are_of_the_labels_that_are_here():
    for path in RECORDS.glob("md-*.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        potential = content["spec"]["potential"]
        potential = potential if isinstance(potential, str) else RunSpec(**potential)
        spec = Simulation(**content["spec"] | {"potential": potential})
        record = recorded_in(SimulationRecord, spec, Store(RECORDS))
        assert record.key == content["key"] and spec.file_name == path.name
        assert record.data == fingerprints_of([(spec.molecule, spec.level)]) | (
            {} if isinstance(potential, str) else fingerprints(potential)
        )


@pytest.mark.parametrize(
    ("spec", "same"),
    [
        (DELTA, replace(DELTA, inaccurate_budget=20)),
        (DELTA, with_recipe(DELTA, identification=QUICK, inaccurate=QUICK, fine_tuning=QUICK, gammas=(9.0,))),
        (SGDML, replace(SGDML, inaccurate="gfn2", inaccurate_budget=20)),
        (SGDML, replace(SGDML, recipe=Recipe("gemnet-t"))),
    ],
    ids=["delta", "delta", "sgdml", "sgdml"],
)
def test_what_a_method_does_not_use_is_no_part_of_its_key(spec, same):
    assert same.key == spec.key and same.file_name == spec.file_name


@pytest.mark.parametrize(
    ("spec", "other"),
    [
        (DELTA, replace(DELTA, inaccurate="pbe")),
        (DELTA, with_recipe(DELTA, accurate=QUICK)),
        (DELTA, replace(DELTA, budget=7)),
        (SGDML, replace(SGDML, budget=7)),
        (SGDML, replace(SGDML, seed=1)),
    ],
    ids=lambda spec: spec.file_name[:30],
)
def test_what_decides_the_outcome_is(spec, other):
    assert other.key != spec.key


def test_delta_trains_on_the_same_frames_as_standard_training():
    split, standard = runs.split_of(DELTA), runs.split_of(STANDARD)
    cheap = datasets.load("methanol", "gfn2")
    for part in ("train", "valid", "test"):
        differences, labels = getattr(split, part), getattr(standard, part)
        assert torch.equal(differences.pos, labels.pos) and differences.level == "ccsd(t)-gfn2"
        _, theirs = labels.paired_with(cheap)
        torch.testing.assert_close(differences.force, labels.force - cheap.force[theirs])
    assert len(split.inaccurate) == len(split.train) == 6


@needs_tblite
def test_a_delta_run_records_the_error_of_the_sum(store):
    record = runs.run(DELTA, store, progress=False)
    force_field = runs.force_field(DELTA, store)
    assert isinstance(force_field, DeltaForceField) and (force_field.level, force_field.cheap) == ("ccsd(t)", "gfn2")
    test = runs.split_of(replace(STANDARD)).test
    error = (force_field.energy_and_force(test.pos)[1] - test.force).abs().mean()
    assert record.errors["force_mae"] == pytest.approx(float(error), abs=1e-3)
    assert record.errors["pair_distance"] == 0
    # As many labels of the cheap level as of the accurate one.
    assert record.label_seconds["inaccurate"] == pytest.approx(6 * datasets.load("methanol", "gfn2").median_seconds)
    assert store.get(DELTA) == record


@needs_sgdml
def test_an_sgdml_run_leaves_a_record_and_a_force_field(store):
    record = runs.run(SGDML, store, progress=False)
    force_field = runs.force_field(SGDML, store)
    assert isinstance(force_field, SGDMLForceField)
    test = runs.split_of(SGDML).test
    error = (force_field.energy_and_force(test.pos)[1] - test.force).abs().mean()
    assert record.errors["force_mae"] == pytest.approx(float(error))
    assert min(record.histories["sgdml"]["valid_force_mae"]) == record.valid_force_mae
    assert record.label_seconds["accurate"] > 0 and record.label_seconds["inaccurate"] == 0 and record.seconds > 0
    assert record.versions["sgdml"] and "egnn" not in SGDML.file_name
    assert store.get(SGDML) == record
    store.force_field_path(SGDML).unlink()  # as in a clone
    assert torch.equal(
        runs.force_field(SGDML, store).energy_and_force(test.pos)[1], force_field.energy_and_force(test.pos)[1]
    )


def test_a_missing_package_is_told_in_one_line(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert METHODS["standard"].missing() is None and METHODS["delta"].missing() is None
    message = METHODS["sgdml"].missing()
    assert "pip install" in message and "sgdml" in message and "\n" not in message


def test_a_profile_runs_each_baseline_once_for_each_budget():
    profile = profiles.load("smoke")
    sizes = len(profile.molecules) * len(profile.budgets) * len(profile.seeds)
    delta, sgdml = profile.specs("delta", "egnn"), profile.specs("sgdml", "egnn")
    assert len({spec.key for spec in delta}) == len(delta) == len(sgdml) == sizes
    # Δ-ML pays for its cheap labels as ASTEROID does; sGDML has none to pay for.
    assert {spec.budget for spec in delta} == {budget - profile.given_up for budget in profile.budgets}
    assert {spec.budget for spec in sgdml} == set(profile.budgets)
