"""Training, validation and test frames, and cheap labels that share none of the latter two."""

import numbers
from dataclasses import dataclass

import numpy as np

from asteroid.datasets.checks import check_same_molecule
from asteroid.datasets.frames import LabelledSet, same_geometries
from asteroid.datasets.sources import DatasetError
from asteroid.datasets.structure import without_repeats


@dataclass(frozen=True, eq=False)
class Split:
    """Disjoint parts of the accurate set, and the inaccurate frames that share nothing with `valid` and `test`."""

    train: LabelledSet
    valid: LabelledSet | None
    test: LabelledSet
    inaccurate: LabelledSet | None


def split(
    accurate: LabelledSet,
    inaccurate: LabelledSet | None,
    budget: int,
    seed: int,
    *,
    inaccurate_budget: int | None = None,
    valid: int = 50,
    test: int | None = None,
    block: int = 1,
) -> Split:
    """Choose training, validation and test frames; smaller budgets are parts of larger ones.

    The accurate frames are put in one order, `numpy.random.default_rng([seed, 0]).permutation`: the first `valid` are
    for validation, the next `budget` for training, the last `test` for testing. So validation does not depend on the
    budget, and neither does the test set where `test` is given. Where the set was published in two parts, as
    MD17@CCSD(T) was, frames for validation and training are of the first part and those for testing of the second. The
    inaccurate frames whose geometry is in neither validation nor test are put in the order of
    `default_rng([seed, 1])`, and the first `inaccurate_budget` are taken.

    A geometry is the same however it lies, as its mirror image or with like atoms exchanged. Of accurate frames that
    repeat one, as a trajectory that was started again does, the first in the order is taken and the others are left.
    MD17 is taken as it was published, with up to 3 of 1000 frames twice, so that its parts have the sizes and test
    frames of others: there, training frames with the geometry of one for validation or testing, and validation frames
    with that of one for testing, are left out of their part, which is then smaller by these few.

    Args:
        accurate: labels of the accurate level.
        inaccurate: labels of the inaccurate level, of the same molecule, or None.
        budget: number of accurate training frames.
        seed: of both orders.
        inaccurate_budget: number of inaccurate frames; None: all.
        valid: number of accurate validation frames; of 0, the split has none.
        test: number of accurate test frames; None: all that are left.
        block: above 1, validation and test frames come from blocks of so many consecutive accurate frames that have no
            accurate training frames, since neighbours of a test frame along a trajectory give it away. It takes `test`,
            and frames in the order of a trajectory; inaccurate frames are drawn as without it.

    Raises:
        DatasetError: a number is not whole, not positive or more than there is, or the sets hold different molecules.
    """
    given = {"budget": budget, "valid": valid, "seed": seed, "block": block}
    given |= {} if inaccurate_budget is None else {"inaccurate_budget": inaccurate_budget}
    given |= {} if test is None else {"test": test}
    for what, number in given.items():
        least = 0 if what in ("seed", "valid") else 1
        if not isinstance(number, numbers.Integral) or number < least:
            raise DatasetError(f"{what} is {number!r}; it must be a whole number, {least} or more.")
    order = np.random.default_rng([seed, 0]).permutation(len(accurate))
    as_published = accurate.provenance.get("dataset") == "MD17"
    if not as_published:
        order = without_repeats(accurate.z, accurate.pos, order)
    if block > 1:
        if as_published:
            raise DatasetError(f"block is {block}, but frames of MD17 do not follow each other; leave it out.")
        order = _held_out_in_blocks(order, len(accurate) // block, seed, block, valid, test)
    published = accurate.provenance.get("published_train", len(accurate))
    learned, tested = order[order < published], order[order >= published]
    what = f"{accurate.level} labels of {accurate.molecule}"
    if len(tested) and (test or 1) > len(tested):
        raise DatasetError(f"test is {test}, but the published test part has {len(tested)} {what}; lower it.")
    largest = len(learned) - valid - (0 if len(tested) else test or 1)
    if budget > largest:
        asked = f"budget {budget} + valid {valid}" + ("" if len(tested) else f" + test {test or 'at least 1'}")
        what += " published for training" if len(tested) else ""
        repeated = len(accurate) - len(order)
        what += f" ({repeated} that repeat others do not count)" if repeated else ""
        raise DatasetError(
            f"{asked} is more than the {len(learned)} {what}; the largest possible budget here is {max(largest, 0)}. "
            "Lower budget, valid or test."
        )
    if not len(tested):
        tested = order[valid + budget :]
    tested = tested[len(tested) - (test or len(tested)) :]
    validated, learned = learned[:valid], learned[valid : valid + budget]
    parts = {
        "train": accurate[learned],
        "valid": accurate[validated] if valid else None,
        "test": accurate[tested],
    }
    if as_published:
        parts["valid"] = _outside(parts["valid"], parts["test"])
        parts["train"] = _outside(parts["train"], parts["valid"], parts["test"])
    if inaccurate is None:
        if inaccurate_budget is not None:
            raise DatasetError(f"inaccurate_budget is {inaccurate_budget} without inaccurate; pass the inaccurate set.")
        return Split(**parts, inaccurate=None)
    check_same_molecule(accurate, inaccurate)
    free = np.flatnonzero(_is_outside(inaccurate, parts["valid"], parts["test"]))
    if len(free) < (inaccurate_budget or 1):
        raise DatasetError(
            f"inaccurate_budget is {inaccurate_budget}, but only {len(free)} of the {len(inaccurate)} "
            f"{inaccurate.level} frames are outside validation and test; lower it to {len(free)} or less."
        )
    chosen = free[np.random.default_rng([seed, 1]).permutation(len(free))][:inaccurate_budget]
    return Split(**parts, inaccurate=inaccurate[chosen])


def _is_outside(labelled: LabelledSet, *held_out: LabelledSet | None) -> np.ndarray:
    """Which frames (frames,) have the geometry of none held out; a turned copy would give a frame away as well."""
    outside = np.ones(len(labelled), dtype=bool)
    for part in filter(None, held_out):
        outside[same_geometries(part, labelled)[1]] = False
    return outside


def _held_out_in_blocks(
    order: np.ndarray, blocks: int, seed: int, block: int, valid: int, test: int | None
) -> np.ndarray:
    """Frames for validation, for training and for testing, one after another, each from blocks of their own."""
    shuffled = np.random.default_rng([seed, 3]).permutation(blocks)
    counts = [-(-number // block) for number in (valid, test or 0)]
    of_valid, of_test = shuffled[: counts[0]], shuffled[max(0, blocks - counts[1]) :]
    first, last = (order[np.isin(order // block, part)] for part in (of_valid, of_test))
    if test is None or sum(counts) >= blocks or len(first) < valid or len(last) < test:
        raise DatasetError(
            f"block is {block}, valid is {valid} and test is {test}; expected numbers that leave some of the {blocks} "
            "blocks for training, and that their blocks hold where frames that repeat others do not count"
        )
    rest = order[~np.isin(order // block, np.concatenate([of_valid, of_test]))]
    return np.concatenate([first[:valid], rest, last[:test]])


def _outside(labelled: LabelledSet | None, *held_out: LabelledSet | None) -> LabelledSet | None:
    if labelled is None or (outside := _is_outside(labelled, *held_out)).all():
        return labelled
    return labelled[outside]
