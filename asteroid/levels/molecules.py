"""What every level of theory has in common: which molecules it refuses, one thread, and whose fault a failure is."""

import importlib
import os
import re
import threading
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculationFailed, CalculatorSetupError, all_changes

from asteroid import machine, state, units
from asteroid.md.calculator import StatefulCalculator

# The number of threads, and what PySCF keeps, are the process's.
_ONE_AT_A_TIME = threading.RLock()

HARTREE = units.ENERGY["hartree"] * units.KCAL_PER_MOL_IN_EV
"""eV."""

BOHR = units.LENGTH["bohr"]
"""Å."""

SHORTEST = 0.2
"""Å. Closer atoms mean a wrong unit or an exploded trajectory."""

# What codes say where disk or memory does not suffice, and the types of error that Psi4's answers name.
_LACKING = re.compile(
    "no space left|quota exceeded|disk (is )?full|errno = 28|PSIO_?ERROR|read-only file system|input/output error|"
    "too many open files|cannot allocate|unable to allocate|out of memory|(not enough|insufficient) memory|bad_alloc|"
    r"\b(OSError|IOError|FileNotFoundError|PermissionError|MemoryError)\b",
    re.IGNORECASE,
)


class MachineError(RuntimeError):
    """What the machine lacks or has ended, not the frame's fault: mended, the same calculation works."""

    @classmethod
    def of(cls, cause: object) -> "MachineError":
        return cls(
            f"{str(cause).rstrip('.')}. That is the machine's trouble, not the frame's: mend it (scratch disk, memory, "
            "the program) and call again; a job goes on with the labels that are there"
        )


class MoleculeCalculator(StatefulCalculator):
    """ASE calculator of a closed-shell molecule alone, on one thread: energy in eV, forces in eV/Å.

    It can be pickled and copied at any time; a copy starts its program anew.

    Args:
        charge: total charge; None: what the atoms say, see `state.total_charge`, else 0.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces"]
    _programs: ClassVar[tuple[str, ...]] = ()
    """Attributes that hold what runs, None in the class."""
    _modules: ClassVar[tuple[str, ...]] = ()
    """What is imported before the threads are limited, with the libraries that have threads."""

    def __init__(self, charge: int | None = None):
        super().__init__()
        self.charge = charge

    def set(self, **settings: Any) -> dict[str, Any]:
        """Refuse ASE's way to change settings, which would leave the charge as it is; ValueError for any."""
        if settings:
            raise ValueError(
                f"{', '.join(settings)} cannot be set: a calculator keeps the settings that it was made with. Make "
                "another by levels.calculator."
            )
        return {}

    def calculate(self, atoms=None, properties=("energy", "forces"), system_changes=all_changes):
        """Fill `results` with energy, the same as free energy, and forces of the atoms.

        Raises:
            ValueError: periodic atoms, or such as contradict themselves.
            CalculatorSetupError: a molecule that the level cannot do.
            CalculationFailed: an exploded geometry, or one at which the code fails.
            MachineError: a lack of disk or memory, or a program that was ended.
        """
        super().calculate(atoms, properties, system_changes)
        charge = self._checked_charge()
        if vars(self).get("_process") != os.getpid():  # a fork's copy of what runs is its parent's
            for name in self._programs:
                vars(self).pop(name, None)
            self._process = os.getpid()
        for name in self._modules:
            importlib.import_module(name)
        try:
            with _ONE_AT_A_TIME, machine.one_thread():
                energy, forces = self._energy_and_forces(charge)
        except (OSError, MemoryError) as error:
            raise MachineError.of(f"{self.name} of {self.atoms.symbols}: {type(error).__name__}: {error}") from error
        except CalculationFailed as error:
            if _LACKING.search(str(error)):
                raise MachineError.of(error) from error
            raise
        self.results = {"energy": energy, "free_energy": energy, "forces": forces}

    def _checked_charge(self) -> int:
        """The charge of `self.atoms`, unless the level refuses them."""
        return check_molecule(self.atoms, self.charge)

    def _energy_and_forces(self, charge: int) -> tuple[float, np.ndarray]:
        """Energy, eV, and forces (atoms, 3), eV/Å, of `self.atoms`."""
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in self._programs}


def check_molecule(atoms: Atoms, charge: int | None = None) -> int:
    """Refuse open shells and exploded geometries, which codes answer in many ways or with a wrong number.

    Args:
        atoms: the molecule.
        charge: its total charge; None: what the atoms say, else 0.

    Returns:
        The charge.

    Raises:
        ValueError: the atoms are periodic, or contradict themselves.
        CalculatorSetupError: the atoms say another charge, the number of electrons is odd, the multiplicity not 1, or
            magnetic moments cancel each other.
        CalculationFailed: a position is not finite, or two atoms are closer than `SHORTEST`.
    """
    charge = check_geometry(atoms, charge)
    electrons = int(atoms.numbers.sum()) - charge
    if electrons % 2 or electrons < 2:
        raise CalculatorSetupError(
            f"{atoms.symbols} with the charge {charge} has {electrons} electrons; only closed shells are supported, "
            "which need an even number of them. Is `charge` the total charge? SMILES strings, .sdf and .mol files know "
            "it; an .extxyz file says charge=-1 in its comment."
        )
    check_closed_shell(state.multiplicity(atoms, charge), atoms.symbols)
    moments = atoms.get_initial_magnetic_moments()
    if np.rint(moments).any() and not np.rint(moments.sum(axis=0)).any():
        raise CalculatorSetupError(
            f"{atoms.symbols} has magnetic moments that cancel each other, {moments.tolist()}: an open-shell singlet; "
            "only closed shells are supported. If it is one, take off the moments."
        )
    return charge


def check_geometry(atoms: Atoms, charge: int | None = None) -> int:
    """The same of any number of electrons and any multiplicity."""
    state.check_alone(atoms)
    of_atoms = state.total_charge(atoms)
    if charge is None:
        charge = of_atoms or 0
    elif of_atoms is not None and of_atoms != charge:
        raise CalculatorSetupError(
            f"{atoms.symbols} say the charge {of_atoms}, and the level was given the charge {charge}; leave out one, "
            "or put it right"
        )
    if not np.isfinite(atoms.positions).all():
        raise CalculationFailed(f"{atoms.symbols}: positions are not finite; did the trajectory explode?")
    i, j = np.triu_indices(len(atoms), 1)
    distance = np.linalg.norm(atoms.positions[i] - atoms.positions[j], axis=1)
    if len(distance) and distance.min() < SHORTEST:
        pair = int(distance.argmin())
        raise CalculationFailed(
            f"{atoms.symbols}: atoms {i[pair]} and {j[pair]} are {distance[pair]:.3f} Å apart; at least {SHORTEST} Å "
            "was expected. Wrong length unit, or did the trajectory explode?"
        )
    return charge


def check_closed_shell(multiplicity: int | None, what: object) -> None:
    """Raise a CalculatorSetupError for a multiplicity above one, which the number of electrons need not show."""
    if multiplicity is not None and multiplicity != 1:
        raise CalculatorSetupError(
            f"{what} has the multiplicity {multiplicity}; only closed shells are supported, of multiplicity 1. If it "
            "is one, take off what says otherwise (spin, multiplicity or magnetic moments)."
        )
