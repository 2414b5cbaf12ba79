"""GemNet-T and GemNet-Q, dense: one molecule, many geometries.

Messages live on the list of edges (`neighbours.Edges`), where the maps of features cost most; sums over triplets
c → a ← b and quadruplets c → a − b ← d run on the dense table of pairs, as batched matrix products.

Letters of axes: f frames, a b c d atoms (a: the target of message c → a), l degree, m order, n radial function.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from asteroid.models import basis
from asteroid.models.neighbours import Edges, distances, edge_list, most_edges, others

INV_SQRT_2, INV_SQRT_3 = 2**-0.5, 3**-0.5


@dataclass(frozen=True)
class GemNetTConfig:
    """Size of a GemNet-T; the defaults are the published ones."""

    blocks: int = 4
    atom: int = 128  # width of atom features
    edge: int = 128  # of messages
    triplet: int = 64  # of messages in the sum over triplets
    radial: int = 16  # of projected radial functions
    circular: int = 16  # of projected functions of distance and angle
    triplet_out: int = 64  # of the triplets' sum after the bilinear layer
    degrees: int = 7  # spherical functions: l = 0 ... degrees − 1
    frequencies: int = 6  # radial functions
    before_skip: int = 1  # numbers of residual layers
    after_skip: int = 1
    after_concat: int = 1
    atom_layers: int = 2
    cutoff: float = 5.0  # Å, of messages
    envelope: int = 5  # exponent of the envelope
    elements: int = 94  # atomic numbers below this have an embedding
    energy_scale: float = 1.0  # kcal/mol in one unit of the network's output


@dataclass(frozen=True)
class GemNetQConfig(GemNetTConfig):
    """Size of a GemNet-Q; the defaults are the published ones."""

    quadruplet: int = 32  # width of messages in the sum over quadruplets
    spherical: int = 32  # of projected functions of distance, angle and dihedral
    quadruplet_out: int = 32  # of the quadruplets' sum after the bilinear layer
    interaction_cutoff: float = 10.0  # Å, of the middle pair of a quadruplet


class Geometry(NamedTuple):
    """What all blocks share."""

    edges: Edges
    frames: int
    atoms: int
    radial: Tensor  # (edges, radial), for triplets
    radial_atom: Tensor  # (edges, radial), for atom updates
    circular: Tensor  # (f·a, c·circular, b): c → a ← b
    quadruplets: "Quadruplets | None"


class Quadruplets(NamedTuple):
    """Basis functions of quadruplets c → a − b ← d."""

    radial: Tensor  # (edges, radial)
    circular: Tensor  # (f, a, b, d, circular): radial in |ab|, angle abd
    azimuth: Tensor  # (f·a·b, c·orders, d): cosines and sines of multiples of the dihedral cabd
    polar: list[Tensor]  # by order m, (f·a·c, degrees − m, b): angle cab
    spherical: Tensor  # (f·a·c, spherical, l and m): radial in |ac|


class GemNet(nn.Module):
    """Energy of each geometry of one molecule, invariant to rotation, reflection, translation and atom order.

    Source:
        Gasteiger, Becker, Günnemann, "GemNet: Universal Directional Graph Neural Networks for Molecules"
        (NeurIPS 2021), section 5 and figure 2.
    """

    def __init__(self, config: GemNetTConfig):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.elements - 1, config.atom)  # no atom has number 0
        nn.init.uniform_(self.embedding.weight, -math.sqrt(3), math.sqrt(3))
        self.frequencies = nn.Parameter(math.pi * torch.arange(1, config.frequencies + 1, dtype=torch.float32))
        self.radial_triplet = linear(config.frequencies, config.radial)
        self.radial_atom = linear(config.frequencies, config.radial)
        self.radial_out = linear(config.frequencies, config.radial)
        self.circular = orthogonal(config.degrees, config.frequencies, config.circular)  # (l, n, circular)
        self.embed_edges = Combine(config.atom, config.frequencies, config.edge)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))
        self.outputs = nn.ModuleList(Output(config) for _ in range(config.blocks + 1))
        if isinstance(config, GemNetQConfig):
            self.quadruplets = QuadrupletBasis(config)

    def forward(self, z: Tensor, pos: Tensor, capacity: int | None = None) -> Tensor:
        """Energy of each frame.

        Args:
            z: (atoms,) atomic numbers.
            pos: (frames, atoms, 3), Å.
            capacity: rows per frame in the list of edges, see `neighbours.edge_list`.

        Returns:
            (frames,), kcal/mol, up to the constant shift that a ForceField holds.
        """
        config, frames, atoms = self.config, len(pos), len(z)
        distance, direction = distances(pos)
        edges = edge_list(distance, config.cutoff, capacity)
        length = edges.to_edges(distance.reshape(-1, 1)).squeeze(-1)
        radial = basis.radial_bessel(length, self.frequencies, config.cutoff, config.envelope)  # (edges, n)
        geometry = self.geometry(edges, radial, distance, direction)

        h = self.embedding(z - 1).expand(frames, -1, -1)  # (f, a, atom)
        m = self.embed_edges(h, radial, edges)  # (edges, edge)
        radial_out = self.radial_out(radial)
        energy = self.outputs[0](m, radial_out, geometry)
        for block, output in zip(self.blocks, self.outputs[1:], strict=True):
            h, m = block(h, m, geometry)
            energy = energy + output(m, radial_out, geometry)
        return config.energy_scale * energy

    def geometry(self, edges: Edges, radial: Tensor, distance: Tensor, direction: Tensor) -> Geometry:
        """Basis functions of all edges, triplets and quadruplets, projected as far as the blocks share it."""
        config, (frames, atoms, _) = self.config, distance.shape
        bessel = basis.spherical_bessel(distance, config.degrees, config.frequencies, config.cutoff, config.envelope)
        bessel = bessel.flatten(0, 2)  # (f·a·c, l, n)
        cosine = direction @ direction.mT  # (f, a, c, b)
        angular = torch.stack(basis.legendre(cosine, config.degrees), dim=-2)  # (f, a, c, l, b)
        angular = (angular * others(atoms, angular).mT).flatten(0, 2)  # without b = c; (f·a·c, l, b)
        projected = torch.einsum("pln,lni->pil", bessel, self.circular)
        return Geometry(
            edges=edges,
            frames=frames,
            atoms=atoms,
            radial=self.radial_triplet(radial),
            radial_atom=self.radial_atom(radial),
            circular=(projected @ angular).reshape(frames * atoms, -1, atoms),
            quadruplets=(
                self.quadruplets(radial, bessel, distance, direction, cosine)
                if isinstance(config, GemNetQConfig)
                else None
            ),
        )

    def static_shapes(self, pos: Tensor) -> dict[str, int]:
        """Arguments of `forward` that make its shapes the same for all batches of frames from pos (frames, atoms, 3)."""
        return {"capacity": most_edges(pos, self.config.cutoff)}

    @contextmanager
    def fitting_scales(self) -> Iterator[None]:
        """Every forward pass meanwhile sets the scaling factors anew, each from the values that it meets."""
        scales = [module for module in self.modules() if isinstance(module, Scale)]
        for scale in scales:
            scale.fitting = True
        try:
            yield
        finally:
            for scale in scales:
                scale.fitting = False


class QuadrupletBasis(nn.Module):
    """Basis functions of quadruplets c → a − b ← d.

    A spherical harmonic of (angle cab, dihedral cabd) is a polynomial in c's coordinates in a frame whose z axis points
    from a to b; that and its azimuth's difference to d's are all there is of d. So the sum over d comes first, with
    kernels of the azimuth alone, 2·degrees − 1 of them, and only then the one over b with all degrees² harmonics.
    """

    def __init__(self, config: GemNetQConfig):
        super().__init__()
        self.config = config
        orders = [m for m in range(config.degrees) for _ in range(1 if m == 0 else 2) for _ in range(m, config.degrees)]
        # The harmonics' degrees, ordered as the sums below leave them: by m, first cosine then sine, then by l.
        self.degree = [
            degree
            for m in range(config.degrees)
            for _ in range(1 if m == 0 else 2)
            for degree in range(m, config.degrees)
        ]
        assert len(orders) == config.degrees**2
        self.radial = linear(config.frequencies, config.radial)
        self.circular = orthogonal(config.degrees * config.frequencies, config.circular)  # (l·n, circular)
        self.spherical = orthogonal(config.degrees**2, config.frequencies, config.spherical)  # (l and m, n, spherical)

    def forward(
        self, radial: Tensor, bessel: Tensor, distance: Tensor, direction: Tensor, cosine: Tensor
    ) -> Quadruplets:
        config, (frames, atoms, _) = self.config, distance.shape
        different = others(atoms, distance)[..., 0]  # (atoms, atoms)

        # Angle abd at b, with the length of ab, which may be beyond the cutoff of messages.
        middle = basis.spherical_bessel(
            distance, config.degrees, config.frequencies, config.interaction_cutoff, config.envelope
        )  # (f, a, b, l, n)
        weight = self.circular.view(config.degrees, config.frequencies, -1)
        projected = torch.einsum("fabln,lni->fabli", middle, weight) * different[..., None, None]
        angular = torch.stack(basis.legendre(cosine.transpose(1, 2), config.degrees), dim=-1)  # (f, a, b, d, l)
        circular = (angular @ projected) * different[:, None, :, None]  # without d = a

        # Coordinates of directions ac and bd in frames whose z axis is ab.
        first, second = basis.azimuthal_axes(direction)  # (f, a, b, 3)
        x_c, y_c = first @ direction.mT, second @ direction.mT  # (f, a, b, c)
        swapped = direction.transpose(1, 2)  # directions at b, which the axis of the batch below is
        x_d = (first.transpose(1, 2) @ direction.mT).transpose(1, 2)  # (f, a, b, d)
        y_d = (second.transpose(1, 2) @ direction.mT).transpose(1, 2)
        del swapped
        length = (x_d.square() + y_d.square() + 1e-12).sqrt()
        re_c, im_c = basis.powers(x_c, y_c, config.degrees)  # (f, a, b, c, m)
        re_d, im_d = basis.powers(x_d / length, y_d / length, config.degrees)  # (f, a, b, d, m)
        re_c, im_c = re_c.unsqueeze(-1), im_c.unsqueeze(-1)  # (f, a, b, c, m, 1)
        re_d, im_d = re_d.mT.unsqueeze(3), im_d.mT.unsqueeze(3)  # (f, a, b, 1, m, d)
        cosines = re_c * re_d + im_c * im_d  # (f, a, b, c, m, d)
        sines = (im_c * re_d - re_c * im_d)[..., 1:, :]
        # The published dihedral is between 0 and π, so its sine has no sign.
        sines = sines * sines[..., :1, :].detach().sign()
        azimuth = torch.cat([cosines, sines], dim=4) * different[:, None, :]  # without c = d

        polar = basis.legendre_derivatives(cosine, config.degrees)  # by m, (f, a, c, b, l)
        polar = [(order * different[..., None]).mT.flatten(0, 2) for order in polar]  # without b = c
        spherical = torch.einsum("pkn,kni->pik", bessel[:, self.degree], self.spherical)
        return Quadruplets(self.radial(radial), circular, azimuth.flatten(3, 4).flatten(0, 2), polar, spherical)


class Block(nn.Module):
    """Interaction block (Gasteiger et al. 2021, figure 2)."""

    def __init__(self, config: GemNetTConfig):
        super().__init__()
        self.with_quadruplets = isinstance(config, GemNetQConfig)
        # The maps of the skip, the triplets and the quadruplets act on the same messages: one product.
        self.inputs = linear(config.edge, config.edge, parts=3 if self.with_quadruplets else 2)
        self.triplets = Triplets(config)
        if self.with_quadruplets:
            self.quadruplets = QuadrupletSum(config)
        self.before_skip = residuals(config.edge, config.before_skip)
        self.after_skip = residuals(config.edge, config.after_skip)
        self.update = AtomSum(config)
        self.combine = Combine(config.atom, config.edge, config.edge)
        self.after_concat = residuals(config.edge, config.after_concat)

    def forward(self, h: Tensor, m: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor]:
        """Atom features (frames, atoms, atom) and messages (edges, edge) after the block."""
        skip, *inputs = activation(self.inputs(m)).chunk(3 if self.with_quadruplets else 2, dim=-1)
        x = skip + self.triplets(inputs[0], geometry)
        if self.with_quadruplets:
            x = (x + self.quadruplets(inputs[1], geometry)) * INV_SQRT_3
        else:
            x = x * INV_SQRT_2
        m = self.after_skip((m + self.before_skip(x)) * INV_SQRT_2)
        h = (h + self.update(m, geometry.radial_atom, geometry)) * INV_SQRT_2
        return h, (m + self.after_concat(self.combine(h, m, geometry.edges))) * INV_SQRT_2


class Triplets(nn.Module):
    """Two-hop message passing without dihedrals: the messages b → a, seen from every c → a."""

    def __init__(self, config: GemNetTConfig):
        super().__init__()
        self.radial = linear(config.radial, config.edge)
        self.radial_scale = Scale()
        self.down = linear(config.edge, config.triplet)
        self.bilinear = orthogonal(config.circular, config.triplet, config.triplet_out)
        self.sum_scale = Scale()
        self.up = linear(config.triplet_out, config.edge, parts=2)

    def forward(self, x: Tensor, geometry: Geometry) -> Tensor:
        """Messages (edges, edge)."""
        edges, atoms = geometry.edges, geometry.atoms
        x = self.radial_scale(x, x * self.radial(geometry.radial), edges.real)
        x = activation(self.down(x))
        table = edges.to_pairs(x).view(-1, atoms, x.shape[1])  # (f·a, b, triplet)
        y = geometry.circular @ table  # (f·a, c·circular, triplet)
        y = edges.to_edges(y.view(len(edges.edge), -1)) @ self.bilinear.flatten(0, 1)  # (edges, triplet_out)
        return both_directions(self.up, self.sum_scale(x, y, edges.real), edges)


class QuadrupletSum(nn.Module):
    """Two-hop message passing with dihedrals: the messages d → b of b near a, seen from every c → a."""

    def __init__(self, config: GemNetQConfig):
        super().__init__()
        self.degrees = config.degrees
        self.radial = linear(config.radial, config.edge)
        self.radial_scale = Scale()
        self.down = linear(config.edge, config.quadruplet)
        self.circular = linear(config.circular, config.quadruplet)
        self.circular_scale = Scale()
        self.bilinear = orthogonal(config.spherical, config.quadruplet, config.quadruplet_out)
        self.sum_scale = Scale()
        self.up = linear(config.quadruplet_out, config.edge, parts=2)

    def forward(self, x: Tensor, geometry: Geometry) -> Tensor:
        """Messages (edges, edge)."""
        basis, edges, frames, atoms = geometry.quadruplets, geometry.edges, geometry.frames, geometry.atoms
        x = self.radial_scale(x, x * self.radial(basis.radial), edges.real)
        x = activation(self.down(x))
        table = edges.to_pairs(x).view(frames, 1, atoms, atoms, -1)  # (f, 1, b, d, quadruplet)
        x = self.circular_scale(table.expand(-1, atoms, -1, -1, -1), table * self.circular(basis.circular))
        # Sum over d, then over b, order by order.
        y = basis.azimuth @ x.flatten(0, 2)  # (f·a·b, c·orders, quadruplet)
        y = y.view(frames, atoms, atoms, atoms, 2 * self.degrees - 1, -1).transpose(2, 3)  # (f, a, c, b, order, ...)
        parts = []
        for m, polar in enumerate(basis.polar):
            for order in (m,) if m == 0 else (m, self.degrees - 1 + m):
                parts.append(polar @ y[..., order, :].flatten(0, 2))  # (f·a·c, degrees − m, quadruplet)
        y = basis.spherical @ torch.cat(parts, dim=1)  # (f·a·c, spherical, quadruplet)
        y = edges.to_edges(y.flatten(1)) @ self.bilinear.flatten(0, 1)  # (edges, quadruplet_out)
        return both_directions(self.up, self.sum_scale(x, y, edges.real), edges)


class AtomSum(nn.Module):
    """Messages to an atom, each times a function of its length, added up and mapped to atom features."""

    def __init__(self, config: GemNetTConfig):
        super().__init__()
        self.radial = linear(config.radial, config.edge)
        self.scale = Scale()
        self.first = linear(config.edge, config.atom)
        self.layers = residuals(config.atom, config.atom_layers)

    def forward(self, m: Tensor, radial: Tensor, geometry: Geometry) -> Tensor:
        """Atom features (frames, atoms, atom)."""
        table = geometry.edges.to_pairs(m * self.radial(radial))
        total = table.view(geometry.frames, geometry.atoms, geometry.atoms, -1).sum(dim=2)
        return self.layers(activation(self.first(self.scale(m, total, geometry.edges.real))))


class Output(nn.Module):
    """Energy of the frames from their messages."""

    def __init__(self, config: GemNetTConfig):
        super().__init__()
        self.atoms = AtomSum(config)
        self.energy = linear(config.atom, 1)

    def forward(self, m: Tensor, radial: Tensor, geometry: Geometry) -> Tensor:
        return self.energy(self.atoms(m, radial, geometry)).sum(dim=(1, 2))


class Combine(nn.Module):
    """Edge features from those of both atoms and of the edge itself: act(W [h_c, h_a, m_ca])."""

    def __init__(self, atom: int, edge: int, out: int):
        super().__init__()
        self.weight = orthogonal(2 * atom + edge, out)
        self.atom = atom

    def forward(self, h: Tensor, m: Tensor, edges: Edges) -> Tensor:
        """(edges, out) from h (frames, atoms, atom) and m (edges, edge)."""
        # Split in three, two parts of the product run once per atom instead of once per edge.
        of_c, of_a, of_edge = self.weight.split([self.atom, self.atom, len(self.weight) - 2 * self.atom])
        of_atoms = (h @ of_a)[:, :, None] + (h @ of_c)[:, None]
        return activation(edges.to_edges(of_atoms.flatten(0, 2)) + m @ of_edge)


class Residual(nn.Module):
    """(x + act(W₂ act(W₁ x))) / √2."""

    def __init__(self, width: int):
        super().__init__()
        self.first, self.second = linear(width, width), linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return (x + activation(self.second(activation(self.first(x))))) * INV_SQRT_2


class Scale(nn.Module):
    """A constant that gives a layer's output the variance of its input (Gasteiger et al. 2021, section 6)."""

    def __init__(self):
        super().__init__()
        self.register_buffer("factor", torch.ones(()))
        self.fitting = False

    def forward(self, reference: Tensor, value: Tensor, real: Tensor | None = None) -> Tensor:
        if self.fitting:
            self.factor.copy_((variance(reference, real) / variance(value, real)).sqrt())
        return value * self.factor


