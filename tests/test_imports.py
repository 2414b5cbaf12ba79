"""What an import costs, and that imports point downwards only."""

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import asteroid

ROOT = Path(asteroid.__file__).parent
MODULES = sorted(path for path in ROOT.rglob("*.py") if "data" not in path.relative_to(ROOT).parts[:-1])
# What each module, or the files of a package together, import of ours at the top. Modules that are not named here stand
# above all of these.
LAYERS = {
    "units": set(),
    "pilots": set(),
    "planner": {"pilots"},
    "losses": {"forces"},
    "forces": set(),
    "identity": set(),
    "domain": set(),
    "machine": set(),
    "files": set(),
    "processes": set(),
    "objectives": {"forces", "losses"},
    "optimisers": set(),
    "models": {"models", "units"},
    "state": set(),
    "sources": {"files"},
    "readers": {"sources", "state", "structure", "units"},
    "structure": set(),
    "integration": set(),
    "consistency": {"integration", "sources", "structure", "units"},
    "checks": {"consistency", "sources", "structure", "units"},
    "export": {"files", "sources", "units"},
    "datasets": {"checks", "export", "readers", "sources"},
    "training": {"files", "forces", "identity", "losses", "machine", "objectives", "optimisers"},
    "evaluator": {"forces", "models"},
    "force_field": {"domain", "evaluator", "files", "models", "state", "training"},
    "calculator": {"domain", "evaluator", "force_field", "state", "units"},
    "dynamics": {"calculator", "machine", "state", "units"},
    "stability": {"dynamics", "units"},
    "bias": {"datasets", "force_field", "integration", "losses", "planner"},
    "stages": {
        "bias",
        "checks",
        "datasets",
        "domain",
        "force_field",
        "identity",
        "losses",
        "machine",
        "models",
        "objectives",
        "state",
        "training",
        "units",
    },
    "several": {"datasets", "force_field", "stages"},
    "levels": {
        *("checks", "consistency", "datasets", "dynamics", "files", "levels", "machine", "processes", "readers"),
        *("sources", "state", "training", "units"),
    },
    "baselines": {
        *("checks", "datasets", "files", "force_field", "identity", "levels", "losses", "models", "stages", "training"),
        "state",
    },
    "methods": {"stages"},
    "selection": {"datasets", "force_field", "losses"},
    "spec": {"baselines", "datasets", "files", "methods", "selection", "stages", "training"},
    "records": {"files", "spec"},
    "runs": {
        *(
            "baselines",
            "datasets",
            "files",
            "force_field",
            "losses",
            "machine",
            "records",
            "selection",
            "several",
            "spec",
            "stages",
        ),
    },
    "simulations": {
        *("datasets", "dynamics", "files", "levels", "machine", "records", "runs", "spec", "stability", "state"),
    },
    "profiles": {"runs", "stages", "training"},
    "workload": {"methods", "models", "runs", "stages", "training"},
    "sweeps": {"baselines", "book", "machine", "processes", "profiles", "runs", "spec", "training", "workload"},
    "comparison": {"methods", "planner", "profiles", "records", "runs"},
    "judges": {
        *("comparison", "datasets", "levels", "methods", "planner", "profiles", "records", "runs", "simulations"),
        *("stability", "sweeps", "toy"),
    },
    "claims": {"judges", "profiles", "records"},
    "plans": {"bias", "datasets", "pilots", "planner", "profiles", "records", "runs", "sweeps"},
    "rounds": {"datasets", "pilots", "planner", "plans", "records", "runs", "selection", "sweeps"},
    "plots": {"planner"},
    "plots_dynamics": {"plots"},
    "plots_cost": {"plots"},
    "plots_method": {"plots"},
    "plots_planner": {"plots"},
    "plots_molecule": {"plots", "stability"},
    "toy": {"files", "losses", "records"},
    "step_cost": {"baselines", "datasets", "force_field", "machine", "models", "runs", "stages"},
}
CORE = ("models", "losses", "forces", "training")  # no ASE, no tables, no notebooks, no files of labels
NEVER_AT_THE_TOP = {
    *("psi4", "pyscf", "openmm", "rdkit", "tblite", "sgdml", "torchani", "papermill", "torch_geometric"),
    "pytorch_optimizer",
}
HEAVY = {"torch", "ase", "matplotlib", "pandas", "seaborn", "numpy", *NEVER_AT_THE_TOP}


def name_of(path: Path) -> str:
    """models/egnn.py and models/__init__.py belong to `models`."""
    first = path.relative_to(ROOT).parts[0]
    return first.removesuffix(".py")


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
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending += node.orelse
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            pending += list(ast.iter_child_nodes(node))
    return found


def roots(path: Path) -> set[str]:
    return {name.split(".")[0] for name in top_level_imports(path)}


def of_ours(path: Path) -> set[str]:
    return {name.split(".")[1] for name in top_level_imports(path) if name.startswith("asteroid.")}


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


def test_each_module_is_an_attribute_of_the_package():
    for name in {name_of(path) for path in MODULES} - {"__init__"}:
        # Asked directly, since a module that something has imported is an attribute without it.
        assert asteroid.__getattr__(name).__name__ == f"asteroid.{name}" and name in dir(asteroid)


def test_names_that_stay():
    assert asteroid.load is importlib.import_module("asteroid.datasets").load
    assert asteroid.split is importlib.import_module("asteroid.datasets").split
    assert asteroid.sweep is importlib.import_module("asteroid.sweeps").sweep
    assert callable(asteroid.ForceField) and callable(asteroid.models.build) and callable(asteroid.stages.asteroid)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_optional_programs_are_imported_where_they_are_used(path):
    assert not roots(path) & NEVER_AT_THE_TOP


@pytest.mark.parametrize("name", LAYERS)
def test_imports_point_downwards(name):
    assert set().union(*(of_ours(path) for path in MODULES if name_of(path) == name)) == LAYERS[name]


@pytest.mark.parametrize("path", [path for path in MODULES if name_of(path) in CORE], ids=lambda path: name_of(path))
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
    assert of_ours(path) == {"runs"}
