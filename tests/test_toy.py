"""The toy example: what is drawn is what was asked for, networks learn, and weights find the unbiased points."""

from dataclasses import replace

import pytest
import torch

from asteroid import profiles
from asteroid.runs import toy
from asteroid.runs.methods import METHODS
from asteroid.runs.records import Store
from asteroid.runs.toy import Toy
from asteroid.training import losses

TINY = Toy(
    20, biased=90, outputs=3, valid=10, test=20, steps=6, learning_rates=(0.003,), gammas=(0.5, 1.0), seeds=(0, 1, 2)
)
LEARNS = replace(TINY, accurate=60, biased=300, valid=30, test=200, steps=150, learning_rates=(0.003, 0.01))


@pytest.fixture(scope="module")
def learned() -> dict:
    return toy.compare(LEARNS)


def test_targets_are_linear_and_biased_by_what_was_drawn():
    data = toy.draw(replace(TINY, test=40))
    matrix = torch.linalg.lstsq(data.test.x, data.test.y).solution  # (repetitions, inputs, outputs)
    for points in (data.accurate, data.valid, data.test):
        assert torch.allclose(points.y, points.x @ matrix, atol=1e-4)
    added = data.biased.y - data.biased.x @ matrix
    expected = torch.tensor(TINY.biases)[data.drawn]
    assert torch.allclose(added, expected[..., None].expand_as(added), atol=1e-4)
    assert set(data.drawn.unique().tolist()) == {0, 1, 2}


def test_targets_have_unit_variance():
    data = toy.draw(Toy(1, test=1000, biased=2, outputs=32))
    assert data.test.y.var(dim=(0, 1)).mean() == pytest.approx(1, abs=0.1)


def test_a_bias_that_is_a_function_of_the_input_is_that_of_the_neighbours():
    data = toy.draw(replace(TINY, by_input=True))
    counts = torch.stack([(data.drawn == place).sum(dim=1) for place in range(3)])
    assert counts.max() - counts.min() <= 1 and counts.sum() == 3 * (TINY.biased + TINY.valid)
    # Along one direction the parts do not overlap: the direction is what separates their means.
    for x, drawn in zip(data.biased.x, data.drawn):
        direction = x[drawn == 2].mean(dim=0) - x[drawn == 0].mean(dim=0)
        along = x @ direction
        assert along[drawn == 0].mean() < along[drawn == 1].mean() < along[drawn == 2].mean()


def test_seeds_decide_points_and_weights_and_nothing_else_does():
    torch.manual_seed(1)
    first, again = toy.draw(TINY), toy.draw(replace(TINY, seeds=(2, 1)))
    assert torch.equal(first.biased.x[2], again.biased.x[0]) and torch.equal(first.drawn[1], again.drawn[1])
    assert torch.allclose(first.biased.y[2], again.biased.y[0])
    assert not torch.equal(first.accurate.x[0], first.accurate.x[1])
    start, other = toy.initial(TINY), toy.initial(replace(TINY, seeds=(2,)))
    assert all(torch.equal(a[2], b[0]) for a, b in zip(start, other))


def test_networks_of_a_batch_are_those_of_one_at_a_time():
    spec = replace(TINY, steps=20)
    data = toy.draw(spec)
    together = toy.train(spec, toy.initial(spec), data.accurate, data.valid, 20)
    alone = replace(spec, seeds=(1,))
    data = toy.draw(alone)
    one = toy.train(alone, toy.initial(alone), data.accurate, data.valid, 20)
    assert torch.allclose(together.error[1], one.error[0], atol=1e-5)


def test_the_prediction_is_that_of_a_network_of_pytorch():
    parameters, x = toy.initial(TINY), toy.draw(TINY).test.x
    layers = [torch.nn.Linear(*part.shape[1:]) for part in parameters[::2]]
    for layer, weight, bias in zip(layers, parameters[::2], parameters[1::2]):
        layer.weight.data, layer.bias.data = weight[1].mT, bias[1, 0]
    network = torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1], torch.nn.ReLU(), layers[2])
    assert torch.allclose(toy.predict(parameters, x)[1], network(x[1]), atol=1e-6)


