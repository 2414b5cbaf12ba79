"""Physics that every model has to obey, in double precision, on random weights."""

import runpy
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import parity
import pytest
import torch
from torch import Tensor, nn

from asteroid import forces, models

SMALL = {"layers": 2, "hidden": 16}
CASES = [
    ("egnn", {**SMALL}),
    ("egnn", {**SMALL, "cutoff": 4.0}),
    ("egnn", {**SMALL, "update_positions": True}),
    ("egnn", {**SMALL, "cutoff": 4.0, "update_positions": True}),
]
CUTOFF_CASES = [case for case in CASES if case[1].get("cutoff")]
ATOMS = (2, 3, 21)

# Largest deviation, relative to the largest value, double precision if nothing else is said.
TOLERANCE = {
    "symmetry": 1e-10,
    "force by finite differences": 1e-6,
    "gradient by finite differences": 1e-5,
    "batch": 1e-12,
    "beyond the cutoff": 1e-12,
    "at the cutoff": 1e-3,  # of the force half an Å inside
    "single precision": 1e-4,
    "parity": parity.TOLERANCE,
}
PARITY_FILE = Path(__file__).parent / "fixtures" / "egnn.npz"
every_model = pytest.mark.parametrize(("name", "config"), CASES, ids=lambda value: str(value).replace(" ", ""))
every_size = pytest.mark.parametrize("atoms", ATOMS)


