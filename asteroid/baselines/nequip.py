"""NequIP by its own package: `nequip-train`, `nequip-compile` and its ASE calculator.

What the settings do not say is as in the configuration of its tutorial, but for features of odd parity, which its
authors find slow and of little use, and the learning rate, which decays to the end of the training. Its losses know no
weights of frames. The seconds of a training include those in which the model is compiled.

Source:
    Batzner et al., Nature Communications 13, 2453 (2022); Tan et al., arXiv:2504.16068 (2025).
"""

import csv
import json
from pathlib import Path
from typing import Any

from ase.data import chemical_symbols

from asteroid import units
from asteroid.baselines.programs import Program, Task

_VALID = "val0_epoch/forces_mae"  # eV/Å
_JUDGED_BY = "val0_epoch/weighted_sum"


class NequIP(Program):
    """NequIP."""

    name = "nequip"
    label = "NequIP"
    requirement = "nequip==0.19.1"
    python = "ASTEROID_NEQUIP_PYTHON"
    suffix = ".nequip.pt2"

    def commands(self, task: Task) -> list[list[str]]:
        if task.settings.foundation_model:
            raise ValueError("foundation_model is given, which only MACE can start from; leave it out")
        # JSON is YAML too.
        (task.folder / "config.yaml").write_text(json.dumps(_config(task), indent=1), encoding="utf-8")
        train = ["-m", "nequip.scripts.train", "-cp", str(task.folder), "-cn", "config", f"hydra.run.dir={task.folder}"]
        if (last := task.folder / "last.ckpt").exists():
            train.append(f"++ckpt_path={last}")
        compiled = ["--mode", "aotinductor", "--device", "cpu", "--target", "ase"]
        best, model = str(self.checkpoint(task)), str(self.model(task))
        return [train, ["-m", "nequip.scripts.compile", best, model, *compiled]]

    def model(self, task: Task) -> Path:
        return task.folder / f"model{self.suffix}"

    def checkpoint(self, task: Task) -> Path:
        return task.folder / "best.ckpt"

    def history(self, task: Task) -> dict[str, list]:
        found = {}
        for path in sorted(task.folder.glob("history/*/metrics.csv"), key=lambda path: int(path.parent.name)):
            with open(path, encoding="utf-8", newline="") as file:
                rows = [row for row in csv.DictReader(file) if row.get(_VALID)]
            # What went on from a checkpoint repeats some epochs.
            found |= {int(row["epoch"]): float(row[_VALID]) / units.KCAL_PER_MOL_IN_EV for row in rows}
        return {"epoch": list(found), "valid_force_mae": list(found.values())}


def _config(task: Task) -> dict[str, Any]:
    """What `nequip-train` reads."""
    settings, symbols = task.settings, [chemical_symbols[z] for z in sorted(set(task.z))]
    metrics = {
        "_target_": "nequip.train.EnergyForceMetrics",
        "coeffs": {"total_energy_mae": 1.0, "forces_mae": 1.0},
    }
    model: dict[str, Any] = {
        "_target_": "nequip.model.NequIPGNNModel",
        "seed": task.seed,
        "model_dtype": "float32",
        "type_names": symbols,
        "r_max": settings.cutoff,
        "num_layers": settings.layers,
        "l_max": settings.degree,
        "parity": False,
        "num_features": settings.channels,
        "radial_mlp_depth": 2,
        "radial_mlp_width": 64,
        "avg_num_neighbors": "${training_data_stats:num_neighbors_mean}",
        "per_type_energy_scales": "${training_data_stats:per_type_forces_rms}",
        "per_type_energy_shifts": dict.fromkeys(symbols, 0.0),
    }
    if task.start is not None:
        model = {"_target_": "nequip.model.ModelFromCheckpoint", "checkpoint_path": str(task.start)}
    loader = {"_target_": "torch.utils.data.DataLoader", "num_workers": 0}
    return {
        "run": ["train"],
        "data": {
            "_target_": "nequip.data.datamodule.ASEDataModule",
            "seed": task.seed,
            "train_file_path": str(task.train),
            "val_file_path": str(task.valid),
            "key_mapping": {"REF_energy": "total_energy", "REF_forces": "forces"},
            "transforms": [
                # It computes a stress as well, which a molecule without a box has not.
                {"_target_": "nequip.data.transforms.NonPeriodicCellTransform", "override_cell": True},
                {
                    "_target_": "nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper",
                    "model_type_names": symbols,
                    "chemical_species_to_atom_type_map": dict(zip(symbols, symbols)),
                },
                {"_target_": "nequip.data.transforms.NeighborListTransform", "r_max": settings.cutoff},
            ],
            "train_dataloader": loader | {"batch_size": task.batch_size, "shuffle": True},
            "val_dataloader": loader | {"batch_size": min(task.valid_labels, 10)},
            "stats_manager": {
                "_target_": "nequip.data.CommonDataStatisticsManager",
                "dataloader_kwargs": {"batch_size": task.batch_size},
                "type_names": symbols,
            },
        },
        "trainer": {
            "_target_": "lightning.Trainer",
            "accelerator": "cpu",
            "devices": 1,
            "max_epochs": task.epochs,
            "check_val_every_n_epoch": task.interval,
            "enable_progress_bar": False,
            "logger": {
                "_target_": "lightning.pytorch.loggers.CSVLogger",
                "save_dir": str(task.folder),
                "name": "history",
                "version": str(len(list(task.folder.glob("history/*")))),
            },
            "callbacks": [
                {
                    "_target_": "lightning.pytorch.callbacks.ModelCheckpoint",
                    "monitor": _JUDGED_BY,
                    "dirpath": str(task.folder),
                    "filename": "best",
                    "save_last": True,
                    "enable_version_counter": False,
                    # During a validation the averaged weights are in the place of the others.
                    "save_on_train_epoch_end": True,
                    "every_n_epochs": task.interval,
                }
            ],
        },
        "training_module": {
            "_target_": "nequip.train.EMALightningModule",
            "ema_decay": 0.999,
            "loss": {
                "_target_": "nequip.train.EnergyForceLoss",
                "per_atom_energy": True,
                "coeffs": {"total_energy": 1.0, "forces": 1.0},
            },
            "val_metrics": metrics,
            "train_metrics": metrics,
            "optimizer": {"_target_": "torch.optim.Adam", "lr": settings.learning_rate},
            "lr_scheduler": {
                "scheduler": {"_target_": "torch.optim.lr_scheduler.ExponentialLR", "gamma": task.decay_per_epoch},
                "interval": "epoch",
                "frequency": 1,
            },
            "model": model,
        },
    }


PROGRAM = NequIP()
