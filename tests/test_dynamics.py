"""Molecular dynamics: the temperature that was asked for, and an end where the molecule comes apart."""

from dataclasses import replace

import ase
import ase.md.langevin
import numpy as np
import pytest
import tiny
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.morse import MorsePotential
from ase.md.velocitydistribution import thermalize_momenta
from ase.md.verlet import VelocityVerlet

from asteroid import dynamics, stages
from asteroid.dynamics import langevin
from asteroid.force_field import ForceField
from asteroid.stages import Recipe

TOLERANCE = {"temperature": 0.05}  # relative; the mean over the run below varies by 0.015 from seed to seed


class Springs(Calculator):
    """Every pair of atoms at its distance in the start, by a spring: a molecule that turns and drifts freely."""

    implemented_properties = ("energy", "forces")

    def __init__(self, pos: np.ndarray, constant: float = 1.0, wrong_after: int | None = None):
        super().__init__()
        self.rest = np.linalg.norm(pos[:, None] - pos[None], axis=-1)
        self.constant, self.wrong_after, self.calls = constant, wrong_after, 0

    def calculate(self, atoms=None, properties=("energy", "forces"), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.calls += 1
        offset = self.atoms.positions[:, None] - self.atoms.positions[None]
        distance = np.linalg.norm(offset, axis=-1) + np.eye(len(offset))
        stretch = distance - self.rest - np.eye(len(offset))
        forces = -self.constant * (stretch / distance)[..., None] * offset
        if self.wrong_after is not None and self.calls > self.wrong_after:
            forces = np.full((len(offset), 3), np.nan)
        self.results = {
            "energy": self.constant * (stretch**2).sum() / 4,
            "forces": forces.sum(axis=1) if forces.ndim == 3 else forces,
        }


def molecule() -> ase.Atoms:
    """Nine atoms with the masses of ethanol: light and heavy ones together are what a thermostat gets wrong."""
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3), axis=-1).reshape(-1, 3)[:9]
    return ase.Atoms("OC2H6", 1.5 * grid + np.random.default_rng(0).normal(0, 0.1, (9, 3)))


SETTINGS = {"temperature": 500.0, "timestep": 1.0, "friction": 0.05}


def mean_temperature(**changes: object) -> float:
    atoms = molecule()
    trajectory = langevin(atoms, Springs(atoms.positions), steps=4000, every=5, **(SETTINGS | changes))
    assert trajectory.stable
    return trajectory.temperature[40:].mean()


def test_the_thermostat_holds_its_temperature():
    assert mean_temperature() == pytest.approx(500, rel=TOLERANCE["temperature"])


def test_the_test_of_the_temperature_sees_what_goes_wrong_by_default(monkeypatch):
    """ASE's own default, which takes the centre of mass out of the noise, is what this must not be."""

    class Default(ase.md.langevin.Langevin):
        def __init__(self, *args, **options):
            super().__init__(*args, **(options | {"fixcm": True}))

    monkeypatch.setattr(dynamics, "Langevin", Default)
    assert mean_temperature() != pytest.approx(500, rel=TOLERANCE["temperature"])


def test_frames_times_and_units():
    atoms = molecule()
    before = atoms.positions.copy()
    trajectory = langevin(atoms, Springs(atoms.positions), steps=30, timestep=0.5, every=10)
    assert trajectory.time.tolist() == [0, 5, 10, 15] and trajectory.pos.shape == (4, 9, 3)
    assert np.array_equal(atoms.positions, before) and atoms.calc is None
    last = ase.Atoms("OC2H6", trajectory.pos[-1], calculator=Springs(before))
    assert np.abs(last.get_center_of_mass()).max() < 1e-12
    kcal = ase.units.kcal / ase.units.mol
    assert trajectory.potential_energy[-1] == pytest.approx(last.get_potential_energy() / kcal, rel=1e-5)
    assert trajectory.largest_distance[-1] == pytest.approx(last.get_all_distances().max())
    assert trajectory.limit == pytest.approx(2 * trajectory.largest_distance[0])
    assert trajectory.stable and "stayed together for 30 steps (0.015 ps)" in trajectory.verdict


