"""Every figure comes back with axes that say what they show, in which unit, and leaves matplotlib as it was."""

import inspect
import statistics
from itertools import pairwise

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from asteroid import plots

GENERATOR = np.random.default_rng(0)


def rows() -> pd.DataFrame:
    """Two molecules, three budgets, three seeds, two series."""
    places = [
        {"molecule": molecule, "budget": budget, "total_budget": budget, "seed": seed, "series": series}
        for molecule in ("methanol", "formic_acid")
        for budget in (50, 90, 130)
        for seed in (0, 1, 2)
        for series in ("standard", "ASTEROID, 400 PBE")
    ]
    table = pd.DataFrame(places)
    table["force_mae"] = 20 * table["budget"] ** -0.6 * np.exp(0.05 * GENERATOR.standard_normal(len(table)))
    table["labels"], table["trained_on"] = table["budget"], table["series"]
    table["core_minutes"] = table["budget"] * (1 + 0.1 * table["seed"])
    table["inaccurate_budget"] = np.where(table["series"] == "standard", 200, 400)
    table["reduction"] = 100 * GENERATOR.uniform(0, 0.4, len(table))
    table["level"] = np.where(table["series"] == "standard", "pbe", "gfn2")
    table["bias"] = GENERATOR.gamma(3.0, 1.0, len(table))
    table["geometries"], table["against"] = table["budget"], table["level"].str.upper()
    table["name"] = np.where(table["seed"] == 0, "EGNN", "GemNet-T")
    table["functions"], table["seconds"], table["error"] = table["budget"], table["budget"] / 10.0, table["force_mae"]
    table["low"], table["high"] = 0.5 * table["error"], 2 * table["error"]
    table["setting"], table["value"], table["ratio"] = table["series"], table["force_mae"], table["budget"]
    return table


HISTORY = {"step": [100, 200, 300], "valid_force_mae": [9.0, 5.0, 4.0]}


def settings() -> pd.DataFrame:
    """Rows with a setting that may be infinite."""
    return pd.concat(rows().assign(setting=setting) for setting in (0.5, 1.0, np.inf))


CLAIMED = pd.DataFrame(
    {
        "where": ["Fig 3", "Table 2"],
        "claim": ["GemNet: lower error", "EGNN: score matching"],
        "mean": [48.0, -3.0],
        "low": [43.0, -9.0],
        "high": [50.0, 2.0],
        "claimed": [39.4, 4.0],
        "labels": ["made here", "made here"],
    }
)
# Arguments, and the unit or count that each labelled axis has to name.
FIGURES = {
    "learning_curves": (({"stage 1": HISTORY, "stage 2": HISTORY},), {"step", "[kcal/mol/Å]"}),
    "error_against_seconds": ((rows().assign(valid_force_mae=1.0), "series"), {"seconds", "[kcal/mol/Å]"}),
    "true_bias": ((rows(),), {"[kcal/mol/Å]"}),
    "comparison": (({"standard": 4.0, "ASTEROID": 3.0}, {"standard": 0.1, "ASTEROID": 0.1}), {"[kcal/mol/Å]"}),
    "trajectory": ((np.arange(9.0), np.full(9, 480.0), np.full(9, 3.0), 500.0), {"[ps]", "[K]", "[Å]"}),
    "power_law": ((rows()[lambda table: table["series"] == "standard"],), {"labels", "[kcal/mol/Å]"}),
    "levels": ((rows(),), {"labels", "[kcal/mol/Å]"}),
    "budgets": ((rows(),), {"[accurate labels]", "[kcal/mol/Å]"}),
    "reductions": ((rows(),), {"[accurate labels]", "[%]"}),
    "measured_cost": ((rows(),), {"[core minutes]", "[kcal/mol/Å]"}),
    "by_training": ((rows(),), {"[kcal/mol/Å]"}),
    "sensitivity": ((settings(), rows(), "γ [median bias]"), {"γ [median bias]", "[kcal/mol/Å]"}),
    "claimed_reductions": ((CLAIMED,), {"reduction of the test force error [%]"}),
    "geometries": ((rows(),), {"geometries", "[kcal/mol/Å]"}),
    "convergence": (([10, 100, 1000], GENERATOR.gamma(3.0, 1.0, (3, 5)), "relative error"), {"geometries", "error"}),
    "ratios": ((rows(), "error [kcal/mol/Å]"), {"[kcal/mol/Å]"}),
    "label_cost": ((rows(), {"pbe": 3.0}), {"basis functions", "seconds"}),
    "cost_ratios": ((rows(), (20, 40)), {"cheap labels for the cost"}),
    "error_against_cost": ((rows(),), {"seconds of a label", "[kcal/mol/Å]"}),
}


