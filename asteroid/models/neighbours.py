"""Neighbour slots: every atom of a molecule is a slot of every other, and a mask takes out what does not count.

A batch holds one molecule, so the table of pairs is dense, its shape never changes and no index is needed: features of
pairs come from broadcasting, whose derivatives are plain sums.
"""

import torch
from torch import Tensor


def others(atoms: int, like: Tensor) -> Tensor:
    """Mask (atoms, atoms, 1) that is 0 for the pair of an atom with itself and else 1, on the device of `like`."""
    return (1 - torch.eye(atoms, dtype=like.dtype, device=like.device)).unsqueeze(-1)


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
