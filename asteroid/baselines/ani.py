"""ANI-1ccx as its authors published it, and the way they trained it on labels of our own.

Source:
    Smith et al., Nature Communications 10, 2903 (2019); Bukharin et al. 2023, appendix A.4.
"""

import contextlib
import io
import math
import socket
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from asteroid import identity, machine, models, stages, training
from asteroid.baselines import missing_package
from asteroid.datasets import LabelledSet, Split
from asteroid.force_field import ForceField, force_on
from asteroid.models.ani import ANI, ANIConfig, package
from asteroid.provenance import versions
from asteroid.stages import Recipe
from asteroid.training import losses

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator

WEIGHTS = "ASTEROID_ANI1CCX"
"""Variable of the environment that holds the path of the weights, where they cannot be fetched."""

WEIGHTS_FILE = "ani1ccx_state_dict.pt"
"""Its name, which is that of TorchANI's copy too."""

_HOW_TO_GET = (
    "Where there is a network, run `python -c 'import torchani; torchani.models.ANI1ccx()'`; elsewhere copy its file "
    f"StateDicts/{WEIGHTS_FILE} and set {WEIGHTS} to its path"
)

MEMBERS = 8  # networks of ANI-1ccx


def published_weights() -> dict[str, Tensor]:
    """The weights of ANI-1ccx: from the file that `WEIGHTS` names, else by TorchANI from its authors' hub or its cache.

    Raises:
        ImportError: if TorchANI is not installed.
        FileNotFoundError: if they are neither here nor can be fetched; the message says how to get them.
        ValueError: if the file holds something else.
    """
    torchani = package()
    if path := machine.flag(WEIGHTS):
        if not Path(path).is_file():
            raise FileNotFoundError(f"{WEIGHTS} is {path!r}, and there is no such file; give the path of the weights")
        try:
            return dict(torch.load(path, map_location="cpu", weights_only=True))
        except Exception as error:  # torch raises many types, with long advice, for a damaged file
            raise ValueError(f"{path} holds no weights of TorchANI ({type(error).__name__}); fetch it again") from None
    try:
        # It prints what it tries.
        with _patience(), contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            return dict(torchani.models.ANI1ccx().state_dict())
    except Exception as error:  # whatever the network has to say
        raise FileNotFoundError(
            f"ANI-1ccx needs the weights of its authors, which could not be fetched ({type(error).__name__}). "
            + _HOW_TO_GET
        ) from None


def missing() -> str | None:
    """What ANI-1ccx lacks on this machine, in one line with the command that gets it; nothing is fetched to see."""
    if lacking := missing_package("torchani"):
        return lacking
    path = machine.flag(WEIGHTS)
    if Path(path or package().paths.state_dicts_dir() / WEIGHTS_FILE).is_file():
        return None
    where = f" ({WEIGHTS} is {path!r}, and there is no such file)" if path else ""
    return f"ANI-1ccx needs the weights of its authors{where}. {_HOW_TO_GET}"


@contextlib.contextmanager
def _patience(seconds: float = 10) -> Iterator[None]:
    """How long to wait for an answer: behind some firewalls none ever comes."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


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
    error = float(losses.force_mae(force_on(force_field, valid), valid.force))
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
        "versions": versions("torch", "torchani"),
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
        others: of further molecules.
        recipe: of the model "ani"; `inaccurate` is the first training, `fine_tuning` the two others. Molecules take
            turns in the first two, with so many steps each.
        seed, folder, progress: see `stages.standard`.

    Returns:
        The force field of the one molecule.

    Raises:
        ValueError: if the recipe is of another model, or a split lacks inaccurate labels.
    """
    if recipe.model != "ani":
        raise ValueError(f"the recipe is of the model {recipe.model!r}; this way trains 'ani', see asteroid.models.ani")
    splits = [split, *others]
    if any(part.inaccurate is None for part in splits):
        raise ValueError("a split has no inaccurate labels; give datasets.split a second set for every molecule")
    cheap, train, valid = ([getattr(part, name) for part in splits] for name in ("inaccurate", "train", "valid"))
    keep = {"seed": seed, "folder": folder, "progress": progress}
    general = stages.train_on_inaccurate(cheap, None, math.inf, recipe, **keep)
    general = stages.fine_tune(general, train, valid, recipe, **keep)
    return stages.fine_tune(general, split.train, split.valid, recipe, **keep)


def calculator() -> "Calculator":
    """ANI-1ccx as TorchANI's ASE calculator, for neutral molecules: a level named "asteroid.baselines.ani:calculator".

    Raises:
        ImportError, FileNotFoundError, ValueError: see `published_weights`.
    """
    network = ANI(ANIConfig(MEMBERS)).network
    network.load_state_dict(published_weights())
    return network.double().ase()
