"""A figure whose points say their values under the mouse, without a server; for taps, book/_static has a script."""

import html
import io
import re

from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

# A browser shows the title of an SVG's element by itself; the disc says that there is one.
STYLE = "<style>.value:hover * {fill-opacity: 0.35 !important}</style>"
MARK = {"marker": "o", "ms": 13, "color": "0.3", "alpha": 0, "zorder": 10}  # above the point, which would hide it


def with_values(figure: Figure, alt: str):
    """The figure as SVG, where each point that has an error bar says its series, place, mean and spread.

    Args:
        figure: a figure of `plots`.
        alt: what it shows, for those who cannot see it.

    Returns:
        IPython HTML, to stand last in a cell.
    """
    from IPython.display import HTML

    texts, marks = [], []
    for axes in figure.axes:
        ylabel = axes.get_ylabel() or figure.axes[0].get_ylabel()  # panels beside each other share it
        for series in axes.containers:
            if isinstance(series, ErrorbarContainer):
                line, _, (bars, *_) = series.lines
                name = "" if series.get_label().startswith("_") else f"{series.get_label()}\n"
                for (x, y), ends in zip(line.get_xydata(), bars.get_segments()):
                    spread = (ends[1, 1] - ends[0, 1]) / 2
                    texts.append(f"{name}{axes.get_xlabel()}: {x:,g}\n{ylabel}: {y:.3g} ± {spread:.2g}")
                    mark = Line2D([x], [y], **MARK, gid=f"value-{len(marks)}", transform=line.get_transform())
                    marks.append(axes.add_artist(mark))
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", bbox_inches="tight", metadata={"Date": None})
    for mark in marks:
        mark.remove()
    svg = drawn.getvalue()[drawn.getvalue().index("<svg") :]
    about = f'role="img" aria-label="{html.escape(alt)}" style="max-width: 100%; height: auto"'
    svg = re.sub(
        r'<g id="value-(\d+)">',
        lambda found: f'<g class="value"><title>{html.escape(texts[int(found[1])])}</title>',
        svg.replace("<svg", f"<svg {about}", 1),
    )
    return HTML(STYLE + svg)