def draw(name: str) -> Figure:
    return getattr(plots, name)(*FIGURES[name][0])


def text_of(figure: Figure) -> str:
    labels = [text for axes in figure.axes for text in (axes.get_xlabel(), axes.get_ylabel())]
    labels += [figure.get_supxlabel(), figure.get_supylabel()]  # of all panels
    return " | ".join(labels).replace("\n", " ")


def test_every_figure_is_tested():
    public = {
        name
        for module in (plots.cost, plots.errors, plots.learning)
        for name, item in vars(module).items()
        if inspect.isfunction(item) and item.__module__ == module.__name__ and not name.startswith("_")
    }
    assert public - {"error_by_price", "front", "total_cost"} == set(FIGURES)  # whose tests stand elsewhere


@pytest.mark.parametrize("name", FIGURES)
def test_axes_say_what_they_show_and_in_which_unit(name):
    figure = draw(name)
    missing = {expected for expected in FIGURES[name][1] if expected not in text_of(figure)}
    assert FIGURES[name][1] and not missing, text_of(figure)
    figure.canvas.draw()  # what is wrong with ticks and texts shows only here


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_global_changes(name):
    before = dict(matplotlib.rcParams)
    draw(name)
    assert dict(matplotlib.rcParams) == before and plt.get_fignums() == []


