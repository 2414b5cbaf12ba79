"""What is set before any test imports torch or draws."""

import os

import pytest

# A test's tensors are small. On idle cores a second thread gains next to nothing; on busy ones the two wait for each
# other at every operation, which makes a training of seconds one of minutes.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import matplotlib  # after it: its NumPy reads the number of threads

matplotlib.use("agg")  # not by MPLBACKEND, which the kernels of the notebooks under test would inherit


@pytest.fixture
def trainings(monkeypatch) -> list[dict]:
    """The arguments of every training that was run; the sets of one molecule alone as they are, not in a list."""
    from asteroid import training

    calls, original = [], training.fit

    def alone(sets):
        return sets[0] if isinstance(sets, list) and len(sets) == 1 else sets

    def counted(model, train, valid, config, **options):
        calls.append({"train": alone(train), "valid": alone(valid), "config": config, **options})
        return original(model, train, valid, config, **options)

    monkeypatch.setattr(training, "fit", counted)
    return calls
