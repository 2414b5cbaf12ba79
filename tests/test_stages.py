"""The paper's method, stage by stage, and the chain of all three."""

import math
from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch

from asteroid import datasets, forces, losses, stages, training
from asteroid.force_field import ForceField
from asteroid.stages import Recipe

QUIET = {"progress": False}
TOLERANCE = {"bias": 1e-6}  # kcal/mol/Å


@pytest.fixture(scope="module")
def split():
    return tiny.methanol()


@pytest.fixture(scope="module")
def theta_a(split):
    return stages.standard(split.train, split.valid, tiny.RECIPE, **QUIET)


def test_the_chain_runs_all_stages_and_tells_where_it_came_from(split, trainings):
    force_field = stages.asteroid(split, tiny.RECIPE, seed=3, **QUIET)
    assert [call["train"].level for call in trainings] == ["ccsd(t)", "pbe", "ccsd(t)"]
    assert [len(call["train"]) for call in trainings] == [20, 30, 20]
    assert all(call["valid"].level == "ccsd(t)" and call["seed"] == 3 for call in trainings)
    about = force_field.provenance
    assert (about["method"], about["molecule"], about["level"]) == ("asteroid", "methanol", "ccsd(t)")
    assert force_field.level == "ccsd(t)" and about["seed"] == 3
    identified, pretrained = about["bias_identification"], about["started_from"]
    assert (identified["level"], identified["labels"]) == ("ccsd(t)", 20)
    assert (pretrained["level"], pretrained["labels"]) == ("pbe", 30)
    each = [about["seconds"], identified["seconds"], pretrained["seconds"]]
    assert min(each) > 0 and about["seconds_of_all_stages"] == pytest.approx(sum(each))
    assert about["valid_force_mae"] == about["valid_force_mae_by_gamma"]["1.0"]
    assert about["fingerprints"]["train"] == split.train.fingerprint


def test_each_stage_is_trained_with_its_own_settings(split, trainings):
    lengths = {"accurate": 1, "identification": 2, "inaccurate": 3, "fine_tuning": 4}
    recipe = replace(tiny.RECIPE, **{stage: replace(tiny.TRAIN, steps=steps) for stage, steps in lengths.items()})
    stages.asteroid(split, recipe, **QUIET)
    stages.standard(split.train, split.valid, recipe, **QUIET)
    assert [call["config"].steps for call in trainings] == [2, 3, 4, 1]


def test_bias_has_one_value_for_each_inaccurate_frame(split, theta_a):
    force_field = stages.asteroid(split, tiny.RECIPE, theta_a=theta_a, **QUIET)
    assert force_field.bias.shape == (30,)
    _, force = theta_a.energy_and_force(split.inaccurate.pos)
    expected = (force.double() - split.inaccurate.force).abs().mean(dim=(1, 2))
    assert float((force_field.bias - expected).abs().max()) < TOLERANCE["bias"]


def test_the_weights_of_stage_two_are_those_of_the_paper(split, theta_a, trainings):
    gamma = 0.7
    stages.asteroid(split, replace(tiny.RECIPE, gammas=(gamma,)), theta_a=theta_a, **QUIET)
    second, third = trainings
    bias = stages.estimated_bias(theta_a, split.inaccurate)
    torch.testing.assert_close(second["weight"], losses.bias_weights(bias, gamma * float(bias.median())))
    assert float(second["weight"].std()) > 0.01 and third["weight"] is None


def test_of_several_gammas_validation_chooses(split, theta_a, trainings):
    gammas = (0.1, 1.0, math.inf)
    force_field = stages.asteroid(split, replace(tiny.RECIPE, gammas=gammas), theta_a=theta_a, **QUIET)
    assert len(trainings) == 6
    errors = force_field.provenance["valid_force_mae_by_gamma"]
    assert [float(gamma) for gamma in errors] == list(gammas) and len(set(errors.values())) == 3
    assert force_field.provenance["gamma"] == float(min(errors, key=errors.get))
    _, force = force_field.energy_and_force(split.valid.pos)
    error = float((force - split.valid.force).abs().mean())
    assert error == pytest.approx(min(errors.values()), rel=1e-5)  # the force field returned is the chosen one


def test_without_weights_stage_one_is_left_out(split, trainings):
    force_field = stages.asteroid(split, tiny.RECIPE, weighted=False, **QUIET)
    assert [call["train"].level for call in trainings] == ["pbe", "ccsd(t)"]
    assert all(call["weight"] is None for call in trainings)
    assert force_field.provenance["method"] == "asteroid-unweighted" and force_field.bias is None
    assert force_field.provenance["bias_identification"] is None


