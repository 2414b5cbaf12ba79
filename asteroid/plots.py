"""One function per figure; each returns the matplotlib figure and changes no global state for good."""

import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from itertools import cycle
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import to_rgb
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import ScaledTranslation

from asteroid import planner

FORCE_ERROR = "test force MAE [kcal/mol/Å]"
COLORS = sns.color_palette("colorblind")
WIDTH = 6.2  # of a figure, inches: that of a page, so that letters are not made smaller
NEUTRAL = "0.25"  # where there is nothing to tell apart
# What a name that begins so looks like, in all figures: ways to train, levels of theory, and models.
_COLORS = {
    "standard": "black",
    "accurate labels only": "black",
    "ASTEROID": COLORS[0],
    "ASTEROID without bias-aware weights": COLORS[9],
    "ASTEROID without fine-tuning": COLORS[2],
    **dict.fromkeys(("inaccurate labels only", "cheap only", "stage 2", "ASTEROID, stage 2"), COLORS[1]),
    **dict.fromkeys(("one plan", "at random"), COLORS[0]),  # ASTEROID, if nothing chooses the frames
    "sGDML": COLORS[4],
    **dict.fromkeys(("fidelity embedding", "two heads"), COLORS[3]),
    "Δ-ML": COLORS[2],
    "ANI": COLORS[5],
    "Lennard-Jones": COLORS[7],
    "MMFF": COLORS[3],
    "GFN2": COLORS[2],
    "HF": COLORS[4],
    "PBE": COLORS[1],
    "B3LYP": COLORS[9],
    "MP2": COLORS[5],
    "CCSD": "0.55",
    "CCSD(T)": "black",
    "EGNN": COLORS[4],
    "GemNet": COLORS[5],
}
_OTHER_COLORS = [COLORS[place] for place in (3, 4, 2, 5, 9, 7, 1, 6, 8)]
_MARKERS = "osD^vPX*<>"
_STYLE = {
    "figure.dpi": 110,
    "savefig.bbox": "tight",
    "font.size": 11,
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
def learning_curves(histories: Mapping[str, Mapping[str, Sequence[float]]], column: str = "valid_force_mae") -> Figure:
    """Validation force error, or training loss, in the course of training, a line per stage.

    Args:
        histories: label to columns of `training.History`.
        column: "valid_force_mae", or "train_loss" where nothing was validated.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 3.6))
    colors = _colors(histories)
    for label, history in histories.items():
        axes.plot(history["step"], history[column], label=label, lw=1.8, color=colors[label])
    names = {"valid_force_mae": "validation force MAE [kcal/mol/Å]", "train_loss": "training loss"}
    axes.set(yscale="log", xlabel="training step", ylabel=names[column])
    _plain_log_axis(axes.yaxis)
    _legend_below(figure, *axes.get_legend_handles_labels())
    return figure


@_styled
def error_against_seconds(table: pd.DataFrame, hue: str) -> Figure:
    """Validation force error in the course of trainings, a panel per molecule, both axes logarithmic.

    Args:
        table: rows of one evaluation with columns `molecule`, `seconds`, `valid_force_mae` and that of `hue`, which
            tells trainings apart.
    """
    molecules = list(dict.fromkeys(table["molecule"]))
    figure, panels = _grid(len(molecules), 3.0)
    colors = _colors(table[hue])
    for axes, molecule in zip(panels, molecules):
        for name, rows in table[table["molecule"] == molecule].groupby(hue, sort=False):
            axes.plot(rows["seconds"], rows["valid_force_mae"], label=name, lw=1.6, color=colors[name])
        axes.set(xscale="log", yscale="log", title=molecule.replace("_", " "))
        _plain_log_axis(axes.xaxis)
        _plain_log_axis(axes.yaxis)
    _name_axes(panels, "seconds of training", "validation force MAE [kcal/mol/Å]")
    _legend_below(figure, *panels[0].get_legend_handles_labels())
    return figure


@_styled
def bias_histogram(bias: np.ndarray, weights: np.ndarray, level: str) -> Figure:
    """Estimated bias of each inaccurate frame, and the weight that it is given (section 3.1 and 3.2).

    Args:
        bias: (frames,), kcal/mol/Å.
        weights: (frames,), mean 1.
        level: name of the inaccurate level.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 3.6))
    sns.histplot(x=bias, ax=axes, bins=40, color="0.6", alpha=0.5, edgecolor="none")
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
    figure, axes = plt.subplots(figsize=(WIDTH, 1.2 + 0.6 * len(rows)))
    names = [f"{molecule.replace('_', ' ')}, {level}" for (molecule, level), _ in rows]
    sns.violinplot(
        pd.concat(part.assign(name=name) for name, (_, part) in zip(names, rows)),
        x="bias",
        y="name",
        hue="level",
        palette=_colors(table["level"]),
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
    figure, axes = plt.subplots(figsize=(WIDTH, 0.6 + 0.55 * len(errors)))
    colors = list(_colors(errors).values())
    bars = {"xerr": list(std_errors.values()), "ecolor": "0.5", "capsize": 2.5}  # seen on black, too
    axes.barh(list(errors), list(errors.values()), color=colors, height=0.6, **bars)
    for place, value in enumerate(errors.values()):
        axes.text(value * 0.5, place, f"{value:.2f}", va="center", ha="center", color="white", weight="bold")
    axes.set_yticks(range(len(errors)), [textwrap.fill(name, 24) for name in errors])
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
    figure, (upper, lower) = plt.subplots(2, 1, figsize=(WIDTH, 4), sharex=True)
    upper.plot(time / 1000, temperature, lw=1, color=NEUTRAL)
    upper.axhline(target, color="0.4", ls="--", lw=1)
    upper.set_ylabel("temperature [K]")
    lower.plot(time / 1000, largest_distance, lw=1, color=NEUTRAL)
    lower.set(xlabel="time [ps]", ylabel="largest pair\ndistance [Å]", ylim=(0, None))
    return figure


@_styled
def power_law(table: pd.DataFrame) -> Figure:
    """Fig. 1a: error against number of accurate labels, double logarithmic, with the fitted power law of a molecule.

    Args:
        table: rows of standard training from `runs.table`.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 4.2))
    colors, drawn = _colors(f"standard, {molecule}" for molecule in table["molecule"]), {}
    for color, marker, (molecule, rows) in zip(colors.values(), _MARKERS, table.groupby("molecule", sort=False)):
        law = planner.fit_power_law(rows["budget"], rows["force_mae"])
        span = np.array([rows["budget"].min(), rows["budget"].max()])
        low, high = law.interval
        label = f"{molecule.replace('_', ' ')}: $n^{{{-law.exponent:.2f}}}$ (95 %: {-high:.2f} to {-low:.2f})"
        axes.plot(span, law(span), color=color, lw=1.5)
        drawn[label] = _mean_and_spread(axes, rows, "budget", color=color, marker=marker, ls="none")
    axes.set(xscale="log", yscale="log", xlabel="accurate training labels", ylabel=FORCE_ERROR)
    _label_ticks(axes, sorted(table["budget"].unique()))
    axes.legend(list(drawn.values()), list(drawn))
    return figure


@_styled
def levels(table: pd.DataFrame) -> Figure:
    """Fig. 1b: models trained on labels of one level alone, tested on accurate labels, a panel per molecule.

    Args:
        table: rows from `runs.table` with a column `trained_on` (level) and `labels` (their number).
    """
    return _panels(table, "labels", "trained_on", "training labels", "trained on")


@_styled
def budgets(table: pd.DataFrame, xlabel: str = "budget [accurate labels]") -> Figure:
    """Fig. 3 and 4: error against budget, standard training and ASTEROID at each amount of inaccurate labels.

    Args:
        table: rows from `runs.table` with columns `total_budget` (accurate labels that the whole costs) and `series`.
            Of several amounts the last is drawn darkest.
        xlabel: what the budget counts.
    """
    return _panels(table, "total_budget", "series", xlabel)


@_styled
def reductions(table: pd.DataFrame) -> Figure:
    """Reduction of the test error against standard training at equal budget, by budget and amount of cheap labels.

    Args:
        table: rows with columns `total_budget`, `inaccurate_budget`, `reduction` (%).
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 3.6))
    amounts = sorted(table["inaccurate_budget"].unique())
    colors = _colors(f"ASTEROID, {amount}" for amount in amounts)
    sns.pointplot(
        table,
        x="total_budget",
        y="reduction",
        hue="inaccurate_budget",
        hue_order=amounts,
        palette=list(colors.values()),
        markers=list(_MARKERS[1 : len(amounts) + 1]),  # as in `budgets`, where standard training has the first
        errorbar=lambda values: planner.mean_interval(values)[1:],
        dodge=0.25,
        capsize=0.08,
        err_kws={"linewidth": 1.2},
        ax=axes,
    )
    axes.axhline(0, color="0.4", lw=1)
    axes.set(xlabel="budget [accurate labels]", ylabel="error reduction [%]")
    handles, names = axes.get_legend_handles_labels()
    axes.get_legend().remove()
    _legend_below(figure, handles, names, title="cheap labels")
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
    figure, panels = _grid(len(molecules), 3.4)
    for axes, molecule in zip(panels, molecules):
        reference = standard.loc[standard["molecule"] == molecule, "force_mae"]
        mean, spread = reference.mean(), reference.std()
        axes.axhline(mean, color="black", lw=1.2, label="standard training")
        axes.axhspan(mean - spread, mean + spread, color="0.5", alpha=0.2, lw=0)
        rows = table[table["molecule"] == molecule]
        rows = rows.assign(setting=rows["setting"].map(places))
        _mean_and_spread(axes, rows, "setting", color=COLORS[0], marker="o", ls="-", label="ASTEROID")
        axes.set(xscale="log", title=molecule.replace("_", " "), ylim=(0, None))
        axes.xaxis.set_major_locator(FixedLocator(list(places.values())))
        names = [f"{value:g}" if np.isfinite(value) else "∞" for value in values]
        axes.xaxis.set_major_formatter(FixedFormatter(names))
        axes.xaxis.set_minor_locator(FixedLocator([]))
    _name_axes(panels, xlabel)
    panels[0].legend(loc="lower left")
    return figure


