"""The other ways to an accurate force field: Δ-ML, sGDML and ANI, each by the library that its users use."""

import importlib.util

_PACKAGES = {"sgdml": "sgdml", "ani": "torchani", "ani-1ccx": "torchani", "ani-1ccx-tuned": "torchani"}


def missing(method: str) -> str | None:
    """What a method of `methods.METHODS` lacks on this machine, in one line with the command that gets it, or None."""
    package = _PACKAGES.get(method)
    if package is not None and importlib.util.find_spec(package) is None:
        return f"{method} needs the package {package}: `pip install -c constraints.txt {package}`"
    if method.startswith("ani-1ccx"):
        from asteroid.baselines import ani

        try:
            ani.published_weights()
        except FileNotFoundError as error:
            return str(error)
    return None
