"""Sums of levels, such as a coupled-cluster energy with the larger basis of a cheaper level.

    ccsd(t)/cc-pvdz + mp2/cc-pvtz - mp2/cc-pvdz

is close to CCSD(T) in the triple-zeta basis, at little more than the price of the double-zeta one.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.calculators.mixing import LinearCombinationCalculator

from asteroid import state

_TERM = re.compile(r"\s*([+-]?)\s*(?:(\d+(?:\.\d+)?)\s*\*\s*)?([^\s*+-]\S*)\s*")


def terms(level: str) -> list[tuple[float, str]] | None:
    """Factors and levels of a sum such as "2*mp2 - hf", with spaces around its signs; None for a level without factor.

    Raises:
        ValueError: if it cannot be read.
    """
    found, rest = [], re.sub(r"(?<=\s)([+-])\s+", r"\1", level.strip())
    for place, word in enumerate(rest.split()):
        match = _TERM.fullmatch(word)
        if match is None or (place and not match[1]):
            raise ValueError(
                f"{level!r} is no sum of levels; expected one such as 'ccsd(t)/cc-pvdz + mp2/cc-pvtz - mp2/cc-pvdz'"
            )
        sign, factor, name = match.groups()
        found.append((float(factor or 1) * (-1 if sign == "-" else 1), name))
    if not found:
        raise ValueError("the level is an empty text; expected the name of a level")
    return None if len(found) == 1 and found[0][0] == 1 else found


def settings_of(level: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those that one level of a sum takes; Lennard-Jones knows no charge."""
    return {name: value for name, value in settings.items() if not (level == "lj" and name == "charge")}


def in_words(terms: Sequence[tuple[float, str]]) -> str:
    """The sum as a text, such as "MP2/cc-pVTZ − 0.5 · HF/cc-pVTZ"."""
    text = ""
    for factor, name in terms:
        sign = "−" if factor < 0 else "+" if text else ""
        text += f" {sign} " if text else sign
        text += name if abs(factor) == 1 else f"{abs(factor):g} · {name}"
    return text


class Sum(LinearCombinationCalculator):
    """ASE's calculator of a sum, which computes anew where the state that `atoms.info` says has changed."""

    def __init__(self, calculators: Sequence[Calculator], factors: Sequence[float]):
        super().__init__(list(calculators), list(factors))
        self.code = " + ".join(dict.fromkeys(one.code for one in calculators))

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """What has changed since the last calculation."""
        changes = super().check_state(atoms, tol)
        if self.atoms is not None and state.of(self.atoms) != state.of(atoms):
            changes.append("info")
        return changes
