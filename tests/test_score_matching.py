"""Forces from geometries alone, against systems whose force is known in closed form."""

import math
from dataclasses import replace
from functools import partial

import ase.build
import numpy as np
import pytest
import tiny
import torch
from torch import Tensor, nn

from asteroid import datasets, models, stages, units
from asteroid.stages import Recipe
from asteroid.training import forces, losses
from asteroid.training.loop import Molecule
from asteroid.training.objectives import ScoreMatching

THERMAL = 0.6  # kcal/mol
STIFFNESS = torch.tensor([[3.0, 0.5, 0.0], [0.5, 2.0, 0.3], [0.0, 0.3, 1.0]], dtype=torch.float64)
QUIET = {"progress": False}


class Well(nn.Module):
    """A particle in a harmonic well: E = ½ xᵀ K x, K to be learned."""

    def __init__(self, stiffness: Tensor):
        super().__init__()
        self.stiffness = nn.Parameter(stiffness.clone())

    def forward(self, pos: Tensor) -> Tensor:
        return 0.5 * torch.einsum("fai,ij,faj->f", pos, self.stiffness, pos)


def in_well(frames: int, seed: int = 0) -> Tensor:
    """Exact samples of exp(−E / k_B T) in the well, (frames, 1, 3)."""
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(frames, 1, 3, generator=generator, dtype=torch.float64)
    return math.sqrt(THERMAL) * normal @ torch.linalg.cholesky(torch.linalg.inv(STIFFNESS)).mT