def test_the_same_seed_gives_the_same_trajectory_and_another_another():
    atoms = molecule()
    runs = [langevin(atoms, Springs(atoms.positions), steps=50, seed=seed).pos for seed in (0, 0, 1)]
    assert np.array_equal(runs[0], runs[1])
    assert not np.allclose(runs[0][0], runs[2][-1]) and not np.array_equal(runs[0][-1], runs[2][-1])


def test_the_global_generator_is_left_alone():
    np.random.seed(0)  # noqa: NPY002  (it is the global one that is looked at)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    atoms = molecule()
    langevin(atoms, Springs(atoms.positions), steps=10)
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize(("steps", "every"), [(105, 10), (5, 10), (10, 0), (0, 10), (-10, 10)])
def test_steps_that_are_no_multiple_of_every_are_refused(steps, every):
    """The last steps would not be done, and the verdict would say that they were."""
    atoms = molecule()
    with pytest.raises(ValueError, match=f"steps is {steps} and every is {every}"):
        langevin(atoms, Springs(atoms.positions), steps=steps, every=every)


def test_a_molecule_that_comes_apart_ends_with_a_verdict():
    atoms = ase.Atoms("Ar2", [[0, 0, 0], [1.0, 0, 0]])  # in the wall of the potential, with energy to fly
    trajectory = langevin(atoms, MorsePotential(epsilon=1.0, r0=1.5, rho0=3.0), steps=2000, every=5, friction=1e-5)
    assert not trajectory.stable
    assert "came apart by step" in trajectory.verdict and "2.0 Å" in trajectory.verdict
    assert (trajectory.largest_distance[:-1] <= trajectory.limit).all() and trajectory.largest_distance[-1] > 2.0
    assert len(trajectory.pos) == len(trajectory.time) < 401 and np.isfinite(trajectory.pos).all()


def test_forces_that_are_no_numbers_end_the_simulation_with_the_frames_before():
    atoms = molecule()
    trajectory = langevin(atoms, Springs(atoms.positions, wrong_after=25), steps=200, every=10)
    assert "came apart before step" in trajectory.verdict
    assert 2 <= len(trajectory.time) <= 4 and np.isfinite(trajectory.pos).all()
    assert not trajectory.stable


def test_a_force_field_of_another_molecule_is_an_error_and_no_verdict():
    import tiny
    import torch

    calculator = ForceField(tiny.model(), torch.tensor([8, 1, 1]), 0.0, "none").calculator()
    with pytest.raises(ValueError, match="atomic numbers"):
        langevin(molecule(), calculator, steps=10)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("egnn", {}),
        ("gemnet-t", {"preset": "small", "blocks": 1}),
        ("gemnet-q", {"preset": "small", "blocks": 1}),
    ],
    ids=["egnn", "gemnet-t", "gemnet-q"],
)
def test_a_trained_model_conserves_energy_as_well_as_the_integrator(name, config):
    """Verlet's total energy swings with the square of the step and does not drift, if forces are true derivatives."""
    split = tiny.methanol(budget=40, inaccurate_budget=None)
    recipe = Recipe(model=name, model_config=config or tiny.MODEL, accurate=replace(tiny.TRAIN, steps=60))
    force_field = stages.standard(split.train, split.valid, recipe, progress=False)
    force_field.model.double()
    swing, drift = {}, {}
    for timestep in (0.5, 0.25):
        atoms = ase.Atoms(split.train.z.numpy(), split.train.pos[0].numpy(), calculator=force_field.calculator())
        thermalize_momenta(atoms, 300, rng=np.random.default_rng(0))
        verlet = VelocityVerlet(atoms, timestep * ase.units.fs)
        energies = [atoms.get_total_energy() for _ in verlet.irun(round(40 / timestep))]
        swing[timestep], drift[timestep] = np.std(energies), abs(np.mean(energies[-40:]) - np.mean(energies[:40]))
    exchanged = 3 / 2 * len(atoms) * ase.units.kB * 300  # eV; what moves between kinetic and potential energy
    assert swing[0.5] < 0.02 * exchanged
    assert swing[0.25] < 0.35 * swing[0.5] and drift[0.25] < 0.5 * drift[0.5] + 1e-4 * exchanged
