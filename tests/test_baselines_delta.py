"""Δ-ML: pairs of labels, and the sum of correction and cheap level."""

import importlib.util
from dataclasses import replace

import ase.units
import numpy as np
import pytest
import tiny
import torch
from scipy.spatial.transform import Rotation

from asteroid import datasets, levels, stages
from asteroid.baselines import delta
from asteroid.force_field import ForceField
from asteroid.levels import labelling
from asteroid.md import dynamics

# kcal/mol, kcal/mol/Å and Å. GFN2-xTB's charges are converged to its default accuracy only, from call to call.
LEVEL = 1e-2
TOLERANCE = {"superposition": 1e-8, "finite difference": 2e-2}
needs_tblite = tiny.needs("tblite")
needs_rdkit = tiny.needs("rdkit")


@pytest.fixture(scope="module")
def accurate():
    return datasets.load("methanol", "ccsd(t)")[:40]


def test_labels_of_pairs_are_the_difference_of_the_levels(accurate):
    cheap = datasets.load("methanol", "pbe")
    pairs = delta.pair(accurate, cheap)
    assert pairs.labels.level == "ccsd(t)-pbe" and len(pairs.labels) == 40 and not pairs.distance.any()
    mine, theirs = accurate.paired_with(cheap)
    assert torch.equal(mine, torch.arange(40))
    torch.testing.assert_close(pairs.labels.force + cheap.force[theirs], accurate.force)
    torch.testing.assert_close(pairs.labels.energy + cheap.energy[theirs], accurate.energy)
    assert torch.equal(pairs.labels.pos, accurate.pos) and torch.equal(pairs.labels.seconds, accurate.seconds)
    assert float(pairs.labels.force.abs().mean()) < 0.3 * float(accurate.force.abs().mean())


def turned(labelled: datasets.LabelledSet) -> datasets.LabelledSet:
    """The same frames in other orientations and places, forces with them."""
    turns = torch.from_numpy(Rotation.random(len(labelled), rng=0).as_matrix())
    pos, force = (torch.einsum("fij,faj->fai", turns, x) for x in (labelled.pos, labelled.force))
    return replace(labelled, pos=pos + 3.0, force=force)


def test_a_frame_that_is_only_turned_and_moved_is_found_with_its_force(accurate):
    cheap = datasets.load("methanol", "pbe")
    pairs, found = delta.pair(accurate, cheap), delta.pair(accurate, turned(cheap))
    assert float(found.distance.max()) < TOLERANCE["superposition"]
    assert float((found.labels.force - pairs.labels.force).abs().max()) < 1e-6


def test_a_mirror_image_is_another_geometry(accurate):
    mirror = torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64)
    mirrored = replace(accurate, pos=accurate.pos * mirror, force=accurate.force * mirror)
    assert float(delta.pair(accurate[:1], mirrored[:1]).distance) > 0.05


def test_without_pairs_the_nearest_frame_stands_in_and_its_distance_is_told(accurate):
    cheap = datasets.load("methanol", "pbe")
    free = np.setdiff1d(np.arange(len(cheap)), accurate.paired_with(cheap)[1].numpy())
    few, many = delta.pair(accurate, cheap[free[:50]]), delta.pair(accurate, cheap[free])
    assert 0 < float(many.distance.mean()) < float(few.distance.mean()) < 1.0
    size = [float(pairs.labels.force.abs().mean()) for pairs in (many, few)]
    assert size[0] < size[1]  # of the differences: farther frames are worse partners


def test_only_what_has_no_pair_gets_a_neighbour(accurate):
    cheap = datasets.load("methanol", "pbe")
    _, theirs = accurate.paired_with(cheap)
    without_first = cheap[np.setdiff1d(np.arange(len(cheap)), theirs[:1].numpy())]
    distance = delta.pair(accurate, without_first).distance
    assert float(distance[0]) > 0.01 and not distance[1:].any()


def test_other_molecules_are_refused(accurate):
    with pytest.raises(datasets.DatasetError, match="one molecule"):
        delta.pair(accurate, datasets.load("ethanol", "gfn2"))


class Perfect(ForceField):
    """A correction without error: it knows the labels by their positions."""

    labels: datasets.LabelledSet

    def energy_and_force(self, structure):
        pos = torch.as_tensor(structure)
        rows = [int((self.labels.pos - frame).abs().amax(dim=(1, 2)).argmin()) for frame in pos]
        return self.labels.energy[rows], self.labels.force[rows]


@pytest.mark.parametrize("level", [pytest.param("gfn2", marks=needs_tblite), pytest.param("mmff", marks=needs_rdkit)])
def test_with_a_perfect_correction_the_sum_is_the_accurate_level(level, accurate):
    """The level that is computed at prediction is that of the labels, and energies and forces come in one unit."""
    cheap = datasets.load("methanol", level)
    pairs = delta.pair(accurate, cheap)
    correction = Perfect(tiny.model(), accurate.z, 0.0, pairs.labels.level)
    correction.labels = pairs.labels
    summed = delta.with_cheap_level(correction, cheap)
    assert summed.level == "ccsd(t)" and summed.cheap == level
    energy, force = summed.energy_and_force(accurate.pos[:4])
    assert float((energy - accurate.energy[:4]).abs().max()) < LEVEL
    assert float((force - accurate.force[:4]).abs().max()) < LEVEL
    # So the error of the sum is that of the correction, which needs no calculation of the cheap level.
    wrong = accurate.derived(energy=accurate.energy + 2, force=accurate.force + 3)
    errors = stages.test_errors(summed, wrong[:4])
    assert errors["force_mae"] == pytest.approx(3, abs=LEVEL) and errors["energy_mae"] == pytest.approx(2, abs=LEVEL)


