"""Profiles: how large the experiments are. The notebooks and the code are the same for all of them.

`smoke` takes minutes and shows that everything runs; `laptop` takes some hours on two cores, on embedded labels; `md17`
is the paper's molecules with models that two cores can train; `paper` is the published protocol and needs a GPU.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from asteroid.profiles.sections import (
    ANIRecipe,
    Dynamics,
    Empirical,
    Planner,
    Quickstart,
    Recipes,
    Rivals,
    Tuning,
    YourMolecule,
)
from asteroid.runs import RunSpec, methods
from asteroid.runs.toy import ToySizes
from asteroid.stages import Recipe
from asteroid.validation import EachOnce, validated

FOLDER = Path(__file__).parent


@validated
class Profile:
    """Size of the experiments.

    Attributes:
        name: file name without suffix.
        molecules: those of the book's figures.
        accurate: accurate level, the same for all molecules or by molecule.
        inaccurate: level of the cheap labels.
        budgets: accurate labels of standard training.
        few: accurate labels in all, those for validation included, below those budgets.
        given_up: accurate labels that ASTEROID trades for cheap ones.
        inaccurate_budgets: cheap labels that it gets for them, one per assumed cost ratio.
        cheap_alone: by cheap level, the numbers of labels of models trained on that level alone (Fig 1b).
        sampled: level that drove the simulation whose geometries score matching learns from.
        geometries: numbers of them.
        empirical: labels that count as free (Table 1 and appendix A.3).
        gammas: values of γ, in units of the median bias, whose effect is shown (Fig 7a).
        together: molecules that share one pre-training (Table 5), two or more, or none.
        planner, quickstart, your_molecule, dynamics, tuning, toy: of single pages, see `profiles.sections` and
            `runs.toy`.
        seeds: of splits, initial weights and shuffles.
        rivals: programs that others train with; None runs none.
        pages_train: a page makes the runs that it misses. Where they would take days, the pages that
            `book/variants.yml` gives to the profile show what is recorded; `make results` makes the rest.
        valid, test: accurate frames held out.
        recipes: settings by model.
        ani: settings of the recipe of ANI-1ccx, which has a model of its own.
    """

    name: str
    molecules: EachOnce[str]
    accurate: str | Mapping[str, str]
    inaccurate: str
    budgets: EachOnce[PositiveInt]
    few: tuple[PositiveInt, ...]
    given_up: PositiveInt
    inaccurate_budgets: EachOnce[PositiveInt]
    cheap_alone: Mapping[str, EachOnce[PositiveInt]]
    sampled: str
    geometries: EachOnce[PositiveInt]
    empirical: Empirical
    gammas: EachOnce[PositiveFloat]
    together: tuple[str, ...]
    planner: Planner
    seeds: EachOnce[NonNegativeInt]
    valid: PositiveInt
    test: PositiveInt
    recipes: Recipes
    ani: ANIRecipe
    quickstart: Quickstart
    your_molecule: YourMolecule
    dynamics: Dynamics
    toy: ToySizes
    tuning: Tuning
    rivals: Rivals | None = None
    pages_train: bool = True

    def accurate_level(self, molecule: str) -> str:
        """Level of a molecule's accurate labels; ValueError lists the molecules where the level depends on them."""
        if isinstance(self.accurate, str):
            return self.accurate
        if molecule not in self.accurate:
            raise ValueError(f"profile {self.name!r} has no molecule {molecule!r}; it has: {', '.join(self.accurate)}")
        return self.accurate[molecule]

    def recipe(self, model: str, quick: bool = False) -> Recipe:
        """Settings of a model, or the quickstart's; ValueError lists the models that the profile has."""
        recipes = self.quickstart.recipes if quick else self.recipes
        if model not in recipes:
            part = "the quickstart of profile" if quick else "profile"
            raise ValueError(f"{part} {self.name!r} has no model {model!r}; it has: {', '.join(recipes)}")
        return recipes[model]

    def specs(self, method: str, model: str, molecules: str | tuple[str, ...] | None = None) -> list[RunSpec]:
        """The runs of a method over molecules, budgets, amounts of inaccurate labels and seeds.

        Args:
            method: one of `methods.METHODS`.
            model: name of the architecture; of the method "ani" it is always "ani".
            molecules: one or several, by default the profile's; of a method that trains several together, those that
                it trains.
        """
        about, recipe = methods.named(method), self.ani if method == "ani" else self.recipe(model)
        budgets = [budget - self.given_up * about.trades for budget in self.budgets]
        budgets = [0] if "budget" in about.unused else budgets
        together = {molecule: self.accurate_level(molecule) for molecule in self.together}
        if molecules is None:
            molecules = self.molecules if "together" in about.unused else self.together
        elif isinstance(molecules, str):
            molecules = (molecules,)
        return [
            RunSpec(
                molecule=molecule,
                accurate=self.accurate_level(molecule),
                inaccurate=level,
                method=method,
                budget=budget,
                inaccurate_budget=labels,
                valid=self.valid,
                test=self.test,
                seed=seed,
                recipe=recipe,
                together=together,
            )
            for molecule in molecules
            for level, labels in self.cheap_labels[about.cheap]
            for budget in budgets
            for seed in self.seeds
        ]

    @property
    def cheap_labels(self) -> dict[str, list[tuple[str, int]]]:
        """Level and numbers of the cheap labels that methods get, by `Method.cheap`.

        Those that ASTEROID is compared with get the number with which it does best.
        """
        numbers = [(self.inaccurate, labels) for labels in self.inaccurate_budgets]
        geometries = [(self.sampled, frames) for frames in self.geometries]
        return {
            "none": [(self.inaccurate, 0)],
            "all": numbers,
            "most": [max(numbers)],
            "alone": [(level, labels) for level, many in self.cheap_alone.items() for labels in many],
            "geometries": geometries,
            "most geometries": [max(geometries)],
        }

    def few_specs(self, method: str, model: str, molecules: tuple[str, ...] | None = None) -> list[RunSpec]:
        """Standard training, sGDML or ASTEROID with `few` accurate labels in all.

        A fifth of them validates where a training without validation would overfit. ASTEROID's last stage needs none;
        it has the most inaccurate labels, and no weights: so few labels say little about the bias of a frame, and one
        stage 2 then serves all budgets.
        """
        validating = method != "asteroid"
        method = "asteroid-unweighted" if method == "asteroid" else method
        return [
            replace(spec, budget=labels - valid, valid=valid)
            for spec in self.low_resource(method, model, molecules)
            for labels in self.few
            for valid in (labels // 5 if validating else 0,)
        ]

    def low_resource(self, method: str, model: str, molecules: tuple[str, ...] | None = None) -> list[RunSpec]:
        """Those of `specs` with the fewest accurate labels and the most inaccurate ones."""
        specs = self.specs(method, model, molecules)
        fewest = min((spec.budget for spec in specs), default=0)
        most = max((spec.inaccurate_budget for spec in specs), default=0)
        return [spec for spec in specs if (spec.budget, spec.inaccurate_budget) == (fewest, most)]

    def shown(self) -> list[RunSpec]:
        """The runs that the pages and the claims show.

        But for the ways that are compared (`compared`), which may lack a package, those that choose their frames as
        they go (`rounds`), and variants of settings that single pages make.
        """
        methods = ("standard", "inaccurate", "asteroid", "score-matching-not-tuned", "score-matching")
        specs = []
        for model in self.recipes:
            specs += [spec for method in methods for spec in self.specs(method, model)]
            for part in ("asteroid-not-tuned", "asteroid-unweighted", "asteroid-multi"):
                specs += self.low_resource(part, model)
            specs += self.empirical_specs(model)
            specs += [spec for method in ("standard", "asteroid") for spec in self.few_specs(method, model)]
        specs += [spec for gamma in self.gammas for spec in self.gamma_specs("gemnet-t", gamma)]
        for molecule in self.planner.molecules:
            specs += [spec for part in self.planner_specs(molecule).values() for spec in part]
        return specs

    def empirical_specs(
        self, model: str, molecules: tuple[str, ...] | None = None, longer: bool = False
    ) -> list[RunSpec]:
        """ASTEROID with labels of an empirical force field, for which no accurate label is given up (section 5.3).

        As in the paper, every model is at the smallest budget (Table 1), GemNet at larger ones too (appendix A.3). Our
        own is `longer`: the last stage is then as long as after score matching.
        """
        level, labels, budgets = self.empirical.level, self.empirical.labels, self.empirical.budgets
        if not model.startswith("gemnet"):
            budgets = [min(budgets)]
        recipe = self.recipe(model)
        recipe = replace(recipe, fine_tuning=recipe.score_fine_tuning) if longer else recipe
        return [
            replace(spec, method="asteroid", inaccurate=level, inaccurate_budget=labels, recipe=recipe)
            for spec in self.specs("standard", model, molecules)
            if spec.budget in budgets
        ]

    def gamma_specs(self, model: str, gamma: float) -> list[RunSpec]:
        """ASTEROID with one γ and the fewest accurate labels; infinity is training without weights (Fig 7a)."""
        if gamma == math.inf:
            return self.low_resource("asteroid-unweighted", model)
        specs = self.low_resource("asteroid", model)
        return [replace(spec, recipe=replace(spec.recipe, gammas=(gamma,))) for spec in specs]

    def planner_specs(self, molecule: str) -> dict[str, list[RunSpec]]:
        """The runs of the pages on planning, by name.

        "pilots" are what the planner learns from, "grid" what it is judged by, all of `specs`. "fixed" is the paper's
        split of each budget that is larger than the pilots: `given_up` labels for cheap ones that cost as much by their
        measured ratio. "sampled" is ASTEROID with the fewest accurate labels and cheap ones of the level that drove the
        simulation, to judge the bias report by.
        """
        model, cheap = self.planner.model, self.given_up * self.planner.ratio[molecule]
        larger = [budget for budget in self.budgets if budget > max(self.planner.standard)]
        sizes = {
            "pilots": [*((labels, 0) for labels in self.planner.standard), *self.planner.asteroid],
            "fixed": [(budget - self.given_up, cheap) for budget in larger],
        }
        one = self.specs("standard", model, (molecule,))[0]
        specs = {
            name: [
                replace(one, method="asteroid" if i else "standard", budget=a, inaccurate_budget=i, seed=seed)
                for a, i in pairs
                for seed in self.seeds
            ]
            for name, pairs in sizes.items()
        }
        few = self.low_resource("asteroid", model, (molecule,))
        return specs | {
            "grid": [spec for method in ("standard", "asteroid") for spec in self.specs(method, model, (molecule,))],
            "sampled": [replace(spec, inaccurate=self.sampled) for spec in few],
        }

    def cheap_level_specs(self, molecule: str) -> dict[str, list[RunSpec]]:
        """The runs that may prove a ranking of cheap levels wrong, by the way to train; most have no record yet.

        ASTEROID has the fewest accurate labels and as many of each cheap level; Δ-ML is that of `compared`.
        """
        few = self.low_resource("asteroid", self.planner.model, (molecule,))
        alike = [replace(spec, inaccurate=level) for level in self.cheap_alone for spec in few]
        delta = [spec for specs in self.compared(self.planner.model).values() for spec in specs]
        delta = [spec for spec in delta if (spec.method, spec.molecule) == ("delta", molecule)]
        return {"ASTEROID": alike, "Δ-ML": delta}

    def tuning_specs(self, model: str) -> dict[str, dict[tuple, RunSpec]]:
        """The runs of the page on tuning, by name and by what varies; but for "seeds" of the first seed only.

        "optimizers": standard training by molecule, optimiser and learning rate; more than one rate where it was
        searched. "lengths": by method and factor, standard training, cheap labels alone and ASTEROID, whose last stage
        alone is lengthened. "rates": ASTEROID by the learning rate of its last stage. "validation": by method and
        number of validation frames, with the second of `few` budgets, ASTEROID without weights. "seeds": by molecule,
        method and seed.
        """
        recipe, tuning = self.recipe(model), self.tuning
        searched = tuning.searched

        def spec(molecule: str, method: str, recipe: Recipe, seed: int = self.seeds[0]) -> RunSpec:
            sizes = asdict(tuning.molecules[molecule])
            if method != "standard":  # at the cost of standard training's
                sizes["budget"] -= self.given_up
            return RunSpec(molecule=molecule, method=method, recipe=recipe, seed=seed, valid=self.valid, **sizes)

        def changed(stage: str, **changes: Any) -> Recipe:
            return replace(recipe, gammas=recipe.gammas[:1], **{stage: replace(getattr(recipe, stage), **changes)})

        def longer(stage: str, factor: float) -> Recipe:
            config = getattr(recipe, stage)
            return changed(stage, steps=round(factor * config.steps), decay_steps=round(factor * config.decay_steps))

        stage_of = {"standard": "accurate", "inaccurate": "inaccurate", "asteroid": "fine_tuning"}
        return {
            "optimizers": {
                (molecule, optimizer, rate): spec(
                    molecule, "standard", changed("accurate", optimizer=optimizer, learning_rate=rate)
                )
                for molecule in tuning.molecules
                for optimizer, rates in tuning.learning_rates[model].items()
                for rate in (rates if molecule == searched else rates[:1])
            },
            "lengths": {
                (method, factor): spec(searched, method, longer(stage_of[method], factor))
                for method, factors in tuning.lengths.items()
                for factor in factors
            },
            "rates": {
                (rate,): spec(searched, "asteroid", changed("fine_tuning", learning_rate=rate))
                for rate in tuning.fine_tuning
            },
            "validation": {
                (method, valid): replace(spec(searched, run, changed("accurate")), budget=budget, valid=valid)
                for budget in self.few[1:2]
                for method, run in (("standard", "standard"), ("asteroid", "asteroid-unweighted"))
                for valid in (0, self.valid)
            },
            "seeds": {
                (molecule, method, seed): spec(molecule, method, recipe, seed)
                for molecule in tuning.repeated
                for method in ("standard", "asteroid")
                for seed in range(tuning.seeds)
            },
        }

    def compared(self, model: str) -> dict[str, list[RunSpec]]:
        """The runs of Table 4, and of two ways that it lacks, by name.

        Standard training, ASTEROID and sGDML are at all budgets, the others at the smallest; all have the most
        inaccurate labels. Δ-ML on labels that cost next to nothing gives up no accurate one. `model` is the
        architecture of the ways that have none of their own.
        """
        most = max(self.inaccurate_budgets)
        ways = {
            "standard": self.specs("standard", model),
            "ASTEROID": [spec for spec in self.specs("asteroid", model) if spec.inaccurate_budget == most],
            "sGDML": self.specs("sgdml", model),
            "fidelity embedding": self.low_resource("fidelity", model),
            "two heads": self.low_resource("two-heads", model),
            f"Δ-ML on {self.inaccurate.upper()}": self.low_resource("delta", model),
        }
        if self.sampled != self.inaccurate:
            free = self.low_resource("standard", model)
            ways[f"Δ-ML on {self.sampled.upper()}"] = [
                replace(spec, method="delta", inaccurate=self.sampled) for spec in free
            ]
        return ways | {
            "ANI's recipe": self.low_resource("ani", model, [one for one in self.molecules if one in self.together]),
            "ANI-1ccx": self.specs("ani-1ccx", model),
            "ANI-1ccx, fine-tuned": self.low_resource("ani-1ccx-tuned", model),
        }

    def rival_specs(self) -> dict[str, list[RunSpec]]:
        """The runs of the programs that others train with, by way; none where the profile has no `rivals`.

        The learning rate of the fine-tuning was searched on validation frames, with one molecule, budget and seed; what
        was tried is a way of its own.
        """
        ways: dict[str, list[RunSpec]] = {}
        for name, rival in self.rivals.programs.items() if self.rivals else ():
            label = methods.METHODS[name].label
            in_two_stages = {**rival.settings, **rival.pretraining}
            ways[label] = self._rival_runs(name, self.rivals.scratch, rival.settings)
            for method in (f"{name}-tuned", f"{name}-weighted-tuned"):
                if method in methods.METHODS:  # not every program has weights of frames
                    settings = {**in_two_stages, "tuning_learning_rate": rival.rates[0]}
                    ways[methods.METHODS[method].label] = self._rival_runs(method, self.rivals.tuned, settings)
            molecule, budget = self.rivals.searched
            ways[f"{label}, learning rates"] = [
                spec
                for rate in rival.rates
                for spec in self._rival_runs(
                    f"{name}-tuned", (budget,), {**in_two_stages, "tuning_learning_rate": rate}, {molecule: 1}
                )
            ]
        return ways

    def _rival_runs(
        self, method: str, budgets: tuple[int, ...], settings: Mapping[str, Any], seeds: Mapping[str, int] | None = None
    ) -> list[RunSpec]:
        return [
            RunSpec(
                molecule=molecule,
                accurate=self.accurate_level(molecule),
                inaccurate=self.inaccurate,
                method=method,
                budget=budget,
                inaccurate_budget=max(self.inaccurate_budgets),
                valid=self.valid,
                test=self.test,
                seed=seed,
                recipe=self.recipe(self.rivals.model),
                program=settings,
            )
            for molecule, number in (seeds or self.rivals.seeds).items()
            for budget in budgets
            for seed in range(number)
        ]


def names() -> list[str]:
    """Names of the profiles."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load(name: str) -> Profile:
    """Read a profile.

    Raises:
        ValueError: for an unknown profile, or a file with missing or unknown settings.
    """
    if name not in names():
        raise ValueError(f"unknown profile {name!r}; known: {', '.join(names())}")
    content = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    try:
        return Profile(name, **content)
    except ValueError as error:
        raise ValueError(f"profile {name!r}: {error}") from None
