"""The training loop: what it learns, when it stops, and that an interruption changes nothing."""

import json
import math
import pickle
import types
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from tiny import weights

from asteroid import training
from asteroid.training import State, TrainConfig, TrainingDiverged, energy_shift, fit, forces, predict

TOLERANCE = {
    "mean energy": 1e-3,  # kcal/mol, of single-precision predictions
    "error of the kept weights": 1e-5,  # relative
}


class EverySecondIsAnHour:
    """A clock on which every look is long after the one before, so that each step writes a checkpoint."""

    now = 0.0

    def perf_counter(self) -> float:
        self.now += 3600
        return self.now


@pytest.fixture
def restless_clock(monkeypatch) -> None:
    monkeypatch.setattr(training.loop, "time", EverySecondIsAnHour())


@pytest.fixture
def steps_taken(monkeypatch) -> types.SimpleNamespace:
    """Counts training steps, keeps the positions each one saw, and interrupts before a chosen one."""
    taken = types.SimpleNamespace(count=0, positions=[], interrupt_before=None)
    original = forces.training_step

    def counting(*args, **kwargs):
        step_of = original(*args, **kwargs)

        def step(pos, *batch):
            if taken.count == taken.interrupt_before:
                raise KeyboardInterrupt
            taken.count += 1
            taken.positions.append(pos)
            return step_of(pos, *batch)

        return step

    monkeypatch.setattr(forces, "training_step", counting)
    return taken


def misleading() -> tuple[tiny.Frames, tiny.Frames]:
    """Training and validation frames whose forces point in opposite directions: learning makes validation worse."""
    train = tiny.methanol(budget=10, inaccurate_budget=None).train
    return tiny.frames(train), tiny.frames(train, force=-train.force)


@pytest.mark.parametrize(
    "setting",
    [{"clip": 1e-3}, {"weight_decay": 10.0}, {"ema": 0.0}, {"rho": 0.5}, {"optimizer": "adamw"}],
    ids=str,
)
def test_every_setting_reaches_the_training(setting):
    split, ends = tiny.methanol(), []
    for config in (tiny.TRAIN, replace(tiny.TRAIN, **setting)):
        model = tiny.model()
        fit(model, split.train, split.valid, config)
        ends.append(weights(model))
    assert not torch.equal(*ends)


def test_steps_are_those_of_adamw_on_clipped_gradients_and_the_weights_are_averaged():
    """Against PyTorch's optimiser on separate tensors, with gradients on either side of the largest norm."""
    settings = {"learning_rate": 0.02, "warmup": 3, "decay_steps": 5, "decay_rate": 0.1, "ema": 0.2}
    config = replace(tiny.TRAIN, optimizer="adamw", weight_decay=5.0, clip=2.0, **settings)
    state, plain = State(tiny.model(), config), tiny.model()
    optimizer, average = torch.optim.AdamW(plain.parameters(), weight_decay=5.0), weights(plain)
    generator = torch.Generator().manual_seed(0)
    for step, size in enumerate((1e-3, 1.0, 1e-2, 3.0)):
        gradients = [size * torch.randn(part.shape, generator=generator) for part in plain.parameters()]
        state.update(gradients)
        for part, gradient in zip(plain.parameters(), gradients, strict=True):
            part.grad = gradient.clone()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), 2.0)
        optimizer.param_groups[0]["lr"] = 0.02 * min(1, (step + 1) / 3) * 0.1 ** (step / 5)
        optimizer.step()
        average += (1 - min(0.2, (1 + step) / (10 + step))) * (weights(plain) - average)
    torch.testing.assert_close(state.weights, weights(plain))
    torch.testing.assert_close(state.average, average)


