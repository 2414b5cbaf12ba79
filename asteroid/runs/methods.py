"""The methods that are compared, and which settings of a run each of them looks at."""

from dataclasses import fields

from asteroid.stages import Recipe

METHODS = {
    "standard": "accurate labels only",
    "asteroid": "ASTEROID",
    "asteroid-unweighted": "ASTEROID without bias-aware weights",
    "asteroid-not-tuned": "ASTEROID without fine-tuning",
    "asteroid-multi": "ASTEROID, pre-trained on several molecules",
    "multi-not-tuned": "pre-training on several molecules",
    "inaccurate": "inaccurate labels only",
    "score-matching": "score matching and fine-tuning",
    "score-matching-not-tuned": "score matching, no labels",
    "delta": "Δ-ML",
    "sgdml": "sGDML",
    "fidelity": "one model, fidelity embedding",
    "two-heads": "one model, two heads",
    "ani": "recipe of ANI-1ccx",
    "ani-1ccx": "ANI-1ccx",
    "ani-1ccx-tuned": "ANI-1ccx and fine-tuning",
}

MODEL_NAMES = {"egnn": "EGNN", "gemnet-t": "GemNet-T", "gemnet-q": "GemNet-Q", "ani": "ANI"}

TRADING = (
    *("asteroid", "asteroid-unweighted", "asteroid-not-tuned", "asteroid-multi"),
    *("fidelity", "two-heads", "delta", "ani"),
)
"""Methods that give up accurate labels for cheap ones of the same cost."""

_STAGES_ONE_AND_TWO = ("recipe.identification", "recipe.inaccurate", "recipe.gammas")
_SCORE_MATCHING = ("recipe.score_matching", "recipe.slices", "recipe.temperature", "recipe.score_fine_tuning")
_RECIPE = tuple(f"recipe.{setting.name}" for setting in fields(Recipe))
# By method, the fields of a run that it does not look at: they are no part of its identity.
UNUSED = {
    "standard": (
        "inaccurate",
        "inaccurate_budget",
        *_STAGES_ONE_AND_TWO,
        "recipe.fine_tuning",
        *_SCORE_MATCHING,
    ),
    "asteroid": ("recipe.accurate", *_SCORE_MATCHING),
    "asteroid-unweighted": ("recipe.accurate", "recipe.identification", "recipe.gammas", *_SCORE_MATCHING),
    "asteroid-not-tuned": ("recipe.accurate", "recipe.fine_tuning", *_SCORE_MATCHING),
    "asteroid-multi": ("recipe.accurate", *_SCORE_MATCHING),
    "multi-not-tuned": ("recipe.accurate", "recipe.fine_tuning", *_SCORE_MATCHING),
    "inaccurate": (
        "budget",
        "recipe.accurate",
        "recipe.identification",
        "recipe.gammas",
        "recipe.fine_tuning",
        *_SCORE_MATCHING,
    ),
    "score-matching": ("recipe.accurate", *_STAGES_ONE_AND_TWO, "recipe.fine_tuning"),
    "score-matching-not-tuned": (
        "budget",
        "recipe.accurate",
        *_STAGES_ONE_AND_TWO,
        "recipe.fine_tuning",
        "recipe.score_fine_tuning",
    ),
    # It has as many cheap labels as accurate ones, of the same frames.
    "delta": ("inaccurate_budget", *_STAGES_ONE_AND_TWO, "recipe.fine_tuning", *_SCORE_MATCHING),
    "sgdml": ("inaccurate", "inaccurate_budget", *_RECIPE),
    **dict.fromkeys(("fidelity", "two-heads"), (*_STAGES_ONE_AND_TWO, "recipe.fine_tuning", *_SCORE_MATCHING)),
    "ani": ("recipe.accurate", "recipe.identification", "recipe.gammas", *_SCORE_MATCHING),
    "ani-1ccx": ("budget", "inaccurate", "inaccurate_budget", *_RECIPE),
    "ani-1ccx-tuned": ("inaccurate", "inaccurate_budget", *(name for name in _RECIPE if name != "recipe.fine_tuning")),
}
_SEVERAL = ("asteroid-multi", "multi-not-tuned", "ani")
UNUSED |= {method: (*names, "together") for method, names in UNUSED.items() if method not in _SEVERAL}
