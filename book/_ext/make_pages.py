"""Sphinx extension: make the pages that are missing or stale before the table of contents is read."""

import sys

from asteroid import book


def setup(app):
    # Before 900, the priority at which sphinx-external-toc looks for the pages.
    app.connect("config-inited", make_pages, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def make_pages(app, config):
    try:
        book.make_pages()
    except (book.NotebookError, ValueError) as error:
        # An exception would reach the reader beneath a hundred lines of Sphinx's and Jupyter Book's own.
        sys.exit(f"\n{error}")