def random_model(name: str, config: dict, seed: int = 0) -> nn.Module:
    """A model all of whose weights matter: those that start near zero would hide mistakes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = models.build(name, **config).double()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def molecule(atoms: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Atomic numbers, and positions (1, atoms, 3) on a disturbed grid of 1.3 Å."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.tensor([1, 6, 7, 8])[torch.randint(4, (atoms,), generator=generator)]
    grid = torch.cartesian_prod(*[torch.arange(3.0, dtype=torch.float64)] * 3)[:atoms]
    return z, (1.3 * grid + 0.15 * torch.randn(atoms, 3, generator=generator, dtype=torch.float64))[None]


def orthogonal(determinant: int) -> Tensor:
    """A rotation (1) or a rotation with a reflection (-1)."""
    generator = torch.Generator().manual_seed(1)
    matrix, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    return matrix * (torch.sign(torch.linalg.det(matrix)) * determinant)


def energy_and_force(model: nn.Module, z: Tensor, pos: Tensor) -> tuple[Tensor, Tensor]:
    return forces.energy_and_force(partial(model, z), pos)


def assert_close(value: Tensor, reference: Tensor, what: str) -> None:
    deviation = float((value - reference).abs().max() / reference.abs().max())
    assert deviation < TOLERANCE[what], f"{what}: {deviation:.1e}"


@every_model
@every_size
@pytest.mark.parametrize("determinant", [1, -1], ids=["rotation", "reflection"])
def test_energy_is_invariant_and_force_turns_with_the_molecule(name, config, atoms, determinant):
    model, (z, pos), turn = random_model(name, config), molecule(atoms), orthogonal(determinant)
    energy, force = energy_and_force(model, z, pos)
    turned_energy, turned_force = energy_and_force(model, z, pos @ turn.T)
    assert_close(turned_energy, energy, "symmetry")
    assert_close(turned_force, force @ turn.T, "symmetry")


@every_model
@every_size
def test_translation_changes_nothing_and_the_net_force_is_zero(name, config, atoms):
    model, (z, pos) = random_model(name, config), molecule(atoms)
    energy, force = energy_and_force(model, z, pos)
    moved_energy, moved_force = energy_and_force(model, z, pos + torch.tensor([3.0, -5.0, 7.0], dtype=pos.dtype))
    assert_close(moved_energy, energy, "symmetry")
    assert_close(moved_force, force, "symmetry")
    assert float(force.sum(dim=1).abs().max()) < TOLERANCE["symmetry"] * float(force.abs().max()) * atoms


@every_model
@every_size
def test_order_of_the_atoms_does_not_matter(name, config, atoms):
    model, (z, pos) = random_model(name, config), molecule(atoms)
    order = torch.arange(atoms).roll(1)
    energy, force = energy_and_force(model, z, pos)
    permuted_energy, permuted_force = energy_and_force(model, z[order], pos[:, order])
    assert_close(permuted_energy, energy, "symmetry")
    assert_close(permuted_force, force[:, order], "symmetry")


@every_model
def test_elements_are_told_apart(name, config):
    model, (z, pos) = random_model(name, config), molecule(3)
    carbon, nitrogen = (energy_and_force(model, z.index_fill(0, torch.tensor(1), k), pos)[1] for k in (6, 7))
    assert float((carbon - nitrogen).abs().max()) > 1e-3 * float(carbon.abs().max())


@every_model
@every_size
def test_force_is_minus_the_derivative_of_the_energy(name, config, atoms):
    model, (z, pos), step = random_model(name, config), molecule(atoms), 1e-4
    _, force = energy_and_force(model, z, pos)
    coordinates = range(min(3 * atoms, 12))
    moves = step * torch.eye(3 * atoms, dtype=pos.dtype)[: len(coordinates)].view(-1, atoms, 3)
    with torch.no_grad():
        slope = (model(z, pos + moves) - model(z, pos - moves)) / (2 * step)
    assert_close(-slope, force.flatten()[: len(coordinates)], "force by finite differences")


@every_model
def test_gradient_of_a_function_of_energy_and_force_by_the_weights(name, config):
    """Training differentiates the force by the weights, hence the energy twice."""
    model, (z, pos), step = random_model(name, config), molecule(3), 1e-5
    parameters = tuple(model.parameters())

    def objective(energy_of: forces.EnergyOf, pos: Tensor) -> Tensor:
        energy, force = forces.energy_and_force(energy_of, pos, create_graph=True)
        return force.square().mean() + energy.square().mean()

    step_of = forces.training_step(model, z, objective)
    _, gradients = step_of(pos)
    generator = torch.Generator().manual_seed(2)
    direction = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]
    slope = sum((gradient * along).sum() for gradient, along in zip(gradients, direction, strict=True))
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            for parameter, along in zip(parameters, direction, strict=True):
                parameter.add_(sign * step * along)
        values.append(float(step_of(pos)[0]))
        with torch.no_grad():
            for parameter, along in zip(parameters, direction, strict=True):
                parameter.sub_(sign * step * along)
    expected = torch.tensor((values[0] - values[1]) / (2 * step), dtype=slope.dtype)
    assert_close(slope, expected, "gradient by finite differences")


@every_model
@every_size
def test_a_batch_equals_its_frames_one_by_one(name, config, atoms):
    model, (z, pos) = random_model(name, config), molecule(atoms)
    batch = torch.cat([pos, 1.05 * pos, pos.flip(-1)])
    energy, force = energy_and_force(model, z, batch)
    assert energy.shape == (3,) and force.shape == (3, atoms, 3)
    singles = [energy_and_force(model, z, frame[None]) for frame in batch]
    assert_close(energy, torch.cat([single[0] for single in singles]), "batch")
    assert_close(force, torch.cat([single[1] for single in singles]), "batch")


@pytest.mark.parametrize(("name", "config"), CUTOFF_CASES, ids=lambda value: str(value).replace(" ", ""))
def test_fragments_beyond_the_cutoff_do_not_feel_each_other(name, config):
    model, (z, pos) = random_model(name, config), molecule(4)
    apart = [torch.tensor([distance, 0.0, 0.0], dtype=pos.dtype) for distance in (2.0, 9.0, 15.0)]
    near, far, farther = (energy_and_force(model, z.repeat(2), torch.cat([pos, pos + move], 1)) for move in apart)
    assert_close(farther[0], far[0], "beyond the cutoff")
    assert_close(farther[1], far[1], "beyond the cutoff")
    net_force = far[1][0, 4:].sum(dim=0)
    assert float(net_force.abs().max()) < TOLERANCE["beyond the cutoff"] * float(far[1].abs().max()) * 100
    assert float((near[1] - far[1]).abs().max()) > 1e-3 * float(far[1].abs().max())  # and nearer by they do


@pytest.mark.parametrize(("name", "config"), CUTOFF_CASES, ids=lambda value: str(value).replace(" ", ""))
def test_energy_is_smooth_across_the_cutoff(name, config):
    model, cutoff = random_model(name, config), config["cutoff"]
    distance = torch.tensor([cutoff - 0.5, cutoff - 0.01, cutoff - 1e-6, cutoff + 1e-6], dtype=torch.float64)
    pos = torch.zeros(len(distance), 2, 3, dtype=torch.float64)
    pos[:, 1, 0] = distance
    energy, force = energy_and_force(model, torch.tensor([6, 8]), pos)
    inside = float(force[0].abs().max())
    assert inside > 0
    assert float(force[1].abs().max()) < 100 * TOLERANCE["at the cutoff"] * inside  # on its way to zero
    assert float(force[2].abs().max()) < TOLERANCE["at the cutoff"] * inside
    assert float(force[3].abs().max()) == 0
    assert float((energy[2] - energy[3]).abs()) < 1e-6 * inside


@every_model
@every_size
def test_single_precision_agrees_with_double(name, config, atoms):
    model, (z, pos) = random_model(name, config), molecule(atoms)
    energy, force = energy_and_force(model, z, pos)
    energy32, force32 = energy_and_force(model.float(), z, pos.float())
    assert energy32.dtype == force32.dtype == torch.float32
    assert_close(energy32, energy, "single precision")
    assert_close(force32, force, "single precision")


@every_model
def test_an_element_outside_the_table_is_refused(name, config):
    model, (_, pos) = random_model(name, {**config, "elements": 10}), molecule(3)
    with pytest.raises((ValueError, IndexError)):
        model(torch.tensor([8, 17, 1]), pos)


def test_every_model_of_the_library_is_among_the_cases():
    assert {name for name, _ in CASES} == set(models.MODELS)


@every_model
def test_describe_names_what_build_makes(name, config):
    model = models.build(name, **config)
    described_name, described_config = models.describe(model)
    again = models.build(described_name, **described_config)
    assert described_name == name and again.config == model.config
    again.load_state_dict(model.state_dict())


def test_describe_refuses_a_foreign_model():
    with pytest.raises(ValueError, match="Linear"):
        models.describe(nn.Linear(1, 1))


def test_unknown_model_lists_the_known():
    with pytest.raises(ValueError, match="'schnet'.*egnn"):
        models.build("schnet")


@pytest.mark.parametrize("name", models.MODELS)
def test_unknown_setting_lists_the_known(name):
    with pytest.raises(ValueError, match=r"'depth'.*hidden.*layers"):
        models.build(name, depth=3)


def test_number_of_parameters_of_the_published_egnn():
    """55 elements embedded; a layer has six H × H maps and five vectors; the readout has H weights and a bias."""
    hidden, layers, elements = 128, 5, 55
    expected = elements * hidden + layers * (6 * hidden**2 + 5 * hidden) + hidden + 1
    assert sum(parameter.numel() for parameter in models.build("egnn").parameters()) == expected == 501_889


def test_egnn_reproduces_the_published_implementation():
    assert max(parity.deviation(str(PARITY_FILE))) < TOLERANCE["parity"]


def test_the_parity_script_accepts_the_published_outputs():
    done = subprocess.run([sys.executable, parity.__file__, PARITY_FILE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "energy" in done.stdout


@pytest.mark.parametrize("changed", ["energy", "force"])
def test_the_parity_script_refuses_other_outputs(changed, tmp_path, monkeypatch):
    arrays = dict(np.load(PARITY_FILE, allow_pickle=False))
    arrays[changed] = arrays[changed] * (1 + 1e-6)
    np.savez(tmp_path / "changed.npz", **arrays)
    monkeypatch.setattr(sys, "argv", ["parity.py", str(tmp_path / "changed.npz")])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(parity.__file__, run_name="__main__")
    assert stopped.value.code == 1
