"""Sphinx extension: a cell whose figure has the class ``table`` is numbered and captioned as a table.

A table that a notebook computes is HTML, in which Sphinx sees none.
"""

from docutils import nodes
from sphinx.transforms import SphinxTransform


def setup(app):
    app.add_enumerable_node(numbered_table, "table", title, html=(visit, depart))
    app.add_transform(Tables)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class numbered_table(nodes.figure):  # in lower case, the manner of docutils
    pass


class Tables(SphinxTransform):
    default_priority = 200  # before Sphinx, at 210, gives what it numbers an address

    def apply(self):
        for figure in self.document.findall(nodes.figure):
            if "table" in figure["classes"]:
                figure.__class__ = numbered_table  # in its place: the document's list of labels has this very node


def title(node):
    return next((child.astext() for child in node if isinstance(child, nodes.caption)), None)


def visit(writer, node):
    writer.visit_figure(node)


def depart(writer, node):
    writer.depart_figure(node)
