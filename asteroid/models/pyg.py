"""Models of PyTorch Geometric as models of ours: `build("pyg:SchNet")` and `build("pyg:ViSNet")`.

The layers are PyTorch Geometric's own, imported when such a model is built. It finds neighbours by a compiled extension
that most installations lack; a batch of ours holds one molecule, and its table of distances serves as well. All
neighbours within the cutoff count, where PyTorch Geometric by default keeps 32 of them, chosen by their place in the
list. Of its other models of energies, DimeNet and DimeNet++ call that extension inside their `forward`, where no other
list of neighbours can be given to them.

The settings have the names that they have in PyTorch Geometric, lengths are in Å. Those that would give something else
than an energy up to a constant are left out (`dipole`, `readout`, `mean`, `atomref`, `derivative`), and so is
`vecnorm_type`, whose norm has no second derivative where a vector vanishes. The number of neighbours differs from batch
to batch, so that a training step cannot be traced and compiled.
"""

import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from asteroid.models.layers import check_sizes
from asteroid.models.neighbours import distances


@dataclass(frozen=True)
class SchNetConfig:
    """Size of a SchNet; the defaults are PyTorch Geometric's."""

    elements: ClassVar[int] = 100  # atomic numbers below this have an embedding

    hidden_channels: int = 128
    num_filters: int = 128
    num_interactions: int = 6
    num_gaussians: int = 50
    cutoff: float = 10.0  # Å
    energy_scale: float = 1.0  # kcal/mol in one unit of the network's output

    def __post_init__(self):
        check_sizes(self)


@dataclass(frozen=True)
class ViSNetConfig:
    """Size of a ViSNet; the defaults are PyTorch Geometric's.

    Raises:
        ValueError: for a degree that there is not.
    """

    elements: ClassVar[int] = 100

    lmax: int = 1
    trainable_vecnorm: bool = False
    num_heads: int = 8
    num_layers: int = 6
    hidden_channels: int = 128
    num_rbf: int = 32
    trainable_rbf: bool = False
    cutoff: float = 5.0  # Å
    vertex: bool = False
    energy_scale: float = 1.0  # kcal/mol in one unit of the network's output

    def __post_init__(self):
        check_sizes(self)
        if self.lmax not in (1, 2):
            raise ValueError(f"lmax is {self.lmax}, expected 1 or 2")


class Adapter(nn.Module):
    """A network of PyTorch Geometric, which takes the atoms of all frames in one row, with our signature.

    Raises:
        ImportError: names the package that the network needs and that is not installed.
    """

    traceable = False

    def __init__(self, config: Any):
        super().__init__()
        self.config = config
        settings = {name: value for name, value in vars(config).items() if name != "energy_scale"}
        try:
            with warnings.catch_warnings():
                # Importing it compiles with torch.jit, of which torch now warns; nothing here depends on that.
                warnings.simplefilter("ignore", DeprecationWarning)
                self.net = self.network(**settings)
        except ModuleNotFoundError as error:
            package = (error.name or "torch-geometric").split(".")[0].replace("_", "-")
            raise ImportError(
                f"{type(self).__name__} of PyTorch Geometric needs {package}, which is not installed: "
                f"pip install {package}"
            ) from error

    def forward(self, z: Tensor, pos: Tensor) -> Tensor:
        """Energy of each frame.

        Args:
            z: (atoms,) atomic numbers.
            pos: (frames, atoms, 3), Å.

        Returns:
            (frames,), kcal/mol, up to the constant shift that a ForceField holds.
        """
        frames, atoms, _ = pos.shape
        batch = torch.arange(frames, device=pos.device).repeat_interleave(atoms)
        energies = self.energies(z.repeat(frames), pos.reshape(-1, 3), batch)
        return self.config.energy_scale * energies.view(frames, -1).sum(dim=1)

    def network(self, **settings: Any) -> nn.Module:
        """The network, with neighbours of ours."""
        raise NotImplementedError

    def energies(self, z: Tensor, pos: Tensor, batch: Tensor) -> Tensor:
        """Energies of frames (frames, 1), or of their atoms (frames · atoms, 1).

        Args:
            z, pos, batch: (frames · atoms,), (frames · atoms, 3) and (frames · atoms,), the last each atom's frame.
        """
        raise NotImplementedError


