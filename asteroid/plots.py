"""One function per figure; each returns the matplotlib figure and changes no global state for good."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, LogLocator, NullFormatter

from asteroid import planner

FORCE_ERROR = "test force MAE [kcal/mol/Å]"
COLORS = sns.color_palette("colorblind")
_STYLE = {
    "figure.dpi": 110,
    "savefig.bbox": "tight",
    "font.size": 10.5,
    "axes.titlesize": 11.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "svg.fonttype": "none",
}


def _styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    @wraps(draw)
    def wrapper(*args: Any, **kwargs: Any) -> Figure:
        with sns.axes_style("ticks"), plt.rc_context(_STYLE):
            figure = draw(*args, **kwargs)
            figure.tight_layout()
            plt.close(figure)  # the notebook shows what it is given, once
            return figure

    return wrapper


@_styled
def learning_curves(histories: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Validation force error in the course of training, a line per stage.

    Args:
        histories: label to columns of `training.History`.
    """
    figure, axes = plt.subplots(figsize=(6.2, 3.6))
    for color, (label, history) in zip(COLORS, histories.items()):
        axes.plot(history["step"], history["valid_force_mae"], label=label, lw=1.8, color=color)
    axes.set(yscale="log", xlabel="training step", ylabel="validation force MAE [kcal/mol/Å]")
    _plain_log_axis(axes.yaxis)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2))
    return figure


@_styled
def bias_histogram(bias: np.ndarray, weights: np.ndarray, level: str) -> Figure:
    """Estimated bias of each inaccurate frame, and the weight that it is given (section 3.1 and 3.2).

    Args:
        bias: (frames,), kcal/mol/Å.
        weights: (frames,), mean 1.
        level: name of the inaccurate level.
    """
    figure, axes = plt.subplots(figsize=(6.2, 3.6))
    sns.histplot(x=bias, ax=axes, bins=40, color=COLORS[0], alpha=0.5, edgecolor="none")
    axes.set(xlabel=f"estimated bias of a {level.upper()} frame [kcal/mol/Å]", ylabel="frames")
    other = axes.twinx()
    order = np.argsort(bias)
    other.plot(bias[order], weights[order], color=COLORS[3], lw=2)
    other.set_ylabel("weight in the loss (mean 1)", color=COLORS[3])
    other.set_ylim(bottom=0)
    other.spines["right"].set_visible(True)
    return figure


@_styled
def true_bias(table: pd.DataFrame) -> Figure:
    """Distribution over frames of the bias of a cheap level, where the accurate label is known.

    Args:
        table: rows with columns `molecule`, `level`, `bias` (kcal/mol/Å).
    """
    rows = list(table.groupby(["molecule", "level"], sort=False))
    figure, axes = plt.subplots(figsize=(6.2, 1.2 + 0.6 * len(rows)))
    names = [f"{molecule.replace('_', ' ')}, {level}" for (molecule, level), _ in rows]
    levels = list(dict.fromkeys(table["level"]))
    sns.violinplot(
        pd.concat(part.assign(name=name) for name, (_, part) in zip(names, rows)),
        x="bias",
        y="name",
        hue="level",
        palette=dict(zip(levels, COLORS)),
        legend=False,
        inner="quart",
        linewidth=1,
        cut=0,
        ax=axes,
    )
    axes.set(xlabel="bias of a frame [kcal/mol/Å]", ylabel="", xlim=(0, None))
    return figure


@_styled
def comparison(errors: Mapping[str, float], std_errors: Mapping[str, float]) -> Figure:
    """Test force error of a few force fields as bars, with the standard error over test frames."""
    figure, axes = plt.subplots(figsize=(6.2, 0.6 + 0.55 * len(errors)))
    labels = list(errors)
    axes.barh(labels, list(errors.values()), xerr=list(std_errors.values()), color=COLORS[: len(labels)], height=0.6)
    for place, value in enumerate(errors.values()):
        axes.text(value * 0.5, place, f"{value:.2f}", va="center", ha="center", color="white", weight="bold")
    axes.invert_yaxis()
    axes.set_xlabel(FORCE_ERROR)
    return figure


