"""What turns gradients into steps: Muon or SOAP for weight matrices, AdamW for everything else, or AdamW alone."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

OPTIMIZERS = ("muon", "soap", "adamw")

# Of the composition of polynomials that is nearest to the sign function on [0.001, 1]: three of them do for a step of
# an optimiser what five of the first Newton-Schulz iterations did, whose coefficients were found by hand.
_POLAR_EXPRESS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
)


class Optimizer:
    """The parameters of a model in one vector, and the optimiser that moves it.

    The model's parameters become views of the vector, so that clipping, averaging and AdamW are a few operations, where
    a tensor at a time they would cost as much as a small model's gradient. Matrices of one shape lie side by side in
    it, and are stepped as one batch.

    A weight matrix is a parameter of two or more dimensions (all but the last are taken together) that is neither an
    embedding nor a row or column.

    Args:
        model: its parameters become views of `weights`.
        name: one of `OPTIMIZERS`.
        weight_decay: taken off in proportion to weight and learning rate.

    Attributes:
        weights: (parameters,) all of them.

    Raises:
        ValueError: for an unknown name, or a model without weight matrices where the optimiser is for them.
    """

    def __init__(self, model: nn.Module, name: str, weight_decay: float):
        if name not in OPTIMIZERS:
            raise ValueError(f"unknown optimizer {name!r}; known: {', '.join(OPTIMIZERS)}")
        parameters = list(model.parameters())
        by_shape = {} if name == "adamw" else _matrices(model)
        if name != "adamw" and not by_shape:
            raise ValueError(
                f"the optimizer {name!r} is for weight matrices, of which {type(model).__name__} has none; "
                "set optimizer to 'adamw'"
            )
        matrices = [index for indices in by_shape.values() for index in indices]
        self._order = matrices + sorted(set(range(len(parameters))) - set(matrices))
        self.weights = torch.cat([parameters[index].detach().flatten() for index in self._order])
        self._gradient = torch.zeros_like(self.weights)
        at = 0
        for index in self._order:
            parameter = parameters[index]
            parameter.data = self.weights[at : at + parameter.numel()].view_as(parameter)
            at += parameter.numel()

        stacks, at = [], 0
        for (rows, columns), indices in by_shape.items():
            stacks.append(self._part(at, (len(indices), rows, columns)))
            at += stacks[-1].numel()
        rest = self._part(at, (len(self.weights) - at,))
        self._steppers: list[torch.optim.Optimizer] = []
        if rest.numel():
            self._steppers.append(torch.optim.AdamW([rest], weight_decay=weight_decay, fused=True))
        if name == "muon":
            self._steppers.append(Muon(stacks, weight_decay=weight_decay))
        elif name == "soap":
            self._steppers.append(_soap(stacks, weight_decay))

    def step(self, gradients: Sequence[Tensor], learning_rate: float, clip: float) -> None:
        """Move the weights.

        Args:
            gradients: of every parameter, in the order of `model.parameters()`.
            learning_rate: of this step.
            clip: largest norm of the whole gradient; a larger one is scaled down to it.
        """
        torch.cat([gradients[index].flatten() for index in self._order], out=self._gradient)
        self._gradient.mul_((clip / (self._gradient.norm() + 1e-6)).clamp(max=1.0))
        for stepper in self._steppers:
            for group in stepper.param_groups:
                group["lr"] = learning_rate
            stepper.step()

    def state_dict(self) -> list[dict[str, Any]]:
        """What a checkpoint has to hold besides the weights."""
        return [stepper.state_dict() for stepper in self._steppers]

    def load_state_dict(self, state: Sequence[Mapping[str, Any]]) -> None:
        for stepper, its_own in zip(self._steppers, state, strict=True):
            stepper.load_state_dict(dict(its_own))

    def _part(self, at: int, shape: tuple[int, ...]) -> nn.Parameter:
        size = torch.Size(shape).numel()
        part = nn.Parameter(self.weights[at : at + size].view(shape))
        part.grad = self._gradient[at : at + size].view(shape)
        return part


class Muon(torch.optim.Optimizer):
    """Momentum whose singular values are all made about equal, for batches of matrices.

    M ← β M + (1 − β) G,  W ← (1 − lr · decay) W − lr · 0.2 √max(rows, columns) · orthogonalised(β M + (1 − β) G)

    The factor gives a step the root mean square of one of AdamW's, so that one learning rate does for both.
    `torch.optim.Muon` takes one matrix at a time, rounded to 16 bits: on a processor several times as slow.

    Args:
        stacks: parameters (matrices, rows, columns).
        lr, weight_decay: as above.
        momentum: β.

    Source:
        Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024); the factor: Liu et al.,
        arXiv:2502.16982 (2025).
    """

    def __init__(
        self, stacks: Iterable[nn.Parameter], lr: float = 1e-3, weight_decay: float = 0.0, momentum: float = 0.95
    ):
        super().__init__(stacks, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            rate, beta = group["lr"], group["momentum"]
            for stack in group["params"]:
                state = self.state[stack]
                if not state:
                    state["momentum"] = torch.zeros_like(stack)
                momentum = state["momentum"]
                momentum.lerp_(stack.grad, 1 - beta)
                direction = orthogonalised(stack.grad.lerp(momentum, beta))
                stack.mul_(1 - rate * group["weight_decay"])
                stack.add_(direction, alpha=-rate * 0.2 * max(stack.shape[-2:]) ** 0.5)


def orthogonalised(matrices: Tensor) -> Tensor:
    """Matrices with the singular vectors of others, and singular values between 0.18 and 1.9 instead of theirs.

    X ← a X + (b X Xᵀ + c (X Xᵀ)²) X for three triples of a, b and c, after a division by the norm. A singular value
    below a thousandth of the norm ends lower.

    Args:
        matrices: (matrices, rows, columns).

    Source:
        Amsel, Persson, Musco, Gower, "The Polar Express", arXiv:2505.16932 (2025).
    """
    wide = matrices.mT if matrices.shape[-2] > matrices.shape[-1] else matrices
    x = wide / (1.01 * torch.linalg.matrix_norm(wide, keepdim=True) + 1e-12)
    for a, b, c in _POLAR_EXPRESS:
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if wide is not matrices else x


def _matrices(model: nn.Module) -> dict[tuple[int, int], list[int]]:
    """By shape, which of the model's parameters are weight matrices."""
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    by_shape: dict[tuple[int, int], list[int]] = {}
    for index, parameter in enumerate(model.parameters()):
        if parameter.dim() < 2 or id(parameter) in embeddings:
            continue
        shape = (parameter.shape[:-1].numel(), parameter.shape[-1])
        if min(shape) > 1:
            by_shape.setdefault(shape, []).append(index)
    return by_shape


def _soap(stacks: Iterable[nn.Parameter], weight_decay: float) -> torch.optim.Optimizer:
    """SOAP (Vyas et al., arXiv:2409.11321, 2024) of a package, which takes one matrix at a time."""
    from pytorch_optimizer import SOAP  # slow to import

    matrices = []
    for stack in stacks:
        for values, gradient in zip(stack.detach(), stack.grad, strict=True):
            matrix = nn.Parameter(values)
            matrix.grad = gradient
            matrices.append(matrix)
    return SOAP(matrices, lr=1e-3, weight_decay=weight_decay)
