"""Run by the interpreter of a foreign program: energies and forces by its own ASE calculator.

The first line on standard input holds the settings, each further line one request, with the names of the files of
positions and of the answer; then one line that starts with `ANSWER`, since packages print as well, says how long
the fastest frame took, in seconds. Nothing of asteroid is imported, because that interpreter need not have it.
"""

import json
import os
import sys
import time

ANSWER = "asteroid-answer "


def mace(path):
    from mace.calculators import MACECalculator

    return MACECalculator(model_paths=path, device="cpu", default_dtype="float32")


def nequip(path):
    from nequip.integrations.ase import NequIPCalculator

    return NequIPCalculator.from_compiled_model(path, device="cpu")


def serve():
    # This file's folder has modules of the names of packages.
    sys.path[:] = [place for place in sys.path if os.path.abspath(place or ".") != os.path.dirname(__file__)]
    import numpy as np
    from ase import Atoms

    settings = json.loads(sys.stdin.readline())
    atoms = Atoms(settings["z"])
    atoms.calc = {"mace": mace, "nequip": nequip}[settings["program"]](settings["model"])
    for line in sys.stdin:
        request = json.loads(line)
        pos = np.load(request["pos"])
        energy, force, seconds = np.empty(len(pos)), np.empty(pos.shape), []
        for k, frame in enumerate(pos):
            started = time.perf_counter()
            atoms.positions = frame
            force[k], energy[k] = atoms.get_forces(), atoms.get_potential_energy()
            seconds.append(time.perf_counter() - started)
        np.savez(request["answer"], energy=energy, force=force)
        # The first frames, which set up what is kept, do not count; on a busy machine the others have waited.
        print("\n" + ANSWER + json.dumps(min(seconds[len(seconds) // 10 :])), flush=True)


if __name__ == "__main__":
    serve()
