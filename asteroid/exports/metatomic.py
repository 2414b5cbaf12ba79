"""A force field in a file that LAMMPS, i-PI, GROMACS and other programs read by way of metatomic."""

import copy
import json
import warnings
from functools import partial
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from asteroid import files, models
from asteroid.force_field import ForceField
from asteroid.training import forces


def save(force_field: ForceField, path: str | Path, dtype: torch.dtype | None = torch.float64) -> Path:
    """Write a force field as a metatomic model, an `AtomisticModel` whose output is "energy", in eV, for lengths in Å.

    The file holds the graph of energy and force, and needs nothing of this library. A program gives the atoms in any
    order, each type its atomic number, positions in double precision, and takes the force as the derivative of the
    energy. The energy is that of the whole molecule: there is none per atom, and its second derivatives are not those
    of the force field. The first geometry outside the force field's `domain` is warned of, where the distance of two
    atoms is compared with those of all atoms of the two elements.

    Args:
        force_field: a trained ForceField.
        path: the file, by custom with the ending ".pt".
        dtype: precision of the model inside; None: as trained.

    Returns:
        The path.

    Raises:
        ValueError: its model cannot be traced. The file has its own, in the program: for other atoms than those
            trained on, or another number; a cell less than twice as wide as the molecule; the energy of a part.
        ImportError: metatomic is not installed.
        OSError: the file cannot be written.

    Example:
        ``asteroid.metatomic.save(field, "ethanol.pt")``, and in LAMMPS, whose types are here C, O and H,
        ``pair_style metatomic ethanol.pt`` and ``pair_coeff * * 6 8 1``
    """
    path = Path(path)
    # PyTorch Geometric puts a function in the place of this one that TorchScript, metatomic's language, cannot compile.
    own = torch._C._VariableFunctions.index_select
    with warnings.catch_warnings(), patch.object(torch, "index_select", own):
        warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript, which metatomic is built on
        try:
            from metatomic.torch import AtomisticModel, ModelCapabilities, ModelMetadata, ModelOutput

            from asteroid.exports.script import WholeMolecule
        except ImportError as error:
            install = "pip install -c constraints.txt -e '.[exports]'"
            raise ImportError(f"metatomic is not installed: `{install}`") from error

        z = force_field.z.cpu().sort(stable=True).values
        domain = force_field.domain and force_field.domain.reordered(force_field.z, z)
        graph = _graph(force_field.in_precision(dtype).model, z)
        molecule = WholeMolecule(graph, z, force_field.shift, domain)
        capabilities = ModelCapabilities(
            outputs={"energy": ModelOutput(unit="eV", sample_kind="system")},
            atomic_types=sorted(set(z.tolist())),
            interaction_range=torch.inf,  # an atom matters to all others
            length_unit="angstrom",
            supported_devices=["cpu"],  # a graph is for the device that it was traced on
            dtype="float64",
        )
        metadata = ModelMetadata(
            name=f"asteroid: {force_field.provenance.get('molecule', 'a molecule')}",
            description=repr(force_field),
            references={"model": list(force_field.provenance.get("citations", ()))},
            extra={"provenance": json.dumps(dict(force_field.provenance))},
        )
        with files.replacing(path, "the metatomic model") as temporary:
            AtomisticModel(molecule.eval(), metadata, capabilities).save(temporary)
    return path


def _graph(model: nn.Module, z: Tensor) -> nn.Module:
    """Positions (1, atoms, 3), Å, to energy (1,), kcal/mol, and force (1, atoms, 3), float64, at any geometry."""
    if not forces.traceable(model):
        name = type(model).__name__
        raise ValueError(
            f"{name} has another number of neighbours at every geometry, and no one graph; take another model"
        )
    model = copy.deepcopy(model).cpu().requires_grad_(False)
    dtype = next(model.parameters()).dtype
    pos = 2 * torch.randn(1, len(z), 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shapes = models.static_shapes(model, torch.zeros_like(pos))  # room for every atom to see all others

    def both(pos: Tensor) -> tuple[Tensor, Tensor]:
        energy, force = forces.energy_and_force(lambda pos: model(z, pos, **shapes), pos.to(dtype))
        return energy.double(), force.double()

    with torch.no_grad():  # the graph is of the derivatives too, and has none to be taken
        graph = torch.jit.trace(make_fx(both)(pos), (pos,), check_trace=False)
    forces.check_traced(graph(pos), forces.energy_and_force(partial(model, z), pos.to(dtype)))
    return graph
