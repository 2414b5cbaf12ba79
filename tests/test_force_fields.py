"""Force fields that come with the library, and the warnings of one that leaves what it has learned from."""

import warnings

import ase
import pytest
import tiny
import torch

from asteroid import force_fields, runs
from asteroid.md import dynamics
from asteroid.runs import Store

SPEC = tiny.STANDARD


@pytest.fixture
def shipped(tmp_path, monkeypatch) -> Store:
    """A library that comes with one force field, of a tiny run."""
    monkeypatch.setattr(force_fields, "FOLDER", tmp_path / "force_fields")
    store = Store(tmp_path / "results")
    runs.run(SPEC, store, progress=False)
    force_fields.pack(SPEC, store)
    return store


@pytest.fixture
def atoms() -> ase.Atoms:
    train = runs.split_of(SPEC).train
    return ase.Atoms(train.z.numpy(), train.pos[0].numpy())


def test_a_packed_force_field_computes_what_the_run_s_did_and_says_how_good_it_is(shipped, atoms):
    assert force_fields.names() == ["methanol"]
    atoms.calc = force_fields.load("methanol")
    _, force = runs.force_field(SPEC, shipped).energy_and_force(atoms)
    from_ase = torch.as_tensor(atoms.get_forces()) * 23.060548
    torch.testing.assert_close(from_ase, force.double(), rtol=1e-4, atol=1e-4)
    about, record = atoms.calc.force_field.provenance, shipped.get(SPEC)
    assert about["run"] == SPEC.key and about["valid_force_mae"] == record.valid_force_mae
    assert about["test"] == {**record.errors, "frames": SPEC.test}
    assert any("doi:10.1126/sciadv.1603015" in line for line in about["citations"])


def test_a_molecule_without_one_is_answered_with_those_that_have(shipped):
    with pytest.raises(ValueError, match="no force field of 'ethanol' comes with asteroid; there are: methanol"):
        force_fields.load("ethanol")


def test_a_run_without_a_record_is_not_packed(shipped):
    with pytest.raises(ValueError, match="has no record .* make the run first"):
        force_fields.pack(tiny.ASTEROID, shipped)


def test_a_geometry_outside_what_was_learned_from_is_warned_of_once(shipped, atoms):
    atoms.calc = force_fields.load("methanol")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        atoms.get_forces()  # a frame of the training
    atoms.positions[0] += [2.0, 0.0, 0.0]
    with pytest.warns(UserWarning, match=r"the force field extrapolates: atoms 0 and \d are .* Å apart"):
        atoms.get_forces()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        atoms.positions[0] += [0.1, 0.0, 0.0]
        atoms.get_forces()


def test_a_simulation_hotter_than_the_samples_is_warned_of(shipped, atoms):
    field = force_fields.load("methanol").force_field
    assert field.domain.temperature == 500.0
    with pytest.warns(UserWarning, match="at 600 K, and the force field has learned from frames sampled at 500 K"):
        dynamics.langevin(atoms, field, steps=10, temperature=600.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dynamics.langevin(atoms, field, steps=10, temperature=500.0)