@_styled
def trajectory(time: np.ndarray, temperature: np.ndarray, largest_distance: np.ndarray, target: float) -> Figure:
    """Temperature and largest distance between two atoms in the course of a simulation.

    Args:
        time: (frames,), fs.
        temperature: (frames,), K.
        largest_distance: (frames,), Å.
        target: temperature of the thermostat, K.
    """
    figure, (upper, lower) = plt.subplots(2, 1, figsize=(6.2, 4), sharex=True)
    upper.plot(time / 1000, temperature, lw=1, color=COLORS[0])
    upper.axhline(target, color="0.4", ls="--", lw=1)
    upper.set_ylabel("temperature [K]")
    lower.plot(time / 1000, largest_distance, lw=1, color=COLORS[1])
    lower.set(xlabel="time [ps]", ylabel="largest pair\ndistance [Å]", ylim=(0, None))
    return figure


@_styled
def power_law(table: pd.DataFrame) -> Figure:
    """Fig. 1a: error against number of accurate labels, double logarithmic, with the fitted power law of a molecule.

    Args:
        table: rows of standard training from `runs.table`.
    """
    figure, axes = plt.subplots(figsize=(6.2, 4.2))
    for color, (molecule, rows) in zip(COLORS, table.groupby("molecule", sort=False)):
        law = planner.fit_power_law(rows["budget"], rows["force_mae"])
        _mean_and_spread(axes, rows, "budget", color=color, marker="o", ls="none")
        span = np.array([rows["budget"].min(), rows["budget"].max()])
        low, high = law.interval
        label = f"{molecule.replace('_', ' ')}: $n^{{{-law.exponent:.2f}}}$ (95 %: {-high:.2f} to {-low:.2f})"
        axes.plot(span, law(span), color=color, lw=1.5, label=label)
    axes.set(xscale="log", yscale="log", xlabel="accurate training labels", ylabel=FORCE_ERROR)
    _label_ticks(axes, sorted(table["budget"].unique()))
    axes.legend()
    return figure


@_styled
def levels(table: pd.DataFrame) -> Figure:
    """Fig. 1b: models trained on labels of one level alone, tested on accurate labels, a panel per molecule.

    Args:
        table: rows from `runs.table` with a column `trained_on` (level) and `labels` (their number).
    """
    return _panels(table, "labels", "trained_on", "training labels", "trained on")


@_styled
def budgets(table: pd.DataFrame, baseline: str = "standard") -> Figure:
    """Fig. 3 and 4: error against budget, standard training and ASTEROID at each amount of inaccurate labels.

    Args:
        table: rows from `runs.table` with columns `total_budget` (accurate labels that the whole costs) and `series`.
        baseline: the series drawn in black.
    """
    return _panels(table, "total_budget", "series", "budget [accurate labels]", None, baseline)


@_styled
def reductions(table: pd.DataFrame) -> Figure:
    """Reduction of the test error against standard training at equal budget, by budget and amount of cheap labels.

    Args:
        table: rows with columns `total_budget`, `inaccurate_budget`, `reduction` (%).
    """
    figure, axes = plt.subplots(figsize=(6.2, 3.6))
    sns.pointplot(
        table,
        x="total_budget",
        y="reduction",
        hue="inaccurate_budget",
        palette="colorblind",
        markers=list("osD^vPX*<>")[: table["inaccurate_budget"].nunique()],
        errorbar=lambda values: planner.mean_interval(values)[1:],
        dodge=0.25,
        capsize=0.08,
        err_kws={"linewidth": 1.2},
        ax=axes,
    )
    axes.axhline(0, color="0.4", lw=1)
    axes.set(xlabel="budget [accurate labels]", ylabel="error reduction [%]")
    axes.legend(title="cheap labels")
    return figure


