"""Figures of simulations, in the style of `plots`."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from asteroid.plots.style import WHISKERS, WIDTH, colors_of, grid, legend_below, name_axes, plain_log_axis, styled


@styled
def largest_distances(
    curves: Mapping[str, Sequence[Mapping[str, Sequence[float]]]],
    failed: Mapping[str, Sequence[bool]],
    limit: float,
) -> Figure:
    """Fig. 6a: largest distance between two atoms in the course of simulations, a line per replica.

    Args:
        curves: label to replicas, each with `time` (fs) and `largest_distance` (Å).
        failed: label to whether each replica came apart, which is marked by a cross.
        limit: above it a molecule has come apart, Å; the mean, where starts differ.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 3.8))
    colors = colors_of(curves)
    lowest = min(min(run["largest_distance"]) for runs in curves.values() for run in runs)
    for label, runs in curves.items():
        for run, lost in zip(runs, failed[label], strict=True):
            time = np.array(run["time"]) / 1000
            distance = np.array(run["largest_distance"])
            axes.plot(time, distance, color=colors[label], lw=0.9, alpha=0.7)
            if lost:
                axes.plot(
                    time[-1], min(distance[-1], 4 * limit), "x", color=colors[label], ms=6, mew=1.8, clip_on=False
                )
    axes.axhline(limit, color="0.4", ls="--", lw=1)
    axes.set(yscale="log", xlabel="time [ps]", ylabel="largest pair distance [Å]", ylim=(0.9 * lowest, 4 * limit))
    axes.set_xlim(left=-0.01 * axes.get_xlim()[1])
    plain_log_axis(axes.yaxis)
    legend_below(figure, {name: plt.Line2D([], [], color=color, lw=2.5) for name, color in colors.items()})
    return figure


@styled
def step_sizes(table: pd.DataFrame) -> Figure:
    """Fig. 6b: fraction of simulations that stay together against the time step, a panel per measure.

    Args:
        table: rows with columns `series`, `measure`, `timestep` (fs), `fraction`, `low`, `high` (95 % interval).
    """
    measures = list(dict.fromkeys(table["measure"]))
    figure, panels = grid(len(measures), 3.4, sharey=True)
    colors = colors_of(table["series"])
    for axes, measure in zip(panels, measures):
        rows = table[table["measure"] == measure]
        for place, (name, part) in enumerate(rows.groupby("series", sort=False)):
            error = (part["fraction"] - part["low"]).clip(lower=0), (part["high"] - part["fraction"]).clip(lower=0)
            style = {"label": name, "color": colors[name], "marker": "os^D"[place]} | WHISKERS
            beside = part["timestep"] + 0.03 * place  # so that intervals do not hide each other
            axes.errorbar(beside, part["fraction"], yerr=error, **style)
        axes.set(title=measure, ylim=(-0.03, 1.03))
    name_axes(panels, "time step [fs]", "fraction that stays together")
    legend_below(figure)
    return figure


@styled
def survival(curves: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]) -> Figure:
    """Fraction of simulations that are still whole, with its 95 % interval.

    Args:
        curves: label to what `stability.survival` returns, times in fs.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 3.2))
    for color, (label, (time, fraction, low, high)) in zip(colors_of(curves).values(), curves.items()):
        axes.step(time / 1000, fraction, where="post", color=color, label=label, lw=1.8)
        axes.fill_between(time / 1000, low, high, step="post", color=color, alpha=0.15, lw=0)
    axes.set(xlabel="time [ps]", ylabel="fraction whole", ylim=(-0.03, 1.03))
    legend_below(figure)
    return figure


@styled
def densities(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]], reference: str, xlabel: str, ylabel: str, start: float = 0.0
) -> Figure:
    """Densities of distances or of vibrations, a panel for each, over the reference in grey.

    Args:
        curves: label to places and densities (points,), one or more.
        reference: label of the one that is grey, if it is there.
        start: where the horizontal axis begins.
    """
    others = {label: curve for label, curve in curves.items() if label != reference}
    colors, number = colors_of(others), max(1, len(others))
    size = (WIDTH, 0.6 + 1.5 * number)
    figure, panels = plt.subplots(number, 1, figsize=size, squeeze=False, sharex=True, sharey=True)
    for axes, label in zip(panels.flat, others or [reference]):
        if reference in curves:
            axes.fill_between(*curves[reference], color="0.8", lw=0, label=reference)
        if label in others:
            axes.plot(*others[label], color=colors[label], lw=1.5, label=label)
        axes.set_title(label, fontsize="medium", loc="right", y=0.9)
    seen = max(x[density > 1e-2 * density.max()].max() for x, density in curves.values())
    axes.set(xlabel=xlabel, ylim=(0, None), xlim=(start, seen))
    panels[number // 2, 0].set_ylabel(ylabel)
    return figure
