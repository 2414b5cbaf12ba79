"""Points of a figure that say their values: the numbers are those drawn, and the figure stays as it was."""

import re
from xml.etree import ElementTree

import numpy as np
import pandas as pd

from asteroid import plots


def table() -> pd.DataFrame:
    """Two series on one molecule, three seeds each, with a name that must not become part of the page's code."""
    errors = np.array([1.0, 2.0, 3.0])
    return (
        pd.DataFrame(
            {"molecule": "methanol", "series": name, "total_budget": budget, "force_mae": scale * errors}
            for name, scale in (("standard", 2.0), ("<b>cheap</b>", 1.0))
            for budget in (40, 1200)
        )
        .explode("force_mae", ignore_index=True)
        .astype({"force_mae": float})
    )


def test_each_point_says_its_series_place_mean_and_spread():
    figure = plots.budgets(table())
    before = [len(axes.get_children()) for axes in figure.axes]
    shown = plots.with_values(figure, 'two lines, "falling"').data
    svg = ElementTree.fromstring(shown[shown.index("<svg") :])
    titles = [title.text for title in svg.iter("{http://www.w3.org/2000/svg}title")]
    assert titles == [
        f"{name}\nbudget [accurate labels]: {budget}\ntest force MAE [kcal/mol/Å]: {mean} ± {spread}"
        for name, mean, spread in (("standard", 4, 2), ("<b>cheap</b>", 2, 1))
        for budget in ("40", "1,200")
    ]
    assert svg.get("aria-label") == 'two lines, "falling"'
    assert [len(axes.get_children()) for axes in figure.axes] == before


def test_nothing_lies_between_the_mouse_and_a_point():
    drawn = plots.with_values(plots.budgets(table()), "lines").data.partition('id="legend_1"')[0]
    assert drawn.index('class="value"') > drawn.rindex('id="line2d_')


def test_a_page_may_hold_several():
    ids = re.findall(r'id="(value[^"]*)"', plots.with_values(plots.budgets(table()), "lines").data)
    assert ids == []
