"""Figure of what an error costs once the simulation itself is paid for, in the style of `plots`."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from asteroid.plots import COLORS, FORCE_ERROR, _plain_log_axis, _styled


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
def total_cost(table: pd.DataFrame, baseline: str = "standard") -> Figure:
    """Force error against the cost of labels, training and simulation, a row of panels per molecule.

    Args:
        table: rows with columns `molecule`, `series`, `steps` (of the simulation), `hours` (in all) and `force_mae`
            (kcal/mol/Å), one for each way: those of a series are joined, those that nothing beats ringed and joined by
            a grey line.
        baseline: the series drawn in black.
    """
    molecules, steps = list(dict.fromkeys(table["molecule"])), sorted(table["steps"].unique())
    names = list(dict.fromkeys(table["series"]))
    styles = {
        name: {"color": "black" if name == baseline else color, "marker": marker}
        for name, color, marker in zip(names, COLORS, "osD^vPX*<>")
    }
    shape, size = (len(molecules), len(steps)), (2.5 * len(steps) + 0.5, 3.0 * len(molecules) + 0.6)
    figure, panels = plt.subplots(*shape, figsize=size, squeeze=False, sharey="row", sharex="col")
    for line, molecule in zip(panels, molecules):
        for axes, number in zip(line, steps):
            rows = table[(table["molecule"] == molecule) & (table["steps"] == number)]
            best = rows.iloc[front(rows["hours"], rows["force_mae"])]
            axes.step(best["hours"], best["force_mae"], where="post", color="0.6", lw=1.2, zorder=1)
            axes.plot(best["hours"], best["force_mae"], "o", ms=10, mfc="none", mec="0.6", mew=1.2, zorder=1)
            for name, part in rows.groupby("series", sort=False):
                axes.plot(part["hours"], part["force_mae"], lw=1.3, ms=4.5, label=name, **styles[name])
            exponent = int(np.log10(number))
            axes.set(xscale="log", yscale="log", title=f"{molecule.replace('_', ' ')}, $10^{exponent}$ steps")
            _plain_log_axis(axes.yaxis)
    figure.supxlabel("labels, training and simulation [core hours]", fontsize=10.5)
    figure.supylabel(FORCE_ERROR, fontsize=10.5)
    handles = {name: handle for axes in panels.flat for handle, name in zip(*axes.get_legend_handles_labels())}
    figure.legend(handles.values(), handles, loc="upper center", bbox_to_anchor=(0.5, 0.02), ncols=4)
    return figure
