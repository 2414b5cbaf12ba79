"""Models of PyTorch Geometric as models of ours: `build("pyg:SchNet")`, and so on.

The layers are PyTorch Geometric's own, imported when such a model is built. It finds neighbours by compiled extensions
that most installations lack (pyg-lib or torch-cluster, for triplets torch-sparse); a batch of ours holds one molecule,
and its table of distances serves as well. All neighbours within the cutoff count, where PyTorch Geometric by default
keeps 32 of them, chosen by their place in the list.

The settings have the names that they have in PyTorch Geometric, lengths are in Å. Those that would give something else
than an energy up to a constant are left out (`dipole`, `readout`, `mean`, `atomref`, `derivative`). The number of
neighbours differs from batch to batch, so that a training step cannot be traced and compiled.
"""

import warnings
from dataclasses import dataclass
from functools import cache, partial
from types import FunctionType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import get_proxy_mode

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


@dataclass(frozen=True)
class DimeNetPlusPlusConfig:
    """Size of a DimeNet++; the defaults are the published ones.

    Raises:
        ValueError: for fewer than two spherical functions.
    """

    elements: ClassVar[int] = 95

    hidden_channels: int = 128
    num_blocks: int = 4
    int_emb_size: int = 64
    basis_emb_size: int = 8
    out_emb_channels: int = 256
    num_spherical: int = 7
    num_radial: int = 6
    cutoff: float = 5.0  # Å
    envelope_exponent: int = 5
    num_before_skip: int = 1
    num_after_skip: int = 2
    num_output_layers: int = 3
    output_initializer: str = "zeros"  # or glorot_orthogonal
    energy_scale: float = 1.0  # kcal/mol in one unit of the network's output

    def __post_init__(self):
        if self.num_spherical < 2:
            raise ValueError(f"num_spherical is {self.num_spherical}; DimeNet++ needs 2 or more")


@dataclass(frozen=True)
class ViSNetConfig:
    """Size of a ViSNet; the defaults are PyTorch Geometric's.

    Raises:
        ValueError: for a degree or a norm that there is not.
    """

    elements: ClassVar[int] = 100

    lmax: int = 1
    vecnorm_type: str | None = None  # or max_min
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
        # ViSNet itself would take any norm that it does not know for none.
        if self.lmax not in (1, 2) or self.vecnorm_type not in (None, "max_min"):
            raise ValueError(
                f"lmax is {self.lmax!r} and vecnorm_type {self.vecnorm_type!r}; expected 1 or 2, and None or 'max_min'"
            )


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
        return self.config.energy_scale * self.energies(z.repeat(frames), pos.reshape(-1, 3), batch).view(frames)

    def network(self, **settings: Any) -> nn.Module:
        """The network, with neighbours of ours."""
        raise NotImplementedError

    def energies(self, z: Tensor, pos: Tensor, batch: Tensor) -> Tensor:
        """Energies (frames, 1) of z (frames · atoms,), pos (frames · atoms, 3) and each atom's frame."""
        return self.net(z, pos, batch)


class SchNet(Adapter):
    """Continuous filters of the distance.

    Source:
        Schütt et al., "SchNet: A continuous-filter convolutional neural network for modeling quantum interactions"
        (NeurIPS 2017); torch_geometric.nn.models.SchNet.
    """

    def network(self, cutoff: float, **settings: Any) -> nn.Module:
        from torch_geometric.nn.models import SchNet

        graph = partial(_edges_and_distances, cutoff=cutoff)
        return SchNet(cutoff=cutoff, interaction_graph=graph, **settings)


class DimeNetPlusPlus(Adapter):
    """Directional messages, with the angle between two neighbouring ones.

    Source:
        Gasteiger et al., "Fast and Uncertainty-Aware Directional Message Passing for Non-Equilibrium Molecules" (2020);
        torch_geometric.nn.models.DimeNetPlusPlus.
    """

    def network(self, **settings: Any) -> nn.Module:
        from torch_geometric.nn.models import DimeNetPlusPlus, dimenet_utils

        # SymPy takes 20 s to write down the published number of functions: once in a process is enough.
        for name in ("bessel_basis", "real_sph_harm"):
            function = getattr(dimenet_utils, name)
            if not hasattr(function, "cache_info"):
                setattr(dimenet_utils, name, cache(function))
        return DimeNetPlusPlus(out_channels=1, **settings)

    def energies(self, z: Tensor, pos: Tensor, batch: Tensor) -> Tensor:
        forward = _with(type(self.net).forward, radius_graph=_radius_graph, triplets=_triplets)
        return forward(self.net, z, pos, batch)


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
        from torch_geometric.nn.models.visnet import VecLayerNorm

        net = ViSNet(cutoff=cutoff, max_z=self.config.elements, **settings)
        net.representation_model.distance = _EdgesAndVectors(cutoff)
        # Where it takes the lengths of vectors.
        for block in net.output_model.output_network:
            block.vec1_proj.register_forward_hook(lambda layer, inputs, output: _without_zero_vectors(output))
        if self.config.vecnorm_type is not None:
            for layer in net.modules():
                if isinstance(layer, VecLayerNorm):
                    layer.register_forward_pre_hook(lambda layer, inputs: _without_zero_vectors(*inputs))
        return net

    def energies(self, z: Tensor, pos: Tensor, batch: Tensor) -> Tensor:
        return self.net(z, pos, batch)[0]


