"""Pages of a profile whose runs take days show what is recorded: they must read well where little or nothing is."""

import ast
import re
import shutil
from dataclasses import replace

import matplotlib.pyplot as plt
import nbformat
import pytest
from IPython.core.formatters import DisplayFormatter
from matplotlib.text import Text

from asteroid import book, profiles
from asteroid.md import dynamics

ROOT, LOAD = book.root(), profiles.load
LACKING = re.compile(r"\b(?:nan|inf)\b", re.IGNORECASE)
HEADING = re.compile(r"^#{1,6} ", re.MULTILINE)


def shown_in_part(name):
    """The profile and parameters of a page that trains nothing; None of one that makes what it misses."""
    page = book.pages_of(ROOT)[name]
    parameters = {"profile": page.profile or book.DEFAULT_PROFILE, **page.parameters}
    names = {parameters["profile"], parameters.get("beside")} - {None}
    return None if all(profiles.load(profile).pages_train for profile in names) else parameters


PAGES = {name: parameters for name in book.pages_of(ROOT) if (parameters := shown_in_part(name))}
# No pages of the book, but papermill makes them of any profile.
PAGES |= {name: {"profile": "md17"} for name in ("labels_made_here", "md_stability")}


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A function that fills a repository's results with every so many-th committed record; None of them by default."""
    monkeypatch.setattr(book, "root", lambda: tmp_path)
    monkeypatch.setenv("ASTEROID_MD17", str(tmp_path / "no data"))
    # The laptop's runs, which stand beside the others on some pages, would be made.
    monkeypatch.setattr(profiles, "load", lambda name: replace(LOAD(name), pages_train=False))

    def fill(every=None):
        for profile in ("laptop", "md17"):
            folder = tmp_path / "results" / profile
            folder.mkdir(parents=True)
            for record in sorted((ROOT / "results" / profile).glob("*.json"))[::every] if every else []:
                shutil.copy(record, folder)

    return fill


@pytest.fixture
def show(monkeypatch):
    """A function that runs a notebook with parameters in this process; returns what its page shows, in order."""
    formats, langevin = DisplayFormatter(), dynamics.langevin
    monkeypatch.setattr(dynamics, "langevin", lambda *given, **more: langevin(*given, **{**more, "steps": 4}))

    def show(name, parameters):
        shown = []

        def display(*values):
            shown.extend(value if isinstance(value, plt.Figure) else formats.format(value)[0] for value in values)

        monkeypatch.setattr("IPython.display.display", display)
        namespace = {}
        for cell in nbformat.read(book.pages_of(ROOT)[name].notebook, as_version=4).cells:
            if cell.cell_type == "markdown":
                shown.append(cell.source)
                continue
            body = ast.parse(cell.source).body
            last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
            exec(compile(ast.Module(body, []), f"{name}, cell {cell.id}", "exec"), namespace)
            if "parameters" in cell.metadata.get("tags", []):
                namespace |= parameters
            if last and (value := eval(compile(ast.Expression(last.value), name, "eval"), namespace)) is not None:
                display(value)
        return shown

    yield show
    plt.close("all")


def text_of(shown) -> str:
    """What is there to read in Markdown, in something displayed, or in a figure; not what is within HTML's tags."""
    if isinstance(shown, plt.Figure):
        return "\n".join(text.get_text() for text in shown.findobj(Text) if text.get_visible())
    if isinstance(shown, str):
        return shown
    return shown.get("text/markdown") or re.sub("<[^>]*>", " ", shown.get("text/html", "")) or shown["text/plain"]


@pytest.mark.parametrize("every", [None, 4], ids=["empty", "a quarter"])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_reads_well_where_little_or_nothing_is_recorded(name, every, results, show):
    results(every)
    shown = show(name, PAGES[name])
    texts = [text_of(one) for one in shown]
    assert texts[-1].startswith("*Made with:* ")
    for text in texts:
        assert not LACKING.search(text), text
    for table in (one["text/html"] for one in shown if isinstance(one, dict) and "<table" in one.get("text/html", "")):
        assert "<td" in table, f"a table without a row: {table}"
    below = None
    for line in "\n".join([*texts[:-1], "# the end"]).splitlines():
        if HEADING.match(line):
            assert below != "", f"nothing below the heading before {line!r}"
            below = ""
        elif below == "":
            below = line.strip()
