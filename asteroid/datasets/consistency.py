"""Whether labels agree with themselves: forces with positions, energies with forces, frames with each other."""

import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from asteroid.datasets import structure
from asteroid.datasets.sources import DatasetError
from asteroid.integration import integrated
from asteroid.units import LENGTH

if TYPE_CHECKING:
    from asteroid.datasets.frames import LabelledSet

# Of the embedded sets and MD17 the torque of a frame is 0.007 at most and its median 0.002, the net force 0.005 and
# 0.0013. Where forces are of another frame, turned by ninety degrees or in another order, the median torque is 0.04 to
# 0.4; where those of one atom are missing, the median net force is 0.2. A very coarse grid makes 0.02.
_NET, _MEDIAN_NET = 0.05, 0.025
_LEAST_FORCE = 5.0  # kcal/mol/Å; near a minimum the noise of integration grids would be all there is
# Of the embedded sets and MD17, with 50 to 100 frames, the slope is 0.7 to 1.1 and the correlation above 0.8.
_SLOPES, _CORRELATION, _NO_CORRELATION = (0.62, 1.55), 0.8, 0.5
_FEWEST, _MOST, _MOST_OF_LARGE = 50, 100, 60  # frames that are integrated over; large are more than 12 atoms
# Of the embedded sets and MD17 the largest force is 3 times the median one, the largest deviation of an energy 10 times
# the median one. Floors, in kcal/mol/Å and kcal/mol, are for sets that are mostly near one minimum.
_OUTLYING_FORCE, _OUTLYING_ENERGY = 10.0, 50.0
_TYPICAL_FORCE, _TYPICAL_ENERGY = 10.0, 1.0


def check_consistency(labelled: "LabelledSet", name: str) -> None:
    """Raise a DatasetError for labels that contradict themselves, and warn of frames that look odd."""
    _check_empty(labelled, name)
    odd = _outliers(labelled, name)
    if len(labelled.z) > 1:
        _check_net(labelled, name)
        usual = (~odd).nonzero()[:, 0].numpy()
        rows = _different(labelled, usual, _MOST if len(labelled.z) <= 12 else _MOST_OF_LARGE)
        if len(rows) >= _FEWEST:
            _check_slope(labelled, torch.from_numpy(rows), name)


def check_isomers(z: Tensor, pos: Tensor, name: str, numbers: "list[int] | None" = None) -> None:
    """Warn of frames whose bonds are those of an isomer of the first frame."""
    rows = np.linspace(0, len(pos) - 1, min(len(pos), 1000)).astype(int)
    first = structure.reach(z, pos[:1])[0]
    reached = structure.reach(z, pos[rows])
    if (other := structure.rearranged(z, first, reached)).any():
        k = int(other.nonzero()[0])
        listed = named([int(rows[row]) for row in other.nonzero()[:, 0]], numbers)
        warnings.warn(
            f"{name}: {listed} {'has' if other.sum() == 1 else 'have'} other bonds than the first: "
            f"{structure.changed_pair(z, first, reached[k])} are bonded there, not here. One set holds one molecule; "
            "if these are isomers, not a reaction, divide them.",
            stacklevel=2,
        )


def named(rows: Iterable[int], numbers: "list[int] | None" = None) -> str:
    """Frames by their numbers, the first ones of many; `numbers` are those of a file of which some were skipped."""
    listed = [row if numbers is None else numbers[row] for row in rows]
    shown = ", ".join(map(str, listed[:8]))
    more = f" and {len(listed) - 8} more" if len(listed) > 8 else ""
    return f"frame{'s' if len(listed) > 1 else ''} {shown}{more}"


def torque(pos: Tensor, force: Tensor) -> Tensor:
    """Net torque |Σ r × F| of frames (frames, atoms, 3) in parts of Σ |r| |F|, (frames,); 0 for a molecule alone."""
    arm = pos - pos.mean(dim=1, keepdim=True)
    net = torch.linalg.cross(arm, force).sum(dim=1).norm(dim=-1)
    return net / (arm.norm(dim=-1) * force.norm(dim=-1).clamp(min=_LEAST_FORCE)).sum(dim=1).clamp(min=1e-12)


def net_force(force: Tensor) -> Tensor:
    """Net force |Σ F| of frames (frames, atoms, 3) in parts of Σ |F|, (frames,); 0 for a molecule alone."""
    return force.sum(dim=1).norm(dim=-1) / force.norm(dim=-1).clamp(min=_LEAST_FORCE).sum(dim=1)


def slope(pos: Tensor, energy: Tensor, force: Tensor) -> tuple[float, float]:
    """Slope and correlation of energies (frames,) against those that the forces integrate to; (1, 1) if they agree."""
    expected = integrated(pos.numpy(), force.numpy())
    expected, found = expected - expected.mean(), energy.numpy() - energy.numpy().mean()
    sizes = np.linalg.norm(expected), np.linalg.norm(found)
    if not (all(sizes) and np.isfinite(sizes).all()):
        return 0.0, 0.0
    return float(expected @ found / sizes[0] ** 2), float(expected @ found / (sizes[0] * sizes[1]))


