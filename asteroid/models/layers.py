"""Layers that several models are built of. All maps are without constants, so that nothing maps to nothing."""

import math
from collections.abc import Sequence
from dataclasses import fields
from numbers import Real
from types import NoneType
from typing import Any

import torch
from torch import Tensor, nn


def check_sizes(config: Any, may_be_zero: tuple[str, ...] = ()) -> None:
    """Raise a ValueError that lists the settings of a model's configuration that no model can have."""
    wrong = []
    for field in fields(config):
        value, kind = getattr(config, field.name), type(field.default)
        least = 0 if field.name in may_be_zero else 1
        if kind is int and not (type(value) is int and value >= least):
            wrong.append(f"{field.name} is {value!r}, expected a whole number of {least} or more")
        elif kind is bool and type(value) is not bool:
            wrong.append(f"{field.name} is {value!r}, expected True or False")
        elif kind in (float, NoneType) and not (
            (value is None and kind is NoneType) or (isinstance(value, Real) and 0 < value < math.inf)
        ):
            wrong.append(f"{field.name} is {value!r}, expected a number above 0")
    if wrong:
        raise ValueError("; ".join(wrong))


def silu(x: Tensor) -> Tensor:
    """x σ(x), with its derivatives spelt out: a few fused operations, where those that PyTorch derives are many."""
    return _SiLU.apply(x)


def activation(x: Tensor) -> Tensor:
    """SiLU / 0.6, which keeps the variance of a normal variable nearly at 1."""
    return silu(x) * (1 / 0.6)


def concatenate(tensors: Sequence[Tensor], dim: int) -> Tensor:
    """torch.cat, its derivative one split: those of the slices that PyTorch takes would be as many tables of zeros."""
    return _Concatenate.apply(dim, *tensors)


class Residual(nn.Module):
    """(x + act(W₂ act(W₁ x))) / √2."""

    def __init__(self, width: int):
        super().__init__()
        self.first, self.second = linear(width, width), linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return (x + activation(self.second(activation(self.first(x))))) * 2**-0.5


class Scale(nn.Module):
    """A constant that gives a layer's output the variance of its input (Gasteiger et al. 2021, section 6)."""

    def __init__(self):
        super().__init__()
        self.register_buffer("factor", torch.ones(()))
        self.fitting = False

    def forward(self, reference: Tensor, value: Tensor, real: Tensor | None = None) -> Tensor:
        """`value` times the factor, which in fitting is first set to give it the variance of `reference`."""
        if self.fitting:
            factor = (variance(reference, real) / variance(value, real)).sqrt()
            # A molecule without any triplet, say, says nothing about their sum.
            self.factor.copy_(torch.where(factor.isfinite() & (factor > 0), factor, 1.0))
        return value * self.factor


def variance(x: Tensor, real: Tensor | None) -> Tensor:
    """Variance over rows, averaged over features; of edges, only the real ones count."""
    x = x.detach().flatten(0, -2)
    return x[real].var(dim=0).mean() if real is not None and len(real) == len(x) else x.var(dim=0).mean()


def residuals(width: int, layers: int) -> nn.Sequential:
    return nn.Sequential(*(Residual(width) for _ in range(layers)))


def linear(inputs: int, outputs: int, parts: int = 1) -> nn.Linear:
    """`parts` linear maps of the same input without constants, their outputs one after another."""
    layer = nn.Linear(inputs, parts * outputs, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.cat([orthogonal(inputs, outputs).T for _ in range(parts)]))
    return layer


def orthogonal(*shape: int) -> nn.Parameter:
    """Weights (..., outputs) of orthogonal directions, whose variance over all inputs is 1 / number of inputs.

    Source:
        Gasteiger et al. 2021, section 6.
    """
    weight = torch.empty(shape)
    nn.init.orthogonal_(weight)
    inputs = tuple(range(len(shape) - 1))
    if math.prod(shape[:-1]) > 1:
        variance, mean = torch.var_mean(weight, dim=inputs, keepdim=True, correction=1)
        weight = (weight - mean) / (variance + 1e-6).sqrt()
    return nn.Parameter(weight * math.prod(shape[:-1]) ** -0.5)


class _Concatenate(torch.autograd.Function):
    @staticmethod
    def forward(ctx, dim: int, *tensors: Tensor) -> Tensor:
        ctx.dim, ctx.sizes = dim, [tensor.shape[dim] for tensor in tensors]
        return torch.cat(tensors, dim=dim)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return None, *gradient.split(ctx.sizes, dim=ctx.dim)


class _SiLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.nn.functional.silu(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return _SiLUGradient.apply(gradient, *ctx.saved_tensors)


class _SiLUGradient(torch.autograd.Function):
    """g f'(x); its derivatives are g' f'(x) by g and g' g f''(x) by x."""

    @staticmethod
    def forward(ctx, gradient: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(gradient, x)
        return torch.ops.aten.silu_backward(gradient, x)

    @staticmethod
    def backward(ctx, second: Tensor) -> tuple[Tensor, Tensor]:
        gradient, x = ctx.saved_tensors
        return _SiLUGradient.apply(second, x), _SiLUCurvature.apply(second * gradient, x)


class _SiLUCurvature(torch.autograd.Function):
    """g f''(x), where f''(x) = s (1 − s) (2 + x (1 − 2s)) and s is the sigmoid of x."""

    @staticmethod
    def forward(ctx, gradient: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(gradient, x)
        # In place: large temporaries, not arithmetic, are what takes the time.
        s = torch.sigmoid(x)
        result = torch.addcmul(x, s, x, value=-2).add_(2).mul_(gradient)
        return result.mul_(s.addcmul_(s, s, value=-1))

    @staticmethod
    def backward(ctx, second: Tensor) -> tuple[Tensor, Tensor]:
        gradient, x = ctx.saved_tensors
        s = torch.sigmoid(x)
        slope = s - s * s
        # f'''(x) = s' (3 (1 − 2s) + x ((1 − 2s)² − 2s')) with s' = s (1 − s)
        third = slope * (3 * (1 - 2 * s) + x * ((1 - 2 * s) ** 2 - 2 * slope))
        return _SiLUCurvature.apply(second, x), second * gradient * third