def test_without_fine_tuning_stage_three_is_left_out(split, trainings):
    force_field = stages.asteroid(split, tiny.RECIPE, tuned=False, **QUIET)
    assert [call["train"].level for call in trainings] == ["ccsd(t)", "pbe"]
    assert force_field.provenance["method"] == "asteroid-not-tuned" and len(force_field.bias) == 30
    assert force_field.level == "pbe"


def test_fine_tuning_starts_from_the_given_force_field_and_leaves_it_as_it_is(split, theta_a):
    before = [parameter.clone() for parameter in theta_a.model.parameters()]
    still = replace(tiny.RECIPE, fine_tuning=replace(tiny.TRAIN, learning_rate=1e-15))
    tuned = stages.fine_tune(theta_a, split.train, split.valid, still, **QUIET)
    trained = stages.fine_tune(theta_a, split.train, split.valid, tiny.RECIPE, **QUIET)
    for old, given, same, new in zip(
        before, theta_a.model.parameters(), tuned.model.parameters(), trained.model.parameters(), strict=True
    ):
        assert torch.equal(old, given) and torch.equal(old, same)
        assert old.numel() == 1 or not torch.equal(old, new)  # the last bias is only a shift of the energy
    assert trained.provenance["started_from"] == theta_a.provenance


def test_training_and_fine_tuning_leave_the_global_generator_alone(split, theta_a):
    state = torch.get_rng_state()
    stages.standard(split.train, split.valid, tiny.RECIPE, seed=5, **QUIET)
    stages.fine_tune(theta_a, split.train, split.valid, tiny.RECIPE, **QUIET)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_energies_of_each_stage_lie_at_its_level(split, theta_a):
    energy, _ = theta_a.energy_and_force(split.train.pos)
    assert float(energy.mean()) == pytest.approx(float(split.train.energy.mean()), abs=1e-3)
    assert float(energy.std()) < 100  # the levels are thousands apart


@pytest.mark.parametrize("gammas", [(1.0,), (0.5, 2.0)])
def test_finished_stages_are_not_trained_again(gammas, split, trainings, tmp_path):
    recipe = replace(tiny.RECIPE, gammas=gammas)
    first = stages.asteroid(split, recipe, folder=tmp_path, **QUIET)
    assert len(trainings) == 1 + 2 * len(gammas)
    again = stages.asteroid(split, recipe, folder=tmp_path, **QUIET)
    assert len(trainings) == 1 + 2 * len(gammas)
    for a, b in zip(first.energy_and_force(split.test.pos), again.energy_and_force(split.test.pos), strict=True):
        assert torch.equal(a, b)
    assert again.provenance == first.provenance and torch.equal(again.bias, first.bias)


def test_only_the_stage_that_is_missing_is_trained(split, trainings, tmp_path):
    stages.asteroid(split, tiny.RECIPE, folder=tmp_path, **QUIET)
    (tmp_path / "inaccurate-gamma1-tuned.safetensors").unlink()
    trainings.clear()
    stages.asteroid(split, tiny.RECIPE, folder=tmp_path, **QUIET)
    assert [call["config"] for call in trainings] == [tiny.RECIPE.fine_tuning]


def test_a_kill_before_the_finished_stage_is_written_costs_no_training(split, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0)

    def killed(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ForceField, "save", killed)
        stages.standard(split.train, split.valid, tiny.RECIPE, folder=tmp_path, **QUIET)
    monkeypatch.setattr(forces, "training_step", lambda *args: killed)  # not one step more is needed
    stages.standard(split.train, split.valid, tiny.RECIPE, folder=tmp_path, **QUIET)
    assert [path.name for path in tmp_path.iterdir()] == ["standard.safetensors"]


@pytest.mark.parametrize("other", ["seed", "labels", "validation", "settings", "model"])
def test_a_finished_stage_of_another_training_is_not_taken_for_this_one(other, split, trainings, tmp_path):
    """A folder used twice either gives the training that was asked for or is refused, never the old one."""
    stages.standard(split.train, split.valid, tiny.RECIPE, folder=tmp_path, **QUIET)
    train = split.train[:10] if other == "labels" else split.train
    valid = split.valid[:10] if other == "validation" else split.valid
    recipe = tiny.RECIPE
    if other == "settings":
        recipe = replace(recipe, accurate=replace(tiny.TRAIN, learning_rate=0.001))
    if other == "model":
        recipe = replace(recipe, model_config={**tiny.MODEL, "hidden": 24})
    try:
        stages.standard(train, valid, recipe, seed=int(other == "seed"), folder=tmp_path, **QUIET)
    except ValueError as error:
        assert str(tmp_path) in str(error)
    else:
        assert len(trainings) == 2


