"""Long work runs with settings of its own and leaves none behind."""

import resource
import sys

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


@pytest.mark.skipif(sys.platform != "linux", reason="other C libraries keep memory in their own ways")
def test_memory_is_kept_from_one_step_to_the_next():
    def pages_of_a_step() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        parts = [torch.ones(2**20) for _ in range(8)]  # 4 MB each
        del parts
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    with long_work():
        pages_of_a_step()
        kept = min(pages_of_a_step() for _ in range(5))
    assert kept < 100  # of 8192


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
