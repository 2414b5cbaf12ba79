"""Δ-ML: a model learns what a cheap level lacks, and the cheap level itself is computed at every prediction.

Source:
    Ramakrishnan et al., J. Chem. Theory Comput. 11, 2087 (2015); Bukharin et al. 2023, appendix A.4, Eq. 4.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from asteroid import levels
from asteroid.datasets import LabelledSet
from asteroid.force_field import ForceField

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator

_CANDIDATES = 8  # by their interatomic distances, of which superposition chooses the nearest
_CHUNK = 64  # frames at a time, whose distances to all others are held in memory


@dataclass(frozen=True, eq=False)
class Pairs:
    """What Δ-ML learns from.

    Attributes:
        labels: accurate minus cheap energies and forces at every accurate frame, of a level such as "ccsd(t)-pbe";
            `seconds` are those of the accurate labels.
        cheap: the cheap labels that were subtracted, in the order of the accurate frames and at their positions.
        distance: (frames,) root mean square distance of the atoms from the frame that the cheap label was made for,
            Å; zero where both levels have the same frame.
    """

    labels: LabelledSet
    cheap: LabelledSet
    distance: Tensor


def pair(accurate: LabelledSet, cheap: LabelledSet) -> Pairs:
    """Labels for Δ-ML: F_accurate − F_cheap at the accurate frames (Eq. 4).

    Where the cheap level lacks a frame, its nearest frame stands in for it, turned onto the accurate one together with
    its force. Equal atoms are not exchanged.

    Args:
        accurate: labels of the accurate level.
        cheap: labels of the cheap level, of the same molecule.

    Raises:
        DatasetError: the sets hold different molecules.
    """
    mine, theirs = accurate.paired_with(cheap)
    partner = torch.full((len(accurate),), -1)
    partner[mine] = theirs
    alone = (partner < 0).nonzero().flatten()
    turn = torch.eye(3, dtype=torch.float64).repeat(len(accurate), 1, 1)
    distance = torch.zeros(len(accurate), dtype=torch.float64)
    if len(alone):
        partner[alone], turn[alone], distance[alone] = _nearest(accurate.pos[alone], cheap.pos)
    chosen = cheap[partner]
    force = torch.einsum("fij,faj->fai", turn, chosen.force)
    chosen = chosen.derived(pos=accurate.pos, force=force)
    labels = accurate.derived(
        level=f"{accurate.level}-{cheap.level}",
        energy=accurate.energy - chosen.energy,
        force=accurate.force - chosen.force,
    )
    return Pairs(labels, chosen, distance)


@dataclass(eq=False)
class DeltaForceField:
    """A trained correction and the cheap level that it corrects; the sum has the accurate level.

    Attributes:
        correction: force field of the difference of the levels, trained on `Pairs.labels`.
        cheap: name of the cheap level, see `levels.calculator`.
        settings: of its calculator, where they are not the default.
    """

    correction: ForceField
    cheap: str
    settings: Mapping[str, Any] | None = None
    domain: ClassVar[None] = None  # what it has seen of its molecule is not kept

    @property
    def level(self) -> str:
        """The accurate level."""
        return self.correction.level.removesuffix(f"-{self.cheap}")

    @property
    def z(self) -> Tensor:
        """(atoms,) atomic numbers in the order of training."""
        return self.correction.z

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Of the correction."""
        return self.correction.provenance

    def energy_and_force(self, structure: Atoms | Tensor | np.ndarray) -> tuple[Tensor, Tensor]:
        """Energy and force of an ASE Atoms object or of positions; each frame costs a calculation of the cheap level.

        Args:
            structure: as in `ForceField.energy_and_force`.

        Returns:
            Energy () or (frames,), kcal/mol, and force of the shape of the positions, kcal/mol/Å, float64.

        Raises:
            ValueError: for another molecule, positions that do not fit it, or an unknown cheap level.
            ImportError: if no program that computes the cheap level is installed.
        """
        energy, force = self.correction.energy_and_force(structure)
        is_atoms = hasattr(structure, "numbers")
        pos = torch.as_tensor(structure.positions if is_atoms else structure).double().cpu()
        atoms = structure if is_atoms else Atoms(self.z.numpy())
        cheap_energy, cheap_force = self._cheap(atoms)(pos.reshape(-1, len(self.z), 3).numpy())
        cheap_energy = torch.from_numpy(cheap_energy).reshape(energy.shape)
        return energy.cpu() + cheap_energy, force.double().cpu() + torch.from_numpy(cheap_force).reshape(force.shape)

    def evaluator(
        self, numbers: np.ndarray, calls: int | None = None
    ) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
        """The same for very many calls, see `ForceField.evaluator`; the cheap level takes one frame after another.

        A frame at which the cheap level fails gets NaN, so that the other replicas of a simulation go on.
        """
        correction, cheap = self.correction.evaluator(numbers, calls), self._cheap(Atoms(numbers), go_on=True)

        def evaluate(pos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            (energy, force), (cheap_energy, cheap_force) = correction(pos), cheap(pos)
            return energy + cheap_energy, force + cheap_force

        return evaluate

    def calculator(self, dtype: torch.dtype | None = torch.float64) -> "Calculator":
        """An ASE calculator, in ASE's units (eV, Å); `ForceField.calculator` says what `dtype` is."""
        from asteroid.md.calculator import ForceFieldCalculator

        return ForceFieldCalculator(replace(self, correction=self.correction.in_precision(dtype)))

    def _cheap(self, atoms: Atoms, go_on: bool = False) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
        """From positions (frames, atoms, 3) to the cheap level's energies and forces, in our units."""
        from asteroid.md.calculator import frame_by_frame

        return frame_by_frame(levels.calculator(self.cheap, **(self.settings or {})), atoms, go_on)


def with_cheap_level(correction: ForceField, cheap: LabelledSet) -> DeltaForceField:
    """Complete a correction by the level that made the cheap labels.

    Args:
        correction: trained on `Pairs.labels`.
        cheap: labels of the cheap level, whose charge, basis and grid are taken over where their provenance has them;
            MMFF94 perceives its bonds at their lowest energy, as it did for the labels.
    """
    # What `levels.label` records; of the embedded labels, all of it is the default.
    recorded, settings = cheap.provenance.get("settings"), {}
    if isinstance(recorded, Mapping):
        names = (
            ("charge", "basis", "grid") if cheap.level.partition("/")[0] in ("pbe", "b3lyp") else ("charge", "basis")
        )
        settings = {name: recorded[name] for name in names if name in recorded} | recorded.get("parameters", {})
    if cheap.level == "mmff":
        settings["reference"] = Atoms(cheap.z.numpy(), cheap.pos[cheap.energy.argmin()].numpy())
    return DeltaForceField(correction, cheap.level, settings)


def _nearest(pos: Tensor, others: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The nearest of other frames after superposition.

    Args:
        pos: (frames, atoms, 3), Å.
        others: (others, atoms, 3), Å.

    Returns:
        Index of the nearest (frames,), the rotation (frames, 3, 3) that turns it onto the frame, and the root mean
        square distance that is left (frames,), Å.

    Source:
        W. Kabsch, Acta Cryst. A32, 922 (1976).
    """
    i, j = torch.triu_indices(pos.shape[1], pos.shape[1], 1)
    pos, others = (x - x.mean(dim=1, keepdim=True) for x in (pos, others))
    shapes = [(x[:, i] - x[:, j]).norm(dim=-1) for x in (pos, others)]  # (frames, pairs), blind to rotation
    parts = [
        torch.cdist(part, shapes[1]).topk(min(_CANDIDATES, len(others)), largest=False).indices
        for part in shapes[0].split(_CHUNK)
    ]
    candidates = torch.cat(parts)  # (frames, candidates)
    theirs = others[candidates]  # (frames, candidates, atoms, 3)
    left, _, right = torch.linalg.svd(torch.einsum("fai,fcaj->fcij", pos, theirs))
    handedness = torch.ones(left.shape[:-1], dtype=pos.dtype)
    handedness[..., 2] = torch.linalg.det(left @ right)  # a rotation, never a reflection
    turn = torch.einsum("fcik,fck,fckj->fcij", left, handedness, right)
    rest = pos[:, None] - torch.einsum("fcij,fcaj->fcai", turn, theirs)
    distance = rest.square().sum(dim=-1).mean(dim=-1).sqrt()
    best = distance.argmin(dim=1)
    row = torch.arange(len(pos))
    return candidates[row, best], turn[row, best], distance[row, best]
