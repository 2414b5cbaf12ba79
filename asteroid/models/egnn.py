"""E(n) equivariant graph network, dense: one molecule, many geometries."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from asteroid.models.layers import check_sizes, silu
from asteroid.models.neighbours import envelope, others


@dataclass(frozen=True)
class EGNNConfig:
    """Size of an EGNN; the defaults are the paper's (appendix A.2)."""

    layers: int = 5
    hidden: int = 128
    cutoff: float | None = None  # Å; None: every atom sees every other, as in the paper
    update_positions: bool = False  # a force field takes its force from the energy and needs no moving positions
    elements: int = 55  # atomic numbers below this have an embedding
    energy_scale: float = 1.0  # kcal/mol in one unit of the network's output
    # Initial weights of the squared distance are uniform within ±this, 1/Å². The published network starts from 0.06,
    # where a bond's stretch of 0.05 Å hardly moves an activation; with ±3 the error falls many times faster.
    distance_init: float = 3.0

    def __post_init__(self):
        check_sizes(self)


class EGNN(nn.Module):
    """Energy of each geometry of one molecule, invariant to rotation, reflection, translation and atom order.

    m_ij = φ_e(h_i, h_j, |x_i − x_j|²),  h_i ← h_i + φ_h(h_i, Σ_j m_ij),  E = Σ_i φ_out(h_i), and with
    `update_positions` x_i ← x_i + mean_j (x_i − x_j) φ_x(m_ij).

    Source:
        Satorras, Hoogeboom, Welling, "E(n) Equivariant Graph Neural Networks" (ICML 2021), Eqs. 3-6.
    """

    def __init__(self, config: EGNNConfig = EGNNConfig()):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.elements, config.hidden)
        self.layers = nn.ModuleList(EquivariantLayer(config) for _ in range(config.layers))
        self.readout = nn.Linear(config.hidden, 1)

    def forward(self, z: Tensor, pos: Tensor) -> Tensor:
        """Energy of each frame.

        Args:
            z: (atoms,) atomic numbers.
            pos: (frames, atoms, 3), Å.

        Returns:
            (frames,), kcal/mol, up to the constant shift that a ForceField holds.
        """
        h = self.embedding(z).expand(len(pos), -1, -1)  # (frames, atoms, hidden)
        for layer in self.layers:
            h, pos = layer(h, pos)
        return self.config.energy_scale * self.readout(h).sum(dim=(1, 2))


class EquivariantLayer(nn.Module):
    """One round of messages between all pairs (Satorras et al. 2021, Eqs. 3-6)."""

    def __init__(self, config: EGNNConfig):
        super().__init__()
        hidden = config.hidden
        # φ_e's first linear map acts on (h_i, h_j, d²). Split into its three parts, the first two run once per atom
        # instead of once per pair, and no concatenated pair features are ever built.
        self.edge_centre = nn.Linear(hidden, hidden)
        self.edge_neighbour = nn.Linear(hidden, hidden, bias=False)
        self.edge_distance = nn.Linear(1, hidden, bias=False)
        nn.init.uniform_(self.edge_distance.weight, -config.distance_init, config.distance_init)
        self.edge_out = nn.Linear(hidden, hidden)
        self.node_in = nn.Linear(2 * hidden, hidden)
        self.node_out = nn.Linear(hidden, hidden)
        self.cutoff = config.cutoff
        if config.update_positions:
            self.position_in = nn.Linear(hidden, hidden)
            self.position_out = nn.Linear(hidden, 1, bias=False)
            nn.init.xavier_uniform_(self.position_out.weight, gain=0.001)
        self.update_positions = config.update_positions

    def forward(self, h: Tensor, pos: Tensor) -> tuple[Tensor, Tensor]:
        """Features (frames, atoms, hidden) and positions (frames, atoms, 3) after one round."""
        offset = pos[:, :, None] - pos[:, None, :]  # (frames, atoms, atoms, 3)
        squared = offset.square().sum(-1, keepdim=True)  # (frames, atoms, atoms, 1)
        # The distance's map is written as a product, which is faster than a matrix product with a single column.
        edge = (
            self.edge_centre(h)[:, :, None]
            + self.edge_neighbour(h)[:, None, :]
            + squared * self.edge_distance.weight[:, 0]
        )
        message = silu(self.edge_out(silu(edge)))  # (frames, atoms, atoms, hidden)
        mask = others(h.shape[1], like=message)  # (atoms, atoms, 1)
        if self.cutoff is not None:
            # An atom's distance to itself is 0, where the root has no derivative; the mask takes that pair out below.
            mask = mask * envelope((squared + (1 - mask)).sqrt(), self.cutoff)
        message = message * mask
        if self.update_positions:
            step = mask * offset * self.position_out(silu(self.position_in(message)))
            pos = pos + step.sum(dim=2) / max(h.shape[1] - 1, 1)
        node = torch.cat([h, message.sum(dim=2)], dim=-1)
        return h + self.node_out(silu(self.node_in(node))), pos
