"""Configurations of a molecule at a temperature: Langevin dynamics under any level, and normal modes."""

import os
import tempfile
import warnings
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.build import molecule as ase_molecule
from ase.collections import g2
from ase.optimize import BFGS
from ase.vibrations import Vibrations

from asteroid import levels, state, units
from asteroid.levels import registry
from asteroid.machine import progress_bar
from asteroid.md import dynamics, stability, vibrations


@dataclass(frozen=True)
class Sample:
    """Configurations of one molecule.

    Attributes:
        z: (atoms,) atomic numbers.
        pos: (frames, atoms, 3), Å, centre of mass at the origin.
        potential_energy: (frames,), kcal/mol, under the level that sampled; in normal modes its harmonic estimate.
        trajectory: (frames,) which of the independent trajectories a frame is from; of normal modes each frame is one.
        dropped: number of frames left out because the molecule was broken.
        provenance: molecule, level, settings, temperature, seed and the like, as JSON types.
    """

    z: np.ndarray
    pos: np.ndarray
    potential_energy: np.ndarray
    trajectory: np.ndarray
    dropped: int
    provenance: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.pos)


_FILES = (".xyz", ".extxyz", ".db", ".sdf", ".mol")  # endings that are no SMILES string's


def geometry(molecule: str | os.PathLike | Atoms, seed: int = 0) -> Atoms:
    """A geometry of a molecule, with its total charge as `info["charge"]` where it is known.

    Args:
        molecule: a SMILES string, such as "CCO"; or "ase:NAME" with a molecule of ASE's collection, such as
            "ase:CH3CH2OH"; or the path of a file that ASE reads, whose first frame is taken; or the atoms themselves.
            Of files, .sdf and .mol know the charge, and an .extxyz that says charge=-1 in its comment; see `state`.
        seed: of the conformer of a SMILES string.

    Returns:
        The atoms, without a calculator. From a SMILES string: a conformer by distance geometry, relaxed by MMFF94 or
        UFF where these know it.

    Raises:
        ValueError: a string that is no SMILES or no name, a file that cannot be read, several molecules, unpaired
            electrons, periodic atoms, or a charge that is not whole.
        FileNotFoundError: there is no such file.
        ImportError: RDKit is not installed and a SMILES string or an .sdf or .mol file was given.
    """
    if isinstance(molecule, Atoms):
        atoms = molecule.copy()
    elif isinstance(molecule, os.PathLike) or Path(molecule).suffix.lower() in _FILES or os.path.isfile(molecule):
        atoms = _from_file(Path(molecule))
    elif molecule.startswith("ase:"):
        name = molecule.removeprefix("ase:")
        if name not in g2.names:
            raise ValueError(f"ASE has no molecule {name!r}; it has {', '.join(g2.names)}")
        atoms = ase_molecule(name)
    else:
        atoms = _from_smiles(molecule, seed)
    state.check_alone(atoms, f"the atoms of {molecule}")
    if (charge := state.total_charge(atoms)) is not None:
        atoms.info["charge"] = charge
    return atoms


