"""Figures of what labels, and an error once the simulation itself is paid for, cost."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from asteroid.files import in_words
from asteroid.plots.style import (
    FORCE_ERROR,
    MARKERS,
    NEUTRAL,
    WIDTH,
    colors_of,
    error_panels,
    grid,
    legend_below,
    molecule_panels,
    name_axes,
    plain_log_axis,
    styled,
)


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


@styled
def total_cost(table: pd.DataFrame) -> Figure:
    """Force error against the cost of labels, training and simulation, a panel for each molecule and length.

    Args:
        table: rows with columns `molecule`, `series`, `steps` (of the simulation), `hours` (in all) and `force_mae`
            (kcal/mol/Å), one for each way: those of a series are joined, those that nothing beats ringed and joined by
            a grey line.
    """
    molecules, steps = list(dict.fromkeys(table["molecule"])), sorted(table["steps"].unique())
    colors = colors_of(table["series"])
    markers = dict(zip(colors, MARKERS))
    shown = [(molecule, number) for molecule in molecules for number in steps]
    figure, panels = grid(len(shown), 2.7)
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
        axes.set(xscale="log", yscale="log", ylim=reach, title=f"{in_words(molecule)}, $10^{exponent}$ steps")
        plain_log_axis(axes.xaxis)
        plain_log_axis(axes.yaxis)
    figure.supxlabel("labels, training and simulation [core hours]", fontsize="medium")
    figure.supylabel(FORCE_ERROR, fontsize="medium")
    handles = {name: handle for axes in panels for handle, name in zip(*axes.get_legend_handles_labels())}
    legend_below(figure, handles)
    return figure


@styled
def error_by_price(table: pd.DataFrame, price: str, xlabel: str) -> Figure:
    """Force error of each way against one of its prices, a panel for each molecule, both axes logarithmic.

    A point is a way with a number of accurate labels: its mean price, and the mean error over seeds with their standard
    deviation; those of a way are joined. The grey line joins what nothing beats.

    Args:
        table: rows with columns `molecule`, `series`, `labels`, `force_mae` (kcal/mol/Å) and that of the price.
        price: its column; rows in which it is NaN are left out.
        xlabel: the price, with its unit.
    """
    table = table.dropna(subset=[price])
    figure, panels = molecule_panels(table, 3.3)
    styles = dict(zip(colors_of(table["series"]).items(), cycle(MARKERS)))
    drawn = {}
    for axes, rows in panels.items():
        each = rows.groupby(["series", "labels"], sort=False).agg(
            price=(price, "mean"), error=("force_mae", "mean"), spread=("force_mae", "std")
        )
        best = each.iloc[front(each["price"], each["error"])]
        axes.step(best["price"], best["error"], where="post", color="0.6", lw=1.2, zorder=1)
        for (name, color), marker in styles.items():
            if name in each.index:
                part = each.loc[name].sort_index()
                spread = part["spread"].fillna(0)  # of a single seed
                style = {"color": color, "marker": marker, "ms": 5, "lw": 1.2, "capsize": 2}
                drawn[name] = axes.errorbar(part["price"], part["error"], yerr=spread, **style)
        axes.set(xscale="log", yscale="log")
        plain_log_axis(axes.xaxis)
        plain_log_axis(axes.yaxis)
    name_axes(panels, xlabel)
    legend_below(figure, drawn)
    return figure


@styled
def label_cost(table: pd.DataFrame, exponents: Mapping[str, float]) -> Figure:
    """Seconds of a label against the number of basis functions, a line per level of theory.

    Args:
        table: rows with columns `level`, `functions`, `seconds`.
        exponents: by level, of the fitted power law, for the legend.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 4.4))
    colors = colors_of(table["level"].str.upper())
    for (level, rows), marker in zip(table.groupby("level", sort=False), cycle(MARKERS)):
        rows = rows.sort_values("functions")
        name = level.upper()
        label = f"{name}: $n^{{{exponents[level]:.1f}}}$" if level in exponents else name
        axes.plot(rows["functions"], rows["seconds"], color=colors[name], marker=marker, ms=5, lw=1.5, label=label)
    axes.set(xscale="log", yscale="log", xlabel="basis functions (cc-pVDZ)", ylabel="seconds of a label, one core")
    numbers = sorted(table["functions"].unique())
    axes.set_xticks(numbers, [f"{number:g}" for number in numbers])
    axes.set_xticks([], minor=True)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@styled
