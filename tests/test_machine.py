"""Long work runs with settings of its own and leaves none behind; the environment is read in one place."""

import ast
import resource
import sys
from pathlib import Path

import pytest
import threadpoolctl
import torch

from asteroid import machine
from asteroid.machine import long_work, one_thread

DENORMAL = 1e-40


def product() -> float:
    return float(torch.full((64,), DENORMAL).mul(0.5)[0])


def test_denormal_numbers_are_zero_meanwhile_and_numbers_again_after_a_failure():
    if not torch.set_flush_denormal(False):
        pytest.skip("this processor cannot flush denormal numbers")
    with pytest.raises(RuntimeError, match="stop"), long_work():
        assert product() == 0
        raise RuntimeError("stop")
    assert product() > 0


def test_long_work_within_long_work_leaves_the_settings_of_the_outer_one():
    if not torch.set_flush_denormal(False):
        pytest.skip("this processor cannot flush denormal numbers")
    with long_work():
        with long_work():
            pass
        assert product() == 0
    assert product() > 0


@pytest.mark.skipif(sys.platform != "linux", reason="other C libraries keep memory in their own ways")
def test_memory_is_kept_from_one_step_to_the_next():
    def pages_of_a_step() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        parts = [torch.ones(2**20) for _ in range(8)]  # 4 MB each
        del parts
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    with long_work():
        for _ in range(2):
            pages_of_a_step()
            kept = min(pages_of_a_step() for _ in range(5))
            assert kept < 100  # of 8192
            with long_work():  # at whose end the outer one goes on
                pass


def test_a_worker_takes_its_share_of_threads_for_long_work_alone(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr(machine, "_share", None)
    try:
        machine.share(3)
        assert torch.get_num_threads() == 1 and machine.threads() == 3
        with long_work():
            assert torch.get_num_threads() == 3
            with one_thread():
                assert {library["num_threads"] for library in threadpoolctl.threadpool_info()} == {1}
            assert torch.get_num_threads() == 3
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def reads_the_environment(node: ast.AST) -> bool:
    """Whether code asks for a variable by name; to hand a whole environment on, or restore one, is another thing."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) in ("os.environ.get", "os.getenv"):
        return isinstance(node.args[0], ast.Constant)
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
        return ast.unparse(node.value) == "os.environ"
    return isinstance(node, ast.Compare) and "os.environ" in map(ast.unparse, node.comparators)


def test_the_environment_is_read_by_one_function_whose_names_are_listed(monkeypatch):
    source = Path(machine.__file__).parent
    modules = {path: ast.parse(path.read_text(encoding="utf-8")) for path in source.rglob("*.py")}
    readers = {path.name for path, tree in modules.items() if any(map(reads_the_environment, ast.walk(tree)))}
    assert readers == set()
    for code in ('os.environ.get("A")', 'os.getenv("A")', 'print(os.environ["A"])', '"A" not in os.environ'):
        assert any(map(reads_the_environment, ast.walk(ast.parse(code)))), code
    for name, meaning in machine.FLAGS.items():
        monkeypatch.setenv(name, "/somewhere")
        assert machine.flag(name) == "/somewhere" and meaning
        monkeypatch.setenv(name, "")
        assert machine.flag(name) is None
        monkeypatch.delenv(name)
        assert machine.flag(name) is None
    with pytest.raises(KeyError, match="ASTEROID_QUITE.*known.*ASTEROID_QUIET"):
        machine.flag("ASTEROID_QUITE")