def test_training_reduces_the_validation_error():
    split = tiny.methanol(budget=20, inaccurate_budget=None)
    history = fit(tiny.model(), split.train, split.valid, replace(tiny.TRAIN, steps=80, warmup=10, eval_every=20))
    assert history.step == [20, 40, 60, 80]
    assert history.best < 0.8 * history.valid_force_mae[0]
    assert history.train_loss[-1] < 0.8 * history.train_loss[0]
    assert (
        history.best == min(history.valid_force_mae) == history.valid_force_mae[history.step.index(history.best_step)]
    )
    assert history.seconds > 0


def test_the_same_seed_gives_the_same_weights_and_another_seed_other_ones():
    split, results = tiny.methanol(), []
    for seed in (0, 0, 1):
        model = tiny.model()
        fit(model, split.train, split.valid, tiny.TRAIN, seed=seed)
        results.append(weights(model))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_a_trained_model_is_pickled_with_its_weights_once():
    split, model = tiny.methanol(), tiny.model()
    before = len(pickle.dumps(model))
    fit(model, split.train, split.valid, tiny.TRAIN)
    assert len(pickle.dumps(model)) < 1.1 * before


@pytest.mark.parametrize("optimizer", ["muon", "soap", "adamw"])
@pytest.mark.parametrize("interrupt_before", [1, 6, 8, 11])
def test_a_resumed_training_ends_with_the_same_bits(interrupt_before, optimizer, steps_taken, restless_clock, tmp_path):
    split, checkpoint = tiny.methanol(), tmp_path / "folder" / "stage.checkpoint"
    # SOAP turns its axes every ten steps.
    config = replace(tiny.TRAIN, plateau=4, optimizer=optimizer)
    weight = torch.linspace(0.5, 1.5, len(split.train), dtype=torch.float64)
    undisturbed = tiny.model()
    expected = asdict(fit(undisturbed, split.train, split.valid, config, weight=weight))
    steps_taken.count, steps_taken.interrupt_before = 0, interrupt_before
    with pytest.raises(KeyboardInterrupt):
        fit(tiny.model(), split.train, split.valid, config, weight=weight, checkpoint=checkpoint)
    assert checkpoint.exists()
    steps_taken.count, steps_taken.interrupt_before = 0, None
    resumed = tiny.model()
    history = asdict(fit(resumed, split.train, split.valid, config, weight=weight, checkpoint=checkpoint))
    assert steps_taken.count == config.steps - interrupt_before  # it went on and did not start anew
    assert torch.equal(weights(resumed), weights(undisturbed))
    assert {**history, "seconds": 0} == {**expected, "seconds": 0}
    assert list(checkpoint.parent.iterdir()) == [checkpoint]  # until the caller has kept the result


def test_a_resumed_training_keeps_the_best_weights_from_before_the_interrupt(steps_taken, restless_clock, tmp_path):
    (train, valid), config = misleading(), replace(tiny.TRAIN, steps=24)
    undisturbed, resumed = tiny.model(), tiny.model()
    assert fit(undisturbed, train, valid, config).best_step < 20
    steps_taken.count, steps_taken.interrupt_before = 0, 22
    with pytest.raises(KeyboardInterrupt):
        fit(tiny.model(), train, valid, config, checkpoint=tmp_path / "checkpoint")
    steps_taken.interrupt_before = None
    fit(resumed, train, valid, config, checkpoint=tmp_path / "checkpoint")
    assert torch.equal(weights(resumed), weights(undisturbed))


@pytest.fixture
def interrupted_at(steps_taken, restless_clock, tmp_path) -> Callable[[int, TrainConfig], Path]:
    """Checkpoint of a training on the methanol split that was interrupted before a step."""

    def interrupt(step: int, config: TrainConfig) -> Path:
        split, steps_taken.count, steps_taken.interrupt_before = tiny.methanol(), 0, step
        with pytest.raises(KeyboardInterrupt):
            fit(tiny.model(), split.train, split.valid, config, checkpoint=tmp_path / "checkpoint")
        steps_taken.count, steps_taken.interrupt_before = 0, None
        return tmp_path / "checkpoint"

    return interrupt


