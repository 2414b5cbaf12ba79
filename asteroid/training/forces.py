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


def training_step(
    model: nn.Module, z: Tensor, objective: Objective, shapes: Mapping[str, int] = MappingProxyType({})
) -> Step:
    """The function from a batch to the objective and its gradient by every parameter of the model.

    Args:
        model: maps z and pos to energies.
        z: (atoms,) atomic numbers.
        objective: `objective(energy_of, *batch)` gives a scalar; the first of the batch is pos (frames, atoms, 3).
        shapes: further arguments of the model, from `models.static_shapes`.

    Returns:
        A function: `step(*batch)` gives the value and the gradients in the order of `model.parameters()`.
    """
    return _eager(partial(_gradients, objective), model, z, shapes)


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
    Either serves every model of the same configuration in this process; compiled code is also kept on disk. Where it
    fails (no C++ compiler, say, or a model without a hashable `config`) or its gradients differ from the eager ones,
    one warning is given and the eager step returned.

    Args:
        objective: as in `training_step`; equal objectives share the graph, so it must be hashable by value.
        batch: an example; see `training_step` for the rest.
        compile: whether to compile the graph.
    """
    finish = _compile if compile else _script
    return _traced("training", model, z, (compile, objective), partial(_gradients, objective), batch, shapes, finish)


def traced_energy_and_force(
    model: nn.Module, z: Tensor, pos: Tensor, shapes: Mapping[str, int] = MappingProxyType({})
) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """`energy_and_force` of a model as one graph for the shape of pos, run without Python.

    That takes a second, and a step of a small model then takes a third of the time; compiling takes a minute and was
    measured to gain nothing more. The graph serves every model of the same configuration in this process. Where it
    fails or its forces differ from the eager ones, one warning is given and the eager function returned.

    Args:
        model: maps z and pos to energies.
        z: (atoms,) atomic numbers.
        pos: (frames, atoms, 3), Å; every later batch must have its shape, type and device.
        shapes: further arguments of the model, from `models.static_shapes`.

    Returns:
        A function of pos to energy (frames,) and force (frames, atoms, 3), as `energy_and_force` gives them.
    """

    def both(energy_of: EnergyOf, parameters: Sequence[Tensor], pos: Tensor) -> tuple[Tensor, Tensor]:
        return energy_and_force(energy_of, pos)

    return _traced("inference", model, z, (), both, (pos,), shapes, _script)


def _gradients(
    objective: Objective, energy_of: EnergyOf, parameters: Sequence[Tensor], *batch: Tensor
) -> tuple[Tensor, tuple[Tensor, ...]]:
    value = objective(energy_of, *batch)
    return value.detach(), torch.autograd.grad(value, parameters, materialize_grads=True)


def _eager(function: Callable, model: nn.Module, z: Tensor, shapes: Mapping[str, int]) -> Callable:
    parameters = tuple(model.parameters())
    return lambda *batch: function(lambda pos: model(z, pos, **shapes), parameters, *batch)


_TRACED: dict[tuple, Callable | None] = {}
_ONE_TRACES = threading.Lock()  # what traces is global to the process


def _traced(
    purpose: str,
    model: nn.Module,
    z: Tensor,
    about: tuple,
    function: Callable,
    batch: tuple[Tensor, ...],
    shapes: Mapping[str, int],
    finish: Callable,
) -> Callable:
    """`function(energy_of, parameters, *batch)` as a graph, made fast by `finish`; or eagerly where that fails.

    Graphs are kept by purpose, `about`, the model's configuration and the shapes.
    """
    eager = _eager(function, model, z, shapes)
    # The optimiser writes into the parameters' memory, which these views share.
    parameters = [parameter.detach() for parameter in model.parameters()]
    buffers = list(model.buffers())
    try:
        key = (purpose, *about, type(model), model.config, tuple(z.tolist()), *shapes.items())
        key += tuple((x.shape, x.dtype, x.device) for x in batch)
        hash(key)
    except (AttributeError, TypeError) as error:
        return _untraced(purpose, eager, error)
    with _ONE_TRACES:
        if key not in _TRACED:
            try:
                with warnings.catch_warnings():
                    # Of the compiler about parts of PyTorch, and of TorchScript about itself: nothing else runs a graph
                    # without Python in a second.
                    warnings.simplefilter("ignore", DeprecationWarning)
                    code = _trace(copy.deepcopy(model), z, function, shapes, parameters, buffers, batch)
                    code = finish(code, parameters, buffers, *batch)
                    _check(code(parameters, buffers, *batch), eager(*batch))
                _TRACED[key] = code
            except Exception as error:  # whatever goes wrong in a compiler, the work can go on without it
                _TRACED[key] = None
                return _untraced(purpose, eager, error)
    code = _TRACED[key]
    return eager if code is None else lambda *batch: code(parameters, buffers, *batch)


def _untraced(purpose: str, eager: Callable, error: Exception) -> Callable:
    reason = str(error).strip().split("\n")[0]
    warnings.warn(f"{purpose} runs uncompiled and slower ({type(error).__name__}: {reason})", stacklevel=4)
    return eager


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
            check_trace=False,  # against itself; `_check` does it against the eager one
        )
    return lambda parameters, buffers, *batch: code([*parameters, *buffers], *batch)


def _check(compiled: tuple[Tensor, tuple[Tensor, ...]], eager: tuple[Tensor, tuple[Tensor, ...]]) -> None:
    tolerance = 1e-3 if eager[0].dtype == torch.float32 else 1e-8
    for what, theirs, ours in (("values", compiled[:1], eager[:1]), ("gradients", compiled[1], eager[1])):
        # As tensors: the maximum of Python's numbers passes over NaN.
        scale = torch.stack([one.abs().max() for one in ours]).max()
        worst = torch.stack([(a - b).abs().max() for a, b in zip(theirs, ours, strict=True)]).max()
        if not worst <= tolerance * scale:
            raise ArithmeticError(f"traced {what} differ from eager ones by {worst:.1e} of {scale:.1e}")
