"""Whether a force field is good enough to be used, or takes more labels."""

import math
from dataclasses import dataclass

from asteroid.planning.pilots import FARTHEST
from asteroid.statistics import PowerLaw

USE, LABEL_MORE, DO_NOT = "use it", "label more", "do not use it"

WANTED_ENERGY = 1.0
"""Mean absolute error of energies, kcal/mol: what is called chemical accuracy."""

WANTED_FREQUENCIES = 50.0
"""Mean absolute difference of harmonic frequencies from those of the accurate level, 1/cm."""

ALLOWED_OUTSIDE = 0.05
"""Share of frames that may be outside the domain."""


@dataclass(frozen=True)
class Findings:
    """What is known of a force field and its simulation.

    Attributes:
        force_error, std_error: mean absolute force error on test frames and its standard error, kcal/mol/Å.
        energy_error: mean absolute error, kcal/mol.
        labels: accurate labels that the training cost, cheap ones converted by what they cost.
        seconds: of an accurate label.
        temperature: of the simulation, K.
        stable: whether the molecule stayed together.
        verdict: how the simulation ended, in words.
        left: share of the simulation's frames outside the domain of the training frames.
        outside: the same of the test frames.
        minimum: whether a minimum was found that has no imaginary frequency; None where none was looked for.
        frequencies: mean absolute difference from the accurate level's, 1/cm; None where they are not known.
        law: error against number of labels, of two sizes or more; None where one size is known.
    """

    force_error: float
    std_error: float
    energy_error: float
    labels: int
    seconds: float
    temperature: float
    stable: bool
    verdict: str
    left: float
    outside: float
    minimum: bool | None = None
    frequencies: float | None = None
    law: PowerLaw | None = None


@dataclass(frozen=True)
class Decision:
    """One of `USE`, `LABEL_MORE` and `DO_NOT`, why, and what to buy.

    Attributes:
        decision: one of the three.
        reasons: a line for each thing that was looked at: with ✗ what speaks against the use, which comes first, and
            with – what is not known.
        labels: accurate labels to buy, or what costs as much; None unless more are to be.
        hours: core hours of these.
    """

    decision: str
    reasons: tuple[str, ...]
    labels: int | None = None
    hours: float | None = None


def decide(
    findings: Findings,
    wanted: float = 1.0,
    wanted_energy: float = WANTED_ENERGY,
    wanted_frequencies: float = WANTED_FREQUENCIES,
) -> Decision:
    """Decide whether a force field is good enough for dynamics at the temperature of its simulation.

    It is used if nothing speaks against it. Labels are not worth buying where the power law asks for more than ten
    times as many, which is further than it can be trusted; and a force field whose forces are as good as wanted on test
    frames, and that is broken elsewhere, is not mended by more frames of the same kind. Otherwise more are to be
    labelled: as many as the power law says the forces take; twice as many where it is not known, which is so where its
    exponent cannot be told from zero, or where the fault is another than the forces' error.

    Args:
        findings: see there.
        wanted: largest mean absolute force error, kcal/mol/Å.
        wanted_energy: the same of energies, kcal/mol.
        wanted_frequencies: the same of harmonic frequencies, 1/cm.

    Returns:
        The decision.

    Raises:
        ValueError: if a threshold is not positive.
    """
    thresholds = {"wanted": wanted, "wanted_energy": wanted_energy, "wanted_frequencies": wanted_frequencies}
    for name, value in thresholds.items():
        if not value > 0:
            raise ValueError(f"{name} is {value!r}; expected a positive number")
    looked_at = _looked_at(findings, **thresholds)
    against = [f"✗ {text}" for good, text in looked_at if not good]
    in_favour = [f"✓ {text}" for good, text in looked_at if good]
    if findings.frequencies is None:
        in_favour.append("– the accurate level's frequencies are not known")
    if not against:
        return Decision(USE, tuple(in_favour))
    accurate, whole = findings.force_error <= wanted, findings.stable and findings.minimum is not False
    if accurate and not whole:
        return Decision(DO_NOT, (*against, *in_favour))
    factor, how = (2.0, "twice as many labels are a guess") if accurate else _factor(findings, wanted)
    reasons = (*against, how, *in_favour)
    if not factor <= FARTHEST:  # NaN is far, too
        return Decision(DO_NOT, reasons)
    more = max(1, math.ceil((factor - 1) * findings.labels))
    return Decision(LABEL_MORE, reasons, more, more * findings.seconds / 3600)


def _looked_at(
    findings: Findings, wanted: float, wanted_energy: float, wanted_frequencies: float
) -> list[tuple[bool, str]]:
    """Whether each thing that is known is as it should be, and what it is, in words."""
    close = abs(findings.force_error - wanted) < 1.96 * findings.std_error
    found = [
        (
            findings.force_error <= wanted,
            f"the force error is {findings.force_error:.2f} ± {findings.std_error:.2f} kcal/mol/Å, wanted {wanted:g}"
            + (", which its standard error does not tell apart" if close else ""),
        ),
        (
            findings.energy_error <= wanted_energy,
            f"the energies' error is {findings.energy_error:.2f} kcal/mol, wanted {wanted_energy:g}",
        ),
        (findings.stable, f"at {findings.temperature:g} K the molecule {findings.verdict}"),
    ]
    if findings.minimum is not None:
        at_rest = "a minimum without imaginary frequencies" if findings.minimum else "no proper minimum"
        found.append((findings.minimum, f"the force field has {at_rest}"))
    if findings.frequencies is not None:
        off = f"{findings.frequencies:.0f}/cm off those of the accurate level, wanted {wanted_frequencies:g}/cm"
        found.append((findings.frequencies <= wanted_frequencies, f"its frequencies are {off}"))
    for share, frames in ((findings.left, "the simulation's"), (findings.outside, "the test")):
        outside = f"{100 * share:.0f} % of {frames} frames are outside what was learned from"
        found.append((share <= ALLOWED_OUTSIDE, outside))
    return found


def _factor(findings: Findings, wanted: float) -> tuple[float, str]:
    """By how much the labels have to be multiplied, and how that is known."""
    law = findings.law
    if law is None or law.interval[0] <= 0 <= law.interval[1]:
        why = "one size was trained" if law is None else "the sizes that were trained do not tell a slope"
        return 2.0, f"how the error falls with labels is not known ({why}): twice as many are a guess"
    if law.exponent < 0:
        return math.inf, "more labels have not lowered the error"
    factor = (findings.force_error / wanted) ** (1 / law.exponent)
    said = (
        f"the error falls with labels as n^−{law.exponent:.2f}: {wanted:g} kcal/mol/Å take {factor:.1f} times as many"
    )
    return factor, said + (f", further than {FARTHEST:g} times it is not to be trusted" if factor > FARTHEST else "")
