"""What a notebook saves beside its page and says about itself; it calls them as ``book.keep`` and so on."""

import platform
import time
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from asteroid import machine
from asteroid.files import in_words

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

PAGES = "ASTEROID_PAGES"  # variable of the environment: the folder of the pages that are being made
_kept: list[str] = []  # files that the notebook of this kernel has saved beside its page


def keep(name: str, shown: "Figure | pd.DataFrame"):
    """Save what a page shows beside it, a figure as SVG or a table as CSV; :func:`stamp` links to it.

    Files are written only while pages of the book are made, so that a notebook of one's own replaces none of them.

    Args:
        name: Name of the file without suffix, such as ``"fig3"``.
        shown: The figure or the table.

    Returns:
        ``shown``, so that the last line of a cell can be a call of this; a table with spaces for the underscores that
        names such as ``formic_acid`` have in the file.

    Raises:
        TypeError: If it is neither a figure nor a table.
    """
    from matplotlib.figure import Figure
    from pandas import DataFrame

    if not isinstance(shown, Figure | DataFrame):
        raise TypeError(f"{name}: expected a matplotlib figure or a pandas table, got {type(shown).__name__}")
    kind, suffix = ("figures", "svg") if isinstance(shown, Figure) else ("tables", "csv")
    if folder := machine.flag(PAGES):
        path = Path(folder, kind, f"{name}.{suffix}")
        path.parent.mkdir(parents=True, exist_ok=True)
        if suffix == "svg":
            shown.savefig(path, metadata={"Date": None}, bbox_inches="tight")
        else:
            shown.to_csv(path)
        _kept.append(path.relative_to(folder).as_posix())
    return shown if suffix == "svg" else _in_words(shown)


def banner(profile: str):
    """A box that warns of the smoke profile's numbers, as IPython HTML; None for every other profile.

    Args:
        profile: Name of the profile.
    """
    if profile != "smoke":
        return None
    from IPython.display import HTML

    # Both colours are set, so that it can be read on a light and on a dark page.
    return HTML(
        '<div style="border-left: 5px solid #b45309; background: #fef3c7; color: #451a03; padding: 0.6em 1em">'
        "<strong>Smoke run.</strong> Every number and curve on this page comes from minutes of training on a "
        "handful of frames. They show that the code runs, and mean nothing scientifically. "
        "The laptop profile shows the real ones.</div>"
    )


def stamp(profile: str, records: Iterable = (), started: float | None = None, wanted: Iterable = ()):
    """The last line of a page: what made it, when, and how to make it again, as IPython Markdown.

    Args:
        profile: Name of the profile.
        records: The runs the page shows, each with ``key``, ``spec.seed`` or ``spec.seeds``, ``seconds`` (float) and
            ``date`` (ISO 8601).
        started: ``time.time()`` of the notebook's set-up cell, for the seconds that the page itself took.
        wanted: The specifications of all runs that the page is about; those without a record are counted.
    """
    from IPython.display import Markdown

    records = list({record.key: record for record in records}.values())  # a page may show one twice
    parts = [f"Profile **{profile}**"]
    if records:
        several = {len(record.spec.seeds) for record in records if hasattr(record.spec, "seeds")}
        single = {record.spec.seed for record in records if not hasattr(record.spec, "seeds")}
        seeds = sorted(several | ({len(single)} if single else set()))
        dates = sorted({record.date[:10] for record in records})
        when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
        seconds = sum(record.seconds for record in records)
        over = _count(seeds[0], "seed") if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} seeds"
        counts = f"{_count(len(records), 'run')} over {over}"
        parts.append(f"{counts}, of {when}, {seconds:,.0f} s in all")
    missing = {spec.key for spec in wanted} - {record.key for record in records}
    if missing:
        parts.append(f"{_count(len(missing), 'run')} not recorded yet: `make results PROFILE={profile}`")
    if started is not None:
        parts.append(f"this page {time.time() - started:.0f} s")
    parts.append(f"Python {platform.python_version()}, PyTorch {version('torch')}, asteroid {version('asteroid')}")
    parts.append(f"again with `make book PROFILE={profile}`")
    if _kept:
        parts.append("files: " + ", ".join(f"[{Path(file).name}]({file})" for file in _kept))
    return Markdown("*Made with:* " + " · ".join(parts))


def _in_words(table: "pd.DataFrame") -> "pd.DataFrame":
    def spaced(name):
        return in_words(name) if isinstance(name, str) else name

    return table.rename(index=spaced, columns=spaced).rename_axis(index=spaced, columns=spaced)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
