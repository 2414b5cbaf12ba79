"""Any ASE calculator as a level: ORCA, Gaussian, xTB, MACE-OFF, AIMNet2, UMA, TorchANI, one's own code."""

import importlib.metadata
import inspect
from typing import Any, ClassVar

import numpy as np
from ase.calculators.calculator import CalculationFailed, Calculator, CalculatorSetupError

from asteroid.levels.molecules import MoleculeCalculator, check_geometry
from asteroid.levels.registry import Make


class External(MoleculeCalculator):
    """`MoleculeCalculator` of a calculator that others wrote, which sees the molecule with its charge.

    Args:
        level: its name.
        make: see `registry.register`.
        charge: total charge; None: what the atoms say, else 0.
        settings: of `make`.
    """

    _programs: ClassVar[tuple[str, ...]] = ("_computes",)
    _computes: Calculator | None = None

    def __init__(self, level: str, make: Make, charge: int | None = None, **settings: Any):
        super().__init__(charge)
        self._level, self._make, self.parameters = level, make, settings
        accepted = inspect.signature(make).parameters.values()
        any_name = any(one.kind is one.VAR_KEYWORD for one in accepted)
        self._takes_charge = any_name or "charge" in [one.name for one in accepted]
        if not any_name and (unknown := settings.keys() - {one.name for one in accepted}):
            known = ", ".join(one.name for one in accepted) or "none"
            raise ValueError(f"{level} has no setting {', '.join(sorted(unknown))}; it has: {known}")

    @property
    def version(self) -> str:
        """Package and version of the class that computes."""
        package = type(self._calculator(self.charge or 0)).__module__.partition(".")[0]
        names = importlib.metadata.packages_distributions().get(package, [])
        return " ".join([package, *(importlib.metadata.version(name) for name in names[:1])])

    def _checked_charge(self) -> int:
        """Open shells and magnetic moments are the calculator's own affair."""
        return check_geometry(self.atoms, self.charge)

    def _calculator(self, charge: int) -> Calculator:
        if self._computes is None or self._computes_charge != charge:
            if charge and not self._takes_charge:
                raise CalculatorSetupError(
                    f"{self._level} takes no `charge`, so it computes neutral molecules only, and this one has the "
                    f"charge {charge}; let the function take it"
                )
            computes = self._make(**({"charge": charge} if self._takes_charge else {}), **self.parameters)
            if not hasattr(computes, "get_property"):
                raise CalculatorSetupError(f"{self._level} returned {computes!r}; expected an ASE calculator")
            self._computes, self._computes_charge = computes, charge
        return self._computes

    def _energy_and_forces(self, charge: int) -> tuple[float, np.ndarray]:
        atoms = self.atoms.copy()
        atoms.info["charge"] = charge  # where some calculators look for it
        atoms.calc = self._calculator(charge)
        try:
            forces = atoms.get_forces()
            return float(atoms.get_potential_energy()), np.array(forces)
        except (CalculatorSetupError, CalculationFailed, OSError, MemoryError):
            raise
        except Exception as error:  # of whatever kind, it is of this frame
            raise CalculationFailed(f"{self._level}: {type(error).__name__}: {error}") from error
