"""Models: from atomic numbers and positions to energies, nothing else."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from torch import Tensor, nn

from asteroid.models import ani, gemnet, pyg
from asteroid.models.egnn import EGNN, EGNNConfig
from asteroid.models.gemnet import GemNet, GemNetQConfig, GemNetTConfig

MODELS = {"egnn": (EGNN, EGNNConfig), "gemnet-t": (GemNet, GemNetTConfig), "gemnet-q": (GemNet, GemNetQConfig)}
_ALL = MODELS | pyg.MODELS | ani.MODELS

# Sizes between which one chooses by name; those that a preset leaves out are the published ones.
PRESETS = {
    "gemnet-t": {"small": gemnet.SMALL},
    "gemnet-q": {"small": gemnet.SMALL | gemnet.SMALL_QUADRUPLETS},
}


def build(name: str, preset: str | None = None, **config: Any) -> nn.Module:
    """A freshly initialised model; initialisation draws from torch's global generator.

    Args:
        name: one of `MODELS`, of `pyg.MODELS` or of `ani.MODELS`.
        preset: one of the model's `PRESETS`, by which a laptop can train it; None is the published size.
        config: fields of the model's configuration that differ from that.

    Returns:
        A module that maps z (atoms,) and pos (frames, atoms, 3) in Å to energies (frames,) in kcal/mol; its
        configuration is at `.config`.

    Raises:
        ValueError: for an unknown name, preset or field.
        ImportError: for a package that a model of PyTorch Geometric needs and that is not installed.
    """
    settings = configuration(name, preset, **config)
    return _ALL[name][0](settings)


def configuration(name: str, preset: str | None = None, **config: Any) -> Any:
    """The configuration with which `build` makes a model; it takes the same and raises the same ValueErrors."""
    if name not in _ALL:
        raise ValueError(f"unknown model {name!r}; known: {', '.join(_ALL)}")
    _, config_type = _ALL[name]
    known = {field.name for field in fields(config_type)}
    if unknown := set(config) - known:
        raise ValueError(f"{name} has no setting {sorted(unknown)}; known: {', '.join(sorted(known))}")
    presets = PRESETS.get(name, {})
    if preset is not None and preset not in presets:
        raise ValueError(f"{name} has no preset {preset!r}; it has: {', '.join(presets) or 'none'}")
    return config_type(**(presets.get(preset, {}) | config))


def static_shapes(model: nn.Module, pos: Tensor) -> dict[str, int]:
    """Arguments of a model that give all batches of frames from pos (frames, atoms, 3) the same shapes inside it."""
    return model.static_shapes(pos) if hasattr(model, "static_shapes") else {}


def fit_scales(model: nn.Module, z: Tensor, pos: Tensor) -> None:
    """Fit a model's scaling factors, where it has any, to frames of its training data, before it is trained.

    Args:
        model: freshly initialised.
        z: (atoms,).
        pos: (frames, atoms, 3), Å.
    """
    if hasattr(model, "fit_scales"):
        like = next(model.parameters())
        model.fit_scales(z.to(like.device), pos.to(like.device, like.dtype))


def check_elements(model: nn.Module, z: Tensor) -> None:
    """Raise a ValueError if a model has no embedding for one of the atomic numbers z (atoms,)."""
    if not hasattr(model, "config"):  # a model of one's own, which has to know itself
        return
    known = model.config.elements
    some = not isinstance(known, int)  # of ANI, which has a network for each
    if unknown := sorted(set(z.tolist()) - set(known if some else range(1, known))):
        knows = ", ".join(map(str, sorted(known))) if some else f"1 to {known - 1}"
        raise ValueError(
            f"the model has no embedding for atomic number {', '.join(map(str, unknown))}: it knows {knows}; "
            + ("take another model" if some else "build it with a larger `elements`")
        )


def describe(model: nn.Module) -> tuple[str, Mapping[str, Any]]:
    """Name and configuration from which `build` makes this architecture again; ValueError for a class of one's own."""
    for name, (model_type, config_type) in _ALL.items():
        # Not a subclass: what it computes, the class that `build` takes would not.
        if type(model) is model_type and type(model.config) is config_type:
            return name, asdict(model.config)
    raise ValueError(f"{type(model).__name__} is not one of the models that asteroid.models.build makes")
