"""Seconds of training to a given test error: python benchmarks/time_to_accuracy.py [--model NAME] [--limit SECONDS]

Standard training with 250 accurate labels of md17:ethanol (CCSD(T)), batch of 10, on one core, by the recipe of the
profile md17, by the same with AdamW in the place of Muon, and by the published settings (appendix A.2), which are meant
for 170,000 steps and end here at the limit. Every training is run to its end; its clock is that of the training steps,
the unit that of `calibrate.py`, timed before and after. ASTEROID_MD17 names the folder of the data. Run it on a machine
that does nothing else.
"""

import argparse
import statistics
from dataclasses import replace

import torch
from calibrate import unit_seconds

import asteroid
from asteroid import machine, profiles, stages
from asteroid.training import TrainConfig

TARGETS = (1.0, 0.7, 0.5, 0.4, 0.35)  # kcal/mol/Å


def settings(model: str, limit: float, step_seconds: float) -> dict[str, stages.Recipe]:
    """The recipes by name, their evaluations close enough to time a target by."""
    ours = profiles.load("md17").recipe(model)
    steps = max(100, int(limit / step_seconds) // 100 * 100)
    ways = {
        "ours": ours.accurate,
        "AdamW": replace(ours.accurate, optimizer="adamw"),
        "AdamW, longer": replace(ours.accurate, optimizer="adamw", steps=steps, decay_steps=steps),
        "published": TrainConfig(optimizer="adamw", steps=steps),
    }
    return {name: replace(ours, accurate=replace(config, eval_every=100)) for name, config in ways.items()}


def main(model: str, limit: float) -> None:
    accurate = asteroid.load("md17:ethanol", level="ccsd(t)")
    split = asteroid.split(accurate, None, 250, 0, test=500)
    print(f"{model}: seconds (units) to a test force MAE in kcal/mol/Å; seed 0")
    print(f"{'training':14} {'steps':>7} {'seconds':>8} {'units':>7} {'end':>6}  " + "  ".join(map(str, TARGETS)))
    step_seconds = 0.03
    for name in settings(model, limit, step_seconds):
        recipe = settings(model, limit, step_seconds)[name]
        with machine.one_thread():
            before = unit_seconds(1)
            # The test frames take the place of the validation frames: nothing is chosen by them, only written down.
            field = stages.standard(split.train, split.test, recipe, seed=0, progress=False)
            unit = statistics.mean([before, unit_seconds(1)])
        history = field.provenance["history"]
        seconds_of_step = history["seconds"] / history["step"][-1]
        if name == "AdamW":
            step_seconds = seconds_of_step
        reached = []
        for target in TARGETS:
            steps = [s for s, error in zip(history["step"], history["valid_force_mae"], strict=True) if error <= target]
            seconds = steps[0] * seconds_of_step if steps else None
            reached.append("-" if seconds is None else f"{seconds:.0f} ({seconds / unit:.0f})")
        total, end = history["seconds"], history["valid_force_mae"][-1]
        line = f"{name:14} {history['step'][-1]:7d} {total:8.0f} {total / unit:7.0f} {end:6.3f}  "
        print(line + "  ".join(reached), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="egnn", help="egnn (default) or gemnet-t, in the size of the profile md17")
    parser.add_argument("--limit", type=float, default=600, help="seconds for the trainings that take long (600)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    main(arguments.model, arguments.limit)
