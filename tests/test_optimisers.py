"""The optimisers: what one step does to weight matrices and to everything else."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import tiny
import torch
from test_models import GEMNET, QUADRUPLETS
from test_pyg import SCHNET, VISNET
from tiny import weights
from torch import Tensor, nn

from asteroid import models, training
from asteroid.training.optimisers import OPTIMIZERS, Muon, Optimizer, orthogonalised

RATE = 0.01
NEVER = 1e9  # a clip that no gradient reaches
# Between which three steps of the iteration bring singular values that are not below a thousandth of the norm.
NEAR_ONE = (0.18, 1.88)
TOLERANCE = {
    "singular vectors": {torch.float32: 1e-5, torch.float64: 1e-12},
    "step of AdamW": 1e-5,  # relative
    "rms of a step": 0.4,  # relative; of singular values that are near 1
}
SHAPES = [(1, 8, 8), (3, 5, 12), (3, 12, 5), (2, 64, 2), (1, 30, 31)]
ROUTES = ["muon", "soap"]


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


KINDS = {
    "matrix": (6, 4),
    "same": (6, 4),
    "tall": (9, 2),
    "bilinear": (3, 5, 4),
    "vector": (7,),
    "scalar": (),
    "row": (1, 8),
    "column": (8, 1),
    "stacked_columns": (2, 3, 1),
}
MATRICES = ("matrix", "same", "tall", "bilinear")
NAMES = (*KINDS, "embedding")


class Mixed(nn.Module):
    """A parameter of every kind, of random values that its name decides; registered in the order of `names`."""

    def __init__(self, names: Sequence[str] = NAMES):
        super().__init__()
        for name in names:
            seed = NAMES.index(name)
            if name == "embedding":
                self.embedding = nn.Embedding.from_pretrained(random(5, 6, seed=seed), freeze=False)
            else:
                setattr(self, name, nn.Parameter(random(*KINDS[name], seed=seed)))

    def named(self) -> dict[str, Tensor]:
        return {name.removesuffix(".weight"): values for name, values in self.named_parameters()}


def moved(model: Mixed, gradients: list[dict[str, Tensor]], name: str = "muon", decay=0.0, clip=NEVER) -> Mixed:
    """The model after a step with each of the gradients, which are given by the names of the parameters."""
    optimizer = Optimizer(model, name, decay)
    for gradient in gradients:
        optimizer.step([gradient[parameter] for parameter in model.named()], RATE, clip)
    return model


def gradients_of(model: Mixed, steps: int = 1, size: float = 1.0) -> list[dict[str, Tensor]]:
    return [
        {name: size * random(*part.shape, seed=100 * step + NAMES.index(name)) for name, part in model.named().items()}
        for step in range(1, steps + 1)
    ]


def change(model: Mixed) -> dict[str, Tensor]:
    """How far each parameter is from where it started."""
    start = Mixed(list(model.named())).named()
    return {name: (values - start[name]).detach() for name, values in model.named().items()}


def adamw(gradients: list[Tensor], **settings: float) -> Tensor:
    """What PyTorch's AdamW adds to zeros."""
    parameter = nn.Parameter(torch.zeros_like(gradients[0]))
    optimizer = torch.optim.AdamW([parameter], lr=RATE, **{"weight_decay": 0.0, **settings})
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimizer.step()
    return parameter.detach()