def variance(x: Tensor, real: Tensor | None = None) -> Tensor:
    x = x.detach().flatten(0, -2)
    return x[real].var(dim=0).mean() if real is not None and len(real) == len(x) else x.var(dim=0).mean()


def activation(x: Tensor) -> Tensor:
    """SiLU / 0.6, which keeps the variance of a normal variable nearly at 1."""
    # Spelt out: the higher derivatives then share one sigmoid, where PyTorch's own take it anew.
    return x * torch.sigmoid(x) * (1 / 0.6)


def both_directions(up: nn.Linear, x: Tensor, edges: Edges) -> Tensor:
    """Messages c → a from what was gathered for c → a and, by maps of their own, for a → c."""
    forward, backward = activation(up(x)).chunk(2, dim=-1)
    return (forward + edges.reversed(backward)) * INV_SQRT_2


def residuals(width: int, layers: int) -> nn.Sequential:
    return nn.Sequential(*(Residual(width) for _ in range(layers)))


def linear(inputs: int, outputs: int, parts: int = 1) -> nn.Linear:
    """`parts` linear maps of the same input without constants, their outputs one after another."""
    layer = nn.Linear(inputs, parts * outputs, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.cat([orthogonal(inputs, outputs).T for _ in range(parts)]))
    return layer


def orthogonal(*shape: int) -> nn.Parameter:
    """Weights (..., outputs) of orthogonal directions, whose variance over all inputs is 1 / number of inputs.

    Source:
        Gasteiger et al. 2021, section 6.
    """
    weight = torch.empty(shape)
    nn.init.orthogonal_(weight)
    inputs = tuple(range(len(shape) - 1))
    variance, mean = torch.var_mean(weight, dim=inputs, keepdim=True, correction=1)
    if math.prod(shape[:-1]) > 1:
        weight = (weight - mean) / (variance + 1e-6).sqrt()
    return nn.Parameter(weight * math.prod(shape[:-1]) ** -0.5)
