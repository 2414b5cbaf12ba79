"""Forces from energies, and the training step that differentiates through them."""

import copy
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

EnergyOf = Callable[[Tensor], Tensor]
Objective = Callable[..., Tensor]
Step = Callable[..., tuple[Tensor, tuple[Tensor, ...]]]

BATCH = 32  # frames that a model is asked about at a time
GRAPHS = 32  # that a process keeps: each holds its code, not the weights, and the least recently used one goes


class NotTraced(RuntimeError):
    """A function of a model cannot be traced or compiled, or does not give what the eager one gives; it says why."""


def energy_and_force(energy_of: EnergyOf, pos: Tensor, create_graph: bool = False) -> tuple[Tensor, Tensor]:
    """Energy and force F = −∂E/∂x of each frame.

    Args:
        energy_of: maps pos (frames, atoms, 3) to energies (frames,).
        pos: (frames, atoms, 3), Å.
        create_graph: keep the graph, so that a loss on the force can be differentiated by the parameters, and by pos
            if that requires it.

    Returns:
        Energy (frames,) and force (frames, atoms, 3), in the unit of the energy and that per Å.
    """
    with torch.enable_grad():
        if not pos.requires_grad:
            pos = pos.detach().requires_grad_()
        energy = energy_of(pos)
        (gradient,) = torch.autograd.grad(energy.sum(), pos, create_graph=create_graph)
    return (energy if create_graph else energy.detach()), -gradient


def predict(model: nn.Module, z: Tensor, pos: Tensor, batch_size: int = BATCH) -> tuple[Tensor, Tensor]:
    """`energy_and_force` of a model in batches.

    Args:
        model: maps z and pos to energies.
        z: (atoms,).
        pos: (frames, atoms, 3), Å, in the model's precision and on its device.
        batch_size: frames at a time, which bounds the memory.
    """
    parts = [energy_and_force(partial(model, z), part) for part in pos.split(batch_size)]
    energies, force = zip(*parts, strict=True)
    return torch.cat(energies), torch.cat(force)


def training_step(
    model: nn.Module, z: Tensor, objective: Objective, shapes: Mapping[str, int] = MappingProxyType({})
) -> Step:
    """The function from a batch to the objective and its gradient by every parameter of the model.

    Args:
        model: maps z and pos to energies.
        z: (atoms,) atomic numbers.
        objective: `objective(energy, force, pos, *labels)` gives a scalar, of the model's energy and force at a batch
            `pos, *labels`; the force can be differentiated by pos (frames, atoms, 3).
        shapes: further arguments of the model, from `models.static_shapes`.

    Returns:
        A function: `step(*batch)` gives the value and the gradients in the order of `model.parameters()`.
    """
    parameters = tuple(model.parameters())
    return partial(_gradients, objective, lambda pos: model(z, pos, **shapes), parameters)


def traced_training_step(
    model: nn.Module,
    z: Tensor,
    objective: Objective,
    batch: tuple[Tensor, ...],
    shapes: Mapping[str, int] = MappingProxyType({}),
    compile: bool = True,
) -> Step:
    """`training_step` traced into one graph, parameter gradients included, for the shapes of a batch, and compiled.

    Every later batch must have the shapes of `batch`. The graph alone runs without Python and automatic
    differentiation; compiled it also has few passes through the memory, but that takes minutes the first time.
    Either serves every model of the same configuration in this process, as long as it is among the last `GRAPHS` that
    were asked for; compiled code is also kept on disk.

    Args:
        objective: as in `training_step`; equal objectives share the graph, so it must be hashable by value.
        batch: an example; see `training_step` for the rest.
        compile: whether to compile the graph.

    Raises:
        NotTraced: where it fails (no C++ compiler, say, or a model without a hashable `config`), or its gradients
            differ from the eager ones.
    """
    finish = _compile if compile else _script
    return _traced(model, z, ("training", compile, objective), partial(_gradients, objective), batch, shapes, finish)


def traced_energy_and_force(
    model: nn.Module, z: Tensor, pos: Tensor, shapes: Mapping[str, int] = MappingProxyType({})
) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """`energy_and_force` of a model as one graph for the shape of pos, run without Python.

    That takes a second, and a step of a small model then takes a third of the time; compiling takes a minute and was
    measured to gain nothing more. The graph is shared and kept as that of `traced_training_step` is.

    Args:
        model: maps z and pos to energies.
        z: (atoms,) atomic numbers.
        pos: (frames, atoms, 3), Å; every later batch must have its shape, type and device.
        shapes: further arguments of the model, from `models.static_shapes`.

    Returns:
        A function of pos to energy (frames,) and force (frames, atoms, 3), as `energy_and_force` gives them.

    Raises:
        NotTraced: where it fails or its forces differ from the eager ones.
    """

    def both(energy_of: EnergyOf, parameters: Sequence[Tensor], pos: Tensor) -> tuple[Tensor, Tensor]:
        return energy_and_force(energy_of, pos)

    return _traced(model, z, ("inference",), both, (pos,), shapes, _script)