@_styled
def claimed_reductions(table: pd.DataFrame) -> Figure:
    """Reductions of the error that the paper claims beside those found, with 95 % intervals.

    Args:
        table: rows from `claims.judged` with columns `where`, `claim`, `mean`, `low`, `high`, `claimed` (%), `verdict`.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 1 + 0.5 * len(table)))
    places, mean = np.arange(len(table)), table["mean"].to_numpy()
    reach = np.stack([mean - table["low"], table["high"] - mean])
    axes.errorbar(mean, places, xerr=reach, fmt="o", color=COLORS[0], capsize=3, label="here, 95 % interval")
    axes.plot(table["claimed"], places, "D", color=COLORS[3], ls="none", label="the paper")
    axes.axvline(0, color="0.4", lw=1)
    axes.set_yticks(places, [textwrap.fill(f"{row.where}, {row.claim}", 34) for row in table.itertuples()])
    axes.invert_yaxis()
    axes.set_xlabel("reduction of the test force error [%]")
    _legend_below(figure, *axes.get_legend_handles_labels())
    return figure


@_styled
def by_training(table: pd.DataFrame) -> Figure:
    """Fig. 5: test error by what a model was trained on, a panel per molecule, logarithmic.

    Means over seeds are large, with their standard deviation; each seed is a small dot.

    Args:
        table: rows from `runs.table` with columns `trained_on` and `name` (of the model).
    """
    molecules, kinds = list(dict.fromkeys(table["molecule"])), list(dict.fromkeys(table["trained_on"]))
    models = sorted(set(table["name"]))
    size = (WIDTH, (0.7 + 0.45 * len(kinds)) * len(molecules) + 0.4)
    figure, panels = plt.subplots(len(molecules), 1, figsize=size, squeeze=False, sharex=True)
    shared = {"y": "trained_on", "x": "force_mae", "hue": "name", "order": kinds, "hue_order": models, "legend": False}
    shared["palette"] = _colors(models)
    apart = 0.4 if len(models) > 1 else 0
    for axes, molecule in zip(panels.flat, molecules):
        rows = table[table["molecule"] == molecule]
        style = {"markers": list(_MARKERS[: len(models)]), "ls": "none", "ms": 6, "err_kws": {"linewidth": 1.4}}
        sns.pointplot(rows, **shared, **style, dodge=apart, errorbar="sd", capsize=0.15, ax=axes)
        sns.stripplot(rows, **shared, dodge=True, size=3, linewidth=0.6, edgecolor="black", jitter=False, ax=axes)
        axes.set(xscale="log", xlabel="", ylabel="", title=molecule.replace("_", " "))
        axes.set_yticks(range(len(kinds)), [textwrap.fill(kind, 22, break_on_hyphens=False) for kind in kinds])
        axes.grid(axis="x", color="0.9")
        _plain_log_axis(axes.xaxis)
    axes.set_xlabel(FORCE_ERROR)
    handles = [
        plt.Line2D([], [], color=color, marker=marker, ls="none", label=name)
        for (name, color), marker in zip(shared["palette"].items(), _MARKERS)
    ]
    _legend_below(figure, handles, models)
    return figure


@_styled
def convergence(samples: Sequence[int], errors: np.ndarray, ylabel: str) -> Figure:
    """Error against number of samples with a line of slope -1/2, which is what independent samples allow.

    Args:
        samples: numbers of samples.
        errors: (samples, repetitions).
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 3.4))
    mean, spread = errors.mean(axis=1), errors.std(axis=1, ddof=1)
    axes.errorbar(samples, mean, yerr=spread, fmt="o", color=NEUTRAL, capsize=2.5, label="mean and standard deviation")
    middle = len(samples) // 2
    line = mean[middle] * np.sqrt(samples[middle] / np.asarray(samples))
    axes.plot(samples, line, color="0.5", ls="--", lw=1.2, label=r"$\propto n^{-1/2}$")
    axes.set(xscale="log", yscale="log", xlabel="geometries", ylabel=ylabel)
    _label_ticks(axes, samples)
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
    figure, axes = plt.subplots(figsize=(WIDTH, 4.4))
    colors = _colors(table["level"].str.upper())
    for (level, rows), marker in zip(table.groupby("level", sort=False), cycle(_MARKERS)):
        rows = rows.sort_values("functions")
        name = level.upper()
        label = f"{name}: $n^{{{exponents[level]:.1f}}}$" if level in exponents else name
        axes.plot(rows["functions"], rows["seconds"], color=colors[name], marker=marker, ms=5, lw=1.5, label=label)
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
        table: rows with columns `molecule`, `level`, `seconds`, `error` (kcal/mol/Å, mean over frames), `low` and
            `high` (ends of the line that shows how frames differ).
    """
    molecules, colors = list(dict.fromkeys(table["molecule"])), _colors(table["level"].str.upper())
    figure, panels = _grid(len(molecules), 2.9, sharex=True, sharey=True)
    for axes, molecule in zip(panels, molecules):
        rows = table[table["molecule"] == molecule].assign(level=lambda rows: rows["level"].str.upper())
        for (level, color), marker in zip(colors.items(), cycle(_MARKERS)):
            part = rows[rows["level"] == level]
            axes.vlines(part["seconds"], part["low"], part["high"], color=color, lw=1.5)
            axes.plot(part["seconds"], part["error"], marker, color=color, ms=7, label=level)
        axes.set(xscale="log", yscale="log", title=molecule.replace("_", " "))
        _plain_log_axis(axes.yaxis)
    figure.supxlabel("seconds of a label, one core", fontsize="medium")
    figure.supylabel("error of the force [kcal/mol/Å]", fontsize="medium")
    _legend_below(figure, *panels[0].get_legend_handles_labels())
    return figure


@_styled
def cost_ratios(table: pd.DataFrame, assumed: Sequence[float]) -> Figure:
    """How many labels of a cheap level one accurate label costs, beside the ratios that the paper assumes.

    Args:
        table: rows with columns `molecule`, `level` (the cheap one) and `ratio`.
        assumed: the paper's ratios, drawn as lines.
    """
    order = list(dict.fromkeys(table["level"]))
    figure, axes = plt.subplots(figsize=(WIDTH, 1 + 0.5 * len(order)))
    colors = _colors(level.upper() for level in order)
    for marker, (molecule, rows) in zip(_MARKERS, table.groupby("molecule", sort=False)):
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


@_styled
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


@_styled
def measured_cost(table: pd.DataFrame) -> Figure:
    """Error against the measured cost of the training labels.

    Args:
        table: rows from `runs.table` with columns `core_minutes` and `series`.
    """
    table = table.copy()
    place = [table["molecule"], table["series"], table["total_budget"]]
    table["core_minutes"] = table.groupby(place)["core_minutes"].transform("mean")  # seeds draw labels of unequal cost
    figure = _panels(table, "core_minutes", "series", "cost of the labels [core minutes]", beside=False)
    for axes in figure.axes:
        axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
    return figure


def _panels(
    table: pd.DataFrame, x: str, hue: str, xlabel: str, title: str | None = None, beside: bool = True
) -> Figure:
    """Error against `x`, a panel per molecule and a line per `hue`; points at one place stand beside each other."""
    molecules = list(dict.fromkeys(table["molecule"]))
    figure, panels = _grid(len(molecules), 3.3)
    colors = _colors(table[hue])
    markers = dict(zip(colors, _MARKERS))
    points = table.groupby(hue)[x].nunique()
    long, short = ([name for name in colors if (points[name] == points.max()) == wanted] for wanted in (True, False))
    in_order = [*short[: len(short) // 2], *long, *short[len(short) // 2 :]]  # lines in the middle
    places = {name: place - (len(in_order) - 1) / 2 for place, name in enumerate(in_order)}
    for axes, molecule in zip(panels, molecules):
        rows = table[table["molecule"] == molecule]
        for name, part in rows.groupby(hue, sort=False):
            style = {"color": colors[name], "marker": markers[name], "label": name}
            drawn = _mean_and_spread(axes, part, x, ls="-" if part[x].nunique() > 1 else "none", **style)
            if beside:  # the numbers stay as they are, only the picture of them moves
                aside = ScaledTranslation(places[name] * 5 / 72, 0, figure.dpi_scale_trans)
                for artist in drawn.get_children():
                    artist.set_transform(axes.transData + aside)
        axes.set(xscale="log", yscale="log", title=molecule.replace("_", " "))
        axes.margins(x=0.05 + 0.02 * len(colors))  # for what stands aside
        ticks = sorted(rows[x].unique())
        _label_ticks(axes, ticks if len(ticks) <= 6 else ticks[:: len(ticks) // 5])
    _name_axes(panels, xlabel)
    _legend_below(figure, *panels[0].get_legend_handles_labels(), title=title)
    return figure


def _grid(number: int, height: float, **shared: bool) -> tuple[Figure, list[plt.Axes]]:
    """Panels of this height in inches, two beside each other, since more would be too small to read."""
    columns, lines = min(2, number), -(-number // 2)
    size = (WIDTH if number > 1 else 5.0, height * lines)
    figure, panels = plt.subplots(lines, columns, figsize=size, squeeze=False, **shared)
    for axes in panels.flat[number:]:
        axes.axis("off")
    for axes in panels.flat[max(0, number - 2) : number]:  # with nothing below, though the last line may be shorter
        axes.tick_params(labelbottom=True)
    return figure, list(panels.flat[:number])


def _name_axes(panels: Sequence[plt.Axes], xlabel: str, ylabel: str = FORCE_ERROR) -> None:
    """Name the axes of the panels of `_grid`: of each below, and of the first in each line."""
    for place, axes in enumerate(panels):
        axes.set_xlabel(xlabel if place + 2 >= len(panels) else "")
        axes.set_ylabel(ylabel if place % 2 == 0 else "")


def _legend_below(figure: Figure, handles: Sequence[Any], names: Sequence[str], title: str | None = None) -> None:
    """A legend below all panels, in as many columns as their width allows."""
    columns = int(WIDTH / (0.65 + 0.085 * max(map(len, names))))
    columns = min(len(names), max(1, columns))
    figure.legend(handles, names, title=title, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=columns)


def _mean_and_spread(axes: plt.Axes, rows: pd.DataFrame, x: str, **style: Any) -> ErrorbarContainer:
    """Mean over seeds with the standard deviation as error bar."""
    groups = rows.groupby(x)["force_mae"]
    mean, spread = groups.mean(), groups.std(ddof=1).fillna(0.0)
    return axes.errorbar(mean.index, mean, yerr=spread, capsize=2.5, ms=5, lw=1.6, elinewidth=1.1, **style)


def _colors(names: Iterable[str]) -> dict[str, Any]:
    """The colour of each name of a figure, by what it begins with; of several that begin alike, the last is darkest."""
    kinds = {name: max((kind for kind in _COLORS if name.startswith(kind)), key=len, default=name) for name in names}
    taken = [_COLORS.get(kind) for kind in kinds.values()]
    free = cycle(color for color in _OTHER_COLORS if color not in taken)
    colors = {kind: _COLORS[kind] if kind in _COLORS else next(free) for kind in dict.fromkeys(kinds.values())}
    found = {}
    for name, kind in kinds.items():
        alike = [other for other in kinds if kinds[other] == kind]
        white = 0.9 * (1 - (alike.index(name) + 1) / len(alike))
        found[name] = tuple(white + (1 - white) * part for part in to_rgb(colors[kind]))
    return found


def _label_ticks(axes: plt.Axes, ticks: Sequence[float]) -> None:
    """Name these places of a logarithmic axis, rising, but for those whose name would run into the one before."""
    room, kept = np.log(ticks[-1] / ticks[0]) / 6, []
    for tick in ticks:
        if not kept or np.log(tick / kept[-1]) > room:
            kept.append(tick)
    axes.xaxis.set_major_locator(FixedLocator(kept))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(FixedLocator([]))
    _plain_log_axis(axes.yaxis)


def _plain_log_axis(axis: Any) -> None:
    """Ticks such as 0.5, 1 and 2 instead of powers of ten, which a narrow range may not even contain."""
    low, high = axis.get_view_interval()
    # Numbers are wider than high. `numticks` is that of decades, before some are left out.
    narrow, wide, numticks = (6, 50, 3) if axis.axis_name == "x" else (8, 200, 5)
    digits = (1, 1.5, 2, 3, 4, 5, 7) if high < narrow * low else (1, 2, 5) if high < wide * low else (1,)
    axis.set_major_locator(LogLocator(base=10, subs=digits, numticks=numticks))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
