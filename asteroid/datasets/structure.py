"""What geometries say of their molecule: its bonds, where its atoms are if a cell cuts it, and which repeat others."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from ase.data import chemical_symbols, covalent_radii
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from torch import Tensor

if TYPE_CHECKING:
    from ase import Atoms

BONDED, APART = 1.3, 1.6
"""Distances in sums of covalent radii: of a bond at most, and of what is surely none at least. Bonds are near 1."""

LEAST_GAP = 4.0
"""Å that must be between a molecule and its images in a periodic cell for it to be taken for one that is alone."""

SAME_GEOMETRY = 1e-3
"""Å by which positions of one geometry may differ: files round them, while a step of dynamics moves atoms ten times as
far."""


def reach(z: Tensor, pos: Tensor) -> Tensor:
    """Distances (frames, atoms, atoms) of z (atoms,), pos (frames, atoms, 3) in sums of covalent radii."""
    radii = torch.from_numpy(covalent_radii)[z]
    return torch.cdist(pos, pos, compute_mode="donot_use_mm_for_euclid_dist") / (radii[:, None] + radii)


def rearranged(z: Tensor, one: Tensor, others: Tensor) -> Tensor:
    """Which geometries are those of an isomer: bonds are broken and made, and no exchange of like atoms explains it.

    Neither a bond that is only stretched counts nor one that is only broken, nor a hydrogen atom that goes from one
    oxygen to its mirror image.

    Args:
        z: (atoms,), atomic numbers.
        one: (atoms, atoms), `reach` in one geometry.
        others: (frames, atoms, atoms), `reach` in the others.

    Returns:
        (frames,), bool.
    """
    broken = ((one < BONDED) & (others > APART)).any(dim=(1, 2))
    made = ((one > APART) & (others < BONDED)).any(dim=(1, 2))
    found = broken & made
    bonds = _bonds_by_neighbours(z, one)
    for k in found.nonzero()[:, 0].tolist():
        found[k] = _bonds_by_neighbours(z, others[k]) != bonds
    return found


def changed_pair(z: Tensor, one: Tensor, other: Tensor) -> str:
    """The pair of atoms that is a bond in the one and none in the other, of two `reach` (atoms, atoms), in words."""
    i, j = ((one < BONDED) & (other > APART)).nonzero()[0].tolist()
    symbols = [chemical_symbols[z[atom]] for atom in (i, j)]
    return f"{symbols[0]}{i} and {symbols[1]}{j}"


def whole(atoms: "Atoms") -> np.ndarray | None:
    """Positions (atoms, 3), Å, of a molecule that its cell may cut, with all its atoms together.

    Returns:
        The positions; those given where there is no cell of three axes or nothing is cut. None where the molecule
        is no piece of its own, as in a crystal, or nearer to its images than `LEAST_GAP` in a periodic cell.
    """
    cell = np.asarray(atoms.cell)
    if atoms.cell.rank < 3:
        return None if atoms.pbc.any() else atoms.positions
    if not atoms.pbc.any() and _in_one_piece(atoms):  # a box that a program left behind, smaller than the molecule
        return atoms.positions
    images = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), axis=-1).reshape(-1, 3) @ cell
    radii = covalent_radii[atoms.numbers]
    placed = atoms.positions.copy()
    together, waiting = [0], list(range(1, len(atoms)))
    while waiting:  # the next atom is the one that is nearest to those already together, in its nearest image
        fractional = np.linalg.solve(cell.T, (placed[waiting][:, None] - placed[together]).reshape(-1, 3).T).T
        nearest = (fractional - np.rint(fractional)) @ cell
        apart = (nearest[:, None] + images).reshape(len(waiting), len(together), -1, 3)
        length = np.linalg.norm(apart, axis=-1) / (radii[waiting][:, None] + radii[together])[..., None]
        new, old, image = np.unravel_index(length.argmin(), length.shape)
        if length.min() > BONDED:
            break
        placed[waiting[new]] = placed[together[old]] + apart[new, old, image]
        together.append(waiting.pop(new))
    if waiting:  # in several pieces: whole as it is if it has no images, such as a complex or a broken bond
        return None if atoms.pbc.any() else atoms.positions
    if atoms.pbc.any():
        others = images[np.linalg.norm(images, axis=1) > 1e-6]
        gap = np.linalg.norm(placed[:, None, None] - placed[:, None] - others, axis=-1).min()
        if gap < LEAST_GAP:
            return None
    moved = np.abs((placed - atoms.positions) - (placed - atoms.positions)[0]).max() > 1e-6
    return placed if moved else atoms.positions


def without_repeats(z: Tensor, pos: Tensor, order: np.ndarray) -> np.ndarray:
    """The order of frames without those whose geometry an earlier one has, turned, mirrored or like atoms exchanged.

    Args:
        z: (atoms,), atomic numbers.
        pos: (frames, atoms, 3), Å.
        order: (chosen,), numbers of frames.
    """
    chosen = pos[torch.from_numpy(np.ascontiguousarray(order))]
    shape = shapes(z, chosen)
    near_by = cKDTree(shape)
    kept, left = [], np.ones(len(order), dtype=bool)
    # One frame of each geometry looks for its copies, so that many copies of few frames take no longer than others.
    for place in range(len(order)):
        if left[place]:
            kept.append(place)
            near = np.array(near_by.query_ball_point(shape[place], SAME_GEOMETRY, p=np.inf))
            left[near[alike(z, chosen[near], chosen[[place]]).numpy()] if len(near) > 1 else near] = False
    return order[kept]


def alike(z: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Which of two lists of geometries have the same distances between like atoms, those of each two elements sorted.

    Args:
        z: (atoms,), atomic numbers.
        one, other: (pairs, atoms, 3), Å; or one geometry (1, atoms, 3) for all of the other list.

    Returns:
        (pairs,), bool.
    """
    same = torch.ones(max(len(one), len(other)) if len(one) and len(other) else 0, dtype=torch.bool)
    i, j = torch.triu_indices(len(z), len(z), 1)
    ends = torch.stack([z[i], z[j]]).sort(dim=0).values
    kinds = 1000 * ends[0] + ends[1]
    for kind in kinds.unique() if len(same) else ():
        at = kinds == kind
        mine, theirs = ((pos[:, i[at]] - pos[:, j[at]]).norm(dim=2).sort(dim=1).values for pos in (one, other))
        same &= ((mine - theirs).abs() < 2 * SAME_GEOMETRY).all(dim=1)
    return same


def shapes(z: Tensor, pos: Tensor) -> np.ndarray:
    """Distances (frames, atoms) from the mean position, sorted within each element: what motion and exchange keep."""
    arm = (pos - pos.mean(dim=1, keepdim=True)).norm(dim=2)
    return torch.cat([arm[:, z == element].sort(dim=1).values for element in z.unique()], dim=1).cpu().numpy()


def _in_one_piece(atoms: "Atoms") -> bool:
    bonded = reach(torch.from_numpy(atoms.numbers), torch.from_numpy(atoms.positions)[None])[0] < BONDED
    return connected_components(bonded.numpy(), directed=False, return_labels=False) == 1


def _bonds_by_neighbours(z: Tensor, reached: Tensor) -> list[int]:
    """What does not depend on the order of atoms: each atom by its element, its neighbours', theirs and so on."""
    bonded = (reached < BONDED) & ~torch.eye(len(z), dtype=torch.bool)
    neighbours = [row.nonzero()[:, 0].tolist() for row in bonded]
    names = z.tolist()
    for _ in range(4):
        names = [hash((name, *sorted(names[k] for k in near))) for name, near in zip(names, neighbours, strict=True)]
    return sorted(names)
