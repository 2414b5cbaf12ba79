"""Physics that every model has to obey, in double precision, on random weights."""

import copy
import runpy
import sys
from dataclasses import fields
from functools import partial
from pathlib import Path

import numpy as np
import parity
import pytest
import tiny
import torch
from scipy.special import spherical_jn
from torch import Tensor, nn

from asteroid import models
from asteroid.models import basis, layers, neighbours
from asteroid.models.layers import silu
from asteroid.models.neighbours import envelope
from asteroid.training import forces, objectives

SMALL = {"layers": 2, "hidden": 16}
GEMNET = {
    "blocks": 2, "atom": 8, "edge": 12, "triplet": 6, "radial": 4, "circular": 5, "triplet_out": 7,
    "degrees": 4, "frequencies": 3,
}  # fmt: skip
QUADRUPLETS = {"quadruplet": 5, "spherical": 6, "quadruplet_out": 7}
CASES = [
    ("egnn", {**SMALL}),
    ("egnn", {**SMALL, "cutoff": 4.0}),
    ("egnn", {**SMALL, "update_positions": True}),
    ("egnn", {**SMALL, "cutoff": 4.0, "update_positions": True}),
    ("gemnet-t", {**GEMNET, "cutoff": 4.0}),
    ("gemnet-q", {**GEMNET, **QUADRUPLETS, "cutoff": 4.0, "interaction_cutoff": 4.0}),
]
CUTOFF_CASES = [case for case in CASES if case[1].get("cutoff")]
# Moved positions are a mean over all other atoms, so that a second molecule changes the first one.
EXTENSIVE_CASES = [
    *[case for case in CUTOFF_CASES if not case[1].get("update_positions")],
    ("pyg:SchNet", {"hidden_channels": 16, "num_filters": 12, "num_interactions": 2, "cutoff": 4.0}),
    ("pyg:ViSNet", {"hidden_channels": 16, "num_heads": 2, "num_layers": 2, "cutoff": 4.0}),
    pytest.param("ani", {}, marks=tiny.needs("torchani")),
]
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
PARITY_FILES = [Path(__file__).parent / "fixtures" / f"{name}.npz" for name in ("egnn", "gemnet_t", "gemnet_q")]
PARITY_FILE = PARITY_FILES[0]
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
    deviation = float(((value - reference).abs().max() / reference.abs().max()).detach())
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

    def objective(energy: Tensor, force: Tensor, pos: Tensor) -> Tensor:
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
def test_a_step_can_be_traced_and_its_graph_serves_another_model(name, config, monkeypatch):
    """Nothing in it looks at values; parameters and scaling factors are inputs of the graph."""
    monkeypatch.setattr(forces, "_TRACED", {})
    z, pos = molecule(9)
    batch = (torch.cat([pos, 1.3 * pos]), torch.zeros(2, dtype=pos.dtype), torch.zeros_like(pos).repeat(2, 1, 1))
    batch = (*batch, torch.ones(2, dtype=pos.dtype))
    for seed in (0, 1):
        model = random_model(name, config, seed)
        with torch.no_grad():
            for buffer in model.buffers():
                buffer.fill_(1.0 + seed)
        shapes, objective = models.static_shapes(model, batch[0]), objectives.Supervised(0.9)
        traced = forces.traced_training_step(model, z, objective, batch, shapes, compile=False)(*batch)
        plain = forces.training_step(model, z, objective, shapes)(*batch)
        assert_close(traced[0], plain[0], "symmetry")
        gradients = [torch.cat([gradient.flatten() for gradient in one]) for one in (traced[1], plain[1])]
        assert_close(*gradients, "symmetry")
    assert len(forces._TRACED) == 1


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
    # Files may hold the axes in another order, so that a frame is not one piece of memory.
    scattered = batch.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    assert_close(energy_and_force(model, z, scattered)[1], force, "batch")


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


@pytest.mark.parametrize(("name", "config"), EXTENSIVE_CASES)
def test_the_energy_of_two_copies_far_apart_is_twice_that_of_one(name, config):
    model, (z, pos) = random_model(name, config), molecule(5)
    energy, force = energy_and_force(model, z, pos)
    copy = pos.flip(-1) + torch.tensor([20.0, 0, 0], dtype=pos.dtype)  # flipped, a mirror image
    both_energy, both_force = energy_and_force(model, z.repeat(2), torch.cat([pos, copy], dim=1))
    assert_close(both_energy, 2 * energy, "symmetry")
    assert_close(both_force, torch.cat([force, force.flip(-1)], dim=1), "symmetry")


