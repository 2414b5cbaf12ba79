"""Compare a model with the outputs of its published implementation: python tests/parity.py FILE.npz"""

import json
import re
import sys
from functools import partial

import numpy as np
import torch

from asteroid import models
from asteroid.training import forces

TOLERANCE = 1e-8  # relative to the largest value


def deviation(path: str) -> tuple[float, float]:
    """Largest deviation of energies and forces from those in a parity file, relative to the largest value of each."""
    data = dict(np.load(path, allow_pickle=False))
    config = json.loads(str(data["config"]))
    weights = {name.removeprefix("weight/"): value for name, value in data.items() if name.startswith("weight/")}
    model = egnn(config, weights) if "hidden_nf" in config else gemnet(config, weights)
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


def gemnet(config: dict, weights: dict[str, np.ndarray]) -> torch.nn.Module:
    """Our GemNet with the published weights and scaling factors."""
    sizes = {ours: config[published] for ours, published in GEMNET_SIZES.items() if published in config}
    name = "gemnet-t" if config["triplets_only"] else "gemnet-q"
    if name == "gemnet-t":
        sizes = {ours: sizes[ours] for ours in sizes if ours not in QUADRUPLET_SIZES}
    model = models.build(name, **sizes)
    state = {ours: gemnet_weight(ours, weights, config["num_spherical"]) for ours in model.state_dict()}
    model.double().load_state_dict({ours: torch.from_numpy(np.array(value)) for ours, value in state.items()})
    return model


def gemnet_weight(ours: str, weights: dict[str, np.ndarray], degrees: int) -> np.ndarray:
    """One of our weights from the published ones."""
    numbers = [int(number) for number in re.findall(r"\.(\d+)", ours)]
    published = GEMNET[re.sub(r"\.\d+", ".{}", ours)].split()
    if ours.endswith("inputs.weight") and "mlp_rbf4.weight" in weights:
        published.append("int_blocks.{0}.quad_interaction.dense_db.weight")
    values = [weights[name.format(*numbers, after=numbers[-1] + 1 if numbers else 0)] for name in published]
    if ours.endswith("bilinear"):  # (message, basis, out)
        return values[0].swapaxes(0, 1)
    if ours == "quadruplets.spherical":
        return values[0][published_harmonics(degrees)]
    if ours in ("quadruplets.circular", "embed_edges.weight") or ours.endswith("combine.weight"):
        return values[0].T
    return np.concatenate(values) if len(values) > 1 else values[0]


def published_harmonics(degrees: int) -> list[int]:
    """Place of each of our spherical harmonics in the published order: by l, then m = 0, 1 ... l, −l ... −1."""
    orders = [*range(degrees), *range(-1, -degrees, -1)]
    return [degree**2 + order % (2 * degree + 1) for order in orders for degree in range(abs(order), degrees)]


