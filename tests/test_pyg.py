"""Models of PyTorch Geometric obey the physics of ours and go through the same stages."""

import sys
from dataclasses import replace
from functools import partial

import pytest
import tiny
import torch
from test_models import FLAT, RIGHT_ANGLES, STRAIGHT, assert_close, energy_and_force, molecule, orthogonal, random_model

from asteroid import models, runs, stages
from asteroid.force_field import ForceField
from asteroid.models import pyg
from asteroid.training import forces, objectives

SCHNET = {"hidden_channels": 16, "num_filters": 12, "num_interactions": 2, "num_gaussians": 10, "cutoff": 4.0}
VISNET = {"hidden_channels": 16, "num_heads": 2, "num_layers": 2, "num_rbf": 8, "cutoff": 4.0}
CASES = [
    pytest.param("pyg:SchNet", SCHNET, id="SchNet"),
    pytest.param("pyg:ViSNet", VISNET, id="ViSNet"),
    pytest.param("pyg:ViSNet", VISNET | {"lmax": 2, "vertex": True}, id="ViSNet-l2"),
]
every_model = pytest.mark.parametrize(("name", "config"), CASES)
once_each = pytest.mark.parametrize(("name", "config"), CASES[:2])
every_size = pytest.mark.parametrize("atoms", [2, 9])
FAR = torch.tensor([[0.0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 9]], dtype=torch.float64)
PLACES = {"straight": STRAIGHT, "flat": FLAT, "right angles": RIGHT_ANGLES, "one alone": FLAT + FAR, "far": 10 * FLAT}


def square_of_the_force(energy: torch.Tensor, force: torch.Tensor, pos: torch.Tensor) -> torch.Tensor:
    return force.square().mean() + energy.square().mean()


def recipe(name: str, config: dict, steps: int) -> stages.Recipe:
    config = {**config, "energy_scale": 10.0}
    train = replace(tiny.TRAIN, steps=steps, batch_size=10, learning_rate=0.03, eval_every=10)
    return replace(tiny.RECIPE, model=name, model_config=config, accurate=train, identification=train, inaccurate=train)


@every_model
@every_size
def test_energy_is_invariant_and_force_turns_with_the_molecule(name, config, atoms):
    model, (z, pos) = random_model(name, config), molecule(atoms)
    energy, force = energy_and_force(model, z, pos)
    order = torch.arange(atoms).roll(1)
    for determinant in (1, -1):
        turn = orthogonal(determinant)
        moved = (pos @ turn.T + torch.tensor([3.0, -5.0, 7.0], dtype=pos.dtype))[:, order]
        moved_energy, moved_force = energy_and_force(model, z[order], moved)
        assert_close(moved_energy, energy, "symmetry")
        assert_close(moved_force, (force @ turn.T)[:, order], "symmetry")


@every_model
@every_size
def test_force_is_minus_the_derivative_of_the_energy(name, config, atoms):
    model, (z, pos), step = random_model(name, config), molecule(atoms), 2e-5
    _, force = energy_and_force(model, z, pos)
    moves = step * torch.eye(3 * atoms, dtype=pos.dtype).view(-1, atoms, 3)
    with torch.no_grad():
        slope = (model(z, pos + moves) - model(z, pos - moves)) / (2 * step)
    assert float(force.abs().max()) > 1e-3
    assert_close(-slope, force.flatten(), "force by finite differences")


@every_model
def test_gradient_of_a_function_of_energy_and_force_by_the_weights(name, config):
    model, (z, pos), step = random_model(name, config), molecule(5), 1e-5
    parameters = tuple(model.parameters())
    step_of = forces.training_step(model, z, square_of_the_force)
    _, gradients = step_of(pos)
    generator = torch.Generator().manual_seed(2)
    direction = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]
    slope = sum((gradient * along).sum() for gradient, along in zip(gradients, direction, strict=True))
    start, along = torch.nn.utils.parameters_to_vector(parameters).detach(), torch.cat([d.flatten() for d in direction])
    values = []
    for sign in (1, -1):
        torch.nn.utils.vector_to_parameters(start + sign * step * along, parameters)
        values.append(step_of(pos)[0])
    assert_close(slope, (values[0] - values[1]) / (2 * step), "gradient by finite differences")


@every_model
@pytest.mark.parametrize("pos", PLACES.values(), ids=PLACES)
def test_gradients_are_finite_where_angles_are_0_or_pi_and_without_neighbours(name, config, pos):
    model, z = random_model(name, config), torch.tensor([6, 6, 8, 1])
    value, gradients = forces.training_step(model, z, square_of_the_force)(pos[None])
    assert torch.isfinite(value)
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


@every_model
def test_a_batch_equals_its_frames_one_by_one(name, config):
    """The frames differ in their numbers of neighbours: all, some, none."""
    model, (z, pos) = random_model(name, config), molecule(9)
    batch = torch.cat([pos, 1.8 * pos, pos.flip(-1), 10 * pos])
    energy, force = energy_and_force(model, z, batch)
    assert energy.shape == (4,) and force.shape == (4, 9, 3)
    singles = [energy_and_force(model, z, frame[None]) for frame in batch]
    assert_close(energy, torch.cat([single[0] for single in singles]), "batch")
    assert_close(force, torch.cat([single[1] for single in singles]), "batch")
    assert float(force[3].abs().max()) == 0  # beyond the cutoff


