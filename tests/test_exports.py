"""Force fields in other programs: there they have ASE's energies and forces, whatever the order of the atoms."""

import re
import subprocess
import sys
import warnings
from pathlib import Path
from unittest.mock import patch

import ase
import ase.units
import numpy as np
import pytest
import tiny
import torch

import asteroid
from asteroid import evaluator
from asteroid.force_field import ForceField
from asteroid.md import dynamics

KJ_PER_MOL = 1 / 96.48533212331  # eV, exact since the SI of 2019; ASE's constants are of 2014
TOLERANCE = 1e-5  # eV and eV/Å

# Of ethanol at its minimum, Å, in the order of MD17.
ETHANOL = [
    *([0.20, 0.62, 0.20], [-0.17, -0.85, 0.29], [0.52, 1.01, -1.13], [-0.60, 1.24, 0.60], [1.10, 0.82, 0.78]),
    *([0.64, -1.47, -0.09], [-0.37, -1.13, 1.32], [-1.07, -1.05, -0.29], [-0.24, 0.82, -1.68]),
]
ORDER = [8, 3, 0, 2, 7, 1, 4, 6, 5]


@pytest.fixture(scope="module")
def field() -> ForceField:
    return asteroid.force_fields.load("md17:ethanol").force_field


@pytest.fixture(scope="module")
def frames(field) -> list[ase.Atoms]:
    """Ethanol near its minimum, with ASE's energies and forces to come from its calculator."""
    made = []
    for seed in range(3):
        atoms = ase.Atoms(field.z.numpy(), ETHANOL, calculator=field.calculator())
        atoms.rattle(0.03, seed=seed)
        made.append(atoms)
    return made


@pytest.fixture(scope="module")
def openmm():
    return pytest.importorskip("openmm", reason="OpenMM is not installed: `pip install -c constraints.txt openmm`")


@pytest.fixture
def context(openmm):
    """A function of a System, and of positions, Å, to a context of the given platform."""

    def make(system, pos, platform="Reference", integrator=None):
        integrator = integrator or openmm.VerletIntegrator(0.0005)
        made = openmm.Context(system, integrator, openmm.Platform.getPlatformByName(platform))
        made.setPositions(np.asarray(pos) / 10)
        return made

    return make


def energy_and_force(context) -> tuple[float, np.ndarray]:
    """In eV and eV/Å."""
    state = context.getState(energy=True, forces=True)
    unit = KJ_PER_MOL, KJ_PER_MOL / 10
    return state.getPotentialEnergy()._value * unit[0], state.getForces(asNumpy=True)._value * unit[1]


@pytest.mark.parametrize("platform", ["Reference", "CPU"])
def test_energies_and_forces_are_those_of_ase(field, frames, context, platform):
    system = asteroid.openmm.system(field)
    for atoms in frames:
        energy, force = energy_and_force(context(system, atoms.positions, platform))
        assert energy == pytest.approx(atoms.get_potential_energy(), abs=TOLERANCE)
        np.testing.assert_allclose(force, atoms.get_forces(), rtol=0, atol=TOLERANCE)


def test_the_system_has_the_masses_of_its_atoms_and_nothing_else(field, frames, openmm):
    system = asteroid.openmm.system(field)
    masses = [system.getParticleMass(k).value_in_unit(openmm.unit.dalton) for k in range(system.getNumParticles())]
    assert masses == frames[0].get_masses().tolist()
    assert system.getNumForces() == 1 and system.getNumConstraints() == 0
    assert not system.usesPeriodicBoundaryConditions()


def test_atoms_may_stand_in_another_order(field, frames, context):
    atoms = frames[0]
    system = asteroid.openmm.system(field, atoms.numbers[ORDER])
    energy, force = energy_and_force(context(system, atoms.positions[ORDER]))
    assert energy == pytest.approx(atoms.get_potential_energy(), abs=TOLERANCE)
    np.testing.assert_allclose(force, atoms.get_forces()[ORDER], rtol=0, atol=TOLERANCE)
    assert system.getParticleMass(0)._value == atoms.get_masses()[8]


