"""Levels of theory as ASE calculators, built by name; each package is imported when its level is used.

Molecules with closed shells and any total charge are supported; radicals are not.
"""

import functools
import importlib
import importlib.metadata
import importlib.util
import inspect
import pickle
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asteroid.levels import registry

if TYPE_CHECKING:
    import pandas as pd
    from ase.calculators.calculator import Calculator


def calculator(level: str, *, code: str | None = None, **settings: Any) -> "Calculator":
    """The ASE calculator of a level of theory.

    Its attribute `code` names the program that computes. Every level but `lj` takes `charge`, the total charge; by
    default it is what the atoms say, see `state.total_charge`, else 0. All compute on one thread. It can be pickled and
    copied, also after use.

    Args:
        level: one of those in `overview()`, such as "ccsd(t)", with or without a basis set, such as
            "mp2/cc-pvtz"; one that was registered, or "module:function", see `register`; or a sum of such, see `sums`.
        code: which program computes; None: the first of the level's that is installed, as `overview()` lists them.
        settings: `lj`: epsilon (eV), sigma (Å) and cutoff (Å). `mmff`: reference, an `ase.Atoms` near a minimum from
            which bonds are perceived, by default the first that is calculated. `hf` and up: basis ("cc-pvdz") and
            memory_gb (3); `pbe` and `b3lyp`: grid, the numbers of radial and angular points, (50, 194).

    Returns:
        A calculator of energy, the same as free energy (eV), and forces (eV/Å). It raises ASE's `CalculatorSetupError`
        for a molecule that the level cannot do, a ValueError for a periodic one, `CalculationFailed` for a frame at
        which the code fails, and `molecules.MachineError` where disk or memory do not suffice or a program was ended.

    Raises:
        ValueError: an unknown level, code or setting; the message lists the known ones.
        ImportError: the code is not installed; the message has the command that installs it.
    """
    from asteroid.levels import external, sums

    if (terms := sums.terms(level)) is not None:
        parts = [calculator(one, code=code, **sums.settings_of(one, settings)) for _, one in terms]
        return sums.Sum(parts, [factor for factor, _ in terms])
    if (make := registry.found(level)) is not None:
        if code not in (None, level):
            raise ValueError(f"{level} is not computed by {code!r}; leave out the code")
        built = external.External(level, make, **settings)
        built.code = level
        return built
    level, slash, basis = level.partition("/")
    if slash and not basis:
        raise ValueError(f"no basis set stands behind {level}/; give one, or leave out the slash")
    if basis and settings.setdefault("basis", basis) != basis:
        raise ValueError(f"the level says the basis {basis}, and basis is {settings['basis']!r}; leave out one")
    known = [entry for entry in _LEVELS if entry.level == level]
    if not known:
        names = [*dict.fromkeys(entry.level for entry in _LEVELS), *registry.registered()]
        raise ValueError(f"unknown level {level!r}; known: {', '.join(names)}, and module:function")
    if code is not None:
        codes = ", ".join(entry.code for entry in known)
        known = [entry for entry in known if entry.code == code]
        if not known:
            raise ValueError(f"{level} is not computed by {code!r}; it is by: {codes}")
    usable = [entry for entry in known if entry.usable]
    if not usable:
        ways = "; or ".join(f"{entry.code}: `{entry.install}`" for entry in known)
        raise ImportError(f"{level} needs a program that is not installed. Install {ways}")
    kind = usable[0].kind
    accepted = list(inspect.signature(kind).parameters)
    if "method" in accepted:  # a class that computes several levels
        accepted.remove("method")
        kind = functools.partial(kind, level)
    if unknown := sorted(settings.keys() - set(accepted)):
        raise ValueError(f"{level} has no setting {', '.join(unknown)}; it has: {', '.join(accepted)}")
    built = kind(**settings)
    built.code = usable[0].code
    return built


