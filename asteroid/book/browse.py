"""What the page `explore` shows in a browser without a server: recorded errors, and forces on molecules, by menus.

The page holds the numbers as JSON; `book/_static/explore.js` draws them.
"""

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.data import chemical_symbols, covalent_radii
from ase.data.colors import jmol_colors

from asteroid import datasets
from asteroid.files import in_words
from asteroid.md import stability
from asteroid.plots import drawing
from asteroid.profiles import Profile
from asteroid.runs import Record, RunSpec
from asteroid.runs.methods import METHODS, MODEL_NAMES
from asteroid.training import losses

if TYPE_CHECKING:
    from IPython.display import HTML

ACCURATE = ("ccsd(t)", "ccsd")


def panel(records: Iterable[Record], molecules: Iterable[str]) -> "HTML":
    """Menus and two pictures: test error against accurate labels, and the force on each atom at two levels.

    Args:
        records: of `shown`.
        molecules: embedded ones with an accurate level, whose forces are drawn.

    Returns:
        HTML with the numbers inside; in Jupyter, which does not run the page's script, it says where to look.
    """
    from IPython.display import HTML

    content = {"errors": errors(records), "forces": {in_words(name): forces_on(name) for name in molecules}}
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")
    note = "This panel is drawn in the built book, by a script of its pages."
    return HTML(
        f'<div class="explore"><p>{note}</p><script type="application/json" class="explore-data">{text}</script></div>'
    )


def shown(profile: Profile) -> list[RunSpec]:
    """The runs of a profile that the first picture shows, by one recipe for each model."""
    return [
        spec
        for model in profile.recipes
        for way in ("standard", "asteroid")
        for spec in [*profile.specs(way, model), *profile.few_specs(way, model)]
    ]


def errors(records: Iterable[Record]) -> list[dict[str, Any]]:
    """A row for each molecule, model, way of training and number of labels: test force errors by seed, kcal/mol/Å.

    Accurate labels are all that the run has, those for validation included.
    """
    rows: dict[tuple, list[float]] = {}
    for record in records:
        spec = record.spec
        set_of = " (MD17)" if spec.molecule.startswith("md17:") else ""
        way = METHODS["asteroid" if spec.method != "standard" else "standard"].label
        if spec.method == "asteroid-unweighted":
            way += ", no weights"
        if spec.method != "standard":
            way += f", {spec.inaccurate_budget} {spec.inaccurate.upper()}"
        place = in_words(spec.molecule) + set_of, MODEL_NAMES[spec.recipe.model], way, spec.budget + spec.valid
        rows.setdefault(place, []).append(round(record.errors["force_mae"], 4))
    names = ("molecule", "model", "way", "labels")
    return [dict(zip(names, place)) | {"errors": sorted(found)} for place, found in rows.items()]


def forces_on(molecule: str) -> dict[str, Any]:
    """A molecule's first frame that all its levels have, seen from where it is wide, and the force on each atom.

    Args:
        molecule: an embedded one with an accurate level.

    Returns:
        Its accurate level; of each atom symbol, colour, radius and place (x, y, Å); bonds; by level the components of
        the forces in the plane, kcal/mol/Å, and their mean absolute error over all frames that both levels have.

    Raises:
        ValueError: no level of the molecule counts as accurate, or no frame has labels of all its levels.
    """
    there = datasets.levels(molecule)
    best = next((level for level in ACCURATE if level in there), None)
    if best is None:
        raise ValueError(
            f"{molecule} has labels of {', '.join(there)}; expected one of {', '.join(ACCURATE)} among them"
        )
    accurate = datasets.load(molecule, level=best)
    others = {level: datasets.load(molecule, level=level) for level in there if level != best}
    pairs = {level: [part.numpy() for part in accurate.paired_with(other)] for level, other in others.items()}
    common = set(range(len(accurate))).intersection(*(mine for mine, _ in pairs.values()))
    if not (others and common):
        raise ValueError(f"{molecule} has no frame with labels of {best} and of every other of its levels")
    first = min(common)
    z, pos = accurate.z.numpy(), accurate.pos[first].numpy().astype(float)
    directions = drawing.plane(pos)
    flat = (pos - pos.mean(axis=0)) @ directions[:2].T
    shown, off = {best.upper(): accurate.force[first].numpy() @ directions[:2].T}, {}
    for level, other in others.items():
        mine, theirs = pairs[level]
        shown[level.upper()] = other.force[theirs[mine == first][0]].numpy() @ directions[:2].T
        off[level.upper()] = round(float(losses.force_mae(other.force[theirs], accurate.force[mine])), 3)
    depth = np.argsort(pos @ directions[2])  # those in front are drawn last
    return {
        "accurate": best.upper(),
        "atoms": [
            [chemical_symbols[z[i]], _hex(jmol_colors[z[i]]), round(float(covalent_radii[z[i]]), 2), *flat[i].round(3)]
            for i in depth
        ],
        "bonds": [[*flat[i].round(3), *flat[j].round(3)] for i, j in stability.bonds(z, pos)],
        "forces": {level: force[depth].round(2).tolist() for level, force in shown.items()},
        "off": off,
    }


def _hex(color: np.ndarray) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in color)