@_styled
def sensitivity(table: pd.DataFrame, standard: pd.DataFrame, xlabel: str) -> Figure:
    """Fig. 7: test error by the value of a setting, beside that of standard training, a panel per molecule.

    Args:
        table: rows from `runs.table` with a column `setting`, positive; infinity is drawn at the right end.
        standard: rows of standard training; a line at the mean over seeds and a band of their standard deviation.
        xlabel: the setting, with its unit.
    """
    molecules, values = list(dict.fromkeys(table["molecule"])), sorted(table["setting"].unique())
    finite = [value for value in values if np.isfinite(value)]
    places = {value: value if np.isfinite(value) else 2 * finite[-1] for value in values}
    width = max(3.4 * len(molecules), 5.0)
    figure, panels = plt.subplots(1, len(molecules), figsize=(width, 3.7), squeeze=False)
    for axes, molecule in zip(panels[0], molecules):
        reference = standard.loc[standard["molecule"] == molecule, "force_mae"]
        mean, spread = reference.mean(), reference.std()
        axes.axhline(mean, color="0.35", lw=1.2, label="standard training")
        axes.axhspan(mean - spread, mean + spread, color="0.5", alpha=0.2, lw=0)
        rows = table[table["molecule"] == molecule]
        rows = rows.assign(setting=rows["setting"].map(places))
        _mean_and_spread(axes, rows, "setting", color=COLORS[0], marker="o", ls="-", label="ASTEROID")
        axes.set(xscale="log", xlabel=xlabel, title=molecule.replace("_", " "), ylim=(0, None))
        axes.xaxis.set_major_locator(FixedLocator(list(places.values())))
        names = [f"{value:g}" if np.isfinite(value) else "∞" for value in values]
        axes.xaxis.set_major_formatter(FixedFormatter(names))
        axes.xaxis.set_minor_locator(FixedLocator([]))
    panels[0][0].set_ylabel(FORCE_ERROR)
    panels[0][0].legend(loc="lower left")
    return figure


@_styled
def claimed_reductions(table: pd.DataFrame) -> Figure:
    """Reductions of the error that the paper claims beside those found, with 95 % intervals.

    Args:
        table: rows from `claims.judged` with columns `where`, `claim`, `mean`, `low`, `high`, `claimed` (%), `verdict`.
    """
    figure, axes = plt.subplots(figsize=(6.2, 1 + 0.5 * len(table)))
    places, mean = np.arange(len(table)), table["mean"].to_numpy()
    reach = np.stack([mean - table["low"], table["high"] - mean])
    axes.errorbar(mean, places, xerr=reach, fmt="o", color=COLORS[0], capsize=3, label="here, 95 % interval")
    axes.plot(table["claimed"], places, "D", color=COLORS[3], ls="none", label="the paper")
    axes.axvline(0, color="0.4", lw=1)
    axes.set_yticks(places, [textwrap.fill(f"{row.where}, {row.claim}", 34) for row in table.itertuples()])
    axes.invert_yaxis()
    axes.set_xlabel("error lower than without by [%]")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
    return figure


@_styled
def by_training(table: pd.DataFrame) -> Figure:
    """Fig. 5: test error by what a model was trained on, a panel per molecule; mean over seeds and each seed.

    Args:
        table: rows from `runs.table` with columns `trained_on` and `name` (of the model).
    """
    molecules, kinds = list(dict.fromkeys(table["molecule"])), list(dict.fromkeys(table["trained_on"]))
    figure, panels = plt.subplots(
        1, len(molecules), figsize=(max(6.2, 4.6 * len(molecules)), 0.9 + 0.6 * len(kinds)), squeeze=False, sharey=True
    )
    models = sorted(set(table["name"]))  # a model has one colour on all pages
    shared = {"y": "trained_on", "x": "force_mae", "hue": "name", "order": kinds, "hue_order": models}
    shared["palette"] = COLORS[: len(models)]
    for axes, molecule in zip(panels[0], molecules):
        rows = table[table["molecule"] == molecule]
        first = axes is panels[0][0]
        sns.barplot(rows, **shared, legend=first, errorbar="sd", capsize=0.25, alpha=0.75, ax=axes)
        sns.stripplot(rows, **shared, legend=False, dodge=True, size=3.5, linewidth=0.6, edgecolor="black", ax=axes)
        axes.set(xlabel=FORCE_ERROR, ylabel="", title=molecule.replace("_", " "))
    sns.move_legend(panels[0][0], "upper left", bbox_to_anchor=(0, -1 / len(kinds)), ncols=len(models), title=None)
    return figure


@_styled
def convergence(samples: Sequence[int], errors: np.ndarray, ylabel: str) -> Figure:
    """Error against number of samples with a line of slope -1/2, which is what independent samples allow.

    Args:
        samples: numbers of samples.
        errors: (samples, repetitions).
    """
    figure, axes = plt.subplots(figsize=(6.2, 3.4))
    mean, spread = errors.mean(axis=1), errors.std(axis=1, ddof=1)
    axes.errorbar(samples, mean, yerr=spread, fmt="o", color=COLORS[0], capsize=2.5, label="mean and spread")
    middle = len(samples) // 2
    line = mean[middle] * np.sqrt(samples[middle] / np.asarray(samples))
    axes.plot(samples, line, color="0.5", ls="--", lw=1.2, label=r"$\propto n^{-1/2}$")
    axes.set(xscale="log", yscale="log", xlabel="geometries", ylabel=ylabel)
    axes.legend()
    return figure