def test_training_lowers_the_error_and_leaves_the_start_alone():
    data, start = toy.draw(LEARNS), toy.initial(LEARNS)
    before = [part.clone() for part in start]
    trained = toy.train(LEARNS, start, data.accurate, data.valid, 60)
    assert (toy.mean_error(trained.parameters, data.test) < 0.7 * toy.mean_error(start, data.test)).all()
    assert all(map(torch.equal, before, start))
    assert torch.allclose(toy.mean_error(trained.parameters, data.valid), trained.error, atol=1e-6)


def test_the_learning_rate_with_the_smaller_validation_error_is_kept():
    spec = replace(LEARNS, learning_rates=(1e-9, 0.01))
    data, start = toy.draw(spec), toy.initial(spec)
    both = toy.train(spec, start, data.accurate, data.valid, 30)
    assert both.learning_rate.tolist() == [0.01] * 3
    better = toy.train(replace(spec, learning_rates=(0.01,)), start, data.accurate, data.valid, 30)
    assert all(map(torch.equal, both.parameters, better.parameters))


def test_weights_fall_with_the_bias_and_are_the_library_s():
    data = toy.draw(TINY)
    exact = data.biased.y - torch.tensor(TINY.biases)[data.drawn][..., None]
    bias = (exact - data.biased.y).abs().mean(dim=2)  # of a perfect θ_A
    weight = toy.weights_of(bias + 0.01, 0.5)
    for row, size, drawn in zip(weight, bias + 0.01, data.drawn):
        assert row[drawn == 0].min() > row[drawn == 1].max() and row[drawn == 1].min() > row[drawn == 2].max()
        assert torch.equal(row, losses.bias_weights(size, 0.5 * float(size.median())))


def test_the_estimated_bias_is_the_mean_absolute_difference():
    data, parameters = toy.draw(TINY), toy.initial(TINY)
    expected = (toy.predict(parameters, data.biased.x) - data.biased.y).abs().mean(dim=2)
    assert torch.allclose(toy.estimated_bias(parameters, data.biased), expected)


def test_weight_decay_makes_the_weights_smaller():
    data, start = toy.draw(TINY), toy.initial(TINY)
    sizes = []
    for decay in (0.0, 30.0):  # at a learning rate of 0.003, up to a tenth in each step
        parameters = toy.train(replace(TINY, weight_decay=decay), start, data.accurate, data.valid, 6).parameters
        sizes.append(sum(part.square().sum() for part in parameters))
    assert sizes[1] < 0.9 * sizes[0]


def test_points_without_weight_are_not_learned():
    data, start = toy.draw(TINY), toy.initial(TINY)
    weight = (data.drawn == 0).float()
    known = data.biased._replace(weight=weight)
    other = known._replace(y=data.biased.y + 100 * (data.drawn > 0)[..., None])
    one, two = (toy.train(TINY, start, points, data.valid, 6) for points in (known, other))
    assert all(map(torch.equal, one.parameters, two.parameters))
    assert not torch.equal(toy.train(TINY, start, other._replace(weight=None), data.valid, 6).error, two.error)


def test_without_bias_stage_two_alone_is_training_on_accurate_data():
    spec = replace(TINY, biases=(0.0,))
    data, start = toy.draw(spec), toy.initial(spec)
    weight = toy.weights_of(torch.ones(data.drawn.shape), 1.0)  # of one bias for all
    assert torch.equal(weight, torch.ones_like(weight))
    stage_two = toy.train(spec, start, data.biased._replace(weight=weight), data.valid, 6)
    accurate = toy.train(spec, start, data.biased, data.valid, 6)
    assert all(map(torch.equal, stage_two.parameters, accurate.parameters))
    # And the whole comparison says so: as many unbiased labels as accurate ones give the same error, points apart.
    equal = toy.compare(replace(LEARNS, biases=(0.0,), accurate=300, steps=60))["errors"]
    ratio = torch.tensor(equal["inaccurate"]).mean() / torch.tensor(equal["standard"]).mean()
    assert 0.9 < ratio < 1.6  # stage 2 has two thirds of the steps


