"""Losses of the paper, as pure functions of tensors."""

import torch
from torch import Tensor

RHO = 0.999  # the share of the force in the loss, as in the authors' release


def supervised(
    energy: Tensor,
    force: Tensor,
    energy_label: Tensor,
    force_label: Tensor,
    weight: Tensor | None = None,
    rho: float = RHO,
) -> Tensor:
    """Force and energy loss, the same for every stage; with weights it is the bias-aware loss.

    L = mean over frames of w · [ρ · mean over atoms of ‖F − F*‖ + (1 − ρ) · |E − E*|]

    Args:
        energy, energy_label: (frames,), kcal/mol.
        force, force_label: (frames, atoms, 3), kcal/mol/Å.
        weight: (frames,) weight of each frame, or None for ones.
        rho: share of the force.

    Returns:
        Scalar.

    Source:
        Bukharin et al. 2023, Eq. 1 (no weight) and Eq. 2 (weights from `bias_weights`).
    """
    force_error = torch.linalg.vector_norm(force - force_label, dim=-1).mean(dim=-1)  # (frames,)
    energy_error = (energy - energy_label).abs()
    loss = rho * force_error + (1 - rho) * energy_error
    return loss.mean() if weight is None else (weight * loss).mean()


def frame_bias(force: Tensor, inaccurate_force: Tensor) -> Tensor:
    """Bias of each frame: Δ(x) = mean over atoms and components of |F(x; θ_A) − F_I(x)|.

    Args:
        force: (frames, atoms, 3), predicted by the accurately trained model, kcal/mol/Å.
        inaccurate_force: (frames, atoms, 3), the inaccurate labels.

    Returns:
        (frames,), kcal/mol/Å.

    Source:
        Bukharin et al. 2023, section 3.1.
    """
    return (force - inaccurate_force).abs().mean(dim=(1, 2))


def bias_weights(bias: Tensor, gamma: float) -> Tensor:
    """Weight of each inaccurate frame, w(x) = exp(−Δ(x)/γ), divided by the mean weight.

    The division keeps γ from changing the size of the gradient step as well, so that γ → ∞ is plain training.

    Args:
        bias: (frames,), kcal/mol/Å.
        gamma: kcal/mol/Å, positive; infinity gives ones.

    Returns:
        (frames,), mean 1.

    Raises:
        ValueError: if gamma is not positive.

    Source:
        Bukharin et al. 2023, section 3.2.
    """
    if not gamma > 0:
        raise ValueError(f"gamma is {gamma}; it must be positive (infinity switches the weights off)")
    weight = torch.exp((bias.min() - bias) / gamma)  # the least bias taken off: no underflow for small gamma
    return weight / weight.mean()


def force_mae(force: Tensor, force_label: Tensor) -> Tensor:
    """Mean absolute error over all force components, the paper's test error, kcal/mol/Å."""
    return (force - force_label).abs().mean()
