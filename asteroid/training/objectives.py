"""What a training step minimises: the columns of a batch, and the loss of a model on them.

Objectives are equal by value, so that models of one configuration share a traced step.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from asteroid.training import losses
from asteroid.training.forces import EnergyOf, energy_and_force


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

    def columns(self, train: Labelled, shift: Callable[[], float], weight: Tensor | None) -> list[Tensor]:
        """Tensors (frames, ...) of which a batch takes rows, pos first.

        Args:
            train: the frames.
            shift: gives what the model's energies lack, kcal/mol.
            weight: (frames,) of the frames, or None for ones.
        """
        ...

    def draws(self, pos: Tensor, generator: torch.Generator) -> list[Tensor]:
        """Random tensors that a batch of pos (batch, atoms, 3) has besides its columns."""
        ...

    def __call__(self, energy_of: EnergyOf, *batch: Tensor) -> Tensor:
        """The loss, a scalar."""
        ...


@dataclass(frozen=True)
class Supervised:
    """Labels of energies and forces: `losses.supervised`.

    Attributes:
        rho: share of the force.
    """

    rho: float = losses.RHO
    signed: ClassVar[bool] = False

    def columns(self, train: Labelled, shift: Callable[[], float], weight: Tensor | None) -> list[Tensor]:
        # Ones rather than nothing, so that stages with and without weights share a traced step.
        weight = torch.ones_like(train.energy) if weight is None else weight
        return [train.pos, train.energy - shift(), train.force, weight]

    def draws(self, pos: Tensor, generator: torch.Generator) -> list[Tensor]:
        return []

    def __call__(
        self,
        energy_of: EnergyOf,
        pos: Tensor,
        energy_label: Tensor,
        force_label: Tensor,
        weight: Tensor,
    ) -> Tensor:
        energy, force = energy_and_force(energy_of, pos, create_graph=True)
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

    def columns(self, train: Labelled, shift: Callable[[], float], weight: Tensor | None) -> list[Tensor]:
        rigid, rotation_trace = losses.rigid_directions(train.pos)
        return [train.pos, rigid, rotation_trace]

    def draws(self, pos: Tensor, generator: torch.Generator) -> list[Tensor]:
        shape = (self.slices, *pos.shape)
        return [torch.randint(2, shape, generator=generator).mul_(2).sub_(1).to(pos.device, pos.dtype)]

    def __call__(
        self, energy_of: EnergyOf, pos: Tensor, rigid: Tensor, rotation_trace: Tensor, directions: Tensor
    ) -> Tensor:
        flat = directions.flatten(2)  # (slices, frames, 3·atoms)
        flat = flat - torch.einsum("fir,fjr,sfj->sfi", rigid, rigid, flat)
        return losses.sliced_score_matching(
            energy_of, pos, flat.view_as(directions), self.thermal_energy, rotation_trace
        )
