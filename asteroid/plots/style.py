"""What all figures look like: colours, markers, panels, axes."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import wraps
from itertools import cycle
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.colors import to_rgb
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from matplotlib.transforms import ScaledTranslation

from asteroid.files import in_words
from asteroid.runs.methods import METHODS

FORCE_ERROR = "test force MAE [kcal/mol/Å]"
COLORS = sns.color_palette("colorblind")
WIDTH = 6.2  # of a figure, inches: that of a page, so that letters are not made smaller
NEUTRAL = "0.25"  # where there is nothing to tell apart
# What a name that begins so looks like, in all figures: ways to train, levels of theory, and models.
COLOR_OF = {
    **{
        one.label: COLORS[one.color] if isinstance(one.color, int) else one.color
        for one in METHODS.values()
        if one.color is not None
    },
    "standard": "black",
    "ANI": COLORS[5],
    **dict.fromkeys(("cheap only", "stage 2", "ASTEROID, stage 2"), COLORS[1]),
    **dict.fromkeys(("one plan", "at random"), COLORS[0]),  # ASTEROID, if nothing chooses the frames
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
OTHER_COLORS = [COLORS[place] for place in (3, 4, 2, 5, 9, 7, 1, 6, 8)]
MARKERS = "osD^vPX*<>"
WHISKERS = {"capsize": 2.5, "ms": 5, "lw": 1.6, "elinewidth": 1.1}
STYLE_SETTINGS = {
    "figure.dpi": 110,
    "savefig.bbox": "tight",
    "font.size": 11,
    "axes.titlesize": 11.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "svg.fonttype": "none",
}


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    @wraps(draw)
    def wrapper(*args: Any, **kwargs: Any) -> Figure:
        with sns.axes_style("ticks"), plt.rc_context(STYLE_SETTINGS):
            figure = draw(*args, **kwargs)
            figure.tight_layout()
            plt.close(figure)  # the notebook shows what it is given, once
            return figure

    return wrapper


def error_panels(
    table: pd.DataFrame, x: str, hue: str, xlabel: str, title: str | None = None, beside: bool = True
) -> Figure:
    """Error against `x`, a panel per molecule and a line per `hue`; points at one place stand beside each other."""
    figure, panels = molecule_panels(table, 3.3)
    colors = colors_of(table[hue])
    markers = dict(zip(colors, MARKERS))
    points = table.groupby(hue)[x].nunique()
    long, short = ([name for name in colors if (points[name] == points.max()) == wanted] for wanted in (True, False))
    in_order = [*short[: len(short) // 2], *long, *short[len(short) // 2 :]]  # lines in the middle
    places = {name: place - (len(in_order) - 1) / 2 for place, name in enumerate(in_order)}
    for axes, rows in panels.items():
        for name, part in rows.groupby(hue, sort=False):
            style = {"color": colors[name], "marker": markers[name], "label": name}
            drawn = mean_and_spread(axes, part, x, ls="-" if part[x].nunique() > 1 else "none", **style)
            if beside:  # the numbers stay as they are, only the picture of them moves
                aside = ScaledTranslation(places[name] * 5 / 72, 0, figure.dpi_scale_trans)
                for artist in drawn.get_children():
                    artist.set_transform(axes.transData + aside)
        axes.set(xscale="log", yscale="log")
        axes.margins(x=0.05 + 0.02 * len(colors))  # for what stands aside
        ticks = sorted(rows[x].unique())
        label_ticks(axes, ticks if len(ticks) <= 6 else ticks[:: len(ticks) // 5])
    name_axes(panels, xlabel)
    legend_below(figure, title=title)
    return figure


def grid(number: int, height: float, **shared: bool) -> tuple[Figure, list[plt.Axes]]:
    """Panels of this height in inches, two beside each other, since more would be too small to read."""
    columns, lines = min(2, number), -(-number // 2)
    size = (WIDTH if number > 1 else 5.0, height * lines)
    figure, panels = plt.subplots(lines, columns, figsize=size, squeeze=False, **shared)
    for axes in panels.flat[number:]:
        axes.axis("off")
    for axes in panels.flat[max(0, number - 2) : number]:  # with nothing below, though the last line may be shorter
        axes.tick_params(labelbottom=True)
    return figure, list(panels.flat[:number])


def molecule_panels(table: pd.DataFrame, height: float, **shared: bool) -> tuple[Figure, dict[plt.Axes, pd.DataFrame]]:
    """A panel of `grid` for each molecule, which is its title, and the molecule's rows."""
    molecules = list(dict.fromkeys(table["molecule"]))
    figure, panels = grid(len(molecules), height, **shared)
    for axes, molecule in zip(panels, molecules):
        axes.set_title(in_words(molecule))
    return figure, {axes: table[table["molecule"] == molecule] for axes, molecule in zip(panels, molecules)}


