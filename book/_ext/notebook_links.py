"""Sphinx extension: each page that a notebook made offers that notebook, not its own executed copy.

To be downloaded, always; in Binder and Colab once ``repository: url`` of ``_config.yml`` says where the repository is.
"""

import re
import shutil
from pathlib import Path

from asteroid import book


def setup(app):
    app.connect("html-page-context", add_buttons, priority=600)  # after the theme, which has its own at 501
    app.connect("build-finished", copy_notebooks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def add_buttons(app, pagename, templatename, context, doctree):
    folder, _, name = pagename.rpartition("/")
    page = book.pages_of(book.root()).get(name) if folder == "pages" else None
    if page is None:
        return
    path, options = f"notebooks/{page.notebook.name}", app.config.html_theme_options
    groups = {group["label"]: group for group in context["header_buttons"]}
    for offered in groups["download-buttons"]["buttons"]:
        if offered["label"] == "download-source-button":
            offered |= {"url": context["pathto"](path, 1), "tooltip": "Download the notebook"}
    if options.get("repository_url"):
        buttons = launchers(options["repository_url"], options.get("repository_branch", "main"), path)
        group = {"type": "group", "tooltip": "Run the notebook", "icon": "fas fa-rocket", "label": "launch-buttons"}
        context["header_buttons"].insert(0, group | {"buttons": buttons})


def launchers(url, branch, path):
    """Buttons that open a notebook of a repository where it can be run."""
    place = re.fullmatch(r"https://github\.com/([^/]+/[^/]+?)(\.git)?/?", url)
    if place is None:
        raise ValueError(
            f"repository url of _config.yml is {url!r}; expected https://github.com/OWNER/NAME, or nothing"
        )
    binder = f"https://mybinder.org/v2/gh/{place[1]}/{branch}?urlpath=lab/tree/{path}"
    colab = f"https://colab.research.google.com/github/{place[1]}/blob/{branch}/{path}"
    first = f"first run %pip install -e git+{url}@{branch}#egg=asteroid, and restart the session"
    return [
        button("Binder", binder, "_static/images/logo_binder.svg", "Run the notebook on Binder"),
        button("Colab", colab, "_static/images/logo_colab.png", f"Run the notebook on Colab: {first}"),
    ]


def button(text, url, icon, tooltip):
    return {"type": "link", "text": text, "url": url, "icon": icon, "tooltip": tooltip}


def copy_notebooks(app, error):
    if error is None and app.builder.format == "html":
        shutil.copytree(book.root() / "notebooks", Path(app.outdir, "notebooks"), dirs_exist_ok=True)
