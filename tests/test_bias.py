"""The bias report divides a known bias as it was made, and refuses cheap labels that have nothing to teach."""

import re
from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from ase import Atoms
from ase.calculators.lj import LennardJones

import asteroid
from asteroid import levels
from asteroid.datasets import DatasetError, LabelledSet
from asteroid.force_field import ForceField
from asteroid.levels import sampling
from asteroid.md.calculator import frame_by_frame
from asteroid.planning import bias
from asteroid.planning.bias import DO_NOT, PRE_TRAIN, WITH_WEIGHTS, bias_report

MOLECULES = ("methanol", "formic_acid")
ANALOGUES = {"methanol": "CS", "formic_acid": "OC=S"}  # the same atoms but for sulphur in the place of an oxygen


def accurate(molecule: str = "methanol", frames: int = 40) -> LabelledSet:
    return asteroid.load(molecule, "ccsd(t)")[:frames]


def with_bias(labels: LabelledSet, added: torch.Tensor) -> LabelledSet:
    return labels.derived(level="cheap", force=labels.force + added)  # which may be the force of no energy


def pull(labels: LabelledSet, degree: int) -> torch.Tensor:
    """Force of an energy of one degree in the distortion of two inverse distances from their means."""
    pos = labels.pos.clone().requires_grad_()
    inverse = torch.stack([1 / (pos[:, 0] - pos[:, 1]).norm(dim=-1), 1 / (pos[:, 1] - pos[:, 2]).norm(dim=-1)])
    inverse = inverse - inverse.detach().mean(dim=1, keepdim=True)
    energy = 30 * inverse.sum() if degree == 1 else 300 * inverse.prod(dim=0).sum()
    return -torch.autograd.grad(energy, pos)[0]


def computed(labels: LabelledSet, calculator, numbers: np.ndarray) -> LabelledSet:
    _, force = frame_by_frame(calculator, Atoms(numbers))(labels.pos.numpy())
    return replace(labels, level="cheap", force=torch.from_numpy(force))


@pytest.mark.parametrize("degree", [1, 2])
def test_a_bias_of_one_degree_is_found_to_be_that(degree):
    labels = accurate()
    report = bias_report(labels, with_bias(labels, pull(labels, degree)))
    shares = {1: report.constant, 2: report.linear}
    assert shares[degree] > 0.97 and abs(shares[3 - degree]) < 0.1
    assert report.constant + report.linear + report.varying == pytest.approx(1)
    assert report.varying < 0.03 and report.verdict == PRE_TRAIN


