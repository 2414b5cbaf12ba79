"""MACE by its own package: `mace_run_train` and its ASE calculator.

The isolated atoms' energies are zero, since the constant of the labels is taken off before. The package's authors
advise computed ones, by which a bond breaks rightly, or else an average; in one molecule any constant gives the same
forces. Weights are averaged over steps, and the learning rate decays to the end of the training; the loss is theirs.

Source:
    Batatia et al., NeurIPS 2022, arXiv:2206.07697.
"""

import json
from pathlib import Path

from asteroid import units
from asteroid.baselines.programs import Program, Task

NAME = "asteroid"  # of the package's files


class MACE(Program):
    """MACE, which can start from a model of the user's too, such as MACE-OFF23."""

    name = "mace"
    label = "MACE"
    requirement = "mace-torch==0.3.16"
    python = "ASTEROID_MACE_PYTHON"
    suffix = ".model"

    def commands(self, task: Task) -> list[list[str]]:
        settings = task.settings
        if task.start is None:
            zeros = dict.fromkeys(sorted(set(task.z)), 0.0)
            begin = {
                "E0s": str(zeros),
                "model": "MACE",
                "num_channels": settings.channels,
                "max_L": settings.degree,
                "num_interactions": settings.layers,
                "r_max": settings.cutoff,
            }
        else:
            begin = {"foundation_model": task.start, "multiheads_finetuning": False, "E0s": "foundation"}
        options = begin | {
            "name": NAME,
            "work_dir": task.folder,
            "train_file": task.train,
            "valid_file": task.valid,
            "energy_key": "REF_energy",
            "forces_key": "REF_forces",
            "batch_size": task.batch_size,
            "valid_batch_size": min(task.valid_labels, 10),
            "lr": settings.learning_rate,
            "scheduler": "ExponentialLR",
            "lr_scheduler_gamma": task.decay_per_epoch,
            # The first epoch is evaluated, and then every so many.
            "max_num_epochs": task.epochs + 1 if task.interval > 1 else task.epochs,
            "eval_interval": task.interval,
            "default_dtype": "float32",
            "device": "cpu",
            "seed": task.seed,
            "plot": False,
            "error_table": "PerAtomMAE",
        }
        arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        return [["-m", "mace.cli.run_train", *arguments, "--ema", "--restart_latest"]]

    def model(self, task: Task) -> Path:
        return task.folder / f"{NAME}.model"

    checkpoint = model

    def history(self, task: Task) -> dict[str, list]:
        path = task.folder / "results" / f"{NAME}_run-{task.seed}_train.txt"
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        evaluated = [row for row in rows if row["mode"] == "eval" and row["epoch"] is not None]
        # What went on from a checkpoint repeats some epochs.
        found = {row["epoch"]: row["mae_f"] / units.KCAL_PER_MOL_IN_EV for row in evaluated}
        return {"epoch": list(found), "valid_force_mae": list(found.values())}


PROGRAM = MACE()
