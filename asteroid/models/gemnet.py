"""GemNet-T and GemNet-Q, dense: one molecule, many geometries.

Messages live on the list of edges (`neighbours.Edges`), where the maps of features cost most; sums over triplets
c → a ← b and quadruplets c → a − b ← d run on the dense table of pairs, as batched matrix products.

Letters of axes: f frames, a b c d atoms (a: the target of message c → a), l degree, m order, n radial function.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from asteroid.models import basis
from asteroid.models.layers import Scale, activation, check_sizes, concatenate, linear, orthogonal, residuals
from asteroid.models.neighbours import Edges, distances, edge_list, most_edges, others


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

    def __post_init__(self):
        check_sizes(self, may_be_zero=("before_skip", "after_skip", "after_concat", "atom_layers"))


@dataclass(frozen=True)
class GemNetQConfig(GemNetTConfig):
    """Size of a GemNet-Q; the defaults are the published ones."""

    quadruplet: int = 32  # width of messages in the sum over quadruplets
    spherical: int = 32  # of projected functions of distance, angle and dihedral
    quadruplet_out: int = 32  # of the quadruplets' sum after the bilinear layer
    interaction_cutoff: float = 10.0  # Å, of the middle pair of a quadruplet

    def __post_init__(self):
        super().__post_init__()
        if self.degrees < 2:
            raise ValueError(f"degrees is {self.degrees}; GemNet-Q needs 2 or more, since degree 0 knows no dihedral")


# Small enough to be trained on two cores.
SMALL = {"blocks": 2, "atom": 64, "edge": 64, "triplet": 32, "triplet_out": 32}
SMALL_QUADRUPLETS = {"quadruplet": 16, "spherical": 16, "quadruplet_out": 16}


@dataclass(frozen=True)
class Geometry:
    """What all blocks share."""

    edges: Edges
    radial: Tensor  # (edges, radial), for triplets
    radial_atom: Tensor  # (edges, radial), for atom updates
    circular: Tensor  # (f·a, c·circular, b): c → a ← b
    quadruplets: "Quadruplets | None"


@dataclass(frozen=True)
class Quadruplets:
    """Basis functions of quadruplets c → a − b ← d.

    The spherical harmonics of (angle cab, dihedral cabd) are split into those with the sine of a multiple of the
    dihedral and those with its cosine.
    """

    radial: Tensor  # (edges, radial)
    circular: Tensor  # (f, a, b, d, circular): radial in |ab|, angle abd
    azimuth: Tensor  # (f·a·b, 2·degrees − 1 + m·c, d): by m, of d's own azimuth; then by m > 0, sines of the dihedral
    cosines: list[Tensor]  # by order m, (f·a, c·(degrees − m), b·(1 or 2)): of the angle and c's own azimuth
    polar: list[Tensor]  # by order m > 0, (f·a·c, degrees − m, b): of the angle, for the sines
    same: Tensor  # (f·a·c, harmonics, b): minus what the cosines count for d = c
    spherical: Tensor  # (edges, spherical, harmonics): radial in |ac|


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
        self.quadruplets = QuadrupletBasis(config) if isinstance(config, GemNetQConfig) else None

    def forward(self, z: Tensor, pos: Tensor, capacity: int | None = None) -> Tensor:
        """Energy of each frame.

        Args:
            z: (atoms,) atomic numbers.
            pos: (frames, atoms, 3), Å.
            capacity: rows per frame in the list of edges, see `neighbours.edge_list`.

        Returns:
            (frames,), kcal/mol, up to the constant shift that a ForceField holds.
        """
        config = self.config
        distance, direction = distances(pos)
        edges = edge_list(distance, config.cutoff, capacity)
        length = edges.to_edges(distance.reshape(-1, 1)).squeeze(-1)
        radial = basis.radial_bessel(length, self.frequencies, config.cutoff, config.envelope)  # (edges, n)
        geometry = self.geometry(edges, radial, distance, direction)

        h = self.embedding(z - 1).expand(len(pos), -1, -1)  # (f, a, atom)
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
            radial=self.radial_triplet(radial),
            radial_atom=self.radial_atom(radial),
            circular=(projected @ angular).reshape(frames * atoms, -1, atoms),
            quadruplets=self.quadruplets
            and self.quadruplets(radial, edges.to_edges(bessel.flatten(1)), distance, direction, cosine),
        )

    def static_shapes(self, pos: Tensor) -> dict[str, int]:
        """Arguments of `forward` that give all batches of frames from pos (frames, atoms, 3) the same shapes."""
        return {"capacity": most_edges(pos, self.config.cutoff)}

    def fit_scales(self, z: Tensor, pos: Tensor) -> None:
        """Set every scaling factor so that its layer's output has its input's variance on pos (frames, atoms, 3).

        The layers are met in their order, each after those before it were scaled, so one pass suffices.
        """
        scales = [module for module in self.modules() if isinstance(module, Scale)]
        for scale in scales:
            scale.fitting = True
        try:
            with torch.no_grad():
                self(z, pos)
        finally:
            for scale in scales:
                scale.fitting = False


class QuadrupletBasis(nn.Module):
    """Basis functions of quadruplets c → a − b ← d.

    In a frame whose z axis points from a to b, a spherical harmonic of (angle cab, dihedral cabd) is a polynomial in
    c's coordinates times a function of d's azimuth, and cos m(φ_c − φ_d) = cos mφ_c cos mφ_d + sin mφ_c sin mφ_d: the
    sum over d can be taken before c is known, for all c at once. The published dihedral lies between 0 and π, however,
    so that its sines lose their sign, and only the cosines separate; the sines need a table of quadruplets, but of
    their orders alone: the polynomials of all degrees come in after the sum over d.
    """

    def __init__(self, config: GemNetQConfig):
        super().__init__()
        self.config = config
        self.radial = linear(config.frequencies, config.radial)
        self.circular = orthogonal(config.degrees * config.frequencies, config.circular)  # (l·n, circular)
        self.spherical = orthogonal(config.degrees**2, config.frequencies, config.spherical)  # (harmonic, n, spherical)
        # Degrees of the harmonics, in the order of the sums: cosines by m, then sines by m, each by l.
        self.degree = [
            degree for first in (0, 1) for m in range(first, config.degrees) for degree in range(m, config.degrees)
        ]

    def forward(
        self, radial: Tensor, bessel: Tensor, distance: Tensor, direction: Tensor, cosine: Tensor
    ) -> Quadruplets:
        config, (_, atoms, _) = self.config, distance.shape
        different = others(atoms, distance)[..., 0]  # (atoms, atoms)

        # Angle abd at b, with the length of ab, which may be beyond the cutoff of messages.
        middle = basis.spherical_bessel(
            distance, config.degrees, config.frequencies, config.interaction_cutoff, config.envelope
        )  # (f, a, b, l, n)
        weight = self.circular.view(config.degrees, config.frequencies, -1)
        projected = torch.einsum("fabln,lni->fabli", middle, weight) * different[..., None, None]
        angular = torch.stack(basis.legendre(cosine.transpose(1, 2), config.degrees), dim=-1)  # (f, a, b, d, l)
        circular = (angular * different[:, None, :, None]) @ projected  # without d = a

        # Coordinates of directions ac and bd in frames whose z axis is ab, as complex numbers x + iy.
        first, second = basis.azimuthal_axes(direction)  # (f, a, b, 3)
        x_c, y_c = first @ direction.mT, second @ direction.mT  # (f, a, b, c)
        x_d = (first.transpose(1, 2) @ direction.mT).transpose(1, 2)  # (f, a, b, d)
        y_d = (second.transpose(1, 2) @ direction.mT).transpose(1, 2)
        length = (x_d.square() + y_d.square() + 1e-12).sqrt()  # collinear atoms a, b, d have no azimuth
        re_c, im_c = basis.powers(x_c, y_c, config.degrees)  # by m, (f, a, b, c)
        re_d, im_d = basis.powers(x_d / length, y_d / length, config.degrees)  # by m, (f, a, b, d)

        # sin m(φ_c − φ_d) = sin mφ_c cos mφ_d − cos mφ_c sin mφ_d, all of which share the sign of the first one.
        of_c = torch.stack([torch.stack(im_c[1:], dim=3), -torch.stack(re_c[1:], dim=3)], dim=-1)
        of_d = torch.stack([torch.stack(re_d[1:], dim=3), torch.stack(im_d[1:], dim=3)], dim=-2)
        sines = of_c @ of_d  # (f, a, b, m, c, d)
        sines = sines * (sines.detach()[:, :, :, :1].sign() * different)  # without d = c

        polar = [  # by m, (f, a, c, l, b), without b = c
            torch.stack(order, dim=3) * different[:, None]
            for order in basis.legendre_derivatives(cosine, config.degrees)
        ]
        azimuth = re_d[:1] + [part for parts in zip(re_d[1:], im_d[1:], strict=True) for part in parts]
        azimuth = concatenate([torch.stack(azimuth, dim=3), sines.flatten(3, 4)], dim=3)
        cosines = polar[:1] + [
            (order.unsqueeze(-1) * torch.stack([re.mT, im.mT], dim=-1).unsqueeze(3)).flatten(4)
            for order, re, im in zip(polar[1:], re_c[1:], im_c[1:], strict=True)
        ]
        same = concatenate(  # cos m(φ_c − φ_d) of d = c
            [-order * (re_c[m] * re_d[m] + im_c[m] * im_d[m]).mT.unsqueeze(3) for m, order in enumerate(polar)], dim=3
        )
        bessel = bessel.view(-1, config.degrees, config.frequencies)[:, self.degree]  # (edges, harmonics, n)
        return Quadruplets(
            radial=self.radial(radial),
            circular=circular,
            azimuth=azimuth.flatten(0, 2),
            cosines=[order.flatten(2, 3).flatten(0, 1) for order in cosines],
            polar=[order.flatten(0, 2) for order in polar[1:]],
            same=same.flatten(0, 2),
            spherical=torch.einsum("pkn,kni->pik", bessel, self.spherical),
        )


class Block(nn.Module):
    """Interaction block (Gasteiger et al. 2021, figure 2)."""

    def __init__(self, config: GemNetTConfig):
        super().__init__()
        self.parts = 3 if isinstance(config, GemNetQConfig) else 2
        # The maps of the skip, the triplets and the quadruplets act on the same messages: one product.
        self.inputs = linear(config.edge, config.edge, self.parts)
        self.triplets = Triplets(config)
        if self.parts == 3:
            self.quadruplets = QuadrupletSum(config)
        self.before_skip = residuals(config.edge, config.before_skip)
        self.after_skip = residuals(config.edge, config.after_skip)
        self.update = AtomSum(config)
        self.combine = Combine(config.atom, config.edge, config.edge)
        self.after_concat = residuals(config.edge, config.after_concat)

    def forward(self, h: Tensor, m: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor]:
        """Atom features (frames, atoms, atom) and messages (edges, edge) after the block."""
        skip, *inputs = activation(self.inputs(m)).chunk(self.parts, dim=-1)
        x = skip + self.triplets(inputs[0], geometry)
        if self.parts == 3:
            x = x + self.quadruplets(inputs[1], geometry)
        m = self.after_skip((m + self.before_skip(x * self.parts**-0.5)) * 2**-0.5)
        h = (h + self.update(m, geometry.radial_atom, geometry)) * 2**-0.5
        return h, (m + self.after_concat(self.combine(h, m, geometry.edges))) * 2**-0.5


class Triplets(nn.Module):
    """Two-hop message passing without dihedrals: the messages b → a, seen from every c → a."""

    def __init__(self, config: GemNetTConfig):
        super().__init__()
        self.radial = linear(config.radial, config.edge)
        self.radial_scale = Scale()
        self.down = linear(config.edge, config.triplet)
        self.bilinear = orthogonal(config.circular, config.triplet, config.triplet_out)
        self.sum_scale = Scale()
        self.up = BothDirections(config.triplet_out, config.edge)

    def forward(self, x: Tensor, geometry: Geometry) -> Tensor:
        """Messages (edges, edge)."""
        edges = geometry.edges
        x = self.radial_scale(x, x * self.radial(geometry.radial), edges.real)
        x = activation(self.down(x))
        table = edges.to_pairs(x).view(-1, edges.target.shape[-1], x.shape[1])  # (f·a, b, triplet)
        y = geometry.circular @ table  # (f·a, c·circular, triplet)
        y = edges.to_edges(y.view(len(edges.edge), -1) @ self.bilinear.flatten(0, 1))  # (edges, triplet_out)
        return self.up(self.sum_scale(x, y, edges.real), edges)


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
        self.up = BothDirections(config.quadruplet_out, config.edge)

    def forward(self, x: Tensor, geometry: Geometry) -> Tensor:
        """Messages (edges, edge)."""
        basis, edges, (frames, _, atoms) = geometry.quadruplets, geometry.edges, geometry.edges.target.shape
        x = self.radial_scale(x, x * self.radial(basis.radial), edges.real)
        x = activation(self.down(x))
        table = edges.to_pairs(x).view(frames, 1, atoms, atoms, -1)  # (f, 1, b, d, quadruplet)
        x = self.circular_scale(table.expand(-1, atoms, -1, -1, -1), table * self.circular(basis.circular))
        # The sum over d, then over b, order by order: of the cosines for all c at once, and with what counts d = c.
        orders = [1] + [2] * (self.degrees - 1) + [atoms] * (self.degrees - 1)
        sums = (basis.azimuth @ x.flatten(0, 2)).split(orders, dim=1)  # (f·a·b, 1 or 2 or c, quadruplet)
        cosines = [
            (order @ of_b.reshape(frames * atoms, -1, x.shape[-1])).view(frames * atoms**2, -1, x.shape[-1])
            for order, of_b in zip(basis.cosines, sums[: self.degrees], strict=True)
        ]
        sines = [
            order @ of_b.view(frames * atoms, atoms, atoms, -1).transpose(1, 2).flatten(0, 1)
            for order, of_b in zip(basis.polar, sums[self.degrees :], strict=True)
        ]
        same = basis.same @ x.transpose(2, 3).flatten(0, 2)  # (f·a·c, harmonics, quadruplet): x of d = c
        y = concatenate([concatenate(cosines, dim=1) + same, *sines], dim=1)
        y = edges.to_edges(y.flatten(1)).view(len(edges.pair), -1, x.shape[-1])  # (edges, harmonics, quadruplet)
        y = (basis.spherical @ y).flatten(1) @ self.bilinear.flatten(0, 1)  # (edges, quadruplet_out)
        return self.up(self.sum_scale(x, y), edges)


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
        total = geometry.edges.sum_at_targets(m * self.radial(radial))
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

    def forward(self, h: Tensor, m: Tensor, edges: Edges) -> Tensor:
        """(edges, out) from h (frames, atoms, atom) and m (edges, edge)."""
        # Split in three, two parts of the product run once per atom instead of once per edge.
        of_c, of_a, of_edge = self.weight.split([h.shape[-1], h.shape[-1], m.shape[-1]])
        return activation(edges.of_atoms(target=h @ of_a, source=h @ of_c) + m @ of_edge)


class BothDirections(nn.Module):
    """Messages c → a from what was gathered for c → a and, by a map of its own, for a → c."""

    def __init__(self, inputs: int, out: int):
        super().__init__()
        self.forth, self.back = linear(inputs, out), linear(inputs, out)

    def forward(self, x: Tensor, edges: Edges) -> Tensor:
        return (activation(self.forth(x)) + activation(self.back(edges.reversed(x)))) * 2**-0.5
