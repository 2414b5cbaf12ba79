"""Models: from atomic numbers and positions to energies, nothing else."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from torch import Tensor, nn

from asteroid.models.egnn import EGNN, EGNNConfig

MODELS = {"egnn": (EGNN, EGNNConfig)}


def build(name: str, **config: Any) -> nn.Module:
    """A freshly initialised model; initialisation draws from torch's global generator.

    Args:
        name: one of `MODELS`.
        config: fields of the model's configuration that differ from the published size.

    Returns:
        A module that maps z (atoms,) and pos (frames, atoms, 3) in Å to energies (frames,) in kcal/mol; its
        configuration is at `.config`.

    Raises:
        ValueError: for an unknown name or field.
    """
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}; known: {', '.join(MODELS)}")
    model, config_type = MODELS[name]
    known = {field.name for field in fields(config_type)}
    if unknown := set(config) - known:
        raise ValueError(f"{name} has no setting {sorted(unknown)}; known: {', '.join(sorted(known))}")
    return model(config_type(**config))


def check_elements(model: nn.Module, z: Tensor) -> None:
    """Raise a ValueError if a model has no embedding for one of the atomic numbers z (atoms,)."""
    known = model.config.elements
    if unknown := sorted({int(number) for number in z if not 0 < number < known}):
        raise ValueError(
            f"the model has no embedding for atomic number {', '.join(map(str, unknown))}: it knows 1 to {known - 1}; "
            "build it with a larger `elements`"
        )


def describe(model: nn.Module) -> tuple[str, Mapping[str, Any]]:
    """Name and configuration from which `build` makes this architecture again."""
    for name, (_, config_type) in MODELS.items():
        if isinstance(getattr(model, "config", None), config_type):
            return name, asdict(model.config)
    raise ValueError(f"{type(model).__name__} is not one of the models that asteroid.models.build makes")