@pytest.mark.parametrize("level", ["hf", "pbe"])
@tiny.needs("pyscf")
def test_the_cheap_level_has_the_settings_of_its_labels(level, accurate, tmp_path):
    grid = {"grid": (30, 50)} if level == "pbe" else {}
    settings = {"basis": "sto-3g", "code": "pyscf", **grid}
    datasets.save(
        labelling.label(accurate[:2], level, tmp_path / "cheap.jsonl", progress=False, **settings), tmp_path / "a.npz"
    )
    cheap = datasets.load(tmp_path / "a.npz")
    pairs = delta.pair(accurate[:2], cheap)
    correction = Perfect(tiny.model(), accurate.z, 0.0, pairs.labels.level)
    correction.labels = pairs.labels
    summed = delta.with_cheap_level(correction, cheap)
    assert summed.settings == {"charge": 0, "basis": "sto-3g", **({"grid": [30, 50]} if grid else {})}
    energy, force = summed.energy_and_force(accurate.pos[:2])
    if level == "hf":  # two programs place the points of a coarse grid differently
        assert float((energy - accurate.energy[:2]).abs().max()) < LEVEL
        assert float((force - accurate.force[:2]).abs().max()) < LEVEL


@pytest.fixture(scope="module")
def trained(accurate) -> delta.DeltaForceField:
    if importlib.util.find_spec("tblite") is None:
        pytest.skip("tblite is not installed")
    cheap = datasets.load("methanol", "gfn2")
    labels = delta.pair(accurate, cheap).labels
    correction = stages.standard(labels[:30], labels[30:], tiny.RECIPE, progress=False)
    return delta.with_cheap_level(correction, cheap)


def test_single_frames_atoms_calculator_and_evaluator_agree(trained, accurate):
    from ase import Atoms

    energy, force = trained.energy_and_force(accurate.pos[:2])
    one_energy, one_force = trained.energy_and_force(accurate.pos[1])
    assert one_energy.shape == () and one_force.shape == (6, 3)
    atoms = Atoms(accurate.z.numpy(), accurate.pos[1].numpy())
    assert float(trained.energy_and_force(atoms)[0]) == pytest.approx(float(one_energy), abs=LEVEL)
    atoms.calc = trained.calculator()
    kcal = ase.units.kcal / ase.units.mol
    assert atoms.get_potential_energy() / kcal == pytest.approx(float(energy[1]), abs=LEVEL)
    np.testing.assert_allclose(atoms.get_forces() / kcal, force[1], atol=LEVEL)
    np.testing.assert_allclose(one_force, force[1], atol=LEVEL)
    np.testing.assert_allclose(trained.evaluator(accurate.z.numpy())(accurate.pos[:2].numpy())[1], force, atol=LEVEL)


def test_the_sum_is_the_correction_plus_the_level(trained, accurate):
    from ase import Atoms

    energy, force = trained.correction.energy_and_force(accurate.pos[0])
    atoms = Atoms(accurate.z.numpy(), accurate.pos[0].numpy(), calculator=levels.calculator("gfn2"))
    kcal = ase.units.kcal / ase.units.mol
    total_energy, total_force = trained.energy_and_force(accurate.pos[0])
    assert float(total_energy - energy) == pytest.approx(atoms.get_potential_energy() / kcal, abs=LEVEL)
    np.testing.assert_allclose(total_force - force.double(), atoms.get_forces() / kcal, atol=LEVEL)


def test_the_force_is_minus_the_gradient_of_the_energy(trained, accurate):
    double = replace(trained.correction, model=trained.correction.model.double())
    try:
        summed = replace(trained, correction=double)
        _, force = summed.energy_and_force(accurate.pos[0])
        for atom, axis in ((0, 0), (1, 2), (5, 1)):
            moved = accurate.pos[[0, 0]].clone()
            moved[0, atom, axis] += 5e-3
            moved[1, atom, axis] -= 5e-3
            energy, _ = summed.energy_and_force(moved)
            expected = float(energy[1] - energy[0]) / 1e-2
            assert float(force[atom, axis]) == pytest.approx(expected, abs=TOLERANCE["finite difference"])
    finally:
        double.model.float()


def test_replicas_move_under_it(trained, accurate):
    from ase import Atoms

    starts = [Atoms(accurate.z.numpy(), frame.numpy()) for frame in accurate.pos[:2]]
    trajectories = dynamics.langevin(starts, trained, steps=3, every=1, temperature=300.0)
    _, expected = trained.energy_and_force(trajectories[1].pos[-1])
    np.testing.assert_allclose(
        trained.evaluator(accurate.z.numpy())(trajectories[1].pos[-1:])[1][0], expected, atol=LEVEL
    )


def test_a_frame_at_which_the_cheap_level_fails_costs_no_other_replica(trained, accurate, monkeypatch):
    from ase.calculators.calculator import CalculationFailed
    from ase.calculators.lj import LennardJones

    class Moody(LennardJones):
        def calculate(self, atoms=None, *args, **kwargs):
            if atoms.positions[0, 0] > 50:
                raise CalculationFailed("no convergence")
            super().calculate(atoms, *args, **kwargs)

    monkeypatch.setattr(levels, "calculator", lambda level: Moody())
    pos = accurate.pos[:3].numpy().copy()
    pos[1] += 100
    energy, force = trained.evaluator(accurate.z.numpy())(pos)
    assert list(np.isfinite(energy)) == [True, False, True] and np.isnan(force[1]).all()
    with pytest.raises(CalculationFailed):
        trained.energy_and_force(pos)


def test_an_unknown_cheap_level_is_named(trained, accurate):
    with pytest.raises(ValueError, match="unknown level 'dft'"):
        delta.DeltaForceField(trained.correction, "dft").energy_and_force(accurate.pos[:1])
