"""Sphinx extension: docstrings are written for readers of code, where a bar is an absolute value."""


def setup(app):
    app.setup_extension("sphinx.ext.autodoc")  # whose event it is
    app.connect("autodoc-process-docstring", escape_bars)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def escape_bars(app, what, name, obj, options, lines):
    # reStructuredText would take |F − F*| for the name of a substitution.
    lines[:] = [line if "``" in line else line.replace("|", r"\|") for line in lines]
