"""Labelled frames of files: which of their numbers are the energies and forces, and in which units."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from asteroid import units
from asteroid.datasets import readers
from asteroid.datasets.readers import Frames
from asteroid.datasets.sources import DatasetError


def read(
    path: Path,
    level: str | None,
    energy_unit: str | None = None,
    length_unit: str | None = None,
    force_unit: str | None = None,
    energy_key: str | None = None,
    forces_key: str | None = None,
    skip: Sequence[int] = (),
    group: str | None = None,
) -> dict[str, Any]:
    """Read labelled frames of one molecule; the options are those of `datasets.load`.

    Returns:
        Fields of a `LabelledSet`; `molecule` is what the file says, or else its name. The provenance has the charge and
        multiplicity that the frames state.

    Raises:
        DatasetError: an unreadable file, missing or several labels, missing units, or what `readers.frames` refuses.
    """
    if readers.format_of(path) is None:
        known = ", ".join(readers.FORMATS)
        raise DatasetError(f"{path} ends with {path.suffix!r}; files are read that end with {known}.")
    frames = readers.frames(path, skip, group, [key for key in (energy_key, forces_key) if key is not None])
    about = frames.about
    level = level or about.get("level")
    if level is None:
        raise DatasetError(f"{path} does not say its level of theory: pass a name for it, as in level='b3lyp'.")
    energy_key, forces_key = _label_keys(path, frames, energy_key, forces_key)
    energy = _column(path, frames, energy_key, "energy", ())
    force = _column(path, frames, forces_key, "forces", frames.pos.shape[1:])
    unit_of = about.get("unit_of", {})
    if energy_unit is None:
        force_unit = force_unit or unit_of.get(forces_key)
    energy_unit = energy_unit or unit_of.get(energy_key) or about.get("energy_unit")
    length_unit = length_unit or about.get("length_unit")
    scale = _factors(f"{path}, {energy_key} and {forces_key}", energy_unit, length_unit, force_unit)
    provenance = {name: about[name] for name in ("theory", "code", "settings") if name in about}
    provenance["read"] = f"{energy_key} and {forces_key} of the {about['read']} in {path.name}"
    if frames.settings:
        note = {"note": provenance["settings"]} if "settings" in provenance else {}
        provenance["settings"] = frames.settings | note
    if frames.left_out:
        provenance["read"] += f", without {len(frames.left_out)} isolated atoms"
    if len(skip) or frames.left_out:
        provenance["skipped"] = sorted({int(k) for k in (*skip, *frames.left_out)})
    seconds = frames.labels.get("seconds")
    return {
        "molecule": about.get("name", readers.stem(path)),
        "level": level,
        "z": frames.z,
        "pos": frames.pos * scale[0],
        "energy": energy * scale[1],
        "force": force * scale[2],
        "seconds": None if seconds is None else np.asarray(seconds, dtype=float),
        "provenance": provenance,
    }


def _label_keys(path: Path, frames: Frames, energy_key: str | None, forces_key: str | None) -> tuple[str, str]:
    """The names of the energies and forces that belong together; a pair that repeats another is none of its own."""
    labels, names = frames.labels, [name for name in frames.labels if name != "seconds"]
    for option, key in (("energy_key", energy_key), ("forces_key", forces_key)):
        if key in frames.unfit:
            raise DatasetError(f"{path}: {option} is {key!r}, and {key} {frames.unfit[key]}.")
        if key is not None and key not in names:
            raise DatasetError(f"{path} has no {key!r}; {option} is one of {', '.join(names) or 'none'}.")
    # Revised MD17 keeps the labels that it revises.
    tags = [
        {name: tag for name in names if (tag := readers.tag(name, words)) not in (None, "old")}
        for words in (readers.ENERGY, readers.FORCE)
    ]
    # ASE's calculators keep an energy for each atom, too.
    tags[0] = {name: tag for name, tag in tags[0].items() if all(np.size(one) == 1 for one in labels[name][:1])}
    energies, forces = tags
    pairs = [(e, f) for e, tag in energies.items() for f, of_force in forces.items() if tag == of_force]
    if len(energies) == len(forces) == 1:
        pairs = [(*energies, *forces)]
    if energy_key is not None or forces_key is not None:
        if energy_key is not None and forces_key is not None:
            return energy_key, forces_key
        pairs = [(e, f) for e, f in pairs if energy_key == e or forces_key == f]
        if not pairs and len(forces if forces_key is None else energies) == 1:
            pairs = [(energy_key or next(iter(energies)), forces_key or next(iter(forces)))]
    pairs = [
        pair
        for k, pair in enumerate(pairs)
        if not any(all(map(_same, map(labels.get, pair), map(labels.get, other))) for other in pairs[:k])
    ]
    if len(pairs) == 1:
        return pairs[0]
    if not pairs:
        unfit = "".join(f"; {name} {why}" for name, why in frames.unfit.items() if readers.is_label(name))
        raise DatasetError(
            f"{path}: no energy and forces were found that belong together, such as energy and forces, REF_energy and "
            f"REF_forces, E and F; it has {', '.join(names) or 'none'}{unfit}. Name them by energy_key and forces_key."
        )
    found = "; ".join(f"{e} and {f}" for e, f in pairs)
    raise DatasetError(
        f"{path} has several sets of labels: {found}. Choose one, as by energy_key={pairs[-1][0]!r}, "
        f"forces_key={pairs[-1][1]!r}."
    )


def _same(column: list[Any], other: list[Any]) -> bool:
    return all(readers.equal(a, b) for a, b in zip(column, other, strict=True))


def _column(path: Path, frames: Frames, key: str, what: str, shape: tuple[int, ...]) -> np.ndarray:
    """Labels (frames, *shape) under a name, of which no frame may lack one."""
    column = frames.labels[key]
    lacking = [k for k, value in zip(frames.numbers, column, strict=True) if value is None]
    if lacking:
        there = f"{len(column) - len(lacking)} of {len(column)} have it"
        raise DatasetError(
            f"{path}: frame {lacking[0]} has no {what} under {key!r} ({there}); leave out the frames without by "
            f"skip={lacking if len(lacking) < 20 else f'[{lacking[0]}, …]'}."
        )
    expected = int(np.prod(shape))
    for k, value in zip(frames.numbers, column, strict=True):
        if np.size(value) != expected:
            raise DatasetError(
                f"{path}: {key} of frame {k} has the shape {np.shape(value)}; expected {shape}, the shape of {what}."
            )
    return np.array([np.reshape(value, shape) for value in column], dtype=np.float64)


def _factors(labels: str, energy_unit: str | None, length_unit: str | None, force_unit: str | None) -> list[float]:
    """What turns positions, energies and forces of a file into Å, kcal/mol and kcal/mol/Å."""
    for what, unit in (("energy_unit", energy_unit), ("length_unit", length_unit)):
        if unit is None:
            example = "'eV'" if what == "energy_unit" else "'angstrom'"
            raise DatasetError(f"{labels} does not state its units: pass {what}, such as {what}={example}.")
    try:
        length, energy = units.factor(length_unit, units.LENGTH), units.factor(energy_unit, units.ENERGY)
        return [length, energy, energy / length if force_unit is None else units.force_factor(force_unit)]
    except ValueError as error:
        raise DatasetError(f"{labels}: {error}") from None
