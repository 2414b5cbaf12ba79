"""A force field in OpenMM: as the System of its molecule, or as one Force of a larger System.

OpenMM's units are nm, kJ/mol and u.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ase.data import atomic_masses

from asteroid.md.calculator import EnergyAndForce, Potential, watch
from asteroid.units import ENERGY, LENGTH

if TYPE_CHECKING:
    import openmm

_KJ_PER_MOL = 1 / ENERGY["kJ/mol"]  # in one kcal/mol
_ANGSTROM = LENGTH["nm"]  # in one nm


def system(force_field: Potential, numbers: Sequence[int] | None = None) -> "openmm.System":
    """The molecule of a force field, which is all that acts in it: no charges, no bonds, no constraints, no cell.

    Args:
        force_field: a ForceField, or one of the baselines'; it is computed in its own precision.
        numbers: (atoms,) the molecule's atomic numbers in the order of the positions to come; None: that of training.

    Returns:
        A System with ASE's standard masses, for any integrator of OpenMM.

    Raises:
        ValueError: the atomic numbers are those of another molecule.
        ImportError: OpenMM is not installed.

    Example:
        ``context = openmm.Context(asteroid.openmm.system(field), openmm.VerletIntegrator(0.0005))``
    """
    acting = force(force_field, numbers)
    made = _openmm().System()
    for number in _numbers(force_field, numbers):
        made.addParticle(atomic_masses[number])
    made.addForce(acting)
    return made


def force(
    force_field: Potential, numbers: Sequence[int] | None = None, particles: Sequence[int] | None = None
) -> "openmm.PythonForce":
    """A force field as one Force of a System that may hold more, such as a restraint, or other molecules.

    It warns once, at the first geometry outside the force field's `domain`. The System can be copied, and written by
    OpenMM's XmlSerializer.

    Args:
        force_field, numbers: as of `system`.
        particles: (atoms,) the molecule's places in the System; None: it is all of it.

    Returns:
        The Force. An error inside it, such as of positions that are not finite, reaches the caller as OpenMM's own
        OpenMMException with the same message.

    Raises:
        ValueError: the atomic numbers are those of another molecule, or there is not one particle for each.
        ImportError: OpenMM is not installed.
    """
    program, numbers = _openmm(), _numbers(force_field, numbers)
    if particles is not None and len(set(particles)) != len(numbers):
        raise ValueError(f"there are {len(set(particles))} particles; expected one for each of {len(numbers)} atoms")
    energy_and_force = _EnergyAndForce(force_field, numbers)
    return program.PythonForce(energy_and_force, {}, [] if particles is None else [int(one) for one in particles])


class _EnergyAndForce:
    """What OpenMM asks at every step: the energy, kJ/mol, and the force, kJ/mol/nm, of a State."""

    def __init__(self, force_field: Potential, numbers: np.ndarray):
        self.force_field, self.numbers = force_field, numbers
        self.evaluator: EnergyAndForce | None = force_field.evaluator(numbers)
        self.watch = watch(force_field, numbers)

    def __call__(self, state: "openmm.State") -> tuple[float, np.ndarray]:
        pos = _ANGSTROM * state.getPositions(asNumpy=True)._value
        if len(pos) != len(self.numbers):
            raise ValueError(
                f"the System has {len(pos)} particles, the force field's molecule {len(self.numbers)} atoms; expected "
                "as many, or name the molecule's `particles`"
            )
        if self.evaluator is None:
            self.evaluator = self.force_field.evaluator(self.numbers)
        energy, force = self.evaluator(pos[None])
        self.watch(torch.from_numpy(pos))
        return _KJ_PER_MOL * float(energy[0]), _KJ_PER_MOL * _ANGSTROM * force[0]

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"evaluator": None}  # whose graph cannot be copied


def _numbers(force_field: Potential, numbers: Sequence[int] | None) -> np.ndarray:
    return force_field.z.numpy(force=True) if numbers is None else np.asarray(numbers, dtype=int)


def _openmm() -> ModuleType:
    try:
        import openmm
        from openmm import PythonForce  # noqa: F401  (older ones have none)
    except ImportError as error:
        install = "pip install -c constraints.txt -e '.[exports]'"
        raise ImportError(f"OpenMM 8.5 or newer is not installed: `{install}`") from error
    return openmm
