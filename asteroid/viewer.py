"""Molecules that can be turned and played, in a live notebook and in a built page without network."""

import base64
import functools
import gzip
from importlib.resources import files

# py3Dmol's wheel holds no JavaScript and would fetch it from a network. It loads nothing when this promise exists, and
# calls the viewer when it is kept. Compressed, the library adds 0.2 MB to a page and not 0.5 MB; the page's own
# `exports` and `module` make it a plain global whatever module loader the page has.
LOADER = """<script>
if (typeof $3Dmolpromise === "undefined") {
  $3Dmolpromise = fetch("data:application/gzip;base64,%s")
    .then(packed => new Response(packed.body.pipeThrough(new DecompressionStream("gzip"))).text())
    .then(code => { Function("exports", "module", code).call(window, {}, {}); });
}
</script>
"""

PLAY_BUTTON = """<button onclick="
  const shown = viewer_%s;
  shown.isAnimated() ? shown.pauseAnimate() : shown.resumeAnimate();
">play / pause</button>
"""


def molecule_view(z, pos, *, width: int = 420, height: int = 320, interval: int = 60, style: dict | None = None):
    """Draw one geometry, or play a trajectory; the mouse turns and zooms it.

    Bonds are found from the distances in the first frame, and stay. A page grows by about 0.2 MB for each view and by
    30 bytes for each atom of each frame, so give a few hundred frames at most.

    Args:
        z: Atomic numbers, (atoms,), torch or numpy.
        pos: Positions in Å, (atoms, 3), or (frames, atoms, 3) for a trajectory, torch or numpy.
        width: Width in pixels.
        height: Height in pixels.
        interval: Time between two frames in ms.
        style: 3Dmol's style; by default balls and sticks.

    Returns:
        IPython HTML, to stand last in a cell.

    Raises:
        ValueError: If the shapes of `z` and `pos` do not belong together.

    Source:
        Rego and Koes, "3Dmol.js: molecular visualization with WebGL", Bioinformatics 31 (2015) 1322.
    """
    import numpy as np
    import py3Dmol
    from IPython.display import HTML

    z, pos = np.asarray(z), np.asarray(pos)
    if pos.ndim not in (2, 3) or pos.shape[-2:] != (len(z), 3):
        raise ValueError(
            f"pos has shape {pos.shape}; expected ({len(z)}, 3) or (frames, {len(z)}, 3) for the {len(z)} atoms of z"
        )
    frames = pos[None] if pos.ndim == 2 else pos
    view = py3Dmol.view(width=width, height=height, js="")
    view.addModelsAsFrames(_xyz(z, frames), "xyz")
    view.setStyle(style or {"stick": {"radius": 0.12}, "sphere": {"scale": 0.25}})
    view.zoomTo()
    if len(frames) > 1:
        view.animate({"loop": "forward", "interval": interval})
    html = LOADER % _library() + view.write_html()
    return HTML(html + PLAY_BUTTON % view.uniqueid if len(frames) > 1 else html)


def _xyz(z, frames) -> str:
    from ase.data import chemical_symbols

    symbols = [chemical_symbols[number] for number in z]
    lines = []
    for frame in frames:
        lines += [str(len(z)), ""]
        lines += [f"{symbol} {x:.3f} {y:.3f} {w:.3f}" for symbol, (x, y, w) in zip(symbols, frame)]
    return "\n".join(lines) + "\n"


@functools.cache
def _library() -> str:
    """The vendored 3Dmol, packed for a data address; the same bytes each time, so that pages stay comparable."""
    code = files("asteroid").joinpath("vendor/3Dmol-min.js").read_bytes()
    return base64.b64encode(gzip.compress(code, mtime=0)).decode()
