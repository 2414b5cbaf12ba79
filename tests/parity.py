"""Compare a model with the outputs of its published implementation: python tests/parity.py FILE.npz"""

import json
import sys
from functools import partial

import numpy as np
import torch

from asteroid import forces, models

TOLERANCE = 1e-8  # relative to the largest value


def deviation(path: str) -> tuple[float, float]:
    """Largest deviation of energies and forces from those in a parity file, relative to the largest value of each."""
    data = dict(np.load(path, allow_pickle=False))
    config = json.loads(str(data["config"]))
    weights = {name.removeprefix("weight/"): value for name, value in data.items() if name.startswith("weight/")}
    model = egnn(config, weights)
    energy, force, first = [], [], 0
    for atoms in data["n_atoms"]:
        z = torch.from_numpy(data["z"][first : first + atoms])
        pos = torch.from_numpy(data["pos"][first : first + atoms])[None]
        e, f = forces.energy_and_force(partial(model, z), pos)
        energy.append(e[0].item())
        force.append(f[0].numpy())
        first += atoms
    return relative(np.array(energy), data["energy"]), relative(np.concatenate(force), data["force"])


def relative(value: np.ndarray, reference: np.ndarray) -> float:
    return float(np.abs(value - reference).max() / np.abs(reference).max())


def egnn(config: dict, weights: dict[str, np.ndarray]) -> torch.nn.Module:
    """Our EGNN with the published weights."""
    hidden = config["hidden_nf"]
    model = models.build(
        "egnn",
        layers=config["n_layers"],
        hidden=hidden,
        update_positions=config["update_positions"],
        elements=config["in_node_nf"],
    )
    # The published network embeds a one-hot vector by a linear map, and puts an output map after the sum over layers.
    state = {
        "embedding.weight": weights["embedding_in.weight"].T + weights["embedding_in.bias"],
        "readout.weight": weights["embedding_out.weight"],
        "readout.bias": weights["embedding_out.bias"],
    }
    for layer in range(config["n_layers"]):
        theirs, ours = f"gcl_{layer}.", f"layers.{layer}."
        first = weights[theirs + "edge_mlp.0.weight"]  # acts on (h_i, h_j, d²)
        state[ours + "edge_centre.weight"] = first[:, :hidden]
        state[ours + "edge_neighbour.weight"] = first[:, hidden : 2 * hidden]
        state[ours + "edge_distance.weight"] = first[:, 2 * hidden :]
        state[ours + "edge_centre.bias"] = weights[theirs + "edge_mlp.0.bias"]
        names = {"edge_mlp.2": "edge_out", "node_mlp.0": "node_in", "node_mlp.2": "node_out"}
        if config["update_positions"]:
            names["coord_mlp.0"] = "position_in"
            state[ours + "position_out.weight"] = weights[theirs + "coord_mlp.2.weight"]
        for published, name in names.items():
            for part in ("weight", "bias"):
                state[f"{ours}{name}.{part}"] = weights[f"{theirs}{published}.{part}"]
    model.double().load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in state.items()})
    return model


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    energy_deviation, force_deviation = deviation(sys.argv[1])
    print(f"largest relative deviation: energy {energy_deviation:.1e}, force {force_deviation:.1e}")
    sys.exit(max(energy_deviation, force_deviation) > TOLERANCE)