def test_noise_is_neither_constant_nor_linear():
    """Shares are of frames that the fit has not seen; of those that it has, it would explain a part of anything."""
    labels = accurate()
    noise = torch.randn(labels.force.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    report = bias_report(labels, with_bias(labels, noise))
    assert report.constant < 0.01 and report.constant + report.linear < 0.01


@pytest.mark.parametrize("degree", [1, 2])
def test_covariances_of_forces_are_second_derivatives_of_those_of_energies(degree):
    pos = accurate(frames=3).pos
    pairs = torch.combinations(torch.arange(pos.shape[1])).T

    def inverse(x):
        return 1 / (x.view(-1, 3)[pairs[0]] - x.view(-1, 3)[pairs[1]]).norm(dim=-1)

    every = torch.stack([inverse(frame) for frame in pos])
    mean, spread = every.mean(dim=0), every.std(dim=0, correction=0)

    def covariance(x, y):
        product = ((inverse(x) - mean) / spread) @ ((inverse(y) - mean) / spread)
        return product if degree == 1 else (1 + product) ** 2 / 2

    first, second = pos[0].flatten(), pos[1].flatten()
    size = len(first)
    mixed = torch.autograd.functional.hessian(covariance, (first, second))[0][1]  # two signs of a force cancel
    found = bias.kernels(pos.numpy())[degree - 1][:size, size : 2 * size]
    np.testing.assert_allclose(found, mixed, atol=1e-9 * mixed.abs().max())


def test_the_report_does_not_depend_on_how_the_molecule_lies():
    labels, cheap = accurate(), asteroid.load("methanol", "pbe")
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    _, theirs = labels.paired_with(cheap)
    turned = [replace(one, pos=one.pos @ turn + 1, force=one.force @ turn) for one in (labels, cheap[theirs])]
    first, second = bias_report(labels, cheap), bias_report(*turned)
    assert first.constant == pytest.approx(second.constant, abs=1e-6)
    np.testing.assert_allclose(first.varying_by_frame.mean(), second.varying_by_frame.mean(), rtol=0.1)
    assert first.verdict == second.verdict


def test_sizes_are_those_of_the_definition():
    labels = accurate()
    added = torch.zeros_like(labels.force)
    added[:, 2] = 3.0
    report = bias_report(labels, with_bias(labels, added))
    np.testing.assert_allclose(report.by_frame, 3 / 6)  # one of six atoms, all three components
    np.testing.assert_allclose(report.by_atom, [0, 0, 3, 0, 0, 0])
    assert report.constant < 0.05  # a force on the whole molecule is that of no energy of its shape


@pytest.mark.parametrize("molecule", MOLECULES)
@pytest.mark.parametrize("level", ["mmff", "gfn2", "pbe"])
def test_embedded_levels_beat_a_harmonic_force_field(molecule, level):
    labels, cheap = accurate(molecule), asteroid.load(molecule, level)
    report = bias_report(labels, cheap)
    assert report.verdict in (PRE_TRAIN, WITH_WEIGHTS) and report.varying_by_frame.mean() < report.error
    # A model that knows the forces to a hundredth of a unit has nothing to learn from labels with a larger bias.
    assert bias_report(labels, cheap, error=0.01).verdict == DO_NOT


@pytest.mark.parametrize("molecule", MOLECULES)
def test_shuffled_labels_are_refused(molecule):
    labels, cheap = accurate(molecule), asteroid.load(molecule, "pbe")
    cheap = cheap[labels.paired_with(cheap)[1]]
    report = bias_report(labels, cheap.derived(force=cheap.force.roll(1, dims=0)))
    assert report.verdict == DO_NOT and "nothing left to learn" in report.reason


@pytest.mark.parametrize("molecule", MOLECULES)
@pytest.mark.parametrize("epsilon", [0.01, 0.1, 1.0])
def test_lennard_jones_is_refused(molecule, epsilon):
    labels = accurate(molecule)
    cheap = computed(labels, LennardJones(epsilon=epsilon, sigma=1.0, rc=12.0), labels.z.numpy())
    assert bias_report(labels, cheap).verdict == DO_NOT


@tiny.needs("rdkit")
@pytest.mark.parametrize("molecule", MOLECULES)
def test_parameters_of_another_molecule_are_refused(molecule):
    labels, other = accurate(molecule), sampling.geometry(ANALOGUES[molecule])
    cheap = computed(labels, levels.calculator("mmff", reference=other), other.numbers)
    assert bias_report(labels, cheap).verdict == DO_NOT


def test_weights_are_advised_where_some_frames_are_far_worse_than_others():
    labels, cheap = accurate(frames=80), asteroid.load("methanol", "pbe")
    cheap = cheap[labels.paired_with(cheap)[1]]
    assert bias_report(labels, cheap).verdict == PRE_TRAIN
    report = bias_report(labels, tiny.corrupted(cheap, 10, size=6.0))  # one calculation in eight went astray
    assert report.verdict == WITH_WEIGHTS and "differs between frames" in report.reason
    assert re.search(
        r"differs between frames: weighted frames count like \d+ % of them, and what varies is \d+ %", report.reason
    )


@pytest.mark.parametrize(("worse", "left", "verdict"), [(1.8, 86, WITH_WEIGHTS), (1.3, 94, PRE_TRAIN)])
def test_weights_must_lower_what_varies_by_more_than_they_take_away(worse, left, verdict):
    """By hand: weights of 1 and e⁻² leave 81 % of the labels, whose mean is then off by √(1 / 0.81) times as much."""
    size = torch.tensor([1.0] * 300 + [3.0] * 100, dtype=torch.float64)  # the median is 1
    varying = np.array([1.0] * 300 + [worse] * 100)
    found, reason = bias.verdict_of(size, varying, np.full(400, 10.0), given=True)
    assert found == verdict
    assert f"count like 81 % of them, and what varies is {left} % of what it was" in reason


def test_a_force_field_may_stand_for_the_accurate_labels():
    field = ForceField(tiny.model(), accurate().z, 0.0, "ccsd(t)", {})
    cheap = asteroid.load("methanol", "pbe")[:20]
    report = bias_report(field, cheap)
    np.testing.assert_allclose(report.by_frame, asteroid.stages.estimated_bias(field, cheap))


def test_at_most_a_hundred_frames_are_looked_at():
    report = asteroid.bias_report(asteroid.load("methanol", "ccsd(t)"), asteroid.load("methanol", "gfn2"))
    assert len(report.by_frame) == bias.MOST


def test_the_frames_looked_at_are_not_of_one_trajectory_alone():
    field, cheap = ForceField(tiny.model(), accurate().z, 0.0, "ccsd(t)", {}), asteroid.load("methanol", "gfn2")
    looked_at = bias_report(field, cheap).by_frame
    spread = cheap[np.linspace(0, len(cheap) - 1, bias.MOST).astype(int)]
    np.testing.assert_allclose(looked_at, asteroid.stages.estimated_bias(field, spread))


def test_what_no_report_can_be_made_of_is_refused():
    labels = accurate()
    with pytest.raises(DatasetError, match="9 frames have both .* a report takes 10"):
        bias_report(labels[:9], asteroid.load("methanol", "pbe"))
    with pytest.raises(DatasetError, match="are those of ccsd"):
        bias_report(labels, labels)
    with pytest.raises(ValueError, match="error is 0; expected a force error above 0"):
        bias_report(labels, asteroid.load("methanol", "pbe"), error=0)
    with pytest.raises(DatasetError, match="formic_acid"):
        bias_report(labels, asteroid.load("formic_acid", "pbe"))
