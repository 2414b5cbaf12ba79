"""Any ASE calculator as a level: ORCA, Gaussian, xTB, MACE-OFF, AIMNet2, UMA, TorchANI, one's own code."""

import contextlib
import hashlib
import importlib.metadata
import inspect
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ase.calculators.calculator import CalculationFailed, Calculator, CalculatorSetupError

from asteroid import state
from asteroid.levels.molecules import MoleculeCalculator, check_closed_shell, check_geometry
from asteroid.levels.registry import Make


class External(MoleculeCalculator):
    """`MoleculeCalculator` of a calculator that others wrote, which sees the molecule with its charge.

    Each frame is computed anew in an empty folder of its own, so that no program reads what is left of another frame.

    Args:
        level: its name.
        make: see `levels.register`.
        charge: total charge; None: what the atoms say, else 0.
        settings: of `make`.

    Raises:
        ValueError: if `make` has no such setting.
    """

    _programs: ClassVar[tuple[str, ...]] = ("_computes",)
    _computes: Calculator | None = None

    def __init__(self, level: str, make: Make, charge: int | None = None, **settings: Any):
        super().__init__(charge)
        self._level, self._make, self.parameters = level, make, settings
        accepted = inspect.signature(make).parameters.values()
        names = [one.name for one in accepted if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)]
        # One that takes anything may not look at a charge.
        self._takes_charge = "charge" in names
        any_name = any(one.kind is one.VAR_KEYWORD for one in accepted)
        if not any_name and (unknown := settings.keys() - set(names)):
            raise ValueError(
                f"{level} has no setting {', '.join(sorted(unknown))}; it has: {', '.join(names) or 'none'}"
            )

    @property
    def version(self) -> str:
        """Package and version of the class that computes."""
        package = type(self._calculator(self.charge or 0)).__module__.partition(".")[0]
        names = importlib.metadata.packages_distributions().get(package, [])
        return " ".join([package, *(importlib.metadata.version(name) for name in names[:1])])

    @property
    def source(self) -> str | None:
        """Fingerprint of the function's source, by which a ledger notices that it was edited; None if it has none."""
        with contextlib.suppress(OSError, TypeError):
            return hashlib.sha256(inspect.getsource(self._make).encode()).hexdigest()[:16]
        return None

    def _checked_charge(self) -> int:
        """An odd number of electrons is the calculator's own affair; it is not told of a multiplicity."""
        charge = check_geometry(self.atoms, self.charge)
        check_closed_shell(state.multiplicity(self.atoms, charge), self.atoms.symbols)
        return charge

    def _calculator(self, charge: int) -> Calculator:
        if self._computes is None or self._computes_charge != charge:
            if charge and not self._takes_charge:
                raise CalculatorSetupError(
                    f"{self._level} has no argument `charge`, so it computes neutral molecules only, and this one has "
                    f"the charge {charge}; name a function that takes it"
                )
            computes = self._make(**({"charge": charge} if self._takes_charge else {}), **self.parameters)
            if not hasattr(computes, "get_property"):
                raise CalculatorSetupError(f"{self._level} returned {computes!r}; expected an ASE calculator")
            self._computes, self._computes_charge = computes, charge
        return self._computes

    def _energy_and_forces(self, charge: int) -> tuple[float, np.ndarray]:
        atoms = self.atoms.copy()
        atoms.set_constraint()
        atoms.info["charge"] = charge  # where some calculators look for it
        atoms.calc = self._calculator(charge)
        getattr(atoms.calc, "reset", lambda: None)()
        with tempfile.TemporaryDirectory(prefix="asteroid-level-", ignore_cleanup_errors=True) as folder:
            if hasattr(atoms.calc, "directory"):
                atoms.calc.directory = Path(folder) if isinstance(atoms.calc.directory, Path) else folder
            try:
                with contextlib.chdir(folder):
                    forces = atoms.get_forces()
                    return float(atoms.get_potential_energy()), np.array(forces)
            except FileNotFoundError as error:
                if Path(error.filename or "").suffix:  # of what it should have written; a program has none
                    raise CalculationFailed(f"{self._level} has left no {error.filename}") from error
                raise
            except (CalculatorSetupError, CalculationFailed, OSError, MemoryError):
                raise
            except Exception as error:  # of whatever kind, it is of this frame
                raise CalculationFailed(f"{self._level}: {type(error).__name__}: {error}") from error
