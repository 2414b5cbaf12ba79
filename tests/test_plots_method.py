"""Figures of the method and the toy example: axes that say what they show, and a line for each γ or method."""

import inspect

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from asteroid import plots
from asteroid.training import losses

BIAS = np.random.default_rng(0).gamma(3.0, 1.0, 200)
WEIGHTS = {gamma: losses.bias_weights(torch.tensor(BIAS), gamma).numpy() for gamma in (0.5, 1.0, 2.0)}
METHODS = ("standard", "ASTEROID")
ERRORS = pd.DataFrame(
    [(n, method, n**-0.5 * (1 + 0.1 * seed)) for n in (25, 50) for method in METHODS for seed in range(3)],
    columns=["labels", "method", "error"],
)
FIGURES = {
    "bias_histogram": ((BIAS, WEIGHTS[1.0], "pbe"), {"bias of a PBE frame [kcal/mol/Å]", "frames", "weight"}),
    "weights_by_gamma": ((BIAS, WEIGHTS, "pbe"), {"bias of a PBE frame [kcal/mol/Å]", "frames", "weight"}),
    "toy_errors": ((ERRORS, "labels", "accurate points"), {"accurate points", "[standard deviation of a target]"}),
}


def test_every_figure_is_tested():
    public = {
        name
        for name, item in vars(plots.method).items()
        if inspect.isfunction(item) and item.__module__ == plots.method.__name__ and not name.startswith("_")
    }
    assert public == set(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_axes_say_what_they_show(name):
    before = dict(matplotlib.rcParams)
    figure = getattr(plots, name)(*FIGURES[name][0])
    text = " | ".join(label for axes in figure.axes for label in (axes.get_xlabel(), axes.get_ylabel()))
    assert all(expected in text for expected in FIGURES[name][1]), text
    figure.canvas.draw()  # what is wrong with ticks and texts shows only here
    assert dict(matplotlib.rcParams) == before and plt.get_fignums() == []


def test_a_line_for_each_gamma_that_falls_with_the_bias():
    other = plots.weights_by_gamma(BIAS, WEIGHTS, "pbe").axes[1]
    assert [text.get_text() for text in other.get_legend().get_texts()] == [f"γ = {g:g} × median" for g in WEIGHTS]
    for line in other.get_lines()[: len(WEIGHTS)]:
        assert (np.diff(line.get_ydata()) <= 0).all() and line.get_xdata()[0] == BIAS.min()


def test_points_are_means_over_repetitions():
    axes = plots.toy_errors(ERRORS, "labels", "accurate points").axes[0]
    assert [container.get_label() for container in axes.containers] == list(METHODS)
    assert axes.containers[0].lines[0].get_ydata() == pytest.approx([1.1 * 25**-0.5, 1.1 * 50**-0.5])