def test_a_finished_stage_two_is_read_back_for_its_own_bias_only(split, trainings, tmp_path):
    arguments = (1.0, tiny.RECIPE)
    bias = torch.linspace(0.5, 3.0, 30, dtype=torch.float64)
    first = stages.train_on_inaccurate(split.inaccurate, split.valid, bias, *arguments, folder=tmp_path, **QUIET)
    last_digits = bias * (1 + 1e-6 * torch.randn(30, generator=torch.Generator().manual_seed(0)))
    for given in (bias, last_digits):  # another number of threads or a GPU may give those
        again = stages.train_on_inaccurate(split.inaccurate, split.valid, given, *arguments, folder=tmp_path, **QUIET)
        assert len(trainings) == 1 and torch.equal(again.bias, first.bias)
    with pytest.raises(ValueError, match="inaccurate-gamma1.*another training.*bias"):
        stages.train_on_inaccurate(split.inaccurate, split.valid, bias.flip(0), *arguments, folder=tmp_path, **QUIET)


def test_a_finished_stage_three_is_read_back_for_its_own_start_only(split, theta_a, trainings, tmp_path):
    tune = {"folder": tmp_path, **QUIET}
    stages.fine_tune(theta_a, split.train, split.valid, tiny.RECIPE, **tune)
    stages.fine_tune(theta_a, split.train, split.valid, tiny.RECIPE, **tune)
    assert len(trainings) == 1
    other = replace(theta_a, model=tiny.model(seed=9))
    with pytest.raises(ValueError, match="standard-tuned.*another training.*starting weights"):
        stages.fine_tune(other, split.train, split.valid, tiny.RECIPE, **tune)


def test_seed_and_gamma_may_be_numbers_of_numpy_and_pytorch(split, tmp_path):
    bias = torch.linspace(1, 2, 30, dtype=torch.float64)
    labels, keep = (split.inaccurate, split.valid, bias), {"folder": tmp_path, **QUIET}
    plain = stages.train_on_inaccurate(*labels, 2.0, tiny.RECIPE, seed=3, **QUIET)
    other = stages.train_on_inaccurate(*labels, torch.tensor(2.0), tiny.RECIPE, seed=np.int64(3), **keep)
    torch.testing.assert_close(other.model.state_dict(), plain.model.state_dict(), rtol=0, atol=0)
    assert ForceField.load(tmp_path / "inaccurate-gamma2.safetensors").provenance["seed"] == 3


def test_labels_of_another_molecule_are_refused(split, theta_a):
    ethanol = datasets.load("ethanol", "gfn2")
    with pytest.raises(ValueError, match="methanol .*ethanol .*same order"):
        stages.standard(split.train, ethanol[:5], tiny.RECIPE, **QUIET)
    with pytest.raises(ValueError, match=r"start from has the atoms \[6, 8, 1.*labels of ethanol have \[6, 6, 8"):
        stages.fine_tune(theta_a, ethanol[:5], ethanol[5:9], tiny.RECIPE, **QUIET)


def test_a_bias_of_other_frames_is_refused(split):
    with pytest.raises(ValueError, match=r"bias has the shape \(29,\).*30 frames"):
        stages.train_on_inaccurate(split.inaccurate, split.valid, torch.ones(29), 1.0, tiny.RECIPE, **QUIET)


def test_frames_with_spoilt_labels_have_the_largest_bias(split):
    """Section 3.1: what θ_A does not agree with is ranked last, though θ_A has seen 20 labels only."""
    spoilt = tiny.corrupted(split.inaccurate, 8, size=40.0)
    recipe = replace(tiny.RECIPE, identification=replace(tiny.TRAIN, steps=100, eval_every=25))
    theta_a, bias = stages.identify_bias(split.train, split.valid, spoilt, recipe, **QUIET)
    assert float(bias[:8].min()) > float(bias[8:].max())
    assert theta_a.level == "ccsd(t)"


