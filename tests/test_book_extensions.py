"""What our Sphinx extensions add to the book: links to the notebooks, and tables with numbers."""

import runpy

import pytest

from asteroid import book

EXTENSIONS = book.root() / "book/_ext"


def test_binder_and_colab_open_the_notebook_itself():
    launchers = runpy.run_path(str(EXTENSIONS / "notebook_links.py"))["launchers"]
    for url in ("https://github.com/owner/name", "https://github.com/owner/name.git", "https://github.com/owner/name/"):
        binder, colab = (button["url"] for button in launchers(url, "main", "notebooks/tiny.ipynb"))
        assert binder == "https://mybinder.org/v2/gh/owner/name/main?urlpath=lab/tree/notebooks/tiny.ipynb"
        assert colab == "https://colab.research.google.com/github/owner/name/blob/main/notebooks/tiny.ipynb"
    with pytest.raises(ValueError, match="'https://example.org/x'; expected https://github.com/OWNER/NAME"):
        launchers("https://example.org/x", "main", "notebooks/tiny.ipynb")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")
def test_a_figure_of_the_class_table_is_numbered_among_the_tables(tmp_path, monkeypatch):
    from sphinx.application import Sphinx

    monkeypatch.syspath_prepend(EXTENSIONS)
    (tmp_path / "conf.py").write_text("extensions = ['numbered_tables']\nnumfig = True\nhtml_theme = 'basic'\n")
    figure = ".. figure:: a.png\n   :name: {name}\n   :alt: a\n   {more}\n\n   Caption of {name}.\n\n"
    (tmp_path / "a.png").write_bytes(b"")
    text = figure.format(name="plot", more="") + figure.format(name="errors", more=":figclass: table")
    (tmp_path / "index.rst").write_text(f"Title\n=====\n\n:numref:`errors` and :numref:`plot`\n\n{text}")
    folders = (tmp_path, tmp_path, tmp_path / "html", tmp_path / "doctrees")
    Sphinx(*folders, "html", status=None, warningiserror=True).build()
    html = (tmp_path / "html/index.html").read_text()
    for number, name in (("Table 1", "errors"), ("Fig. 1", "plot")):
        assert f'href="#{name}"><span class="std std-numref">{number}</span></a>' in html
        assert f'<span class="caption-number">{number} </span><span class="caption-text">Caption of {name}.' in html
