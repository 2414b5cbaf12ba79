"""One backbone for two levels of theory: all weights shared but a few, which each level has for itself."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call


class TwoLevels(nn.Module):
    """Energies at an accurate and an inaccurate level; the accurate one is the backbone as it is.

    Both levels start from the same energies: they differ as far as the labels say so.

    Args:
        backbone: "egnn" or a GemNet from `models.build`.

    Raises:
        ValueError: for a backbone that lacks what the levels do not share.
    """

    def __init__(self, backbone: nn.Module):
        super().__init__()
        self.backbone = backbone
        self.config = backbone.config
        self.traceable = getattr(backbone, "traceable", True)

    def inaccurate_weights(self) -> dict[str, Tensor]:
        """By name, the backbone's parameters that are others at the inaccurate level."""
        raise NotImplementedError

    def forward(self, z: Tensor, pos: Tensor, **shapes: Any) -> Tensor:
        """Energies, kcal/mol, each level up to a constant of its own.

        Args:
            z: (atoms,) atomic numbers.
            pos: (frames, atoms, 3), Å, at the accurate level, or (pairs, 2, atoms, 3), where the first of each pair is
                at the accurate level and the second at the inaccurate one.
            shapes: of the backbone, see `models.static_shapes`.

        Returns:
            (frames,) or (pairs, 2).
        """
        if pos.ndim == 3:
            return self.backbone(z, pos, **shapes)
        accurate = self.backbone(z, pos[:, 0], **shapes)
        return torch.stack(
            [accurate, functional_call(self.backbone, self.inaccurate_weights(), (z, pos[:, 1]), shapes)], dim=1
        )


class FidelityEmbedding(TwoLevels):
    """The level is one more input: h = embedding(z) + embedding(level), zero for the accurate level."""

    def __init__(self, backbone: nn.Module):
        super().__init__(backbone)
        if not hasattr(backbone, "embedding"):
            raise ValueError(f"{type(backbone).__name__} has no embedding of atoms; take the model egnn or gemnet")
        self.level = nn.Parameter(torch.zeros(backbone.embedding.embedding_dim))

    def inaccurate_weights(self) -> dict[str, Tensor]:
        return {"embedding.weight": self.backbone.embedding.weight + self.level}


class TwoHeads(TwoLevels):
    """The last linear maps, from the features of atoms to energies, are there once for each level."""

    def __init__(self, backbone: nn.Module):
        super().__init__(backbone)
        maps = [name for name in dict(backbone.named_modules()) if name == "readout" or name.endswith(".energy")]
        self.names = [name for name, _ in backbone.named_parameters() if name.rpartition(".")[0] in maps]
        if not self.names:
            raise ValueError(f"{type(backbone).__name__} has no output that is known; take the model egnn or gemnet")
        self.head = nn.ParameterList(backbone.get_parameter(name).detach().clone() for name in self.names)

    def inaccurate_weights(self) -> dict[str, Tensor]:
        return dict(zip(self.names, self.head, strict=True))
