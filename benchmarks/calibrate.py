"""The unit of work in which speed targets are given, so that they hold on any machine.

One unit = 100 times (720 x 128 by 128 x 128 product, SiLU, add) in float32: 2.4 GFLOP, about 27 ms on one core of
the machine where the references below were measured. Run it beside what you measure, in the same minute, with the
same number of threads, and divide:

    python calibrate.py [threads]

Measured there, one thread, batch of 10 frames, one training step (energy, forces, loss, parameter gradients, AdamW),
reference implementations in PyTorch, published sizes (EGNN: 5 layers, 128):

    step                     ms      units
    EGNN      ethanol        49        1.8
    EGNN      aspirin       264        9.9
    GemNet-T  ethanol       317       11.9
    GemNet-T  aspirin      1281       48
    GemNet-Q  ethanol       803       30
    GemNet-Q  aspirin     15636      585
"""

import sys
import time

import torch


def unit_seconds(threads: int = 1, repeats: int = 40) -> float:
    """Median seconds of one unit of work with the given number of threads."""
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(720, 128, generator=generator)
    weight = 0.05 * torch.randn(128, 128, generator=generator)

    def work() -> None:
        h = x
        for _ in range(100):
            h = torch.nn.functional.silu(h @ weight) + x

    for _ in range(5):
        work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2]


if __name__ == "__main__":
    threads = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    print(f"one unit with {threads} thread(s): {1e3 * unit_seconds(threads):.2f} ms")
