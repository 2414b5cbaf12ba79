"""Figures of the planner: panels, units, and points where the numbers are."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from asteroid import plots


@pytest.fixture(autouse=True)
def nothing_stays_changed():
    before = dict(matplotlib.rcParams)
    yield
    assert dict(matplotlib.rcParams) == before and plt.get_fignums() == []


def test_bias_and_error_has_a_line_for_each_level():
    table = pd.DataFrame(
        {
            "molecule": ["methanol", "methanol", "formic acid"],
            "level": ["PBE", "GFN2", "PBE"],
            "bias": [3.0, 6.0, 4.0],
            "varies": [0.5, 1.0, 0.2],
            "accurate labels alone": [2.0, 2.0, 1.0],
        }
    )
    figure = plots.bias_and_error(table)
    first, second = figure.axes
    assert [axes.get_title() for axes in figure.axes] == ["methanol", "formic acid"]
    assert [text.get_text() for text in first.get_yticklabels()] == ["PBE", "GFN2"]
    points = {line.get_label(): line.get_xdata().tolist() for line in first.lines}
    assert points == {"bias": [3.0, 6.0], "varies": [0.5, 1.0], "accurate labels alone": [2.0, 2.0]}
    assert first.get_ylim()[0] > first.get_ylim()[1]  # as in the table, the first on top
    assert len(second.get_yticklabels()) == 1 and "[kcal/mol/Å]" in figure.get_supxlabel()


def test_predictions_stand_over_what_was_found():
    table = pd.DataFrame(
        {
            "molecule": ["formic_acid"] * 2,
            "way": ["standard", "ASTEROID"],
            "predicted": [0.2, 0.3],
            "low": [0.1, 0.2],
            "high": [0.4, 0.5],
            "found": [0.25, 0.31],
        }
    )
    figure = plots.predicted_and_found(table)
    (axes,) = figure.axes
    assert axes.get_title() == "formic acid" and axes.get_xscale() == axes.get_yscale() == "log"
    assert "[kcal/mol/Å]" in axes.get_xlabel() and "[kcal/mol/Å]" in axes.get_ylabel()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["standard", "ASTEROID"]
    (bar,) = axes.containers[0].lines[2][0].get_segments()
    np.testing.assert_allclose(bar, [[0.25, 0.1], [0.25, 0.4]])


def test_the_curve_of_splits_has_a_law_for_each_way():
    curve = pd.DataFrame({"share": [0, 4, 50], "predicted": [0.2, 0.3, 0.3], "low": 0.1, "high": [0.4, 0.5, 0.5]})
    found = pd.DataFrame({"share": [0.0, 0.0, 6.0], "error": [0.21, 0.22, 0.25]})
    curve, found = (
        pd.concat([table.assign(molecule="methanol").iloc[:1], table.assign(molecule="formic_acid")])
        for table in (curve, found)
    )
    other, axes = plots.split_curve(curve, found).axes
    assert [one.get_title() for one in (other, axes)] == ["methanol", "formic acid"]
    assert axes.get_ylim()[0] == 0 and "[%]" in axes.get_xlabel() and "[kcal/mol/Å]" in other.get_ylabel()
    (point,) = axes.containers
    assert point.lines[0].get_xydata().tolist() == [[0.0, 0.2]]
    np.testing.assert_allclose(point.lines[2][0].get_segments(), [[[0, 0.1], [0, 0.4]]])
    drawn = {line.get_label(): line.get_xdata().tolist() for line in axes.lines}
    assert drawn["ASTEROID, predicted"] == [4, 50]
    assert drawn["standard, trainings"] == [0.0, 0.0] and drawn["ASTEROID, trainings"] == [6.0]
