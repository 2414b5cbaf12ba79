"""What labelled frames must fulfil before anything is trained on them."""

from typing import TYPE_CHECKING

import torch
from ase.data import covalent_radii
from torch import Tensor

from asteroid.datasets import structure
from asteroid.datasets.consistency import check_consistency, check_isomers, number
from asteroid.datasets.sources import DatasetError
from asteroid.units import ENERGY

if TYPE_CHECKING:
    from asteroid.datasets.frames import LabelledSet


LARGEST_FORCE = 500.0
"""kcal/mol/Å, mean over atoms. More means wrong units or an exploded trajectory."""

# Distance of a hydrogen atom from its nearest, in sums of covalent radii, that some frame falls below if the unit of
# length is right: bonds are near 1, and bohr read as Å makes them 1.9. Of other atoms noble gases have no bonds at all.
_HYDROGEN_BOND = 1.5


def check(labelled: "LabelledSet") -> None:
    """Raise a DatasetError for what no model should be trained on, which `LabelledSet` lists."""
    name = f"{labelled.molecule} ({labelled.level})"
    for field in ("z", "pos", "energy", "force", "seconds"):
        value = getattr(labelled, field)
        if not isinstance(value, Tensor) and not (value is None and field == "seconds"):
            raise DatasetError(
                f"{name}: {field} is a {type(value).__name__}; expected a tensor, as torch.tensor makes it."
            )
    if labelled.energy.ndim != 1 or len(labelled.energy) == 0:
        found = tuple(labelled.energy.shape)
        raise DatasetError(f"{name}: energy has the shape {found}; expected (frames,) with at least 1 frame.")
    frames, atoms = len(labelled.energy), labelled.z.numel()
    if not atoms:
        raise DatasetError(f"{name}: z is empty; expected (atoms,) with at least 1 atomic number.")
    vectors = (frames, atoms, 3)
    expected = {"z": (atoms,), "energy": (frames,), "pos": vectors, "force": vectors, "seconds": (frames,)}
    for field, shape in expected.items():
        tensor = getattr(labelled, field)
        if tensor is None and field == "seconds":
            continue
        if tuple(tensor.shape) != shape:
            raise DatasetError(
                f"{name}: {field} has the shape {tuple(tensor.shape)}; with {frames} energies and {atoms} atomic "
                f"numbers it should be {shape}. Do all arrays hold the same frames and atoms?"
            )
        dtype = torch.int64 if field == "z" else torch.float64
        if tensor.dtype != dtype:
            raise DatasetError(f"{name}: {field} is {tensor.dtype}; expected {dtype}: convert it with .to({dtype}).")
        finite = torch.isfinite(tensor.reshape(len(tensor), -1)).all(1)
        if field != "seconds" and not finite.all():
            k = number(labelled, int((~finite).nonzero()[0]))
            raise DatasetError(
                f"{name}: {field} of frame {k} is not finite; leave out frames whose label failed, of a file by "
                f"skip=[{k}]."
            )
    check_geometries(labelled.z, labelled.pos, name, labelled.frame_numbers)
    mean_force = float(labelled.force.norm(dim=-1).mean(dim=1).median())  # which no frame that went astray moves
    if mean_force > LARGEST_FORCE:
        raise DatasetError(
            f"{name}: the mean force is {mean_force:.0f} kcal/mol/Å, a molecule near room temperature has 10 to 100. "
            f"Wrong units? It would be {mean_force / ENERGY['eV']:.0f} if labels in kcal/mol were taken for eV "
            f"(energy_unit='kcal/mol'), {mean_force / ENERGY['hartree']:.0f} if for hartree."
        )
    check_consistency(labelled, name)
    check_isomers(labelled.z, labelled.pos, name, labelled.frame_numbers)


def check_same_molecule(a: "LabelledSet", b: "LabelledSet") -> None:
    """Raise a DatasetError unless both sets hold the same atoms in the same order, and no isomers."""
    if not torch.equal(a.z, b.z):
        found = f"{a.molecule} ({a.level}) has the atoms {a.z.tolist()}, {b.molecule} ({b.level}) has {b.z.tolist()}"
        raise DatasetError(f"{found}; both sets must hold one molecule, its atoms in the same order.")
    one, other = (structure.reach(labelled.z, _some(labelled.pos)).median(dim=0).values for labelled in (a, b))
    if structure.rearranged(a.z, one, other[None]).any():
        raise DatasetError(
            f"{a.molecule} ({a.level}) and {b.molecule} ({b.level}) are isomers: "
            f"{structure.changed_pair(a.z, one, other)} are bonded in the first set only. Both sets must hold one "
            "molecule."
        )


def check_geometries(z: Tensor, pos: Tensor, name: str, numbers: list[int] | None = None) -> None:
    """Raise a DatasetError for frames that no level can label.

    Args:
        z: (atoms,), int64.
        pos: (frames, atoms, 3), float64, Å, finite.
        name: what the message begins with.
        numbers: of the frames in the file that they are from; None: 0, 1 and so on.
    """
    odd = [atom for atom in z.tolist() if not 1 <= atom <= 118]
    if odd:
        raise DatasetError(f"{name}: z holds {odd}; atomic numbers from 1 to 118 were expected.")
    _check_distances(z, pos, name, numbers)


def _some(pos: Tensor) -> Tensor:
    """At most 50 frames, evenly spread."""
    return pos[:: -(-len(pos) // 50)]


def _check_distances(z: Tensor, pos: Tensor, name: str, numbers: list[int] | None) -> None:
    """Raise where two atoms of a frame are closer than 0.2 Å, or hydrogen atoms far from all others."""
    i, j = torch.triu_indices(len(z), len(z), 1)
    radii = torch.from_numpy(covalent_radii)[z]
    hydrogens = (z == 1).nonzero()
    # Of a pair, or of a lone hydrogen atom, the frames may be those in which it is pulled away.
    of_hydrogen = [(i == atom) | (j == atom) for atom in hydrogens] if 1 < len(hydrogens) < len(z) else []
    # In chunks: a million frames of MD17 would need gigabytes at once.
    for start in range(0, len(pos), 8192):
        some = pos[start : start + 8192]
        distance = (some[:, i] - some[:, j]).norm(dim=-1)  # (frames, pairs)
        if (distance < 0.2).any():
            k, pair = (distance < 0.2).nonzero()[0].tolist()
            frame = start + k if numbers is None else numbers[start + k]
            raise DatasetError(
                f"{name}: atoms {int(i[pair])} and {int(j[pair])} of frame {frame} are "
                f"{float(distance[k, pair]):.3f} Å apart; at least 0.2 Å was expected. Wrong length unit "
                "(nm read as Å), or a broken frame?"
            )
        if start == 0 and of_hydrogen:
            nearest = torch.stack([(distance / (radii[i] + radii[j]))[:, pairs].min() for pairs in of_hydrogen])
            if (ratio := float(nearest.median())) > _HYDROGEN_BOND:
                raise DatasetError(
                    f"{name}: in no frame are hydrogen atoms closer to another atom than {ratio:.1f} times the sum of "
                    "their covalent radii. Wrong length unit? Bonds would be 1.9 times too long if positions in bohr "
                    "were read as Å (length_unit='bohr'), 10 times if those in Å were as nm."
                )
