"""Figures of trainings and of single force fields."""

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from asteroid.files import in_words
from asteroid.plots.style import (
    FORCE_ERROR,
    NEUTRAL,
    WIDTH,
    colors_of,
    label_ticks,
    legend_below,
    molecule_panels,
    name_axes,
    plain_log_axis,
    styled,
)


@styled
def learning_curves(histories: Mapping[str, Mapping[str, Sequence[float]]], column: str = "valid_force_mae") -> Figure:
    """Validation force error, or training loss, in the course of training, a line per stage.

    Args:
        histories: label to columns of `training.History`.
        column: "valid_force_mae", or "train_loss" where nothing was validated.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 3.6))
    colors = colors_of(histories)
    for label, history in histories.items():
        axes.plot(history["step"], history[column], label=label, lw=1.8, color=colors[label])
    names = {"valid_force_mae": "validation force MAE [kcal/mol/Å]", "train_loss": "training loss"}
    axes.set(yscale="log", xlabel="training step", ylabel=names[column])
    plain_log_axis(axes.yaxis)
    legend_below(figure)
    return figure


@styled
def error_against_seconds(table: pd.DataFrame, hue: str) -> Figure:
    """Validation force error in the course of trainings, a panel per molecule, both axes logarithmic.

    Args:
        table: rows of one evaluation with columns `molecule`, `seconds`, `valid_force_mae` and that of `hue`, which
            tells trainings apart.
    """
    figure, panels = molecule_panels(table, 3.0)
    colors = colors_of(table[hue])
    for axes, rows in panels.items():
        for name, part in rows.groupby(hue, sort=False):
            axes.plot(part["seconds"], part["valid_force_mae"], label=name, lw=1.6, color=colors[name])
        axes.set(xscale="log", yscale="log")
        plain_log_axis(axes.xaxis)
        plain_log_axis(axes.yaxis)
    name_axes(panels, "seconds of training", "validation force MAE [kcal/mol/Å]")
    legend_below(figure)
    return figure


@styled
def true_bias(table: pd.DataFrame) -> Figure:
    """Distribution over frames of the bias of a cheap level, where the accurate label is known.

    Args:
        table: rows with columns `molecule`, `level`, `bias` (kcal/mol/Å).
    """
    rows = list(table.groupby(["molecule", "level"], sort=False))
    figure, axes = plt.subplots(figsize=(WIDTH, 1.2 + 0.6 * len(rows)))
    names = [f"{in_words(molecule)}, {level}" for (molecule, level), _ in rows]
    sns.violinplot(
        pd.concat(part.assign(name=name) for name, (_, part) in zip(names, rows)),
        x="bias",
        y="name",
        hue="level",
        palette=colors_of(table["level"]),
        legend=False,
        inner="quart",
        linewidth=1,
        cut=0,
        ax=axes,
    )
    axes.set(xlabel="bias of a frame [kcal/mol/Å]", ylabel="", xlim=(0, None))
    return figure


@styled
def comparison(errors: Mapping[str, float], std_errors: Mapping[str, float]) -> Figure:
    """Test force error of a few force fields as bars, with the standard error over test frames."""
    figure, axes = plt.subplots(figsize=(WIDTH, 0.6 + 0.55 * len(errors)))
    colors = list(colors_of(errors).values())
    bars = {"xerr": list(std_errors.values()), "ecolor": "0.5", "capsize": 2.5}  # seen on black, too
    axes.barh(list(errors), list(errors.values()), color=colors, height=0.6, **bars)
    for place, value in enumerate(errors.values()):
        axes.text(value * 0.5, place, f"{value:.2f}", va="center", ha="center", color="white", weight="bold")
    axes.set_yticks(range(len(errors)), [textwrap.fill(name, 24) for name in errors])
    axes.invert_yaxis()
    axes.set_xlabel(FORCE_ERROR)
    return figure


@styled
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


@styled
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
    label_ticks(axes, samples)
    axes.legend()
    return figure