def from_dynamics(
    molecule: str | os.PathLike | Atoms,
    level: str,
    *,
    frames: int,
    trajectories: int = 20,
    temperature: float = 500.0,
    timestep: float = 0.5,
    friction: float = 0.01,
    every: int = 40,
    equilibration: int = 4000,
    seed: int = 0,
    executor: Executor | None = None,
    progress: bool = True,
    **settings: Any,
) -> Sample:
    """Frames of independent Langevin trajectories under a level of theory.

    A trajectory counts up to where it has other bonds than the start (`stability.whole_frames`: one is longer than one
    and a half times its length there, or other atoms have come as close); its frames from there on are dropped. A
    warning is given if the kinetic energy is not that of the temperature.

    Args:
        molecule: what `geometry` takes.
        level: of `levels.overview()`.
        frames: number of frames of all trajectories together.
        trajectories: number of them, each with its own velocities and noise.
        temperature: K.
        timestep: fs.
        friction: 1/fs.
        every: steps between two frames.
        equilibration: steps before the first frame, a multiple of `every`.
        seed: makes the frames repeatable.
        executor: any concurrent.futures executor that runs trajectories; None: one after the other, here.
        progress: show a bar.
        settings: of `levels.calculator`; the charge of a SMILES string is known without.

    Returns:
        The frames, trajectory after trajectory.

    Raises:
        ValueError: numbers that do not fit together, a molecule that `geometry` refuses, an unknown level or setting.
        CalculatorSetupError: the level cannot do the molecule.
        RuntimeError: all frames are of broken molecules.

    Source:
        The defaults are those of the embedded GFN2 sets, 500 K as in MD17 (Chmiela et al., Sci. Adv. 3, e1603015,
        2017).
    """
    _check_positive(frames=frames, trajectories=trajectories, every=every)
    _check_positive(temperature=temperature, timestep=timestep, friction=friction)
    if equilibration < 0 or equilibration % every:
        raise ValueError(f"equilibration is {equilibration} and every is {every}; expected a multiple of every, or 0")
    start = geometry(molecule, seed)
    settings = with_charge(start, settings)
    counts = [len(part) for part in np.array_split(np.arange(frames), min(trajectories, frames))]
    how = {"temperature": temperature, "timestep": timestep, "friction": friction, "every": every}
    # MMFF94 costs less than the integration, which replicas share; of other levels each trajectory has its process.
    together = 10 if level == "mmff" else 1
    groups = [counts[k : k + together] for k in range(0, len(counts), together)]
    streams = np.random.SeedSequence(seed).generate_state(len(groups)).tolist()
    steps = [equilibration + max(group) * every for group in groups]
    tasks = [
        ([start] * len(group), level, registry.registered(), settings, how | {"steps": number, "seed": stream})
        for group, number, stream in zip(groups, steps, streams)
    ]
    first = equilibration // every + 1
    kept, trajectory = [], []
    with progress_bar(f"sample {level}" if progress else None, total=frames, unit="frame") as bar:
        ran = map(_trajectories, tasks) if executor is None else executor.map(_trajectories, tasks)
        for number, (count, run) in enumerate(zip(counts, chain.from_iterable(ran))):
            usable = slice(first, min(first + count, stability.whole_frames(start.numbers, start.positions, run.pos)))
            kept.append((run.pos[usable], run.potential_energy[usable], run.temperature[usable]))
            trajectory += [number] * len(kept[-1][0])
            bar.update(count)
    pos, potential_energy, temperatures = (np.concatenate(column) for column in zip(*kept))
    dropped = frames - len(pos)
    if not len(pos):
        raise RuntimeError(
            f"all {frames} frames of {start.symbols} under {level} at {temperature:g} K are of broken molecules; lower "
            f"the temperature or the timestep ({timestep:g} fs), or take a level under which the molecule is bound"
        )
    measured = float(temperatures.mean())
    check_temperature(measured, temperature, len(start), len(pos), every * timestep * friction)
    provenance = {
        "sampling": f"{len(counts)} independent Langevin trajectories, "
        f"{equilibration * timestep / 1000:g} ps discarded, a frame every {every * timestep:g} fs",
        **_provenance(molecule, level, settings, temperature, seed),
        "timestep_fs": timestep,
        "friction_per_fs": friction,
        "temperature_measured_K": round(measured, 1),
        "dropped": dropped,
    }
    return Sample(start.numbers, pos, potential_energy, np.array(trajectory), dropped, provenance)


