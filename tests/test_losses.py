"""The losses of the paper against numbers worked out by hand."""

import math

import pytest
import torch

from asteroid.training import losses

ZERO = torch.zeros(2, 2, 3, dtype=torch.float64)
FORCE = torch.tensor([[[3.0, 4, 0], [0, 0, 1]], [[0, 0, 0], [0, 6, 8]]], dtype=torch.float64)
ENERGY = torch.tensor([2.0, -1.0], dtype=torch.float64)
# Norms of the force errors 5, 1 and 0, 10: means over atoms 3 and 5; energy errors 2 and 1.
BIAS = torch.tensor([3.0, 1.0, 2.0, 10.0], dtype=torch.float64)


def by_hand(weight: torch.Tensor | None = None, rho: float = 0.75) -> torch.Tensor:
    return losses.supervised(ENERGY, FORCE, 0 * ENERGY, ZERO, weight, rho)


def test_supervised_by_hand():
    assert float(by_hand()) == pytest.approx((0.75 * (3 + 5) + 0.25 * (2 + 1)) / 2, rel=1e-14)
    assert float(by_hand(rho=1.0)) == pytest.approx(4, rel=1e-14)
    assert float(by_hand(rho=0.0)) == pytest.approx(1.5, rel=1e-14)


def test_supervised_with_weights_by_hand():
    weight = torch.tensor([0.5, 1.5], dtype=torch.float64)
    expected = (0.5 * (0.75 * 3 + 0.25 * 2) + 1.5 * (0.75 * 5 + 0.25 * 1)) / 2
    assert float(by_hand(weight)) == pytest.approx(expected, rel=1e-14)
    assert float(by_hand(torch.ones(2, dtype=torch.float64))) == float(by_hand())


def test_the_loss_is_symmetric_in_prediction_and_label_and_vanishes_where_they_agree():
    swapped = losses.supervised(0 * ENERGY, ZERO, ENERGY, FORCE, None, 0.75)
    assert float(swapped) == float(by_hand())
    assert float(losses.supervised(ENERGY, FORCE, ENERGY, FORCE)) == 0


def test_weights_reach_the_gradient():
    """The weights of the authors' release were worked out and never used."""
    force = FORCE.clone().requires_grad_()
    weight = torch.tensor([0.0, 2.0], dtype=torch.float64)
    losses.supervised(ENERGY, force, 0 * ENERGY, ZERO, weight).backward()
    unweighted = FORCE.clone().requires_grad_()
    losses.supervised(ENERGY, unweighted, 0 * ENERGY, ZERO).backward()
    assert float(force.grad[0].abs().max()) == 0 < float(unweighted.grad[0].abs().max())
    torch.testing.assert_close(force.grad[1], 2 * unweighted.grad[1])


def test_gradient_is_finite_where_an_error_is_exactly_zero():
    """The norm has a kink there, and training differentiates twice."""
    x = torch.zeros(1, 2, 3, dtype=torch.float64, requires_grad=True)
    energy = x.square().sum(dim=(1, 2))
    (slope,) = torch.autograd.grad(energy.sum(), x, create_graph=True)
    loss = losses.supervised(energy, -slope, 0 * energy.detach(), torch.zeros(1, 2, 3, dtype=torch.float64))
    (gradient,) = torch.autograd.grad(loss, x)
    assert bool(torch.isfinite(gradient).all())


def test_frame_bias_by_hand():
    torch.testing.assert_close(losses.frame_bias(FORCE, ZERO), torch.tensor([8 / 6, 14 / 6], dtype=torch.float64))
    assert torch.equal(losses.frame_bias(ZERO, FORCE), losses.frame_bias(FORCE, ZERO))


def test_force_mae_is_over_components():
    assert float(losses.force_mae(FORCE, ZERO)) == pytest.approx(22 / 12)


@pytest.mark.parametrize("gamma", [0.1, 1.0, 7.0, math.inf])
def test_weights_have_mean_one_and_fall_with_the_bias(gamma):
    weight = losses.bias_weights(BIAS, gamma)
    assert float(weight.mean()) == pytest.approx(1, rel=1e-12)
    in_order = weight[BIAS.argsort()]
    assert bool((in_order.diff() <= 0).all())
    if math.isinf(gamma):
        assert torch.equal(weight, torch.ones_like(BIAS))
    else:
        assert float(weight[1] / weight[0]) == pytest.approx(math.exp(2 / gamma), rel=1e-9)  # Eq. 2


@pytest.mark.parametrize("gamma", [1e-3, 1e-30, 5e-324])
def test_a_tiny_gamma_leaves_the_frame_of_least_bias(gamma):
    weight = losses.bias_weights(BIAS, gamma)
    assert weight.tolist() == [0, 4, 0, 0]


def test_frames_of_equal_bias_have_equal_weights():
    assert torch.equal(losses.bias_weights(torch.full((5,), 3.0), 0.1), torch.ones(5))


@pytest.mark.parametrize("gamma", [0.0, -1.0, math.nan])
def test_gamma_must_be_positive(gamma):
    with pytest.raises(ValueError, match="gamma"):
        losses.bias_weights(BIAS, gamma)
