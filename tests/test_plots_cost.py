"""What an error costs: which ways are not beaten, and the figure that shows it."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from asteroid import plots


def test_what_is_not_beaten_by_hand():
    assert plots.front([3.0, 1.0, 2.0, 4.0], [1.0, 3.0, 3.5, 0.5]).tolist() == [1, 0, 3]
    assert plots.front([1.0, 1.0], [2.0, 1.0]).tolist() == [1]
    assert plots.front([2.0, 1.0], [1.0, 1.0]).tolist() == [1]
    assert plots.front([5.0], [5.0]).tolist() == [0]


def test_what_is_not_beaten_by_definition():
    generator = np.random.default_rng(0)
    costs, errors = generator.permutation(40) + 1.0, generator.permutation(40) + 1.0
    found = plots.front(costs, errors)
    expected = {k for k in range(40) if not any((costs < costs[k]) & (errors < errors[k]))}
    assert set(found.tolist()) == expected
    assert (np.diff(costs[found]) > 0).all() and (np.diff(errors[found]) < 0).all()


@pytest.fixture
def table() -> pd.DataFrame:
    rows = [
        {
            "molecule": molecule,
            "series": series,
            "steps": steps,
            "hours": hours + steps * step,
            "force_mae": error / place,
        }
        for molecule in ("methanol", "formic_acid")
        for steps in (10**3, 10**6)
        for series, hours, step, error in (("standard", 1.0, 1e-7, 2.0), ("Δ-ML", 1.0, 1e-3, 0.5))
        for place in (1, 2)
    ]
    return pd.DataFrame(rows)


def test_the_figure_has_a_row_for_each_molecule_and_a_panel_for_each_length(table):
    before = dict(matplotlib.rcParams)
    figure = plots.total_cost(table)
    assert dict(matplotlib.rcParams) == before and plt.get_fignums() == []
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == [f"{name}, $10^{n}$ steps" for name in ("methanol", "formic acid") for n in (3, 6)]
    assert "[core hours]" in figure.get_supxlabel() and "[kcal/mol/Å]" in figure.get_supylabel()
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["standard", "Δ-ML"]
    figure.canvas.draw()


def test_rings_are_around_what_is_not_beaten(table):
    table.loc[table["series"] == "Δ-ML", "force_mae"] = 3.0
    axes = plots.total_cost(table).axes[0]
    (ring,) = [line for line in axes.get_lines() if line.get_markerfacecolor() == "none"]
    assert ring.get_ydata().tolist() == [1.0]
