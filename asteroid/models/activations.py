"""Activation functions, whose derivatives up to the third are taken in every training step."""

import torch
from torch import Tensor


def silu(x: Tensor) -> Tensor:
    """x σ(x), with its derivatives spelt out: a few fused operations each, where those that PyTorch derives are many."""
    return _SiLU.apply(x)


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
        s = torch.sigmoid(x)
        # f''(x) = s (1 − s) (2 + x (1 − 2s))
        curvature = (s - s * s) * torch.addcmul(x + 2, s, x, value=-2)
        return _SiLUGradient.apply(second, x), second * gradient * curvature
