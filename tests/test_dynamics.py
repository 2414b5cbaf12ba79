"""Molecular dynamics: the temperature that was asked for, and an end where the molecule comes apart."""

from dataclasses import replace

import ase
import numpy as np
import pytest
import tiny
import torch
from ase.calculators.calculator import CalculationFailed, Calculator, all_changes
from ase.calculators.morse import MorsePotential
from ase.constraints import FixAtoms
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import Stationary, thermalize_momenta
from ase.md.verlet import VelocityVerlet

from asteroid import load, stages
from asteroid.datasets import LabelledSet
from asteroid.force_field import ForceField
from asteroid.md.dynamics import highest_frequency, langevin
from asteroid.stages import Recipe
from asteroid.units import BOLTZMANN, MASS

TOLERANCE = {
    "temperature": 0.05,  # relative; the mean over the run below varies by 0.015 from seed to seed
    "temperature at the start": 0.03,  # relative; the mean over 500 replicas varies by 0.013
    "potential energy": 0.1,  # relative; by 0.03
    "same numbers as ASE": 1e-6,  # Å, after a hundred steps; its units are those of 2014
    "replica alone": 1e-8,  # Å, double precision
}


class Springs(Calculator):
    """Every pair of atoms at its distance in the start, by a spring: a molecule that turns and drifts freely."""

    implemented_properties = ("energy", "forces")

    def __init__(self, pos: np.ndarray, constant: float = 1.0, wrong_after: int | None = None):
        super().__init__()
        self.rest = np.linalg.norm(pos[:, None] - pos[None], axis=-1)
        self.constant, self.wrong_after, self.calls = constant, wrong_after, 0

    def compute(self, pos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energy (frames,), eV, and forces (frames, atoms, 3), eV/Å."""
        self.calls += 1
        offset = pos[:, :, None] - pos[:, None]
        distance = np.linalg.norm(offset, axis=-1) + np.eye(pos.shape[1])
        stretch = distance - self.rest - np.eye(pos.shape[1])
        forces = -self.constant * ((stretch / distance)[..., None] * offset).sum(axis=2)
        if self.wrong_after is not None and self.calls > self.wrong_after:
            forces = np.full_like(forces, np.nan)
        return self.constant * (stretch**2).sum(axis=(1, 2)) / 4, forces

    def calculate(self, atoms=None, properties=("energy", "forces"), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        energy, forces = self.compute(self.atoms.positions[None])
        self.results = {"energy": float(energy[0]), "forces": forces[0]}


class BatchedSprings(Springs):
    """The same, all replicas at once; from `breaks_at` steps on, those that start at x > 5 Å explode."""

    breaks_at, domain, provenance = None, None, {}

    def evaluator(self, numbers, calls=None):
        def evaluate(pos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            energy, forces = self.compute(pos)
            if self.breaks_at is not None and self.calls > self.breaks_at:
                forces[pos.mean(axis=(1, 2)) > 5] *= 1e300
            return energy / KCAL, forces / KCAL

        return evaluate


KCAL = ase.units.kcal / ase.units.mol


def molecule() -> ase.Atoms:
    """Nine atoms with the masses of ethanol: light and heavy ones together are what a thermostat gets wrong."""
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3), axis=-1).reshape(-1, 3)[:9]
    return ase.Atoms("OC2H6", 1.5 * grid + np.random.default_rng(0).normal(0, 0.1, (9, 3)))


class Says(Calculator):
    """Its energy is what the atoms say of their state."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=("energy", "forces"), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        energy = 100 * self.atoms.info.get("charge", 0) + 10 * self.atoms.get_initial_charges().sum()
        energy += self.atoms.get_initial_magnetic_moments().sum()
        self.results = {"energy": float(energy), "forces": np.zeros((len(self.atoms), 3))}


def test_a_calculator_sees_the_state_of_the_start():
    atoms = ase.Atoms("OH", [[0, 0, 0], [0, 0, 0.96]], info={"charge": -1})
    atoms.set_initial_charges([-1, 0])
    atoms.set_initial_magnetic_moments([0, 2])
    trajectory = langevin(atoms, Says(), steps=1, every=1)
    assert trajectory.potential_energy[0] * KCAL == pytest.approx(-100 - 10 + 2)
    neutral = ase.Atoms("OH", atoms.positions)
    with pytest.raises(ValueError, match="frame 1 says {} and frame 0 {'charge': -1, 'multiplicity': 3}"):
        langevin([atoms, neutral], Says(), steps=1, every=1)


SETTINGS = {"temperature": 500.0, "timestep": 1.0, "friction": 0.05}


def test_the_thermostat_holds_its_temperature():
    atoms = molecule()
    trajectory = langevin(atoms, Springs(atoms.positions), steps=4000, every=5, **SETTINGS)
    assert trajectory.stable
    assert trajectory.temperature[40:].mean() == pytest.approx(500, rel=TOLERANCE["temperature"])


def test_replicas_start_at_their_temperature_with_the_centre_of_mass_at_rest():
    atoms = molecule()
    replicas = langevin([atoms] * 500, BatchedSprings(atoms.positions), steps=1, every=1, temperature=500)
    mass, velocity = atoms.get_masses()[:, None], np.stack([replica.velocity[0] for replica in replicas])
    kelvin = MASS * (mass * velocity**2).sum(axis=(1, 2)) / ((3 * len(atoms) - 3) * BOLTZMANN)
    assert kelvin.mean() == pytest.approx(500, rel=TOLERANCE["temperature at the start"])
    assert np.abs((mass * velocity).sum(axis=1)).max() < 1e-12


def ase_run(atoms: ase.Atoms, steps: int, seed: list[int], constant: float = 1.0, **changes: float):
    """A step at a time of ASE's integrator, begun like ours, with its atoms."""
    settings = SETTINGS | changes
    atoms = atoms.copy()
    atoms.calc = Springs(atoms.positions, constant)
    generator = np.random.default_rng(seed)
    thermalize_momenta(atoms, settings["temperature"], rng=generator)
    Stationary(atoms, preserve_temperature=False)
    run = Langevin(
        atoms,
        settings["timestep"] * ase.units.fs,
        temperature_K=settings["temperature"],
        friction=settings["friction"] / ase.units.fs,
        fixcm=False,  # its default takes the centre of mass out of the noise, which heats the other motion
        rng=generator,
    )
    for _ in run.irun(steps):
        yield atoms


@pytest.mark.parametrize("friction", [0.05, 0.002, 0.0])
def test_the_integrator_is_that_of_ase(friction):
    """The same random numbers give the same trajectory; without friction it is velocity Verlet."""
    atoms = molecule()
    ours = langevin(atoms, Springs(atoms.positions), steps=100, every=5, seed=3, **(SETTINGS | {"friction": friction}))
    *_, last = ase_run(atoms, 100, [3, 0], friction=friction)
    difference = ours.pos[-1] - (last.positions - last.get_center_of_mass())
    assert np.abs(difference).max() < TOLERANCE["same numbers as ASE"]
    assert np.abs(ours.velocity[-1] - last.get_velocities() * ase.units.fs).max() < TOLERANCE["same numbers as ASE"]
    assert np.abs(ours.pos[-1] - ours.pos[0]).max() > 0.05  # it has moved


def test_batch_and_ase_agree_in_temperature_and_mean_potential_energy():
    """Twenty replicas at once, against one long run of ASE's integrator, and both against equipartition."""
    # Stiff, and not in a plane as the other is, so that it is nearly harmonic.
    cube = np.stack(np.meshgrid(*[[0.0, 1.5]] * 3), axis=-1).reshape(-1, 3)
    atoms, stiff = ase.Atoms("C2H6O", [*cube, [0.75, 0.75, 0.75]]), {"constant": 5.0}
    settings = SETTINGS | {"timestep": 0.5}
    replicas = langevin([atoms] * 20, BatchedSprings(atoms.positions, **stiff), steps=800, every=5, **settings)
    late = [replica.time > 100 for replica in replicas]
    ours = {
        "temperature": np.mean([r.temperature[i].mean() for r, i in zip(replicas, late)]),
        "potential energy": np.mean([r.potential_energy[i].mean() for r, i in zip(replicas, late)]),
    }
    rows = [
        (atoms.get_kinetic_energy() / (1.5 * len(atoms) * ase.units.kB), atoms.get_potential_energy() / KCAL)
        for atoms in ase_run(atoms, 5000, [1], timestep=0.5, **stiff)
    ]
    theirs = dict(zip(ours, np.mean(rows[200:], axis=0)))
    vibrations = 3 * len(atoms) - 6
    expected = {"temperature": 500.0, "potential energy": vibrations / 2 * BOLTZMANN * 500}
    for name in ours:
        assert ours[name] == pytest.approx(theirs[name], rel=2 * TOLERANCE[name])
        assert ours[name] == pytest.approx(expected[name], rel=TOLERANCE[name])


def test_a_replica_is_the_same_whatever_others_there_are():
    atoms, moved = molecule(), molecule()
    moved.positions += 0.02
    together = langevin([atoms, moved, atoms], BatchedSprings(atoms.positions), steps=50, **SETTINGS)
    alone = langevin(atoms, Springs(atoms.positions), steps=50, **SETTINGS)
    assert np.abs(together[0].pos - alone.pos).max() < TOLERANCE["replica alone"]
    assert np.abs(together[2].pos[-1] - together[0].pos[-1]).max() > 0.01  # noise of its own


def test_a_replica_that_explodes_is_dropped_and_the_others_go_on():
    atoms, far = molecule(), molecule()
    far.positions += 10
    springs = BatchedSprings(atoms.positions)
    springs.breaks_at = 22
    first, exploded, last = langevin([atoms, far, atoms], springs, steps=60, every=10, **SETTINGS)
    assert not exploded.stable and "came apart before step 30: positions are no longer finite" in exploded.verdict
    assert exploded.time.tolist() == [0, 10, 20] and np.isfinite(exploded.pos).all()
    for whole in (first, last):
        assert whole.stable and len(whole.time) == 7
    alone = langevin(atoms, Springs(atoms.positions), steps=60, every=10, **SETTINGS)
    assert np.abs(first.pos - alone.pos).max() < TOLERANCE["replica alone"]


def test_starts_of_different_molecules_are_refused():
    atoms = molecule()
    for starts in ([atoms, atoms[::-1]], []):
        with pytest.raises(ValueError, match="same atoms in the same order"):
            langevin(starts, Springs(atoms.positions), steps=10)


def test_starts_that_would_not_move_as_they_say_are_refused():
    """A cell, a constraint and the isotopes of one replica have no part in the equations of motion."""
    periodic, fixed, heavy = molecule(), molecule(), molecule()
    periodic.set_pbc(True)
    fixed.set_constraint(FixAtoms([0]))
    heavy.set_masses([2 * mass for mass in heavy.get_masses()])
    for start, named in ((periodic, "periodic"), (fixed, "constraints"), (heavy, "isotopes")):
        with pytest.raises(ValueError, match=named):
            langevin([molecule(), start], Springs(start.positions), steps=10)


def test_without_friction_the_total_energy_is_conserved():
    atoms = molecule()
    run = langevin(atoms, Springs(atoms.positions), steps=2000, every=4, friction=0.0, timestep=0.5, temperature=500)
    kinetic = 1.5 * len(atoms) * BOLTZMANN * run.temperature
    assert np.ptp(run.total_energy) < 0.02 * kinetic.mean() < 0.1 * np.ptp(kinetic)
    assert run.total_energy == pytest.approx(run.potential_energy + kinetic)


class Diatomic(Springs):
    """H and F with a spring whose vibration is known: ω² = k / μ."""

    def wavenumber(self, atoms: ase.Atoms) -> float:
        reduced = 1 / (1 / atoms.get_masses()).sum()
        per_second = np.sqrt(self.constant * 1.602176634e-19 * 1e20 / (reduced * 1.66053907e-27)) / (2 * np.pi)
        return per_second / 2.99792458e10


def test_the_highest_frequency_is_that_of_the_spring():
    atoms = ase.Atoms("HF", [[0, 0, 0], [0.6, 0.6, 0.4]])
    spring = Diatomic(atoms.positions, constant=60.0)
    assert highest_frequency(atoms, spring) == pytest.approx(spring.wavenumber(atoms), rel=1e-4)
    assert 4000 < spring.wavenumber(atoms) < 4200


def test_a_step_too_long_for_the_fastest_vibration_is_warned_of_before_the_run():
    atoms = ase.Atoms("HF", [[0, 0, 0], [0.6, 0.6, 0.4]])
    spring = Diatomic(atoms.positions, constant=60.0)  # a period of 8.1 fs
    with pytest.warns(UserWarning, match="2 fs is long.*41../cm.*period 8.08 fs.*from 2.6 fs on, or before.*take 0.81"):
        langevin(atoms, spring, steps=120, timestep=2.0)
    langevin(atoms, spring, steps=120, timestep=1.5)  # would raise, as warnings do here
    calls = spring.calls
    langevin(atoms, spring, steps=110, timestep=2.0)  # too short for 12 more geometries
    assert spring.calls == calls + 111
    with pytest.warns(UserWarning, match="2 fs is long"):
        langevin([atoms] * 2, spring, steps=60, timestep=2.0)  # two replicas are as much as 120 steps


class Fails(Springs):
    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        if self.calls > 15:
            raise CalculationFailed("no convergence")


def test_a_calculator_that_fails_on_the_way_ends_the_replica_and_says_why():
    atoms = molecule()
    run = langevin(atoms, Fails(atoms.positions), steps=100, every=10)
    assert not run.stable and run.verdict == "came apart before step 20: the calculator failed (no convergence)"
    assert len(run.time) == 2


def test_a_start_that_cannot_be_computed_is_an_error():
    atoms = molecule()
    with pytest.raises(ValueError, match="no finite energy and force at the start"):
        langevin(atoms, Springs(atoms.positions, wrong_after=0), steps=10)
    failing = Fails(atoms.positions)
    failing.calls = 20
    with pytest.raises(CalculationFailed, match="no convergence"):
        langevin(atoms, failing, steps=10)


def test_replicas_of_a_force_field_move_as_by_its_ase_calculator():
    """One batch against ASE's own loop over single geometries, in double precision."""
    split = tiny.methanol(budget=4, inaccurate_budget=None)
    force_field = ForceField(tiny.model(dtype=torch.float64), split.train.z, 0.0, "none")
    starts = [ase.Atoms(split.train.z.numpy(), pos.numpy()) for pos in split.train.pos]
    together = langevin(starts, force_field, steps=20, **SETTINGS)
    for place, (start, replica) in enumerate(zip(starts, together)):
        atoms = start.copy()
        atoms.calc = force_field.calculator()
        generator = np.random.default_rng([0, place])
        thermalize_momenta(atoms, SETTINGS["temperature"], rng=generator)
        Stationary(atoms, preserve_temperature=False)
        time, friction = SETTINGS["timestep"] * ase.units.fs, SETTINGS["friction"] / ase.units.fs
        Langevin(atoms, time, temperature_K=500, friction=friction, fixcm=False, rng=generator).run(20)
        moved = atoms.positions - atoms.get_center_of_mass()
        assert np.abs(replica.pos[-1] - moved).max() < TOLERANCE["same numbers as ASE"]


def test_frames_times_and_units():
    atoms = molecule()
    before = atoms.positions.copy()
    trajectory = langevin(atoms, Springs(atoms.positions), steps=30, timestep=0.5, every=10)
    assert trajectory.time.tolist() == [0, 5, 10, 15] and trajectory.pos.shape == (4, 9, 3)
    assert np.array_equal(atoms.positions, before) and atoms.calc is None
    last = ase.Atoms("OC2H6", trajectory.pos[-1], calculator=Springs(before))
    assert np.abs(last.get_center_of_mass()).max() < 1e-12
    assert trajectory.potential_energy[-1] == pytest.approx(last.get_potential_energy() / KCAL, rel=1e-5)
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


@pytest.mark.parametrize(
    "wrong",
    [
        *({"temperature": number} for number in (-5, np.nan, np.inf)),
        *({"friction": number} for number in (-1, np.nan, np.inf)),
        *({"timestep": number} for number in (-0.5, 0, np.nan, np.inf)),
        *({"limit": number} for number in (-1.0, 0, np.nan)),
    ],
    ids=str,
)
def test_settings_out_of_their_range_are_refused(wrong):
    """Not blamed on the molecule, which would seem to come apart."""
    atoms = molecule()
    ((name, number),) = wrong.items()
    with pytest.raises(ValueError, match=rf"{name} (is )?{number}.*; expected finite numbers"):
        langevin(atoms, Springs(atoms.positions), steps=10, **wrong)


def test_a_molecule_may_start_without_motion_and_have_no_limit():
    atoms = molecule()
    run = langevin(atoms, Springs(atoms.positions), steps=10, temperature=0, friction=0, limit=np.inf)
    assert run.stable and np.abs(run.velocity).max() < 1e-12


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
@pytest.mark.filterwarnings("ignore:the force field extrapolates")  # it has seen few frames
def test_a_trained_model_conserves_energy_as_well_as_the_integrator(name, config):
    """Verlet's total energy swings with the square of the step and does not drift, if forces are true derivatives."""
    split = tiny.methanol(budget=40, inaccurate_budget=None)
    slow = replace(tiny.TRAIN, steps=60, learning_rate=0.005)
    recipe = Recipe(model=name, model_config=config or tiny.MODEL, accurate=slow)
    force_field = stages.standard(split.train, split.valid, recipe, progress=False)
    force_field.model.double()
    swing = {}
    for timestep in (0.25, 0.125):
        atoms = ase.Atoms(split.train.z.numpy(), split.train.pos[0].numpy(), calculator=force_field.calculator())
        thermalize_momenta(atoms, 300, rng=np.random.default_rng(0))
        verlet = VelocityVerlet(atoms, timestep * ase.units.fs)
        energies = [atoms.get_total_energy() for _ in verlet.irun(round(40 / timestep))]
        swing[timestep] = np.std(energies)
    exchanged = 3 / 2 * len(atoms) * ase.units.kB * 300  # eV; what moves between kinetic and potential energy
    assert swing[0.25] < 0.005 * exchanged
    assert swing[0.125] < 0.5 * swing[0.25]  # of a quarter; a drift would be the same with either step


def test_a_force_field_is_not_moved_in_another_state_than_that_of_its_labels():
    labels = load("methanol", "gfn2")
    field = ForceField(tiny.model(), labels.z, 0.0, "gfn2", {"charge": 0})
    ion = ase.Atoms(labels.z.numpy(), labels.pos[0].numpy(), info={"charge": -1})
    for potential in (field, field.calculator()):
        with pytest.raises(ValueError, match="the atoms say the charge -1, and the force field was trained on"):
            langevin(ion, potential, steps=1, every=1)
    atoms = ase.Atoms(labels.z.numpy(), labels.pos[0].numpy(), calculator=field.calculator())
    atoms.get_potential_energy()
    atoms.info["charge"] = -1
    with pytest.raises(ValueError, match="the atoms say the charge -1"):
        atoms.get_potential_energy()


def diatomic() -> LabelledSet:
    """HF with an anharmonic spring of which all is known, in bond lengths that 600 K reach."""
    length = torch.linspace(0.65, 1.35, 36, dtype=torch.float64)
    pos = torch.zeros(len(length), 2, 3, dtype=torch.float64)
    pos[:, 1, 0] = length
    stretch = length - 0.95
    force = torch.zeros_like(pos)
    force[:, 1, 0] = -200 * stretch + 300 * stretch**2
    force[:, 0] = -force[:, 1]
    return LabelledSet("HF", "spring", torch.tensor([1, 9]), pos, 100 * stretch**2 - 100 * stretch**3, force, None, {})


def test_a_learned_model_has_its_canonical_averages():
    """Of a diatomic molecule ⟨V⟩ is an integral over its one distance, with r² dr for the directions it can have."""
    labels, kelvin = diatomic(), 600.0
    recipe = Recipe(model="egnn", model_config=tiny.MODEL, accurate=replace(tiny.TRAIN, steps=150, learning_rate=0.01))
    field = stages.standard(labels, labels, recipe, progress=False).in_precision(torch.float64)
    r = np.linspace(0.6, 1.4, 4001)
    line = np.zeros((len(r), 2, 3))
    line[:, 1, 0] = r
    well = field.energy_and_force(line)[0].numpy()
    weight = r**2 * np.exp(-(well - well.min()) / (BOLTZMANN * kelvin))
    assert max(weight[0], weight[-1]) < 1e-3 * weight.max()  # it is bound
    expected = {"potential": (weight * (well - well.min())).sum() / weight.sum(), "temperature": kelvin}
    start = ase.Atoms("HF", [[0, 0, 0], [float(r[well.argmin()]), 0, 0]])
    replicas = langevin([start] * 60, field, steps=1200, timestep=0.5, friction=0.1, temperature=kelvin, every=8)
    assert all(replica.stable for replica in replicas)
    late = [replica.time > 100 for replica in replicas]
    found = {
        "potential": [(one.potential_energy[i] - well.min()).mean() for one, i in zip(replicas, late)],
        "temperature": [one.temperature[i].mean() for one, i in zip(replicas, late)],
    }
    for name, means in found.items():
        error = np.std(means, ddof=1) / np.sqrt(len(means))
        assert error < 0.05 * expected[name]
        assert np.mean(means) == pytest.approx(expected[name], abs=3 * error), name


def test_an_analytic_well_has_its_canonical_averages():
    """Atoms in wells of their own: ⟨V⟩ = ⟨K⟩ = 3N kT / 2 exactly, and V has the variance 3N (kT)² / 2."""
    atoms, kelvin = molecule(), 400.0
    replicas = langevin([atoms] * 40, Wells(atoms.positions), steps=2000, **SETTINGS | {"temperature": kelvin})
    late = replicas[0].time > 200
    energy = np.stack([replica.potential_energy[late] for replica in replicas])
    kinetic = np.stack([replica.temperature[late] for replica in replicas])
    freedom = 3 * len(atoms)
    for means, expected in (
        (energy.mean(axis=1), freedom / 2 * BOLTZMANN * kelvin),
        (energy.var(axis=1), freedom / 2 * (BOLTZMANN * kelvin) ** 2),
        (kinetic.mean(axis=1), kelvin),
    ):
        error = means.std(ddof=1) / np.sqrt(len(means))
        assert error < 0.05 * expected
        assert means.mean() == pytest.approx(expected, abs=3.5 * error)


class Wells(BatchedSprings):
    """Every atom bound to its place by a spring of 20 kcal/mol/Å², whatever the others do."""

    def __init__(self, pos: np.ndarray):
        super().__init__(pos)
        self.places = pos

    def compute(self, pos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        shift = pos - self.places
        return 10 * KCAL * (shift**2).sum(axis=(1, 2)), -20 * KCAL * shift


def test_a_calculator_moves_as_its_force_field_does():
    """It is computed one replica after another, and sees all that the atoms say."""
    labels = load("methanol", "gfn2")
    field = ForceField(tiny.model(dtype=torch.float64), labels.z, 0.0, "gfn2", {"charge": 0})
    atoms = ase.Atoms(labels.z.numpy(), labels.pos[0].numpy())
    one, other = (langevin(atoms, potential, steps=20, **SETTINGS) for potential in (field, field.calculator()))
    assert np.abs(one.pos - other.pos).max() < TOLERANCE["same numbers as ASE"]
