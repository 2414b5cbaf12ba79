"""A trained force field: its file, its refusals, and ASE's view of it."""

import copy
import json
import os
import pickle
from pathlib import Path

import ase
import ase.units
import numpy as np
import pytest
import safetensors.torch
import tiny
import torch
from ase.calculators.fd import calculate_numerical_forces

from asteroid import datasets, multi_molecule, stages
from asteroid.baselines.delta import DeltaForceField
from asteroid.baselines.sgdml import SGDMLForceField
from asteroid.force_field import ForceField, force_on
from asteroid.planning.bias import bias_report
from asteroid.runs import selection

TOLERANCE = {
    "same configuration": 1e-5,  # relative to the largest force, single precision
    "numerical forces": 1e-5,  # relative to the largest force, double precision
    "units": 1e-9,
    "rounding": 2e-5,  # single precision; dynamics moves the molecule to the origin first
}
Z = torch.tensor([6, 8, 1, 1, 1, 1])


def make(dtype: torch.dtype = torch.float32, bias: torch.Tensor | None = None) -> ForceField:
    provenance = {"stage": "standard", "seconds": 1.25, "history": {"step": [1, 2]}, "gamma": None}
    return ForceField(tiny.model(dtype=dtype), Z, -72345.678901234, "ccsd(t)", provenance, bias)


@pytest.fixture(scope="module")
def pos() -> torch.Tensor:
    return tiny.methanol(inaccurate_budget=None).test.pos


@pytest.fixture
def atoms(pos) -> ase.Atoms:
    return ase.Atoms(Z.numpy(), pos[0].numpy())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bias", [None, torch.linspace(1, 2, 7, dtype=torch.float64)])
def test_a_saved_force_field_is_the_same_to_the_last_bit(dtype, bias, pos, tmp_path):
    saved = make(dtype, bias)
    saved.save(tmp_path / "new" / "one.safetensors")
    read = ForceField.load(str(tmp_path / "new" / "one.safetensors"))
    for a, b in zip(saved.energy_and_force(pos), read.energy_and_force(pos), strict=True):
        assert a.dtype == b.dtype and torch.equal(a, b)
    assert read.shift == saved.shift and read.level == saved.level and torch.equal(read.z, saved.z)
    assert read.provenance == saved.provenance
    assert read.bias is None if bias is None else torch.equal(read.bias, bias)
    assert os.listdir(tmp_path / "new") == ["one.safetensors"]


def test_the_shift_is_kept_in_double_precision(pos):
    force_field = make()
    energy, force = force_field.energy_and_force(pos)
    assert energy.dtype == torch.float64 and force.shape == pos.shape
    bare = ForceField(force_field.model, Z, 0.0, "ccsd(t)").energy_and_force(pos)[0]
    torch.testing.assert_close(energy - force_field.shift, bare, rtol=0, atol=1e-9)


def test_forces_are_as_exact_far_from_the_origin(pos):
    field = make()
    for near, far in zip(field.energy_and_force(pos), field.energy_and_force(pos + 1000)):
        torch.testing.assert_close(far, near, rtol=1e-5, atol=1e-5)


def test_one_frame_and_many_have_the_shape_of_their_positions(pos):
    force_field = make()
    energy, force = force_field.energy_and_force(pos[0])
    assert energy.shape == () and force.shape == (6, 3)
    energies, forces = force_field.energy_and_force(pos[:1])
    assert energies.shape == (1,) and torch.equal(forces[0], force) and float(energies[0]) == float(energy)


def test_atoms_in_another_order_have_their_forces_in_that_order(atoms):
    order = [3, 0, 5, 1, 4, 2]
    force_field = make()
    energy, force = force_field.energy_and_force(atoms)
    permuted_energy, permuted_force = force_field.energy_and_force(atoms[order])
    limit = TOLERANCE["same configuration"] * float(force.abs().max())
    assert float((permuted_force - force[order]).abs().max()) < limit
    assert float(permuted_energy) == pytest.approx(float(energy), abs=1e-3)
    assert float((force - force[order]).abs().max()) > 1000 * limit  # the order is not without effect


def test_atoms_are_left_as_they_are(atoms):
    before = atoms.copy()
    make().energy_and_force(atoms)
    assert np.array_equal(before.positions, atoms.positions) and before == atoms


def test_another_molecule_is_refused():
    with pytest.raises(ValueError, match=r"\[1, 1, 8\].*train one for this molecule"):
        make().energy_and_force(ase.Atoms("OH2", np.eye(3)))


