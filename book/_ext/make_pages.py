"""Sphinx extension: make the pages that are missing or stale before the table of contents is read.

The figures and tables that pages saved beside them are copied into the built book.
"""

import shutil
import sys
from pathlib import Path

from asteroid import book


def setup(app):
    # Before 900, the priority at which sphinx-external-toc looks for the pages.
    app.connect("config-inited", make_pages, priority=100)
    app.connect("build-finished", copy_files)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def make_pages(app, config):
    try:
        book.make_pages()
    except (book.NotebookError, ValueError) as error:
        # An exception would reach the reader beneath a hundred lines of Sphinx's and Jupyter Book's own.
        sys.exit(f"\n{error}")


def copy_files(app, error):
    for kind in ("figures", "tables"):
        saved = Path(app.srcdir, "pages", kind)
        if error is None and app.builder.format == "html" and saved.exists():
            shutil.copytree(saved, Path(app.outdir, "pages", kind), dirs_exist_ok=True)