class SchNet(Adapter):
    """Continuous filters of the distance.

    Source:
        Schütt et al., "SchNet: A continuous-filter convolutional neural network for modeling quantum interactions"
        (NeurIPS 2017); torch_geometric.nn.models.SchNet.
    """

    def network(self, cutoff: float, **settings: Any) -> nn.Module:
        from torch_geometric.nn.models import SchNet

        def graph(pos: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
            source, target = edges = neighbours(pos, batch, cutoff)
            return edges, (pos[source] - pos[target]).norm(dim=-1)

        return SchNet(cutoff=cutoff, interaction_graph=graph, **settings)

    def energies(self, z: Tensor, pos: Tensor, batch: Tensor) -> Tensor:
        return self.net(z, pos, batch)


class ViSNet(Adapter):
    """Scalar and vector features that act on each other.

    The published network adds a learned constant to every message, so that its energy has a step where a pair of atoms
    crosses the cutoff; let the cutoff be larger than the molecule where that matters.

    Source:
        Wang et al., "Enhancing geometric representations for molecules with equivariant vector-scalar interactive
        message passing" (Nature Communications 2024); torch_geometric.nn.models.ViSNet.
    """

    def network(self, cutoff: float, **settings: Any) -> nn.Module:
        from torch_geometric.nn.models import ViSNet

        net = ViSNet(cutoff=cutoff, max_z=self.config.elements, **settings)
        net.representation_model.distance = EdgesAndVectors(cutoff)
        return net

    def energies(self, z: Tensor, pos: Tensor, batch: Tensor) -> Tensor:
        scalars, vectors = self.net.representation_model(z, pos, batch)
        # The vectors of an atom without neighbours are zero, where their length has no second derivative.
        vectors = torch.where((vectors == 0).all(dim=1, keepdim=True), 1e-12, vectors)
        return self.net.output_model.pre_reduce(scalars, vectors)


class EdgesAndVectors(nn.Module):
    """Edges (2, edges), an atom's to itself among them, their lengths (edges,) and vectors (edges, 3), Å."""

    def __init__(self, cutoff: float):
        super().__init__()
        self.cutoff = cutoff

    def forward(self, pos: Tensor, batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        source, target = edges = neighbours(pos, batch, self.cutoff, loop=True)
        vector = pos[source] - pos[target]
        # The root has no derivative at 0, an atom's distance to itself.
        itself = (source == target).to(pos.dtype)
        length = (vector.square().sum(-1) + itself).sqrt() - itself
        return edges, length, vector.clone()  # ViSNet writes into the vectors, of which the lengths' derivatives are


def neighbours(pos: Tensor, batch: Tensor, cutoff: float, loop: bool = False) -> Tensor:
    """Edges (2, edges) source → target within a cutoff.

    Args:
        pos: (frames · atoms, 3), Å.
        batch: (frames · atoms,) frame of each atom.
        cutoff: Å.
        loop: whether every atom has an edge to itself.
    """
    distance, _ = distances(pos.detach().view(int(batch[-1]) + 1, -1, 3))  # (frames, atoms, atoms)
    atoms = distance.shape[1]
    itself = torch.eye(atoms, dtype=torch.bool, device=pos.device)
    frame, target, source = torch.where(itself, loop, distance < cutoff).nonzero(as_tuple=True)
    return torch.stack([source, target]) + frame * atoms


MODELS = {"pyg:SchNet": (SchNet, SchNetConfig), "pyg:ViSNet": (ViSNet, ViSNetConfig)}