def name_axes(panels: Collection[plt.Axes], xlabel: str, ylabel: str = FORCE_ERROR) -> None:
    """Name the axes of the panels of `grid`: of each below, and of the first in each line."""
    for place, axes in enumerate(panels):
        axes.set_xlabel(xlabel if place + 2 >= len(panels) else "")
        axes.set_ylabel(ylabel if place % 2 == 0 else "")


def legend_below(figure: Figure, handles: Mapping[str, Artist] | None = None, title: str | None = None) -> None:
    """A legend below all panels, in as many columns as their width allows; of the first panel, if not given by name."""
    if handles is None:
        drawn, names = figure.axes[0].get_legend_handles_labels()
    else:
        drawn, names = handles.values(), handles.keys()
    columns = min(len(names), max(1, int(WIDTH / (0.65 + 0.085 * max(map(len, names))))))
    figure.legend(drawn, names, title=title, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=columns)


def mean_and_spread(axes: plt.Axes, rows: pd.DataFrame, x: str, **style: Any) -> ErrorbarContainer:
    """Mean over seeds with the standard deviation as error bar."""
    groups = rows.groupby(x)["force_mae"]
    mean, spread = groups.mean(), groups.std(ddof=1).fillna(0.0)
    return axes.errorbar(mean.index, mean, yerr=spread, **WHISKERS, **style)


def colors_of(names: Iterable[str]) -> dict[str, Any]:
    """The colour of each name of a figure, by what it begins with; of several that begin alike, the last is darkest."""
    kinds = {name: max((kind for kind in COLOR_OF if name.startswith(kind)), key=len, default=name) for name in names}
    taken = [COLOR_OF.get(kind) for kind in kinds.values()]
    free = cycle(color for color in OTHER_COLORS if color not in taken)
    colors = {kind: COLOR_OF[kind] if kind in COLOR_OF else next(free) for kind in dict.fromkeys(kinds.values())}
    found = {}
    for name, kind in kinds.items():
        alike = [other for other in kinds if kinds[other] == kind]
        white = 0.9 * (1 - (alike.index(name) + 1) / len(alike))
        found[name] = tuple(white + (1 - white) * part for part in to_rgb(colors[kind]))
    return found


def label_ticks(axes: plt.Axes, ticks: Sequence[float]) -> None:
    """Name these places of a logarithmic axis, rising, but for those whose name would run into the one before."""
    room, kept = np.log(ticks[-1] / ticks[0]) / 6, []
    for tick in ticks:
        if not kept or np.log(tick / kept[-1]) > room:
            kept.append(tick)
    axes.set_xticks(kept)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xticks([], minor=True)
    plain_log_axis(axes.yaxis)


def plain_log_axis(axis: Any) -> None:
    """Ticks such as 0.5, 1 and 2 instead of powers of ten, which a narrow range may not even contain."""
    low, high = axis.get_view_interval()
    # Numbers are wider than high. `numticks` is that of decades, before some are left out.
    narrow, wide, numticks = (6, 50, 3) if axis.axis_name == "x" else (8, 200, 5)
    digits = (1, 1.5, 2, 3, 4, 5, 7) if high < narrow * low else (1, 2, 5) if high < wide * low else (1,)
    axis.set_major_locator(LogLocator(base=10, subs=digits, numticks=numticks))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter("")
