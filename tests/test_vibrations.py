"""Harmonic frequencies against those that are known, and what is said where there is no minimum."""

from pathlib import Path

import ase
import numpy as np
import pytest
import tiny
import torch
from ase.build import molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.vibrations import VibrationsData

from asteroid.force_field import ForceField
from asteroid.md import vibrations
from asteroid.md.dynamics import highest_frequency
from asteroid.md.vibrations import Vibrations
from asteroid.units import KCAL_PER_MOL_IN_EV, MASS, WAVENUMBER

# 1/cm: by differences of 0.01 Å of a harmonic force, whose direction turns a little.
TOLERANCE = 1.0


class Bonds(Calculator):
    """Springs between pairs of atoms, and for the angles at a middle atom an energy k (cos θ − cos θ₀)²."""

    implemented_properties = ("energy", "forces")

    def __init__(self, pairs: list, rest: list, constant: list, angles: list = (), bend: float = 0.0):
        super().__init__()
        self.pairs, self.rest, self.constant, self.angles, self.bend = pairs, rest, constant, angles, bend
        self.calls = 0

    def energy(self, pos: torch.Tensor) -> torch.Tensor:
        """kcal/mol."""
        total = sum(
            k / 2 * ((pos[i] - pos[j]).norm() - r) ** 2
            for (i, j), r, k in zip(self.pairs, self.rest, self.constant, strict=True)
        )
        for (i, j, k), cosine in self.angles:
            a, b = pos[i] - pos[j], pos[k] - pos[j]
            total = total + self.bend * ((a @ b) / a.norm() / b.norm() - cosine) ** 2
        return total

    def calculate(self, atoms=None, properties=("energy", "forces"), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.calls += 1
        pos = torch.from_numpy(self.atoms.positions.copy()).requires_grad_()
        energy = self.energy(pos)
        (gradient,) = torch.autograd.grad(energy, pos)
        found = {"energy": energy.item(), "forces": -gradient.numpy()}
        self.results = {key: value * KCAL_PER_MOL_IN_EV for key, value in found.items()}


def wavenumber(constant: float, mass: float) -> float:
    """√(k/m) / 2πc, 1/cm, of kcal/mol/Å² and u."""
    return float(np.sqrt(constant / (mass * MASS)) / (2 * np.pi) * WAVENUMBER)


def diatomic() -> tuple[ase.Atoms, Bonds, float]:
    atoms = ase.Atoms("HF", [[0, 0, 0], [0.6, 0.5, 0.4]])
    h, f = atoms.get_masses()
    return atoms, Bonds([(0, 1)], [0.92], [1380.0]), wavenumber(1380.0, h * f / (h + f))


def water() -> tuple[ase.Atoms, Bonds]:
    atoms = molecule("H2O")  # O, H, H
    cosine = float(np.cos(np.deg2rad(atoms.get_angle(1, 0, 2))))
    length = atoms.get_distance(0, 1)
    return atoms, Bonds([(0, 1), (0, 2)], [length] * 2, [1100.0] * 2, [((1, 0, 2), cosine)], 60.0)


def force_field() -> tuple[ase.Atoms, ForceField]:
    labels = tiny.methanol(budget=4, inaccurate_budget=None).train
    return ase.Atoms(labels.z.numpy(), labels.pos[0].numpy()), ForceField(
        tiny.model(dtype=torch.float64), labels.z, 0.0, "ccsd(t)"
    )


def test_a_diatomic_vibrates_as_its_spring_says():
    atoms, bond, expected = diatomic()
    found = vibrations.at_minimum(atoms, bond)
    assert found.wavenumber == pytest.approx([expected], abs=TOLERANCE) and 4000 < expected < 4200
    assert np.linalg.norm(found.pos[0] - found.pos[1]) == pytest.approx(0.92, abs=1e-4)
    assert atoms.get_distance(0, 1) < 0.9  # not moved itself
    assert not found.saddle


def test_a_linear_triatomic_has_its_symmetric_and_antisymmetric_stretch():
    """O=C=O: k over the mass of O, and over that of O with 2 m_O / m_C more; bends cost nothing here."""
    atoms = ase.Atoms("OCO", np.array([[-1.16, 0, 0], [0, 0, 0], [1.16, 0, 0]]) @ _turn())
    oxygen, carbon, _ = atoms.get_masses()
    bonds = Bonds([(0, 1), (1, 2)], [1.16] * 2, [2000.0] * 2)
    found = vibrations.wavenumbers(atoms, vibrations.hessian(atoms, bonds, step=1e-4))
    assert len(found) == 4  # 3 · 3 − 5
    expected = [0, 0, wavenumber(2000, oxygen), wavenumber(2000 * (1 + 2 * oxygen / carbon), oxygen)]
    assert found == pytest.approx(expected, abs=TOLERANCE)


def _turn() -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]


