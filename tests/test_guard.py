"""Programs end with whoever started them, with their children and their scratch; the machine's troubles are its own."""

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import tiny
from ase import Atoms
from ase.calculators.calculator import CalculationFailed

from asteroid import levels
from asteroid.levels.guard import Guarded
from asteroid.levels.molecules import MachineError

pytestmark = pytest.mark.skipif(os.name == "nt", reason="sessions and signals are those of Unix")

# What stands for Psi4: reads the settings, then for each frame does what the file `deed` says.
PROGRAM = """
import json, os, signal, sys, time
sys.stdin.readline()
for line in sys.stdin:
    deed = open({deed!r}).read()
    if deed == "sleep":
        open({ready!r}, "w").write(str(os.getpid()))
        time.sleep(600)
    elif deed.startswith("signal "):
        os.kill(os.getpid(), int(deed.split()[1]))
    elif deed.startswith("exit "):
        sys.exit(deed)
    elif deed:
        answer = {{"error": "RuntimeError", "message": deed}}
    else:
        answer = {{"energy": -1.0, "gradient": [[0, 0, 0]] * 2, "core_potential": False}}
    print("asteroid-answer " + json.dumps(answer), flush=True)
"""


@pytest.fixture
def psi4(tmp_path, monkeypatch) -> Path:
    """A wrapper in psi4's place, whose child is the program; the file by which it is told what to do."""
    deed, ready, program, wrapper = (tmp_path / name for name in ("deed", "ready", "program.py", "bin/psi4"))
    wrapper.parent.mkdir()
    (tmp_path / "scratch").mkdir()
    deed.write_text("")
    program.write_text(PROGRAM.format(deed=str(deed), ready=str(ready)))
    wrapper.write_text(f'#!/bin/sh\n[ "$1" = --version ] && {{ echo 1.9; exit 0; }}\n"{sys.executable}" "{program}"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", str(wrapper.parent), prepend=os.pathsep)
    monkeypatch.setenv("PSI_SCRATCH", str(tmp_path / "scratch"))
    return deed


def hydrogen(length: float = 0.74) -> Atoms:
    return Atoms("H2", [[0, 0, 0], [0, 0, length]])


def wait_until(true, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_whatever_ends_the_job_ends_the_wrapped_program_and_its_scratch(number, psi4, tmp_path):
    psi4.write_text("sleep")
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored in the background
        "from ase import Atoms; from asteroid import levels\n"
        "atoms = Atoms('H2', [[0, 0, 0], [0, 0, 0.74]], calculator=levels.calculator('hf', code='psi4'))\n"
        "atoms.get_forces()"
    )
    job = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    wait_until(lambda: (tmp_path / "ready").exists() and (tmp_path / "ready").read_text(), 60)
    program = psutil.Process(int((tmp_path / "ready").read_text()))
    assert len(list((tmp_path / "scratch").iterdir())) == 1
    job.send_signal(number)
    assert job.wait(timeout=30)
    wait_until(lambda: not program.is_running() or program.status() == psutil.STATUS_ZOMBIE)
    wait_until(lambda: not list((tmp_path / "scratch").iterdir()))


def test_a_program_on_its_own_leaves_nothing_and_says_how_it_ended(tmp_path):
    guarded = Guarded("scratch-", str(tmp_path), [sys.executable, "-c", "open('left', 'w'); raise SystemExit(3)"])
    assert guarded.process.wait(timeout=30) == 3
    guarded.end()
    assert not list(tmp_path.iterdir())
    killed = Guarded("scratch-", str(tmp_path), [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"])
    assert killed.process.wait(timeout=30) == 128 + 9
    killed.end()


def test_a_frame_at_which_the_program_crashes_costs_no_other(psi4):
    atoms = hydrogen()
    atoms.calc = levels.calculator("hf", code="psi4")
    energy = atoms.get_potential_energy()
    psi4.write_text(f"signal {int(signal.SIGSEGV)}")
    atoms.positions += 0.1
    with pytest.raises(CalculationFailed, match="ended without an answer"):
        atoms.get_potential_energy()
    psi4.write_text("")
    assert atoms.get_potential_energy() == energy


@pytest.mark.parametrize(
    "deed",
    [
        f"signal {int(signal.SIGKILL)}",
        "exit: image not found",
        "PSIO_ERROR: 12 (Error writing to file: No space left on device)",
        "std::bad_alloc",
    ],
)
def test_what_the_machine_lacks_is_no_failure_of_a_frame(deed, psi4):
    psi4.write_text(deed.replace("exit:", "exit "))
    atoms = hydrogen()
    atoms.calc = levels.calculator("hf", code="psi4")
    with pytest.raises(MachineError, match="the machine's trouble, not the frame's: mend it"):
        atoms.get_potential_energy()
    psi4.write_text("")
    assert atoms.get_potential_energy() < 0  # mended, the same calculator goes on
    assert isinstance(pickle.loads(pickle.dumps(MachineError.of("full"))), MachineError)


def test_a_scratch_folder_that_is_not_there_is_named(psi4, monkeypatch):
    monkeypatch.setenv("PSI_SCRATCH", "/nonexistent/scratch")
    atoms = hydrogen()
    atoms.calc = levels.calculator("hf", code="psi4")
    with pytest.raises(MachineError, match="/nonexistent/scratch"):
        atoms.get_potential_energy()


@tiny.needs("pyscf")
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), MemoryError("Unable to allocate 9 GiB")])
def test_pyscf_passes_on_what_the_machine_lacks(error, monkeypatch):
    from pyscf import scf

    def lacking(*args, **kwargs):
        raise error

    monkeypatch.setattr(scf.hf.SCF, "kernel", lacking)
    atoms = hydrogen()
    atoms.calc = levels.calculator("hf", basis="sto-3g", code="pyscf")
    with pytest.raises(MachineError, match=str(error.args[-1])):
        atoms.get_potential_energy()


@tiny.needs("pyscf")
def test_scratch_of_pyscf_goes_with_a_job_that_is_killed(tmp_path):
    code = (
        "import os; from ase.build import molecule; from asteroid import levels\n"
        "atoms = molecule('H2O'); atoms.calc = levels.calculator('hf', basis='sto-3g', code='pyscf')\n"
        "atoms.get_forces(); os.kill(os.getpid(), 9)"
    )
    (tmp_path / "scratch").mkdir()
    job = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYSCF_TMPDIR": str(tmp_path / "scratch")})
    assert job.returncode == -9
    wait_until(lambda: not list((tmp_path / "scratch").iterdir()))
