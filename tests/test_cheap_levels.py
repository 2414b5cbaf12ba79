"""Cheap levels whose worth is known are ranked by it, and not by the size of their bias."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import asteroid
from asteroid import profiles
from asteroid.datasets import LabelledSet
from asteroid.planning import bias, plans
from asteroid.planning import cheap_levels as compared
from asteroid.planning.cheap_levels import ALONE, TAKE, TIED, USELESS, WORSE, cheap_levels

FRAMES = 10


@pytest.fixture(scope="module")
def accurate() -> LabelledSet:
    return asteroid.load("methanol", "ccsd(t)")[::45][:FRAMES]


def with_bias(labels: LabelledSet, added: torch.Tensor, seconds: float = 0.1) -> LabelledSet:
    timed = torch.full_like(labels.energy, seconds)
    whole = {key: value for key, value in labels.provenance.items() if key != "seconds_median"}
    return labels.derived(level="cheap", force=labels.force + added, seconds=timed, provenance=whole)


def pull(labels: LabelledSet, strength: float, width: float | None) -> torch.Tensor:
    """Force of an energy of the distance of the first two atoms: of first degree in its inverse, or a Gaussian."""
    pos = labels.pos.clone().requires_grad_()
    distance = (pos[:, 0] - pos[:, 1]).norm(dim=-1)
    energy = 1 / distance if width is None else torch.exp(-((distance - 1.2) ** 2) / (2 * width**2))
    return -torch.autograd.grad(strength * energy.sum(), pos)[0]


def noise(labels: LabelledSet, size: float, seed: int = 0) -> torch.Tensor:
    """Random forces, which nothing learns, of which the sum is zero as that of a molecule."""
    drawn = torch.randn(labels.force.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return size * (drawn - drawn.mean(dim=1, keepdim=True))


def test_the_noisy_level_is_last_though_its_bias_is_smallest(accurate):
    shift, smooth = pull(accurate, 60, None), pull(accurate, 20, 0.5)
    levels = {"noisy": noise(accurate, 2.0), "shifted": shift, "smooth": smooth}
    table = cheap_levels(accurate, {name: with_bias(accurate, added) for name, added in levels.items()})
    assert table["bias"].idxmin() == "noisy"
    assert table["left"].drop(ALONE).idxmax() == "noisy"
    assert table.loc["noisy", "verdict"] == f"{WORSE} than shifted"
    assert table.loc["shifted", "verdict"] == TAKE


def test_a_constant_pull_is_the_same_in_all_frames(accurate):
    row = cheap_levels(accurate, {"shifted": with_bias(accurate, pull(accurate, 60, None))}).loc["shifted"]
    assert row["same"] > 0.9 * row["bias"] and row["left"] < 0.1 * row["bias"]
    assert row["same"] + row["varies"] == pytest.approx(row["bias"])


def test_a_smooth_bias_varies_and_is_learned(accurate):
    row = cheap_levels(accurate, {"smooth": with_bias(accurate, pull(accurate, 20, 0.5))}).loc["smooth"]
    assert row["varies"] > 0.2 * row["bias"] and row["left"] < 0.7 * row["varies"]


def test_noise_is_left(accurate):
    row = cheap_levels(accurate, {"noisy": with_bias(accurate, noise(accurate, 1.0))}).loc["noisy"]
    assert row["left"] > 0.9 * row["bias"] and row["low"] < row["left"] < row["high"]


def test_two_levels_alike_cannot_be_told_apart(accurate):
    levels = {name: with_bias(accurate, noise(accurate, 1.0, seed)) for seed, name in enumerate(("one", "other"))}
    verdicts = cheap_levels(accurate, levels)["verdict"]
    assert set(verdicts.drop(ALONE)) == {f"{TIED} from one", f"{TIED} from other"}


def test_a_level_that_knows_nothing_is_of_no_use(accurate):
    shuffled = accurate.force.roll(1, dims=0) - accurate.force
    verdict = cheap_levels(accurate, {"shuffled": with_bias(accurate, shuffled)}).loc["shuffled", "verdict"]
    assert verdict == USELESS


def test_prices_decide_what_a_budget_buys(accurate):
    """As much is left of both; the dear one leaves fewer accurate labels to be bought, and so a larger error."""
    price, added = accurate.median_seconds, noise(accurate, 0.5)
    levels = {name: with_bias(accurate, added, price / ratio) for name, ratio in (("dear", 2), ("free", 1000))}
    table = cheap_levels(accurate, levels, budget_hours=1)
    assert table.loc["dear", "for one accurate"] == pytest.approx(2)
    assert table.loc["dear", "left"] == table.loc["free", "left"]
    for name in levels:
        shrunk = np.sqrt((FRAMES - 1) / table.loc[name, "accurate labels"])
        assert table.loc[name, "estimate"] == pytest.approx(shrunk * table.loc[name, "left"])
    assert table.loc["dear", "accurate labels"] < table.loc["free", "accurate labels"]
    assert table.loc["free", "verdict"] == TAKE and table.loc["dear", "verdict"] == f"{WORSE} than free"


def test_all_at_once_is_one_frame_after_the_other(accurate, monkeypatch):
    kernel = bias.smooth_kernel(accurate.pos.numpy())
    force, size = accurate.force.numpy(), accurate.force[0].numel()
    monkeypatch.setattr(compared, "_RIDGES", (1e-2,))
    left = compared.left_out(kernel, force[None])[0]
    kernel = kernel + 1e-2 * np.trace(kernel) / len(kernel) * np.eye(len(kernel))
    new = np.arange(3 * size, 4 * size)
    seen = np.setdiff1d(np.arange(force.size), new)
    predicted = kernel[np.ix_(new, seen)] @ np.linalg.solve(kernel[np.ix_(seen, seen)], force.ravel()[seen])
    np.testing.assert_allclose(left[3].ravel(), force[3].ravel() - predicted, atol=1e-8)


def test_covariances_are_second_derivatives(accurate):
    pos = accurate.pos[:3]
    pairs = torch.combinations(torch.arange(pos.shape[1])).T

    def inverse(x):
        return 1 / (x.view(-1, 3)[pairs[0]] - x.view(-1, 3)[pairs[1]]).norm(dim=-1)

    spread = torch.stack([inverse(frame) for frame in pos]).std(dim=0, correction=0)
    assert spread.min() > 0.05 * spread.mean()  # else it is not what distances are measured in

    def covariance(x, y):
        apart = ((inverse(x) - inverse(y)) / spread).square().sum()
        return torch.exp(-apart / 2 / (bias._LENGTH**2 * pairs.shape[1]))

    x, y = pos[0].flatten(), pos[2].flatten()
    expected = torch.func.jacrev(torch.func.jacrev(covariance, 0), 1)(x, y).numpy()
    found = bias.smooth_kernel(pos.numpy())[: len(x), 2 * len(x) :]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_embedded_levels_are_told_apart(accurate):
    cheap = {name: asteroid.load("methanol", name) for name in ("pbe", "mmff")}
    table = cheap_levels(accurate, cheap)
    assert table.loc["pbe", "verdict"] == TAKE and table.loc["mmff", "verdict"] == f"{WORSE} than pbe"


@pytest.mark.parametrize(
    ("frames", "change", "hours", "message"),
    [
        (1, {}, None, "takes 5 accurate frames, better ten.*1 frames"),
        (FRAMES, None, None, "0 cheap levels"),
        (FRAMES, {"pos": True}, None, "cheap lacks accurate frames .9 of the 10 frames"),
        (FRAMES, {"force": True}, None, r"cheap has the labels of ccsd\(t\)"),
        (FRAMES, {}, 1e-4, "too small"),
        (FRAMES, {"seconds": 100.0}, 1.0, "the cheap one must take less"),
        (FRAMES, {"untimed": True}, 1.0, "the accurate labels were not timed"),
    ],
)
def test_bad_input_is_one_clear_error(accurate, frames, change, hours, message):
    labels, change = accurate[:frames], dict(change or {}) if change is not None else None
    cheap = {}
    if change is not None:
        cheap = {"cheap": with_bias(labels, noise(labels, 1.0), change.get("seconds", 0.1))}
        if "pos" in change:
            moved = labels.pos.clone()
            moved[2, 0] += 0.3
            cheap = {"cheap": cheap["cheap"].derived(pos=moved)}
        if "force" in change:
            cheap = {"cheap": labels}
        if "untimed" in change:
            labels = replace(labels, seconds=None, provenance={})
    with pytest.raises(ValueError, match=message):
        cheap_levels(labels, cheap, hours)


def test_another_molecule_is_refused(accurate):
    with pytest.raises(ValueError, match="molecule"):
        cheap_levels(accurate, {"pbe": asteroid.load("formic_acid", "pbe")})


def test_trainings_are_those_of_equal_labels(tmp_path):
    """Only recorded ones are shown: none is made for the page."""
    profile = profiles.load("laptop")
    specs = profile.cheap_level_specs("methanol")["ASTEROID"]
    assert {spec.inaccurate for spec in specs} == set(profile.cheap_alone)
    assert len({(spec.method, spec.budget, spec.inaccurate_budget, spec.recipe) for spec in specs}) == 1
    table, records = plans.cheap_levels_found(profile, "methanol", asteroid.Store(tmp_path))
    assert table.empty and not records


def test_trainings_are_compared_seed_by_seed():
    table = pd.DataFrame({"left": [0.5, 0.2, 3.0], "bias": [1.0, 2.0, 4.0]}, index=["ONE", "OTHER", "UNTRAINED"])
    errors = {("ONE", 0): 0.3, ("ONE", 1): 0.5, ("OTHER", 0): 0.2, ("OTHER", 1): 0.3, ("ONE", 2): 9.0}
    found = pd.DataFrame([("ASTEROID", level, seed, error) for (level, seed), error in errors.items()])
    (row,) = plans.ranked_pairs(table, found.set_axis(["way", "level", "seed", "error"], axis=1)).to_dict("records")
    assert (row["leaves less"], row["leaves more"], row["seeds"], row["bias"]) == ("OTHER", "ONE", 2, False)
    assert row["larger"] == pytest.approx(0.15) and row["from"] < 0.1 < row["to"]


def test_further_labels_are_those_of_all_frames(accurate, tmp_path):
    assert plans.labelled_beside(accurate, tmp_path) == {}
    session = {"molecule": "methanol", "level": "mp2", "code": "none", "settings": {}, "z": accurate.z.tolist()}
    session |= {"code_version": "1", "machine": "none"}
    labels = [
        {"frame": k, "geometry": "", "E": 0.0, "F": force.tolist(), "seconds": 2.0 + k}
        for k, force in enumerate(accurate.force)
    ]
    for folder, rows in (("cheap_levels", labels), ("label_cost", labels[:3])):
        (tmp_path / folder).mkdir()
        lines = "".join(json.dumps(row) + "\n" for row in (session, *rows))
        (tmp_path / folder / "methanol_mp2.jsonl").write_text(lines)
    found = plans.labelled_beside(accurate, tmp_path)["mp2"]
    assert torch.equal(found.force, accurate.force) and found.median_seconds == 3.5
    assert plans.labelled_beside(accurate[:7], tmp_path) == {}