@pytest.mark.parametrize(
    "use",
    [
        lambda ethanol, split: force_on(ethanol, split.test),
        lambda ethanol, split: stages.test_errors(ethanol, split.test),
        lambda ethanol, split: stages.test_errors(DeltaForceField(ethanol, "gfn2"), split.test),
        lambda ethanol, split: stages.test_errors(SGDMLForceField({}, ethanol.z, "ccsd(t)"), split.test),
        lambda ethanol, split: bias_report(ethanol, split.inaccurate),
        lambda ethanol, split: stages.estimated_bias(ethanol, split.inaccurate),
        lambda ethanol, split: stages.asteroid(split, tiny.RECIPE, theta_a=ethanol, progress=False),
        lambda ethanol, split: multi_molecule.pretrain([split], [ethanol], tiny.RECIPE, progress=False),
        lambda ethanol, split: selection.scores("bias", [ethanol], split.train, split.train),
        lambda ethanol, split: selection.scores("disagreement", [ethanol] * 3, split.train, split.inaccurate),
    ],
)
def test_labels_of_another_molecule_of_as_many_atoms_are_refused(use):
    accurate, cheap = (datasets.load("malonaldehyde", level) for level in ("gfn2", "mmff"))
    split = datasets.split(accurate, cheap, 5, 0, inaccurate_budget=10, valid=5, test=5)
    ethanol = ForceField(tiny.model(), datasets.load("ethanol", "gfn2").z, 0.0, "ccsd(t)")
    assert len(ethanol.z) == len(split.test.z)
    with pytest.raises(ValueError, match=r"has the atoms \[.*labels of malonaldehyde have \[.*in the same order"):
        use(ethanol, split)


@pytest.mark.parametrize("shape", [(5, 3), (2, 5, 3), (6, 2), (18,), (1, 1, 6, 3)])
def test_positions_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match="shape.*expected"):
        make().energy_and_force(torch.zeros(shape))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_positions_that_are_no_numbers_are_refused(value, pos, atoms):
    spoilt = pos.clone()
    spoilt[1, 2, 0] = value
    atoms.positions[2, 0] = value
    for structure in (spoilt, atoms):
        with pytest.raises(ValueError, match="NaN or infinite"):
            make().energy_and_force(structure)


