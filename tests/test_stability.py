"""Measures of a simulation against cases whose answer is known."""

from types import SimpleNamespace

import numpy as np
import pytest
import tiny
from scipy import stats
from scipy.spatial.transform import Rotation

from asteroid.md import stability
from asteroid.units import WAVENUMBER

METHANOL_BONDS = {(0, 1), (0, 2), (0, 3), (0, 4), (1, 5)}


def trajectory(pos: np.ndarray, spacing: float = 5.0, stable: bool = True, **more: object) -> SimpleNamespace:
    """What the measures read of a Trajectory."""
    return SimpleNamespace(pos=pos, time=spacing * np.arange(len(pos)), stable=stable, **more)


def methanol() -> tuple[np.ndarray, np.ndarray]:
    labels = tiny.methanol(budget=20, inaccurate_budget=None).train
    return labels.z.numpy(), labels.pos.numpy()


def test_bonds_of_methanol_in_every_frame_at_500_kelvin():
    z, pos = methanol()
    assert z.tolist() == [6, 8, 1, 1, 1, 1]
    for frame in pos:
        assert {tuple(pair) for pair in stability.bonds(z, frame).tolist()} == METHANOL_BONDS


def test_a_bond_that_deviates_by_half_an_angstrom_is_a_failure():
    z, pos = methanol()
    pairs = stability.bonds(z, pos[0])
    lengths = stability.bond_lengths(pos[0], pairs)
    stretched = np.repeat(pos[:1], 6, axis=0)
    outwards = (pos[0, 5] - pos[0, 1]) / np.linalg.norm(pos[0, 5] - pos[0, 1])
    stretched[:, 5] += np.array([0, 0.2, 0.49, 0.51, 0.3, 2.0])[:, None] * outwards
    assert stability.time_to_failure(trajectory(stretched), pairs, lengths) == (15.0, True)
    assert stability.time_to_failure(trajectory(stretched[:3]), pairs, lengths) == (10.0, False)
    pressed = stretched[:2].copy()
    pressed[1, 5] -= 0.71 * outwards  # shorter than at the start by 0.51 Å
    assert stability.time_to_failure(trajectory(pressed), pairs, lengths) == (5.0, True)
    assert stability.time_to_failure(trajectory(stretched)) == (25.0, False)
    assert stability.time_to_failure(trajectory(stretched[:3], stable=False)) == (10.0, True)


def test_energy_drift_is_the_slope():
    time = np.linspace(0, 2000, 400)
    swinging = 0.3 * time / 1000 + 0.01 * np.sin(time)
    assert stability.energy_drift(SimpleNamespace(time=time, total_energy=swinging)) == pytest.approx(0.3, abs=0.005)


def test_distances_of_a_rigid_triangle():
    """3, 4 and 5 Å, however it turns."""
    triangle = np.array([[0.0, 0, 0], [3, 0, 0], [0, 4, 0]])
    pos = np.stack([rotation.apply(triangle) for rotation in Rotation.random(7, rng=np.random.default_rng(0))])
    edges = np.linspace(0.25, 6.25, 13)
    density = stability.distance_distribution(pos, edges)
    centres = (edges[1:] + edges[:-1]) / 2
    assert centres[density > 0].tolist() == [3.0, 4.0, 5.0]
    assert density[density > 0] == pytest.approx(1 / 3 / 0.5)
    assert stability.distribution_error(density, density, edges) == 0
    other = stability.distance_distribution(pos * 1.5, edges)  # 4.5, 6 and, outside, 7.5 Å
    assert stability.distribution_error(density, other, edges) == pytest.approx(1 + 2 / 3)


def test_the_spectrum_of_a_known_vibration():
    """Two light atoms against each other at 3000/cm, two heavy ones at 1000/cm with half the energy."""
    time = 2.0 * np.arange(2000)
    mass = np.array([1.0, 1.0, 16.0, 16.0])
    pos = np.array([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]])
    velocity = np.zeros((2, len(time), 4, 3))
    waves = {wavenumber: np.sin(2 * np.pi * wavenumber / WAVENUMBER * time) for wavenumber in (3000, 1000)}
    velocity[..., 0, 0], velocity[..., 1, 0] = waves[3000], -waves[3000]
    velocity[..., 2, 1], velocity[..., 3, 1] = waves[1000] / np.sqrt(32), -waves[1000] / np.sqrt(32)
    rigid = 3.0 + np.cross([0.1, -2.0, 0.5], pos)  # drift and rotation, which are no vibrations
    frames = np.broadcast_to(pos + 7, velocity.shape)
    wavenumber, density = stability.vibrational_spectrum(frames, velocity + rigid, mass, 2.0, resolution=20.0)
    assert wavenumber[density.argmax()] == pytest.approx(3000, abs=20)
    assert np.trapezoid(density, wavenumber) == pytest.approx(1)
    low, high = wavenumber < 2000, wavenumber >= 2000
    share = np.trapezoid(density[low], wavenumber[low]), np.trapezoid(density[high], wavenumber[high])
    assert share == pytest.approx((1 / 3, 2 / 3), abs=0.01)
    assert wavenumber[-1] == pytest.approx(16678 / 2, abs=20)


