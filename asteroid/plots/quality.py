"""Figures of how good the force fields of one molecule are: parity, where the error sits, frequencies."""

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure

from asteroid.plots.style import COLORS, NEUTRAL, WIDTH, colors_of, styled

_MANY = 5000  # points of a panel from which they are made fainter still


@styled
def parity(
    reference: tuple[np.ndarray, np.ndarray], predicted: Mapping[str, tuple[np.ndarray, np.ndarray]], level: str
) -> Figure:
    """Energies and forces of force fields against the labels of test frames, a column each, with their mean error.

    Args:
        reference: energies (frames,), kcal/mol, and forces (frames, atoms, 3), kcal/mol/Å, of the labels. Energies are
            shown above that of the lowest frame.
        predicted: the same of each force field by its name, its energies with the zero of the labels.
        level: of the labels.
    """
    figure, panels = plt.subplots(2, len(predicted), figsize=(WIDTH, 0.9 + 2 * 6.0 / len(predicted)), squeeze=False)
    true = [reference[1].ravel(), reference[0] - reference[0].min()]
    for column, (name, (energy, force)) in enumerate(predicted.items()):
        found = [force.ravel(), energy - reference[0].min()]
        color = colors_of(predicted)[name]
        panels[0, column].set_title(textwrap.fill(name, 20), fontsize=10)
        for axes, x, y in zip(panels[:, column], true, found):
            faint = 0.7 if len(x) < 200 else 0.25 if len(x) < _MANY else 0.05
            axes.plot(x, y, ".", ms=4 if len(x) >= 200 else 6, mew=0, alpha=faint, color=color, rasterized=True)
            box = {"facecolor": "white", "alpha": 0.7, "lw": 0, "pad": 1}
            mean = f"MAE {np.abs(y - x).mean():.2f}"
            axes.annotate(mean, (0.05, 0.95), xycoords="axes fraction", va="top", bbox=box)
    for row, (quantity, unit) in enumerate((("force", "kcal/mol/Å"), ("energy", "kcal/mol"))):
        _equal_axes(panels[row])
        panels[row, 0].set_ylabel(f"predicted {quantity}\n[{unit}]")
        panels[row, (len(predicted) - 1) // 2].set_xlabel(f"{level} {quantity} [{unit}]")
    return figure


@styled
def where_the_error_sits(z: Sequence[int], force_error: np.ndarray, energy: np.ndarray) -> Figure:
    """Test force error by element and atom, and by the energy of the frame.

    Args:
        z: (atoms,) atomic numbers.
        force_error: (frames, atoms, 3) absolute errors of test frames, kcal/mol/Å.
        energy: (frames,) labels of these frames, kcal/mol.
    """
    from ase.data import chemical_symbols

    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 2.9), width_ratios=(1, 1.3))
    symbols = [chemical_symbols[number] for number in z]
    by_atom = force_error.mean(axis=(0, 2))
    # In the order of atomic numbers; each dot is an atom.
    order = [chemical_symbols[number] for number in sorted(set(map(int, z)))]
    means = [by_atom[[symbol == one for symbol in symbols]].mean() for one in order]
    left.bar(order, means, color=COLORS[0], alpha=0.5, width=0.6)
    sns.stripplot(x=symbols, y=by_atom, order=order, color=NEUTRAL, size=4, jitter=0.12, ax=left)
    left.set(xlabel="element", ylabel="force MAE [kcal/mol/Å]", ylim=(0, None))
    right.plot(energy - energy.min(), force_error.mean(axis=(1, 2)), ".", ms=6, mew=0, alpha=0.6, color=NEUTRAL)
    right.set(xlabel="energy above the lowest [kcal/mol]", ylabel="force MAE [kcal/mol/Å]", ylim=(0, None))
    return figure


@styled
def frequencies(found: np.ndarray, reference: np.ndarray, name: str, level: str) -> Figure:
    """Harmonic wavenumbers of a force field against those of a level of theory.

    Args:
        found, reference: (modes,), 1/cm, paired; imaginary ones are negative.
        name: of the force field.
        level: of the reference.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 2.9))
    color = colors_of([name])[name]
    for axes, y in ((left, found), (right, found - reference)):
        axes.plot(reference, y, "o", ms=5, mew=0, alpha=0.7, color=color)
        axes.set_xlabel(f"{level} [1/cm]")
    _equal_axes([left])
    right.axhline(0, color="0.4", lw=1)
    left.set_ylabel("force field [1/cm]")
    right.set_ylabel("difference [1/cm]")
    return figure


def _equal_axes(panels: Sequence[plt.Axes]) -> None:
    """The same square range on both axes of all panels, with the line on which both are equal."""
    ends = np.array([[*axes.get_xlim(), *axes.get_ylim()] for axes in panels])
    low, high = ends.min(), ends.max()
    for axes in panels:
        axes.plot([low, high], [low, high], color="0.4", lw=0.9, zorder=0.5)
        axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
        axes.locator_params(nbins=4)
        axes.set_yticks([tick for tick in axes.get_xticks() if low <= tick <= high])
        if axes is not panels[0]:
            axes.tick_params(labelleft=False)
