"""Run by the program psi4, in its own Python: energies and gradients of the frames that come on standard input.

The first line holds the settings, each further line one frame; each answer is one line that starts with `ANSWER`, since
Psi4 prints as well. Nothing of asteroid is imported, because Psi4's Python need not have it.
"""

import json
import sys

ANSWER = "asteroid-answer "


def serve():
    import psi4

    settings = json.loads(sys.stdin.readline())
    psi4.core.be_quiet()
    psi4.set_memory(settings["memory"])
    for line in sys.stdin:
        psi4.core.clean()
        psi4.core.clean_options()
        psi4.set_options(settings["options"])
        try:
            molecule = psi4.geometry(json.loads(line))
            gradient, wavefunction = psi4.gradient(settings["method"], molecule=molecule, return_wfn=True)
            answer = {"energy": wavefunction.energy(), "gradient": gradient.to_array().tolist()}
            answer["core_potential"] = wavefunction.basisset().has_ECP()
        except Exception as error:
            # Whatever fails fails for this frame only.
            answer = {"error": type(error).__name__, "message": str(error)}
        print("\n" + ANSWER + json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
