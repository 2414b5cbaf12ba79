"""Levels that are not ours: registered functions that make ASE calculators, and those named by their module."""

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator

Make = Callable[..., "Calculator"]
"""Makes a calculator; called with `charge`, if it takes one, and the settings that the user gives."""

_REGISTERED: dict[str, Make] = {}
_changes = 0


def add(levels: Mapping[str, Make]) -> None:
    """Keep levels under their names, as `levels.register` does; those of the same name are replaced."""
    global _changes
    _changes += any(_REGISTERED.get(name) is not make for name, make in levels.items())
    _REGISTERED.update(levels)


def changes() -> int:
    """How often a level was added or replaced: what was made before is of other levels."""
    return _changes


def registered() -> dict[str, Make]:
    """Those that were added, which other processes have to be told of."""
    return dict(_REGISTERED)


def found(level: str) -> Make | None:
    """What makes the calculator of a registered level or of "module:function"; None for other names.

    Raises:
        ValueError: if there is no such module or function.
    """
    if level in _REGISTERED:
        return _REGISTERED[level]
    place, colon, name = level.partition(":")
    if not colon:
        return None
    try:
        make = importlib.import_module(place)
        for part in name.split("."):
            make = getattr(make, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"unknown level {level!r}: {error}; expected module:function, which returns an ASE calculator, of a module "
            "that is installed or in the current folder"
        ) from None
    if not callable(make):
        raise ValueError(f"{level} is {make!r}; expected a function or class that returns an ASE calculator")
    return make
