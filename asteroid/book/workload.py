"""The runs of a profile before they are made: how many, how many training steps, and how many hours."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from asteroid import models
from asteroid.runs import RunSpec
from asteroid.runs.methods import MODEL_NAMES
from asteroid.stages import Recipe

if TYPE_CHECKING:
    import pandas as pd

SPEED_UP = 15.0
"""How many times as fast as one core a GPU is assumed to be; benchmarks/README.md says why."""

# Of a step with ten frames, compiled, on one core, the models in their published sizes: benchmarks/README.md.
_CORE_SECONDS = {
    "egnn": {"md17:ethanol": 0.016, "md17:aspirin": 0.067},
    "gemnet-t": {"md17:ethanol": 0.16, "md17:aspirin": 0.89},
}
_OF_NO_COST = ("energy_scale", "distance_init")  # settings of a model
_ATOMS = {"md17:ethanol": 9, "md17:malonaldehyde": 9, "md17:benzene": 12, "md17:toluene": 15, "md17:aspirin": 21}

StepSeconds = Mapping[tuple[str, str, str], float]  # by model, molecule and kind of training


def overview(specs: Iterable[RunSpec], recorded: StepSeconds, speed_up: float = SPEED_UP) -> "pd.DataFrame":
    """A row for each model, molecule and method.

    Args:
        specs: the runs. Stage 1 of several counts once, as in a sweep, and has rows of its own.
        recorded: from `recorded_step_seconds`.
        speed_up: of what is not recorded, against one core.

    Returns:
        Columns model, molecule, method, runs, steps (at most: a training ends where validation does not improve any
        more), hours (one training at a time) and source of the hours: "records", "estimate" (a core's hours, divided by
        `speed_up`) or "none", where no step was ever timed and hours are NaN. Steps of sGDML and ANI are NaN too.
    """
    import pandas as pd

    wanted = _by_settings(specs)
    every, needed = wanted, list(wanted.values())
    while needed:
        needed = [one for spec in needed for one in spec.builds_on]
        every = _by_settings(needed) | every
    runs, steps, hours, estimated = Counter(), Counter(), Counter(), set()
    for settings, spec in every.items():
        model, method = spec.recipe.model, spec.about.label
        if spec.method == "standard" and settings not in wanted:
            method = "stage 1 of ASTEROID"
        trained = [name for name, _ in spec.together] if spec.about.serves_all else [spec.molecule]
        row = (MODEL_NAMES.get(model, model), spec.molecule if len(trained) == 1 else "several", method)
        runs[row] += 1
        trainings = spec.about.trainings(spec.recipe)
        if not trainings:
            steps[row] = hours[row] = np.nan
        for molecule, (kind, config) in product(trained, trainings):
            seconds = recorded.get((model, molecule, kind))
            if seconds is None:
                estimated.add(row)
                seconds = _core_seconds(spec.recipe, molecule, kind) * config.batch_size / 10 / speed_up
            steps[row] += config.steps
            hours[row] += config.steps * seconds / 3600
    columns = ["model", "molecule", "method", "runs", "steps", "hours"]
    rows = pd.DataFrame(((*row, runs[row], steps[row], hours[row]) for row in sorted(runs)), columns=columns)
    rows["source"] = ["estimate" if row in estimated else "records" for row in sorted(runs)]
    rows.loc[rows["hours"].isna(), "source"] = "none"
    return rows


def report(specs: Iterable[RunSpec], folder: Path, speed_up: float = SPEED_UP) -> str:
    """`overview` in words and lines.

    Args:
        specs: the runs.
        folder: of the records that say how long steps take.
        speed_up: how many times as fast as one core the machine is assumed to be where there are none.
    """
    rows = overview(specs, recorded_step_seconds(folder), speed_up)
    totals = rows.groupby("source")[["runs", "hours"]].sum()
    formats = {"steps": "{:,.0f}".format, "hours": "{:.1f}".format}
    lines = [rows.to_string(index=False, formatters=formats, na_rep="unknown"), ""]
    lines.append(f"{rows['runs'].sum()} runs in all, of {rows['steps'].sum():,.0f} steps at most.")
    if "records" in totals.index:
        lines.append(f"{totals.loc['records', 'hours']:.1f} hours by the step times of the records in {folder}.")
    if "estimate" in totals.index:
        hours = totals.loc["estimate", "hours"]
        lines.append(
            f"{hours:,.0f} hours on a GPU {speed_up:g} times as fast as one core, an assumption (--speed-up; "
            f"benchmarks/README.md): {hours * speed_up:,.0f} hours on one core by measured step times."
        )
    if "none" in totals.index:
        lines.append(f"Not in these hours: {totals.loc['none', 'runs']:.0f} runs of which no step was ever timed.")
    return "\n".join([*lines, "Hours are of one training after the other, whatever is recorded already."])


def recorded_step_seconds(folder: Path) -> dict[tuple[str, str, str], float]:
    """Median seconds of a step, evaluations included, by model, molecule and kind of training.

    Args:
        folder: of records.

    Raises:
        ValueError: if a record is damaged.
    """
    found: dict[tuple[str, str, str], list[float]] = {}
    for path in sorted(folder.glob("*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} is damaged ({error}); delete it and it is made again") from None
        for stage, history in content.get("histories", {}).items():  # a simulation's record has none
            if stage.startswith("ani-1ccx"):  # the recipe's model is not the one that was trained
                continue
            kind = "fine-tuning" if stage.endswith("-tuned") else stage.partition("-gamma")[0]
            of_several = content["spec"].get("together") and kind == "inaccurate"
            if history.get("step") and not of_several:  # sGDML's has none either
                place = (content["spec"]["recipe"]["model"], content["spec"]["molecule"], kind)
                found.setdefault(place, []).append(history["seconds"] / history["step"][-1])
    return {place: float(np.median(seconds)) for place, seconds in found.items()}


def _by_settings(specs: Iterable[RunSpec]) -> dict[str, RunSpec]:
    """Each run once; its key would need the data."""
    return {json.dumps(spec.settings, sort_keys=True): spec for spec in specs}


def _core_seconds(recipe: Recipe, molecule: str, kind: str) -> float:
    """Seconds of a supervised step of ten frames on one core, NaN where nothing was measured.

    Between the two molecules that were timed it is taken as a power of the number of atoms.
    """
    model, timed = recipe.model, kind in ("standard", "inaccurate", "fine-tuning")
    if not timed or model not in _CORE_SECONDS or molecule not in _ATOMS:
        return np.nan
    published = asdict(models.MODELS[model][1]())
    if not {pair for pair in recipe.model_config if pair[0] not in _OF_NO_COST} <= set(published.items()):
        return np.nan
    measured = _CORE_SECONDS[model]
    sizes = np.log([_ATOMS[name] for name in measured])
    return float(np.exp(np.interp(np.log(_ATOMS[molecule]), sizes, np.log(list(measured.values())))))
