"""Time of one training step, energy to update, on one core: python benchmarks/training_step.py [MODEL:SIZE ...]

Printed in ms and in units of `calibrate.py`, so that machines compare. MODEL: egnn, gemnet-t or gemnet-q, in its
published size with a batch of 10; SIZE: ethanol or aspirin. Default: all six. --eager leaves compiling out,
--optimizer takes another than Muon. Run it on a machine that does nothing else.
"""

import argparse
import resource
import statistics
import sys
import time
from functools import partial
from pathlib import Path

import ase.build
import ase.io
import torch
from ase import Atoms
from calibrate import unit_seconds
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from asteroid import machine, models, training
from asteroid.training import forces, objectives
from asteroid.training.optimisers import OPTIMIZERS

MOLECULES = {
    "ethanol": lambda: ase.build.molecule("CH3CH2OH"),
    "aspirin": lambda: ase.io.read(Path(__file__).with_name("aspirin.xyz")),
}
FRAMES = 10


class FlopCounter(TorchDispatchMode):
    """Counts the floating-point operations of matrix products (PyTorch's own counter refuses nested derivatives)."""

    total = 0

    def __torch_dispatch__(self, function, types, arguments=(), settings=None):
        result = function(*arguments, **(settings or {}))
        if (count := flop_registry.get(function.overloadpacket)) is not None:
            self.total += count(*arguments, **(settings or {}), out_val=result)
        return result


def frames_of(atoms: Atoms) -> torch.Tensor:
    """(FRAMES, atoms, 3): the molecule with thermal disorder."""
    pos = torch.tensor(atoms.positions, dtype=torch.float32)
    return pos + 0.05 * torch.randn(FRAMES, *pos.shape, generator=torch.Generator().manual_seed(0))


def measured(step_of, state, batch, rounds: int = 15) -> tuple[float, float]:
    """Median ms of a step and median number of units; both are timed in turn, for clocks change by the second."""
    milliseconds, units = [], []
    for _ in range(rounds):
        steps, start = 0, time.perf_counter()
        while (spent := time.perf_counter() - start) < 0.3:
            _, gradients = step_of(*batch)
            state.update(gradients)
            steps += 1
        milliseconds.append(1e3 * spent / steps)
        units.append(spent / steps / unit_seconds(1, repeats=5))
    return statistics.median(milliseconds), statistics.median(units)


def main(cases: list[tuple[str, str]], compiled: bool, optimizer: str) -> None:
    torch.set_num_threads(1)
    print("model     molecule  step         ms    units  GFLOP  units of a product of that many FLOP  peak GB")
    for name, molecule in cases:
        torch.manual_seed(0)
        model = models.build(name)
        atoms = MOLECULES[molecule]()
        z, pos = torch.tensor(atoms.numbers), frames_of(atoms)
        batch = (pos, torch.randn(len(pos)), torch.randn_like(pos), torch.ones(len(pos)))
        objective = objectives.Supervised(rho=0.999)
        state = training.State(model, training.TrainConfig(learning_rate=1e-5, optimizer=optimizer))
        make = partial(forces.training_step, model, z, objective, shapes=models.static_shapes(model, pos))
        with FlopCounter() as counter:
            make()(*batch)
        flop = counter.total
        trace = partial(forces.traced_training_step, model, z, objective, batch, models.static_shapes(model, pos))
        kinds = {"eager": make, "traced": partial(trace, compile=False)} | ({"compiled": trace} if compiled else {})
        for kind, make_step in kinds.items():
            started = time.perf_counter()
            step = make_step()
            made = time.perf_counter() - started
            with machine.long_work():
                milliseconds, units = measured(step, state, batch)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            print(
                f"{name:9} {molecule:9} {kind:9} {milliseconds:7.1f} {units:7.2f} {flop / 1e9:6.2f}"
                f" {flop / 2.36e9:7.2f} {peak:7.2f}   made in {made:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="MODEL:SIZE")
    parser.add_argument("--eager", action="store_true")
    parser.add_argument("--optimizer", default="muon", choices=OPTIMIZERS)
    arguments = parser.parse_args()
    cases = [tuple(case.split(":")) for case in arguments.cases] or [(m, s) for m in models.MODELS for s in MOLECULES]
    if unknown := [
        case for case in cases if len(case) != 2 or case[0] not in models.MODELS or case[1] not in MOLECULES
    ]:
        sys.exit(f"unknown {unknown}; models: {', '.join(models.MODELS)}; sizes: {', '.join(MOLECULES)}")
    main(cases, not arguments.eager, arguments.optimizer)
