"""sGDML: kernel regression of forces with the molecule's symmetries, by the package of its authors.

Source:
    Chmiela et al., Nature Communications 9, 3887 (2018); Comput. Phys. Commun. 240, 38 (2019).
"""

import io
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from asteroid import files
from asteroid.baselines.package import PackageForceField
from asteroid.datasets import LabelledSet
from asteroid.datasets.checks import check_same_molecule
from asteroid.provenance import versions

# The package's own search goes from 10 to 90; on few labels of small molecules the optimum lies below.
SIGMAS = (2, 5, 10, 20, 30, 50, 90)


def train(train: LabelledSet, valid: LabelledSet, *, sigmas: Sequence[int] = SIGMAS) -> "SGDMLForceField":
    """Train sGDML on all given labels; its symmetries are found in the training geometries.

    Args:
        train: labels to learn; forces enter the kernel, energies fix its constant of integration.
        valid: frames on whose mean absolute force error the length scale σ is chosen.
        sigmas: length scales to try, in the package's units.

    Returns:
        The force field with the best σ.

    Raises:
        ImportError: if the package is not installed; the message has the command.
        DatasetError: if the labels are of two molecules.
        ValueError: for no length scale.
    """
    check_same_molecule(train, valid)
    if not sigmas:
        raise ValueError("sigmas is empty; give one length scale or more")
    trainer = _trainer()
    started = time.perf_counter()
    data, valid_data = _data_set(train), _data_set(valid)
    candidates, errors, symmetries = [], [], None
    for sigma in sigmas:
        task = trainer.create_task(data, len(train), valid_data, len(valid), int(sigma), perms=symmetries)
        symmetries = task["perms"]
        candidates.append(SGDMLForceField(trainer.train(task), train.z, train.level))
        _, force = candidates[-1].energy_and_force(valid.pos)
        errors.append(float((force - valid.force).abs().mean()))
    chosen = candidates[best := errors.index(min(errors))]
    chosen.provenance = {
        "stage": "sgdml",
        "molecule": train.molecule,
        "level": train.level,
        "labels": len(train),
        "fingerprints": {"train": train.fingerprint, "valid": valid.fingerprint},
        "sigma": int(sigmas[best]),
        "symmetries": len(symmetries),
        "valid_force_mae": errors[best],
        "history": {"sigma": list(map(int, sigmas)), "valid_force_mae": errors},
        "seconds": time.perf_counter() - started,
        "versions": versions("sgdml"),
        "started_from": None,
    }
    return chosen


@dataclass(eq=False)
class SGDMLForceField(PackageForceField):
    """A trained sGDML model behind the interface of `ForceField`; the package's own predictor computes.

    Attributes:
        model: the package's model, kcal/mol and Å.
        z: (atoms,) atomic numbers in the order of training.
        level: level of theory.
        provenance: how it came about; plain JSON values.
    """

    model: Mapping[str, Any]
    z: Tensor
    level: str
    provenance: Mapping[str, Any] = field(default_factory=dict)
    bias: None = None  # what a ForceField has of inaccurate labels
    package: ClassVar[str] = "sGDML"

    def save(self, path: str | Path) -> None:
        """Write the package's npz format, which its own tools predict from too, with level and provenance in it.

        Raises:
            OSError: if it cannot be written; an older file of that name is then still whole.
        """
        # What would be pickled (tables of errors that we do not fill) is no part of the model.
        content = {key: value for key, value in self.model.items() if value is not None and not isinstance(value, dict)}
        about = json.dumps({"level": self.level, "provenance": dict(self.provenance)})
        with files.replacing(Path(path), "the force field") as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, **content, asteroid=about)

    @classmethod
    def load(cls, path: str | Path) -> "SGDMLForceField":
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is damaged or not ours.
        """
        try:
            # By way of memory: of a damaged file, np.load would leave the handle open.
            with np.load(io.BytesIO(Path(path).read_bytes()), allow_pickle=False) as file:
                model = {key: file[key] for key in file.files}
            about = json.loads(str(model.pop("asteroid")))
            z = torch.from_numpy(model["z"].astype(np.int64))
            return cls(model, z, about["level"], about["provenance"])
        except FileNotFoundError:
            raise FileNotFoundError(f"there is no force field at {path}") from None
        except Exception as error:  # numpy and zipfile raise many types for a damaged file
            raise ValueError(f"{path} is damaged or no sGDML force field of ours ({error}); train it again") from None

    @cached_property
    def _predictor(self) -> Any:
        # In double precision, which its PyTorch counterpart is not for positions, and without processes of its own.
        return _package().GDMLPredict(self.model, max_processes=1)

    def _predict(self, pos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        energy, force = self._predictor.predict(pos.reshape(len(pos), -1))
        return energy, force.reshape(pos.shape)


def _data_set(labelled: LabelledSet) -> dict[str, Any]:
    """Labels as the package's data set."""
    texts = {"name": labelled.molecule, "theory": labelled.level}
    data = {
        "type": "d",
        **{key: np.array(text) for key, text in texts.items()},
        "z": labelled.z.numpy(),
        "R": labelled.pos.numpy(),
        "E": labelled.energy.numpy(),
        "F": labelled.force.numpy(),
        "r_unit": "Ang",
        "e_unit": "kcal/mol",
    }
    return data | {"md5": _package().io.dataset_md5(data)}


@cache
def _trainer() -> Any:
    """The package allows one in a process. It forks processes of its own unless told not to; a sweep has its own."""
    return _package().GDMLTrain(max_processes=1)


@cache
def _package() -> Any:
    """The package's module of training, which holds all that is used here."""
    loggers = logging.getLoggerClass()
    try:
        from sgdml import train as package
    except ImportError as error:
        raise ImportError("sGDML is not installed: `pip install -c constraints.txt sgdml`") from error
    finally:
        # The import makes every logger of the process, also of other packages, print to the terminal from then on.
        logging.setLoggerClass(loggers)
    for name in ("sgdml.train", "sgdml.predict"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return package
