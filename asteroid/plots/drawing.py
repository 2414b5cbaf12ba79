"""Figure of a molecule and the forces on its atoms, seen along one line, in the style of `plots`."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from asteroid.md import stability
from asteroid.plots.style import COLORS, styled

FORCE_COLORS = ["black", COLORS[1], COLORS[2], COLORS[4]]  # the first is accurate
LONGEST = 2.0  # of an arrow, Å
TILT = np.radians(20)


def arrow_scale(forces: Mapping[str, np.ndarray]) -> float:
    """Force that an arrow of 1 Å stands for, kcal/mol/Å, a round number.

    Args:
        forces: by name, (atoms, 3), kcal/mol/Å; the longest becomes an arrow of 2 Å or a little less.
    """
    longest = max((float(np.linalg.norm(force, axis=1).max()) for force in forces.values()), default=0.0)
    if longest == 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(longest / LONGEST))
    digit = next(digit for digit in (1, 1.5, 2, 3, 4, 5, 7, 10) if digit * power * LONGEST >= longest)
    return float(f"{digit * power:.6g}")


def plane(pos: np.ndarray) -> np.ndarray:
    """From where a molecule is looked at, so that it is wide and few atoms hide others.

    Args:
        pos: positions, (atoms, 3).

    Returns:
        (3, 3), unit vectors that point right, up and towards the reader.
    """
    _, _, axes = np.linalg.svd(pos - pos.mean(axis=0), full_matrices=True)
    signs = np.sign(axes[np.arange(3), np.abs(axes).argmax(axis=1)])  # else the same molecule might be seen from behind
    axes = axes * signs[:, None]
    axes[2] *= np.linalg.det(axes)  # no mirror image
    cosine, sine = np.cos(TILT), np.sin(TILT)
    return np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]]) @ axes


@styled
def molecule(z: Any, pos: Any, forces: Mapping[str, Any] | None = None) -> Figure:
    """A molecule seen nearly along the line in which it is thinnest, with the forces on its atoms as arrows.

    Arrows show the two components in the plane of the picture; the third is not seen.

    Args:
        z: atomic numbers, (atoms,), torch or numpy.
        pos: positions in Å, (atoms, 3), torch or numpy.
        forces: by name, (atoms, 3), kcal/mol/Å, torch or numpy; none draws the molecule alone.

    Raises:
        ValueError: if the shapes do not belong together.
    """
    from ase.data import chemical_symbols, covalent_radii
    from ase.data.colors import jmol_colors

    z, pos = np.asarray(z), np.asarray(pos, dtype=float)
    forces = checked_forces(z, pos, forces)
    center, directions = pos.mean(axis=0), plane(pos)
    flat, depth = (pos - center) @ directions[:2].T, (pos - center) @ directions[2]
    figure, axes = plt.subplots(figsize=(6.2, 3.8))
    for i, j in stability.bonds(z, pos):
        axes.plot(*flat[[i, j]].T, color="0.55", lw=5, solid_capstyle="round", zorder=1)
    for order, atom in enumerate(np.argsort(depth)):
        color = jmol_colors[z[atom]]
        axes.add_patch(
            plt.Circle(flat[atom], 0.4 * covalent_radii[z[atom]], fc=color, ec="0.3", lw=0.8, zorder=2 + order / 100)
        )
        axes.text(
            *flat[atom],
            chemical_symbols[z[atom]],
            color="white" if color @ (0.3, 0.6, 0.1) < 0.5 else "black",
            ha="center",
            va="center_baseline",
            fontsize=9,
            zorder=5,
        )
    scale = arrow_scale(forces)
    for place, (name, force) in enumerate(forces.items()):
        arrows = force @ directions[:2].T / scale
        style = {"color": FORCE_COLORS[place % len(FORCE_COLORS)], "width": 0.012 - 0.004 * min(place, 2)}
        axes.quiver(*flat.T, *arrows.T, **style, angles="xy", scale_units="xy", scale=1, zorder=4, label=name)
    ends = np.concatenate([flat, *(flat + force @ directions[:2].T / scale for force in forces.values())])
    low, high = ends.min(axis=0) - 0.5, ends.max(axis=0) + 0.5
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
    axes.axis("off")
    if forces:
        axes.plot([low[0], low[0] + 1], [low[1]] * 2, color="black", lw=2, clip_on=False)
        axes.text(low[0] + 0.5, low[1] - 0.08, f"1 Å, {scale:g} kcal/mol/Å", ha="center", va="top", fontsize=9)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), title="force")
    return figure


def checked_forces(z: np.ndarray, pos: np.ndarray, forces: Mapping[str, Any] | None) -> dict[str, np.ndarray]:
    """The forces as arrays; ValueError where positions or forces do not fit the atoms."""
    arrays = {name: np.asarray(force, dtype=float) for name, force in (forces or {}).items()}
    for name, array in {"pos": pos, **arrays}.items():
        if array.shape != (len(z), 3):
            raise ValueError(f"{name} has the shape {array.shape}; expected ({len(z)}, 3) for the {len(z)} atoms of z")
    return arrays