@pytest.fixture
def interrupted(interrupted_at) -> Path:
    return interrupted_at(6, tiny.TRAIN)


@pytest.mark.parametrize(
    "other",
    [
        *("settings", "optimizer", "seed", "frames", "forces", "energies"),
        *("validation", "no validation", "weight", "model", "start"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused(other, interrupted):
    split = tiny.methanol(seed=1 if other == "frames" else 0)
    train = split.train
    if other in ("forces", "energies"):  # of the same frames, labelled anew
        name = {"forces": "force", "energies": "energy"}[other]
        train = replace(train, **{name: 1.01 * getattr(train, name)})
    valid = {"validation": tiny.methanol(seed=1).valid, "no validation": None}.get(other, split.valid)
    changed = {"settings": {"learning_rate": 0.01}, "optimizer": {"optimizer": "adamw"}}.get(other, {})
    config = replace(tiny.TRAIN, **changed)
    weight = torch.full((len(split.train),), 2.0, dtype=torch.float64) if other == "weight" else None
    model = tiny.model(seed=1 if other == "start" else 0, hidden=24 if other == "model" else 16)
    with pytest.raises(ValueError, match="checkpoint.*another training"):
        fit(model, train, valid, config, seed=int(other == "seed"), weight=weight, checkpoint=interrupted)


def test_the_checkpoint_of_the_same_training_is_taken(interrupted, steps_taken):
    split = tiny.methanol()
    fit(tiny.model(), split.train, split.valid, tiny.TRAIN, checkpoint=interrupted)
    assert steps_taken.count == tiny.TRAIN.steps - 6


@pytest.mark.parametrize("damage", ["empty", "truncated", "text", "foreign"])
def test_a_damaged_checkpoint_is_refused_by_name(damage, interrupted):
    content = interrupted.read_bytes()
    if damage == "foreign":
        torch.save({"weights": torch.zeros(3)}, interrupted)
    else:
        changed = {"empty": b"", "truncated": content[: len(content) // 2], "text": b"not a checkpoint"}
        interrupted.write_bytes(changed[damage])
    split = tiny.methanol()
    with pytest.raises(ValueError, match="(?s)checkpoint.*delete it") as error:
        fit(tiny.model(), split.train, split.valid, tiny.TRAIN, checkpoint=interrupted)
    assert "weights_only" not in str(error.value)  # torch's advice to load the file without its safety catch


def test_numpy_s_numbers_are_settings_that_a_file_can_hold():
    config = TrainConfig(steps=np.int64(4), learning_rate=np.float32(0.5), eval_every=np.int32(2), compile=False)
    assert json.loads(json.dumps(asdict(config))) == asdict(replace(config, steps=4, eval_every=2, learning_rate=0.5))


def test_equal_settings_are_written_alike():
    config = TrainConfig(decay_steps=1e5, patience=np.float64(2000), learning_rate=1)
    same = TrainConfig(decay_steps=100_000, patience=2000, learning_rate=1.0)
    assert config == same and json.dumps(asdict(config)) == json.dumps(asdict(same))


def test_a_checkpoint_that_cannot_be_written_leaves_the_older_one(interrupted, steps_taken, monkeypatch):
    before, split = interrupted.read_bytes(), tiny.methanol()

    def full_disk(content, path):
        Path(path).write_bytes(b"half")
        raise RuntimeError("PytorchStreamWriter failed writing file")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="could not write the checkpoint.*is the disk full"):
        fit(tiny.model(), split.train, split.valid, tiny.TRAIN, checkpoint=interrupted)
    assert interrupted.read_bytes() == before
    assert list(interrupted.parent.iterdir()) == [interrupted]


@pytest.mark.parametrize(("frames", "batch_size"), [(7, 3), (6, 3), (7, 7), (5, 50), (1, 10)])
def test_every_frame_is_seen_equally_often(frames, batch_size, steps_taken):
    train = tiny.methanol(budget=frames, inaccurate_budget=None).train
    size = min(frames, batch_size)
    config = replace(tiny.TRAIN, batch_size=batch_size, steps=2 * frames)
    fit(tiny.model(), train, train, config)
    seen = Counter(round(float(frame[0, 0]), 5) for batch in steps_taken.positions for frame in batch)
    assert all(len(batch) == size for batch in steps_taken.positions)  # never more than there are
    assert len(seen) == frames and set(seen.values()) == {2 * size}


def test_frames_come_in_another_order_in_every_epoch(steps_taken):
    train = tiny.methanol(budget=8, inaccurate_budget=None).train
    fit(tiny.model(), train, train, replace(tiny.TRAIN, batch_size=4, steps=8))
    epochs = [torch.cat(steps_taken.positions[k : k + 2])[:, 0, 0].tolist() for k in range(0, 8, 2)]
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert len({tuple(sorted(epoch)) for epoch in epochs}) == 1


def test_weights_of_the_frames_reach_the_training():
    """With weight 0 it makes no difference what the labels of a frame are, else it does."""
    split = tiny.methanol(budget=10)
    weight = torch.ones(10, dtype=torch.float64)
    weight[:5] = 0
    ends = {}
    for given in (weight, None):
        for size in (10.0, 100.0):
            model = tiny.model()
            fit(model, tiny.corrupted(split.train, 5, size), split.valid, tiny.TRAIN, weight=given)
            ends[given is None, size] = weights(model)
    assert torch.equal(ends[False, 10.0], ends[False, 100.0])
    assert not torch.equal(ends[True, 10.0], ends[True, 100.0])
    assert not torch.equal(ends[True, 10.0], ends[False, 10.0])


@pytest.mark.parametrize("field", ["energy", "force", "pos"])
def test_labels_that_are_no_numbers_stop_the_training(field):
    train = tiny.frames(tiny.methanol().train)
    getattr(train, field)[:] = math.nan
    with pytest.raises(TrainingDiverged, match="step 0.*labels"):
        fit(tiny.model(), train, train, tiny.TRAIN)


def test_a_training_that_diverges_stops_and_says_what_to_do():
    """It stops while the loss is still a number, and does not wait for NaN."""
    split = tiny.methanol()
    wild = replace(tiny.TRAIN, learning_rate=10.0, warmup=0, steps=200, clip=1e9)
    with pytest.raises(TrainingDiverged, match=r"the loss is [\d.]+e\+\d+ at step.*lower learning_rate \(10.0\)"):
        fit(tiny.model(), split.train, split.valid, wild)


def test_training_stops_when_validation_has_not_improved_for_patience_steps(steps_taken):
    train, valid = misleading()
    history = fit(tiny.model(), train, valid, replace(tiny.TRAIN, steps=100, eval_every=4, patience=12))
    assert history.best_step < 80
    assert steps_taken.count == history.step[-1] == history.best_step + 12


def test_the_model_ends_with_the_averaged_weights_of_the_best_validation():
    train, valid = misleading()
    model = tiny.model()
    history = fit(model, train, valid, replace(tiny.TRAIN, steps=60))
    _, force = predict(model, valid.z, valid.pos.float())
    assert history.best_step < 60 and history.valid_force_mae[-1] > 1.02 * history.best
    error = float((force - valid.force.float()).abs().mean())
    assert error == pytest.approx(history.best, rel=TOLERANCE["error of the kept weights"])


def test_the_learning_rate_is_halved_on_a_plateau():
    split = tiny.methanol()
    # So small a rate moves no weight, and validation stays what it was.
    still = {"learning_rate": 1e-15, "warmup": 0, "decay_rate": 1.0}
    history = fit(
        tiny.model(), split.train, split.valid, replace(tiny.TRAIN, steps=24, eval_every=4, plateau=8, **still)
    )
    # The best is at step 4; it has not improved for 8 steps at step 12, and again at 20.
    assert history.best_step == 4 and len(set(history.valid_force_mae)) == 1
    assert history.learning_rate == pytest.approx(
        [1e-15 * scale for scale in (1, 1, 1, 0.5, 0.5, 0.25)], rel=1e-6, abs=0
    )


def test_a_resumed_training_remembers_how_long_it_has_been_on_a_plateau(interrupted_at):
    split, still = tiny.methanol(), {"learning_rate": 1e-15, "warmup": 0, "decay_rate": 1.0}
    config = replace(tiny.TRAIN, steps=24, eval_every=4, plateau=8, **still)
    expected = fit(tiny.model(), split.train, split.valid, config).learning_rate
    checkpoint = interrupted_at(14, config)  # the rate was halved at step 12, and will be at 20, not at 16
    assert fit(tiny.model(), split.train, split.valid, config, checkpoint=checkpoint).learning_rate == expected


def test_the_learning_rate_warms_up_and_decays():
    split = tiny.methanol()
    config = replace(tiny.TRAIN, steps=8, eval_every=1, warmup=4, decay_steps=8, decay_rate=0.1)
    rates = fit(tiny.model(), split.train, split.valid, config).learning_rate
    expected = [config.learning_rate * min(1, (k + 1) / 4) * 0.1 ** (k / 8) for k in range(8)]
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        *[(name, [1], [0, -1, math.nan, 1.5, "many"]) for name in ("steps", "batch_size", "eval_every")],
        *[(name, [0.5], [0, -1, math.nan, None]) for name in ("learning_rate", "clip")],
        *[(name, [10**9], [0, -1, math.nan]) for name in ("decay_steps", "plateau", "patience")],
        *[(name, [0, 2], [-1, math.nan]) for name in ("warmup", "weight_decay")],
        ("decay_rate", [0.01, 1], [0, -0.1, 1.1, math.nan]),
        ("ema", [0, 0.99], [1, -0.1, math.nan]),
        ("rho", [0, 1], [-0.1, 1.1, math.nan]),
    ],
)
def test_settings_out_of_their_range_are_refused_by_name(name, good, bad):
    for value in good:
        assert getattr(TrainConfig(**{name: value}), name) == value
    for value in bad:
        with pytest.raises(ValueError, match=f"^TrainConfig: {name} is {value!r}; "):
            TrainConfig(**{name: value})


def test_a_number_that_yaml_takes_for_a_text_is_a_number():
    assert TrainConfig(learning_rate="1e-3").learning_rate == 1e-3


def test_all_wrong_settings_are_listed_at_once():
    with pytest.raises(ValueError, match="steps is 0; .*; ema is 1; .*; rho is 2; "):
        TrainConfig(steps=0, ema=1, rho=2)


def test_a_patience_that_would_end_before_the_first_evaluation_is_refused():
    with pytest.raises(ValueError, match="compile is 'perhaps'; "):
        TrainConfig(compile="perhaps")
    with pytest.raises(ValueError, match=r"patience is 4, expected at least eval_every \(8\)"):
        replace(tiny.TRAIN, steps=12, eval_every=8, patience=4)


def test_the_energy_shift_makes_the_mean_energy_that_of_the_labels():
    train, model = tiny.methanol().train, tiny.model()
    energy, _ = predict(model, train.z, train.pos.float())
    shifted = energy.double() + energy_shift(model, train)
    assert float(shifted.mean()) == pytest.approx(float(train.energy.mean()), abs=TOLERANCE["mean energy"])


def test_predictions_do_not_depend_on_the_size_of_the_parts():
    train, model = tiny.methanol().train, tiny.model(dtype=torch.float64)
    whole, parts = predict(model, train.z, train.pos), predict(model, train.z, train.pos, batch_size=3)
    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_weights_that_do_not_fit_the_frames_are_refused():
    train = tiny.methanol(budget=6).train
    with pytest.raises(ValueError, match=r"weight has the shape \(3,\); expected one for each of 6 frames"):
        fit(tiny.model(), train, train, tiny.TRAIN, weight=torch.ones(3))


@pytest.mark.parametrize("molecules", [1, 2])
def test_a_training_whose_steps_could_not_be_traced_says_so_once_and_in_its_history(molecules, monkeypatch):
    def fails(*args):
        raise RuntimeError("no TorchScript any more\nand a long trace")

    monkeypatch.setattr(training.loop, "TRACE_FROM_STEPS", 1)
    monkeypatch.setattr(forces, "_script", fails)
    split, ends = tiny.methanol(), []
    sets, valid = [split.train] * molecules, [split.valid] * molecules
    config = replace(tiny.TRAIN, rho=0.77)  # of which no other test has a graph
    for _ in range(2):  # a failure is not forgotten by the second training
        with pytest.warns(UserWarning, match="training runs uncompiled .*no TorchScript any more") as given:
            end, history = trained(sets, valid, config)
        assert len(given) == 1 and history.uncompiled == "RuntimeError: no TorchScript any more"
        ends.append(end)
    monkeypatch.setattr(training.loop, "TRACE_FROM_STEPS", 1000)
    eager, history = trained(sets, valid, config)
    assert history.uncompiled is None and torch.equal(eager, ends[0]) and torch.equal(eager, ends[1])


def test_a_history_of_before_steps_were_said_to_be_uncompiled_is_read():
    content = asdict(training.History(step=[4], best_step=4))
    del content["uncompiled"]
    assert training.History(**content).uncompiled is None


# Without validation frames


def trained(train, valid, config, **options) -> tuple[torch.Tensor, training.History]:
    model = tiny.model()
    history = fit(model, train, valid, config, **options)
    return weights(model), history


def test_without_validation_the_averaged_weights_of_the_last_step_are_kept():
    """As with frames that are best at the end, and not as with those that are best early."""
    (train, against), config = misleading(), replace(tiny.TRAIN, steps=62)
    last, with_best_last = trained(train, train, config)
    early, with_best_early = trained(train, against, config)
    assert with_best_last.best_step == 62 and with_best_early.best_step < 60
    kept, history = trained(train, None, config)
    assert torch.equal(kept, last) and not torch.equal(kept, early)
    assert history.best is None and history.valid_force_mae == [] and history.best_step == 62
    for column in ("step", "train_loss", "learning_rate"):
        assert getattr(history, column) == getattr(with_best_last, column) and len(getattr(history, column)) == 16


def test_without_validation_neither_patience_nor_a_plateau_ends_or_slows_a_training(steps_taken):
    train, still = tiny.methanol().train, {"learning_rate": 1e-15, "warmup": 0, "decay_rate": 1.0}
    _, history = trained(train, None, replace(tiny.TRAIN, steps=24, plateau=4, patience=4, **still))
    assert steps_taken.count == 24 and set(history.learning_rate) == {1e-15}


@pytest.mark.parametrize("interrupt_before", [1, 9])
def test_a_training_without_validation_is_resumed_to_the_same_bits(
    interrupt_before, steps_taken, restless_clock, tmp_path
):
    train, checkpoint = tiny.methanol().train, tmp_path / "checkpoint"
    expected, history = trained(train, None, tiny.TRAIN)
    steps_taken.count, steps_taken.interrupt_before = 0, interrupt_before
    with pytest.raises(KeyboardInterrupt):
        trained(train, None, tiny.TRAIN, checkpoint=checkpoint)
    steps_taken.count, steps_taken.interrupt_before = 0, None
    resumed, again = trained(train, None, tiny.TRAIN, checkpoint=checkpoint)
    assert steps_taken.count == tiny.TRAIN.steps - interrupt_before
    assert torch.equal(resumed, expected)
    assert {**asdict(again), "seconds": 0} == {**asdict(history), "seconds": 0}
    with pytest.raises(ValueError, match="another training"):
        trained(train, tiny.methanol().valid, tiny.TRAIN, checkpoint=checkpoint)