def test_the_rotation_of_a_linear_molecule_is_taken_out():
    pos = np.array([[0.0, 0, -1.2], [0, 0, 0], [0, 0, 1.2]])
    turning = np.cross([0.3, 0.2, 0.0], pos) + 1.0
    assert np.abs(stability.without_rigid_motion(pos, turning, np.array([16.0, 12, 16]))).max() < 1e-12


def test_a_short_run_gives_a_coarse_spectrum():
    generator = np.random.default_rng(0)
    motion = generator.normal(size=(2, 10, 4, 3))
    wavenumber, density = stability.vibrational_spectrum(*motion, np.ones(4), 2.0)
    assert len(wavenumber) == len(density) == 6


def wilson(successes: int, runs: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a proportion, by his formula."""
    z, p = stats.norm.ppf(0.975), successes / runs
    half = z * np.sqrt(p * (1 - p) / runs + (z / runs) ** 2 / 4)
    return tuple((p + z**2 / runs / 2 + sign * half) / (1 + z**2 / runs) for sign in (-1, 1))


@pytest.mark.parametrize("successes", [0, 3, 10, 20])
def test_interval_of_a_proportion(successes):
    assert stability.proportion(successes, 20) == pytest.approx((successes / 20, *wilson(successes, 20)), abs=1e-9)


def test_kaplan_meier_by_hand():
    """Failures at 1 and 3, runs that ended whole at 2 and 4: 3/4, then 3/4 · 1/2."""
    time, fraction, low, high = stability.survival([1, 2, 3, 4], [True, False, True, False])
    assert time.tolist() == [0, 1, 2, 3, 4]
    assert fraction == pytest.approx([1, 0.75, 0.75, 0.375, 0.375])
    greenwood = np.array([1 / (4 * 3), 1 / (4 * 3) + 1 / (2 * 1)])  # of log S: failed / (at risk · left)
    survived = np.array([0.75, 0.375])
    half = stats.norm.ppf(0.975) * np.sqrt(greenwood) / np.abs(np.log(survived))  # of log(−log S)
    assert low[[1, 3]] == pytest.approx(survived ** np.exp(half))
    assert high[[1, 3]] == pytest.approx(survived ** np.exp(-half))
    assert np.all((low <= fraction) & (fraction <= high))


@pytest.mark.parametrize("failed", [True, False])
def test_survival_where_all_or_none_fail(failed):
    _, fraction, low, high = stability.survival(np.full(20, 5.0), np.full(20, failed))
    assert fraction.tolist() == [1.0, 0.0 if failed else 1.0]
    assert (low[-1], high[-1]) == pytest.approx(wilson(0 if failed else 20, 20))


@pytest.mark.parametrize("failures", [1, 3, 20])
def test_the_interval_of_a_mean_time_to_failure_is_where_that_many_failures_are_unlikely(failures):
    """At its ends, 2.5 % of Poisson's distribution are as many failures or fewer, and as many or more."""
    time = np.linspace(1, 2, 20)
    found = stability.mean_time_to_failure(time, np.arange(20) < failures)
    assert found.estimate == pytest.approx(time.sum() / failures)
    assert stats.poisson.cdf(failures, time.sum() / found.low) == pytest.approx(0.025)
    assert stats.poisson.sf(failures - 1, time.sum() / found.high) == pytest.approx(0.025)


def test_without_a_failure_the_lower_bound_remains():
    assert stability.mean_time_to_failure(np.ones(20), np.zeros(20)) == (
        np.inf,
        pytest.approx(20 / -np.log(0.025)),  # whose Poisson probability of no failure is 2.5 %
        np.inf,
    )


def test_frames_to_play_are_few_and_do_not_turn():
    _, pos = methanol()
    generator = np.random.default_rng(0)
    turning = np.stack([Rotation.random(rng=generator).apply(pos[0] - pos[0].mean(axis=0)) for _ in range(400)])
    shown = stability.frames_to_play(trajectory(turning), frames=150)
    assert len(shown) == 134 and np.abs(shown - shown[0]).max() < 1e-6


def test_a_linear_molecule_is_played_without_a_warning():
    turned = np.array([[[0, 0, -0.6], [0, 0, 0.6]], [[0, 0.7, 0], [0, -0.7, 0]]])
    shown = stability.frames_to_play(trajectory(turned))
    np.testing.assert_allclose(shown[1], [[0, 0, -0.7], [0, 0, 0.7]], atol=1e-6)