def test_a_bias_that_all_points_share_is_learned_and_unlearned():
    # Even one so large that the untrained network (error 0.8) is nearer to the exact points.
    found = toy.compare(replace(LEARNS, accurate=20, biases=(1.0,)))["errors"]
    for method in ("inaccurate", "asteroid-not-tuned"):
        assert min(found[method]) > 0.9  # the bias is in what stage 2 learned
    assert sum(found["asteroid-unweighted"]) < 0.9 * sum(found["standard"])


def test_what_a_comparison_finds(learned):
    assert set(learned["errors"]) < set(METHODS)
    assert all(len(errors) == 3 and min(errors) > 0 for errors in learned["errors"].values())
    assert set(learned["gamma"]) <= set(LEARNS.gammas)
    assert all(set(rates) <= set(LEARNS.learning_rates) for rates in learned["learning_rates"].values())
    shares = learned["weight_shares"]
    assert sum(shares) == pytest.approx(1) and shares[0] > shares[1] > shares[2]
    # Labels with a mean bias of a half cannot be right without the last stage, and are of use with it.
    mean = {method: sum(errors) / 3 for method, errors in learned["errors"].items()}
    assert mean["asteroid"] < mean["standard"] and mean["asteroid"] < mean["inaccurate"]


def test_a_record_is_made_once_and_read_back(tmp_path, monkeypatch):
    store = Store(tmp_path)
    record = toy.run(TINY, store)
    assert toy.compare(TINY)["errors"] == record.errors  # reproducible
    monkeypatch.setattr(toy, "compare", None)
    assert toy.run(TINY, store) == record
    path = store.folder / TINY.file_name
    assert path.name.startswith("toy-a20-i90-o3-") and path.stat().st_size < 5000
    path.write_text("{}")
    with pytest.raises(ValueError, match=f"{path.name} is damaged.*delete it"):
        toy.run(TINY, store)


@pytest.mark.parametrize(
    "change",
    [
        {"accurate": 21},
        {"biases": (0.0, 1.0)},
        {"by_input": True},
        {"biased": 91},
        {"outputs": 4},
        {"valid": 11},
        {"test": 21},
        {"steps": 7},
        {"learning_rates": (0.01,)},
        {"weight_decay": 0.0},
        {"gammas": (1.0,)},
        {"seeds": (0,)},
    ],
    ids=str,
)
def test_whatever_decides_the_outcome_is_in_the_key(change):
    assert replace(TINY, **change).key != TINY.key


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"accurate": 0}, "accurate is 0; "),
        ({"biased": 1}, "biased is 1; "),
        ({"steps": 2.5, "outputs": 0}, "outputs is 0; .*; steps is 2.5; "),
        ({"biases": ()}, "biases: .*one or more"),
        ({"biases": (0.0, float("nan"))}, "biases.1 is nan; "),
        ({"gammas": (0.0,)}, "gammas.0 is 0.0; "),
        ({"learning_rates": (0.1, 0.1)}, "learning_rates: .*each once"),
        ({"seeds": (-1,)}, "seeds.0 is -1; "),
        ({"weight_decay": -1.0}, "weight_decay is -1.0; "),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_settings_that_no_example_can_have_are_refused(change, message):
    with pytest.raises(ValueError, match=f"Toy: .*{message}"):
        replace(TINY, **change)


@pytest.mark.parametrize("name", profiles.names())
def test_the_examples_of_a_profile(name):
    profile = profiles.load(name)
    sizes = toy.by_accurate(profile.toy)
    assert [spec.accurate for spec in sizes] == list(profile.toy.accurate) and len(set(sizes)) > 1
    default = toy.by_choice(profile.toy)["as above"]
    assert default in sizes and default in toy.by_largest_bias(profile.toy)  # trained once, shown on three figures
    assert len(set(toy.by_choice(profile.toy).values())) == len(toy.by_choice(profile.toy))
    if name != "smoke":
        assert len(default.seeds) >= 10 and (default.biased, toy.HIDDEN, toy.INPUTS) == (2000, 128, 16)
