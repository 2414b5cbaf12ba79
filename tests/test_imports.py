"""What an import costs, and that imports point downwards only."""

import ast
import graphlib
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import asteroid

ROOT = Path(asteroid.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))
# The rooms of the house from the ground up, each a module or a package: a room imports from those before it only.
ROOMS = (
    *("units", "files", "machine", "processes", "identity", "statistics", "validation", "integration"),
    *("domain", "state", "provenance", "datasets", "models", "training", "evaluator", "md", "force_field", "exports"),
    *("levels", "runner", "stages", "multi_molecule", "baselines", "runs", "profiles", "plots", "planning", "book"),
    *("force_fields", "__main__"),
)
CORE = ("models", "training")  # no ASE, no tables, no notebooks, no files of labels
NEVER_AT_THE_TOP = {
    *("psi4", "pyscf", "rdkit", "tblite", "sgdml", "torchani", "papermill", "torch_geometric"),
    *("pytorch_optimizer", "openmm", "metatensor", "metatomic", "mace", "nequip"),
}
HEAVY = {"torch", "ase", "matplotlib", "pandas", "seaborn", "numpy", *NEVER_AT_THE_TOP}


def name_of(path: Path) -> str:
    """Dotted, below `asteroid`: "runs" is also the name of runs/__init__.py."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def room_of(name: str) -> str:
    return name.split(".")[0]


def top_level_imports(path: Path) -> set[str]:
    """Dotted names that a module imports when it is imported itself: not in functions, not for types only."""
    found, pending = set(), list(ast.parse(path.read_text(encoding="utf-8")).body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif is_for_types(node):
            pending += node.orelse
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            pending += list(ast.iter_child_nodes(node))
    return found


def roots(path: Path) -> set[str]:
    return {name.split(".")[0] for name in top_level_imports(path)}


def all_imports(path: Path) -> set[str]:
    """The modules of ours that a module imports at any time, in functions too; not for types only."""
    known, found, pending = {name_of(path) for path in MODULES}, set(), [ast.parse(path.read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        pending += node.orelse if is_for_types(node) else ast.iter_child_nodes(node)
    ours = {name.removeprefix("asteroid.") for name in found if name.startswith("asteroid.")}
    return {name if name in known else name.rpartition(".")[0] for name in ours} - {""}


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


@pytest.fixture(scope="module")
def fresh() -> dict:
    """What a new interpreter has after `import asteroid`."""
    program = (
        "import sys; before = set(sys.modules); import asteroid; import json\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in set(sys.modules) - before})), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {"printed": done.stdout, "modules": json.loads(done.stderr)}


def test_the_import_prints_nothing(fresh):
    assert fresh["printed"] == ""


def test_the_import_is_light(fresh):
    assert "asteroid" in fresh["modules"] and not HEAVY & set(fresh["modules"])


def test_public_names_resolve():
    for name in asteroid.__all__:
        assert getattr(asteroid, name) is not None
    assert set(asteroid.__all__) <= set(dir(asteroid))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        asteroid.nothing  # noqa: B018


def test_names_that_stay():
    assert asteroid.load is importlib.import_module("asteroid.datasets").load
    assert asteroid.split is importlib.import_module("asteroid.datasets").split
    assert asteroid.sweep is importlib.import_module("asteroid.runs.sweeps").sweep
    assert callable(asteroid.ForceField) and callable(asteroid.models.build) and callable(asteroid.stages.asteroid)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_optional_programs_are_imported_where_they_are_used(path):
    allowed = {"metatensor", "metatomic"} if name_of(path) == "exports.script" else set()  # TorchScript asks for it
    assert not roots(path) & NEVER_AT_THE_TOP - allowed


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_downwards(path):
    room = room_of(name_of(path))
    below = ROOMS[: ROOMS.index(room)] if room != "__init__" else ()
    assert {room_of(name) for name in all_imports(path)} <= {*below, room}


def test_no_circle_of_imports():
    # A package's face hands on what its modules define, and is asked by no module of its own.
    graph = {name_of(path): all_imports(path) - {name_of(path)} for path in MODULES}
    list(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize(
    "path", [path for path in MODULES if room_of(name_of(path)) in CORE], ids=lambda path: name_of(path)
)
def test_the_core_knows_no_ase_no_files_and_no_notebooks(path):
    assert not roots(path) & {"ase", "pandas", "seaborn", "matplotlib", "nbformat", "json", "yaml", "safetensors"}
    everywhere = {
        name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import)
        for name in [alias.name.split(".")[0] for alias in node.names]
    }
    assert "ase" not in everywhere


def test_the_readers_of_imports_see_what_they_should(tmp_path):
    path = tmp_path / "module.py"
    path.write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import ase\n"
        "try:\n    import psi4\nexcept ImportError:\n    pass\nclass A:\n"
        "    from asteroid import runs\ndef f():\n    import pyscf\n"
    )
    assert top_level_imports(path) == {"typing.TYPE_CHECKING", "psi4", "asteroid.runs"}
    assert all_imports(path) == {"runs"}
