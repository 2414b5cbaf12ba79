"""A model called many times: the same numbers by the graph as without it, whatever the molecule does meanwhile."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
import tiny
import torch

from asteroid import evaluator
from asteroid.evaluator import Evaluator
from asteroid.training import forces

TOLERANCE = {"graph": 1e-10, "far away": 2e-4}  # relative to the largest force, in double and in single precision
MANY = 10_000
SIZES = {"egnn": {}, "gemnet-t": {"preset": "small", "blocks": 1, "cutoff": 3.0}}


def model(name: str, dtype: torch.dtype = torch.float64) -> torch.nn.Module:
    if name == "egnn":
        return tiny.model(dtype=dtype)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return evaluator.models.build(name, **SIZES[name]).to(dtype)


def frames(number: int) -> tuple[torch.Tensor, np.ndarray]:
    labels = tiny.methanol(budget=number, inaccurate_budget=None).train
    return labels.z, labels.pos.numpy()


def assert_eager(evaluate: Evaluator, z: torch.Tensor, pos: np.ndarray) -> None:
    """Energies and forces are those of the model by itself."""
    energy, force = evaluate(pos)
    assert energy.dtype == force.dtype == np.float64 and force.shape == pos.shape
    expected = forces.energy_and_force(lambda x: evaluate.model(z, x), torch.from_numpy(pos))
    scale = float(expected[1].abs().max())
    assert np.abs(energy - evaluate.shift - expected[0].numpy()).max() < TOLERANCE["graph"] * max(scale, 1.0)
    assert np.abs(force - expected[1].numpy()).max() < TOLERANCE["graph"] * scale


@pytest.fixture
def traces(monkeypatch) -> list[tuple]:
    """Shape of positions and further shapes of every graph that is made."""
    made, trace = [], forces.traced_energy_and_force

    def counting(model, z, pos, shapes):
        made.append((len(pos), dict(shapes)))
        return trace(model, z, pos, shapes)

    monkeypatch.setattr(forces, "traced_energy_and_force", counting)
    return made


@pytest.mark.parametrize("name", SIZES)
def test_the_graph_gives_the_same_and_serves_fewer_frames(name, traces):
    z, pos = frames(4)
    evaluate = Evaluator(model(name), z, shift=-1e5, calls=MANY)
    for part in (pos, pos + 0.03, pos[:3], pos[1:]):
        assert_eager(evaluate, z, part)
    assert len(traces) == 1
    assert_eager(evaluate, z, pos[:1])  # a graph for four would be a waste
    assert [frames for frames, _ in traces] == [4, 1]


def test_a_denser_molecule_gets_a_graph_with_more_neighbours(traces):
    z, pos = frames(2)
    evaluate = Evaluator(model("gemnet-t"), z, calls=MANY)
    for scale in (1.5, 1.45, 1.0, 1.6):
        assert_eager(evaluate, z, scale * pos)
    lengths = [shapes["capacity"] for _, shapes in traces]
    assert len(lengths) == 2 and lengths[0] < lengths[1]


def test_two_force_fields_of_one_architecture_keep_their_own_weights():
    z, pos = frames(2)
    for seed in (0, 1):
        assert_eager(Evaluator(tiny.model(seed, dtype=torch.float64), z, calls=MANY), z, pos)


def test_a_graph_is_made_only_when_it_pays(traces, monkeypatch):
    monkeypatch.setattr(evaluator, "TRACE_FROM_CALLS", 5)
    z, pos = frames(1)
    few, unknown = Evaluator(model("egnn"), z, calls=4), Evaluator(model("egnn"), z)
    for _ in range(4):
        few(pos)
    for _ in range(5):
        unknown(pos)
    assert traces == []
    unknown(pos)
    Evaluator(model("egnn"), z, calls=5)(pos)
    assert len(traces) == 2


def test_a_molecule_far_from_the_origin_keeps_its_forces():
    z, pos = frames(2)
    evaluate = Evaluator(model("egnn", torch.float32), z)
    near, far = evaluate(pos)[1], evaluate(pos + 1e5)[1]
    assert np.abs(near - far).max() < TOLERANCE["far away"] * np.abs(near).max()


def test_what_has_no_graph_is_evaluated_without():
    z, pos = frames(2)
    untraceable = model("egnn")
    untraceable.traceable = False
    assert_eager(Evaluator(untraceable, z, calls=MANY), z, pos)


def test_where_tracing_fails_there_is_one_warning_and_the_eager_forces(monkeypatch):
    def fails(*args):
        raise RuntimeError("no TorchScript any more")

    monkeypatch.setattr(forces, "_script", fails)
    monkeypatch.setattr(forces, "_TRACED", {})
    z, pos = frames(2)
    evaluate = Evaluator(model("egnn"), z, calls=MANY)
    with pytest.warns(UserWarning, match="inference runs uncompiled.*no TorchScript") as given:
        evaluate(pos)
    assert_eager(evaluate, z, pos)
    assert len(given) == 1


def test_positions_that_are_no_numbers_are_refused():
    z, pos = frames(2)
    pos[1, 0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite"):
        Evaluator(model("egnn"), z)(pos)


def test_several_threads_trace_one_after_another(traces, monkeypatch):
    """Each with an evaluator of its own; a warning, of a graph that failed, would be an error."""
    monkeypatch.setattr(forces, "_TRACED", {})
    z, pos = frames(1)
    evaluators, together = [Evaluator(model("egnn"), z, calls=MANY) for _ in range(4)], Barrier(4)

    def run(evaluate: Evaluator) -> None:
        together.wait(timeout=30)
        for _ in range(5):
            assert_eager(evaluate, z, pos)

    with ThreadPoolExecutor(4) as executor:
        list(executor.map(run, evaluators))
    assert [code is not None for code in forces._TRACED.values()] == [True]
