"""The one unit system inside (kcal/mol, Å, K, fs) and every factor that leads into it.

Source: CODATA 2018 (Tiesinga et al., Rev. Mod. Phys. 93, 025010, 2021). Electron volt, mole and Boltzmann constant are
exact since the SI of 2019; the calorie is the thermochemical one, 4.184 J.
"""

_AVOGADRO = 6.02214076e23
_JOULE = _AVOGADRO / 4184.0
_EV = 1.602176634e-19 * _JOULE
_HARTREE = 27.211386245988 * _EV
_BOHR = 0.529177210903

ENERGY = {"kcal/mol": 1.0, "kJ/mol": 1 / 4.184, "eV": _EV, "meV": _EV / 1000, "hartree": _HARTREE, "Ha": _HARTREE}
"""kcal/mol in one of each energy unit."""

LENGTH = {"angstrom": 1.0, "Ang": 1.0, "A": 1.0, "Å": 1.0, "bohr": _BOHR, "nm": 10.0}
"""Å in one of each length unit; "Ang" is how sGDML's files write it."""

BOLTZMANN = 1.380649e-23 * _JOULE
"""Boltzmann constant, kcal/mol/K."""

MASS = 1.66053906660e-17 * _JOULE
"""kcal/mol in one u Å²/fs²: what turns masses and velocities into a kinetic energy."""

WAVENUMBER = 1e5 / 2.99792458
"""1/cm in a frequency of 1/fs."""

KCAL_PER_MOL_IN_EV = 1 / _EV
"""eV in one kcal/mol, for the border with ASE, whose energies are in eV and forces in eV/Å."""


def factor(unit: str, table: dict[str, float]) -> float:
    """Factor that turns a number in `unit` into kcal/mol or Å.

    Args:
        unit: a key of `table`, in any case.
        table: `ENERGY` or `LENGTH`.

    Returns:
        The factor to multiply with. A force has `factor(energy, ENERGY) / factor(length, LENGTH)`.

    Raises:
        ValueError: the unit is unknown; the message lists the known ones.
    """
    known = {name.lower(): value for name, value in table.items()}
    try:
        return known[unit.strip().lower()]
    except KeyError:
        raise ValueError(f"Unknown unit {unit!r}; known are {', '.join(table)}.") from None


def force_factor(unit: str) -> float:
    """Factor that turns a force in `unit`, such as "hartree/bohr", into kcal/mol/Å; ValueError as of `factor`."""
    energy, _, length = unit.rpartition("/")
    if not energy:
        raise ValueError(f"Unknown unit {unit!r} of a force; expected an energy per length, such as 'hartree/bohr'.")
    return factor(energy, ENERGY) / factor(length, LENGTH)
