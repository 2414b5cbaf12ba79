"""What a force field has seen of its molecule, so that it can say where it extrapolates."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

TOLERANCE = 0.2  # of a distance: a longer simulation at the same temperature goes further than few samples


@dataclass(frozen=True)
class Domain:
    """The temperature and the interatomic distances of the frames that a force field has learned from.

    Attributes:
        temperature: of the sampling, K; None where it is not known.
        shortest, longest: (pairs,) of the atoms i < j, in the order of `torch.triu_indices`, Å.
    """

    temperature: float | None
    shortest: tuple[float, ...]
    longest: tuple[float, ...]

    @classmethod
    def of(cls, pos: Tensor, temperature: float | None = None) -> "Domain":
        """That of positions (frames, atoms, 3), Å, sampled at a temperature, K."""
        lengths = distances(pos)
        return cls(temperature, *(tuple(ends.values.tolist()) for ends in (lengths.min(dim=0), lengths.max(dim=0))))

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Domain":
        return cls(content["temperature"], tuple(content["shortest"]), tuple(content["longest"]))

    def to_json(self) -> dict[str, Any]:
        return {"temperature": self.temperature, "shortest": list(self.shortest), "longest": list(self.longest)}

    def joined(self, other: "Domain") -> "Domain":
        """What this or the other has seen, of the same molecule."""
        known = [one.temperature for one in (self, other) if one.temperature is not None]
        return Domain(
            max(known, default=None),
            tuple(map(min, self.shortest, other.shortest)),
            tuple(map(max, self.longest, other.longest)),
        )

    def reordered(self, z: Tensor, numbers: Tensor) -> "Domain":
        """The same of the molecule's atoms in another order, in which atoms of one element cannot be told apart.

        Args:
            z: (atoms,) atomic numbers in the order of training.
            numbers: (atoms,) the same ones in the other order.

        Returns:
            For each pair what all pairs of the same two elements have seen; itself if the order is that of training.
        """
        if z.tolist() == numbers.tolist():
            return self
        seen = {}
        for kind, shortest, longest in zip(_elements(z), self.shortest, self.longest, strict=True):
            ends = seen.get(kind, (shortest, longest))
            seen[kind] = (min(shortest, ends[0]), max(longest, ends[1]))
        shortest, longest = zip(*(seen[kind] for kind in _elements(numbers)), strict=True)
        return Domain(self.temperature, shortest, longest)

    def left_by(self, pos: Tensor, tolerance: float = TOLERANCE) -> str | None:
        """In words, the pair of atoms whose distance is furthest beyond what was seen; None within the tolerance.

        Args:
            pos: (atoms, 3) in the order of training, Å.
            tolerance: share by which a distance may be shorter or longer.
        """
        lengths = distances(pos[None])[0]
        shortest, longest = (torch.tensor(ends, dtype=lengths.dtype) for ends in (self.shortest, self.longest))
        beyond = torch.maximum(lengths / longest, shortest / lengths)
        worst = int(beyond.argmax())
        if beyond[worst] <= 1 + tolerance:
            return None
        first, second = torch.triu_indices(pos.shape[-2], pos.shape[-2], 1)[:, worst].tolist()
        return (
            f"atoms {first} and {second} are {float(lengths[worst]):.2f} Å apart, in the frames that were learned from "
            f"{self.shortest[worst]:.2f} to {self.longest[worst]:.2f} Å"
        )

    def share_outside(self, pos: Tensor, tolerance: float = TOLERANCE) -> float:
        """Share of frames (frames, atoms, 3), Å, in which a distance is beyond what was seen, see `left_by`."""
        return sum(self.left_by(frame, tolerance) is not None for frame in pos) / len(pos)


class Watch:
    """Warns of the first positions (atoms, 3), Å, that it is shown and that are outside a domain; of none if None."""

    def __init__(self, domain: Domain | None):
        self.domain = domain

    def __call__(self, pos: Tensor) -> None:
        if self.domain is not None and (beyond := self.domain.left_by(pos)):
            self.domain = None
            warnings.warn(f"the force field extrapolates: {beyond}; it says so once", stacklevel=3)


def distances(pos: Tensor) -> Tensor:
    """Distances (frames, pairs), Å, of all pairs i < j of positions (frames, atoms, 3)."""
    first, second = torch.triu_indices(pos.shape[-2], pos.shape[-2], 1, device=pos.device)
    return (pos[:, first] - pos[:, second]).norm(dim=-1)


def _elements(z: Tensor) -> list[frozenset[int]]:
    """The elements of the pairs i < j."""
    return [frozenset(pair) for pair in combinations(z.tolist(), 2)]
