"""Figures of the method itself and of its toy example, in the style of `plots`."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from asteroid.plots.style import COLORS, MARKERS, WIDTH, colors_of, label_ticks, legend_below, mean_and_spread, styled


@styled
def bias_histogram(bias: np.ndarray, weights: np.ndarray, level: str) -> Figure:
    """Estimated bias of each inaccurate frame, and the weight that it is given (section 3.1 and 3.2).

    Args:
        bias: (frames,), kcal/mol/Å.
        weights: (frames,), mean 1.
        level: name of the inaccurate level.
    """
    figure, other = _over_histogram(bias, f"estimated bias of a {level.upper()} frame [kcal/mol/Å]")
    order = np.argsort(bias)
    other.plot(bias[order], weights[order], color=COLORS[3], lw=2)
    other.set_ylabel("weight in the loss (mean 1)", color=COLORS[3])
    other.set_ylim(bottom=0)
    return figure


@styled
def weights_by_gamma(bias: np.ndarray, weights: Mapping[float, np.ndarray], level: str) -> Figure:
    """The weight of a frame by its bias, a line for each γ, over the distribution of the bias (Eq. 2).

    Args:
        bias: (frames,), kcal/mol/Å.
        weights: by γ (in units of the median bias), (frames,), mean 1.
        level: name of the inaccurate level.
    """
    figure, other = _over_histogram(bias, f"bias of a {level.upper()} frame [kcal/mol/Å]")
    order = np.argsort(bias)
    colors = colors_of(map(str, weights)).values()
    for color, style, (gamma, weight) in zip(colors, ("-", "--", "-.", ":"), weights.items()):
        other.plot(bias[order], weight[order], color=color, ls=style, lw=2, label=f"γ = {gamma:g} × median")
    other.axhline(1, color="0.4", lw=0.8)
    other.set(ylabel="weight in the loss (mean 1)", ylim=(0, None))
    other.legend()
    return figure


@styled
def toy_errors(table: pd.DataFrame, x: str, xlabel: str) -> Figure:
    """Test error of the toy example, a line for each method, double logarithmic.

    Args:
        table: rows with columns `x`, `method` and `error`, one for each repetition.
        x: column of the horizontal axis, positive.
        xlabel: its name, with unit.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 4.4))
    colors = colors_of(table["method"])
    for marker, (method, rows) in zip(MARKERS, table.groupby("method", sort=False)):
        style = {"color": colors[method], "marker": marker, "label": method}
        mean_and_spread(axes, rows.rename(columns={"error": "force_mae"}), x, **style)
    axes.set(xscale="log", yscale="log", xlabel=xlabel, ylabel="test MAE [standard deviation of a target]")
    label_ticks(axes, sorted(table[x].unique()))
    legend_below(figure)
    return figure


def _over_histogram(bias: np.ndarray, xlabel: str) -> tuple[Figure, plt.Axes]:
    """A figure with a histogram of the bias of frames, and axes over it for their weights."""
    figure, axes = plt.subplots(figsize=(WIDTH, 3.6))
    sns.histplot(x=bias, ax=axes, bins=40, color="0.6", alpha=0.5, edgecolor="none")
    axes.set(xlabel=xlabel, ylabel="frames")
    other = axes.twinx()
    other.spines["right"].set_visible(True)
    return figure, other