MODELS = {
    "pyg:SchNet": (SchNet, SchNetConfig),
    "pyg:DimeNetPlusPlus": (DimeNetPlusPlus, DimeNetPlusPlusConfig),
    "pyg:ViSNet": (ViSNet, ViSNetConfig),
}


def _radius_graph(
    pos: Tensor, r: float, batch: Tensor, loop: bool = False, max_num_neighbors: int | None = None
) -> Tensor:
    """Edges (2, edges) source → target within a radius, ordered by target; PyG's function for frames of one size.

    Args:
        pos: (frames · atoms, 3), Å.
        r: Å.
        batch: (frames · atoms,) frame of each atom.
        loop: whether every atom has an edge to itself.
        max_num_neighbors: has no effect, all are kept.
    """
    if get_proxy_mode() is not None:
        # A trace would keep the number of edges of its example for all batches.
        raise NotImplementedError("models of PyTorch Geometric have another number of edges in every batch")
    frames = int(batch[-1]) + 1
    distance, _ = distances(pos.detach().view(frames, -1, 3))  # (frames, atoms, atoms)
    atoms = distance.shape[1]
    itself = torch.eye(atoms, dtype=torch.bool, device=pos.device)
    near = torch.where(itself, loop, distance < r)
    frame, target, source = near.nonzero(as_tuple=True)
    return torch.stack([source, target]) + frame * atoms


def _triplets(edges: Tensor, num_nodes: int) -> tuple[Tensor, ...]:
    """All pairs of edges k → j → i with k ≠ i; PyG's function, for edges (2, edges) in order of their targets.

    Returns:
        Targets i and sources j of the edges (edges,); i, j and k of the triplets, and their edges k → j and j → i
        (triplets,).
    """
    source, target = edges
    degree = torch.bincount(target, minlength=num_nodes)  # edges that end at an atom; they stand one after another
    count, first = degree[source], (degree.cumsum(0) - degree)[source]
    ji = torch.repeat_interleave(count)
    kj = torch.arange(len(ji), device=edges.device) - (count.cumsum(0) - count - first)[ji]
    other = source[kj] != target[ji]
    kj, ji = kj[other], ji[other]
    return target, source, target[ji], source[ji], source[kj], kj, ji


def _edges_and_distances(pos: Tensor, batch: Tensor, cutoff: float) -> tuple[Tensor, Tensor]:
    edges = _radius_graph(pos, cutoff, batch)
    return edges, (pos[edges[0]] - pos[edges[1]]).norm(dim=-1)


class _EdgesAndVectors(nn.Module):
    """Edges (2, edges), an atom's to itself among them, their lengths (edges,) and vectors (edges, 3), Å."""

    def __init__(self, cutoff: float):
        super().__init__()
        self.cutoff = cutoff

    def forward(self, pos: Tensor, batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        edges = _radius_graph(pos, self.cutoff, batch, loop=True)
        source, target = edges
        vector = pos[source] - pos[target]
        # The root has no derivative at 0, an atom's distance to itself.
        itself = (source == target).to(pos.dtype)
        length = (vector.square().sum(-1) + itself).sqrt() - itself
        return edges, length, vector.clone()  # ViSNet writes into the vectors, of which the lengths' derivatives are


def _without_zero_vectors(vectors: Tensor) -> Tensor:
    """Vectors (atoms, components, channels) with constants of hardly any length for those that are zero.

    An atom without neighbours has such. The force of their length is taken for 0, its derivative by the weights would
    come out as NaN.
    """
    return torch.where((vectors == 0).all(dim=1, keepdim=True), 1e-12, vectors)


def _with(function: FunctionType, **steps: Any) -> FunctionType:
    """A function that calls `steps` where it would call functions of its module by these names."""
    return FunctionType(
        function.__code__,
        function.__globals__ | steps,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
