"""A model called again and again with frames of one molecule, as dynamics does."""

import warnings
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from asteroid import models
from asteroid.training import forces

TRACE_FROM_CALLS = 300  # by then as much time has passed as tracing takes

NOT_FINITE = (
    "positions hold NaN or infinite values: the simulation that made them has come apart; or the optimiser, whose line "
    "search needs a force field in double precision"
)

# A graph is made for the neighbours in a molecule that is smaller by this factor: it seldom has to be made anew.
_MARGIN = 0.9


class Evaluator:
    """Energy and force of frames of one molecule, from the model's graph once that pays.

    The graph holds for one number of frames, to which fewer are filled up, and where a model has a list of neighbours,
    for one length of it. When either does not suffice, or the number of frames is less than half, a new graph is made.
    Weights stay as they are now: a model that is trained further, or moved, needs a new evaluator.

    Args:
        model: maps z and pos to energies.
        z: (atoms,) atomic numbers.
        shift: added to energies, kcal/mol.
        calls: how many times it will be called; None where that is not known.
    """

    def __init__(self, model: nn.Module, z: Tensor, shift: float = 0.0, calls: int | None = None):
        like = next(model.parameters())
        self.model, self.shift = model, shift
        self.z, self.dtype, self.device = z.to(like.device), like.dtype, like.device
        self.left = TRACE_FROM_CALLS if calls is None or calls < TRACE_FROM_CALLS else 0  # calls until it is traced
        self.graph, self.frames, self.shapes = None, 0, {}
        self._eager = partial(forces.energy_and_force, partial(model, self.z))

    def __call__(self, pos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energy (frames,), kcal/mol, and force (frames, atoms, 3), kcal/mol/Å, float64.

        Args:
            pos: (frames, atoms, 3), Å, float64.

        Raises:
            ValueError: for positions that are not finite.
        """
        if not np.isfinite(pos).all():
            raise ValueError(NOT_FINITE)
        # A molecule that has drifted far from the origin would lose digits in single precision.
        x = torch.from_numpy(pos - pos.mean(axis=1, keepdims=True)).to(self.device, self.dtype)
        if self.left > 0 or not forces.traceable(self.model):
            self.left -= 1
            energy, force = self._eager(x)
        else:
            energy, force = self._by_graph(x)
        return energy.double().cpu().numpy() + self.shift, force.double().cpu().numpy()

    def _by_graph(self, x: Tensor) -> tuple[Tensor, Tensor]:
        frames = len(x)
        if not self._fits(x):
            self.frames, self.shapes = frames, models.static_shapes(self.model, _MARGIN * x)
            try:
                self.graph = forces.traced_energy_and_force(self.model, self.z, x, self.shapes)
            except forces.NotTraced as error:
                warnings.warn(f"inference runs uncompiled and slower ({error})", stacklevel=3)
                self.graph = self._eager
        if frames < self.frames:
            x = torch.cat([x, x[-1:].expand(self.frames - frames, -1, -1)])
        with torch.no_grad():
            energy, force = self.graph(x)
        return energy[:frames], force[:frames]

    def _fits(self, x: Tensor) -> bool:
        if self.graph is None or not self.frames / 2 < len(x) <= self.frames:
            return False
        needed = models.static_shapes(self.model, x) if self.shapes else {}
        return all(needed[name] <= size for name, size in self.shapes.items())
