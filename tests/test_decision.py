"""Whether a force field is to be used: each branch, and the labels that are still to be bought."""

import math
from dataclasses import replace

import numpy as np
import pytest

from asteroid import statistics
from asteroid.planning import decision
from asteroid.planning.decision import DO_NOT, LABEL_MORE, USE, Findings, decide

GOOD = Findings(
    force_error=0.8,
    std_error=0.05,
    energy_error=0.3,
    labels=100,
    seconds=36.0,
    temperature=500,
    stable=True,
    verdict="stayed together for 1000 steps (0.5 ps)",
    left=0.0,
    outside=0.0,
    minimum=True,
    frequencies=12.0,
    law=statistics.fit_power_law([50, 50, 100, 100], [3.0, 3.1, 2.1, 2.15]),
)
APART = {"stable": False, "verdict": "came apart by step 30: two atoms are 9 Å apart"}


def law(exponent: float) -> statistics.PowerLaw:
    labels = np.array([50, 50, 100, 100])
    return statistics.fit_power_law(labels, labels**-exponent * np.array([1, 1.001, 1, 1.001]))


def test_nothing_against_it():
    found = decide(GOOD)
    assert found.decision == USE and found.labels is found.hours is None
    assert len(found.reasons) == 7
    assert found.reasons[0] == "✓ the force error is 0.80 ± 0.05 kcal/mol/Å, wanted 1"
    assert all(reason.startswith("✓") for reason in found.reasons)
    assert any("at 500 K the molecule stayed together" in reason for reason in found.reasons)


def test_what_is_not_known_speaks_neither_for_nor_against_it():
    found = decide(replace(GOOD, minimum=None, frequencies=None))
    assert found.decision == USE and len(found.reasons) == 6
    assert found.reasons[-1] == "– the accurate level's frequencies are not known"


def test_as_many_labels_as_the_slope_says():
    found = decide(replace(GOOD, force_error=2.0, law=law(0.5)))
    assert found.decision == LABEL_MORE
    # n^−0.5: half the error takes four times the labels, three times as many more, 36 s each.
    assert found.labels == pytest.approx(300, abs=2) and found.hours == pytest.approx(3.0, abs=0.02)
    assert "wanted 1" in found.reasons[0] and "n^−0.50: 1 kcal/mol/Å take 4.0 times as many" in found.reasons[1]


@pytest.mark.parametrize(
    ("known", "why"),
    [
        (None, "one size was trained"),
        (statistics.fit_power_law([50, 100], [3.0, 2.0]), "do not tell a slope"),  # two points have no interval
        (statistics.fit_power_law([50, 50, 100, 100], [2.0, 3.0, 1.9, 3.1]), "do not tell a slope"),
    ],
)
def test_without_a_slope_twice_as_many(known, why):
    found = decide(replace(GOOD, force_error=2.0, law=known))
    assert found.decision == LABEL_MORE and found.labels == 100 and found.hours == 1.0
    assert why in found.reasons[1] and "a guess" in found.reasons[1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"force_error": 6.0, "law": law(0.5)}, "further than 10 times it is not to be trusted"),  # 36 times as many
        ({"force_error": math.nan}, "the force error is nan"),
        ({"force_error": 1.2, "law": law(-0.3)}, "more labels have not lowered the error"),
        (APART, "came apart"),
        ({"minimum": False}, "no proper minimum"),
    ],
)
def test_what_labels_do_not_mend(change, said):
    found = decide(replace(GOOD, **change))
    assert found.decision == DO_NOT and found.labels is found.hours is None
    assert any(said in reason for reason in found.reasons[:2]) and found.reasons[0].startswith("✗")


def test_an_inaccurate_force_field_that_is_broken_takes_labels():
    found = decide(replace(GOOD, force_error=2.0, law=law(0.5), minimum=False, **APART))
    assert found.decision == LABEL_MORE and found.labels > 100


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"energy_error": 1.5}, "the energies' error is 1.50 kcal/mol, wanted 1"),
        ({"frequencies": 80.0}, "80/cm off those of the accurate level"),
        ({"left": 0.5}, "50 % of the simulation's frames are outside"),
        ({"outside": 0.1}, "10 % of the test frames are outside"),
    ],
)
def test_a_fault_that_the_force_error_does_not_show_takes_twice_as_many(change, said):
    found = decide(replace(GOOD, **change))
    assert found.decision == LABEL_MORE and found.labels == 100
    assert said in found.reasons[0] and "a guess" in found.reasons[1]


def test_thresholds_are_the_users():
    assert decide(GOOD, wanted=0.5).decision == LABEL_MORE
    assert decide(replace(GOOD, force_error=3.0), wanted=3.5).decision == USE
    assert decide(replace(GOOD, energy_error=1.5), wanted_energy=2.0).decision == USE
    for bad in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="wanted is"):
            decide(GOOD, bad)


def test_an_error_within_its_uncertainty_is_said_to_be():
    close = "which its standard error does not tell apart"
    assert close in decide(replace(GOOD, force_error=0.95)).reasons[0]
    assert close not in decide(GOOD).reasons[0]


def test_frames_within_what_is_allowed_are_no_fault():
    assert decide(replace(GOOD, left=decision.ALLOWED_OUTSIDE, outside=decision.ALLOWED_OUTSIDE)).decision == USE
