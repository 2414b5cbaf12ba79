"""What atoms say of charge and multiplicity, under the names that others use, and what contradicts itself."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from asteroid import state


def hydroxide(**info: object) -> Atoms:
    return Atoms("OH", [[0, 0, 0], [0, 0, 0.96]], info=info)


@pytest.mark.parametrize(
    "info",
    [
        *({name: -1} for name in ("charge", "total_charge", "Total Charge", "net_charge", "Qtot")),
        {"charge": np.int64(-1)},
        {"charge": np.array([-1.0])},
        {"charge": "-1"},
        {"charge": -1, "total_charge": -1.0},
        {"key_value_pairs": {"charge": -1}},
    ],
    ids=str,
)
def test_the_charge_has_many_names(info):
    assert state.total_charge(hydroxide(**info)) == -1


def test_initial_charges_say_their_sum():
    atoms = hydroxide()
    assert state.total_charge(atoms) is None
    atoms.set_initial_charges([-1.21, 0.2101])  # as a file rounds partial charges
    assert state.total_charge(atoms) == -1
    atoms.set_initial_charges([-0.8, 0.4])
    with pytest.raises(ValueError, match="initial charges' sum is -0.4; expected one whole number"):
        state.total_charge(atoms)


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ({"charge": -1, "total_charge": 1}, "charge is -1, total_charge is 1; expected one whole number"),
        ({"charge": 0.5}, "charge is 0.5; expected one whole number, the molecule's charge"),
        ({"charge": "negative"}, "charge is 'negative'; expected one whole number"),
    ],
)
def test_what_is_no_charge_is_refused_by_its_name(info, said):
    with pytest.raises(ValueError, match=said):
        state.total_charge(hydroxide(**info))


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({}, None),
        *(({name: 3}, 3) for name in ("spin", "total_spin", "multiplicity", "spin_multiplicity", "mult")),
        ({"uhf": 2}, 3),
        ({"spin": 1}, 1),
        ({"spin": 0}, 1),
    ],
)
def test_the_multiplicity_has_many_names(info, expected):
    assert state.multiplicity(Atoms("CH2", np.eye(3), info=info)) == expected


def test_magnetic_moments_are_of_the_charge_that_fits_their_number():
    assert state.multiplicity(molecule("CH2_s3B1d")) == 3 and state.multiplicity(molecule("CH2_s1A1d")) is None
    assert state.multiplicity(molecule("OH")) == 2 and state.multiplicity(molecule("OH"), charge=-1) is None


def test_atoms_of_labels_have_the_state_of_the_labels():
    atoms = state.atoms_of(np.array([8, 1]), np.eye(2, 3), {"charge": -1, "basis": "sto-3g"})
    assert state.of(atoms) == {"charge": -1}
    assert state.of(state.atoms_of(np.array([8, 1]), np.eye(2, 3), "a sentence about settings")) == {}
