"""sGDML by its authors' package: labels, symmetries, energy."""

import logging
import sys

import numpy as np
import pytest
import tiny
import torch
from ase import Atoms

from asteroid import datasets, units
from asteroid.baselines import sgdml
from asteroid.md import dynamics

pytestmark = tiny.needs("sgdml")

TOLERANCE = {"own labels": 1e-2, "finite difference": 1e-4, "energy drift": 0.05}  # kcal/mol/Å, kcal/mol


@pytest.fixture(scope="module")
def split():
    return datasets.split(datasets.load("methanol", "ccsd(t)"), None, 40, 0, valid=30, test=100)


@pytest.fixture(scope="module")
def trained(split):
    return sgdml.train(split.train, split.valid, sigmas=(2, 50))


def force_mae(force_field, labelled: datasets.LabelledSet) -> float:
    return float((force_field.energy_and_force(labelled.pos)[1] - labelled.force).abs().mean())


def test_it_reproduces_its_own_labels_and_predicts_others(split, trained):
    narrow = sgdml.train(split.train, split.valid, sigmas=(2,))
    _, force = narrow.energy_and_force(split.train.pos)
    assert float((force - split.train.force).abs().max()) < TOLERANCE["own labels"]
    assert force_mae(trained, split.test) < 0.1 * float(split.test.force.abs().mean())
    energy, _ = trained.energy_and_force(split.test.pos)
    assert float((energy - split.test.energy).abs().mean()) < 0.5  # of −72,000: the constant is the level's


def test_sigma_is_chosen_on_validation(split, trained):
    about = trained.provenance
    errors = dict(zip(about["history"]["sigma"], about["history"]["valid_force_mae"], strict=True))
    assert about["sigma"] == min(errors, key=errors.get) == 2 and errors[50] > 1.3 * errors[2]
    assert about["valid_force_mae"] == pytest.approx(force_mae(trained, split.valid))
    reordered = sgdml.train(split.train, split.valid, sigmas=(50, 2))
    assert reordered.provenance["sigma"] == 2 and force_mae(reordered, split.test) == force_mae(trained, split.test)


def test_the_symmetries_of_the_methyl_group_are_found_and_kept(split, trained):
    assert trained.provenance["symmetries"] % 3 == 0
    energy, force = trained.energy_and_force(split.test.pos[:5])
    hydrogens = [k for k in range(2, 6) if k not in _hydroxyl(split.test)]
    order = list(range(6))
    for here, there in zip(hydrogens, hydrogens[1:] + hydrogens[:1], strict=True):
        order[here] = there
    other_energy, other_force = trained.energy_and_force(split.test.pos[:5][:, order])
    torch.testing.assert_close(other_energy, energy, rtol=0, atol=1e-6)
    torch.testing.assert_close(other_force, force[:, order], rtol=0, atol=1e-6)


def _hydroxyl(labelled: datasets.LabelledSet) -> list[int]:
    """The hydrogen at the oxygen, which stands second."""
    distance = (labelled.pos[0] - labelled.pos[0, 1]).norm(dim=-1)
    return [2 + int(distance[2:].argmin())]


def test_the_force_is_minus_the_gradient_of_the_energy(split, trained):
    start, step = split.test.pos[0], 1e-4
    moved = start + step * torch.eye(18, dtype=torch.float64).reshape(18, 6, 3)
    back = start - step * torch.eye(18, dtype=torch.float64).reshape(18, 6, 3)
    slope = (trained.energy_and_force(moved)[0] - trained.energy_and_force(back)[0]) / (2 * step)
    _, force = trained.energy_and_force(start)
    assert float((force.flatten() + slope).abs().max()) < TOLERANCE["finite difference"]