@pytest.mark.parametrize(
    ("name", "entries"),
    [
        *((name, ["standard", "ASTEROID, 400 PBE"]) for name in ("levels", "budgets", "measured_cost")),
        ("error_against_cost", ["PBE", "GFN2"]),
    ],
)
def test_a_panel_for_each_molecule_and_an_entry_for_each_series(name, entries):
    figure = draw(name)
    assert [axes.get_title() for axes in figure.axes] == ["methanol", "formic acid"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == entries


def test_points_are_means_over_seeds_with_their_standard_deviation():
    table = rows()
    axes = plots.budgets(table).axes[0]
    expected = table[(table["molecule"] == "methanol") & (table["series"] == "standard")].groupby("budget")["force_mae"]
    line = axes.containers[0].lines[0]
    assert line.get_xdata().tolist() == [50, 90, 130]
    assert line.get_ydata() == pytest.approx(expected.mean().to_numpy())
    (whiskers,) = axes.containers[0].lines[2]
    reach = [np.ptp(ends[:, 1]) / 2 for ends in whiskers.get_segments()]
    assert reach == pytest.approx(expected.apply(statistics.stdev).to_numpy())


@pytest.mark.parametrize(
    ("budgets", "named"), [((50, 90, 130, 170), (50, 90, 130, 170)), ((170, 200, 800), (170, 800))]
)
def test_names_of_ticks_do_not_run_into_each_other(budgets, named):
    table = pd.concat(rows().assign(total_budget=budget, budget=budget) for budget in budgets)
    for figure in (plots.budgets(table), plots.power_law(table)):
        axes = figure.axes[0]
        assert tuple(axes.get_xticks()) == named
        figure.canvas.draw()
        ends = [text.get_window_extent().intervalx for text in axes.get_xticklabels()]
        assert all(left[1] < right[0] for left, right in pairwise(ends))


@pytest.mark.parametrize("name", ["learning_curves", "reductions"])
def test_a_legend_below_leaves_the_axis_its_name(name):
    figure = draw(name)
    figure.canvas.draw()
    legends = [*figure.legends, *filter(None, [axes.get_legend() for axes in figure.axes])]
    assert legends and all(
        legend.get_window_extent().y1 <= figure.axes[0].xaxis.label.get_window_extent().y0 for legend in legends
    )


def test_a_horizontal_logarithmic_axis_of_half_a_decade_has_more_than_two_ticks():
    table = rows().assign(force_mae=lambda rows: np.geomspace(3.2, 14.5, len(rows)))
    axes = plots.by_training(table).axes[-1]
    axes.figure.canvas.draw()
    low, high = axes.get_xlim()
    texts = [text for text in axes.get_xticklabels() if low <= text.get_position()[0] <= high]
    ends = [text.get_window_extent().intervalx for text in texts]
    assert len(texts) > 2 and all(left[1] < right[0] for left, right in pairwise(ends))


def test_convergence_names_the_numbers_of_samples_and_plain_errors():
    axes = draw("convergence").axes[0]
    axes.figure.canvas.draw()
    assert tuple(axes.get_xticks()) == (10, 100, 1000)
    assert not any("times" in text.get_text() for text in axes.get_yticklabels())


def color_of(axes: plt.Axes, label: str) -> tuple:
    handles, labels = axes.get_legend_handles_labels()
    return to_rgba(handles[labels.index(label)].lines[0].get_color())


def test_a_name_has_one_colour_in_all_figures():
    first = plots.budgets(rows()).axes[0]
    second = plots.levels(rows().assign(trained_on=lambda table: table["level"].str.upper())).axes[0]
    blue, orange, green = (to_rgba(plots.style.COLORS[place]) for place in range(3))
    assert color_of(first, "standard") == to_rgba("black") and color_of(first, "ASTEROID, 400 PBE") == blue
    assert color_of(second, "PBE") == orange and color_of(second, "GFN2") == green
    assert [to_rgba(bar.get_facecolor()) for bar in draw("comparison").axes[0].patches] == [to_rgba("black"), blue]


def test_more_cheap_labels_are_darker_and_the_same_in_two_figures():
    amounts = (200, 400, 800)
    table = pd.concat(rows().assign(series=f"ASTEROID, PBE labels: {n}", inaccurate_budget=n) for n in amounts)
    axes = plots.budgets(table).axes[0]
    colors = [color_of(axes, f"ASTEROID, PBE labels: {n}") for n in amounts]
    assert [sum(color) for color in colors] == sorted((sum(color) for color in colors), reverse=True)
    assert colors[-1] == to_rgba(plots.style.COLORS[0])
    (legend,) = plots.reductions(table).legends
    np.testing.assert_allclose([to_rgba(line.get_color()) for line in legend.get_lines()], colors)


def test_a_figure_has_one_colour_for_each_name():
    names = ["standard", "ASTEROID", "sGDML", "two heads", "Δ-ML on PBE", "Δ-ML on GFN2", "ANI's recipe", "x", "y", "z"]
    assert len(set(plots.style.colors_of(names).values())) == len(names)


def test_points_at_one_budget_stand_beside_each_other_and_keep_their_numbers():
    figure = plots.budgets(rows())
    figure.canvas.draw()
    lines = [container.lines[0] for container in figure.axes[0].containers]
    assert [line.get_xdata()[0] for line in lines] == [50, 50]
    left, right = (line.get_transform().transform(line.get_xydata()[0])[0] for line in lines)
    assert right - left == pytest.approx(5 / 72 * figure.dpi)


def test_panels_are_no_smaller_where_there_are_more():
    table = pd.concat(rows().assign(molecule=f"molecule {number}") for number in range(3))
    figure = plots.budgets(table)
    assert figure.get_size_inches()[0] == plots.style.WIDTH
    assert [axes.get_title() for axes in figure.axes[:3]] == [f"molecule {number}" for number in range(3)]
    assert [bool(axes.get_xlabel()) for axes in figure.axes[:3]] == [False, True, True]


def test_an_infinite_setting_stands_at_the_right_end():
    axes = draw("sensitivity").axes[0]
    axes.figure.canvas.draw()
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0.5", "1", "∞"]
    assert all(np.isfinite(axes.get_xticks()))


def test_a_claim_lies_beside_what_was_found():
    axes = draw("claimed_reductions").axes[0]
    claimed = axes.lines[-2] if axes.lines[-1].get_xdata()[0] == 0 else axes.lines[-1]
    assert list(claimed.get_xdata()) == [39.4, 4.0]
    assert [text.get_text() for text in axes.get_yticklabels()] == [
        "Fig 3, GemNet: lower error",
        "Table 2, EGNN: score matching",
    ]


def test_two_kinds_of_labels_stand_beside_each_other_and_the_claim_once():
    both = pd.concat([CLAIMED, CLAIMED[:1].assign(labels="the paper's", mean=20.0, low=-300.0, high=340.0)])
    axes = plots.claimed_reductions(both).axes[0]
    (first, second) = axes.containers
    assert first.lines[0].get_xdata().tolist() == [48, -3] and second.lines[0].get_xdata().tolist() == [20]
    apart = second.lines[0].get_ydata()[0] - first.lines[0].get_ydata()[0]
    assert 0 < apart < 0.5  # of one claim, between those of the next
    low, high = axes.get_xlim()
    assert low == -100 and high == 150  # what lies far out would hide the rest


def test_the_power_law_states_its_exponent():
    table = rows()[lambda table: table["series"] == "standard"]
    table["force_mae"] = 20 * table["budget"] ** -0.5
    texts = [text.get_text() for text in plots.power_law(table).axes[0].get_legend().get_texts()]
    assert len(texts) == 2 and all("-0.50" in text for text in texts)


@pytest.mark.parametrize(("value", "left"), [(-3.0, -3.0), (2.0, 0.0)])
def test_ratios_show_zero_and_what_lies_below(value, left):
    table = pd.DataFrame({"setting": ["one", "one", "other"], "value": [70.0, 60.0, value]})
    low, high = plots.ratios(table, "lower by [%]").axes[0].get_xlim()
    assert low <= left <= 0 and high >= 70 and (low == 0) == (value > 0)
