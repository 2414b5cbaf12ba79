"""Choices of frames: scores by hand, runs that follow them, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from tiny import ASTEROID, STANDARD

from asteroid import datasets, runs, stages
from asteroid.runs import RunSpec, selection, sweeps
from asteroid.runs.records import Store
from asteroid.runs.selection import Selection
from asteroid.runs.spec import fingerprints

CANDIDATES = 30


def test_a_record_names_the_cheap_labels_that_chose_the_frames():
    by_bias = replace(STANDARD, budget=9, selection=Selection(CANDIDATES, by="bias", rounds=(6,)))
    at_random = replace(by_bias, selection=Selection(CANDIDATES, rounds=(6,)))
    assert set(fingerprints(by_bias)) == {"ccsd(t) of methanol", "pbe of methanol"}
    assert set(fingerprints(at_random)) == {"ccsd(t) of methanol"}
    assert fingerprints(by_bias)["pbe of methanol"] == datasets.load("methanol", "pbe").fingerprint


class Constant:
    """A force field that pulls every atom with one force."""

    def __init__(self, force: float):
        self.force, self.z = force, datasets.load("methanol", "pbe").z

    def energy_and_force(self, pos: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.zeros(len(pos)), torch.full(pos.shape, self.force)


@pytest.fixture(scope="module")
def frames() -> datasets.LabelledSet:
    return datasets.load("methanol", "pbe")[:6]


def chosen(spec: RunSpec, by: str, *rounds: int, member: int = 0) -> RunSpec:
    return replace(spec, budget=12, selection=Selection(CANDIDATES, by, rounds, member))


def test_by_bias_the_worst_cheap_label_comes_first(frames):
    size = torch.tensor([1.0, 5.0, 2.0, 4.0])
    cheap = frames[:4].derived(force=size[:, None, None] * torch.ones_like(frames.force[:4]))
    scores = selection.scores("bias", [Constant(1.0)], frames, cheap)
    assert scores.tolist() == pytest.approx([0, 4, 1, 3, -np.inf, -np.inf])
    assert selection.extended(np.array([1]), scores, 4).tolist() == [1, 3, 2, 0]


def test_by_disagreement_is_the_deviation_over_the_ensemble(frames):
    scores = selection.scores("disagreement", [Constant(force) for force in (0.0, 1.0, 2.0)], frames, frames)
    assert scores.tolist() == pytest.approx([1.0] * 6)


def test_disagreement_is_largest_far_from_what_was_learned(frames):
    """Force fields of few frames agree near them, and not on a torn molecule."""
    split = tiny.methanol(budget=6)
    recipe = replace(tiny.RECIPE, accurate=replace(tiny.TRAIN, steps=150))
    thetas_a = [stages.standard(split.train, split.valid, recipe, seed=seed, progress=False) for seed in range(3)]
    pos = split.train.pos.clone()
    pos[3, 1] += torch.tensor([0.0, 0.0, 1.0])
    scores = selection.scores("disagreement", thetas_a, split.train.derived(pos=pos), frames)
    assert scores.argmax() == 3


def test_no_choice_by_bias_without_cheap_labels(frames):
    others = datasets.load("methanol", "pbe")[10:14]
    with pytest.raises(ValueError, match="none of the 6 candidates has a pbe label.*disagreement"):
        selection.scores("bias", [Constant(0.0)], frames, others)


def test_equal_scores_keep_the_order_and_known_frames_stay():
    assert selection.extended(np.array([4, 2]), np.zeros(6), 5).tolist() == [4, 2, 0, 1, 3]


def test_cheap_labels_of_candidates_come_first():
    split = tiny.methanol(inaccurate_budget=200)
    cheap = selection.candidates_first(split.inaccurate, split.train, 40)
    _, theirs = split.train.paired_with(split.inaccurate)
    assert 0 < len(theirs) < 40 and torch.equal(cheap.pos[: len(theirs)], split.inaccurate.pos[theirs])
    assert len({frame.numpy().tobytes() for frame in cheap.pos}) == 40


def test_the_cheap_labels_of_a_run_are_those_of_its_candidates_first():
    split = runs.split_of(chosen(ASTEROID, "bias", 6))
    _, theirs = split.train.paired_with(split.inaccurate)
    assert len(split.train) == CANDIDATES and len(theirs) == len(split.inaccurate) == ASTEROID.inaccurate_budget


def test_more_cheap_labels_than_there_are_is_an_error_before_any_training():
    with pytest.raises(datasets.DatasetError, match="inaccurate_budget is 100000.*lower it to"):
        runs.split_of(replace(chosen(ASTEROID, "bias", 6), inaccurate_budget=100_000))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Selection(10, "luck"), "by is 'luck'.*bias"),
        (lambda: Selection(10, "bias", (5, 5)), "ascend"),
        (lambda: Selection(10, "bias", (0, 5)), "rounds.0 is 0; "),
        (lambda: Selection(10, "bias", (2.5,)), "rounds.0 is 2.5; "),
        (lambda: Selection(10, "bias", (5, 10)), "of 10 candidates; .*ascend"),
        (lambda: Selection(0), "candidates is 0"),
        (lambda: replace(ASTEROID, budget=5, selection=Selection(10, "bias", (5,))), "budget is 5 after rounds"),
        (lambda: replace(ASTEROID, budget=11, selection=Selection(10)), "budget is 11.*10 candidates"),
        (lambda: replace(ASTEROID, method="delta", selection=Selection(10)), "cannot choose frames"),
    ],
)
def test_what_cannot_be_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()


# Runs


def test_a_selection_that_changes_nothing_is_no_other_run():
    assert replace(STANDARD, selection=Selection(CANDIDATES)) == STANDARD
    assert "selection" not in STANDARD.settings
    assert chosen(ASTEROID, "random", 6) == chosen(ASTEROID, "random")
    assert chosen(ASTEROID, "bias") == chosen(ASTEROID, "random")
    keys = {
        spec.key
        for spec in (
            replace(ASTEROID, budget=12),
            chosen(ASTEROID, "random"),
            chosen(ASTEROID, "bias", 6),
            chosen(ASTEROID, "bias", 8),
            chosen(ASTEROID, "disagreement", 6),
            replace(ASTEROID, budget=12, selection=Selection(CANDIDATES + 1)),
        )
    }
    assert len(keys) == 6


def test_what_chose_the_frames_is_trained_before():
    (theta_a,) = chosen(ASTEROID, "disagreement", 6, 9).builds_on[0].builds_on
    ensemble = theta_a.builds_on
    assert [one.budget for one in ensemble] == [9] * 3 and len({one.key for one in ensemble}) == 3
    assert ensemble[0].selection == Selection(CANDIDATES, "disagreement", (6,))
    first = ensemble[0].builds_on
    assert [one.budget for one in first] == [6] * 3 and first[0] == replace(theta_a, budget=6, selection=None)
    assert not any(one.builds_on for one in first)
    (theta_a,) = chosen(ASTEROID, "bias", 6).builds_on[0].builds_on
    assert theta_a.builds_on == first[:1]


def test_runs_train_on_the_frames_that_were_chosen(tmp_path):
    store = Store(tmp_path)
    specs = [chosen(ASTEROID, "random"), chosen(ASTEROID, "bias", 6, 9), chosen(ASTEROID, "disagreement", 6)]
    records = sweeps.sweep(specs, store, progress=False)
    assert [record.spec for record in records] == specs
    candidates = runs.split_of(specs[0]).train
    assert len(candidates) == CANDIDATES
    at_random, by_bias, _ = (runs.chosen_frames(spec, store) for spec in specs)
    assert at_random.tolist() == list(range(12))
    assert by_bias[:6].tolist() == list(range(6)) and len(set(by_bias.tolist())) == 12
    # The first round's θ_A chose three frames, those whose labels it finds worst.
    (theta_i,) = specs[1].builds_on
    (theta_a,) = theta_i.builds_on
    (of_nine,) = theta_a.builds_on
    (first,) = of_nine.builds_on
    cheap = datasets.load("methanol", "pbe")
    score = selection.scores("bias", [runs.force_field(first, store)], candidates, cheap)
    assert of_nine.budget == 9 and by_bias[6:9].tolist() == selection.extended(np.arange(6), score, 9)[6:].tolist()
    assert score[by_bias[6:9]].min() >= np.delete(score, by_bias[:9]).max()
    # The force field was trained on these frames, and on no others.
    trained = runs.force_field(specs[1], store)
    labels = candidates[by_bias]
    assert trained.provenance["fingerprints"]["train"] == labels.fingerprint
    assert records[1].label_seconds["accurate"] is not None
    # An ensemble disagrees if its members do not begin alike.
    (theta_a,) = specs[2].builds_on[0].builds_on
    members = [runs.force_field(member, store) for member in theta_a.builds_on]
    assert len({member.provenance["start"] for member in members}) == len(members) > 1
    # It is the same again from the records, where the force fields are gone.
    for gone in (specs[1], theta_i, first):
        store.force_field_path(gone).unlink()
    assert runs.force_field(specs[1], store, progress=False).provenance["fingerprints"]["train"] == labels.fingerprint
