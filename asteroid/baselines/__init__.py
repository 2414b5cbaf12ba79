"""The other ways to an accurate force field: Δ-ML, sGDML and ANI, each by the library that its users use."""

import importlib.util


def missing_package(name: str) -> str | None:
    """None where a package is installed, else one line with the command that installs it."""
    if importlib.util.find_spec(name) is None:
        return f"the package {name} is not installed: `pip install -c constraints.txt {name}`"
    return None
