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
