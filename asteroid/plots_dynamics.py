"""Figures of simulations, in the style of `plots`."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from asteroid.plots import COLORS, _plain_log_axis, _styled


@_styled
def largest_distances(courses: Mapping[str, Sequence[Mapping[str, Sequence[float]]]], limit: float) -> Figure:
    """Fig. 6a: largest distance between two atoms in the course of simulations, a line per replica.

    Args:
        courses: label to replicas, each with `time` (fs) and `largest_distance` (Å).
        limit: above it a molecule has come apart, Å.
    """
    figure, axes = plt.subplots(figsize=(6.2, 3.8))
    lowest = min(min(run["largest_distance"]) for runs in courses.values() for run in runs)
    for color, (label, runs) in zip(COLORS, courses.items()):
        for place, run in enumerate(runs):
            time = np.array(run["time"]) / 1000
            distance = np.array(run["largest_distance"])
            axes.plot(time, distance, color=color, lw=0.9, alpha=0.7, label=label if place == 0 else None)
            if distance[-1] > limit:
                axes.plot(time[-1], min(distance[-1], 4 * limit), "x", color=color, ms=6, mew=1.8, clip_on=False)
    axes.axhline(limit, color="0.4", ls="--", lw=1)
    axes.set(yscale="log", xlabel="time [ps]", ylabel="largest pair distance [Å]", ylim=(0.9 * lowest, 4 * limit))
    axes.set_xlim(left=-0.01 * axes.get_xlim()[1])
    _plain_log_axis(axes.yaxis)
    legend = axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
    for line in legend.get_lines():
        line.set(lw=2.5, alpha=1)
    return figure


@_styled
def step_sizes(table: pd.DataFrame) -> Figure:
    """Fig. 6b: fraction of simulations that stay together against the time step, a panel per measure.

    Args:
        table: rows with columns `series`, `measure`, `timestep` (fs), `fraction`, `low`, `high` (95 % interval).
    """
    measures = list(dict.fromkeys(table["measure"]))
    figure, panels = plt.subplots(1, len(measures), figsize=(3.9 * len(measures), 3.6), squeeze=False, sharey=True)
    for axes, measure in zip(panels[0], measures):
        rows = table[table["measure"] == measure]
        for place, (name, part) in enumerate(rows.groupby("series", sort=False)):
            error = (part["fraction"] - part["low"]).clip(lower=0), (part["high"] - part["fraction"]).clip(lower=0)
            axes.errorbar(
                part["timestep"] + 0.03 * place,  # intervals beside each other
                part["fraction"],
                yerr=error,
                label=name,
                color=["black", *COLORS][place],
                marker="os^D"[place],
                capsize=2.5,
                ms=5,
                lw=1.6,
                elinewidth=1.1,
            )
        axes.set(xlabel="time step [fs]", title=measure, ylim=(-0.03, 1.03))
    panels[0][0].set_ylabel("fraction that stays together")
    handles, names = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="upper center", bbox_to_anchor=(0.5, 0.02), ncols=len(names))
    return figure


@_styled
def survival(curves: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]) -> Figure:
    """Fraction of simulations that are still whole, with its 95 % interval.

    Args:
        curves: label to what `stability.survival` returns, times in fs.
    """
    figure, axes = plt.subplots(figsize=(6.2, 3.2))
    for color, (label, (time, fraction, low, high)) in zip(["black", *COLORS], curves.items()):
        axes.step(time / 1000, fraction, where="post", color=color, label=label, lw=1.8)
        axes.fill_between(time / 1000, low, high, step="post", color=color, alpha=0.15, lw=0)
    axes.set(xlabel="time [ps]", ylabel="fraction whole", ylim=(-0.03, 1.03))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=2)
    return figure


@_styled
def densities(curves: Mapping[str, tuple[np.ndarray, np.ndarray]], xlabel: str, ylabel: str) -> Figure:
    """Densities of distances or of vibrations against each other, the first one filled as the reference.

    Args:
        curves: label to places and densities (points,).
    """
    figure, axes = plt.subplots(figsize=(6.8, 3.4))
    for place, (label, (x, density)) in enumerate(curves.items()):
        if place == 0:
            axes.fill_between(x, density, color="0.8", lw=0, label=label)
        else:
            axes.plot(x, density, color=COLORS[place - 1], lw=1.2, label=label)
    seen = np.concatenate([x[density > 1e-2 * density.max()] for x, density in curves.values()])
    axes.set(xlabel=xlabel, ylabel=ylabel, ylim=(0, None), xlim=(seen.min(), seen.max()))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
    return figure