@_styled
def geometries(table: pd.DataFrame) -> Figure:
    """Error of score matching against the number of geometries, by the level that it is compared with.

    Args:
        table: rows with columns `molecule`, `geometries`, `against` (level) and `force_mae`, of one model or several,
            in which case `molecule` names both.
    """
    return _panels(table, "geometries", "against", "geometries", "compared with")


@_styled
def label_cost(table: pd.DataFrame, exponents: Mapping[str, float]) -> Figure:
    """Seconds of a label against the number of basis functions, a line per level of theory.

    Args:
        table: rows with columns `level`, `functions`, `seconds`.
        exponents: by level, of the fitted power law, for the legend.
    """
    figure, axes = plt.subplots(figsize=(6.2, 4.4))
    styles = zip([*COLORS, *COLORS], "osD^vPX*osD^vPX*")
    for (level, rows), (color, marker) in zip(table.groupby("level", sort=False), styles):
        rows = rows.sort_values("functions")
        label = f"{level.upper()}: $n^{{{exponents[level]:.1f}}}$" if level in exponents else level.upper()
        axes.plot(rows["functions"], rows["seconds"], color=color, marker=marker, ms=5, lw=1.5, label=label)
    axes.set(xscale="log", yscale="log", xlabel="basis functions (cc-pVDZ)", ylabel="seconds of a label, one core")
    axes.xaxis.set_major_locator(FixedLocator(sorted(table["functions"].unique())))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(FixedLocator([]))
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@_styled
def error_against_cost(table: pd.DataFrame) -> Figure:
    """Force error of each level against the accurate one, by the seconds of a label; a panel for each molecule.

    Args:
        table: rows with columns `molecule`, `level`, `seconds`, `error` (kcal/mol/Å).
    """
    molecules, levels_ = list(dict.fromkeys(table["molecule"])), list(dict.fromkeys(table["level"]))
    columns = min(3, len(molecules))
    lines = -(-len(molecules) // columns)
    figure, panels = plt.subplots(
        lines, columns, figsize=(3.0 * columns + 0.6, 2.7 * lines + 0.5), squeeze=False, sharex=True, sharey=True
    )
    for axes, molecule in zip(panels.flat, molecules):
        rows = table[table["molecule"] == molecule]
        for place, level in enumerate(levels_):
            part = rows[rows["level"] == level]
            axes.plot(part["seconds"], part["error"], "osD^vPX*"[place % 8], color=COLORS[place], label=level.upper())
        axes.set(xscale="log", yscale="log", title=molecule.replace("_", " "))
        _plain_log_axis(axes.yaxis)
    for axes in panels.flat[len(molecules) :]:
        axes.axis("off")
    figure.supxlabel("seconds of a label, one core", fontsize=10.5)
    figure.supylabel("mean error of the force [kcal/mol/Å]", fontsize=10.5)
    handles, names = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="upper center", bbox_to_anchor=(0.5, 0.02), ncols=min(len(names), 4))
    return figure


@_styled
def cost_ratios(table: pd.DataFrame, assumed: Sequence[float]) -> Figure:
    """How many labels of a cheap level one accurate label costs, beside the ratios that the paper assumes.

    Args:
        table: rows with columns `molecule`, `level` (the cheap one) and `ratio`.
        assumed: the paper's ratios, drawn as lines.
    """
    figure, axes = plt.subplots(figsize=(6.2, 1 + 0.5 * table["level"].nunique()))
    order = list(dict.fromkeys(table["level"]))
    sns.stripplot(
        table, x="ratio", y="level", hue="molecule", order=order, palette="colorblind", size=7, jitter=False, ax=axes
    )
    for ratio in assumed:
        axes.axvline(ratio, color="0.6", ls="--", lw=1, zorder=0)
    axes.set(xscale="log", xlabel="cheap labels for the cost of an accurate one", ylabel="")
    axes.set_yticks(axes.get_yticks(), [level.upper() for level in order])
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), title=None)
    return figure


