"""Neighbours of the atoms of one molecule in many frames: a dense table of pairs, and a list of the pairs that count.

A batch holds one molecule, so the table of pairs has one shape for all frames, and features of pairs come from
broadcasting, whose derivatives are plain sums. Where maps of features cost most of the time they run on the list of
edges alone; table and list are read into each other by gathers in both directions, derivatives included, and atoms
from edges by products with incidence matrices: nowhere is there a scatter.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


def others(atoms: int, like: Tensor) -> Tensor:
    """Mask (atoms, atoms, 1) that is 0 for the pair of an atom with itself and else 1, on the device of `like`."""
    return (1 - torch.eye(atoms, dtype=like.dtype, device=like.device)).unsqueeze(-1)


def distances(pos: Tensor) -> tuple[Tensor, Tensor]:
    """Distances and unit vectors of all pairs; an atom has distance 1 Å and the zero vector to itself.

    Args:
        pos: (frames, atoms, 3), Å.

    Returns:
        Distances (frames, atoms, atoms), Å, and unit vectors (frames, atoms, atoms, 3) from the first to the second.
    """
    offset = pos[:, None, :] - pos[:, :, None]
    # The root has no derivative at 0, which is an atom's distance to itself.
    distance = (offset.square().sum(-1) + torch.eye(pos.shape[1], dtype=pos.dtype, device=pos.device)).sqrt()
    return distance, offset / distance.unsqueeze(-1)


def envelope(distance: Tensor, cutoff: float, exponent: int = 6) -> Tensor:
    """Polynomial that falls from 1 at distance 0 to 0 at the cutoff, where two derivatives vanish too.

    u(d) = 1 − (p+1)(p+2)/2 d^p + p(p+2) d^(p+1) − p(p+1)/2 d^(p+2) for d = distance / cutoff < 1, else 0.

    Args:
        distance: any shape, Å.
        cutoff: Å.
        exponent: p; larger values keep the envelope near 1 for longer.

    Returns:
        The shape of `distance`, between 0 and 1.

    Source:
        Gasteiger, Groß, Günnemann, "Directional Message Passing for Molecular Graphs" (ICLR 2020), Eq. 8.
    """
    p = exponent
    d = distance / cutoff
    value = 1 - (p + 1) * (p + 2) / 2 * d**p + p * (p + 2) * d ** (p + 1) - p * (p + 1) / 2 * d ** (p + 2)
    return torch.where(d < 1, value, torch.zeros_like(value))


@dataclass(frozen=True)
class Edges:
    """Directed edges c → a of all frames of a batch, the same number of rows for each frame.

    Frames with fewer edges fill their last rows with pairs beyond the cutoff, whose envelope is zero.

    Attributes:
        pair: (frames · edges,) row of each edge in the flattened table of pairs (frames, a, c).
        edge: (frames · atoms · atoms,) row of each pair in the list of edges; any row where it has none.
        reverse: (frames · edges,) row of each edge's opposite; a filling row is its own.
        listed: (frames · atoms · atoms, 1) 1 where a pair is in the list, else 0.
        real: (frames · edges,) whether an edge is within the cutoff.
        target, source: (frames, edges, atoms) 1 at the atom a (c) of each edge, else 0.
    """

    pair: Tensor
    edge: Tensor
    reverse: Tensor
    listed: Tensor
    real: Tensor
    target: Tensor
    source: Tensor

    def to_edges(self, pairs: Tensor) -> Tensor:
        """Rows (frames · edges, width) of a table of pairs (frames · atoms · atoms, width)."""
        return _Gather.apply(pairs, self.pair, self.edge, self.listed)

    def to_pairs(self, edges: Tensor) -> Tensor:
        """Table of pairs (frames · atoms · atoms, width) of rows (frames · edges, width); zeros where no edge is."""
        return _Gather.apply(edges, self.edge, self.pair, None) * self.listed

    def reversed(self, edges: Tensor) -> Tensor:
        """For every edge the row of its opposite."""
        return _Gather.apply(edges, self.reverse, self.reverse, None)

    def sum_at_targets(self, edges: Tensor) -> Tensor:
        """Sum over c (frames, atoms, width) of rows c → a of (frames · edges, width)."""
        return self.target.mT @ edges.view(len(self.target), -1, edges.shape[-1])

    def of_atoms(self, target: Tensor, source: Tensor) -> Tensor:
        """For every edge the row of its target plus that of its source, from tables (frames, atoms, width)."""
        both = torch.cat([self.target, self.source], dim=2) @ torch.cat([target, source], dim=1)
        return both.flatten(0, 1)


def most_edges(pos: Tensor, cutoff: float) -> int:
    """Largest number of directed edges of any frame of pos (frames, atoms, 3), Å, in whatever precision; at least 1."""
    cutoff *= 1 + 1e-5  # batches in single precision may round a pair into it
    # In parts: the table of pairs of ten thousand frames would not fit into the memory.
    return max(1, *(int(_within(distances(part)[0], cutoff).sum(dim=(1, 2)).max()) for part in pos.split(1024)))


def edge_list(distance: Tensor, cutoff: float, capacity: int | None = None) -> Edges:
    """The pairs within the cutoff.

    Args:
        distance: (frames, atoms, atoms), Å.
        cutoff: Å.
        capacity: rows per frame, at least `most_edges`; None counts them, for which the device has to be waited for.
    """
    frames, atoms, _ = distance.shape
    within = _within(distance.detach(), cutoff).reshape(frames, -1)  # (frames, atoms²)
    if capacity is None:
        capacity = max(1, int(within.sum(dim=1).max()))
    # A stable sort keeps the edges of an atom together, in front of the pairs that are none. An atom's pair with itself
    # comes last, where no capacity reaches: its distance is no distance.
    itself = torch.eye(atoms, dtype=torch.bool, device=distance.device).flatten()
    order = torch.argsort((~within).to(torch.uint8) + itself, dim=1, stable=True)
    rank = torch.argsort(order, dim=1)
    chosen = order[:, :capacity]
    real = torch.gather(within, 1, chosen)
    target, source = chosen // atoms, chosen % atoms
    place = torch.arange(capacity, device=distance.device).expand_as(chosen)
    opposite = torch.gather(rank, 1, source * atoms + target)
    frame = torch.arange(frames, device=distance.device).unsqueeze(1)
    number = torch.arange(atoms, device=distance.device)
    return Edges(
        pair=(chosen + frame * atoms**2).flatten(),
        edge=(rank.clamp(max=capacity - 1) + frame * capacity).flatten(),
        reverse=(torch.where(real, opposite, place) + frame * capacity).flatten(),
        listed=(rank < capacity).to(distance.dtype).reshape(-1, 1),
        real=real.flatten(),
        target=(target.unsqueeze(-1) == number).to(distance.dtype),
        source=(source.unsqueeze(-1) == number).to(distance.dtype),
    )


def _within(distance: Tensor, cutoff: float) -> Tensor:
    return (distance < cutoff) & (others(distance.shape[1], distance)[..., 0] > 0)


class _Gather(torch.autograd.Function):
    """Rows by number, the numbers that lead back being known: the derivative is a gather too.

    No row that counts is taken twice. `taken`, where given, is 0 for rows that are not taken at all.
    """

    @staticmethod
    def forward(ctx, rows: Tensor, index: Tensor, back: Tensor, taken: Tensor | None) -> Tensor:
        ctx.index, ctx.back, ctx.taken = index, back, taken
        return rows.index_select(0, index)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        gathered = _Gather.apply(gradient, ctx.back, ctx.index, None)
        return gathered if ctx.taken is None else gathered * ctx.taken, None, None, None
