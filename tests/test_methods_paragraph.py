"""The paragraph to paste says what labels and force field say, and no more."""

from dataclasses import replace
from importlib.metadata import version

import pytest
import tiny
import torch

from asteroid import stages
from asteroid.book.methods import CITATIONS, PAPER, methods_paragraph
from asteroid.datasets import Split

ERRORS = {"force_mae": 1.234, "force_mae_std_error": 0.056, "force_rmse": 2.0, "energy_mae": 0.789}
SAMPLED = {"sampling": "4 trajectories", "sampling_level": "gfn2", "temperature_K": 500.0}


@pytest.fixture(scope="module")
def split() -> Split:
    found = tiny.methanol(budget=6, inaccurate_budget=10, valid=5, test=8)
    about = SAMPLED | {"theory": "CCSD(T)/cc-pVDZ", "code": "psi4", "code_version": "1.9"}
    cheap = SAMPLED | {"theory": "PBE/def2-SVP", "code": "pyscf", "code_version": "2.6"}
    return replace(
        found,
        train=found.train.derived(provenance=about),
        inaccurate=found.inaccurate.derived(provenance=cheap),
    )


@pytest.fixture(scope="module")
def trained(split):
    return stages.asteroid(split, tiny.RECIPE, progress=False)


def test_asteroid_names_both_levels_all_stages_and_what_to_cite(split, trained):
    text = methods_paragraph(trained, split.train, split.test, ERRORS, split.inaccurate, split.valid, "It was run.")
    parameters = sum(weights.numel() for weights in trained.model.parameters())
    for part in (
        "Configurations of methanol (CH4O) were sampled at 500 K under GFN2 (4 trajectories).",
        "10 of PBE/def2-SVP by pyscf 2.6 for pre-training and 6 of CCSD(T)/cc-pVDZ by psi4 1.9 for training",
        "a further 8 for testing and 5 for validation",
        "The model is EGNN (layers 2, hidden 16",
        f"with {parameters:,} parameters, trained by ASTEROID with the optimiser muon",
        "12 steps on 6 labels (identification of the bias), 12 steps on 9 labels (pre-training), "
        "12 steps on 6 labels (fine-tuning)",
        f"asteroid {version('asteroid')}, PyTorch {torch.__version__}",
        "On the 8 test configurations the mean absolute error is 1.23 ± 0.06 kcal/mol/Å",
        "0.79 kcal/mol for energies. It was run.",
    ):
        assert part in text, part
    cited = text.split("To cite: ")[1]
    for name in ("ccsd(t)", "psi4", "pbe", "pyscf", "gfn2", "egnn", "muon", "adamw", "torch", "ase"):
        assert cited.count(CITATIONS[name]) == 1
    assert cited.startswith(PAPER) and CITATIONS["gemnet"] not in cited and CITATIONS["mp2"] not in cited


def test_standard_training_names_its_level_alone(split):
    field = stages.standard(split.train, None, tiny.RECIPE, progress=False)
    text = methods_paragraph(field, split.train, split.test, ERRORS)
    assert "trained by standard training" in text and "12 steps on 6 labels (training)" in text
    assert "PBE" not in text and "validation" not in text and PAPER not in text


def test_what_is_not_known_is_not_said(split, trained):
    bare = split.train.derived(provenance={})
    text = methods_paragraph(trained, bare, split.test, ERRORS, split.inaccurate)
    assert "sampled" not in text and "6 of ccsd(t) for training" in text and "None" not in text


def test_a_sum_of_levels_cites_each_of_them(split, trained):
    level = "ccsd(t)/cc-pvdz + 2*mp2/cc-pvtz - mp2/cc-pvdz"
    text = methods_paragraph(trained, replace(split.train, level=level), split.test, ERRORS)
    assert CITATIONS["ccsd(t)"] in text and text.count(CITATIONS["mp2"]) == 1