def register(name: str, make: "Callable[..., Calculator]") -> None:
    """Make an ASE calculator a level, for this process and for those that label for it.

    Args:
        name: of the level, such as "mace-off".
        make: a function of a module, or a class, that returns a new calculator. If it has an argument `charge`, it is
            told the molecule's; if not, only neutral molecules are computed. It may start a program, which is on one
            thread if it keeps to OMP_NUM_THREADS. What was registered under this name before is replaced.

    Raises:
        ValueError: if the name is that of a level of ours, or would be read as a sum, a basis set or a module.
    """
    if not re.fullmatch(r"\w[\w().-]*", name):
        raise ValueError(f"{name!r} cannot be the name of a level; expected letters, digits and any of '().-_'")
    if name in [entry.level for entry in _LEVELS]:
        raise ValueError(f"{name!r} is a level already; choose another name")
    try:
        pickle.dumps(make)
    except Exception as error:  # of whatever kind, other processes could not be sent it
        raise ValueError(
            f"{make!r} cannot be the level {name}, since no other process could use it ({error}); define it by its "
            "name in a module"
        ) from None
    registry.add({name: make})


def version(code: str) -> str:
    """The version of a code that is installed, one of those in `overview()`; RuntimeError if Psi4 does not run."""
    if code == "psi4":
        with tempfile.TemporaryDirectory() as folder:  # it leaves a file where it runs
            asked = subprocess.run(["psi4", "--version"], cwd=folder, capture_output=True, text=True)
        if asked.returncode:
            why = (asked.stderr.strip() or f"exit status {asked.returncode}").splitlines()[-1]
            raise RuntimeError(f"psi4 does not run ({why}): mend that, or take code='pyscf'")
        return asked.stdout.split()[-1]
    return importlib.metadata.version(code)


def overview() -> "pd.DataFrame":
    """The levels, the cheapest first, one row for each program that computes it.

    Returns:
        Columns level, accuracy (the class of the approximation), scaling (of the time, with the N atoms or basis
        functions), code (the program), usable (here and now), default (whether `calculator` takes this program) and
        "to install" (the command that makes it usable).
    """
    import pandas as pd

    rows, taken = [], set()
    for entry in _LEVELS:
        default = entry.usable and entry.level not in taken
        taken |= {entry.level} if default else set()
        columns = {"level": entry.level, "accuracy": entry.accuracy, "scaling": entry.scaling, "code": entry.code}
        rows.append(columns | {"usable": entry.usable, "default": default, "to install": entry.install})
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class _Level:
    """One level by one program."""

    level: str
    accuracy: str
    scaling: str
    code: str
    name: str  # of its module and class

    @property
    def kind(self) -> type["Calculator"]:
        module, _, name = self.name.partition(".")
        return getattr(importlib.import_module(f"asteroid.levels.{module}"), name)

    @property
    def usable(self) -> bool:
        modules, programs, _ = _NEEDS[self.code]
        return all(map(importlib.util.find_spec, modules)) and all(map(shutil.which, programs))

    @property
    def install(self) -> str:
        return _NEEDS[self.code][2]


# Modules and programs that each code needs, and the command that installs them.
_NEEDS = {
    "ase": (("ase",), (), "pip install ase"),
    "rdkit": (("rdkit",), (), "pip install rdkit"),
    "tblite": (("tblite",), (), "pip install tblite"),
    "psi4": ((), ("psi4",), "apt install psi4, or conda install -c conda-forge psi4"),
    "pyscf": (("pyscf",), (), "pip install pyscf"),
}

_LEVELS = (
    _Level("lj", "pair potential", "N²", "ase", "pairs.Pairs"),
    _Level("mmff", "force field (MMFF94)", "N²", "rdkit", "mmff.MMFF"),
    _Level("gfn2", "tight binding (GFN2-xTB)", "N³", "tblite", "gfn2.GFN2"),
    *(
        _Level(level, accuracy, scaling, code, f"ab_initio.{name}")
        for level, accuracy, scaling in (
            ("hf", "Hartree-Fock", "N⁴"),
            ("pbe", "density functional, GGA", "N³"),
            ("b3lyp", "density functional, hybrid", "N⁴"),
            ("mp2", "second-order perturbation theory", "N⁵"),
            ("ccsd", "coupled cluster", "N⁶"),
            ("ccsd(t)", "coupled cluster with perturbative triples", "N⁷"),
        )
        for code, name in (("psi4", "Psi4"), ("pyscf", "PySCF"))
    ),
)
