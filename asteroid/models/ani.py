"""TorchANI's networks as a model of ours: `models.build("ani")`.

Symmetry functions and networks are TorchANI's own, in the sizes of ANI-1x and ANI-1ccx, imported when such a model is
built. Its list of neighbours differs from batch to batch, so that a training step cannot be traced and compiled.

Source:
    Smith et al., Chem. Sci. 8, 3192 (2017); Smith et al., Nature Communications 10, 2903 (2019).
"""

import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

from torch import Tensor, nn

from asteroid import units
from asteroid.models.layers import check_sizes


@dataclass(frozen=True)
class ANIConfig:
    """Size of an ANI model.

    Raises:
        ValueError: for no network.
    """

    elements: ClassVar[frozenset[int]] = frozenset({1, 6, 7, 8})

    members: int = 1  # networks, over whose energies the mean is taken; ANI-1ccx has 8

    def __post_init__(self):
        check_sizes(self)


class ANI(nn.Module):
    """Atomic networks on symmetry functions of radial distances up to 5.2 Å and angles up to 3.5 Å.

    Args:
        config: its size.

    Raises:
        ImportError: if TorchANI is not installed; the message has the command.
    """

    traceable = False

    def __init__(self, config: ANIConfig = ANIConfig()):
        super().__init__()
        self.config = config
        assembler = package().arch.Assembler()
        assembler.set_symbols(("H", "C", "N", "O"))
        assembler.set_global_cutoff_fn("cosine")
        assembler.set_aev_computer(radial="ani1x", angular="ani1x")
        assembler.set_atomic_networks(ctor="ani1x")
        assembler.set_zeros_as_self_energies()
        self.network = assembler.assemble(config.members)
        # Energies of single atoms, 10⁴ kcal/mol, would cost all digits; a force field has its own shift.
        self.network.set_enabled("energy_shifter", False)

    def forward(self, z: Tensor, pos: Tensor) -> Tensor:
        """Energies (frames,), kcal/mol, of z (atoms,) at pos (frames, atoms, 3), Å.

        Raises:
            ValueError: for an element that the model does not have.
        """
        # TorchANI takes views of the positions, which those of a file in Fortran's order do not have.
        energy = self.network((z.expand(len(pos), -1), pos.contiguous())).energies
        return energy * units.ENERGY["hartree"]


@cache
def package() -> Any:
    """TorchANI, without what it says at import of CUDA's extensions and of widgets for notebooks.

    Raises:
        ImportError: if it is not installed; the message has the command.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The extensions")
            warnings.filterwarnings("ignore", message="IProgress not found")  # of a bar for notebooks
            import torchani
            import torchani.arch
            import torchani.models
            import torchani.paths
    except ImportError as error:
        raise ImportError("TorchANI is not installed: `pip install -c constraints.txt torchani`") from error
    return torchani


MODELS = {"ani": (ANI, ANIConfig)}
