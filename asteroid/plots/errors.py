"""Figures of errors: against labels and settings, and by way of training."""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from asteroid import statistics
from asteroid.files import in_words
from asteroid.plots.style import (
    COLORS,
    FORCE_ERROR,
    MARKERS,
    WIDTH,
    colors_of,
    error_panels,
    label_ticks,
    legend_below,
    mean_and_spread,
    molecule_panels,
    name_axes,
    plain_log_axis,
    styled,
)


@styled
def power_law(table: pd.DataFrame) -> Figure:
    """Fig. 1a: error against number of accurate labels, double logarithmic, with the fitted power law of a molecule.

    Args:
        table: rows of standard training from `runs.overview`.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 4.2))
    colors, drawn = colors_of(f"standard, {molecule}" for molecule in table["molecule"]), {}
    for color, marker, (molecule, rows) in zip(colors.values(), MARKERS, table.groupby("molecule", sort=False)):
        law = statistics.fit_power_law(rows["budget"], rows["force_mae"])
        span = np.array([rows["budget"].min(), rows["budget"].max()])
        low, high = law.interval
        label = f"{in_words(molecule)}: $n^{{{-law.exponent:.2f}}}$ (95 %: {-high:.2f} to {-low:.2f})"
        axes.plot(span, law(span), color=color, lw=1.5)
        drawn[label] = mean_and_spread(axes, rows, "budget", color=color, marker=marker, ls="none")
    axes.set(xscale="log", yscale="log", xlabel="accurate training labels", ylabel=FORCE_ERROR)
    label_ticks(axes, sorted(table["budget"].unique()))
    axes.legend(list(drawn.values()), list(drawn))
    return figure


@styled
def levels(table: pd.DataFrame) -> Figure:
    """Fig. 1b: models trained on labels of one level alone, tested on accurate labels, a panel per molecule.

    Args:
        table: rows from `runs.overview` with a column `trained_on` (level) and `labels` (their number).
    """
    return error_panels(table, "labels", "trained_on", "training labels", "trained on")


@styled
def budgets(table: pd.DataFrame, xlabel: str = "budget [accurate labels]") -> Figure:
    """Fig. 3 and 4: error against budget, standard training and ASTEROID at each amount of inaccurate labels.

    Args:
        table: rows from `runs.overview` with columns `total_budget` (accurate labels that the whole costs) and
            `series`. Of several amounts the last is drawn darkest.
        xlabel: what the budget counts.
    """
    return error_panels(table, "total_budget", "series", xlabel)


@styled
def reductions(table: pd.DataFrame) -> Figure:
    """Reduction of the test error against standard training at equal budget, by budget and amount of cheap labels.

    Args:
        table: rows with columns `total_budget`, `inaccurate_budget`, `reduction` (%).
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 3.6))
    amounts = sorted(table["inaccurate_budget"].unique())
    colors = colors_of(f"ASTEROID, {amount}" for amount in amounts)
    sns.pointplot(
        table,
        x="total_budget",
        y="reduction",
        hue="inaccurate_budget",
        hue_order=amounts,
        palette=list(colors.values()),
        markers=list(MARKERS[1 : len(amounts) + 1]),  # as in `budgets`, where standard training has the first
        errorbar=lambda values: statistics.mean_interval(values)[1:],
        dodge=0.25,
        capsize=0.08,
        err_kws={"linewidth": 1.2},
        ax=axes,
    )
    axes.axhline(0, color="0.4", lw=1)
    axes.set(xlabel="budget [accurate labels]", ylabel="error reduction [%]")
    axes.get_legend().remove()
    legend_below(figure, title="cheap labels")
    return figure


@styled
def sensitivity(table: pd.DataFrame, standard: pd.DataFrame, xlabel: str) -> Figure:
    """Fig. 7: test error by the value of a setting, beside that of standard training, a panel per molecule.

    Args:
        table: rows from `runs.overview` with a column `setting`, positive; infinity is drawn at the right end.
        standard: rows of standard training; a line at the mean over seeds and a band of their standard deviation.
        xlabel: the setting, with its unit.
    """
    values = sorted(table["setting"].unique())
    finite = [value for value in values if np.isfinite(value)]
    places = {value: value if np.isfinite(value) else 2 * finite[-1] for value in values}
    figure, panels = molecule_panels(table, 3.4)
    for axes, rows in panels.items():
        reference = standard.loc[standard["molecule"] == rows["molecule"].iloc[0], "force_mae"]
        mean, spread = reference.mean(), reference.std()
        axes.axhline(mean, color="black", lw=1.2, label="standard training")
        axes.axhspan(mean - spread, mean + spread, color="0.5", alpha=0.2, lw=0)
        rows = rows.assign(setting=rows["setting"].map(places))
        mean_and_spread(axes, rows, "setting", color=COLORS[0], marker="o", ls="-", label="ASTEROID")
        axes.set(xscale="log", ylim=(0, None))
        names = [f"{value:g}" if np.isfinite(value) else "∞" for value in values]
        axes.set_xticks(list(places.values()), names)
        axes.set_xticks([], minor=True)
    name_axes(panels, xlabel)
    figure.axes[0].legend(loc="lower left")
    return figure