def spoil(path: Path, how: str) -> None:
    content = path.read_bytes()
    tensors = safetensors.torch.load(content)
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    if how == "foreign":
        path.write_bytes(safetensors.torch.save({"x": torch.zeros(3)}))
    elif how == "newer format":
        path.write_bytes(safetensors.torch.save(tensors, header | {"format": "asteroid-force-field-99"}))
    elif how == "weight missing":
        tensors.pop(next(key for key in tensors if key.startswith("model.")))
        path.write_bytes(safetensors.torch.save(tensors, header))
    elif how == "unknown model":
        about = json.loads(header["about"]) | {"model": "schnet"}
        path.write_bytes(safetensors.torch.save(tensors, header | {"about": json.dumps(about)}))
    elif how == "no description":
        path.write_bytes(safetensors.torch.save(tensors, {"format": header["format"]}))
    else:
        path.write_bytes({"empty": b"", "truncated": content[: len(content) // 2], "text": b"weights"}[how])


@pytest.mark.parametrize(
    "how",
    ["empty", "truncated", "text", "foreign", "newer format", "weight missing", "unknown model", "no description"],
)
def test_a_file_that_is_no_whole_force_field_is_refused_by_name(how, tmp_path):
    path = tmp_path / "one.safetensors"
    make().save(path)
    spoil(path, how)
    with pytest.raises(ValueError, match="one.safetensors"):
        ForceField.load(path)


def test_periodic_atoms_are_refused_since_no_cell_is_looked_at(atoms):
    force_field = make()
    atoms.cell, atoms.pbc, atoms.calc = [12, 12, 12], True, force_field.calculator()
    with pytest.raises(ValueError, match=r"are periodic.*atoms.pbc = False"):
        atoms.get_potential_energy()
    with pytest.raises(ValueError, match="are periodic"):
        force_field.energy_and_force(atoms)
    atoms.pbc = False
    assert np.isfinite(atoms.get_potential_energy())


class Springs(torch.nn.Module):
    """A model of a user's own: harmonic in all distances, without a configuration."""

    def __init__(self):
        super().__init__()
        self.stiffness = torch.nn.Parameter(torch.tensor(3.0))

    def forward(self, z, pos):
        i, j = torch.triu_indices(len(z), len(z), 1)
        return self.stiffness * ((pos[:, i] - pos[:, j]).norm(dim=-1) - 1.5).square().sum(dim=1)


def test_a_model_of_ones_own_computes_and_is_not_saved(atoms, tmp_path):
    own = ForceField(Springs(), Z, 0.0, "springs")
    atoms.calc = own.calculator()
    numerical = calculate_numerical_forces(atoms, eps=1e-2)
    np.testing.assert_allclose(atoms.get_forces(), numerical, rtol=0, atol=1e-2 * abs(numerical).max())
    with pytest.raises(ValueError, match="Springs is not one of the models"):
        own.save(tmp_path / "own.safetensors")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing.safetensors"):
        ForceField.load(tmp_path / "nothing.safetensors")


@pytest.mark.parametrize("step", ["write", "replace"])
def test_a_failed_write_leaves_the_older_file(step, pos, tmp_path, monkeypatch):
    path = tmp_path / "one.safetensors"
    make().save(path)
    before = path.read_bytes()

    def full_disk(*args):
        raise OSError(28, "No space left on device")

    if step == "write":
        monkeypatch.setattr(Path, "write_bytes", full_disk)
    else:
        monkeypatch.setattr(os, "replace", full_disk)
    other = make(bias=torch.ones(3))
    with pytest.raises(OSError, match="No space left.*one.safetensors"):
        other.save(path)
    monkeypatch.undo()
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_ase_sees_its_own_units(atoms):
    """eV and eV/Å, by ASE's own constants."""
    force_field = make()
    atoms.calc = force_field.calculator()
    energy, force = force_field.energy_and_force(atoms)
    scale = ase.units.kcal / ase.units.mol
    assert atoms.get_potential_energy() == pytest.approx(float(energy) * scale, rel=TOLERANCE["rounding"])
    expected = force.numpy() * scale
    np.testing.assert_allclose(atoms.get_forces(), expected, rtol=TOLERANCE["rounding"], atol=TOLERANCE["units"])


def test_ase_forces_are_minus_the_slope_of_ase_energies(atoms):
    atoms.calc = make(torch.float64).calculator()
    force = atoms.get_forces()
    slopes = calculate_numerical_forces(atoms, eps=1e-4, iatoms=[0, 2])
    assert np.abs(slopes - force[[0, 2]]).max() < TOLERANCE["numerical forces"] * np.abs(force).max()


def test_ase_recalculates_when_atoms_move_and_not_when_the_molecule_does(atoms):
    atoms.calc = make(torch.float64).calculator()
    energy, force = atoms.get_potential_energy(), atoms.get_forces()
    atoms.translate([1.0, -2.0, 3.0])
    assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-8)
    np.testing.assert_allclose(atoms.get_forces(), force, atol=1e-8)
    atoms.positions[0, 0] += 0.05
    assert abs(atoms.get_potential_energy() - energy) > 1e-5


def test_ase_is_given_the_energy_that_belongs_to_the_forces(atoms):
    atoms.calc = make().calculator()
    assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()


@pytest.mark.parametrize("dtype", [torch.float64, None])
def test_a_calculator_is_copied_after_use(dtype, atoms, monkeypatch):
    monkeypatch.setattr("asteroid.evaluator.TRACE_FROM_CALLS", 1)  # what cannot be copied is a graph
    atoms.calc = make().calculator(dtype)
    for _ in range(3):
        atoms.positions[0, 0] += 0.01
        force = atoms.get_forces()
    for copied in (copy.deepcopy(atoms), pickle.loads(pickle.dumps(atoms))):
        copied.calc.reset()
        np.testing.assert_allclose(copied.get_forces(), force, rtol=0, atol=1e-5)


def test_the_precision_of_a_calculator_is_an_argument(atoms):
    """Two energies 1e-7 Å apart: single precision cannot tell them, and the force field itself stays as it was."""
    field = make()
    for dtype, told_apart in ((torch.float64, True), (None, False)):
        atoms.calc = field.calculator(dtype)
        step = np.zeros((6, 3))
        step[2] = 1e-7
        before, slope = atoms.get_potential_energy(), -float((atoms.get_forces() * step).sum())
        atoms.positions += step
        assert (atoms.get_potential_energy() - before == pytest.approx(slope, rel=1e-2)) == told_apart
    assert next(field.model.parameters()).dtype == torch.float32


def test_atoms_of_another_charge_than_the_labels_are_refused(atoms):
    field = ForceField(tiny.model(), Z, 0.0, "ccsd(t)", {"charge": 0})
    atoms.info["charge"] = 1
    atoms.calc = field.calculator()
    for compute in (atoms.get_potential_energy, lambda: field.energy_and_force(atoms)):
        with pytest.raises(ValueError, match="the atoms say the charge 1, .* trained on labels of the charge 0"):
            compute()
    atoms.info["charge"] = 0
    assert np.isfinite(atoms.get_potential_energy())