def traceable(model: nn.Module) -> bool:
    """Whether shapes inside a model can stay the same from batch to batch; a model says so if they cannot."""
    return getattr(model, "traceable", True)


def _gradients(
    objective: Objective, energy_of: EnergyOf, parameters: Sequence[Tensor], pos: Tensor, *labels: Tensor
) -> tuple[Tensor, tuple[Tensor, ...]]:
    pos = pos.detach().requires_grad_()
    value = objective(*energy_and_force(energy_of, pos, create_graph=True), pos, *labels)
    return value.detach(), torch.autograd.grad(value, parameters, materialize_grads=True)


_TRACED: dict[tuple, Callable] = {}  # in the order in which they were last asked for
_ONE_TRACES = threading.Lock()  # what traces is global to the process


def _traced(
    model: nn.Module,
    z: Tensor,
    about: tuple,
    function: Callable,
    batch: tuple[Tensor, ...],
    shapes: Mapping[str, int],
    finish: Callable,
) -> Callable:
    """`function(energy_of, parameters, *batch)` as a graph, made fast by `finish`.

    Graphs are kept by `about`, the model's configuration and the shapes. What failed is not kept: it is tried again.
    """
    if not traceable(model):
        raise NotTraced(f"{type(model).__name__} has another number of neighbours in every batch")
    # The optimiser writes into the parameters' memory, which these views share.
    parameters = [parameter.detach() for parameter in model.parameters()]
    buffers = list(model.buffers())
    try:
        key = (*about, type(model), model.config, tuple(z.tolist()), *shapes.items())
        key += tuple((x.shape, x.dtype, x.device) for x in batch)
        with _ONE_TRACES:
            code = _TRACED.pop(key, None)
            if code is None:
                with warnings.catch_warnings():
                    # Of the compiler about parts of PyTorch, and of TorchScript about itself: nothing else runs a graph
                    # without Python in a second.
                    warnings.simplefilter("ignore", DeprecationWarning)
                    graph = _trace(copy.deepcopy(model), z, function, shapes, parameters, buffers, batch)
                    code = finish(graph, parameters, buffers, *batch)
                    eager = function(lambda pos: model(z, pos, **shapes), tuple(model.parameters()), *batch)
                    check_traced(code(parameters, buffers, *batch), eager)
            _TRACED[key] = code
            if len(_TRACED) > GRAPHS:
                del _TRACED[next(iter(_TRACED))]
    except Exception as error:  # whatever goes wrong in a compiler, the work can go on without it
        reason = str(error).strip().split("\n")[0]
        raise NotTraced(f"{type(error).__name__}: {reason}") from error
    return lambda *batch: code(parameters, buffers, *batch)


def _trace(
    model: nn.Module,
    z: Tensor,
    function: Callable,
    shapes: Mapping[str, int],
    parameters: list[Tensor],
    buffers: list[Tensor],
    batch: tuple[Tensor, ...],
) -> Callable:
    from torch.fx.experimental.proxy_tensor import make_fx

    names = [name for name, _ in (*model.named_parameters(), *model.named_buffers())]

    def step(parameters: list[Tensor], buffers: list[Tensor], *batch: Tensor) -> tuple:
        parameters = [parameter.detach().requires_grad_() for parameter in parameters]
        weights = dict(zip(names, [*parameters, *buffers], strict=True))
        return function(lambda pos: functional_call(model, weights, (z, pos), dict(shapes)), parameters, *batch)

    return make_fx(step)(parameters, buffers, *batch)


def _compile(graph: Callable, *example: Any) -> Callable:
    return torch.compile(graph, dynamic=False, fullgraph=True)


def _script(graph: Callable, parameters: list[Tensor], buffers: list[Tensor], *batch: Tensor) -> Callable:
    # TorchScript takes no empty list of tensors.
    with torch.no_grad():
        code = torch.jit.trace(
            lambda weights, *batch: graph(weights[: len(parameters)], weights[len(parameters) :], *batch),
            ([*parameters, *buffers], *batch),
            check_trace=False,  # against itself; `check_traced` does it against the eager one
        )
    return lambda parameters, buffers, *batch: code([*parameters, *buffers], *batch)


def check_traced(compiled: tuple[Tensor, tuple[Tensor, ...]], eager: tuple[Tensor, tuple[Tensor, ...]]) -> None:
    """Raise an ArithmeticError unless a graph gives the values and gradients of the model by itself."""
    tolerance = 1e-3 if eager[0].dtype == torch.float32 else 1e-8
    for what, theirs, ours in (("values", compiled[:1], eager[:1]), ("gradients", compiled[1], eager[1])):
        # As tensors: the maximum of Python's numbers passes over NaN.
        scale = torch.stack([one.abs().max() for one in ours]).max()
        worst = torch.stack([(a - b).abs().max() for a, b in zip(theirs, ours, strict=True)]).max()
        if not worst <= tolerance * scale:
            raise ArithmeticError(f"traced {what} differ from eager ones by {worst:.1e} of {scale:.1e}")
