"""The three lists of packages (pyproject.toml, constraints.txt, environment.yml) say the same."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
CONDA_NAMES = {
    "torch": "pytorch",
    "torch-geometric": "pytorch_geometric",
    "tblite": "tblite-python",
    "metatomic-torch": "python-metatomic-torch",
}
CONDA_ONLY = {"python", "pip", "psi4"}


def name(requirement: str) -> str:
    """The bare, lower-case package name of a requirement such as ``"jupyter-book<2"``."""
    return re.match(r"[A-Za-z0-9._-]+", requirement)[0].lower()


def project_requirements() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project["dependencies"] + [r for extra in project["optional-dependencies"].values() for r in extra]


def conda_requirements() -> list[str]:
    entries = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    return [e for e in entries if isinstance(e, str)] + [r for e in entries if isinstance(e, dict) for r in e["pip"]]


def pins() -> dict[str, str]:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    return dict(line.lower().split("==") for line in lines)


def test_environment_and_project_name_the_same_packages():
    expected = {CONDA_NAMES.get(name(r), name(r)) for r in project_requirements()} | CONDA_ONLY
    assert {name(r) for r in conda_requirements()} == expected


def test_only_jupyter_book_is_bounded_outside_the_constraints():
    bounded = {r for r in project_requirements() + conda_requirements() if name(r) != r.lower()}
    assert bounded == {"jupyter-book<2"}


def test_every_direct_dependency_is_pinned():
    assert {name(r) for r in project_requirements()} <= pins().keys()


def test_pins_are_plain_versions():
    # A local suffix such as +cpu would refuse the wheels of every other machine; pip and setuptools are the machine's.
    assert not [p for p, version in pins().items() if not re.fullmatch(r"[0-9][0-9a-z.]*", version)]
    assert not {"pip", "setuptools"} & pins().keys()
