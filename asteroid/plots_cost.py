"""Figure of what an error costs once the simulation itself is paid for, in the style of `plots`."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from asteroid.plots import _MARKERS, FORCE_ERROR, _colors, _grid, _legend_below, _plain_log_axis, _styled


def front(costs: Sequence[float], errors: Sequence[float]) -> np.ndarray:
    """Which ways to an error are not beaten: no other costs at most as much and has a smaller error.

    Args:
        costs: (ways,), in any unit.
        errors: (ways,).

    Returns:
        Their indices by rising cost, that is by falling error.
    """
    order = np.lexsort((errors, costs))
    best = np.minimum.accumulate(np.asarray(errors)[order])
    return order[np.concatenate([[True], best[1:] < best[:-1]])]


@_styled
def total_cost(table: pd.DataFrame) -> Figure:
    """Force error against the cost of labels, training and simulation, a panel for each molecule and length.

    Args:
        table: rows with columns `molecule`, `series`, `steps` (of the simulation), `hours` (in all) and `force_mae`
            (kcal/mol/Å), one for each way: those of a series are joined, those that nothing beats ringed and joined by
            a grey line.
    """
    molecules, steps = list(dict.fromkeys(table["molecule"])), sorted(table["steps"].unique())
    colors = _colors(table["series"])
    markers = dict(zip(colors, _MARKERS))
    shown = [(molecule, number) for molecule in molecules for number in steps]
    figure, panels = _grid(len(shown), 2.7)
    for axes, (molecule, number) in zip(panels, shown):
        rows = table[(table["molecule"] == molecule) & (table["steps"] == number)]
        best = rows.iloc[front(rows["hours"], rows["force_mae"])]
        axes.step(best["hours"], best["force_mae"], where="post", color="0.6", lw=1.2, zorder=1)
        axes.plot(best["hours"], best["force_mae"], "o", ms=11, mfc="none", mec="0.6", mew=1.2, zorder=1)
        for name, part in rows.groupby("series", sort=False):
            style = {"color": colors[name], "marker": markers[name], "label": name}
            axes.plot(part["hours"], part["force_mae"], lw=1.3, ms=5.5, **style)
        exponent = int(np.log10(number))
        errors = table.loc[table["molecule"] == molecule, "force_mae"]
        reach = (errors.min() / 1.2, errors.max() * 1.2)  # the same for all lengths
        axes.set(xscale="log", yscale="log", ylim=reach, title=f"{molecule.replace('_', ' ')}, $10^{exponent}$ steps")
        _plain_log_axis(axes.xaxis)
        _plain_log_axis(axes.yaxis)
    figure.supxlabel("labels, training and simulation [core hours]", fontsize="medium")
    figure.supylabel(FORCE_ERROR, fontsize="medium")
    handles = {name: handle for axes in panels for handle, name in zip(*axes.get_legend_handles_labels())}
    _legend_below(figure, list(handles.values()), list(handles))
    return figure