def test_without_inaccurate_labels_there_is_no_asteroid():
    with pytest.raises(ValueError, match="no inaccurate labels"):
        stages.asteroid(tiny.methanol(inaccurate_budget=None), tiny.RECIPE, **QUIET)


def test_test_errors_by_hand(split, theta_a):
    two = split.test[:2]
    energy, force = theta_a.energy_and_force(two.pos)
    off = torch.tensor([1.0, -3.0], dtype=torch.float64)
    errors = stages.test_errors(theta_a, replace(two, energy=energy + off, force=force.double() + off[:, None, None]))
    expected = {"force_mae": 2, "force_mae_std_error": 1, "force_rmse": 5**0.5, "energy_mae": 2}
    assert errors == pytest.approx(expected, rel=1e-5)


def test_one_test_frame_has_no_error_of_the_mean(split, theta_a):
    with pytest.raises(ValueError, match="1 frame.*2 or more"):
        stages.test_errors(theta_a, split.test[:1])


@pytest.mark.parametrize("gammas", [(), (1.0, 0.0), (-1.0,), (math.nan,), 1.0, ("a",)])
def test_a_gamma_that_is_not_positive_is_refused_before_any_training(gammas):
    with pytest.raises(ValueError, match="gammas are .*positive"):
        Recipe(gammas=gammas)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "egn"}, "unknown model 'egn'; known: egnn"),
        ({"model_config": {"hiden": 3}}, "egnn has no setting.*hiden"),
        ({"accurate": {"steps": 3}}, "accurate is {'steps': 3}; expected a TrainConfig"),
        ({"temperature": "500"}, "temperature is '500'"),
    ],
)
def test_a_recipe_that_no_run_could_follow_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**settings)


def test_a_recipe_is_hashable_and_knows_no_order_of_settings():
    reversed_config = dict(reversed(list(tiny.MODEL.items())))
    again = Recipe(**{**vars(tiny.RECIPE), "model_config": reversed_config, "gammas": list(tiny.RECIPE.gammas)})
    assert again == tiny.RECIPE and hash(again) == hash(tiny.RECIPE)


def test_pretraining_on_cheap_labels_lowers_the_test_error():
    """The paper's claim in small, at equal accurate labels and equal steps on them: 13 % on each of three seeds."""
    split = tiny.methanol(budget=10, inaccurate_budget=400, valid=20, test=100)
    steps = {"steps": 400, "decay_steps": 400, "decay_rate": 0.01, "warmup": 20, "eval_every": 50}
    config = replace(tiny.TRAIN, batch_size=10, **steps)
    recipe = Recipe(
        model_config=tiny.MODEL | {"hidden": 32},
        accurate=config,
        inaccurate=config,
        fine_tuning=replace(config, learning_rate=0.01),
    )
    standard = stages.standard(split.train, split.valid, recipe, **QUIET)
    pretrained = stages.train_on_inaccurate(split.inaccurate, split.valid, None, math.inf, recipe, **QUIET)
    tuned = stages.fine_tune(pretrained, split.train, split.valid, recipe, **QUIET)
    errors = [stages.test_errors(force_field, split.test)["force_mae"] for force_field in (standard, tuned)]
    assert errors[1] < 0.95 * errors[0]


@pytest.mark.parametrize("name", ["gemnet-t", "gemnet-q"])
def test_gemnet_goes_through_all_stages_with_scaling_factors_of_its_own(name, split, tmp_path):
    sizes = {"blocks": 1, "atom": 16, "edge": 16, "triplet": 8, "triplet_out": 8}
    sizes |= {"quadruplet": 8, "spherical": 8, "quadruplet_out": 8} if name == "gemnet-q" else {}
    slow = replace(tiny.TRAIN, learning_rate=0.002)
    recipe = Recipe(name, sizes, accurate=slow, identification=slow, inaccurate=slow, fine_tuning=slow, gammas=(1.0,))
    force_field = stages.asteroid(split, recipe, folder=tmp_path, **QUIET)
    factors = [float(buffer) for buffer in force_field.model.buffers()]
    assert factors and all(factor != 1 for factor in factors)
    force_field.save(tmp_path / "final.safetensors")
    again = ForceField.load(tmp_path / "final.safetensors")
    ours, theirs = (trained.energy_and_force(split.test.pos)[1] for trained in (force_field, again))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-3)  # threads add in any order
    losses_of_stage_two = force_field.provenance["started_from"]["history"]["train_loss"]
    assert losses_of_stage_two[-1] < losses_of_stage_two[0]
