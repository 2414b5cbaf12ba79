"""Figures of what to spend on which labels, in the style of `plots`."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from asteroid.plots import COLORS, FORCE_ERROR, _plain_log_axis, _styled


@_styled
def bias_and_error(table: pd.DataFrame) -> Figure:
    """By cheap level the bias, what varies of it, and the error that accurate labels reach alone.

    Args:
        table: from `bias.table`; a panel per molecule.
    """
    molecules = list(dict.fromkeys(table["molecule"]))
    lines = table.groupby("molecule").size().max()
    figure, panels = plt.subplots(
        1, len(molecules), figsize=(1.5 + 3.6 * len(molecules), 1.4 + 0.35 * lines), squeeze=False, sharex=True
    )
    marks = {"bias": ("o", COLORS[0]), "varies": ("D", COLORS[3]), "accurate labels alone": ("|", "black")}
    for axes, molecule in zip(panels.flat, molecules):
        rows = table[table["molecule"] == molecule]
        place = np.arange(len(rows))
        axes.hlines(place, rows["varies"], rows["bias"], color="0.8", lw=2, zorder=0)
        for column, (marker, color) in marks.items():
            size = {"ms": 16, "mew": 2} if marker == "|" else {"ms": 6}
            axes.plot(rows[column], place, marker, color=color, label=column, **size)
        axes.set(xscale="log", yticks=place, yticklabels=rows["level"], title=molecule, ylim=(len(rows) - 0.5, -0.5))
    figure.supxlabel("force [kcal/mol/Å]", fontsize=10.5)
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="upper center", bbox_to_anchor=(0.5, 0.02), ncols=3)
    return figure


@_styled
def predicted_and_found(table: pd.DataFrame) -> Figure:
    """Errors that pilots predict against those that trainings found, with the 95 % interval of one training.

    Args:
        table: from `plans.predicted`, with a column `molecule`; a panel per molecule.
    """
    molecules = list(dict.fromkeys(table["molecule"]))
    figure, panels = plt.subplots(1, len(molecules), figsize=(0.6 + 4.2 * len(molecules), 4.2), squeeze=False)
    styles = {"standard": ("black", "o"), "ASTEROID": (COLORS[0], "s")}
    for axes, molecule in zip(panels.flat, molecules):
        rows = table[table["molecule"] == molecule]
        for way, part in rows.groupby("way", sort=False):
            color, marker = styles[way]
            bars = np.abs(part[["low", "high"]].to_numpy().T - part["predicted"].to_numpy())
            # Sideways, splits of nearly the same prediction would hide each other.
            axes.errorbar(part["found"], part["predicted"], yerr=bars, fmt=marker, color=color, ms=5, lw=1, label=way)
        ends = [rows[["found", "low"]].min().min(), rows[["found", "high"]].max().max()]
        axes.plot(ends, ends, color="0.6", lw=1, zorder=0)
        axes.set(xscale="log", yscale="log", title=molecule.replace("_", " "), xlabel=f"found: {FORCE_ERROR}")
        _plain_log_axis(axes.xaxis)
        _plain_log_axis(axes.yaxis)
    panels[0, 0].set_ylabel("predicted from pilots [kcal/mol/Å]")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="upper center", bbox_to_anchor=(0.5, 0.02), ncols=2)
    return figure


@_styled
def split_curve(curve: pd.DataFrame, found: pd.DataFrame, molecule: str) -> Figure:
    """Predicted error against the share of a budget that is spent on cheap labels, and what trainings found.

    Args:
        curve: rows with columns `share` (%), `predicted`, `low` and `high` (kcal/mol/Å).
        found: rows with columns `share` (%), `error`, one for each training.
        molecule: the title.
    """
    figure, axes = plt.subplots(figsize=(6.2, 3.8))
    axes.fill_between(curve["share"], curve["low"], curve["high"], color=COLORS[0], alpha=0.2, lw=0)
    axes.plot(curve["share"], curve["predicted"], color=COLORS[0], lw=2, label="predicted, 95 % interval of a training")
    axes.plot(found["share"], found["error"], "o", color="black", ms=4.5, label="trainings")
    axes.set(xlabel="share of the budget for cheap labels [%]", ylabel=FORCE_ERROR, ylim=(0, None))
    axes.set_title(molecule.replace("_", " "))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
    return figure


@_styled
def rounds(table: pd.DataFrame) -> Figure:
    """Error against the cost of the labels, round by round, for each way of choosing them.

    Args:
        table: from `rounds.spend`, with a column `molecule`; a panel per molecule.
    """
    molecules = list(dict.fromkeys(table["molecule"]))
    figure, panels = plt.subplots(1, len(molecules), figsize=(1.6 + 4.4 * len(molecules), 4.0), squeeze=False)
    styles = zip(("black", *COLORS), ("D", "o", "s", "^", "X"))
    styles = dict(zip(dict.fromkeys(table["way"]), styles))
    for axes, molecule in zip(panels.flat, molecules):
        rows = table[table["molecule"] == molecule]
        for way, part in rows.groupby("way", sort=False):
            color, marker = styles[way]
            mean = part.groupby("round")[["minutes", "error"]].mean()
            axes.plot(part["minutes"], part["error"], marker, color=color, ms=3.5, alpha=0.4, lw=0)
            line = "--" if len(mean) == 2 else "-"  # one plan
            axes.plot(mean["minutes"], mean["error"], line, marker=marker, color=color, ms=6, lw=1.5, label=way)
        axes.set(title=molecule.replace("_", " "), xlabel="labels [core minutes]")
    panels[0, 0].set_ylabel(FORCE_ERROR)
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="upper center", bbox_to_anchor=(0.5, 0.02), ncols=2)
    return figure
