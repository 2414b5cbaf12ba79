"""Figures of single force fields: axes that are equal, numbers that are right."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest

from asteroid import plots

GENERATOR = np.random.default_rng(0)
Z = [6, 7, 1, 1, 1]
ENERGY, FORCE = GENERATOR.uniform(-60010, -60000, 12), GENERATOR.normal(0, 30, (12, 5, 3))
NAMES = ("standard", "ASTEROID, stage 2", "ASTEROID, stage 3")
PREDICTED = {name: (ENERGY + 0.5, FORCE + size) for name, size in zip(NAMES, (2.0, 3.0, 1.0))}
FOUND, REFERENCE = np.array([-80.0, 1010, 3050]), np.array([200.0, 1000, 3000])

FIGURES = {
    "parity": (((ENERGY, FORCE), PREDICTED, "MP2"), ["MP2 force [kcal/mol/Å]", "MP2 energy [kcal/mol]", "predicted"]),
    "where_the_error_sits": ((Z, np.abs(FORCE), ENERGY), ["element", "[kcal/mol]", "force MAE [kcal/mol/Å]"]),
    "frequencies": ((FOUND, REFERENCE, "ASTEROID", "MP2"), ["MP2 [1/cm]", "force field [1/cm]", "difference [1/cm]"]),
}


def draw(name: str) -> plt.Figure:
    return getattr(plots, name)(*FIGURES[name][0])


@pytest.mark.parametrize("name", FIGURES)
def test_axes_say_what_they_show_and_nothing_global_changes(name):
    before = dict(matplotlib.rcParams)
    figure = draw(name)
    text = " ".join(label for axes in figure.axes for label in (axes.get_xlabel(), axes.get_ylabel()))
    assert all(part in text for part in FIGURES[name][1]), text
    figure.canvas.draw()
    assert dict(matplotlib.rcParams) == before and plt.get_fignums() == []


def test_parity_has_a_column_for_each_force_field_and_its_errors():
    figure = draw("parity")
    forces, energies = figure.axes[:3], figure.axes[3:]
    assert [axes.get_title() for axes in forces] == list(NAMES)
    assert [axes.texts[0].get_text() for axes in forces] == ["MAE 2.00", "MAE 3.00", "MAE 1.00"]
    assert [axes.texts[0].get_text() for axes in energies] == ["MAE 0.50"] * 3
    for row in (forces, energies):
        ends = {(*axes.get_xlim(), *axes.get_ylim()) for axes in row}
        assert len(ends) == 1 and len(set(*ends)) == 2  # the same range on all axes
        points = [axes.get_lines()[0] for axes in row]
        low, high = row[0].get_xlim()
        for line in points:
            assert low <= min(line.get_ydata()) and max(line.get_ydata()) <= high
    assert energies[0].get_lines()[0].get_xdata().min() == 0  # above the lowest frame
    assert len(forces[0].get_lines()[0].get_xdata()) == FORCE.size


def test_the_error_of_an_element_is_the_mean_of_its_atoms():
    off = np.zeros((4, 5, 3))
    off[:, 0], off[:, 1], off[:, 2:] = 1.0, 4.0, np.array([1.0, 2.0, 6.0])[:, None]
    off[3] *= 3  # the frame of the highest energy
    left, right = plots.where_the_error_sits(Z, off, np.array([5.0, 6, 7, 9])).axes
    assert [tick.get_text() for tick in left.get_xticklabels()] == ["H", "C", "N"]
    assert [bar.get_height() for bar in left.patches] == pytest.approx([4.5, 1.5, 6.0])
    assert right.get_lines()[0].get_xdata().tolist() == [0, 1, 2, 4]
    assert right.get_lines()[0].get_ydata() == pytest.approx([2.8, 2.8, 2.8, 8.4])


def test_frequencies_and_their_differences():
    left, right = draw("frequencies").axes
    assert left.get_lines()[0].get_ydata().tolist() == FOUND.tolist()
    assert right.get_lines()[0].get_ydata().tolist() == [-280, 10, 50]
    assert left.get_xlim() == left.get_ylim()
