"""What `make check-pages` looks for in a built book is found in small pages that have it, and only there."""

import asyncio

import browser
import pages
import pytest

WHOLE = """<!doctype html><html lang="en"><body><h1 id="top-of-it">A page</h1>
<a href="other.html#there">another</a> <a href="#top-of-it">up</a> <a href="https://example.org/x">elsewhere</a>
<div style="overflow-x: auto"><p style="width: 3000px">wide, but to be scrolled by itself</p></div></body></html>"""
OTHER = '<!doctype html><html lang="en"><body><article><p id="there">here</p>%s</article></body></html>'


@pytest.fixture
def book(tmp_path):
    """A function that makes a book of two pages, with something more in the second; returns its folder."""

    def make(more: str = ""):
        (tmp_path / "index.html").write_text(WHOLE)
        (tmp_path / "other.html").write_text(OTHER % more)
        pages._page.cache_clear()
        return tmp_path

    return make


@pytest.mark.parametrize(
    "link", ["nowhere.html", "index.html#nowhere", "#nowhere", "../index.html", "figures/none.svg", "%20.html"]
)
def test_a_link_that_leads_nowhere_is_found(book, link):
    assert pages.dead_links(book()) == []
    assert pages.dead_links(book(f'<a href="{link}">x</a>')) == [f"other.html: {link}"]


@pytest.mark.parametrize(
    "tag",
    [
        '<script src="https://example.org/a.js"></script>',
        '<script src="//example.org/a.js"></script>',
        '<link rel="stylesheet" href="https://example.org/a.css">',
        "<style>@import 'https://example.org/a.css'</style>",
        "<script type='module'>import x from 'https://example.org/x.js'</script>",
    ],
)
def test_what_would_be_fetched_is_found(book, tag):
    assert pages.loads(book()) == []
    found = pages.loads(book(tag))
    assert found and all(line.startswith("other.html: ") and "example.org" in line for line in found)


@pytest.mark.skipif(browser.chromium() is None, reason="needs Chromium")
def test_faults_are_seen_in_a_browser(book):
    def seen(more=""):
        return asyncio.run(pages.faults(book(more), browser.chromium()))

    assert seen() == []
    formula = '<span class="math notranslate nohighlight">x</span>'
    flat = """<div id="3dmolviewer_1"></div><script>
      const canvas = document.createElement("canvas");
      canvas.getContext("2d");
      var viewer_1 = {pngURI: () => canvas.toDataURL()};
    </script>"""
    found = seen(
        '<script>console.error("mine"); fetch("http://192.0.2.1/"); missing()</script>'
        f'<img src="none.png"><svg role="img"><g class="value"><title>42</title><use></use></g></svg>'
        f'<p style="width: 900px">long</p>{formula}{flat}'
        '<div class="output"><pre>&lt;IPython.core.display.Markdown object&gt;</pre></div>'
    )
    for fault in (
        *("console: mine", "asks a network for http://192.0.2.1/", "missing is not defined"),
        *("cannot be shown", "(alt)", "(aria-label)", "scrolls sideways at 390 pixels", "p.: long"),
        *("not typeset: x", "not drawn: 3dmolviewer_1", "tap does not show: 42"),
        "name of an object in place of it: <IPython.core.display.Markdown object>",
    ):
        assert any(fault in line for line in found), f"{fault} is not in {found}"
    assert not any("1280" in line or line.startswith("index") for line in found)