@pytest.mark.parametrize(("name", "config"), CUTOFF_CASES, ids=lambda value: str(value).replace(" ", ""))
def test_the_curvature_is_continuous_where_a_pair_crosses_the_cutoff(name, config):
    """Of the pair of the first and the last of three atoms, while the one between them sees both."""
    model, cutoff = random_model(name, config), config["cutoff"]

    def curvature(distance: float) -> float:
        x = torch.tensor(distance, dtype=torch.float64, requires_grad=True)
        first, second = torch.tensor([[0.0, 0, 0], [1.3, 0.4, 0]], dtype=torch.float64)
        pos = torch.stack([first, second, torch.stack([x, 0 * x, 0 * x])])[None]
        energy = model(torch.tensor([6, 7, 8]), pos)
        (slope,) = torch.autograd.grad(energy.sum(), x, create_graph=True)
        return float(torch.autograd.grad(slope, x)[0])

    inside = max(abs(curvature(cutoff - by) - curvature(cutoff + by)) for by in (0.3, 0.2, 0.1))
    jumps = [abs(curvature(cutoff - by) - curvature(cutoff + by)) for by in (1e-3, 1e-4)]
    assert jumps[0] < 0.2 * inside and jumps[1] < 0.2 * jumps[0]  # in proportion to the way


@pytest.mark.parametrize(("name", "config"), CUTOFF_CASES, ids=lambda value: str(value).replace(" ", ""))
def test_energy_is_conserved_while_pairs_cross_the_cutoff(name, config):
    """Verlet's total energy swings with the square of the step and does not drift.

    Springs hold the carbon atoms of hexane together, 6.5 Å long, and the model acts besides: ends of a dihedral, 3.99 Å
    apart, swing through its cutoff of 4 Å.
    """
    place = torch.arange(6, dtype=torch.float64)
    pos = torch.stack([1.3 * place, 0.85 * (place % 2), 0.1 * place.sin()], dim=1)[None]
    z, bonds = torch.full((6,), 6), torch.tensor([(i, j) for i in range(6) for j in (i + 1, i + 2) if j < 6]).T
    rest = (pos[:, bonds[0]] - pos[:, bonds[1]]).norm(dim=-1)
    model = random_model(name, config)
    size = 15.0 / float(energy_and_force(model, z, pos)[1].abs().max())  # of the largest force, kcal/mol/Å

    def energy_of(pos: Tensor) -> Tensor:
        stretch = (pos[:, bonds[0]] - pos[:, bonds[1]]).norm(dim=-1) - rest
        return size * model(z, pos) + 100.0 * stretch.square().sum(dim=1)

    unit = 4.184e-4 / 12.0  # Å/fs² of a carbon atom for 1 kcal/mol/Å
    start = 0.01 * torch.randn(pos.shape, generator=torch.Generator().manual_seed(0), dtype=pos.dtype)  # Å/fs, 1000 K
    swing, crossings = {}, 0
    for timestep in (1.0, 0.5):
        x, velocity, energies, inside = pos, start, [], []
        potential, force = forces.energy_and_force(energy_of, x)
        for _ in range(round(40 / timestep)):
            velocity = velocity + 0.5 * timestep * unit * force
            x = x + timestep * velocity
            potential, force = forces.energy_and_force(energy_of, x)
            velocity = velocity + 0.5 * timestep * unit * force
            energies.append(float(potential + 0.5 * velocity.square().sum() / unit))
            inside.append(torch.pdist(x[0]) < config["cutoff"])
        swing[timestep] = np.std(energies)
        crossings = int((inside[0] != torch.stack(inside)).any(dim=0).sum())
    exchanged = float(0.5 * start.square().sum() / unit)
    assert crossings >= 2
    assert swing[1.0] < 0.005 * exchanged
    assert swing[0.5] < 0.5 * swing[1.0]  # of a quarter; a drift would be the same with either step


@every_model
def test_the_unit_of_the_output_scales_the_energy(name, config):
    z, pos = molecule(3)
    one, ten = (random_model(name, {**config, "energy_scale": scale})(z, pos) for scale in (1.0, 10.0))
    torch.testing.assert_close(ten, 10 * one)


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
    model = random_model(name, {**config, "elements": 10})
    models.check_elements(model, torch.tensor([8, 9, 1]))
    for number in (17, 10, 0, -1):
        with pytest.raises(ValueError, match=rf"no embedding for atomic number {number}: it knows 1 to 9"):
            models.check_elements(model, torch.tensor([8, number, 1]))


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


def test_describe_refuses_a_subclass_which_build_would_not_make_again():
    class Doubled(models.EGNN):
        def forward(self, z, pos, **shapes):
            return 2 * super().forward(z, pos, **shapes)

    with pytest.raises(ValueError, match="Doubled is not one of the models"):
        models.describe(Doubled(models.EGNNConfig()))