def from_normal_modes(
    molecule: str | os.PathLike | Atoms,
    level: str,
    *,
    frames: int,
    temperature: float = 500.0,
    seed: int = 0,
    **settings: Any,
) -> Sample:
    """Frames drawn from the classical harmonic ensemble about the nearest minimum.

    Each mode k of the mass-weighted Hessian gets an amplitude q_k from a normal distribution of variance
    k_B T / ω_k². It costs 6 · atoms + 1 evaluations and those of the minimisation, whatever the number of frames, and
    leaves out everything anharmonic: it is meant for unlabelled data and first guesses. Modes below 50/cm, turns about
    a bond that are nearly free, count as of 50/cm. Frames of broken molecules are dropped, so that fewer than `frames`
    may come back: of floppy molecules at 500 K a fifth is missing.

    Args:
        molecule: what `geometry` takes; it is relaxed.
        level: of `levels.overview()`.
        frames: number of frames to draw.
        temperature: K.
        seed: makes the frames repeatable.
        settings: of `levels.calculator`.

    Returns:
        The frames.

    Raises:
        ValueError: a number that is not positive, a molecule that `geometry` refuses, an unknown level or setting.
        CalculatorSetupError: the level cannot do the molecule.
        RuntimeError: the relaxed geometry is no minimum, or all frames are of broken molecules.

    Source:
        J. S. Smith, O. Isayev and A. E. Roitberg, Chem. Sci. 8, 3192 (2017), who draw the amplitudes in another way.
    """
    _check_positive(frames=frames, temperature=temperature)
    atoms = geometry(molecule, seed)
    settings = with_charge(atoms, settings)
    atoms.calc = levels.calculator(level, **settings)
    if not BFGS(atoms, logfile=None).run(fmax=0.005, steps=500):
        raise RuntimeError(f"{atoms.symbols} under {level} has no minimum within 500 steps from this geometry")
    energy = atoms.get_potential_energy() / units.KCAL_PER_MOL_IN_EV
    soft = units.MASS * (2 * np.pi * vibrations.SOFT / units.WAVENUMBER) ** 2
    with tempfile.TemporaryDirectory() as folder:
        displaced = Vibrations(atoms, name=f"{folder}/vibrations")
        displaced.run()
        hessian = displaced.get_vibrations().get_hessian_2d() / units.KCAL_PER_MOL_IN_EV
    mass = np.repeat(atoms.get_masses(), 3)
    squared, modes = vibrations.internal_modes(atoms, vibrations.mass_weighted(atoms, hessian))
    if (saddle := squared < -soft).any():
        raise RuntimeError(
            f"{atoms.symbols} relaxed under {level} to a saddle point with {int(saddle.sum())} imaginary "
            "frequencies; start from a less symmetric geometry"
        )
    squared = np.maximum(squared, soft)  # softer modes, and those that are as little imaginary, are given this one
    spread = np.sqrt(units.BOLTZMANN * temperature / squared)
    amplitude = spread * np.random.default_rng([seed, 0]).normal(size=(frames, len(squared)))
    shift = (amplitude @ modes.T / np.sqrt(mass)).reshape(frames, len(atoms), 3)
    pos = atoms.positions - atoms.get_center_of_mass() + shift
    whole = np.array([stability.whole_frames(atoms.numbers, atoms.positions, frame[None]) == 1 for frame in pos])
    if not whole.any():
        raise RuntimeError(f"all {frames} frames of {atoms.symbols} are of broken molecules; lower the temperature")
    harmonic = energy + (amplitude**2 * squared).sum(axis=1) / 2
    provenance = {
        "sampling": "normal modes, classical harmonic ensemble",
        **_provenance(molecule, level, settings, temperature, seed),
        "dropped": int((~whole).sum()),
    }
    number = np.arange(frames)
    return Sample(atoms.numbers, pos[whole], harmonic[whole], number[whole], int((~whole).sum()), provenance)


