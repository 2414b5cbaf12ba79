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


def sliced_score_matching(
    force: Tensor,
    pos: Tensor,
    directions: Tensor,
    thermal_energy: float,
    rotation_trace: Tensor | None = None,
) -> Tensor:
    """Sliced score matching: learns the force from geometries that follow exp(−E / k_B T), without labels.

    L = mean over frames of [½ ‖F‖² + k_B T · mean over slices of vᵀ (∂F/∂x) v], which is k_B T squared times the
    published objective. With k_B T · tr(∂F/∂x) in the place of the slices' mean, whose expectation it is, it differs
    from the mean of ½ ‖F − F*‖² by a constant only, where F* is the force of the simulation.

    Args:
        force: (frames, atoms, 3), kcal/mol/Å, with the graph by which it follows from pos.
        pos: (frames, atoms, 3), Å.
        directions: v (slices, frames, atoms, 3), random, of unit covariance: Gaussian, or with components ±1, which
            gives the smaller variance.
        thermal_energy: k_B T of the simulation, kcal/mol.
        rotation_trace: (frames, atoms, 3) from `rigid_directions`, 1/Å, where `directions` are orthogonal to the
            rigid motions: their part of the trace, as a function of the force, is added exactly.

    Returns:
        Scalar, (kcal/mol/Å)².

    Source:
        Bukharin et al. 2023, Eq. 3; Song, Garg, Shi, Ermon, "Sliced Score Matching" (UAI 2020), Eq. 8.
    """
    slices = [
        (torch.autograd.grad(force, pos, direction, create_graph=True)[0] * direction).sum() for direction in directions
    ]
    trace = torch.stack(slices).mean()
    if rotation_trace is not None:
        trace = trace + (rotation_trace * force).sum()
    return (0.5 * force.square().sum() + thermal_energy * trace) / len(pos)


def score_matching(force: Tensor, pos: Tensor, thermal_energy: float) -> Tensor:
    """Score matching with the exact trace, which takes as many derivatives as there are coordinates.

    Args:
        force, pos, thermal_energy: as in `sliced_score_matching`.

    Returns:
        Scalar, (kcal/mol/Å)².

    Source:
        Hyvärinen, "Estimation of Non-Normalized Statistical Models by Score Matching" (JMLR 2005), Theorem 1.
    """
    coordinates = pos[0].numel()
    basis = torch.eye(coordinates, dtype=pos.dtype, device=pos.device).view(coordinates, 1, *pos.shape[1:])
    # The mean over slices, of which each is one coordinate, is the trace divided by their number.
    directions = coordinates**0.5 * basis.expand(-1, len(pos), *pos.shape[1:])
    return sliced_score_matching(force, pos, directions, thermal_energy)


def denoising_score_matching(force: Tensor, noise: Tensor, sigma: float, thermal_energy: float) -> Tensor:
    """Denoising score matching: the force at disturbed geometries points back to where they came from.

    L = mean over frames of ½ ‖F(x + σ ε) + k_B T ε / σ‖². It needs one derivative less than the sliced form, and learns
    the force of the density smoothed by σ: as σ falls, the bias falls with its square and the variance rises.

    Args:
        force: F(x + σ ε) (frames, atoms, 3), kcal/mol/Å, at the perturbed geometries.
        noise: ε (frames, atoms, 3), standard normal.
        sigma: σ, Å.
        thermal_energy: k_B T of the simulation, kcal/mol.

    Returns:
        Scalar, (kcal/mol/Å)².

    Source:
        Vincent, "A Connection Between Score Matching and Denoising Autoencoders" (Neural Computation 2011), Eq. 9.
    """
    return 0.5 * (force + thermal_energy / sigma * noise).square().sum() / len(force)


def rigid_directions(pos: Tensor) -> tuple[Tensor, Tensor]:
    """The directions in which a molecule moves as a whole, in which the density of its geometries says nothing.

    The energy is constant along them, but ∂F/∂x is not zero: a rotation by ω turns the forces too, so that along the
    unit vector u of that rotation uᵀ (∂F/∂x) u = Σ_i u_i · (ω × F_i), which is linear in F.

    Args:
        pos: (frames, atoms, 3), Å.

    Returns:
        Orthonormal directions (frames, 3 · atoms, 6), of which a linear molecule has one less and a zero column, and
        g (frames, atoms, 3), 1/Å, with which Σ_i g_i · F_i is the trace of ∂F/∂x over all rotations.
    """
    frames, atoms, _ = pos.shape
    centred = pos - pos.mean(dim=1, keepdim=True)
    axes = torch.eye(3, dtype=pos.dtype, device=pos.device)
    # Columns of the motion by a unit rotation about each axis: e × x.
    motion = torch.linalg.cross(axes.view(1, 1, 3, 3), centred.unsqueeze(2).expand(-1, -1, 3, -1), dim=-1)
    motion = motion.transpose(2, 3).reshape(frames, 3 * atoms, 3)
    u, size, turn = torch.linalg.svd(motion, full_matrices=False)
    real = size > 1e-6 * size[:, :1]
    u = u * real[:, None]
    omega = torch.where(real[..., None], turn / size.clamp(min=1e-12)[..., None], 0.0)  # (frames, 3 rotations, 3)
    by_atom = u.view(frames, atoms, 3, 3).transpose(2, 3)  # (frames, atoms, rotations, 3)
    trace = torch.linalg.cross(by_atom, omega[:, None].expand_as(by_atom), dim=-1).sum(dim=2)
    shift = (atoms**-0.5 * axes).repeat(atoms, 1).expand(frames, -1, -1)
    return torch.cat([shift, u], dim=2), trace


def force_mae(force: Tensor, force_label: Tensor) -> Tensor:
    """Mean absolute error over all force components, the paper's test error, kcal/mol/Å."""
    return (force - force_label).abs().mean()