# Published names of each of our weights; {} are the numbers of block and layer, several names are laid end to end.
GEMNET = {
    "frequencies": "rbf_basis.frequencies",
    "embedding.weight": "atom_emb.embeddings.weight",
    "embed_edges.weight": "edge_emb.dense.weight",
    "circular": "mlp_cbf3.weight",
    "radial_triplet.weight": "mlp_rbf3.weight",
    "radial_atom.weight": "mlp_rbf_h.weight",
    "radial_out.weight": "mlp_rbf_out.weight",
    "quadruplets.radial.weight": "mlp_rbf4.weight",
    "quadruplets.circular": "mlp_cbf4.weight",
    "quadruplets.spherical": "mlp_sbf4.weight",
    "blocks.{}.inputs.weight": "int_blocks.{0}.dense_ca.weight int_blocks.{0}.trip_interaction.dense_ba.weight",
    "blocks.{}.triplets.radial.weight": "int_blocks.{}.trip_interaction.mlp_rbf.weight",
    "blocks.{}.triplets.radial_scale.factor": "int_blocks.{}.trip_interaction.scale_rbf.scale_factor",
    "blocks.{}.triplets.down.weight": "int_blocks.{}.trip_interaction.down_projection.weight",
    "blocks.{}.triplets.bilinear": "int_blocks.{}.trip_interaction.mlp_cbf.weight",
    "blocks.{}.triplets.sum_scale.factor": "int_blocks.{}.trip_interaction.scale_cbf_sum.scale_factor",
    "blocks.{}.triplets.up.forth.weight": "int_blocks.{}.trip_interaction.up_projection_ca.weight",
    "blocks.{}.triplets.up.back.weight": "int_blocks.{}.trip_interaction.up_projection_ac.weight",
    "blocks.{}.quadruplets.radial.weight": "int_blocks.{}.quad_interaction.mlp_rbf.weight",
    "blocks.{}.quadruplets.radial_scale.factor": "int_blocks.{}.quad_interaction.scale_rbf.scale_factor",
    "blocks.{}.quadruplets.down.weight": "int_blocks.{}.quad_interaction.down_projection.weight",
    "blocks.{}.quadruplets.circular.weight": "int_blocks.{}.quad_interaction.mlp_cbf.weight",
    "blocks.{}.quadruplets.circular_scale.factor": "int_blocks.{}.quad_interaction.scale_cbf.scale_factor",
    "blocks.{}.quadruplets.bilinear": "int_blocks.{}.quad_interaction.mlp_sbf.weight",
    "blocks.{}.quadruplets.sum_scale.factor": "int_blocks.{}.quad_interaction.scale_sbf_sum.scale_factor",
    "blocks.{}.quadruplets.up.forth.weight": "int_blocks.{}.quad_interaction.up_projection_ca.weight",
    "blocks.{}.quadruplets.up.back.weight": "int_blocks.{}.quad_interaction.up_projection_ac.weight",
    "blocks.{}.before_skip.{}.first.weight": "int_blocks.{}.layers_before_skip.{}.dense_mlp.0.weight",
    "blocks.{}.before_skip.{}.second.weight": "int_blocks.{}.layers_before_skip.{}.dense_mlp.1.weight",
    "blocks.{}.after_skip.{}.first.weight": "int_blocks.{}.layers_after_skip.{}.dense_mlp.0.weight",
    "blocks.{}.after_skip.{}.second.weight": "int_blocks.{}.layers_after_skip.{}.dense_mlp.1.weight",
    "blocks.{}.after_concat.{}.first.weight": "int_blocks.{}.residual_m.{}.dense_mlp.0.weight",
    "blocks.{}.after_concat.{}.second.weight": "int_blocks.{}.residual_m.{}.dense_mlp.1.weight",
    "blocks.{}.combine.weight": "int_blocks.{}.concat_layer.dense.weight",
    "blocks.{}.update.radial.weight": "int_blocks.{}.atom_update.dense_rbf.weight",
    "blocks.{}.update.scale.factor": "int_blocks.{}.atom_update.scale_sum.scale_factor",
    "blocks.{}.update.first.weight": "int_blocks.{}.atom_update.layers.0.weight",
    "blocks.{}.update.layers.{}.first.weight": "int_blocks.{0}.atom_update.layers.{after}.dense_mlp.0.weight",
    "blocks.{}.update.layers.{}.second.weight": "int_blocks.{0}.atom_update.layers.{after}.dense_mlp.1.weight",
    "outputs.{}.atoms.radial.weight": "out_blocks.{}.dense_rbf.weight",
    "outputs.{}.atoms.scale.factor": "out_blocks.{}.scale_sum.scale_factor",
    "outputs.{}.atoms.first.weight": "out_blocks.{}.seq_energy.0.weight",
    "outputs.{}.atoms.layers.{}.first.weight": "out_blocks.{0}.seq_energy.{after}.dense_mlp.0.weight",
    "outputs.{}.atoms.layers.{}.second.weight": "out_blocks.{0}.seq_energy.{after}.dense_mlp.1.weight",
    "outputs.{}.energy.weight": "out_blocks.{}.out_energy.weight",
}

GEMNET_SIZES = {
    "blocks": "num_blocks",
    "atom": "emb_size_atom",
    "edge": "emb_size_edge",
    "triplet": "emb_size_trip",
    "radial": "emb_size_rbf",
    "circular": "emb_size_cbf",
    "triplet_out": "emb_size_bil_trip",
    "degrees": "num_spherical",
    "frequencies": "num_radial",
    "before_skip": "num_before_skip",
    "after_skip": "num_after_skip",
    "after_concat": "num_concat",
    "atom_layers": "num_atom",
    "cutoff": "cutoff",
    "envelope": "envelope_exponent",
    "quadruplet": "emb_size_quad",
    "spherical": "emb_size_sbf",
    "quadruplet_out": "emb_size_bil_quad",
    "interaction_cutoff": "int_cutoff",
}
QUADRUPLET_SIZES = ("quadruplet", "spherical", "quadruplet_out", "interaction_cutoff")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    energy_deviation, force_deviation = deviation(sys.argv[1])
    print(f"largest relative deviation: energy {energy_deviation:.1e}, force {force_deviation:.1e}")
    sys.exit(max(energy_deviation, force_deviation) > TOLERANCE)
