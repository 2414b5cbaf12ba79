"""A trained force field: model, energy shift and provenance, in one file."""

import copy
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from asteroid import files, models, state, training
from asteroid.domain import Domain
from asteroid.evaluator import NOT_FINITE, Evaluator
from asteroid.provenance import Provenance

if TYPE_CHECKING:
    import numpy as np
    from ase import Atoms
    from ase.calculators.calculator import Calculator

    from asteroid.datasets import LabelledSet

FORMAT = "asteroid-force-field-1"


@dataclass(eq=False)
class ForceField:
    """Energies and forces of one molecule at the level of theory that it was trained to reproduce.

    Attributes:
        model: maps z and pos to energies without the shift.
        z: (atoms,) atomic numbers in the order of training.
        shift: constant added to the model's energies, kcal/mol; kept apart, in double precision, because it is 10⁴ to
            10⁵ times larger than what the model resolves.
        level: level of theory.
        provenance: how it came about; plain JSON values.
        bias: (frames,) estimated bias of each inaccurate frame that took part, kcal/mol/Å, or None.
    """

    model: nn.Module
    z: Tensor
    shift: float
    level: str
    provenance: Provenance = field(default_factory=dict)
    bias: Tensor | None = None

    def __post_init__(self):
        models.check_elements(self.model, self.z)

    def __repr__(self) -> str:
        return f"ForceField({type(self.model).__name__}, level {self.level!r}, {len(self.z)} atoms)"

    def energy_and_force(self, structure: "Atoms | Tensor | np.ndarray") -> tuple[Tensor, Tensor]:
        """Energy and force of an ASE Atoms object or of positions.

        Args:
            structure: Atoms with this molecule's atomic numbers, or positions (atoms, 3) or (frames, atoms, 3) in Å
                in the order of training.

        Returns:
            Energy () or (frames,), kcal/mol, float64; force of the shape of the positions, kcal/mol/Å.

        Raises:
            ValueError: for another molecule or charge, a periodic one, or positions that do not fit it.
        """
        if not hasattr(structure, "numbers"):
            z, pos = self.z, torch.as_tensor(structure)
        else:
            z = torch.as_tensor(structure.numbers, dtype=torch.int64)
            pos = torch.as_tensor(structure.positions)
            state.check_alone(structure)
            state.check_trained(structure, self.provenance)
            self._check_molecule(z)
        if pos.shape[-2:] != (len(self.z), 3) or pos.ndim not in (2, 3):
            raise ValueError(f"positions have the shape {tuple(pos.shape)}, expected (frames, {len(self.z)}, 3)")
        if not bool(torch.isfinite(pos).all()):
            raise ValueError(NOT_FINITE)
        like = next(self.model.parameters())
        frames = pos if pos.ndim == 3 else pos[None]
        # Far from the origin single precision has fewer digits.
        frames = frames.double() - frames.double().mean(dim=-2, keepdim=True)
        energy, force = training.predict(self.model, z.to(like.device), frames.to(like.device, like.dtype))
        energy = energy.double() + self.shift
        return (energy, force) if pos.ndim == 3 else (energy[0], force[0])

    @property
    def domain(self) -> Domain | None:
        """What it has seen of its molecule; None where its provenance does not say."""
        content = self.provenance.get("domain")
        return Domain.from_json(content) if content else None

    def evaluator(self, numbers: "np.ndarray", calls: int | None = None) -> Evaluator:
        """The same for very many calls, as in dynamics: from positions (frames, atoms, 3) to energies and forces.

        Args:
            numbers: (atoms,) this molecule's atomic numbers, in the order of the positions to come.
            calls: how many are to come; None where that is not known.

        Raises:
            ValueError: for another molecule.
        """
        z = torch.as_tensor(numbers, dtype=torch.int64)
        self._check_molecule(z)
        return Evaluator(self.model, z, self.shift, calls)

    def calculator(self, dtype: torch.dtype | None = torch.float64) -> "Calculator":
        """An ASE calculator, in ASE's units (eV, Å), of the weights as they are now.

        Args:
            dtype: precision of the model. Line searches need torch.float64: in single precision the energy, a large
                number, has not the digits that small steps change. None: as trained, which is faster.
        """
        from asteroid.md.calculator import ForceFieldCalculator

        return ForceFieldCalculator(self.in_precision(dtype))

    def in_precision(self, dtype: torch.dtype | None) -> "ForceField":
        """The same force field with a copy of its model in another precision; None: itself."""
        return self if dtype is None else replace(self, model=copy.deepcopy(self.model).to(dtype))

    def _check_molecule(self, z: Tensor) -> None:
        if sorted(z.tolist()) != sorted(self.z.tolist()):
            raise ValueError(
                f"the atoms have the atomic numbers {sorted(z.tolist())}, this force field was trained on "
                f"{sorted(self.z.tolist())}; train one for this molecule"
            )

    def save(self, path: str | Path) -> None:
        """Write one safetensors file: weights, shift, configuration and provenance, no code.

        Raises:
            OSError: if it cannot be written; an older file of that name is then still whole.
        """
        name, config = models.describe(self.model)
        tensors = {f"model.{key}": value.clone() for key, value in self.model.state_dict().items()}
        tensors["z"] = self.z
        if self.bias is not None:
            tensors["bias"] = self.bias
        about = {"model": name, "config": config, "shift": self.shift, "level": self.level}
        metadata = {"format": FORMAT, "about": json.dumps(about), "provenance": json.dumps(dict(self.provenance))}
        with files.replacing(Path(path), "the force field") as temporary:
            temporary.write_bytes(safetensors.torch.save(tensors, metadata))

    @classmethod
    def load(cls, path: str | Path) -> "ForceField":
        """Read what `save` wrote, onto the CPU; `field.model.to("cuda")` moves it.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is damaged or no force field of ours.
        """
        path = Path(path)
        if not path.exists():
            raise FileNotFoundError(f"there is no force field at {path}")
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (not a dictionary)
        except (SafetensorError, OSError) as error:
            raise ValueError(
                f"{path} is damaged or no safetensors file ({error}); delete it and train it again"
            ) from None
        if metadata.get("format") != FORMAT:
            raise ValueError(f"{path} is not an asteroid force field (format {metadata.get('format')!r})")
        try:
            about = json.loads(metadata["about"])
            model = models.build(about["model"], **about["config"])
            weights = {key.removeprefix("model."): value for key, value in tensors.items() if key.startswith("model.")}
            dtype = next(value.dtype for value in weights.values() if value.is_floating_point())
            model.to(dtype).load_state_dict(weights)
            provenance = json.loads(metadata["provenance"])
            return cls(model, tensors["z"], about["shift"], about["level"], provenance, tensors.get("bias"))
        except (KeyError, TypeError, ValueError, RuntimeError, StopIteration) as error:
            raise ValueError(
                f"{path} is damaged or of another version ({error}); delete it and train it again"
            ) from None


def force_on(force_field: ForceField, labelled: "LabelledSet") -> Tensor:
    """Forces (frames, atoms, 3) at labelled frames, kcal/mol/Å, float64, on the CPU; ValueError for other atoms."""
    return energy_and_force_on(force_field, labelled)[1]


def energy_and_force_on(force_field: ForceField, labelled: "LabelledSet") -> tuple[Tensor, Tensor]:
    """Energies (frames,), kcal/mol, too; of the force fields of Δ-ML and sGDML as well.

    Raises:
        ValueError: unless the labels are of the atoms of the force field, in the same order.
    """
    if not torch.equal(force_field.z.cpu(), labelled.z):
        raise ValueError(
            f"the force field has the atoms {force_field.z.tolist()}, the labels of {labelled.molecule} have "
            f"{labelled.z.tolist()}; expected the same molecule, its atoms in the same order"
        )
    energy, force = force_field.energy_and_force(labelled.pos)
    return energy.cpu(), force.double().cpu()