def directions(kind: str, slices: int, pos: Tensor, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    if kind == "gaussian":
        return torch.randn(slices, *pos.shape, generator=generator, dtype=pos.dtype)
    return 2.0 * torch.randint(2, (slices, *pos.shape), generator=generator).to(pos.dtype) - 1


def molecule(name: str, frames: int = 3) -> tuple[Tensor, Tensor]:
    atoms = ase.build.molecule(name)
    pos = torch.tensor(np.stack([atoms.positions] * frames))
    noise = torch.randn(pos.shape, generator=torch.Generator().manual_seed(0), dtype=pos.dtype)
    return torch.tensor(atoms.numbers), pos + 0.05 * noise * (len(atoms) > 2)


def random_model(name: str) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = tiny.MODEL if name == "egnn" else {"preset": "small", "blocks": 1}
        return models.build(name, **config).double().requires_grad_(False)


def random_energy(z: Tensor, name: str = "egnn"):
    return partial(random_model(name), z)


def force_and_pos(energy_of: forces.EnergyOf, pos: Tensor) -> tuple[Tensor, Tensor]:
    """The force and the positions by which it can be differentiated."""
    pos = pos.clone().requires_grad_()
    return forces.energy_and_force(energy_of, pos, create_graph=True)[1], pos


@pytest.mark.parametrize("kind", ["gaussian", "signs"])
def test_the_sliced_loss_has_the_exact_one_as_its_mean(kind):
    pos, well = in_well(50), Well(1.3 * STIFFNESS)
    exact = float(losses.score_matching(*force_and_pos(well, pos), THERMAL).detach())
    sliced = torch.stack(
        [
            losses.sliced_score_matching(*force_and_pos(well, pos), directions(kind, 1, pos, seed), THERMAL).detach()
            for seed in range(400)
        ]
    )
    assert float(sliced.std()) > 0
    assert abs(float(sliced.mean()) - exact) < 4 * float(sliced.std()) / math.sqrt(len(sliced))
    many = losses.sliced_score_matching(*force_and_pos(well, pos), directions(kind, 64, pos), THERMAL).detach()
    assert abs(float(many) - exact) < 4 * float(sliced.std()) / math.sqrt(64)


def test_the_loss_is_force_matching_up_to_a_constant():
    """Hyvärinen's theorem: over many samples, the loss differs from ½ |F − F*|² by the same number for every model."""
    pos = in_well(400_000)
    true = -pos @ STIFFNESS
    differences = []
    for scale in (0.0, 0.5, 1.0, 1.7):
        well = Well(scale * STIFFNESS)
        force = -pos @ (scale * STIFFNESS)
        matching = 0.5 * (force - true).square().sum() / len(pos)
        differences.append(float((losses.score_matching(*force_and_pos(well, pos), THERMAL) - matching).detach()))
    assert np.ptp(differences) < 0.02 * abs(differences[0])


def test_the_minimum_is_the_force_of_the_simulation_at_the_rate_of_the_samples():
    """In a harmonic well the minimum is known: K = k_B T times the inverse covariance; its error falls as 1/√n."""
    errors = []
    for frames in (100, 10_000):
        by_seed = []
        for seed in range(10):
            pos, well = in_well(frames, seed), Well(torch.eye(3, dtype=torch.float64))
            optimizer = torch.optim.LBFGS(well.parameters(), max_iter=200, tolerance_grad=1e-10)

            def closure(optimizer=optimizer, well=well, pos=pos):
                optimizer.zero_grad()
                loss = losses.score_matching(*force_and_pos(well, pos), THERMAL)
                loss.backward()
                return loss

            optimizer.step(closure)
            learned = ((well.stiffness + well.stiffness.mT) / 2).detach()
            covariance = torch.einsum("fai,faj->ij", pos, pos) / frames
            torch.testing.assert_close(learned, THERMAL * torch.linalg.inv(covariance), rtol=1e-4, atol=1e-4)
            by_seed.append(float((learned - STIFFNESS).square().mean()))
        errors.append(math.sqrt(np.mean(by_seed)))
    assert errors[1] < 0.05
    assert 5 < errors[0] / errors[1] < 20  # 10 is what 1/√n says


def test_a_double_well_is_learned_from_its_samples():
    """E = h (x² − 1)² in one coordinate, a model of other monomials; the force between the wells is learned too."""
    generator = np.random.default_rng(0)
    energy_of = lambda x: 2.0 * (x**2 - 1) ** 2  # noqa: E731
    grid = np.linspace(-2.2, 2.2, 20_001)
    cumulative = np.cumsum(np.exp(-energy_of(grid) / THERMAL))
    samples = np.interp(generator.random(40_000), cumulative / cumulative[-1], grid)
    pos = torch.zeros(len(samples), 1, 3, dtype=torch.float64)
    pos[:, 0, 0] = torch.from_numpy(samples)
    coefficients = torch.zeros(6, dtype=torch.float64, requires_grad=True)

    def energy(pos: Tensor) -> Tensor:
        x = pos[:, 0, 0]
        return sum(c * x ** (k + 1) for k, c in enumerate(coefficients)) + 0 * pos.sum(dim=(1, 2))

    optimizer = torch.optim.LBFGS([coefficients], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = losses.sliced_score_matching(*force_and_pos(energy, pos), directions("signs", 1, pos), THERMAL)
        loss.backward()
        return loss

    optimizer.step(closure)
    x = torch.linspace(-1.4, 1.4, 29, dtype=torch.float64)
    at = torch.zeros(29, 1, 3, dtype=torch.float64)
    at[:, 0, 0] = x
    _, force = forces.energy_and_force(energy, at)
    assert float((force[:, 0, 0] + 8 * x * (x**2 - 1)).abs().max()) < 0.6  # of forces up to 11


def test_denoising_learns_the_smoothed_force():
    """Harmonic samples with noise σ have the covariance k_B T / K + σ², whose force is what is learned."""
    pos, sigma = in_well(200_000), 0.3
    noise = torch.randn(pos.shape, generator=torch.Generator().manual_seed(1), dtype=pos.dtype)
    smoothed = THERMAL * torch.linalg.inv(THERMAL * torch.linalg.inv(STIFFNESS) + sigma**2 * torch.eye(3))
    well = Well(smoothed)
    force, _ = force_and_pos(well, pos + sigma * noise)
    loss = losses.denoising_score_matching(force, noise, sigma, THERMAL)
    (at_smoothed,) = torch.autograd.grad(loss, well.parameters())
    well = Well(STIFFNESS)
    force, _ = force_and_pos(well, pos + sigma * noise)
    loss = losses.denoising_score_matching(force, noise, sigma, THERMAL)
    (at_true,) = torch.autograd.grad(loss, well.parameters())
    assert float(at_smoothed.abs().max()) < 0.03 * float(at_true.abs().max())


@pytest.mark.parametrize("name", ["CH3CH2OH", "H2O", "CO2", "N2"])
def test_rigid_motions_are_orthonormal_and_keep_the_energy(name):
    z, pos = molecule(name)
    rigid, _ = losses.rigid_directions(pos)
    overlap = rigid.mT @ rigid
    expected = torch.ones(len(pos), 6, dtype=torch.float64)
    if name == "N2":  # linear: no rotation about its axis
        expected[:, 5] = 0
    torch.testing.assert_close(overlap, torch.diag_embed(expected), atol=1e-10, rtol=0)
    _, force = forces.energy_and_force(random_energy(z), pos)
    assert float((rigid.mT @ force.flatten(1).unsqueeze(-1)).abs().max()) < 1e-9


@pytest.mark.parametrize("name", ["CH3CH2OH", "H2O", "N2"])
def test_the_trace_over_rigid_motions_is_that_of_the_derivatives(name):
    z, pos = molecule(name)
    energy = random_energy(z)
    rigid, rotation_trace = losses.rigid_directions(pos)
    pos = pos.requires_grad_()
    _, force = forces.energy_and_force(energy, pos, create_graph=True)
    by_derivatives = 0.0
    for k in range(6):
        direction = rigid[:, :, k].reshape(pos.shape)
        (change,) = torch.autograd.grad(force, pos, direction, retain_graph=True)
        by_derivatives = by_derivatives + (change * direction).sum(dim=(1, 2))
    torch.testing.assert_close((rotation_trace * force).sum(dim=(1, 2)).detach(), by_derivatives, atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize("name", ["egnn", "gemnet-t"])
def test_the_objective_without_rigid_motions_has_the_same_mean_and_less_variance(name):
    z, pos = molecule("H2O", frames=2)
    energy = random_energy(z, name)
    objective = ScoreMatching(THERMAL, slices=1)
    rigid, trace = losses.rigid_directions(pos)
    energy_at = energy(pos)
    exact = float(losses.score_matching(*force_and_pos(energy, pos), THERMAL).detach())
    values = {"all": [], "internal": []}
    for seed in range(30):
        (draw,) = objective.draws(pos, torch.Generator().manual_seed(seed))
        values["all"].append(float(losses.sliced_score_matching(*force_and_pos(energy, pos), draw, THERMAL).detach()))
        values["internal"].append(float(objective(energy_at, *force_and_pos(energy, pos), rigid, trace, draw).detach()))
    for values_of in values.values():
        assert abs(np.mean(values_of) - exact) < 4 * np.std(values_of) / math.sqrt(30) + 1e-9
    assert np.std(values["internal"]) < np.std(values["all"])


@pytest.mark.parametrize("name", ["egnn", "gemnet-t"])
def test_its_gradient_is_that_of_finite_differences(name):
    z, pos = molecule("H2O", frames=2)
    model = random_model(name).requires_grad_()
    objective = ScoreMatching(THERMAL, slices=2)
    batch = (pos, *losses.rigid_directions(pos), *objective.draws(pos, torch.Generator().manual_seed(0)))
    step_of = forces.training_step(model, z, objective)
    _, gradients = step_of(*batch)
    parameters = list(model.parameters())
    largest = max(range(len(gradients)), key=lambda k: float(gradients[k].abs().max()))
    place = int(gradients[largest].abs().argmax())
    values = []
    for shift in (1e-5, -1e-5):
        parameters[largest].data.view(-1)[place] += shift
        values.append(float(step_of(*batch)[0]))
        parameters[largest].data.view(-1)[place] -= shift
    expected = (values[0] - values[1]) / 2e-5
    assert float(gradients[largest].view(-1)[place]) == pytest.approx(expected, rel=1e-4)


@pytest.fixture(scope="module")
def split():
    accurate, sampled = datasets.load("methanol", "ccsd(t)"), datasets.load("methanol", "gfn2")
    return datasets.split(accurate, sampled, 10, 0, inaccurate_budget=400, valid=20, test=30)


RECIPE = Recipe(
    model_config={"layers": 2, "hidden": 32, "energy_scale": 10.0},
    score_matching=replace(tiny.TRAIN, steps=100, batch_size=20, learning_rate=0.01, eval_every=50),
    fine_tuning=replace(tiny.TRAIN, steps=40),
)


def test_geometries_alone_teach_the_forces_that_moved_them(split):
    found = stages.match_scores(split.inaccurate, split.valid, RECIPE, **QUIET)
    cheap = split.inaccurate
    silent = cheap.derived(energy=0 * cheap.energy + 1, force=1e-3 + 0 * cheap.force)  # labels that say nothing
    blind = stages.match_scores(silent, split.valid, RECIPE, **QUIET)
    _, force = found.energy_and_force(split.inaccurate.pos)
    _, unseen = blind.energy_and_force(split.inaccurate.pos)
    torch.testing.assert_close(force, unseen, rtol=0, atol=1e-3)
    label = split.inaccurate.force
    assert float((force - label).abs().mean()) < 0.6 * float(label.abs().mean())
    assert found.provenance["score_matching"]["thermal_energy"] == pytest.approx(500 * units.BOLTZMANN)
    energy, _ = found.energy_and_force(split.valid.pos)
    assert float((energy - split.valid.energy).mean()) == pytest.approx(0, abs=1e-3)


def test_every_step_draws_its_own_directions(split):
    one = Molecule(tiny.model(), split.inaccurate, split.valid, None, ScoreMatching(THERMAL, slices=3), 5, 0)
    first, second = one.batch(0)[-1], one.batch(1)[-1]
    assert first.shape == (3, 5, 6, 3) and not torch.equal(first, second)


def test_the_recipe_says_how_many_directions(split):
    recipe = replace(RECIPE, slices=3, score_matching=replace(RECIPE.score_matching, steps=2, eval_every=1))
    assert (
        stages.match_scores(split.inaccurate, split.valid, recipe, **QUIET).provenance["score_matching"]["slices"] == 3
    )


def test_forces_scale_with_the_temperature_that_is_assumed(split):
    """F = k_B T ∇ log p: twice the temperature, twice the force."""
    config = dict(RECIPE.model_config)
    hot = replace(RECIPE, temperature=1000.0, model_config=config | {"energy_scale": 20.0})
    # Steps of Adam do not depend on the size of the loss, apart from clipping; only the last weights are looked at.
    same = replace(RECIPE.score_matching, optimizer="adamw", clip=1e9, eval_every=100)
    recipe = replace(RECIPE, score_matching=same)
    hot = replace(hot, score_matching=recipe.score_matching)
    first = stages.match_scores(split.inaccurate, split.valid, recipe, **QUIET)
    second = stages.match_scores(split.inaccurate, split.valid, hot, **QUIET)
    _, cold_force = first.energy_and_force(split.test.pos)
    _, hot_force = second.energy_and_force(split.test.pos)
    ratio = float((cold_force * hot_force).sum() / cold_force.square().sum())
    assert ratio == pytest.approx(2, rel=0.01)


def test_geometries_without_a_temperature_are_refused(split):
    unknown = replace(split.inaccurate, provenance={})
    with pytest.raises(ValueError, match="without a temperature; give the recipe's `temperature`"):
        stages.match_scores(unknown, split.valid, RECIPE, **QUIET)


@pytest.mark.parametrize(("setting", "value"), [("slices", 0), ("slices", 1.5), ("temperature", -300.0)])
def test_settings_that_cannot_be_are_refused(setting, value):
    with pytest.raises(ValueError, match=setting):
        Recipe(**{setting: value})
