"""Seconds of a step of dynamics: measured for the force field, the price of a label for a level of theory."""

from dataclasses import replace

import pytest
import tiny
import torch

from asteroid import datasets, models
from asteroid.baselines import sgdml
from asteroid.book import step_cost

DELTA = replace(tiny.STANDARD, method="delta", inaccurate="pbe")


@pytest.fixture(autouse=True)
def few_calls(monkeypatch):
    step_cost._measured.cache_clear()
    monkeypatch.setattr(step_cost, "CALLS", 10)
    yield
    step_cost._measured.cache_clear()


def test_a_step_of_delta_includes_the_price_of_its_cheap_level(monkeypatch):
    price = datasets.load("methanol", "pbe").median_seconds
    assert price < step_cost.seconds_per_step(DELTA) < price + 0.5
    monkeypatch.setattr(datasets.LabelledSet, "median_seconds", None)
    step_cost._measured.cache_clear()
    assert step_cost.seconds_per_step(DELTA) is None


def test_methods_with_the_same_network_are_measured_once(monkeypatch):
    built = []
    original = models.build
    monkeypatch.setattr(models, "build", lambda *args, **config: (built.append(args), original(*args, **config))[1])
    same = [tiny.STANDARD, tiny.ASTEROID, replace(tiny.ASTEROID, method="fidelity"), replace(tiny.STANDARD, seed=1)]
    threads = torch.get_num_threads()
    assert len({step_cost.seconds_per_step(spec) for spec in same}) == len(built) == 1
    assert torch.get_num_threads() == threads


@tiny.needs("sgdml")
def test_sgdml_is_measured_with_its_own_labels():
    few, many = (replace(tiny.STANDARD, method="sgdml", budget=budget) for budget in (5, 40))
    assert step_cost.seconds_per_step(few) > 0 and step_cost.seconds_per_step(many) > 0
    assert step_cost._measured.cache_info().currsize == 2


def test_a_method_whose_package_is_missing_has_no_cost(monkeypatch):
    def train(*args, **kwargs):
        raise ImportError("sGDML is not installed")

    monkeypatch.setattr(sgdml, "train", train)
    assert step_cost.seconds_per_step(replace(tiny.STANDARD, method="sgdml")) is None


def test_every_method_that_trains_a_network_has_a_price(monkeypatch):
    monkeypatch.setattr(step_cost, "CALLS", 2)
    for method in ("inaccurate", "score-matching-not-tuned", "asteroid"):
        assert step_cost.seconds_per_step(replace(tiny.ASTEROID, method=method)) > 0
