"""Which cheap level: several are compared on a few frames that all of them have labelled, before any training."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from asteroid import statistics
from asteroid.datasets import LabelledSet
from asteroid.planning import planner
from asteroid.planning.bias import kernels, smooth_kernel

if TYPE_CHECKING:
    import pandas as pd

TAKE, WORSE, USELESS = "take it", "leaves more", "no better than accurate labels alone"
TIED = "cannot be told apart"
ALONE = "accurate labels alone"  # the row of no cheap level
FEWEST = 5  # frames
_RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # of the mean covariance


def cheap_levels(
    accurate: LabelledSet, cheap: Mapping[str, LabelledSet], budget_hours: float | None = None
) -> "pd.DataFrame":
    """Compare cheap levels by what a correction that is learned from few accurate labels leaves of their bias.

    The bias F_cheap − F counts little in itself, since fine-tuning removes what is alike in all frames. So each frame
    is left out in turn, the bias of the others is learned, and what that leaves of it on the frame is looked at. A pull
    along each pair of atoms, the *same* in all frames, is the first thing to learn; the rest *varies*. A correction
    that changes smoothly with the geometry learns of that, too: what it leaves is *left*. (One of second degree, as in
    `bias.bias_report`, needs more than ten frames.) Accurate forces are learned in the same way, for comparison: a
    level that leaves no less is of no use. Of two levels, one is better if it leaves less with 97.5 % certainty, by the
    scatter of the differences between frames. As frames share what they were predicted from, that is a little too sure.

    The *estimate* for a budget is what is left times √(labels learned from here / accurate labels), with the accurate
    labels that `planner.spend` buys beside cheap ones. It is the error of the cheap level with such a correction; that
    of a network depends on the network as well, and on how many cheap labels it has.

    Args:
        accurate: about ten frames, spread over those that will be learned.
        cheap: by the name of the level, labels of these frames and any others. One that was not timed counts as free.
        budget_hours: of one core, for all labels; None: as many accurate labels whatever the level.

    Returns:
        A row per level, and `ALONE`; sizes are means over force components, kcal/mol/Å. Columns: `seconds` of a label,
        `for one accurate`, how many cost as much; `bias`, the sum of `same` and `varies`; `left`, its 95 % interval
        `low` and `high`; for a budget `accurate labels`, the `estimate` and its interval `from` and `to`; `verdict`.

    Raises:
        ValueError: if there are fewer than 5 frames or no level, a level lacks frames, has another molecule or the
            accurate labels themselves; if with a budget the accurate labels were not timed, it is too small, or a level
            is not cheaper.

    Source:
        Forces learned as derivatives of a random energy: Chmiela et al., Sci. Adv. 3, e1603015 (2017). A difference of
        levels is easier to learn: Ramakrishnan et al., J. Chem. Theory Comput. 11, 2087 (2015).
    """
    import pandas as pd

    biases = _biases(accurate, cheap)
    bias = np.stack([*biases.values(), accurate.force.numpy()])
    pos, price = accurate.pos.numpy(), accurate.median_seconds
    size, varies, least = map(_size, (bias, left_out(kernels(pos)[0], bias), left_out(smooth_kernel(pos), bias)))
    rows, left = {}, dict(zip((*biases, ALONE), least, strict=True))
    for name, whole, rest in zip(left, size.mean(axis=1), varies.mean(axis=1), strict=True):
        seconds = cheap[name].median_seconds if name in cheap else None
        rows[name] = {
            "seconds": seconds,
            "for one accurate": price / seconds if price and seconds else None,
            "bias": whole,
            "same": whole - rest,
            "varies": rest,
            **dict(zip(("left", "low", "high"), statistics.mean_interval(left[name]), strict=True)),
        }
        if budget_hours is not None:
            labels = _affordable(budget_hours, price, seconds, alone=name == ALONE)
            left[name] = left[name] * np.sqrt((len(accurate) - 1) / labels)
            about = dict(zip(("estimate", "from", "to"), statistics.mean_interval(left[name]), strict=True))
            rows[name] |= {"accurate labels": labels, **about}
    rows[ALONE] |= {"seconds": price, "for one accurate": 1.0, "bias": None, "same": None, "varies": None}
    table = pd.DataFrame.from_dict(rows, orient="index", dtype=object).rename_axis("level")
    numbers = table.astype({name: float for name in table if name != "accurate labels"})
    return numbers.assign(verdict=verdicts(left))


def verdicts(left: Mapping[str, np.ndarray]) -> dict[str, str]:
    """What to do with each level, from (frames,) of what it leaves; `ALONE` is that of no cheap level."""
    means = {name: of_frames.mean() for name, of_frames in left.items() if name != ALONE}
    best = min(means, key=means.get)

    def surely_less(one: str, other: str) -> bool:
        return statistics.mean_interval(left[other] - left[one])[1] > 0

    found = {name: "" if surely_less(name, ALONE) else USELESS for name in means}
    tied = [name for name in means if name != best and not found[name] and not surely_less(best, name)]
    said = {name: f"{TIED} from {best}" if name in tied else f"{WORSE} than {best}" for name in means}
    said[best] = f"{TIED} from {' and '.join(tied)}" if tied else TAKE
    return {name: found[name] or said[name] for name in means} | {ALONE: ""}


def left_out(kernel: np.ndarray, force: np.ndarray) -> np.ndarray:
    """What ridge regression on all other frames leaves of each frame's force (levels, frames, atoms, 3).

    All at once: with G the inverse of the kernel with its ridge, it is (G_kk)⁻¹ (G F)_k for the block of frame k. The
    ridge is, for each level, that which leaves least: what cannot be learned needs a large one.
    """
    levels, frames, atoms, _ = force.shape
    flat, own, tried = force.reshape(levels, -1).T, np.arange(frames), []
    for ridge in _RIDGES:
        inverse = np.linalg.inv(kernel + ridge * np.trace(kernel) / len(kernel) * np.eye(len(kernel)))
        blocks = inverse.reshape(frames, 3 * atoms, frames, 3 * atoms)[own, :, own]
        left = np.linalg.solve(blocks, (inverse @ flat).reshape(frames, 3 * atoms, levels))
        tried.append(left.transpose(2, 0, 1).reshape(force.shape))
    best = np.abs(tried).mean(axis=(2, 3, 4)).argmin(axis=0)
    return np.array(tried)[best, np.arange(levels)]


def _biases(accurate: LabelledSet, cheap: Mapping[str, LabelledSet]) -> dict[str, np.ndarray]:
    """By level (frames, atoms, 3), at the accurate frames."""
    if len(accurate) < FEWEST or not cheap:
        what = f"{accurate} and {len(cheap)} cheap levels"
        raise ValueError(
            f"a comparison takes {FEWEST} accurate frames, better ten, and a cheap level; there are {what}"
        )
    found = {}
    for name, labels in cheap.items():
        mine, theirs = accurate.paired_with(labels)
        if len(mine) < len(accurate):
            common = accurate.common_with(labels)
            raise ValueError(f"{name} lacks accurate frames ({common}); label the same frames at all levels")
        found[name] = (labels.force[theirs] - accurate.force).numpy()
        if not found[name].any():
            raise ValueError(f"{name} has the labels of {accurate.level}; give those of another level")
    return found


def _affordable(budget_hours: float, price: float | None, seconds: float | None, alone: bool) -> int:
    """Accurate labels that a budget leaves to train on, beside the cheap ones."""
    if price is None:
        raise ValueError("the accurate labels were not timed, so that a budget says nothing; leave it out")
    spent = planner.spend(3600 * budget_hours, price, seconds or 1e-9 * price)
    return spent.standard if alone else spent.asteroid


def _size(force: np.ndarray) -> np.ndarray:
    """(levels, frames) mean size of a component."""
    return np.abs(force).mean(axis=(2, 3))
