"""The training step: its gradients, and that the compiled one is the same."""

import shutil

import pytest
import tiny
import torch

from asteroid.training import forces
from asteroid.training.objectives import Supervised

TOLERANCE = {
    "gradient by finite differences": 1e-6,  # double precision, relative to the largest
    "compiled": 1e-4,  # single precision, relative to the largest
}
needs_compiler = pytest.mark.skipif(
    not (shutil.which("g++") or shutil.which("c++")), reason="compiling needs a C++ compiler (g++ or c++)"
)


def batch(dtype: torch.dtype, frames: int = 3) -> tuple[torch.Tensor, ...]:
    """pos, energy, force and weight of a few frames."""
    labelled = tiny.methanol(budget=frames, inaccurate_budget=None).train
    energy = labelled.energy - labelled.energy.mean()
    weight = torch.linspace(0.5, 1.5, frames)
    return tuple(column.to(dtype) for column in (labelled.pos, energy, labelled.force, weight))


def z() -> torch.Tensor:
    return tiny.methanol(inaccurate_budget=None).train.z


def test_force_keeps_no_graph_unless_asked():
    model, (pos, *_) = tiny.model(), batch(torch.float32)
    energy, force = forces.energy_and_force(lambda pos: model(z(), pos), pos)
    assert not energy.requires_grad and not force.requires_grad and not pos.requires_grad
    with torch.no_grad():  # forces are to be had there as well
        again = forces.energy_and_force(lambda pos: model(z(), pos), pos)
    assert torch.equal(again[0], energy) and torch.equal(again[1], force)


def test_gradients_of_the_training_step_by_finite_differences():
    model, columns, step = tiny.model(dtype=torch.float64), batch(torch.float64), 1e-5
    step_of = forces.training_step(model, z(), Supervised(rho=0.9))
    value, gradients = step_of(*columns)
    assert value.shape == () and not value.requires_grad
    assert [gradient.shape for gradient in gradients] == [parameter.shape for parameter in model.parameters()]
    largest = max(float(gradient.abs().max()) for gradient in gradients)
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        place = int(gradient.abs().argmax())
        values = []
        for shift in (step, -step):
            parameter.data.view(-1)[place] += shift
            values.append(float(step_of(*columns)[0]))
            parameter.data.view(-1)[place] -= shift
        slope = (values[0] - values[1]) / (2 * step)
        expected = float(gradient.view(-1)[place])
        assert abs(slope - expected) < TOLERANCE["gradient by finite differences"] * largest


@needs_compiler
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch, about itself; it would stop the compiler
def test_the_compiled_step_is_the_eager_one_and_follows_the_weights():
    one_layer = {"layers": 1, "hidden": 8}  # compiles in a quarter of the time of two
    model, columns = tiny.model(**one_layer), batch(torch.float32)
    objective = Supervised(rho=0.999)
    eager = forces.training_step(model, z(), objective)
    compiled = forces.traced_training_step(model, z(), objective, columns)
    other = (columns[0] + 0.01, *columns[1:])
    for scale, frames in ((1.0, columns), (1.0, other), (1.1, columns)):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(scale)
        value, gradients = eager(*frames)
        compiled_value, compiled_gradients = compiled(*frames)
        assert float(compiled_value) == pytest.approx(float(value), rel=TOLERANCE["compiled"])
        largest = max(float(gradient.abs().max()) for gradient in gradients)
        for ours, theirs in zip(compiled_gradients, gradients, strict=True):
            assert float((ours - theirs).abs().max()) < TOLERANCE["compiled"] * largest

    twin = tiny.model(seed=1, **one_layer)  # a second model of the same shape has its own weights in the same code
    value = float(forces.training_step(twin, z(), objective)(*columns)[0])
    compiled_value = float(forces.traced_training_step(twin, z(), objective, columns)(*columns)[0])
    assert compiled_value == pytest.approx(value, rel=TOLERANCE["compiled"])


def fails(*args: object) -> None:
    raise RuntimeError("no compiler here\nand a long trace")


def wrong(graph, *example):
    """Code whose gradients are off by 10 %."""

    def compiled(parameters, buffers, *batch):
        value, gradients = graph(parameters, buffers, *batch)
        return value, tuple(1.1 * gradient for gradient in gradients)

    return compiled


def not_a_number(graph, *example):
    """Code whose last gradient is NaN."""

    def compiled(parameters, buffers, *batch):
        value, gradients = graph(parameters, buffers, *batch)
        return value, (*gradients[:-1], torch.nan * gradients[-1])

    return compiled


def wrong_value(graph, *example):
    def compiled(parameters, buffers, *batch):
        value, gradients = graph(parameters, buffers, *batch)
        return 1.1 * value, gradients

    return compiled


class Plain(torch.nn.Module):
    """Of no configuration: every distance a spring."""

    def __init__(self):
        super().__init__()
        self.constant = torch.nn.Parameter(torch.ones(()))

    def forward(self, z: torch.Tensor, pos: torch.Tensor) -> torch.Tensor:
        return self.constant * (pos[:, :, None] - pos[:, None]).square().sum(dim=(1, 2, 3))


class Unhashable(Supervised):
    __hash__ = None


@pytest.mark.parametrize(
    ("model", "objective", "reason"),
    [
        (Plain(), Supervised(rho=0.9), "'Plain' object has no attribute 'config'"),
        (tiny.model(), Unhashable(rho=0.9), "unhashable type"),
    ],
    ids=["model", "objective"],
)
def test_what_has_no_identity_is_not_compiled(model, objective, reason):
    with pytest.raises(forces.NotTraced, match=reason):
        forces.traced_training_step(model, z(), objective, batch(torch.float32))


@pytest.mark.parametrize(
    ("compile", "reason", "rho"),  # no other test has compiled a step with these
    [
        (fails, "no compiler here", 0.5),
        (wrong, "gradients differ from eager", 0.6),
        (not_a_number, "gradients differ from eager ones by nan", 0.7),
        (wrong_value, "values differ from eager", 0.8),
    ],
)
def test_without_a_working_compiler_the_reason_is_given_and_the_next_attempt_is_a_new_one(
    compile, reason, rho, monkeypatch
):
    objective, model, columns = Supervised(rho=rho), tiny.model(layers=1), batch(torch.float32)
    monkeypatch.setattr(forces, "_compile", compile)
    with pytest.raises(forces.NotTraced, match=reason) as raised:
        forces.traced_training_step(model, z(), objective, columns)
    assert "long trace" not in str(raised.value)
    monkeypatch.setattr(forces, "_compile", forces._script)
    value, _ = forces.traced_training_step(model, z(), objective, columns)(*columns)
    torch.testing.assert_close(value, forces.training_step(model, z(), objective)(*columns)[0])


def test_graphs_are_kept_up_to_a_number_and_the_least_recently_used_one_goes(monkeypatch):
    made, script = [], forces._script
    monkeypatch.setattr(forces, "_TRACED", {})
    monkeypatch.setattr(forces, "GRAPHS", 2)
    monkeypatch.setattr(forces, "_script", lambda *args: made.append(1) or script(*args))
    model, (pos, *_) = tiny.model(layers=1), batch(torch.float32)
    ask = lambda frames: forces.traced_energy_and_force(model, z(), pos[:frames])  # noqa: E731
    first = ask(1)
    for frames, graphs in ((2, 2), (1, 2), (3, 3), (1, 3), (2, 4)):
        ask(frames)
        assert len(made) == graphs, f"after {frames} frames"
    assert len(forces._TRACED) == 2
    torch.testing.assert_close(first(pos[:1]), ask(1)(pos[:1]))  # what is in use stays
