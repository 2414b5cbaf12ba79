"""What every level of theory refuses to compute."""

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculationFailed, CalculatorSetupError

SHORTEST = 0.2
"""Å. Closer atoms mean a wrong unit or an exploded trajectory."""


def check_molecule(atoms: Atoms, charge: int) -> None:
    """Refuse open shells and exploded geometries, which codes answer in many ways or with a wrong number.

    Args:
        atoms: the molecule.
        charge: its total charge.

    Raises:
        CalculatorSetupError: the number of electrons is odd.
        CalculationFailed: a position is not finite, or two atoms are closer than `SHORTEST`.
    """
    electrons = int(atoms.numbers.sum()) - charge
    if electrons % 2 or electrons < 2:
        raise CalculatorSetupError(
            f"{atoms.symbols} with the charge {charge} has {electrons} electrons; only closed shells are supported, "
            "which need an even number of them. Is `charge` the total charge? SMILES strings, .sdf and .mol files know "
            "it; an .extxyz file says charge=-1 in its comment."
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