def test_a_pair_that_single_precision_rounds_into_the_cutoff_has_a_row():
    direction = torch.randn(2000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    apart = 3.3 * (1 + 1e-8) * direction / direction.norm(dim=1, keepdim=True)
    pos = torch.stack([torch.zeros_like(apart), apart], dim=1)
    edges = neighbours.edge_list(neighbours.distances(pos.float())[0], 3.3)
    assert edges.real.any() and neighbours.most_edges(pos, 3.3) == 2


def test_unknown_model_lists_the_known():
    with pytest.raises(ValueError, match="'schnet'.*egnn"):
        models.build("schnet")


@pytest.mark.parametrize("name", models.MODELS)
def test_unknown_setting_lists_the_known(name):
    known = ".*".join(sorted(field.name for field in fields(models.MODELS[name][1])))
    with pytest.raises(ValueError, match=rf"'depth'.*{known}"):
        models.build(name, depth=3)


def test_a_preset_changes_the_size_and_settings_change_the_preset():
    small = models.build("gemnet-t", preset="small", atom=32).config
    assert small.edge < models.build("gemnet-t").config.edge and small.atom == 32
    with pytest.raises(ValueError, match="'tiny'.*small"):
        models.build("gemnet-t", preset="tiny")
    with pytest.raises(ValueError, match="none"):
        models.build("egnn", preset="small")


def test_number_of_parameters_of_the_published_egnn():
    """55 elements embedded; a layer has six H × H maps and five vectors; the readout has H weights and a bias."""
    hidden, layers, elements = 128, 5, 55
    expected = elements * hidden + layers * (6 * hidden**2 + 5 * hidden) + hidden + 1
    assert sum(parameter.numel() for parameter in models.build("egnn").parameters()) == expected == 501_889


@pytest.mark.parametrize(("name", "expected"), [("gemnet-t", 1_892_311), ("gemnet-q", 2_158_499)])
def test_number_of_parameters_of_the_published_gemnet(name, expected):
    """The published numbers count the scaling factors too, which are no parameters here."""
    model = models.build(name)
    assert sum(tensor.numel() for tensor in (*model.parameters(), *model.buffers())) == expected


@pytest.mark.parametrize("file", PARITY_FILES, ids=lambda file: file.stem)
def test_the_published_implementation_is_reproduced(file):
    assert max(parity.deviation(str(file))) < TOLERANCE["parity"]


STRAIGHT = torch.tensor([[0.0, 0, 0], [0, 0, 1.1], [0, 0, 2.3], [0, 0, 3.4]], dtype=torch.float64)
FLAT = torch.tensor([[0.0, 0, 0], [1.2, 0, 0], [-0.6, 1.04, 0], [-0.6, -1.04, 0]], dtype=torch.float64)
RIGHT_ANGLES = torch.tensor([[0.0, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0]], dtype=torch.float64)


@every_model
@pytest.mark.parametrize("pos", [STRAIGHT, FLAT, RIGHT_ANGLES], ids=["straight", "flat", "right angles"])
def test_forces_and_their_gradients_are_finite_where_angles_are_0_or_pi(name, config, pos):
    model, z = random_model(name, config), torch.tensor([6, 6, 8, 1])

    def objective(energy: Tensor, force: Tensor, pos: Tensor) -> Tensor:
        return force.square().sum()

    value, gradients = forces.training_step(model, z, objective)(pos[None])
    assert torch.isfinite(value) and value > 0
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize(("name", "config"), CUTOFF_CASES, ids=lambda value: str(value).replace(" ", ""))
def test_frames_with_different_numbers_of_neighbours_share_a_batch(name, config):
    model, (z, pos) = random_model(name, config), molecule(21)
    batch = torch.cat([0.8 * pos, pos, 2.0 * pos, 10 * pos])
    energy, force = energy_and_force(model, z, batch)
    singles = [energy_and_force(model, z, frame[None]) for frame in batch]
    assert_close(energy, torch.cat([single[0] for single in singles]), "batch")
    assert_close(force, torch.cat([single[1] for single in singles]), "batch")
    shapes = models.static_shapes(model, batch)
    with torch.no_grad():
        assert_close(model(z, batch[1:3], **shapes), energy[1:3], "batch")


@pytest.mark.parametrize("case", CASES[-2:], ids=lambda case: case[0])
def test_scaling_factors_give_a_layers_output_the_variance_of_its_input(case):
    model, (z, pos) = random_model(*case), molecule(9)
    pos = pos + 0.1 * torch.randn(8, 9, 3, generator=torch.Generator().manual_seed(0), dtype=pos.dtype)
    seen = []
    unscaled = copy.deepcopy(model)
    models.fit_scales(model, z, pos)
    factors = [buffer for name, buffer in model.named_buffers()]
    assert all(torch.isfinite(factor) and factor > 0 and factor != 1 for factor in factors)

    def watch(scale, inputs, output):
        real = inputs[2] if len(inputs) > 2 else None
        seen.append([layers.variance(x, real) for x in (inputs[0], output)])

    for module in model.modules():
        if isinstance(module, layers.Scale):
            module.register_forward_hook(watch)
    with torch.no_grad():
        energy, before = model(z, pos), unscaled(z, pos)
    assert len(seen) == len(factors)
    for reference, output in seen:
        assert_close(output, reference, "batch")
    assert float((energy - before).abs().max()) > 0


@pytest.mark.parametrize("degrees", [1, 4, 7])
def test_harmonics_of_one_degree_keep_the_sum_of_their_squares(degrees):
    """Σ_m Y_lm² = (2l + 1) / 4π in every direction (Unsöld's theorem)."""
    direction = torch.randn(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x, y, z = (direction / direction.norm(dim=1, keepdim=True)).T
    polar, (re, im) = basis.legendre_derivatives(z, degrees), basis.powers(x, y, degrees)
    total = torch.zeros(50, degrees, dtype=torch.float64)
    for m, values in enumerate(polar):
        for degree, value in enumerate(values, start=m):
            total[:, degree] += value.square() * (re[m].square() + im[m].square())
    expected = (2 * torch.arange(degrees, dtype=torch.float64) + 1) / (4 * np.pi)
    assert_close(total, expected.expand_as(total), "batch")
    for degree, value in enumerate(basis.legendre(z, degrees)):
        assert_close(value, polar[0][degree], "batch")


def test_radial_functions_are_the_spherical_bessel_functions_inside_and_zero_beyond_the_cutoff():
    cutoff, distance = 5.0, torch.linspace(0.3, 5.5, 40, dtype=torch.float64)
    values = basis.spherical_bessel(distance, 7, 6, cutoff)
    inside = distance < cutoff
    assert float(values[~inside].abs().max()) == 0
    x = distance[inside] / cutoff
    for degree in range(7):
        for n, root in enumerate(basis.bessel_roots(7, 6)[degree]):
            assert abs(spherical_jn(degree, root)) < 1e-12
            norm = np.sqrt(2 / cutoff**3) / abs(spherical_jn(degree + 1, root))
            expected = norm * torch.from_numpy(spherical_jn(degree, root * x.numpy()))
            found = values[inside][:, degree, n]
            assert_close(found, expected * envelope(distance[inside], cutoff, 5), "symmetry")


@pytest.mark.parametrize("order", [1, 2, 3])
def test_silu_has_the_derivatives_of_its_formula(order):
    x = torch.linspace(-30, 30, 61, dtype=torch.float64, requires_grad=True)
    ours, plain = silu(x), x * torch.sigmoid(x)
    for _ in range(order):
        ours, plain = (torch.autograd.grad(y.sum(), x, create_graph=True)[0] for y in (ours, plain))
    assert_close(ours, plain, "symmetry")


@pytest.mark.parametrize(("changed", "by", "code"), [("energy", 0, 0), ("energy", 1e-6, 1), ("force", 1e-6, 1)])
def test_the_parity_script_refuses_all_but_the_published_outputs(changed, by, code, tmp_path, monkeypatch, capsys):
    arrays = dict(np.load(PARITY_FILE, allow_pickle=False))
    arrays[changed] = arrays[changed] * (1 + by)
    np.savez(tmp_path / "changed.npz", **arrays)
    monkeypatch.setattr(sys, "argv", ["parity.py", str(tmp_path / "changed.npz")])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(parity.__file__, run_name="__main__")
    assert stopped.value.code == code and "energy" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "config", "reason"),
    [
        ("egnn", {"layers": 0}, "layers is 0, expected a whole number of 1 or more"),
        ("gemnet-q", {"degrees": 1}, "degrees is 1; GemNet-Q needs 2 or more"),
        ("egnn", {"hidden": 16.0, "cutoff": -1}, r"hidden is 16.0, .*; cutoff is -1, expected a number above 0"),
        ("egnn", {"update_positions": 1}, "update_positions is 1, expected True or False"),
        ("gemnet-t", {"cutoff": float("nan")}, "cutoff is nan, expected a number above 0"),
        (
            "gemnet-q",
            {"interaction_cutoff": None, "after_skip": -1},
            "after_skip is -1, .*; interaction_cutoff is None",
        ),
    ],
)
def test_a_size_that_no_model_can_have_is_refused(name, config, reason):
    with pytest.raises(ValueError, match=reason):
        models.build(name, **config)
