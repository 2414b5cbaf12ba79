"""The numbers behind the menus of the page `explore`."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from asteroid import datasets, profiles
from asteroid.book import browse
from asteroid.training import losses

PROFILE = profiles.load("smoke")


def record(spec, error):
    return SimpleNamespace(spec=spec, errors={"force_mae": error})


def test_seeds_of_one_place_are_one_row_and_labels_for_validation_count():
    (standard,) = [s for s in PROFILE.low_resource("standard", "egnn") if s.seed == 0]
    (ours,) = [s for s in PROFILE.low_resource("asteroid", "egnn") if s.seed == 0]
    several = [record(standard, 2.0), record(replace(standard, seed=1), 1.0), record(ours, 0.5)]
    alone, cheap = browse.errors(several)
    assert alone["errors"] == [1.0, 2.0] and alone["labels"] == standard.budget + standard.valid
    assert cheap["way"] != alone["way"] and cheap["way"].endswith(f"{ours.inaccurate_budget} PBE")
    assert browse.errors([record(replace(standard, molecule="md17:ethanol"), 1.0)])[0]["molecule"] == "ethanol (MD17)"


def test_what_is_shown_is_of_one_recipe_for_each_model():
    recipes = {(spec.recipe.model, spec.recipe) for spec in browse.shown(PROFILE)}
    assert len(recipes) == len(PROFILE.recipes)


def test_forces_are_those_of_one_frame_seen_from_one_place():
    found = browse.forces_on("methanol")
    accurate, cheap = (datasets.load("methanol", level=level) for level in ("ccsd(t)", "gfn2"))
    mine, theirs = accurate.paired_with(cheap)
    assert found["accurate"] == "CCSD(T)"
    assert found["off"]["GFN2"] == pytest.approx(
        float(losses.force_mae(cheap.force[theirs], accurate.force[mine])), abs=1e-3
    )
    assert sorted(atom[0] for atom in found["atoms"]) == sorted("COHHHH")
    # A projection keeps no length but shortens none beyond its own.
    for level, labels in {"CCSD(T)": accurate, "GFN2": cheap}.items():
        seen = np.linalg.norm(found["forces"][level], axis=1)
        frame = 0 if level == "CCSD(T)" else int(theirs[mine == 0])
        whole = labels.force[frame].norm(dim=1).numpy()
        assert np.all(np.sort(seen) <= np.sort(whole) + 0.02) and seen.max() > 0.3 * whole.max()


def test_a_molecule_without_accurate_labels_is_refused(monkeypatch):
    monkeypatch.setattr(browse.datasets, "levels", lambda molecule: ["gfn2", "pbe"])
    with pytest.raises(ValueError, match=r"methanol has labels of gfn2, pbe; expected one of ccsd\(t\), ccsd"):
        browse.forces_on("methanol")


def test_the_page_holds_the_numbers_as_json():
    html = browse.panel([], ["methanol"]).data
    (text,) = re.findall(r'class="explore-data">(.*)</script>', html)
    assert set(json.loads(text.replace("<\\/", "</"))["forces"]) == {"methanol"}
