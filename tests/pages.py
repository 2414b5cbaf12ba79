"""Check a built book: python tests/pages.py [book/_build/html]

Its links lead somewhere, no page asks a network for anything, and in a browser each is as it should be: no error, the
mathematics typeset, molecules drawn, pictures described, and nothing to be scrolled sideways, on a phone either.
"""

import asyncio
import re
import sys
from functools import cache
from html.parser import HTMLParser
from itertools import chain
from pathlib import Path
from urllib.parse import unquote, urlsplit

import browser

WIDTHS = (390, 1280)  # of a phone and of a window, pixels
BROWSERS = 2  # at once, since one alone leaves half of two cores idle
OUTSIDE = r"(?:https?:)?//"
LOADS = (  # patterns of what a page or style sheet would fetch
    (".html", rf"<(?:script|img|iframe|source|embed|video|audio)\b[^>]*\bsrc=[\"']?{OUTSIDE}[^\"'> ]+"),
    (
        ".html",
        rf"<link\b(?=[^>]*\brel=[\"']?(?:stylesheet|preload|icon|preconnect|dns-prefetch))[^>]*"
        rf"\bhref=[\"']?{OUTSIDE}[^\"'> ]+",
    ),
    (".html", rf"(?:import\(|from\s|import\s)\s*[\"']{OUTSIDE}[^\"']+"),
    (".html .css", rf"(?:url\(|@import)\s*[\"']?{OUTSIDE}[^\"') ]+"),
)
FAULTS = r"""async () => {
  const faults = [], say = (what, where) => faults.push(`${what}: ${(where || "").trim().slice(0, 60)}`);
  if (window.MathJax) await MathJax.startup.promise;
  for (const math of document.querySelectorAll(".math.notranslate"))
    if (!math.querySelector("mjx-container") || math.querySelector("mjx-merror"))
      say("mathematics that is not typeset", math.textContent);
  if (window.$3Dmolpromise) await $3Dmolpromise;
  for (const place of document.querySelectorAll("[id^='3dmolviewer_']")) {
    const picture = new Image(), canvas = new OffscreenCanvas(100, 100).getContext("2d");
    picture.src = window[place.id.replace("3dmolviewer", "viewer")].pngURI();
    await picture.decode();
    canvas.drawImage(picture, 0, 0, 100, 100);
    const colors = new Set(new Uint32Array(canvas.getImageData(0, 0, 100, 100).data.buffer));
    if (colors.size < 20) say("molecule that is not drawn", place.id);  // balls have shades
  }
  for (const part of document.querySelectorAll(".explore")) {
    if (part.querySelector(".explore-data") || !part.querySelector("svg path"))
      say("panel that its script has not drawn", part.textContent);
    for (const select of part.querySelectorAll("select")) {  // each menu must change the picture
      const before = select.closest(".explore-part").innerHTML, last = select.options.length - 1;
      if (last < 1) continue;
      select.selectedIndex = last;
      select.dispatchEvent(new Event("change"));
      if (select.closest(".explore-part").innerHTML === before) say("menu that changes nothing", select.ariaLabel);
    }
  }
  for (const output of document.querySelectorAll("article .output"))
    if (/^\s*<[\w.]+ object/.test(output.textContent)) say("name of an object in place of it", output.textContent);
  for (const picture of document.images) {
    await picture.decode().catch(() => say("picture that cannot be shown", picture.src));
    if (!picture.alt) say("picture without a description (alt)", picture.src);
  }
  for (const drawn of document.querySelectorAll("article svg[role=img]:not([aria-hidden=true]):not([aria-label])"))
    say("drawing without a description (aria-label)", drawn.textContent);
  for (const mark of document.querySelectorAll("g.value")) {
    mark.querySelector("use, circle").dispatchEvent(new PointerEvent("click", {bubbles: true, pointerType: "touch"}));
    const value = mark.querySelector("title").textContent, shown = document.querySelector(".tapped-value");
    if (!shown || shown.textContent !== value || !shown.offsetHeight) say("value that a tap does not show", value);
  }
  document.body.click();
  return faults;
}"""
TOO_WIDE = """async () => {
  await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
  const root = document.documentElement, width = root.clientWidth, hidden = [];
  for (const table of document.querySelectorAll("article table"))
    for (let box = table.parentElement; box.localName !== "article"; box = box.parentElement)
      if (getComputedStyle(box).overflowX !== "visible" && box.scrollWidth > box.clientWidth + 2)
        if (!box.classList.contains("scrolls"))
          hidden.push(`no hint at ${width} pixels that a table scrolls: ${table.textContent.trim().slice(0, 60)}`);
  if (root.scrollWidth <= width) return hidden;
  const clips = place => place !== root
    && (getComputedStyle(place).overflowX !== "visible" || clips(place.parentElement));
  const end = place => Math.max(
    place.getBoundingClientRect().right, place.getBoundingClientRect().left + place.scrollWidth);
  const wide = [...document.querySelectorAll("article *")].filter(
    place => end(place) > width + 1 && !clips(place) && !clips(place.parentElement));
  const names = wide.slice(-3).map(
    place => `${place.localName}.${place.className}: ${place.textContent.trim().slice(0, 60)}`);
  return [...hidden, `scrolls sideways at ${width} pixels, being ${root.scrollWidth} wide: ${names.join("; ")}`];
}"""