@once_each
def test_the_unit_of_the_output_scales_the_energy(name, config):
    z, pos = molecule(5)
    one, ten = (random_model(name, {**config, "energy_scale": scale})(z, pos) for scale in (1.0, 10.0))
    torch.testing.assert_close(ten, 10 * one)


@every_model
def test_single_precision_agrees_with_double(name, config):
    model, (z, pos) = random_model(name, config), molecule(9)
    energy, force = energy_and_force(model, z, pos)
    energy32, force32 = energy_and_force(model.float(), z, pos.float())
    assert energy32.dtype == force32.dtype == torch.float32
    assert_close(energy32, energy, "single precision")
    assert_close(force32, force, "single precision")


def test_neighbours_are_those_of_their_definition():
    frames, atoms, cutoff = 2, 6, 2.2
    _, pos = molecule(atoms)
    pos = torch.cat([pos, 1.3 * pos])
    flat, batch = pos.view(-1, 3), torch.arange(frames).repeat_interleave(atoms)
    near = (torch.cdist(flat, flat) < cutoff) & (batch == batch[:, None])
    expected = {(j, i) for i in range(12) for j in range(12) if near[i, j] and i != j}
    edges = pyg.neighbours(flat, batch, cutoff)
    assert set(map(tuple, edges.T.tolist())) == expected and len(expected) == edges.shape[1]
    with_itself = pyg.neighbours(flat, batch, cutoff, loop=True)
    assert with_itself.shape[1] == edges.shape[1] + frames * atoms


@once_each
def test_training_through_the_stages_reduces_the_error_and_what_is_saved_answers_the_same(name, config, tmp_path):
    split, path = tiny.methanol(), tmp_path / "force_field.safetensors"
    force_field = stages.asteroid(split, recipe(name, config, steps=40), progress=False)
    error = stages.test_errors(force_field, split.test)["force_mae"]
    assert error < 0.75 * float(split.test.force.abs().mean())  # the error of no force at all
    force_field.save(path)
    loaded = ForceField.load(path)
    for ours, theirs in zip(
        loaded.energy_and_force(split.test.pos), force_field.energy_and_force(split.test.pos), strict=True
    ):
        assert torch.equal(ours, theirs)
    assert models.describe(loaded.model) == models.describe(force_field.model)


def test_a_run_of_one_has_a_record(tmp_path):
    spec = replace(tiny.STANDARD, recipe=recipe("pyg:SchNet", SCHNET, steps=4))
    other = replace(spec, recipe=recipe("pyg:SchNet", SCHNET | {"cutoff": 3.0}, steps=4))
    assert len({spec.key, other.key}) == 2 and {spec: 1}[spec] == 1
    assert runs.run(spec, runs.Store(tmp_path), progress=False).errors["force_mae"] > 0


@every_model
def test_describe_names_what_build_makes(name, config):
    model = models.build(name, **config)
    described_name, described_config = models.describe(model)
    again = models.build(described_name, **described_config)
    assert described_name == name and again.config == model.config and hash(again.config) == hash(model.config)
    again.load_state_dict(model.state_dict())


@once_each
def test_a_step_is_not_traced_and_says_why(name, config):
    """A trace would hold for the number of neighbours of its example only."""
    model, (z, pos) = random_model(name, config), molecule(5)
    batch = (pos, torch.zeros(1, dtype=pos.dtype), torch.zeros_like(pos), torch.ones(1, dtype=pos.dtype))
    with pytest.raises(forces.NotTraced, match="another number of neighbours in every batch"):
        forces.traced_training_step(model, z, objectives.Supervised(0.9), batch, compile=False)


def test_unknown_names_and_settings_list_the_known():
    with pytest.raises(ValueError, match="'pyg:GCN'.*pyg:SchNet, pyg:ViSNet"):
        models.build("pyg:GCN")
    with pytest.raises(ValueError, match="'dipole'.*cutoff.*hidden_channels"):
        models.build("pyg:SchNet", dipole=True)
    with pytest.raises(ValueError, match="'derivative'.*lmax"):
        models.build("pyg:ViSNet", derivative=True)


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("pyg:ViSNet", {"lmax": 3}, "lmax is 3.*expected 1 or 2"),
        ("pyg:SchNet", {"cutoff": -1.0}, "cutoff is -1.0, expected a number above 0"),
    ],
)
def test_settings_out_of_range_are_refused(name, config, message):
    with pytest.raises(ValueError, match=message):
        models.build(name, **config)


@once_each
def test_an_element_outside_the_table_is_refused(name, config):
    with pytest.raises(ValueError, match="120.*it knows 1 to 9[49]"):
        models.check_elements(models.build(name, **config), torch.tensor([1, 120]))


def test_a_package_that_is_not_there_is_named(monkeypatch):
    build = partial(models.build, "pyg:SchNet", **SCHNET)
    build()
    monkeypatch.setitem(sys.modules, "torch_geometric.nn.models", None)
    with pytest.raises(ImportError, match="SchNet .*needs torch-geometric.*pip install torch-geometric"):
        build()
