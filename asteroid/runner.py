"""The one runner of a stage: from labels and a model to a force field that says where it comes from."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from asteroid import identity, models, state, training
from asteroid.datasets import LabelledSet
from asteroid.datasets.checks import check_same_molecule
from asteroid.domain import Domain
from asteroid.force_field import ForceField
from asteroid.provenance import Provenance, versions
from asteroid.training import TrainConfig, losses
from asteroid.training.objectives import Labelled, ScoreMatching


def run_stage(
    stage: str,
    model: nn.Module,
    train: LabelledSet | Sequence[LabelledSet],
    valid: LabelledSet | Sequence[LabelledSet] | None,
    config: TrainConfig,
    seed: int,
    folder: str | Path | None,
    progress: bool,
    *,
    bias: Tensor | None = None,
    gamma: float | None = None,
    objective: ScoreMatching | None = None,
    started_from: Provenance | None = None,
    network: nn.Module | None = None,
    learned: Labelled | None = None,
    beside: LabelledSet | None = None,
) -> ForceField:
    """Train a model and make it a force field. A stage that `folder` holds already is read back.

    Args:
        stage: its name, also that of its files.
        model: the one to be trained, of the force field.
        train: labels of one molecule, or of several, each of which has the settings that it would have alone.
        valid: a set for each of `train`, or None.
        config: settings of one molecule.
        seed: of the shuffles.
        folder: of the finished stage and its checkpoint, or None.
        progress: show a progress bar.
        bias: (frames of all sets,) that weights them, with the scale `gamma` in units of each set's median.
        objective: instead of energies and forces.
        started_from: provenance of the force field whose weights the model has.
        network: what is trained in the place of the model, which is a part of it.
        learned: what is learned from, where it is not `train` itself.
        beside: other labels that `learned` holds.

    Raises:
        ValueError: if sets are of different molecules or levels, or the folder holds another training.
    """
    sets, valid_sets = training.as_list(train), [] if valid is None else training.as_list(valid)
    _check_sets(sets, valid_sets)
    config = config.times(len(sets))
    fingerprints = {"train": sets, "valid": valid_sets} | ({} if beside is None else {"inaccurate": [beside]})
    about: Provenance = {
        "stage": stage,
        "molecule": "+".join(one.molecule for one in sets),
        "level": sets[0].level,
        "labels": sum(map(len, sets)),
        "fingerprints": {name: "-".join(one.fingerprint for one in part) for name, part in fingerprints.items()},
        "config": asdict(config),
        "seed": int(seed),  # NumPy's and PyTorch's numbers have no JSON
        "start": identity.fingerprint(model),
        "gamma": gamma and float(gamma),
        "score_matching": objective and asdict(objective),
    }
    if len(sets) > 1:
        about["together"] = {one.molecule: one.z.tolist() for one in sets}
    finished = checkpoint = None
    if folder is not None:
        finished, checkpoint = Path(folder, f"{stage}.safetensors"), Path(folder, f"{stage}.checkpoint")
    if finished is not None and finished.exists():
        # The seed says which weights a fresh model begins with; their last digits are the machine's.
        fresh = started_from is None
        known = {name: value for name, value in about.items() if not (fresh and name == "start")}
        return _read_back(finished, known, model, bias)
    weight = None
    if bias is not None:
        parts = bias.split([len(one) for one in sets])
        weight = torch.cat([losses.bias_weights(part, gamma * float(part.median())) for part in parts])
    for one in sets:
        models.check_elements(model, one.z)
    history = training.fit(
        (network or model).to("cuda" if torch.cuda.is_available() else "cpu"),
        learned or sets,
        valid_sets or None,
        config,
        objective=objective,
        weight=weight,
        seed=seed,
        checkpoint=checkpoint,
        progress=_caption(stage, sets, beside, objective) if progress else None,
        shapes=[models.static_shapes(model, one.pos.flatten(0, -3)) for one in training.as_list(learned or sets)],
    )
    provenance: Provenance = {
        **about,
        "domain": _domain(sets, started_from),
        **state.recorded(sets[0].provenance.get("settings")),
        "valid_force_mae": history.best,
        "history": asdict(history),
        "seconds": history.seconds,
        "versions": versions("torch"),
        "started_from": started_from,
    }
    # Where the energies were not learned, only the accurate ones can say what they start from.
    shift = training.energy_shift(model, (valid_sets if objective else sets)[0])
    force_field = ForceField(model, sets[0].z, shift, sets[0].level, provenance, bias)
    if finished is not None:
        force_field.save(finished)
        checkpoint.unlink(missing_ok=True)
    return force_field


def _check_sets(train: Sequence[LabelledSet], valid: Sequence[LabelledSet]) -> None:
    for mine, held_out in zip(train, valid):
        check_same_molecule(mine, held_out)
    found = ", ".join(f"{one.level} of {one.molecule}" for one in train)
    if len({one.level for one in train}) > 1:
        raise ValueError(f"the sets are of different levels: {found}; a force field has one, so train on one")
    if len({one.molecule for one in train}) < len(train):
        raise ValueError(f"a molecule is there twice: {found}; give one set for each")


def _read_back(path: Path, about: Provenance, model: nn.Module, bias: Tensor | None) -> ForceField:
    """The finished stage; ValueError if it is another one than is asked for."""
    found = ForceField.load(path)
    same = all(found.provenance.get(name) == value for name, value in about.items())
    same = same and models.describe(found.model) == models.describe(model) and identity.agree(found.bias, bias)
    if not same:
        raise ValueError(
            f"{path} is of another training (labels, settings, bias or starting weights); delete it or use another "
            "folder"
        )
    return found


def _caption(stage: str, sets: Sequence[LabelledSet], beside: LabelledSet | None, objective: Any) -> str:
    parts = [f"{sum(map(len, sets))} {sets[0].level}", *([] if beside is None else [f"{len(beside)} {beside.level}"])]
    return f"{stage} ({' + '.join(parts)} {'frames' if objective else 'labels'})"


def _domain(sets: Sequence[LabelledSet], started_from: Provenance | None) -> dict[str, Any] | None:
    """What the force field has seen; None of several molecules, since it has the order of atoms of one."""
    if len(sets) > 1:
        return None
    domain = Domain.of(sets[0].pos, sets[0].provenance.get("temperature_K"))
    before = (started_from or {}).get("domain")
    return (domain.joined(Domain.from_json(before)) if before else domain).to_json()
