"""The parts of a profile that single pages of the book read."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, NonNegativeInt, PositiveInt

from asteroid.baselines import programs
from asteroid.runs.methods import METHODS
from asteroid.stages import STAGES, Recipe
from asteroid.training import TrainConfig
from asteroid.validation import EachOnce, Positive, validated


def _recipe(model: str, content: Any) -> Recipe:
    """A recipe from a file, where `training` holds what all stages share, and each stage what it has of its own."""
    if not isinstance(content, Mapping):
        return content
    parts = {name: content.get(name, {}) for name in ("training", *STAGES)}
    if wrong := [f"{name} is {part!r}" for name, part in parts.items() if not isinstance(part, Mapping)]:
        raise ValueError(f"{model}: {'; '.join(wrong)}; expected settings by name")
    if "gammas" not in content:
        raise ValueError(f"{model}: gammas is missing")
    others = {name: value for name, value in content.items() if name not in parts}
    try:
        TrainConfig(**parts["training"])  # so that what is wrong with it is said once
        stages = {stage: parts["training"] | parts[stage] for stage in STAGES}
        return Recipe(model=model, **stages, **others)
    except ValueError as error:
        raise ValueError(f"{model}: {error}") from None


def _recipes(content: Any) -> Any:
    if not isinstance(content, Mapping):
        return content
    return {model: _recipe(model, part) for model, part in content.items()}


Recipes = Annotated[Mapping[str, Recipe], BeforeValidator(_recipes)]
ANIRecipe = Annotated[Recipe, BeforeValidator(lambda content: _recipe("ani", content))]


@validated
class Empirical:
    """Labels that count as free (Table 1 and appendix A.3).

    Attributes:
        level: of the labels.
        labels: their number.
        budgets: of accurate ones beside them.
    """

    level: str
    labels: PositiveInt
    budgets: EachOnce[PositiveInt]


@validated
class Rounds:
    """Labels that are bought in rounds, each of which decides where the next ones go.

    Attributes:
        molecules: that it is shown on.
        budget: of all rounds, in accurate labels.
        number: of rounds.
        standard, asteroid: the pilots that it begins with, as in `Planner`; the frames of their cheap labels are the
            candidates for accurate ones.
    """

    molecules: tuple[str, ...]
    budget: PositiveInt
    number: PositiveInt
    standard: EachOnce[PositiveInt]
    asteroid: EachOnce[tuple[PositiveInt, PositiveInt]]


@validated
class Planner:
    """The page on planning.

    Attributes:
        model: that it trains.
        molecules: that it is judged on.
        standard: of its pilots, the labels of standard training.
        asteroid: of its pilots, the accurate and the cheap labels of ASTEROID.
        ratio: by molecule, what an accurate label costs in cheap ones, rounded, at which the paper's split is bought.
        rounds: see there.
    """

    model: str
    molecules: tuple[str, ...]
    standard: EachOnce[PositiveInt]
    asteroid: EachOnce[tuple[PositiveInt, PositiveInt]]
    ratio: Mapping[str, PositiveInt]
    rounds: Rounds


@validated
class Quickstart:
    """The notebook that trains while one watches.

    Attributes:
        budget, inaccurate_budget: labels of ASTEROID; standard training has as many as cost the same.
        md_steps: of its simulation.
        recipes: by model.
        molecule: None is the first of the profile.
    """

    budget: PositiveInt
    inaccurate_budget: PositiveInt
    md_steps: PositiveInt
    recipes: Recipes
    molecule: str | None = None


@validated
class Sampling:
    """Configurations of a user's own molecule, as `levels.series` takes them; the times in steps."""

    batch: PositiveInt
    trajectories: PositiveInt
    every: PositiveInt
    equilibration: NonNegativeInt


@validated
class YourMolecule:
    """The notebook that makes its own labels: what it does where its parameters say nothing else.

    Attributes:
        smiles: the molecule.
        embedded: the same molecule among those whose labels come with the library, which its demonstration then uses;
            None makes the labels.
        cheap_level: of its labels, or several, separated by commas, of which ten labels each choose one.
        accurate_level: of its labels.
        budget_hours: core hours for labels.
        sampling: of its configurations.
        trainings: of each way, from other initial weights.
        md_steps: of its simulation.
        recipes: by model; GemNet-T's, where there is one, from a budget of one core hour.
    """

    smiles: str
    cheap_level: str
    accurate_level: str
    budget_hours: Positive
    sampling: Sampling
    trainings: PositiveInt
    md_steps: PositiveInt
    recipes: Recipes
    embedded: str | None = None


@validated
class Dynamics:
    """The simulations of Fig. 6.

    Attributes:
        molecule: of the long ones (6a).
        steps, replicas: their length and number.
        step_molecule: of the short ones (6b).
        step_sizes: their time steps, fs.
        length: of each, fs.
        runs: with every time step.
    """

    molecule: str
    step_molecule: str
    steps: PositiveInt
    replicas: PositiveInt
    step_sizes: EachOnce[Positive]
    length: PositiveInt
    runs: PositiveInt


@validated
class TunedMolecule:
    """Levels and numbers of labels of a molecule on the page on tuning."""

    accurate: str
    inaccurate: str
    budget: PositiveInt
    inaccurate_budget: PositiveInt
    test: PositiveInt


@validated
class Tuning:
    """The page that shows how recipes were found.

    Attributes:
        molecules: of different size.
        searched: the one of them where settings were searched.
        learning_rates: by model and optimiser, that which was chosen first.
        fine_tuning: learning rates of the last stage.
        lengths: by method, in those of the recipe.
        repeated: molecules that are trained from several seeds.
        seeds: their number.
    """

    molecules: Mapping[str, TunedMolecule]
    searched: str
    learning_rates: Mapping[str, Mapping[str, EachOnce[Positive]]]
    fine_tuning: EachOnce[Positive]
    lengths: Mapping[str, EachOnce[Positive]]
    repeated: tuple[str, ...]
    seeds: PositiveInt


def _known_programs(given: Mapping[str, "Rival"]) -> Mapping[str, "Rival"]:
    for name, one in given.items():
        if f"{name}-tuned" not in METHODS:
            known = ", ".join(method.removesuffix("-tuned") for method in METHODS if f"{method}-inaccurate" in METHODS)
            raise ValueError(f"there is no program {name!r}; known: {known}")
        programs.checked({**one.settings, **one.pretraining}, tuned=True)
    return given


@validated
class Rival:
    """A program that others train with.

    Attributes:
        settings: of `programs.Settings`, from scratch.
        pretraining: those that are others on cheap labels.
        rates: learning rates of the fine-tuning that are searched; the first is that of all other runs.
    """

    settings: Mapping[str, Any]
    pretraining: Mapping[str, Any]
    rates: EachOnce[Positive]


@validated
class Rivals:
    """The page on what a user would pick instead.

    Attributes:
        model: whose θ_A weights the frames.
        seeds: number of seeds, by molecule.
        scratch: accurate labels from scratch.
        tuned: accurate labels after a pre-training on the most cheap ones.
        searched: molecule and accurate labels of the search for a learning rate.
        programs: by name.
    """

    model: str
    seeds: Mapping[str, PositiveInt]
    scratch: EachOnce[PositiveInt]
    tuned: EachOnce[PositiveInt]
    searched: tuple[str, PositiveInt]
    programs: Annotated[Mapping[str, Rival], AfterValidator(_known_programs)]
