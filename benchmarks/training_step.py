"""Time of one EGNN training step, energy to AdamW update, on one core: python benchmarks/training_step.py [SIZE ...]

Printed in ms and in units of `calibrate.py`, so that machines compare. SIZE: ethanol, aspirin (published size, batch of
10) or laptop (the laptop profile's model on methanol); default: all. Run it on a machine that does nothing else.
"""

import sys
import time
from functools import partial

import torch
from calibrate import unit_seconds

from asteroid import forces, models, profiles, training

ATOMIC_NUMBERS = {
    "ethanol": [6, 6, 8, 1, 1, 1, 1, 1, 1],
    "aspirin": [6] * 7 + [8] * 4 + [6] * 2 + [1] * 8,
    "laptop": [6, 8, 1, 1, 1, 1],
}


def measure(step_of, state, batch, repeats: int) -> tuple[float, float]:
    """Median seconds of a step, and that in units measured in the same minute."""
    times = []
    for repeat in range(repeats + 5):
        start = time.perf_counter()
        _, gradients = step_of(*batch)
        state.update(gradients)
        if repeat >= 5:
            times.append(time.perf_counter() - start)
    median = sorted(times)[repeats // 2]
    return median, median / unit_seconds(1)


def main(names: list[str]) -> None:
    torch.set_num_threads(1)
    laptop = profiles.load("laptop").recipe("egnn")
    print("molecule  step       ms      units")
    for name in names or ATOMIC_NUMBERS:
        torch.manual_seed(0)
        model = models.build("egnn", **(dict(laptop.model_config) if name == "laptop" else {}))
        z = torch.tensor(ATOMIC_NUMBERS[name])
        pos = 1.5 * torch.randn(10, len(z), 3)
        batch = (pos, torch.randn(10), torch.randn(10, len(z), 3), torch.ones(10))
        objective = training.SupervisedObjective(rho=0.999)
        state = training._State(model, training.TrainConfig(learning_rate=1e-5))
        kinds = {
            "eager": forces.training_step,
            "compiled": partial(forces.compiled_training_step, batch=batch),
        }
        for kind, make in kinds.items():
            seconds, units = measure(make(model, z, objective), state, batch, repeats=60)
            print(f"{name:9} {kind:9} {1e3 * seconds:6.1f} {units:8.2f}", flush=True)


if __name__ == "__main__":
    unknown = set(sys.argv[1:]) - set(ATOMIC_NUMBERS)
    if unknown:
        sys.exit(f"unknown size {sorted(unknown)}; known: {', '.join(ATOMIC_NUMBERS)}")
    main(sys.argv[1:])
