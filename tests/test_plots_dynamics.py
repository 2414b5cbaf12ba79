"""Figures of simulations: axes with units, one line per series, and marks where a molecule came apart."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from asteroid import plots
from asteroid.md import stability

LIMIT = 8.0
COURSES = {
    "ASTEROID": [{"time": [0, 500, 1000], "largest_distance": [4.0, 4.2, 4.1]}] * 2,
    "Lennard-Jones": [{"time": [0, 5], "largest_distance": [4.0, 1e6]}],
}
FAILED = {"ASTEROID": [False, False], "Lennard-Jones": [True]}


def step_table() -> pd.DataFrame:
    rows = [
        {"series": series, "measure": measure, "timestep": step, **stability.proportion(whole, 20)._asdict()}
        for measure in ("largest distance", "bonds")
        for series, counts in (("standard", (20, 18, 0)), ("ASTEROID", (20, 20, 5)))
        for step, whole in zip((0.5, 1.5, 3.0), counts)
    ]
    return pd.DataFrame(rows).rename(columns={"estimate": "fraction"})


def curve(shift: float) -> tuple[np.ndarray, np.ndarray]:
    x = np.linspace(0, 4000, 200)
    return x, np.exp(-(((x - 3000 - shift) / 50) ** 2))


FIGURES = {
    "largest_distances": ((COURSES, FAILED, LIMIT), ["time [ps]", "largest pair distance [Å]"]),
    "step_sizes": ((step_table(),), ["time step [fs]", "fraction that stays together"]),
    "survival": (({"3 fs": stability.survival([100, 500, 1000], [True, True, False])},), ["time [ps]", "fraction"]),
    "densities": (
        ({"GFN2": curve(0), "ASTEROID": curve(40)}, "GFN2", "wavenumber [1/cm]", "density [cm]"),
        ["[1/cm]", "[cm]"],
    ),
}


@pytest.mark.parametrize("name", FIGURES)
def test_axes_say_what_they_show_and_in_which_unit(name):
    arguments, expected = FIGURES[name]
    figure = getattr(plots, name)(*arguments)
    assert isinstance(figure, Figure) and plt.get_fignums() == []
    text = " ".join(label for axes in figure.axes for label in (axes.get_xlabel(), axes.get_ylabel()))
    assert all(part in text for part in expected)
    figure.canvas.draw()


def test_times_in_femtoseconds_are_shown_in_picoseconds():
    (axes,) = plots.largest_distances(COURSES, FAILED, LIMIT).axes
    assert axes.get_lines()[0].get_xdata() == pytest.approx([0, 0.5, 1.0])
    (axes,) = plots.survival(*FIGURES["survival"][0]).axes
    assert axes.get_lines()[0].get_xdata() == pytest.approx([0, 0.1, 0.5, 1.0])


def test_what_comes_apart_is_marked_inside_the_figure():
    figure = plots.largest_distances(COURSES, FAILED, LIMIT)
    (axes,), (legend,) = figure.axes, figure.legends
    (mark,) = [line for line in axes.get_lines() if line.get_marker() == "x"]
    low, high = axes.get_ylim()
    assert low < mark.get_ydata()[0] <= high and low < LIMIT < high
    assert [text.get_text() for text in legend.get_texts()] == ["ASTEROID", "Lennard-Jones"]


def test_a_replica_is_marked_if_it_failed_whatever_the_mean_limit():
    """Each has a limit of its own, and one whose forces are no numbers ends below it."""
    ends = {"whole, wide": 8.5, "apart, narrow": 7.5, "no numbers": 4.2}
    courses = {name: [{"time": [0, 500], "largest_distance": [4.0, end]}] for name, end in ends.items()}
    failed = {"whole, wide": [False], "apart, narrow": [True], "no numbers": [True]}
    (axes,) = plots.largest_distances(courses, failed, LIMIT).axes
    marks = [line.get_ydata()[0] for line in axes.get_lines() if line.get_marker() == "x"]
    assert marks == [7.5, 4.2]


def test_step_sizes_have_a_panel_for_each_measure():
    figure = plots.step_sizes(step_table())
    assert [axes.get_title() for axes in figure.axes] == ["largest distance", "bonds"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["standard", "ASTEROID"]


def test_each_density_has_a_panel_over_the_reference():
    curves = {"GFN2": curve(0), "ASTEROID": curve(40), "standard": curve(20)}
    figure = plots.densities(curves, "GFN2", "wavenumber [1/cm]", "density [cm]", start=500.0)
    assert [axes.get_title(loc="right") for axes in figure.axes] == ["ASTEROID", "standard"]
    for axes, name in zip(figure.axes, ("ASTEROID", "standard")):
        (line,) = axes.get_lines()
        np.testing.assert_array_equal(line.get_ydata(), curves[name][1])
        assert len(axes.collections) == 1 and axes.get_xlim()[0] == 500


@pytest.mark.parametrize("there", [["GFN2"], ["ASTEROID"]], ids=["reference alone", "no reference"])
def test_densities_that_were_not_found_leave_the_others(there):
    curves = {name: curve(0) for name in there}
    figure = plots.densities(curves, "GFN2", "wavenumber [1/cm]", "density [cm]")
    (axes,) = figure.axes
    assert axes.get_title(loc="right") == there[0]
    assert (len(axes.collections), len(axes.lines)) == ((1, 0) if there == ["GFN2"] else (0, 1))