def test_water_has_three_vibrations_and_they_are_those_of_ase():
    atoms, bonds = water()
    found = vibrations.at_minimum(atoms, bonds)
    assert len(found.wavenumber) == 3 and 1000 < found.wavenumber[0] < 2000 < 3500 < found.wavenumber[1]
    relaxed = ase.Atoms(atoms.numbers, found.pos)
    hessian = vibrations.hessian(relaxed, bonds) * KCAL_PER_MOL_IN_EV
    theirs = VibrationsData.from_2d(relaxed, hessian).get_frequencies()
    assert found.wavenumber == pytest.approx(theirs.real[-3:], abs=TOLERANCE)
    assert highest_frequency(relaxed, bonds) == pytest.approx(found.wavenumber[-1], abs=TOLERANCE)
    heavy = relaxed.copy()
    heavy.set_masses([None, 2.014, 2.014])
    ratio = vibrations.wavenumbers(heavy, hessian / KCAL_PER_MOL_IN_EV) / found.wavenumber
    assert (0.7 < ratio).all() and (ratio < 0.76).all()


def test_frequencies_do_not_depend_on_where_the_molecule_lies():
    atoms, bonds = water()
    here = vibrations.wavenumbers(atoms, vibrations.hessian(atoms, bonds, step=1e-3))
    atoms.positions = atoms.positions @ _turn() + 5.0
    there = vibrations.wavenumbers(atoms, vibrations.hessian(atoms, bonds, step=1e-3))
    assert there == pytest.approx(here, abs=0.01)


def test_the_hessian_of_a_force_field_is_that_of_its_energy_and_symmetric():
    atoms, field = force_field()
    found = vibrations.hessian(atoms, field, step=1e-3)
    pos = torch.from_numpy(atoms.positions)
    exact = torch.autograd.functional.hessian(lambda x: field.model(field.z, x[None]).sum(), pos).reshape(18, 18)
    assert found == pytest.approx(exact.numpy(), abs=1e-4 * np.abs(exact.numpy()).max())
    np.testing.assert_array_equal(found, found.T)
    rigid = np.tile(np.eye(3), (6, 1))  # a translation takes no force
    assert np.abs(found @ rigid).max() < 1e-5 * np.abs(found).max()


def test_what_does_not_converge_is_an_error_that_names_the_force():
    atoms, bonds = water()
    atoms.positions[1] *= 1.2
    with pytest.raises(RuntimeError, match=r"H2O has no minimum within 1 steps .* still \d.* wanted 0.1; start nearer"):
        vibrations.at_minimum(atoms, bonds, steps=1)
    found, why = vibrations.or_why_not(lambda: vibrations.at_minimum(atoms, bonds, steps=1))
    assert found is None and "no minimum" in why
    found, why = vibrations.or_why_not(lambda: vibrations.at_minimum(atoms, bonds))
    assert len(found.wavenumber) == 3 and why == ""


def test_a_molecule_that_falls_apart_is_no_minimum():
    atoms, bonds = water()
    bonds.rest = [0.97, 3.0]
    with pytest.raises(RuntimeError, match="H2O relaxes to a molecule with other bonds"):
        vibrations.minimum(atoms, bonds)


def test_a_saddle_point_is_told_from_a_soft_turn():
    assert Vibrations(np.array([1]), np.zeros((1, 3)), np.array([-60.0, 300.0])).saddle
    assert not Vibrations(np.array([1]), np.zeros((1, 3)), np.array([-40.0, 300.0])).saddle
    atoms, bonds = water()
    bonds.bend = -60.0  # the angle would rather be another
    assert vibrations.wavenumbers(atoms, vibrations.hessian(atoms, bonds))[0] < -1000


def test_what_was_found_is_kept(tmp_path: Path):
    atoms, bonds = water()
    path = tmp_path / "vibrations.npz"
    first = vibrations.at_minimum(atoms, bonds, path)
    calls = bonds.calls
    again = vibrations.at_minimum(atoms, bonds, path)
    assert bonds.calls == calls
    np.testing.assert_array_equal(again.wavenumber, first.wavenumber)
    np.testing.assert_array_equal(again.pos, first.pos)
    atoms.positions[1] *= 1.05  # from elsewhere it is another search
    vibrations.at_minimum(atoms, bonds, path)
    assert bonds.calls > calls


def test_differences_are_paired_from_the_highest_on():
    z = np.array([6, 8, 8])
    three, four = np.array([1000.0, 2000, 3000]), np.array([0.0, 1010, 1970, 3005])
    bent, linear = Vibrations(z, np.zeros((3, 3)), three), Vibrations(z, np.zeros((3, 3)), four)
    found = vibrations.difference(bent, linear)
    assert (found.mean, found.largest, found.at) == (15.0, 30.0, 1970.0)
    assert vibrations.difference(linear, bent).largest == -30.0
    with pytest.raises(ValueError, match="expected those of one molecule"):
        vibrations.difference(bent, Vibrations(z[::-1], np.zeros((3, 3)), three))