def _outliers(labelled: "LabelledSet", name: str) -> Tensor:
    """Which frames (frames,) have forces or an energy far from all others; a warning names them."""
    size = labelled.force.norm(dim=-1).mean(dim=1)
    usual = size.median().clamp(min=_TYPICAL_FORCE)
    strong = size > _OUTLYING_FORCE * usual
    off = (labelled.energy - labelled.energy.median()).abs()
    spread = off.median().clamp(min=_TYPICAL_ENERGY)
    far = off > _OUTLYING_ENERGY * spread
    if (odd := strong | far).any():
        k = int(odd.nonzero()[0])
        rows = odd.nonzero()[:, 0].tolist()
        warnings.warn(
            f"{name}: {named(rows, labelled.frame_numbers)} {'stands' if len(rows) == 1 else 'stand'} out: the mean "
            f"force of frame {number(labelled, k)} is {size[k]:.3g} kcal/mol/Å where the median frame has "
            f"{size.median():.3g}, its energy is {off[k]:.3g} kcal/mol from the median where others are {spread:.3g}. "
            "Did the calculation or the trajectory go astray? `load` of a file leaves frames out by "
            f"skip=[{number(labelled, k)}, …].",
            stacklevel=2,
        )
    return odd


def _check_empty(labelled: "LabelledSet", name: str) -> None:
    empty = (labelled.force == 0).all(dim=2).all(dim=1)
    if len(labelled.z) > 1 and empty.any():
        rows = empty.nonzero()[:, 0].tolist()
        text = (
            f"{name}: all forces are zero in {named(rows, labelled.frame_numbers)}, {len(rows)} of {len(empty)}. Were "
            "they not computed? `load` of a file leaves frames out by skip=[…]."
        )
        if len(rows) > 0.5 * len(empty):
            raise DatasetError(text)
        warnings.warn(text, stacklevel=2)


def _check_net(labelled: "LabelledSet", name: str) -> None:
    """Raise or warn where forces would move or turn the molecule, which a molecule alone cannot do to itself."""
    _check_small(
        net_force(labelled.force),
        f"{name}: the forces would move the molecule: their sum, in parts of Σ|F|,",
        "Are the forces of some atoms missing or of another frame, such as those of fixed atoms, or is something else "
        "there that acts on the molecule, as a field or a surface?",
        labelled,
    )
    _check_small(
        torque(labelled.pos, labelled.force),
        f"{name}: the forces would turn the molecule: their torque, in parts of Σ|r||F|,",
        "Are forces and positions of one frame, in one orientation (that of the program's input, not its standard "
        "one) and one order of atoms, and is the molecule whole, not cut by a periodic cell?",
        labelled,
    )


def _check_small(found: Tensor, what: str, causes: str, labelled: "LabelledSet") -> None:
    large, median = found > _NET, float(found.median())
    if not large.any() and median <= _MEDIAN_NET:
        return
    k = int(found.argmax())
    rows = large.nonzero()[:, 0].tolist()
    text = (
        f"{what} is {found[k]:.2g} in frame {number(labelled, k)}, the median is {median:.2g}, and {len(rows)} of "
        f"{len(found)} frames have more than {_NET}; a molecule alone has none (0.007 at most was expected). "
    )
    if median > _MEDIAN_NET or len(rows) > 0.1 * len(found):
        raise DatasetError(text + causes)
    listed = named(rows, labelled.frame_numbers)
    warnings.warn(f"{text}Suspicious: {listed}. {causes} `load` of a file leaves frames out by skip=[…].", stacklevel=2)


def _different(labelled: "LabelledSet", rows: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the rows, evenly spread, of which none repeats another: copies say nothing of the slope."""
    some = rows[np.linspace(0, len(rows) - 1, min(len(rows), most)).astype(int)] if len(rows) else rows
    found = structure.without_repeats(labelled.z, labelled.pos, some)
    if len(found) < _FEWEST <= len(rows):  # there may be more among the others
        found = structure.without_repeats(labelled.z, labelled.pos, rows)
        found = found[np.linspace(0, len(found) - 1, min(len(found), most)).astype(int)]
    return found


def _check_slope(labelled: "LabelledSet", rows: Tensor, name: str) -> None:
    found, correlation = slope(labelled.pos[rows], labelled.energy[rows], labelled.force[rows])
    text = (
        f"{name}: energies and forces do not belong together: the energies change {found:.3g} times as much as the "
        f"forces say, with a correlation of {correlation:.2f} ({len(rows)} frames); 1 and 1 were expected. "
    )
    if abs(correlation) > _CORRELATION and not _SLOPES[0] < found < _SLOPES[1]:
        raise DatasetError(text + _cause(found))
    if abs(correlation) < _NO_CORRELATION:
        causes = "Are they of the same frames and the same level, and are the forces forces?"
        warnings.warn(text + causes, stacklevel=2)


def _cause(slope: float) -> str:
    bohr = LENGTH["bohr"]
    if slope < 0:
        return "The forces look like gradients, which are their negative: change their sign."
    if 0.8 < slope * bohr < 1.2:
        return (
            "Are the forces per bohr, and the positions in Å? Say so by force_unit, such as force_unit='hartree/bohr'."
        )
    if 0.8 < slope / bohr < 1.2:
        return (
            "Are the forces per Å, and the positions in bohr? Say so by force_unit, such as force_unit='eV/angstrom'."
        )
    return "Have energies and forces different units? Say so by force_unit, such as force_unit='eV/angstrom'."


def number(labelled: "LabelledSet", row: int) -> int:
    """The number of a frame in the file that it is from."""
    return row if labelled.frame_numbers is None else labelled.frame_numbers[row]
