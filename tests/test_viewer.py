"""Molecules with arrows: the picture and the view to be turned show the same forces from the same side."""

import json
import re

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from asteroid import datasets, plots
from asteroid.plots.viewer import molecule_view

METHANOL = datasets.load("methanol", "ccsd(t)")
Z, POS, FORCE = METHANOL.z.numpy(), METHANOL.pos[0].numpy(), METHANOL.force[0].numpy()
FORCES = {"CCSD(T)": FORCE, "half": FORCE / 2}


@pytest.mark.parametrize("size", [1e-3, 1.0, 7.0, 99.0, 4e3])
def test_the_longest_arrow_is_neither_short_nor_longer_than_two_angstrom(size):
    force = FORCE * size / np.linalg.norm(FORCE, axis=1).max()
    scale = plots.arrow_scale({"a": force, "b": force / 3})
    assert 1.2 < size / scale <= 2.0 * (1 + 1e-9)
    assert len(f"{scale:g}".replace(".", "").strip("0")) <= 2  # 15 or 0.3, never 0.2915


def test_forces_that_are_zero_are_drawn_as_nothing():
    assert plots.arrow_scale({"a": 0 * FORCE}) == 1.0
    assert "addArrow" not in _commands(molecule_view(Z, POS, forces={"a": 0 * FORCE}))


def test_the_side_from_which_a_molecule_is_seen_turns_with_it():
    directions = plots.plane(POS)
    assert np.linalg.det(directions) == pytest.approx(1) and directions @ directions.T == pytest.approx(np.eye(3))
    turn = Rotation.random(random_state=0).as_matrix()
    seen = [(pos - pos.mean(axis=0)) @ plots.plane(pos).T for pos in (POS, POS @ turn.T)]
    assert np.linalg.norm(seen[0], axis=1) == pytest.approx(np.linalg.norm(seen[1], axis=1))
    assert np.abs(seen[0]).std(axis=0).argmin() == 2  # thinnest towards the reader


def test_the_picture_has_the_arrows_their_names_and_their_scale():
    before = dict(matplotlib.rcParams)
    figure = plots.molecule(METHANOL.z, METHANOL.pos[0], {name: torch.tensor(f) for name, f in FORCES.items()})
    (axes,) = figure.axes
    scale, directions = plots.arrow_scale(FORCES), plots.plane(POS)
    for arrows, force in zip(axes.collections, FORCES.values(), strict=True):
        assert np.stack([arrows.U, arrows.V], axis=1) == pytest.approx(force @ directions[:2].T / scale)
    texts = [text.get_text() for text in axes.texts]
    assert sorted(texts[:6]) == sorted("COHHHH") and texts[6] == f"1 Å, {scale:g} kcal/mol/Å"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(FORCES)
    (low, high), (down, up) = axes.get_xlim(), axes.get_ylim()
    ends = np.concatenate([arrows.XY + np.stack([arrows.U, arrows.V], axis=1) for arrows in axes.collections])
    assert ((ends > [low, down]) & (ends < [high, up])).all()
    figure.canvas.draw()
    assert dict(matplotlib.rcParams) == before and plt.get_fignums() == []


def test_a_molecule_alone_has_neither_arrows_nor_legend():
    (axes,) = plots.molecule(Z, POS).axes
    assert not axes.collections and axes.get_legend() is None


def test_the_view_has_the_same_arrows_and_is_seen_from_the_same_side():
    code = _commands(molecule_view(METHANOL.z, METHANOL.pos[0], forces=FORCES))
    arrows = [json.loads(found) for found in re.findall(r"addArrow\((\{.*\})\)", code)]
    scale = plots.arrow_scale(FORCES)
    drawn = np.array([[[arrow[end][axis] for axis in "xyz"] for end in ("start", "end")] for arrow in arrows])
    assert drawn[:, 0] == pytest.approx(np.concatenate([POS, POS]), abs=1e-6)
    assert (drawn[:, 1] - drawn[:, 0]) * scale == pytest.approx(np.concatenate([FORCE, FORCE / 2]), abs=1e-4)
    assert len({arrow["color"] for arrow in arrows}) == 2
    angle, axis = re.search(r"rotate\(([\d.]+),(\{.*?\})", code).groups()
    axis = np.array([json.loads(axis)[name] for name in "xyz"])
    assert np.linalg.norm(axis) == pytest.approx(1)  # which 3Dmol takes for granted
    turned = Rotation.from_rotvec(float(angle) * axis, degrees=True).as_matrix()
    assert turned == pytest.approx(plots.plane(POS), abs=1e-6)


def test_names_and_scale_stand_below_the_view():
    shown = molecule_view(Z, POS, forces={"CCSD(T)": FORCE, "<b>": FORCE}).data
    assert "CCSD(T)" in shown and "&lt;b&gt;" in shown and "<b>" not in shown
    assert f"a force of {plots.arrow_scale({'a': FORCE}):g} kcal/mol/Å" in shown


def test_where_scripts_are_not_run_a_picture_stands_in_place_of_the_view():
    shown = molecule_view(Z, POS, forces=FORCES).data
    (view,) = set(re.findall(r'<div id="(3dmolviewer_\d+)"', shown))
    (still,) = re.findall(r"<noscript>(.*?)</noscript>", shown, re.DOTALL)
    assert f'[id="{view}"] {{display: none}}' in still
    assert 'alt="a molecule with the forces of CCSD(T) and half on its atoms"' in still
    assert "data:image/png;base64,iVBOR" in still


def test_forces_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"half has the shape \(5, 3\); expected \(6, 3\)"):
        molecule_view(Z, POS, forces={"half": FORCE[:5]})
    with pytest.raises(ValueError, match=r"forces are drawn on one geometry; pos has the shape \(2, 6, 3\)"):
        molecule_view(Z, np.stack([POS, POS]), forces=FORCES)
    with pytest.raises(ValueError, match=r"pos has the shape \(5, 3\); expected \(6, 3\)"):
        plots.molecule(Z, POS[:5])


def _commands(view) -> str:
    """What the script of a view does, without the library."""
    return view.data.rpartition("createViewer")[2]