def error_against_cost(table: pd.DataFrame) -> Figure:
    """Force error of each level against the accurate one, by the seconds of a label; a panel for each molecule.

    Args:
        table: rows with columns `molecule`, `level`, `seconds`, `error` (kcal/mol/Å, mean over frames), `low` and
            `high` (ends of the line that shows how frames differ).
    """
    table = table.assign(level=table["level"].str.upper())
    figure, panels = molecule_panels(table, 2.9, sharex=True, sharey=True)
    for axes, rows in panels.items():
        for (level, color), marker in zip(colors_of(table["level"]).items(), cycle(MARKERS)):
            part = rows[rows["level"] == level]
            axes.vlines(part["seconds"], part["low"], part["high"], color=color, lw=1.5)
            axes.plot(part["seconds"], part["error"], marker, color=color, ms=7, label=level)
        axes.set(xscale="log", yscale="log")
        plain_log_axis(axes.yaxis)
    figure.supxlabel("seconds of a label, one core", fontsize="medium")
    figure.supylabel("error of the force [kcal/mol/Å]", fontsize="medium")
    legend_below(figure)
    return figure


@styled
def cost_ratios(table: pd.DataFrame, assumed: Sequence[float]) -> Figure:
    """How many labels of a cheap level one accurate label costs, beside the ratios that the paper assumes.

    Args:
        table: rows with columns `molecule`, `level` (the cheap one) and `ratio`.
        assumed: the paper's ratios, drawn as lines.
    """
    order = list(dict.fromkeys(table["level"]))
    figure, axes = plt.subplots(figsize=(WIDTH, 1 + 0.5 * len(order)))
    colors = colors_of(level.upper() for level in order)
    for marker, (molecule, rows) in zip(MARKERS, table.groupby("molecule", sort=False)):
        axes.plot([], [], marker, color=NEUTRAL, ms=7, label=molecule)
        for level, ratio in zip(rows["level"], rows["ratio"]):
            axes.plot(ratio, order.index(level), marker, color=colors[level.upper()], ms=7)
    for ratio in assumed:
        axes.axvline(ratio, color="0.6", ls="--", lw=1, zorder=0)
    axes.set(xscale="log", xlabel="cheap labels for the cost of an accurate one", ylabel="")
    axes.set_yticks(range(len(order)), list(colors))
    axes.invert_yaxis()
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), title=None)
    return figure


@styled
def ratios(table: pd.DataFrame, xlabel: str) -> Figure:
    """A quantity of each seed and its mean, by setting.

    Args:
        table: rows with columns `setting`, in order, and `value`.
    """
    kinds = list(dict.fromkeys(table["setting"]))
    figure, axes = plt.subplots(figsize=(WIDTH, 1 + 0.42 * len(kinds)))
    shared = {"y": "setting", "x": "value", "order": kinds, "ax": axes}
    sns.pointplot(table, **shared, errorbar="sd", ls="none", color="black", capsize=0.2, err_kws={"linewidth": 1.2})
    dots = {"color": "0.8", "edgecolor": "black", "linewidth": 0.6, "zorder": 3}  # over the mean
    sns.stripplot(table, **shared, **dots, size=3.5, jitter=0.12)
    axes.set(xlabel=xlabel, ylabel="")
    if (table["value"] >= 0).all():
        axes.set_xlim(0, None)
    else:
        axes.axvline(0, color="0.7", lw=1, zorder=0)
    return figure


@styled
def measured_cost(table: pd.DataFrame) -> Figure:
    """Error against the measured cost of the training labels.

    Args:
        table: rows from `runs.overview` with columns `core_minutes` and `series`.
    """
    table = table.copy()
    place = [table["molecule"], table["series"], table["total_budget"]]
    table["core_minutes"] = table.groupby(place)["core_minutes"].transform("mean")  # seeds draw labels of unequal cost
    figure = error_panels(table, "core_minutes", "series", "cost of the labels [core minutes]", beside=False)
    for axes in figure.axes:
        axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
    return figure