def test_it_is_one_force_among_others_of_a_larger_system(field, frames, context, openmm):
    atoms, system, bond = frames[0], openmm.System(), openmm.HarmonicBondForce()
    places = [1, 2, 3, 5, 6, 7, 8, 9, 10]
    for _ in range(11):
        system.addParticle(1.0)
    bond.addBond(0, 4, 0.1, 100.0)
    system.addForce(bond)
    system.addForce(asteroid.openmm.force(field, particles=places))
    pos = np.zeros((11, 3))
    pos[places], pos[4] = atoms.positions, [3.0, 0.0, 0.0]
    energy, force = energy_and_force(context(system, pos))
    assert energy == pytest.approx(atoms.get_potential_energy() + 50 * 0.2**2 * KJ_PER_MOL, abs=TOLERANCE)
    np.testing.assert_allclose(force[places], atoms.get_forces(), rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(force[4], [-100 * 0.2 * KJ_PER_MOL / 10, 0, 0], atol=TOLERANCE)


def test_without_a_thermostat_the_energy_is_conserved_also_where_the_graph_takes_over(
    field, frames, context, monkeypatch
):
    monkeypatch.setattr(evaluator, "TRACE_FROM_CALLS", 100)
    made = context(asteroid.openmm.system(field), frames[0].positions)
    made.setVelocitiesToTemperature(300, 1)
    total, potential = [], []
    for _ in range(20):
        made.getIntegrator().step(10)
        state = made.getState(energy=True)
        potential.append(state.getPotentialEnergy()._value)
        total.append(potential[-1] + state.getKineticEnergy()._value)
    assert np.ptp(potential) > 10  # kJ/mol, which are exchanged
    assert np.ptp(total) < 0.05 * np.ptp(potential)
    assert abs(np.polyfit(np.arange(20), total, 1)[0]) * 20 < 0.02 * np.ptp(potential)


def test_the_trajectory_is_that_of_the_library_s_own_dynamics(field, frames, context, openmm):
    """Velocity Verlet from rest, which OpenMM has in steps of one's own."""
    own = dynamics.langevin(frames[0], field, steps=50, every=50, timestep=0.5, friction=0.0, temperature=0.0)
    verlet = openmm.CustomIntegrator(0.0005)
    verlet.addComputePerDof("v", "v + dt / 2 * f / m")
    verlet.addComputePerDof("x", "x + dt * v")
    verlet.addComputePerDof("v", "v + dt / 2 * f / m")
    made = context(asteroid.openmm.system(field), frames[0].positions, integrator=verlet)
    verlet.step(50)
    pos = made.getState(positions=True).getPositions(asNumpy=True)._value * 10
    moved = np.abs((own.pos[-1] - own.pos[-1][0]) - (own.pos[0] - own.pos[0][0])).max()
    assert moved > 0.02
    np.testing.assert_allclose(pos - pos[0], own.pos[-1] - own.pos[-1][0], rtol=0, atol=1e-6)


def test_langevin_dynamics_run_at_their_temperature(context, openmm):
    """Of a quick model with the equipartition of any: of velocities alone, drawn anew all the time."""
    small = ForceField(tiny.model(dtype=torch.float64), tiny.methanol().train.z, 0.0, "none")
    integrator = openmm.LangevinMiddleIntegrator(300, 1000, 0.0001)
    integrator.setRandomNumberSeed(1)
    made = context(asteroid.openmm.system(small), tiny.methanol().train.pos[0], integrator=integrator)
    energies = []
    for _ in range(100):
        integrator.step(1)
        energies.append(made.getState(energy=True).getKineticEnergy()._value)
    expected = 1.5 * 6 * 300 * ase.units.kB / KJ_PER_MOL
    assert np.mean(energies[20:]) == pytest.approx(expected, rel=0.3)


def test_a_system_can_be_written_and_read(field, frames, context, openmm):
    written = openmm.XmlSerializer.serialize(asteroid.openmm.system(field))
    energy, force = energy_and_force(context(openmm.XmlSerializer.deserialize(written), frames[0].positions))
    assert energy == pytest.approx(frames[0].get_potential_energy(), abs=TOLERANCE)
    np.testing.assert_allclose(force, frames[0].get_forces(), rtol=0, atol=TOLERANCE)


def test_a_geometry_outside_what_was_learned_from_is_warned_of_once(field, frames, context):
    made = context(asteroid.openmm.system(field), frames[0].positions)
    made.getState(energy=True)
    far = frames[0].positions.copy()
    far[8] += [0.0, 0.0, -2.0]
    made.setPositions(far / 10)
    with pytest.warns(UserWarning, match=r"the force field extrapolates: atoms 2 and 8 are .* Å apart"):
        made.getState(energy=True)
    made.getState(energy=True)


def test_another_molecule_is_refused(field, openmm):
    for numbers in ([6, 6, 8, 1, 1, 1, 1, 1], [6, 6, 7, 1, 1, 1, 1, 1, 1]):
        for make in (asteroid.openmm.system, asteroid.openmm.force):
            with pytest.raises(ValueError, match=r"this force field was trained on \[1, 1, 1, 1, 1, 1, 6, 6, 8\]"):
                make(field, numbers)


def test_another_number_of_particles_is_refused(field, context, openmm):
    with pytest.raises(ValueError, match="there are 3 particles; expected one for each of 9 atoms"):
        asteroid.openmm.force(field, particles=[0, 1, 2])
    system = asteroid.openmm.system(field)
    system.addParticle(1.0)
    made = context(system, np.zeros((10, 3)))
    with pytest.raises(openmm.OpenMMException, match="the System has 10 particles, .* molecule 9 atoms"):
        made.getState(energy=True)


def test_positions_that_are_no_numbers_are_an_error_of_openmm(field, context, openmm):
    made = context(asteroid.openmm.system(field), np.full((9, 3), np.inf))
    with pytest.raises(openmm.OpenMMException, match=r"NaN|infinite"):
        made.getState(energy=True)


@pytest.fixture(scope="module")
def read():
    """A function of a file to an ASE calculator of metatomic's own, one of the programs that read it."""
    install = "metatomic is not installed: `pip install -c constraints.txt metatomic-torch`"
    # PyTorch Geometric puts a function in place of this one that the engine cannot compile where it is imported later.
    own = torch._C._VariableFunctions.index_select
    with warnings.catch_warnings(), patch.object(torch, "index_select", own):
        warnings.simplefilter("ignore", DeprecationWarning)
        engine = pytest.importorskip("metatomic_ase", reason=install)

    def calculator(path):
        with warnings.catch_warnings(), patch.object(torch, "index_select", own):
            warnings.simplefilter("ignore", DeprecationWarning)
            return engine.MetatomicCalculator(path, check_consistency=True)

    return calculator


@pytest.fixture(scope="module")
def file(read, field, tmp_path_factory):
    return asteroid.metatomic.save(field, tmp_path_factory.mktemp("exports") / "ethanol.pt")


def test_energies_and_forces_are_those_of_ase_in_any_order(file, read, frames):
    calculator = read(file)
    for atoms in frames:
        for order in (range(9), ORDER):
            other = ase.Atoms(atoms.numbers[order], atoms.positions[order] + 50.0, calculator=calculator)
            assert other.get_potential_energy() == pytest.approx(atoms.get_potential_energy(), abs=TOLERANCE)
            np.testing.assert_allclose(other.get_forces(), atoms.get_forces()[order], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name, dtype", [("egnn", None), ("gemnet-t", torch.float64)])
def test_every_geometry_has_its_energy_whatever_the_neighbours(read, tmp_path, name, dtype):
    labels = tiny.methanol().train
    config = {"egnn": {}, "gemnet-t": {"preset": "small", "blocks": 1, "cutoff": 3.0}}[name]
    model = asteroid.models.build(name, **config)
    small = ForceField(model, labels.z, -1e5, "none")
    calculator = read(asteroid.metatomic.save(small, tmp_path / "small.pt", dtype))
    for scale in (0.8, 1.0, 1.7):
        atoms = ase.Atoms(labels.z.numpy(), scale * labels.pos[0].numpy())
        ours, theirs = atoms.copy(), atoms.copy()
        ours.calc, theirs.calc = small.calculator(), calculator
        tolerance = 1e-4 * np.abs(ours.get_forces()).max() if dtype is None else TOLERANCE
        assert theirs.get_potential_energy() == pytest.approx(ours.get_potential_energy(), abs=tolerance + 1e-5)
        np.testing.assert_allclose(theirs.get_forces(), ours.get_forces(), rtol=0, atol=tolerance)


def test_the_stress_is_the_virial_of_the_forces(file, read, frames):
    atoms = ase.Atoms(frames[0].numbers, frames[0].positions, cell=[20] * 3, pbc=True, calculator=read(file))
    assert atoms.get_potential_energy() == pytest.approx(frames[0].get_potential_energy(), abs=TOLERANCE)
    virial = -frames[0].positions.T @ frames[0].get_forces() / atoms.get_volume()
    np.testing.assert_allclose(atoms.get_stress(voigt=False), virial, atol=1e-8)


def test_the_file_needs_nothing_of_this_library_and_says_what_it_is(file):
    program = (
        "import sys; sys.modules['asteroid'] = None\n"
        "from metatomic.torch import load_atomistic_model\n"
        "model = load_atomistic_model(sys.argv[1])\n"
        "print(model.capabilities().atomic_types, model.capabilities().outputs['energy'].unit, model.metadata())"
    )
    done = subprocess.run([sys.executable, "-c", program, str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[1, 6, 8] eV") and "asteroid: ethanol" in done.stdout and "ccsd(t)" in done.stdout


def test_the_file_warns_once_of_a_geometry_outside_what_was_learned_from(file, read, frames):
    atoms = frames[0].copy()
    atoms.calc = read(file)
    atoms.get_potential_energy()
    atoms.positions[8] += [0.0, 0.0, -2.5]
    with pytest.warns(UserWarning, match=r"the force field extrapolates: atoms 8 and \d are \d\.\d\d Å apart"):
        atoms.get_potential_energy()
    atoms.positions[8] += [0.0, 0.0, -0.1]
    atoms.get_potential_energy()


def test_what_was_not_learned_is_refused(file, read, frames):
    calculator = read(file)
    fewer, other, alien = frames[0][:8], frames[0].copy(), frames[0].copy()
    other.numbers[0], alien.numbers[0] = 8, 7
    for atoms in (fewer, other):
        atoms.calc = calculator
        with pytest.raises(Exception, match=r"was trained on \[1, 1, 1, 1, 1, 1, 6, 6, 8\]"):
            atoms.get_potential_energy()
    alien.calc = calculator
    with pytest.raises(ValueError, match="does not support the atomic type '7'"):
        alien.get_potential_energy()


def test_a_cell_in_which_the_molecule_meets_itself_is_refused(file, read, frames):
    cut = ase.Atoms(frames[0].numbers, frames[0].positions, cell=[7, 20, 20], pbc=True, calculator=read(file))
    with pytest.raises(Exception, match=r"\d\.\d\d Å long in a periodic cell of the width 7\.00 Å"):
        cut.get_potential_energy()
    cut.pbc = [False, True, True]
    cut.cell[0] = 0
    assert cut.get_potential_energy() == pytest.approx(frames[0].get_potential_energy(), abs=TOLERANCE)


def test_a_model_that_has_no_graph_is_refused(read, tmp_path):
    untraceable = tiny.model()
    untraceable.traceable = False
    with pytest.raises(ValueError, match="EGNN has another number of neighbours at every geometry"):
        asteroid.metatomic.save(ForceField(untraceable, tiny.methanol().train.z, 0.0, "none"), tmp_path / "no.pt")
    assert not list(tmp_path.iterdir())


def test_positions_that_are_no_numbers_are_an_error_of_the_file(file, read):
    atoms = ase.Atoms("C2OH6", np.full((9, 3), np.nan), calculator=read(file))
    with pytest.raises(Exception, match="NaN or infinite"):
        atoms.get_potential_energy()


def test_the_page_s_examples_run(openmm, read, monkeypatch, tmp_path, capsys):
    page = (Path(asteroid.__file__).parents[1] / "book/exports.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec("\n".join(blocks).replace("step(1000)", "step(5)"), {})
    assert "kJ/mol" in capsys.readouterr().out and (tmp_path / "benzene.pt").is_file()


def test_a_file_is_written_after_pytorch_geometric_was_imported(read, tmp_path):
    lines = (
        "import warnings, torch_geometric, asteroid",
        "warnings.simplefilter('ignore')",
        "field = asteroid.force_fields.load('md17:ethanol').force_field",
        f"asteroid.metatomic.save(field, {str(tmp_path / 'ethanol.pt')!r})",
    )
    subprocess.run([sys.executable, "-c", "; ".join(lines)], check=True)
    assert read(tmp_path / "ethanol.pt")


@pytest.mark.parametrize("package", ["openmm", "metatomic"])
def test_what_is_missing_is_named_with_the_command_that_installs_it(field, monkeypatch, tmp_path, package):
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "asteroid.exports.script", raising=False)
    use = {
        "openmm": asteroid.openmm.system,
        "metatomic": lambda field: asteroid.metatomic.save(field, tmp_path / "x.pt"),
    }
    with pytest.raises(ImportError, match=r"is not installed: `pip install -c constraints.txt -e '.\[exports\]'`"):
        use[package](field)
