"""Figures of what to spend on which labels, in the style of `plots`."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from asteroid.files import in_words
from asteroid.plots.style import (
    COLORS,
    MARKERS,
    WIDTH,
    colors_of,
    legend_below,
    molecule_panels,
    name_axes,
    plain_log_axis,
    styled,
)


@styled
def bias_and_error(table: pd.DataFrame) -> Figure:
    """By cheap level the bias, what varies of it, and the error that accurate labels reach alone.

    Args:
        table: from `bias.overview`; a panel per molecule.
    """
    molecules = list(dict.fromkeys(table["molecule"]))
    lines = table.groupby("molecule").size().max()
    size = (WIDTH, (0.7 + 0.35 * lines) * len(molecules) + 0.6)
    figure, panels = plt.subplots(len(molecules), 1, figsize=size, squeeze=False, sharex=True)
    marks = {"bias": ("o", COLORS[5]), "varies": ("D", COLORS[4]), "accurate labels alone": ("|", "black")}
    for axes, molecule in zip(panels.flat, molecules):
        rows = table[table["molecule"] == molecule]
        place = np.arange(len(rows))
        axes.hlines(place, rows["varies"], rows["bias"], color="0.8", lw=2, zorder=0)
        for column, (marker, color) in marks.items():
            size = {"ms": 16, "mew": 2} if marker == "|" else {"ms": 6}
            axes.plot(rows[column], place, marker, color=color, label=column, **size)
        axes.set(xscale="log", yticks=place, yticklabels=rows["level"], title=molecule, ylim=(len(rows) - 0.5, -0.5))
    figure.supxlabel("force [kcal/mol/Å]", fontsize="medium")
    legend_below(figure)
    return figure


@styled
def cheap_levels(table: pd.DataFrame, found: pd.DataFrame) -> Figure:
    """By cheap level the bias, what a correction leaves of it, and test errors of trainings.

    Args:
        table: from `planning.cheap_levels`, with columns `molecule` and `level`; a panel per molecule.
        found: from `plans.cheap_levels_found`, with a column `molecule`.
    """
    molecules = list(dict.fromkeys(table["molecule"]))
    size = (WIDTH, (0.7 + 0.35 * table.groupby("molecule").size().max()) * len(molecules) + 0.6)
    figure, panels = plt.subplots(len(molecules), 1, figsize=size, squeeze=False, sharex=True)
    for axes, molecule in zip(panels.flat, molecules):
        rows = table[table["molecule"] == molecule].reset_index()
        place = dict(zip(rows["level"], rows.index))
        errors = found[(found["molecule"] == molecule) & found["level"].isin(place)]
        whiskers = np.abs(rows[["low", "high"]].to_numpy().T - rows["left"].to_numpy())
        axes.hlines(rows.index, rows["left"], rows["bias"], color="0.8", lw=2, zorder=0)
        axes.plot(rows["bias"], rows.index, "o", color=COLORS[5], ms=6, label="bias")
        axes.errorbar(rows["left"], rows.index, xerr=whiskers, fmt="D", color=COLORS[4], capsize=2.5, label="left")
        for marker, (way, part) in zip("x+", errors.groupby("way", sort=False)):
            axes.plot(part["error"], part["level"].map(place), marker, color="black", ms=6, label=way)
        axes.set(xscale="log", yticks=rows.index, yticklabels=rows["level"], title=in_words(molecule))
        axes.set_ylim(len(rows) - 0.5, -0.5)
        plain_log_axis(axes.xaxis)
    figure.supxlabel("force [kcal/mol/Å]", fontsize="medium")
    legend_below(figure)
    return figure


@styled
def predicted_and_found(table: pd.DataFrame) -> Figure:
    """Errors that pilots predict against those that trainings found, with the 95 % interval of one training.

    Args:
        table: from `plans.predicted`, with a column `molecule`; a panel per molecule.
    """
    figure, panels = molecule_panels(table, 3.6)
    colors = colors_of(sorted(set(table["way"])))
    markers = {"standard": "o", "ASTEROID": "s"}
    for axes, rows in panels.items():
        for way, part in rows.groupby("way", sort=False):
            bars = np.abs(part[["low", "high"]].to_numpy().T - part["predicted"].to_numpy())
            # Sideways, splits of nearly the same prediction would hide each other.
            style = {"fmt": markers[way], "color": colors[way], "label": way}
            axes.errorbar(part["found"], part["predicted"], yerr=bars, ms=5, lw=1, **style)
        ends = [rows[["found", "low"]].min().min(), rows[["found", "high"]].max().max()]
        axes.plot(ends, ends, color="0.6", lw=1, zorder=0)
        axes.set(xscale="log", yscale="log")
        plain_log_axis(axes.xaxis)
        plain_log_axis(axes.yaxis)
    name_axes(panels, "found [kcal/mol/Å]", "predicted from pilots [kcal/mol/Å]")
    legend_below(figure)
    return figure


@styled
def split_curve(curve: pd.DataFrame, found: pd.DataFrame) -> Figure:
    """Predicted error against the share of a budget that is spent on cheap labels, and what trainings found.

    Accurate labels alone, a share of zero, have a law of their own: they are a point, which no line joins.

    Args:
        curve: rows with columns `molecule`, `share` (%), `predicted`, `low` and `high` (kcal/mol/Å); a panel per
            molecule.
        found: rows with columns `molecule`, `share` (%), `error`, one for each training.
    """
    figure, panels = molecule_panels(curve, 3.8)
    ways = list(zip(colors_of(("standard", "ASTEROID")).items(), MARKERS))
    for axes, predicted in panels.items():
        trained = found[found["molecule"].isin(predicted["molecule"])]
        for (way, color), marker in ways:
            line, dots = (rows[(rows["share"] > 0) == (way == "ASTEROID")] for rows in (predicted, trained))
            label = f"{way}, predicted"
            if way == "standard":
                bars = np.abs(line[["low", "high"]].to_numpy().T - line["predicted"].to_numpy())
                style = {"mfc": "white", "ms": 8, "capsize": 3}
                axes.errorbar(line["share"], line["predicted"], yerr=bars, fmt="D", color=color, label=label, **style)
            else:
                axes.fill_between(line["share"], line["low"], line["high"], color=color, alpha=0.2, lw=0)
                axes.plot(line["share"], line["predicted"], color=color, lw=2, label=label)
            axes.plot(dots["share"], dots["error"], marker, color=color, ms=4.5, label=f"{way}, trainings")
        axes.set_ylim(0, None)
    name_axes(panels, "spent on cheap labels [%]")
    legend_below(figure)
    return figure


@styled
def rounds(table: pd.DataFrame) -> Figure:
    """Error against the cost of the labels, round by round, for each way of choosing them.

    Args:
        table: from `rounds.compare`, with a column `molecule`; a panel per molecule.
    """
    figure, panels = molecule_panels(table, 4.0)
    colors = colors_of(table["way"])
    markers = dict(zip(colors, "Dos^X"))
    for axes, rows in panels.items():
        for way, part in rows.groupby("way", sort=False):
            color, marker = colors[way], markers[way]
            mean = part.groupby("round")[["minutes", "error"]].mean()
            axes.plot(part["minutes"], part["error"], marker, color=color, ms=3.5, alpha=0.4, lw=0)
            line = "--" if len(mean) == 2 else "-"  # one plan
            axes.plot(mean["minutes"], mean["error"], line, marker=marker, color=color, ms=6, lw=1.5, label=way)
    name_axes(panels, "labels [core minutes]")
    legend_below(figure)
    return figure