def test_energy_is_conserved_in_dynamics(split, trained):
    start = Atoms(split.train.z.numpy(), split.train.pos[0].numpy())
    trajectory = dynamics.langevin(start, trained, steps=400, every=20, timestep=0.2, friction=0.0, temperature=200.0)
    assert trajectory.stable and float(np.ptp(trajectory.total_energy)) < TOLERANCE["energy drift"]


def test_atoms_calculator_and_single_frames_agree(split, trained):
    energy, force = trained.energy_and_force(split.test.pos[:2])
    atoms = Atoms(split.test.z.numpy(), split.test.pos[1].numpy(), calculator=trained.calculator())
    assert atoms.get_potential_energy() / units.KCAL_PER_MOL_IN_EV == pytest.approx(float(energy[1]), abs=1e-6)
    np.testing.assert_allclose(atoms.get_forces() / units.KCAL_PER_MOL_IN_EV, force[1], atol=1e-6)
    one_energy, one_force = trained.energy_and_force(atoms)
    assert one_energy.shape == () and torch.equal(one_force, force[1])


def test_it_reads_back_as_it_was_saved(split, trained, tmp_path):
    trained.save(path := tmp_path / "new" / "model.npz")
    again = sgdml.SGDMLForceField.load(path)
    for a, b in zip(again.energy_and_force(split.test.pos), trained.energy_and_force(split.test.pos), strict=True):
        assert torch.equal(a, b)
    assert again.provenance == trained.provenance and again.level == "ccsd(t)" and torch.equal(again.z, trained.z)
    assert [file.name for file in path.parent.iterdir()] == ["model.npz"]


def test_what_it_writes_is_the_packages_own_format(split, trained, tmp_path):
    from sgdml.predict import GDMLPredict

    trained.save(path := tmp_path / "model.npz")
    with np.load(path, allow_pickle=False) as file:
        energy, _ = GDMLPredict(dict(file), max_processes=1).predict(split.test.pos[0].numpy().ravel())
    assert float(energy[0]) == pytest.approx(float(trained.energy_and_force(split.test.pos[0])[0]))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"something else"])
def test_a_damaged_file_is_named(content, tmp_path):
    path = tmp_path / "model.npz"
    with pytest.raises(FileNotFoundError, match="no force field at"):
        sgdml.SGDMLForceField.load(path)
    path.write_bytes(content)
    with pytest.raises(ValueError, match="model.npz is damaged"):
        sgdml.SGDMLForceField.load(path)


def test_another_order_of_atoms_is_refused(split, trained):
    with pytest.raises(ValueError, match=r"\[8, 6, 1, 1, 1, 1\].*\[6, 8, 1, 1, 1, 1\]; .*same order"):
        trained.energy_and_force(Atoms(split.test.z.numpy()[[1, 0, 2, 3, 4, 5]], np.eye(6, 3)))
    with pytest.raises(ValueError, match=r"shape \(5, 3\), expected \(frames, 6, 3\)"):
        trained.energy_and_force(np.zeros((5, 3)))
    with pytest.raises(ValueError, match="come apart"):
        trained.energy_and_force(np.full((6, 3), np.nan))


def test_it_leaves_the_logging_of_other_packages_alone(trained, capfd, split):
    sgdml.train(split.train[:10], split.valid, sigmas=(10,))
    assert logging.getLoggerClass() is logging.Logger
    assert "[INFO]" not in "".join(capfd.readouterr())


def test_labels_of_two_molecules_and_no_sigma_are_refused(split):
    with pytest.raises(datasets.DatasetError, match="one molecule"):
        sgdml.train(split.train, datasets.load("ethanol", "gfn2")[:5])
    with pytest.raises(ValueError, match="sigmas is empty"):
        sgdml.train(split.train, split.valid, sigmas=())


def test_without_the_package_the_error_has_the_command(monkeypatch, split):
    monkeypatch.setitem(sys.modules, "sgdml", None)
    sgdml._package.cache_clear()
    with pytest.raises(ImportError, match="pip install .*sgdml"):
        sgdml.train(split.train, split.valid)
