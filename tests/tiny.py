"""Small models, recipes, runs and label sets that several test files share."""

from dataclasses import dataclass, replace
from importlib.util import find_spec

import pytest
import torch
from click.testing import CliRunner, Result
from torch import Tensor, nn

from asteroid import datasets, models
from asteroid.__main__ import main
from asteroid.runs import RunSpec
from asteroid.stages import Recipe
from asteroid.training import TrainConfig

MODEL = {"layers": 2, "hidden": 16, "energy_scale": 10.0}
TRAIN = TrainConfig(
    steps=12, batch_size=5, learning_rate=0.02, warmup=2, decay_steps=1000, ema=0.9, eval_every=4, compile=False
)
RECIPE = Recipe(
    model_config=MODEL,
    accurate=TRAIN,
    identification=TRAIN,
    inaccurate=TRAIN,
    fine_tuning=replace(TRAIN, learning_rate=0.002),
    gammas=(1.0,),
)
_HELD_FIXED = {"molecule": "methanol", "valid": 5, "test": 8, "recipe": RECIPE}
STANDARD = RunSpec(method="standard", budget=6, **_HELD_FIXED)
ASTEROID = RunSpec(method="asteroid", budget=6, inaccurate_budget=10, **_HELD_FIXED)


@dataclass
class Frames:
    """Labels that no check has seen, for what `LabelledSet` would refuse."""

    z: Tensor
    pos: Tensor
    energy: Tensor
    force: Tensor

    def __len__(self) -> int:
        return len(self.energy)


def frames(labelled: datasets.LabelledSet, **changes: Tensor) -> Frames:
    """Copies of the labels, with changes."""
    fields = {name: getattr(labelled, name).clone() for name in ("z", "pos", "energy", "force")}
    return Frames(**(fields | changes))


def methanol(
    budget: int = 20, inaccurate_budget: int | None = 30, valid: int = 20, test: int = 30, seed: int = 0
) -> datasets.Split:
    """A small split of the embedded methanol labels, CCSD(T) and PBE."""
    accurate = datasets.load("methanol", "ccsd(t)")
    inaccurate = datasets.load("methanol", "pbe") if inaccurate_budget else None
    return datasets.split(
        accurate, inaccurate, budget, seed, inaccurate_budget=inaccurate_budget, valid=valid, test=test
    )


def model(seed: int = 0, name: str = "egnn", dtype: torch.dtype = torch.float32, **config: object) -> nn.Module:
    """A small model whose initial weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return models.build(name, **(MODEL | config)).to(dtype)


def corrupted(labelled: datasets.LabelledSet, count: int, size: float = 30.0) -> datasets.LabelledSet:
    """The same frames, random forces of a size (kcal/mol/Å) added to the labels of the first `count`."""
    force = labelled.force.clone()
    noise = torch.randn(force[:count].shape, generator=torch.Generator().manual_seed(0), dtype=force.dtype)
    force[:count] += size * noise
    return labelled.derived(force=force)


def with_recipe(spec: RunSpec, **changes: object) -> RunSpec:
    """A run with other settings in its recipe."""
    return replace(spec, recipe=replace(spec.recipe, **changes))


def weights(model: nn.Module) -> Tensor:
    """All parameters of a model in one vector."""
    return nn.utils.parameters_to_vector(model.parameters()).detach().clone()


def shell(*arguments: str) -> Result:
    """What `python -m asteroid ...` answers: exit_code, stdout and stderr."""
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def needs(*packages: str) -> pytest.MarkDecorator:
    """Skips a test where a package is not installed."""
    absent = [name for name in packages if find_spec(name) is None]
    return pytest.mark.skipif(bool(absent), reason=f"not installed: {', '.join(absent)}")