@_styled
def ratios(table: pd.DataFrame, xlabel: str, ylabel: str) -> Figure:
    """A quantity of each seed and its mean, by setting.

    Args:
        table: rows with columns `setting`, in order, and `value`.
    """
    kinds = list(dict.fromkeys(table["setting"]))
    figure, axes = plt.subplots(figsize=(6.2, 1 + 0.42 * len(kinds)))
    shared = {"y": "setting", "x": "value", "order": kinds, "ax": axes}
    sns.pointplot(table, **shared, errorbar="sd", ls="none", color=COLORS[0], capsize=0.2, err_kws={"linewidth": 1.2})
    sns.stripplot(table, **shared, color="0.35", size=3.5, jitter=0.12)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    if (table["value"] >= 0).all():
        axes.set_xlim(0, None)
    else:
        axes.axvline(0, color="0.7", lw=1, zorder=0)
    return figure


@_styled
def measured_cost(table: pd.DataFrame) -> Figure:
    """Error against the measured cost of the training labels.

    Args:
        table: rows from `runs.table` with columns `core_minutes` and `series`.
    """
    table = table.copy()
    place = [table["molecule"], table["series"], table["total_budget"]]
    table["core_minutes"] = table.groupby(place)["core_minutes"].transform("mean")  # seeds draw labels of unequal cost
    figure = _panels(table, "core_minutes", "series", "cost of the labels [core minutes]", None, "standard")
    for axes in figure.axes:
        axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
    return figure


def _panels(
    table: pd.DataFrame, x: str, hue: str, xlabel: str, title: str | None, baseline: str | None = None
) -> Figure:
    molecules = list(dict.fromkeys(table["molecule"]))
    width = max(3.4 * len(molecules), 5.0)
    figure, panels = plt.subplots(1, len(molecules), figsize=(width, 3.9), squeeze=False, sharey=False)
    series = list(dict.fromkeys(table[hue]))
    colors = {name: "black" if name == baseline else COLORS[place % 10] for place, name in enumerate(series)}
    markers = dict(zip(series, "osD^vPX*<>"))
    for axes, molecule in zip(panels[0], molecules):
        rows = table[table["molecule"] == molecule]
        for name, part in rows.groupby(hue, sort=False):
            style = {"color": colors[name], "marker": markers[name], "label": name}
            _mean_and_spread(axes, part, x, ls="-" if part[x].nunique() > 1 else "none", **style)
        axes.set(xscale="log", yscale="log", xlabel=xlabel, title=molecule.replace("_", " "))
        ticks = sorted(rows[x].unique())
        _label_ticks(axes, ticks if len(ticks) <= 6 else ticks[:: len(ticks) // 5])
    panels[0][0].set_ylabel(FORCE_ERROR)
    handles, names = panels[0][0].get_legend_handles_labels()
    columns = int(width / (0.7 + 0.085 * max(map(len, names))))  # inches, so that it is not wider than the panels
    columns = min(len(series), max(1, columns))
    figure.legend(handles, names, title=title, loc="upper center", bbox_to_anchor=(0.5, 0.02), ncols=columns)
    return figure


def _mean_and_spread(axes: plt.Axes, rows: pd.DataFrame, x: str, **style: Any) -> None:
    """Mean over seeds with the standard deviation as error bar."""
    groups = rows.groupby(x)["force_mae"]
    mean, spread = groups.mean(), groups.std(ddof=1).fillna(0.0)
    axes.errorbar(mean.index, mean, yerr=spread, capsize=2.5, ms=5, lw=1.6, elinewidth=1.1, **style)


def _label_ticks(axes: plt.Axes, ticks: Sequence[float]) -> None:
    """Name these places of a logarithmic axis, rising, but for those whose name would run into the one before."""
    room, kept = np.log(ticks[-1] / ticks[0]) / 12, []
    for tick in ticks:
        if not kept or np.log(tick / kept[-1]) > room:
            kept.append(tick)
    axes.xaxis.set_major_locator(FixedLocator(kept))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(FixedLocator([]))
    _plain_log_axis(axes.yaxis)


def _plain_log_axis(axis: Any) -> None:
    """Ticks such as 0.5, 1 and 2 instead of powers of ten, which a narrow range may not even contain."""
    axis.set_major_locator(LogLocator(base=10, subs=(1, 1.5, 2, 3, 4, 5, 7)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