def with_charge(atoms: Atoms, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, with the charge that the geometry knows; ValueError where they say another."""
    known = atoms.info.get("charge")
    if known is not None and known != settings.get("charge", known):
        raise ValueError(f"charge is {settings['charge']}, but {atoms.info.get('smiles', atoms.symbols)} has {known}")
    return {**settings, "charge": known} if known else dict(settings)


def _from_file(path: Path) -> Atoms:
    try:
        atoms = ase.io.read(path, index=0)
    except FileNotFoundError:
        raise
    except Exception as error:  # ASE raises many types for a file that it cannot read
        cause = f"{type(error).__name__}: {error}"
        raise ValueError(f"{path} is no file of a molecule that ASE can read ({cause})") from None
    atoms.calc = None
    if path.suffix.lower() in (".sdf", ".mol"):  # of which ASE reads no charges
        try:
            from rdkit import Chem, rdBase
        except ModuleNotFoundError:
            raise ImportError(f"the charge of {path} needs RDKit: `pip install rdkit`; or give an .xyz file") from None
        with rdBase.BlockLogs():
            parsed = Chem.MolFromMolFile(str(path), sanitize=False)
        if parsed is None:
            raise ValueError(f"{path} is no file of a molecule that RDKit can read")
        atoms.info["charge"] = Chem.GetFormalCharge(parsed)
    return atoms


def _from_smiles(smiles: str, seed: int) -> Atoms:
    try:
        from rdkit import Chem, rdBase
        from rdkit.Chem import rdDistGeom, rdForceFieldHelpers
    except ModuleNotFoundError:
        raise ImportError("a SMILES string needs RDKit: `pip install rdkit`; or give a file or 'ase:NAME'") from None

    with rdBase.BlockLogs():  # what RDKit would print is said in the error
        parsed = Chem.MolFromSmiles(smiles)
    if parsed is None or not parsed.GetNumAtoms():
        raise ValueError(
            f"{smiles!r} is no SMILES string that RDKit can read. A molecule of ASE's is 'ase:NAME', such as "
            "'ase:CH3CH2OH'; a file is given by its path."
        )
    if radicals := sum(atom.GetNumRadicalElectrons() for atom in parsed.GetAtoms()):
        raise ValueError(f"{smiles} has {radicals} unpaired electrons; only closed shells are supported")
    if len(Chem.GetMolFrags(parsed)) > 1:
        raise ValueError(f"{smiles} is several molecules; give one")
    full = Chem.AddHs(parsed)
    if rdDistGeom.EmbedMolecule(full, randomSeed=seed) != 0:
        raise ValueError(f"RDKit finds no geometry for {smiles}; give a file with one")
    with rdBase.BlockLogs():
        if rdForceFieldHelpers.MMFFHasAllMoleculeParams(full):
            rdForceFieldHelpers.MMFFOptimizeMolecule(full)
        elif rdForceFieldHelpers.UFFHasAllMoleculeParams(full):
            rdForceFieldHelpers.UFFOptimizeMolecule(full)
    charge = Chem.GetFormalCharge(full)
    numbers = [atom.GetAtomicNum() for atom in full.GetAtoms()]
    return Atoms(numbers, full.GetConformer().GetPositions(), info={"smiles": smiles, "charge": charge})


def _check_positive(**numbers: float) -> None:
    for name, number in numbers.items():
        if not number > 0:
            raise ValueError(f"{name} is {number}; it must be positive")


def _trajectories(task: tuple[list[Atoms], str, dict, dict, dict]) -> list[dynamics.Trajectory]:
    """Trajectories from each of the starts, in whichever process."""
    starts, level, registered, settings, how = task
    registry.add(registered)
    potential = levels.calculator(level, **settings)
    if level == "mmff":
        potential = potential.replicas(starts[0])
    return dynamics.langevin(starts, potential, **how)


def check_temperature(measured: float, target: float, atoms: int, frames: int, spacing: float) -> None:
    """Warn if the mean kinetic temperature is further from the target than chance and the timestep explain.

    The kinetic energy has 3 · atoms degrees of freedom, hence a relative variance of 2 / (3 · atoms), and forgets
    within 1 / (2 · friction); `spacing` is the time between frames times the friction.
    """
    independent = max(1.0, frames * min(1.0, spacing))
    chance = target * np.sqrt(2 / (3 * atoms * independent))
    if abs(measured - target) > 5 * chance + 0.03 * target:
        warnings.warn(
            f"the kinetic temperature of the frames is {measured:.0f} K where {target:g} K was asked for; take a "
            "longer equilibration or a shorter timestep",
            RuntimeWarning,
            stacklevel=3,
        )


def _provenance(
    molecule: str | os.PathLike | Atoms, level: str, settings: Mapping[str, Any], temperature: float, seed: int
) -> dict[str, Any]:
    name = str(molecule.symbols) if isinstance(molecule, Atoms) else str(molecule)
    plain = {key: value for key, value in settings.items() if isinstance(value, str | int | float | list | tuple)}
    return {"molecule": name, "sampling_level": level, "settings": plain, "temperature_K": temperature, "seed": seed}
