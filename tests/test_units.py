"""Conversion factors against ASE's, which come from another edition of CODATA."""

import ase.units
import pytest

from asteroid import units


@pytest.mark.parametrize(
    ("ours", "ase_value"),
    [
        (units.ENERGY["eV"], ase.units.mol / ase.units.kcal),
        (units.ENERGY["meV"], 1e-3 * ase.units.mol / ase.units.kcal),
        (units.ENERGY["hartree"], ase.units.Hartree * ase.units.mol / ase.units.kcal),
        (units.ENERGY["kJ/mol"], ase.units.kJ / ase.units.kcal),
        (units.LENGTH["bohr"], ase.units.Bohr),
        (units.LENGTH["nm"], ase.units.nm),
        (units.BOLTZMANN, ase.units.kB * ase.units.mol / ase.units.kcal),
        (units.KCAL_PER_MOL_IN_EV, ase.units.kcal / ase.units.mol),
    ],
)
def test_factors_agree_with_ase(ours: float, ase_value: float) -> None:
    assert ours == pytest.approx(ase_value, rel=1e-6)


@pytest.mark.parametrize("spelling", ["Ang", "angstrom", "ANGSTROM", " Å", "a"])
def test_spellings_of_angstrom(spelling: str) -> None:
    assert units.factor(spelling, units.LENGTH) == 1.0


def test_unknown_unit_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'furlong'.*angstrom.*bohr.*nm"):
        units.factor("furlong", units.LENGTH)
