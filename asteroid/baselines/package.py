"""What the force fields of other packages have in common: theirs computes, and answers as a `ForceField` does."""

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

from asteroid import state
from asteroid.evaluator import NOT_FINITE

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator


class PackageForceField:
    """The interface of `ForceField` for one molecule, its atoms in the order of training.

    A subclass has `z` (atoms,), the name of its `package`, and `_predict`.
    """

    z: Tensor
    package: str
    domain: ClassVar[None] = None  # what it has seen of its molecule is not kept

    def energy_and_force(self, structure: "Atoms | Tensor | np.ndarray") -> tuple[Tensor, Tensor]:
        """Energy and force of an ASE Atoms object or of positions.

        Args:
            structure: Atoms, or positions (atoms, 3) or (frames, atoms, 3) in Å, in the order of training.

        Returns:
            Energy () or (frames,), kcal/mol, and force of the shape of the positions, kcal/mol/Å, float64.

        Raises:
            ValueError: for another molecule or order of atoms, or positions that do not fit.
        """
        if hasattr(structure, "numbers"):
            state.check_alone(structure)
            self._check_order(structure.numbers)
            structure = structure.positions
        pos = torch.as_tensor(structure).double().cpu().numpy()
        if pos.shape[-2:] != (len(self.z), 3) or pos.ndim not in (2, 3):
            raise ValueError(f"positions have the shape {pos.shape}, expected (frames, {len(self.z)}, 3)")
        energy, force = map(torch.from_numpy, self._checked(pos.reshape(-1, *pos.shape[-2:])))
        return (energy, force) if pos.ndim == 3 else (energy[0], force[0])

    def evaluator(
        self, numbers: np.ndarray, calls: int | None = None
    ) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
        """From positions (frames, atoms, 3) to energies and forces, see `ForceField.evaluator`."""
        self._check_order(numbers)
        return self._checked

    def calculator(self) -> "Calculator":
        """An ASE calculator, in ASE's units (eV, Å)."""
        from asteroid.md.calculator import ForceFieldCalculator

        return ForceFieldCalculator(self)

    def _predict(self, pos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies (frames,), kcal/mol, and forces (frames, atoms, 3), kcal/mol/Å, of positions (frames, atoms, 3)."""
        raise NotImplementedError

    def _checked(self, pos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if not np.isfinite(pos).all():
            raise ValueError(NOT_FINITE)
        return self._predict(pos)

    def _check_order(self, numbers: np.ndarray) -> None:
        if list(numbers) != self.z.tolist():
            raise ValueError(
                f"the atoms have the atomic numbers {list(map(int, numbers))}, this force field was trained on "
                f"{self.z.tolist()}; {self.package} needs the same molecule, its atoms in the same order"
            )
