"""What atoms say of their molecule beyond elements and positions: total charge, multiplicity, and that it is alone."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms

# Without separators, as in `total_charge`, of which everyone has others.
_CHARGE = ("charge", "totalcharge", "netcharge", "molecularcharge", "molcharge", "formalcharge", "totcharge", "qtot")
_MULTIPLICITY = ("multiplicity", "spinmultiplicity", "totalspinmultiplicity", "mult", "spin", "totalspin")
_UNPAIRED = ("uhf", "unpaired", "nunpaired", "unpairedelectrons", "nunpairedelectrons")

# Partial charges of files are rounded.
_ROUNDING = 0.05


def total_charge(atoms: "Atoms") -> int | None:
    """Total charge by the atoms' `info` (`charge`, `total_charge`, ...) or the sum of their initial charges.

    Returns:
        The charge; None where nothing says any.

    Raises:
        ValueError: it is not whole, or two of these say different ones.
    """
    stated = _stated(atoms, _CHARGE)
    if (partial := atoms.get_initial_charges()).any():
        total = float(partial.sum())
        stated["the initial charges' sum"] = round(total) if abs(total - round(total)) < _ROUNDING else total
    return _one("charge", stated)


def multiplicity(atoms: "Atoms", charge: int | None = None) -> int | None:
    """Multiplicity 2S + 1 by the atoms' `info` (`multiplicity`, `spin`, `uhf`, ...) or their magnetic moments.

    Magnetic moments are for the charge under which their sum is even or odd as the number of electrons is: ASE's OH has
    one, also where it is to be hydroxide.

    Args:
        atoms: the molecule.
        charge: its total charge; None: what the atoms say, else 0.

    Returns:
        The multiplicity; None where nothing says any.

    Raises:
        ValueError: it is not whole, or two of these say different ones.
    """
    # 0 is S of a closed shell.
    stated = {name: value or 1.0 for name, value in _stated(atoms, _MULTIPLICITY).items()}
    stated |= {name: value + 1 for name, value in _stated(atoms, _UNPAIRED).items()}
    moments = atoms.get_initial_magnetic_moments()
    if moments.ndim == 1 and moments.any():
        charge = total_charge(atoms) or 0 if charge is None else charge
        unpaired = abs(round(float(moments.sum())))
        if (int(atoms.numbers.sum()) - charge - unpaired) % 2 == 0:
            stated["the magnetic moments' sum and 1"] = unpaired + 1
    return _one("multiplicity", stated)


def of(atoms: "Atoms") -> dict[str, int]:
    """`charge` and `multiplicity`, each where the atoms say one; see `total_charge` for the errors."""
    both = {"charge": total_charge(atoms), "multiplicity": multiplicity(atoms)}
    return {name: value for name, value in both.items() if value is not None}


def of_all(frames: "Iterable[Atoms]") -> dict[str, int]:
    """The one `charge` and `multiplicity` of frames, 0 and 1 where none says any.

    Raises:
        ValueError: they say several, or what is not whole.
    """
    found = {"charge": 0, "multiplicity": 1}
    stated = [of(atoms) for atoms in frames]
    for name in found:
        values = sorted({one[name] for one in stated if name in one})
        if len(values) > 1:
            raise ValueError(f"the frames say the {name} {' and '.join(map(str, values))}; expected one whole number")
        found[name] = values[0] if values else found[name]
    return found


def names_one(name: str) -> bool:
    """Whether a number of this name is a charge, a multiplicity or a number of unpaired electrons."""
    return _plain(name) in _CHARGE + _MULTIPLICITY + _UNPAIRED


def atoms_of(z: np.ndarray, pos: np.ndarray, settings: Any) -> "Atoms":
    """Atoms of labelled frames that say the state under which the labels were made.

    Args:
        z: (atoms,) atomic numbers.
        pos: (atoms, 3), Å.
        settings: `provenance.get("settings")` of the labels; what is no mapping, as a sentence, says no state.
    """
    from ase import Atoms

    return Atoms(z, pos, info=recorded(settings))


def recorded(settings: Any) -> dict[str, int]:
    """`charge` and `multiplicity` of the settings of labels, where they are a mapping that has them."""
    known = settings if isinstance(settings, Mapping) else {}
    return {name: known[name] for name in ("charge", "multiplicity") if name in known}


def check_trained(atoms: "Atoms", provenance: Mapping[str, Any]) -> None:
    """Raise a ValueError for atoms that say another charge or multiplicity than a force field's labels had."""
    trained = recorded(provenance)
    for name, stated in of(atoms).items():
        if name in trained and stated != trained[name]:
            raise ValueError(
                f"the atoms say the {name} {stated}, and the force field was trained on labels of the {name} "
                f"{trained[name]}; train one for this state, or put right what the atoms say"
            )


def check_same(frames: "Iterable[Atoms]") -> None:
    """Raise a ValueError unless all frames are in one state."""
    frames = list(frames)
    first = of(frames[0])
    for k, atoms in enumerate(frames):
        if (found := of(atoms)) != first:
            raise ValueError(f"frame {k} says {found} and frame 0 {first}; expected one charge and multiplicity")


def check_alone(atoms: "Atoms", what: str = "the atoms") -> None:
    """Raise a ValueError for periodic atoms: of a molecule that the cell cuts, the halves would be far apart."""
    if atoms.pbc.any():
        raise ValueError(
            f"{what} are periodic (pbc {atoms.pbc.tolist()}); expected a molecule alone: make it whole if the cell "
            "cuts it, and set atoms.pbc = False"
        )


def _stated(atoms: "Atoms", names: tuple[str, ...]) -> dict[str, float]:
    """Numbers of the atoms' info, and of that of a database's row, under any of the names."""
    stated = {}
    for part in (atoms.info, atoms.info.get("key_value_pairs"), atoms.info.get("data")):
        for key, value in part.items() if isinstance(part, Mapping) else ():
            if value is not None and isinstance(key, str) and _plain(key) in names:
                if isinstance(value, bool | np.bool_):  # ASE's reading of a word without "="
                    raise ValueError(f"{key} has no value; expected {key}=NUMBER")
                try:
                    stated[key] = np.asarray(value, dtype=float).item()
                except (TypeError, ValueError):
                    raise ValueError(f"{key} is {value!r}; expected one whole number, that of the molecule") from None
    return stated


def _plain(name: str) -> str:
    return name.lower().translate(str.maketrans("", "", "_- "))


def _one(what: str, stated: Mapping[str, float]) -> int | None:
    if not stated:
        return None
    value = next(iter(stated.values()))
    if any(other != value for other in stated.values()) or not float(value).is_integer():
        found = ", ".join(f"{name} is {number:g}" for name, number in stated.items())
        raise ValueError(f"{found}; expected one whole number, the molecule's {what}: take off what is wrong")
    return int(value)
