"""What a metatomic model computes, in the part of Python that TorchScript knows.

TorchScript finds the types of arguments among the names of a module, so that metatomic is imported here at the top.
"""

# ruff: noqa: UP006, UP035, UP045  (metatomic compares the types of arguments with those of `typing`)
import warnings
from typing import Dict, List, Optional

import torch
from metatensor.torch import Labels, TensorBlock, TensorMap
from metatomic.torch import ModelOutput, System
from torch import Tensor, nn

from asteroid.domain import TOLERANCE, Domain
from asteroid.evaluator import NOT_FINITE
from asteroid.units import KCAL_PER_MOL_IN_EV


class WholeMolecule(nn.Module):
    """Energy, eV, of systems that are one molecule each, its atoms in any order; its derivative by positions, Å, too.

    Args:
        energy_and_force: positions (1, atoms, 3), Å, to energy (1,), kcal/mol, and force (1, atoms, 3); float64.
        z: (atoms,) atomic numbers in the order of these positions, which is ascending.
        shift: added to energies, kcal/mol.
        domain: of the molecule in this order; None: nothing is warned of.
    """

    def __init__(self, energy_and_force: nn.Module, z: Tensor, shift: float, domain: Domain | None):
        super().__init__()
        self.energy_and_force, self.shift, self.ev = energy_and_force, shift, KCAL_PER_MOL_IN_EV
        self.watching, self.tolerance, self.not_finite = domain is not None, TOLERANCE, NOT_FINITE
        first, second = torch.triu_indices(len(z), len(z), 1)
        shortest, longest = (domain.shortest, domain.longest) if domain else ((), ())
        for name, values in {
            "z": z.to(torch.int32),
            "first": first,
            "second": second,
            "shortest": torch.tensor(shortest, dtype=torch.float64),
            "longest": torch.tensor(longest, dtype=torch.float64),
        }.items():
            self.register_buffer(name, values)

    def forward(
        self, systems: List[System], outputs: Dict[str, ModelOutput], selected_atoms: Optional[Labels]
    ) -> Dict[str, TensorMap]:
        """The energy of each system, where it is asked for."""
        energies: List[Tensor] = []
        atoms = 0
        for system in systems:
            energies.append(self.energy(system.types, system.positions, system.cell, system.pbc))
            atoms += len(system)
        if selected_atoms is not None and len(selected_atoms) != atoms:
            raise ValueError("the energy of some atoms was asked for; there is only that of the whole molecule")
        results: Dict[str, TensorMap] = {}
        if "energy" in outputs:
            numbers = torch.arange(len(systems), dtype=torch.int32).reshape(-1, 1)
            block = TensorBlock(
                values=torch.stack(energies).reshape(-1, 1),
                samples=Labels(["system"], numbers),
                components=torch.jit.annotate(List[Labels], []),
                properties=Labels(["energy"], torch.zeros(1, 1, dtype=torch.int32)),
            )
            results["energy"] = TensorMap(Labels(["_"], torch.zeros(1, 1, dtype=torch.int32)), [block])
        return results

    def energy(self, types: Tensor, positions: Tensor, cell: Tensor, pbc: Tensor) -> Tensor:
        """Energy (), eV, of atoms of these types, positions (atoms, 3), Å, cell (3, 3), Å, and periodic axes (3,)."""
        # Some programs give the atoms in another order after some steps.
        order = torch.argsort(types, stable=True)
        if not torch.equal(types[order], self.z):
            found: List[int] = types[order].long().tolist()
            trained: List[int] = self.z.long().tolist()
            raise ValueError(
                f"the atoms have the atomic numbers {found}, this force field was trained on {trained}; train one for "
                "this molecule"
            )
        if not bool(torch.isfinite(positions).all()):
            raise ValueError(self.not_finite)
        pos = positions[order]
        still = pos.detach()
        lengths = (still[self.first] - still[self.second]).norm(2, dim=-1)
        if bool(pbc.any()):
            # Between two faces of the cell lies one over the length of a column of its inverse; infinity, where an axis
            # is not periodic and its vector zero.
            widths = 1 / torch.linalg.pinv(cell.detach()).norm(2, dim=0)
            if bool(2 * lengths.max() > widths.min()):
                raise ValueError(
                    f"the molecule is {rounded(lengths.max())} Å long in a periodic cell of the width "
                    f"{rounded(widths.min())} Å; expected a molecule alone: make it whole if the cell cuts it, "
                    "in a cell more than twice as wide"
                )
        if self.watching:
            self.watch(order, lengths)
        with torch.no_grad():
            # Far from the origin single precision has fewer digits.
            energy, force = self.energy_and_force((still - still.mean(dim=0)).unsqueeze(0))
        # The value is the energy, the derivative minus the force: the graph has both, and need not be differentiated.
        return self.ev * (energy[0] + self.shift - (force[0] * (pos - still)).sum())

    def watch(self, order: Tensor, lengths: Tensor) -> None:
        """Warn, once, of lengths (pairs,), Å, outside the domain."""
        beyond = torch.maximum(lengths / self.longest, self.shortest / lengths)
        worst = int(beyond.argmax())
        if bool(beyond[worst] > 1 + self.tolerance):
            self.watching = False
            first, second = int(order[self.first[worst]]), int(order[self.second[worst]])
            warnings.warn(
                f"the force field extrapolates: atoms {first} and {second} are {rounded(lengths[worst])} Å apart, "
                f"in the frames that were learned from {rounded(self.shortest[worst])} to "
                f"{rounded(self.longest[worst])} Å; it says so once",
                stacklevel=2,
            )


def rounded(length: Tensor) -> str:
    """A length () with two decimals, as a message says it: TorchScript's strings have no formats."""
    hundredths = int(torch.round(100 * length))
    return f"{hundredths // 100}.{hundredths // 10 % 10}{hundredths % 10}"
