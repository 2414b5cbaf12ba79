"""ANI-1ccx as its authors published it, and the way they trained it on labels of our own.

Source:
    Smith et al., Nature Communications 10, 2903 (2019); Bukharin et al. 2023, appendix A.4.
"""

import contextlib
import io
import math
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from asteroid import identity, losses, models, stages, training
from asteroid.datasets import LabelledSet, Split
from asteroid.force_field import ForceField
from asteroid.models.ani import ANI, ANIConfig, package
from asteroid.stages import Recipe

WEIGHTS = "ASTEROID_ANI1CCX"
"""Variable of the environment that holds the path of the weights, where they cannot be fetched."""

MEMBERS = 8  # networks of ANI-1ccx


def published_weights() -> dict[str, Tensor]:
    """The weights of ANI-1ccx: from the file that `WEIGHTS` names, else by TorchANI from its authors' hub or its cache.

    Raises:
        ImportError: if TorchANI is not installed.
        FileNotFoundError: if they are neither here nor can be fetched; the message says how to get them.
        ValueError: if the file holds something else.
    """
    torchani = package()
    if path := os.environ.get(WEIGHTS):
        if not Path(path).is_file():
            raise FileNotFoundError(f"{WEIGHTS} is {path!r}, and there is no such file; give the path of the weights")
        try:
            return dict(torch.load(path, map_location="cpu", weights_only=True))
        except Exception as error:  # torch raises many types, with long advice, for a damaged file
            raise ValueError(f"{path} holds no weights of TorchANI ({type(error).__name__}); fetch it again") from None
    try:
        # It prints what it tries.
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            return dict(torchani.models.ANI1ccx().state_dict())
    except Exception as error:  # whatever the network has to say
        raise FileNotFoundError(
            "ANI-1ccx needs the weights of its authors, which could not be fetched "
            f"({type(error).__name__}). Where there is a network, run `python -c 'import torchani; "
            "torchani.models.ANI1ccx()'`; elsewhere copy its file StateDicts/ani1ccx_state_dict.pt and set "
            f"{WEIGHTS} to its path"
        ) from None


def zero_shot(valid: LabelledSet) -> ForceField:
    """ANI-1ccx as published, for one molecule; only the constant of the energy is fitted.

    Args:
        valid: accurate frames that fix the constant.

    Returns:
        The force field, of the level "ani-1ccx" (CCSD(T)*/CBS).

    Raises:
        ImportError: if TorchANI is not installed.
        FileNotFoundError: if the weights are neither here nor can be fetched, see `published_weights`.
        ValueError: for weights of another network.
    """
    weights = published_weights()
    model = ANI(ANIConfig(MEMBERS))
    try:
        model.network.load_state_dict(weights)
    except RuntimeError:
        raise ValueError(
            "the weights do not fit ANI-1ccx (8 networks for H, C, N and O, as TorchANI 2 saves them); fetch "
            "ani1ccx_state_dict.pt again"
        ) from None
    models.check_elements(model, valid.z)
    force_field = ForceField(model, valid.z, training.energy_shift(model, valid), "ani-1ccx")
    _, force = force_field.energy_and_force(valid.pos)
    error = float(losses.force_mae(force.double().cpu(), valid.force))
    force_field.provenance = {
        "stage": "ani-1ccx",
        "molecule": valid.molecule,
        "level": "ani-1ccx",
        "labels": 0,
        "fingerprints": {"valid": valid.fingerprint},
        "start": identity.fingerprint(model),
        "valid_force_mae": error,
        "history": asdict(training.History()),
        "seconds": 0.0,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchani": version("torchani"),
        },
        "started_from": None,
    }
    return force_field


def transfer(
    split: Split,
    others: Sequence[Split],
    recipe: Recipe,
    *,
    seed: int = 0,
    folder: str | Path | None = None,
    progress: bool = True,
) -> ForceField:
    """The recipe of ANI-1ccx: cheap labels of all molecules, then accurate ones of all, then those of one molecule.

    Args:
        split: of the molecule that counts.
        others: of further molecules, with as many training, validation and inaccurate frames each.
        recipe: of the model "ani"; `inaccurate` is the first training, `fine_tuning` the two others.
        seed, folder, progress: see `stages.standard`.

    Returns:
        The force field of the one molecule.

    Raises:
        ValueError: if the recipe is of another model, a split lacks inaccurate labels, or the numbers of frames differ.
    """
    if recipe.model != "ani":
        raise ValueError(f"the recipe is of the model {recipe.model!r}; this way trains 'ani', see asteroid.models.ani")
    splits = [split, *others]
    if any(part.inaccurate is None for part in splits):
        raise ValueError("a split has no inaccurate labels; give datasets.split a second set for every molecule")
    cheap, train, valid = (
        side_by_side([getattr(part, name) for part in splits]) for name in ("inaccurate", "train", "valid")
    )
    keep = {"seed": seed, "folder": folder, "progress": progress}
    general = stages.train_on_inaccurate(cheap, valid, None, math.inf, recipe, **keep)
    general = stages.fine_tune(general, train, valid, recipe, **keep)
    return stages.fine_tune(replace(general, z=split.train.z), split.train, split.valid, recipe, **keep)


def side_by_side(sets: Sequence[LabelledSet], reach: float = ANI.CUTOFF) -> LabelledSet:
    """One set of several: its frames hold a configuration of each molecule, out of reach of one another.

    The energy of a model with a cutoff is then the sum of those of the molecules, and each force that of the molecule
    alone: a batch trains on all of them, by the same loop as for one.

    Args:
        sets: of one level, of different molecules, with as many frames each.
        reach: cutoff of the model, Å.

    Returns:
        The set; its positions are within some 10 Å, where single precision still resolves 10⁻⁶ Å.

    Raises:
        ValueError: if the numbers of frames differ.
    """
    if len(sets) == 1:
        return sets[0]
    if len({len(one) for one in sets}) > 1:
        found = ", ".join(f"{len(one)} of {one.molecule}" for one in sets)
        raise ValueError(f"the sets have different numbers of frames: {found}; take as many of each")
    centred = [one.pos - one.pos.mean(dim=1, keepdim=True) for one in sets]
    spacing = 2 * max(float(pos.norm(dim=-1).max()) for pos in centred) + reach + 0.5
    edge = math.ceil(round(len(sets) ** (1 / 3), 9))
    places = torch.cartesian_prod(*[torch.arange(edge, dtype=torch.float64)] * 3).reshape(-1, 3) - (edge - 1) / 2
    return LabelledSet(
        molecule="+".join(one.molecule for one in sets),
        level=sets[0].level,
        z=torch.cat([one.z for one in sets]),
        pos=torch.cat([pos + spacing * place for pos, place in zip(centred, places)], dim=1),
        energy=torch.stack([one.energy for one in sets]).sum(dim=0),
        force=torch.cat([one.force for one in sets], dim=1),
        seconds=None,
        provenance={},
    )
