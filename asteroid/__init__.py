"""Machine-learned force fields at a fraction of the label cost (ASTEROID, ICML 2023).

`load` labels, `split` them, train with `stages`, keep and use the resulting `ForceField`; `sweep` does it many times.
Units: kcal/mol, Å, K, fs.
"""

import importlib
from typing import Any

_ATTRIBUTES = {
    "load": "asteroid.datasets",
    "split": "asteroid.datasets",
    "bias_report": "asteroid.planning.bias",
    "cheap_levels": "asteroid.planning.cheap_levels",
    "plan": "asteroid.planning.planner",
    "ForceField": "asteroid.force_field",
    "RunSpec": "asteroid.runs",
    "Store": "asteroid.runs",
    "sweep": "asteroid.runs.sweeps",
    "openmm": "asteroid.exports",
    "metatomic": "asteroid.exports",
}
_MODULES = ("datasets", "stages", "models", "levels", "profiles", "force_fields", "units")

__all__ = [*_ATTRIBUTES, *_MODULES]


def __getattr__(name: str) -> Any:
    # Importing asteroid costs nothing; PyTorch comes with the first name that needs it.
    if name in _ATTRIBUTES:
        return getattr(importlib.import_module(_ATTRIBUTES[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"asteroid.{name}")
    raise AttributeError(f"module 'asteroid' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