@styled
def claimed_reductions(table: pd.DataFrame) -> Figure:
    """Reductions of the error that the paper claims beside those found, with 95 % intervals.

    Args:
        table: rows from `claims.findings` with columns `where`, `claim`, `mean`, `low`, `high`, `claimed` (%), and
            `labels`, on which they were found: one kind or two.
    """
    claims = table.drop_duplicates(["where", "claim"])
    place = {(row.where, row.claim): number for number, row in enumerate(claims.itertuples())}
    figure, axes = plt.subplots(figsize=(WIDTH, 1 + 0.5 * len(claims)))
    kinds = list(dict.fromkeys(table["labels"]))
    for number, (color, marker, kind) in enumerate(zip((COLORS[0], COLORS[1]), MARKERS, kinds)):
        rows = table[table["labels"] == kind]
        aside = 0.24 * (number - (len(kinds) - 1) / 2)
        at = np.array([place[row.where, row.claim] + aside for row in rows.itertuples()])
        reach = np.stack([rows["mean"] - rows["low"], rows["high"] - rows["mean"]])
        label = f"{kind}, 95 % interval"
        axes.errorbar(rows["mean"], at, xerr=reach, fmt=marker, color=color, capsize=3, label=label)
    axes.plot(claims["claimed"], np.arange(len(claims)), "D", color=COLORS[3], ls="none", label="the paper")
    axes.axvline(0, color="0.4", lw=1)
    axes.set_yticks(np.arange(len(claims)), [textwrap.fill(f"{where}, {claim}", 34) for where, claim in place])
    axes.set_xlim(max(-100, axes.get_xlim()[0]), min(150, axes.get_xlim()[1]))  # longer whiskers say no more
    axes.invert_yaxis()
    axes.set_xlabel("reduction of the test force error [%]")
    legend_below(figure)
    return figure


@styled
def by_training(table: pd.DataFrame) -> Figure:
    """Fig. 5: test error by what a model was trained on, a panel per molecule, logarithmic.

    Means over seeds are large, with their standard deviation; each seed is a small dot.

    Args:
        table: rows from `runs.overview` with columns `trained_on` and `name` (of the model).
    """
    molecules, kinds = list(dict.fromkeys(table["molecule"])), list(dict.fromkeys(table["trained_on"]))
    models = sorted(set(table["name"]))
    size = (WIDTH, (0.7 + 0.45 * len(kinds)) * len(molecules) + 0.4)
    figure, panels = plt.subplots(len(molecules), 1, figsize=size, squeeze=False, sharex=True)
    shared = {"y": "trained_on", "x": "force_mae", "hue": "name", "order": kinds, "hue_order": models, "legend": False}
    shared["palette"] = colors_of(models)
    apart = 0.4 if len(models) > 1 else 0
    for axes, molecule in zip(panels.flat, molecules):
        rows = table[table["molecule"] == molecule]
        style = {"markers": list(MARKERS[: len(models)]), "ls": "none", "ms": 6, "err_kws": {"linewidth": 1.4}}
        sns.pointplot(rows, **shared, **style, dodge=apart, errorbar="sd", capsize=0.15, ax=axes)
        sns.stripplot(rows, **shared, dodge=True, size=3, linewidth=0.6, edgecolor="black", jitter=False, ax=axes)
        axes.set(xscale="log", xlabel="", ylabel="", title=in_words(molecule))
        axes.set_yticks(range(len(kinds)), [textwrap.fill(kind, 22, break_on_hyphens=False) for kind in kinds])
        axes.grid(axis="x", color="0.9")
        plain_log_axis(axes.xaxis)
    axes.set_xlabel(FORCE_ERROR)
    handles = {
        name: plt.Line2D([], [], color=color, marker=marker, ls="none")
        for (name, color), marker in zip(shared["palette"].items(), MARKERS)
    }
    legend_below(figure, handles)
    return figure


@styled
def geometries(table: pd.DataFrame) -> Figure:
    """Error of score matching against the number of geometries, by the level that it is compared with.

    Args:
        table: rows with columns `molecule`, `geometries`, `against` (level) and `force_mae`, of one model or several,
            in which case `molecule` names both.
    """
    return error_panels(table, "geometries", "against", "geometries", "compared with")