def pages_of(html: Path) -> list[Path]:
    """The pages below a folder; what lies with the style sheets are templates."""
    return [path for path in sorted(html.rglob("*.html")) if "_static" not in path.relative_to(html).parts]


def loads(html: Path) -> list[str]:
    """What the pages and style sheets below a folder would fetch from a network."""
    return [
        f"{path.relative_to(html)}: {hit}"
        for path in [*pages_of(html), *sorted(html.rglob("*.css"))]
        for suffixes, pattern in LOADS
        if path.suffix in suffixes.split()
        for hit in re.findall(pattern, path.read_text("utf-8"))
    ]


def dead_links(html: Path) -> list[str]:
    """Links of the pages below a folder to files or anchors that are not there; those to other hosts are not tried."""
    return [
        f"{path.relative_to(html)}: {link}"
        for path in pages_of(html)
        for link in sorted(set(_page(path).links))
        if not _leads_somewhere(path, link)
    ]


async def faults(html: Path, program: str) -> list[str]:
    """What is wrong with the pages below a folder in a browser, each opened from its file."""
    todo = iter([path for path in pages_of(html) if not _page(path).redirects])  # whose targets are pages of their own

    async def look() -> list[str]:
        async with browser.tab(program) as tab:
            return [f"{path.relative_to(html)}: {fault}" for path in todo for fault in await _faults_of(path, tab)]

    found = await asyncio.gather(*(look() for _ in range(BROWSERS)))  # each takes the next page when it is ready
    return sorted(chain.from_iterable(found))


def main(folder: str = "book/_build/html") -> None:
    html = Path(folder)
    if not (html / "index.html").is_file() or not list(html.glob("pages/*.html")):
        sys.exit(f"no book in {html}: no index.html, or no page under pages/; run `make book` first")
    program = browser.chromium()
    if program is None:
        sys.exit("pages are looked at in Chromium or Chrome, and neither is installed: `apt-get install chromium`")
    found = [*loads(html), *dead_links(html), *asyncio.run(faults(html, program))]
    if found:
        sys.exit(f"{len(found)} faults:\n" + "\n".join(found))
    print(f"{len(pages_of(html))} pages: links, network and looks are as they should be")


async def _faults_of(path: Path, tab: browser.Tab) -> list[str]:
    await tab.open(path.resolve().as_uri(), WIDTHS[0])
    wrong = await tab.run(FAULTS)
    for width in WIDTHS:
        await tab.resize(width)
        wrong += await tab.run(TOO_WIDE)
    return [*wrong, *tab.complaints()]


class _Page(HTMLParser):
    """Anchors and links of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.anchors, self.links, self.redirects = set(), [], False
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        about = dict(attributes)
        self.anchors |= {about.get("id"), about.get("name") if tag == "a" else None}
        self.links += [about[name] for name in ("href", "src") if about.get(name)]
        if tag == "meta" and (about.get("http-equiv") or "").lower() == "refresh":
            self.redirects = True
            self.links.append(about["content"].partition("url=")[2])


@cache
def _page(path: Path) -> _Page:
    return _Page(path.read_text("utf-8"))


def _leads_somewhere(path: Path, link: str) -> bool:
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return True
    target = path.parent / unquote(parts.path) if parts.path else path
    if not target.is_file():
        return False
    anchor = unquote(parts.fragment)
    return target.suffix != ".html" or anchor in ("", "top") or anchor in _page(target.resolve()).anchors


if __name__ == "__main__":
    main(*sys.argv[1:])
