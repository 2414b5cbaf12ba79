"""Frames for other codes: ASE reads back what was written, in its own units, and MACE trains from it."""

import os
import subprocess
import sys

import ase.io
import ase.units
import numpy as np
import pytest
import torch

import asteroid
from asteroid.datasets import DatasetError
from asteroid.training import losses

EV = ase.units.mol / ase.units.kcal  # kcal/mol in one eV, by ASE's own constants


@pytest.fixture(scope="module")
def cheap():
    return asteroid.load("methanol", "pbe")[:12]


def test_ase_reads_back_labels_and_weights(cheap, tmp_path):
    weights = losses.bias_weights(torch.linspace(1, 5, len(cheap), dtype=torch.float64), gamma=2.0)
    cheap.to_extxyz(tmp_path / "cheap.extxyz", weights)
    frames = ase.io.read(tmp_path / "cheap.extxyz", ":")
    assert len(frames) == len(cheap) and not frames[0].pbc.any()
    assert frames[0].get_chemical_formula() == "CH4O" and frames[0].numbers.tolist() == cheap.z.tolist()
    np.testing.assert_allclose([atoms.positions for atoms in frames], cheap.pos, atol=1e-8)
    np.testing.assert_allclose([atoms.info["REF_energy"] * EV for atoms in frames], cheap.energy, rtol=1e-7)
    np.testing.assert_allclose([atoms.arrays["REF_forces"] * EV for atoms in frames], cheap.force, atol=1e-4)
    np.testing.assert_allclose([atoms.info["config_weight"] for atoms in frames], weights, rtol=1e-12)
    assert {atoms.info["level"] for atoms in frames} == {"pbe"}
    assert [path.name for path in tmp_path.iterdir()] == ["cheap.extxyz"]


def test_without_weights_every_frame_counts_the_same(cheap, tmp_path):
    cheap.to_extxyz(tmp_path / "cheap.xyz")
    assert {atoms.info["config_weight"] for atoms in ase.io.read(tmp_path / "cheap.xyz", ":", format="extxyz")} == {1.0}


@pytest.mark.parametrize("weights", [[], np.ones(11), np.full(12, -1.0), np.full(12, np.nan), np.ones((12, 1))])
def test_weights_that_are_none_are_refused(cheap, tmp_path, weights):
    with pytest.raises(DatasetError, match="expected one for each of 12 frames, finite and 0 or more"):
        cheap.to_extxyz(tmp_path / "cheap.extxyz", weights)
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_what_was_there(cheap, tmp_path, monkeypatch):
    path = tmp_path / "cheap.extxyz"
    path.write_text("before")

    def full(*arguments, **settings):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ase.io, "write", full)
    with pytest.raises(DatasetError, match="No space left on device"):
        cheap.to_extxyz(path)
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]
    with pytest.raises(DatasetError, match="ends with '.npz'"):
        cheap.to_extxyz(tmp_path / "cheap.npz")


def test_mace_trains_an_epoch_from_it(cheap, tmp_path):
    pytest.importorskip("mace")
    cheap.to_extxyz(tmp_path / "cheap.extxyz", np.linspace(0.5, 1.5, len(cheap)))
    small = {"hidden_irreps": "8x0e", "num_interactions": 1, "r_max": 3.0, "batch_size": 4, "max_num_epochs": 1}
    how = {"name": "tiny", "train_file": "cheap.extxyz", "valid_fraction": 0.25, "E0s": "average", "device": "cpu"}
    options = [f"--{name}={value}" for name, value in {**how, **small}.items()]
    program = [sys.executable, "-m", "mace.cli.run_train", *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(program, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.rglob("*.model"))
