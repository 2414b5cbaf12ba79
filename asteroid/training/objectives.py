"""What a training step minimises: the columns of a batch, and the loss of energies and forces on them.

Objectives are equal by value, so that models of one configuration share a traced step.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from asteroid.training import losses
from asteroid.training.forces import BATCH

OUTLYING = 20.0  # median deviations; without a calculation that went astray the largest is 3 to 10


class Labelled(Protocol):
    """What training reads of a LabelledSet: z (atoms,), pos and force (frames, atoms, 3), energy (frames,)."""

    z: Tensor
    pos: Tensor
    energy: Tensor
    force: Tensor

    def __len__(self) -> int: ...


class Objective(Protocol):
    """A loss and what it reads.

    Attributes:
        signed: whether the loss may be of either sign, so that its first value says nothing about its size.
    """

    signed: bool

    def columns(self, train: Labelled, model: nn.Module, weight: Tensor | None) -> list[Tensor]:
        """Tensors (frames, ...) of which a batch takes rows, pos first.

        Args:
            train: the frames.
            model: as it is before the training.
            weight: (frames,) of the frames, or None for ones.
        """
        ...

    def draws(self, pos: Tensor, generator: torch.Generator) -> list[Tensor]:
        """Random tensors that a batch of pos (batch, atoms, 3) has besides its columns."""
        ...

    def __call__(self, energy: Tensor, force: Tensor, pos: Tensor, *labels: Tensor) -> Tensor:
        """The loss, a scalar.

        Args:
            energy, force: of the model at pos, with the graphs by which they follow from its weights and from pos.
            pos: (batch, atoms, 3).
            labels: the other columns of the batch, and what was drawn for it.
        """
        ...


@dataclass(frozen=True)
class Supervised:
    """Labels of energies and forces: `losses.supervised`.

    Attributes:
        rho: share of the force.
    """

    rho: float = losses.RHO
    signed: ClassVar[bool] = False

    def columns(self, train: Labelled, model: nn.Module, weight: Tensor | None) -> list[Tensor]:
        # Ones rather than nothing, so that stages with and without weights share a traced step.
        weight = torch.ones_like(train.energy) if weight is None else weight
        return [train.pos, train.energy - energy_shift(model, train), train.force, weight]

    def draws(self, pos: Tensor, generator: torch.Generator) -> list[Tensor]:
        return []

    def __call__(
        self,
        energy: Tensor,
        force: Tensor,
        pos: Tensor,
        energy_label: Tensor,
        force_label: Tensor,
        weight: Tensor,
    ) -> Tensor:
        return losses.supervised(energy, force, energy_label, force_label, weight, self.rho)


@dataclass(frozen=True)
class ScoreMatching:
    """Geometries from a simulation at constant temperature, no labels: `losses.sliced_score_matching`.

    Rotations and translations carry no information on the force: the directions of the slices are orthogonal to them,
    and what they contribute to the trace is written down exactly.

    Attributes:
        thermal_energy: k_B T of the simulation, kcal/mol.
        slices: random directions for each frame and step.
    """

    thermal_energy: float
    slices: int = 1
    signed: ClassVar[bool] = True

    def columns(self, train: Labelled, model: nn.Module, weight: Tensor | None) -> list[Tensor]:
        rigid, rotation_trace = losses.rigid_directions(train.pos)
        return [train.pos, rigid, rotation_trace]

    def draws(self, pos: Tensor, generator: torch.Generator) -> list[Tensor]:
        shape = (self.slices, *pos.shape)
        return [torch.randint(2, shape, generator=generator).mul_(2).sub_(1).to(pos.device, pos.dtype)]

    def __call__(
        self,
        energy: Tensor,
        force: Tensor,
        pos: Tensor,
        rigid: Tensor,
        rotation_trace: Tensor,
        directions: Tensor,
    ) -> Tensor:
        flat = directions.flatten(2)  # (slices, frames, 3·atoms)
        flat = flat - torch.einsum("fir,fjr,sfj->sfi", rigid, rigid, flat)
        return losses.sliced_score_matching(force, pos, flat.view_as(directions), self.thermal_energy, rotation_trace)


def energy_shift(model: nn.Module, data: Labelled) -> float:
    """The constant that the model's energies lack on average over labelled frames, kcal/mol, in double precision.

    The levels of theory differ by large constants, to which forces are blind: the loss, nearly all force, would take
    thousands of steps to learn what one mean gives.
    """
    like = next(model.parameters())
    z, pos = data.z.to(like.device), data.pos.to(like.device, like.dtype)
    with torch.no_grad():
        energy = torch.cat([model(z, part) for part in pos.split(BATCH)])
    return float(robust_mean(data.energy - energy.double().cpu()))


def robust_mean(energy: Tensor) -> Tensor:
    """The mean of energies (frames,), kcal/mol, but for those of calculations that went astray.

    These are further from the median than `OUTLYING` times what others are: one of them would move the mean of a
    hundred frames by thousands.
    """
    off = (energy - energy.quantile(0.5)).abs()
    return energy[off <= OUTLYING * off.quantile(0.5).clamp(min=1.0)].mean()