# Orthogonalised matrices


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_orthogonalised_matrices_keep_their_singular_vectors_and_lose_their_singular_values(shape, dtype):
    """For singular values over two orders of magnitude, tall and wide."""
    number, rows, columns = shape
    rank = min(rows, columns)
    left, right = (
        torch.linalg.qr(random(number, size, rank, seed=seed))[0] for seed, size in enumerate((rows, columns))
    )
    given = left @ torch.logspace(2, 0, rank, dtype=torch.float64).diag() @ right.mT
    found = orthogonalised(given.to(dtype))
    assert found.dtype == dtype and found.shape == shape
    inner = left.mT @ found.double() @ right  # diagonal, if the singular vectors are the same
    values = inner.diagonal(dim1=1, dim2=2)
    assert float((inner - torch.diag_embed(values)).abs().max()) < TOLERANCE["singular vectors"][dtype]
    assert float((left @ inner @ right.mT - found).abs().max()) < TOLERANCE["singular vectors"][dtype]
    assert NEAR_ONE[0] < float(values.min()) <= float(values.max()) < NEAR_ONE[1]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_matrices_of_a_batch_do_not_know_of_each_other_nor_of_their_size(shape):
    given = random(*shape)
    size = torch.logspace(-3, 3, len(given), dtype=torch.float64)[:, None, None]
    singles = torch.cat([orthogonalised(one[None]) for one in given])
    torch.testing.assert_close(orthogonalised(given), singles, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(orthogonalised(size * given), singles, rtol=1e-6, atol=1e-6)


def test_a_turned_matrix_is_orthogonalised_to_the_turned_one():
    given, turn = random(2, 5, 7), torch.linalg.qr(random(5, 5, seed=1))[0]
    torch.testing.assert_close(orthogonalised(turn @ given), turn @ orthogonalised(given), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(orthogonalised(given.mT), orthogonalised(given).mT, rtol=1e-10, atol=1e-10)


def test_a_gradient_of_zeros_moves_nothing():
    """A weight that a batch does not reach has such a one."""
    assert torch.equal(orthogonalised(torch.zeros(2, 3, 4)), torch.zeros(2, 3, 4))
    model = Mixed()
    moved(model, [{name: torch.zeros_like(values) for name, values in model.named().items()}])
    assert all(float(step.abs().max()) == 0 for step in change(model).values())


# Muon


@pytest.mark.parametrize("shape", [(8, 8), (5, 12), (12, 5), (64, 2), (30, 31)], ids=str)
def test_a_step_has_a_fifth_of_the_learning_rate_whatever_the_gradient_and_the_shape(shape):
    """The root mean square over entries, and over many gradients of any size."""
    stack = nn.Parameter(torch.zeros(60, *shape, dtype=torch.float64))
    stack.grad = torch.logspace(-4, 4, 60, dtype=torch.float64)[:, None, None] * random(60, *shape)
    Muon([stack], lr=RATE).step()
    step = stack.detach()
    assert float(step.square().mean().sqrt()) == pytest.approx(0.2 * RATE, rel=TOLERANCE["rms of a step"])
    each = step.square().mean(dim=(1, 2)).sqrt() / (0.2 * RATE)
    assert NEAR_ONE[0] < float(each.min()) <= float(each.max()) < NEAR_ONE[1]
    assert float((step * stack.grad).sum(dim=(1, 2)).max()) < 0  # downhill


def test_muon_goes_the_way_of_pytorch_s():
    """That has five steps of another iteration, in 16 bits: the way is the same but for the singular values."""
    ours, theirs = (nn.Parameter(random(1, 12, 7)[0].float()) for _ in range(2))
    stack = nn.Parameter(ours.detach()[None].clone())
    mine = Muon([stack], lr=RATE, weight_decay=0.1)
    reference = torch.optim.Muon([theirs], lr=RATE, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for step in range(6):
        gradient = random(12, 7, seed=step).float() * 10 ** (step % 3)
        stack.grad, theirs.grad = gradient[None].clone(), gradient.clone()
        mine.step()
        reference.step()
    way, expected = (values.detach().flatten() - ours.detach().flatten() for values in (stack, theirs))
    assert float(nn.functional.cosine_similarity(way, expected, dim=0)) > 0.9
    assert float(way.norm() / expected.norm()) == pytest.approx(1, abs=0.25)


def test_muon_s_formula():
    """Momentum with a look ahead, decay in proportion to weight and rate, over steps of different rates."""
    stack, beta, decay = nn.Parameter(random(2, 4, 6)), 0.8, 3.0
    weight, momentum = stack.detach().clone(), torch.zeros(2, 4, 6, dtype=torch.float64)
    optimizer = Muon([stack], weight_decay=decay, momentum=beta)
    for step, rate in enumerate((0.01, 0.02, 0.005)):
        stack.grad = random(2, 4, 6, seed=step + 1) * 3**step
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        momentum = beta * momentum + (1 - beta) * stack.grad
        ahead = orthogonalised(beta * momentum + (1 - beta) * stack.grad)
        weight = (1 - rate * decay) * weight - rate * 0.2 * math.sqrt(6) * ahead
    torch.testing.assert_close(stack.detach(), weight, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_quadratic_problem_is_solved(name):
    """‖A W − B‖² with a condition number of a hundred, by a rate that decays."""
    left, right = (torch.linalg.qr(random(8, 8, seed=seed))[0] for seed in (1, 2))
    a = left @ torch.logspace(0, -1, 8, dtype=torch.float64).diag() @ right
    model = nn.Linear(8, 8, dtype=torch.float64)
    with torch.no_grad():
        model.weight.copy_(random(8, 8, seed=3))
        model.bias.zero_()
    target, values = a @ random(8, 8, seed=4), []
    optimizer, steps = Optimizer(model, name, 0.0), 400
    for step in range(steps):
        loss = (a @ model.weight - target).square().sum() + model.bias.square().sum()
        values.append(float(loss.detach()))
        optimizer.step(torch.autograd.grad(loss, tuple(model.parameters())), 0.1 * (1 - step / steps), NEVER)
    assert values[20] < 0.9 * values[0] and values[-1] < 1e-3 * values[0]


# What is a matrix


@pytest.mark.parametrize("name", ROUTES)
def test_embeddings_vectors_rows_and_columns_are_moved_by_adamw(name):
    model = Mixed()
    gradients = gradients_of(model, steps=3)
    moved(model, gradients, name)
    for parameter, step in change(model).items():
        by_adamw = adamw([gradient[parameter] for gradient in gradients])
        near = torch.allclose(step, by_adamw, rtol=TOLERANCE["step of AdamW"], atol=1e-12)
        assert near == (parameter not in MATRICES), parameter


def test_the_step_of_a_matrix_is_orthogonal_and_bilinear_weights_are_one_matrix_each():
    model = moved(Mixed(), gradients_of(Mixed()))
    for name in MATRICES:
        step = change(model)[name].flatten(0, -2)
        values = torch.linalg.svdvals(step) / (0.2 * RATE * math.sqrt(max(step.shape)))
        assert NEAR_ONE[0] < float(values.min()) <= float(values.max()) < NEAR_ONE[1], name
    gradient = gradients_of(Mixed())[0]["bilinear"].flatten(0, 1)
    stack = nn.Parameter(torch.zeros(1, 15, 4, dtype=torch.float64))
    stack.grad = gradient[None]
    Muon([stack], lr=RATE).step()
    torch.testing.assert_close(change(model)["bilinear"].flatten(0, 1), stack.detach()[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", [*ROUTES, "adamw"])
def test_the_order_of_the_parameters_makes_no_difference(name):
    gradients, ends = gradients_of(Mixed(), steps=12), []
    for order in (NAMES, NAMES[::-1], NAMES[4:] + NAMES[:4]):
        ends.append(change(moved(Mixed(order), gradients, name, decay=0.5)))
    for end in ends[1:]:
        for parameter in NAMES:
            torch.testing.assert_close(end[parameter], ends[0][parameter], rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_weight_decay_is_in_proportion_to_weight_and_rate_for_every_parameter(name):
    decay, gradients = 5.0, gradients_of(Mixed())
    without, decayed = (change(moved(Mixed(), gradients, name, decay=rate)) for rate in (0.0, decay))
    for parameter, values in Mixed().named().items():
        lost = without[parameter] - decayed[parameter]
        torch.testing.assert_close(lost, RATE * decay * values.detach(), rtol=1e-9, atol=1e-9)


def test_weight_decay_reaches_soap():
    gradients = gradients_of(Mixed(), steps=2)  # its first step only measures the curvature
    without, decayed = (change(moved(Mixed(), gradients, "soap", decay=rate)) for rate in (0.0, 5.0))
    for parameter in MATRICES:
        values = Mixed().named()[parameter].detach()
        share = float(((without[parameter] - decayed[parameter]) * values).sum() / values.square().sum())
        assert share == pytest.approx(RATE * 5.0, rel=0.1)


@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_a_gradient_that_is_too_large_counts_as_much_as_the_largest_allowed_one(name):
    """By the norm of all parameters together. What comes after shows how much it counted."""
    clip, (first, *rest) = 2.0, gradients_of(Mixed(), steps=4, size=0.01)
    large = {parameter: 1e4 * values for parameter, values in first.items()}
    norm = math.sqrt(sum(float(values.square().sum()) for values in large.values()))
    scaled = {parameter: values * clip / norm for parameter, values in large.items()}
    assert all(sum(float(values.square().sum()) for values in one.values()) < clip**2 for one in rest)
    clipped = change(moved(Mixed(), [large, *rest], name, clip=clip))
    expected = change(moved(Mixed(), [scaled, *rest], name))
    unclipped = change(moved(Mixed(), [large, *rest], name))
    for parameter in clipped:
        torch.testing.assert_close(clipped[parameter], expected[parameter], rtol=1e-4, atol=1e-7)
    assert not torch.allclose(clipped["matrix"], unclipped["matrix"], rtol=1e-2)
    assert not torch.allclose(clipped["vector"], unclipped["vector"], rtol=1e-2)


# What the models are moved by


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_model_computes_what_it_did_and_its_parameters_are_one_vector(name):
    model, split = tiny.model(), tiny.methanol(inaccurate_budget=None)
    before, where = weights(model), split.train.pos.float()
    energy = model(split.train.z, where).detach()
    optimizer = Optimizer(model, name, 0.0)
    assert torch.equal(weights(model), before)
    assert torch.equal(model(split.train.z, where).detach(), energy)
    assert sorted(optimizer.weights.tolist()) == sorted(before.tolist())
    optimizer.weights.zero_()
    assert float(weights(model).abs().max()) == 0


def test_an_unknown_optimiser_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="'sgd'.*muon, soap, adamw"):
        Optimizer(tiny.model(), "sgd", 0.0)
    with pytest.raises(ValueError, match="TrainConfig: optimizer is 'sgd'; .*muon.*soap.*adamw"):
        training.TrainConfig(optimizer="sgd")


@pytest.mark.parametrize("name", ["muon", "soap"])
def test_a_model_without_matrices_is_told_to_take_adamw(name):
    model = Mixed(("vector", "row", "column", "embedding"))
    with pytest.raises(ValueError, match=f"{name}.*Mixed has none; set optimizer to 'adamw'"):
        Optimizer(model, name, 0.0)
    assert float(change(moved(model, gradients_of(model), "adamw"))["vector"].abs().min()) > 0


def test_a_model_of_matrices_alone_has_no_need_of_adamw():
    model = Mixed(("matrix", "tall"))
    assert float(change(moved(model, gradients_of(model)))["tall"].abs().min()) > 0


def trained(name: str, config: dict, optimizer: str) -> tuple[training.History, nn.Module, set[str]]:
    """History and model of a short training, and the names of the parameters that it did not move."""
    split = tiny.methanol(budget=10, inaccurate_budget=None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = models.build(name, **config)
    models.fit_scales(model, split.train.z, split.train.pos)
    before = {name: part.detach().clone() for name, part in model.named_parameters()}
    settings = replace(tiny.TRAIN, optimizer=optimizer, steps=30, learning_rate=0.01, eval_every=10)
    history = training.fit(model, split.train, split.valid, settings)
    return history, model, {name for name, part in model.named_parameters() if torch.equal(part, before[name])}


@pytest.mark.parametrize(
    ("name", "config"),
    [
        pytest.param("egnn", tiny.MODEL, id="egnn"),
        pytest.param("egnn", tiny.MODEL | {"update_positions": True}, id="egnn-moving"),
        pytest.param("gemnet-t", GEMNET, id="gemnet-t"),
        pytest.param("gemnet-q", GEMNET | QUADRUPLETS, id="gemnet-q"),
        pytest.param("ani", {}, marks=tiny.needs("torchani"), id="ani"),
        pytest.param("pyg:SchNet", SCHNET, id="SchNet"),
        pytest.param("pyg:ViSNet", VISNET, id="ViSNet"),
    ],
)
def test_every_model_learns_by_every_optimiser(name, config):
    """And all of it: the same parameters move, which are those that the labels reach."""
    still = []
    for optimizer in OPTIMIZERS:
        history, model, not_moved = trained(name, config, optimizer)
        assert torch.isfinite(weights(model)).all() and history.train_loss[-1] < history.train_loss[0], optimizer
        still.append(not_moved)
    assert all(not_moved == still[0] for not_moved in still) and len(still[0]) < len(list(model.parameters())) / 2
