"""Molecules that can be turned and played, in a live notebook and in a built page without network."""

import base64
import functools
import gzip
import html
import io
from collections.abc import Mapping
from importlib.resources import files

# py3Dmol's wheel holds no JavaScript and would fetch it from a network. It loads nothing when this promise exists, and
# calls the viewer when it is kept. Compressed, the library adds 0.2 MB to a page and not 0.5 MB; the page's own
# `exports` and `module` make it a plain global whatever module loader the page has.
LOADER = """<style>[id^="3dmolviewer_"] {max-width: 100%%}</style>
<script>
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

# In place of the viewer, whose own warning would stand there, where scripts are not run.
STILL = """<noscript><style>[id="3dmolviewer_%s"] {display: none}</style>
<img style="max-width: 100%%" alt="%s" src="data:image/png;base64,%s"></noscript>
"""


def molecule_view(
    z,
    pos,
    *,
    forces: Mapping | None = None,
    width: int = 420,
    height: int = 320,
):
    """Draw one geometry, with forces as arrows if given, or play a trajectory; the mouse turns and zooms it.

    Bonds are found from the distances in the first frame, and stay. A page grows by about 0.2 MB for each view and by
    30 bytes for each atom of each frame, so give a few hundred frames at most. Where scripts are not run, the picture
    of `plots.molecule` stands instead.

    Args:
        z: Atomic numbers, (atoms,), torch or numpy.
        pos: Positions in Å, (atoms, 3), or (frames, atoms, 3) for a trajectory, torch or numpy.
        forces: By name, (atoms, 3) in kcal/mol/Å, torch or numpy, drawn as arrows of one colour each; of one geometry
            only.
        width: Width in pixels.
        height: Height in pixels.

    Returns:
        IPython HTML, to stand last in a cell.

    Raises:
        ValueError: If the shapes of `z`, `pos` and `forces` do not belong together.

    Source:
        Rego and Koes, "3Dmol.js: molecular visualization with WebGL", Bioinformatics 31 (2015) 1322.
    """
    import numpy as np
    import py3Dmol
    from IPython.display import HTML
    from scipy.spatial.transform import Rotation

    from asteroid.plots import drawing

    z, pos = np.asarray(z), np.asarray(pos)
    if pos.ndim not in (2, 3) or pos.shape[-2:] != (len(z), 3):
        raise ValueError(
            f"pos has shape {pos.shape}; expected ({len(z)}, 3) or (frames, {len(z)}, 3) for the {len(z)} atoms of z"
        )
    if forces and pos.ndim == 3:
        raise ValueError(f"forces are drawn on one geometry; pos has the shape {pos.shape}, give one frame of it")
    frames = pos[None] if pos.ndim == 2 else pos
    view = py3Dmol.view(width=width, height=height, js="")
    view.addModelsAsFrames(_xyz(z, frames), "xyz")
    # Where there are arrows, smaller balls, which hide less of them.
    thick = 0.6 if forces else 1.0
    view.setStyle({"stick": {"radius": 0.12 * thick}, "sphere": {"scale": 0.25 * thick}})
    legend = _add_arrows(view, z, pos, forces) if forces else ""
    view.zoomTo()
    radius = float(np.linalg.norm(frames[0] - frames[0].mean(axis=0), axis=1).max())
    view.zoom(min(max(3.5 / max(radius, 1.0), 1.0), 2.0))  # 3Dmol leaves much room around what is smaller than that, Å
    turn = Rotation.from_matrix(drawing.plane(frames[0])).as_rotvec(degrees=True)
    angle = float(np.linalg.norm(turn))
    if angle > 0:
        view.rotate(angle, _point(turn / angle))  # its axis must have unit length
    if len(frames) > 1:
        view.animate({"loop": "forward", "interval": 60})  # ms
    drawn = view.write_html()  # which gives the view its id
    still = STILL % (view.uniqueid, *_still(z, frames[0], forces))
    button = PLAY_BUTTON % view.uniqueid if len(frames) > 1 else ""
    return HTML(LOADER % _library() + drawn + still + legend + button)


def _add_arrows(view, z, pos, forces: Mapping) -> str:
    """Put the arrows into a view; returns the line that says what they are."""
    from matplotlib.colors import to_hex

    from asteroid.plots import drawing

    forces = drawing.checked_forces(z, pos, forces)
    scale, names = drawing.arrow_scale(forces), []
    for place, (name, force) in enumerate(forces.items()):
        color = to_hex(drawing.FORCE_COLORS[place % len(drawing.FORCE_COLORS)])
        names.append(f'<span style="color: {color}">&#9632;</span> {html.escape(name)}')
        # The first can be seen through, since the others may lie inside it.
        look = {"color": color, "radius": 0.09 / (1 + place), "opacity": 1.0 if place else 0.6}
        for start, end in zip(pos, pos + force / scale):
            if (start != end).any():
                view.addArrow({"start": _point(start), "end": _point(end)} | look)
    return f"<p>{' &emsp; '.join(names)} &emsp; an arrow of 1 Å is a force of {scale:g} kcal/mol/Å</p>"


def _point(coordinates) -> dict[str, float]:
    return dict(zip("xyz", map(float, coordinates)))


def _still(z, pos, forces: Mapping | None) -> tuple[str, str]:
    """What a picture of the molecule shows, and the picture as PNG in base64."""
    from IPython.core.pylabtools import print_figure

    from asteroid.plots import drawing

    look = {"dpi": 80, "bbox_inches": None, "metadata": {"Software": None}}
    packed = print_figure(drawing.molecule(z, pos, forces), base64=True, **look)
    shown = "a molecule" + (f" with the forces of {' and '.join(forces)} on its atoms" if forces else "")
    return html.escape(shown), packed


def _xyz(z, frames) -> str:
    from ase import Atoms
    from ase.io.xyz import write_xyz

    text = io.StringIO()
    write_xyz(text, [Atoms(z, frame) for frame in frames], fmt="%.3f")
    return text.getvalue()


@functools.cache
def _library() -> str:
    """The vendored 3Dmol, packed for a data address; the same bytes each time, so that pages stay comparable."""
    code = files("asteroid").joinpath("vendor/3Dmol-min.js").read_bytes()
    return base64.b64encode(gzip.compress(code, mtime=0)).decode()
