"""Files of labelled frames: MD17 and its CCSD(T) version, and our records; `readers` reads those of others.

Each reader returns the fields of a `LabelledSet` as a dictionary of arrays in kcal/mol and Å.
"""

import hashlib
import json
import os
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from asteroid import files, machine

MD17_LEVELS = {
    "dft": "{}",
    "dft-revised": "revised {}",
    "dft-fhi-aims": "{} FHI-aims",
    "ccsd": "{} CCSD",
    "ccsd(t)": "{} CCSD(T)",
}
"""PyTorch Geometric's name of a molecule at each of our levels."""

_MD17_PROVENANCE = {
    "dft": {"theory": "PBE+vdW-TS", "code": "FHI-aims", "source": "doi:10.1126/sciadv.1603015"},
    "dft-revised": {"theory": "PBE/def2-SVP", "code": "ORCA", "source": "doi:10.1088/2632-2153/abba6f"},
    "dft-fhi-aims": {"theory": "PBE+MBD", "code": "FHI-aims", "source": "doi:10.1038/s41467-018-06169-2"},
    "ccsd": {"theory": "CCSD", "code": "Psi4", "source": "doi:10.1038/s41467-018-06169-2"},
    "ccsd(t)": {"theory": "CCSD(T)", "code": "Psi4", "source": "doi:10.1038/s41467-018-06169-2"},
}

_MD17_FORMULAS = {
    "aspirin": "C9H8O4",
    "azobenzene": "C12H10N2",
    "benzene": "C6H6",
    "ethanol": "C2H6O",
    "malonaldehyde": "C3H4O2",
    "naphthalene": "C10H8",
    "paracetamol": "C8H9NO2",
    "salicylic acid": "C7H6O3",
    "toluene": "C7H8",
    "uracil": "C4H4N2O2",
}

_SGDML_KEYS = {"z": "z", "pos": "R", "energy": "E", "force": "F"}
_REVISED_KEYS = {"z": "nuclear_charges", "pos": "coords", "energy": "energies", "force": "forces"}

# What a record says of its own file; the rest of it is the set's provenance and stays true of any part of the set.
_OF_THE_FILE = ("molecule", "level", "frames", "atoms", "sha256")


class DatasetError(ValueError):
    """Data that cannot be used; the message says what was found, what was expected and the likely fix."""


def read_md17(molecule: str, level: str | None, root: str | os.PathLike | None = None) -> dict[str, Any]:
    """Read a molecule of MD17, revised MD17 or MD17@CCSD(T), downloading it once.

    Names, folders and download are those of `torch_geometric.datasets.MD17`, so a folder that it filled is found.
    The numbers are read from its raw files, because its processed copy holds float32, which rounds aspirin's energies
    to 0.03 kcal/mol, and is made of one Python object per frame, up to a million.

    Args:
        molecule: such as "aspirin" or "salicylic acid".
        level: a key of `MD17_LEVELS`; or another one, whose labels MOLECULE_LEVEL.npz in `root` holds, as
            `asteroid.save` wrote it.
        root: folder of the files; default: the environment's ASTEROID_MD17, else ~/.cache/asteroid/md17.

    Returns:
        Fields of a `LabelledSet`, `level` among them. At a coupled-cluster level the published training file's frames
        come first and `provenance["published_train"]` is their number. Where of the two published files only that for
        training is there, it is the whole set, and `provenance["parts"]` says so.

    Raises:
        DatasetError: unknown molecule or level, failed download, damaged file, or one of another molecule or level.
    """
    molecule = molecule.replace("_", " ")
    known = md17_levels(molecule)
    if not known:
        raise DatasetError(f"MD17 has no molecule {molecule!r}; it has {', '.join(md17_molecules())}.")
    root = _md17_root(root)
    if level not in known:
        own = root / f"{molecule}_{level}.npz"
        if own.is_file():
            return read_saved(own, "Make it anew.")
        raise DatasetError(
            f"md17:{molecule} has no level {level!r}; pass one of {', '.join(map(repr, known))}. Or label MD17's "
            "frames yourself, as by MMFF94: `python -m asteroid label --level mmff --molecule "
            f"'{root / molecule / 'raw'}/FILE.npz' --output '{root / molecule}_mmff.jsonl'`."
        )
    name = MD17_LEVELS[level].format(molecule)
    paths, parts = _md17_files(name, root), []
    for path in paths:
        try:
            parts.append(_labels(path, _REVISED_KEYS if level == "dft-revised" else _SGDML_KEYS))
        except DatasetError as error:
            raise DatasetError(f"{error} Delete it and load again to download it anew.") from None
    provenance = {"dataset": "MD17", "temperature_K": 500.0, **_MD17_PROVENANCE[level]}
    for path, part in zip(paths, parts, strict=True):
        _check_md17(path, part, molecule, level)
    if level.startswith("ccsd") and len(parts) == 1:
        provenance["parts"] = "the published training file only; validation and test frames are taken from it"
    if len(parts) == 2:
        provenance["published_train"] = len(parts[0]["energy"])
        if not np.array_equal(parts[0]["z"], parts[1]["z"]):
            raise DatasetError(f"The train and test files of md17:{molecule} hold their atoms in different orders.")
    if theory := parts[0]["text"].get("theory"):
        provenance["theory"] = theory
    joined = {key: np.concatenate([part[key] for part in parts]) for key in ("pos", "energy", "force")}
    names = {"molecule": molecule, "level": level}
    return {**names, "z": parts[0]["z"], "seconds": None, "provenance": provenance, **joined}


def md17_is_here(molecule: str, level: str) -> bool:
    """Whether `read_md17` finds a molecule of MD17 without a network."""
    molecule, root = molecule.replace("_", " "), _md17_root(None)
    if not root.is_dir():
        return False
    if level not in md17_levels(molecule):
        return (root / f"{molecule}_{level}.npz").is_file()
    return os.path.exists(_md17_paths(MD17_LEVELS[level].format(molecule), root)[0])


def md17_molecules() -> list[str]:
    """Names of MD17's molecules."""
    return [name for name in pyg_md17().file_names if name.islower() and not name.startswith("revised ")]


def md17_levels(molecule: str) -> list[str]:
    """Levels at which MD17 has a molecule, an empty list for an unknown one."""
    if molecule not in md17_molecules():
        return []
    return [level for level, name in MD17_LEVELS.items() if name.format(molecule) in pyg_md17().file_names]


def read_saved(path: Path, fix: str) -> dict[str, Any]:
    """Read what `write_npz` wrote, checked against its record.

    Args:
        path: the npz file.
        fix: what the user should do where file and record do not belong together.

    Returns:
        Fields of a `LabelledSet`, `level` among them.

    Raises:
        DatasetError: missing or damaged file or record.
    """
    record = read_record(path)
    if not path.is_file():
        raise DatasetError(f"{path} is missing while its record is there. {fix}")
    found, expected = _sha256(path), record["sha256"]
    if found != expected:
        raise DatasetError(
            f"{path} is not the file that its record describes: its SHA-256 is {found[:12]}…, "
            f"expected {expected[:12]}…. {fix}"
        )
    provenance = {key: value for key, value in record.items() if key not in _OF_THE_FILE}
    fields = _labels(path, _SGDML_KEYS)
    del fields["text"]
    return {**fields, "molecule": record["molecule"], "level": record["level"], "provenance": provenance}


def has_record(path: Path) -> bool:
    """Whether a JSON file beside an npz file is its record; those of other programs are not."""
    try:
        content = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    except OSError:
        return False
    except ValueError:
        return True  # damaged: `read_record` says so
    return isinstance(content, dict) and "sha256" in content


def read_record(path: Path) -> dict[str, Any]:
    """The JSON record beside an npz file.

    Raises:
        DatasetError: it is missing, damaged or of another kind.
    """
    path = path.with_suffix(".json")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        missing = {"molecule", "level", "sha256"} - set(record)
    except (OSError, ValueError, TypeError) as error:
        raise DatasetError(
            f"{path} cannot be read as a record ({error}); restore it, or move it away if it is none."
        ) from None
    if missing:
        raise DatasetError(f"{path} is no record of labels: it has no {', '.join(sorted(missing))}.")
    return record


def write_npz(
    path: Path, fields: Mapping[str, np.ndarray | None], record: Mapping[str, Any], extra: Mapping[str, np.ndarray]
) -> None:
    """Write labels in sGDML's layout and their record beside them, both or none.

    Args:
        path: ends with .npz.
        fields: z, pos, energy, force, seconds of a `LabelledSet`.
        record: its molecule, level and provenance; what concerns the file is added.
        extra: further arrays.

    Raises:
        DatasetError: another ending, or a failed write.
    """
    if path.suffix != ".npz":
        raise DatasetError(f"A set is saved as npz: the name {path.name!r} should end with .npz.")
    arrays = {
        "z": fields["z"].astype(np.uint8),
        "R": fields["pos"],
        "E": fields["energy"],
        "F": _narrowest(fields["force"]),
    }
    text = {"type": "d", "name": record["molecule"], "theory": record.get("theory", record["level"])}
    text |= {key: str(record[key]) for key in ("code", "settings") if key in record}
    text |= {"r_unit": "Ang", "e_unit": "kcal/mol", "md5": _sgdml_md5(arrays)}
    record = {**record, "frames": len(arrays["E"]), "atoms": len(arrays["z"])}
    if fields["seconds"] is not None:
        arrays["seconds"] = _narrowest(fields["seconds"])
        record["timed"] = int(np.isfinite(fields["seconds"]).sum())
        record["seconds_median"] = float(f"{np.nanmedian(fields['seconds']):.3g}") if record["timed"] else None
    try:
        with files.replacing(path.with_suffix(".json")) as beside, files.replacing(path) as temporary:
            with open(temporary, "wb") as file:
                np.savez_compressed(file, **arrays, **text, **extra)
            record["sha256"] = _sha256(temporary)
            beside.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        cause = error.strerror or error
        raise DatasetError(f"Writing {path} failed ({cause}); free space or choose another folder.") from None


def archive(path: Path, required: Sequence[str], optional: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """Read arrays from an npz file without ever unpickling.

    Args:
        path: the file.
        required: keys that must be there.
        optional: keys read where they are there and are plain arrays.

    Raises:
        DatasetError: missing, truncated or foreign file, missing key, pickled content.
    """
    arrays = {}
    with _opened(path) as file:
        missing = [key for key in required if key not in file.files]
        if missing:
            found = f"expected {', '.join(required)}, found {', '.join(file.files)}"
            raise DatasetError(f"{path} has no {', '.join(missing)}: {found}.")
        for key in required:
            arrays[key] = file[key]
        for key in (key for key in optional if key in file.files):
            with suppress(ValueError):  # pickled
                arrays[key] = file[key]
    return arrays


def names(path: Path) -> list[str]:
    """Names of the arrays in an npz file; DatasetError as of `archive`."""
    with _opened(path) as file:
        return list(file.files)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        # Opened here, because numpy leaves a damaged file open.
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            yield file
    except FileNotFoundError:
        raise DatasetError(f"There is no file {path}.") from None
    except DatasetError:
        raise
    except ValueError:
        # numpy takes what is no archive at all for a pickle, and advises to load it all the same.
        what = "holds pickled objects, which are not read" if zipfile.is_zipfile(path) else "is no npz file"
        raise DatasetError(f"{path} {what}.") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, AttributeError, TypeError) as error:
        raise DatasetError(f"{path} is truncated, damaged or no npz file ({type(error).__name__}: {error}).") from None


def _labels(path: str | Path, keys: dict[str, str]) -> dict[str, Any]:
    """Arrays of a labelled npz file under our names, its text entries under "text"."""
    text_keys = ("name", "theory", "code", "settings", "r_unit", "e_unit")
    arrays = archive(Path(path), list(keys.values()), (*text_keys, "seconds"))
    labels: dict[str, Any] = {ours: arrays[theirs] for ours, theirs in keys.items()}
    for key in labels:
        if labels[key].dtype.kind not in "fiu":
            raise DatasetError(f"{path}: {keys[key]} holds {labels[key].dtype}; numbers were expected.")
    if (labels["z"] % 1 != 0).any():
        raise DatasetError(f"{path}: {keys['z']} holds {labels['z'].tolist()}; whole atomic numbers were expected.")
    # The first MD17 files hold energies as a column.
    labels["energy"] = labels["energy"].reshape(-1)
    labels["seconds"] = arrays.get("seconds")
    texts = {key: arrays[key].astype(str) for key in text_keys if key in arrays}
    labels["text"] = {key: text.item() for key, text in texts.items() if text.size == 1}
    return labels


def _md17_root(root: str | os.PathLike | None) -> Path:
    return Path(root or machine.flag("ASTEROID_MD17") or "~/.cache/asteroid/md17").expanduser().absolute()


def _check_md17(path: str, labels: Mapping[str, Any], molecule: str, level: str) -> None:
    """Raise a DatasetError for a file of another molecule, or of density functional theory in a coupled-cluster set."""
    from ase.formula import Formula

    found = Formula.from_list([chemical_symbols[number] for number in labels["z"].tolist()])
    expected = Formula(_MD17_FORMULAS[molecule])
    if found.count() != expected.count():
        raise DatasetError(
            f"{path} holds {found:hill}, and {molecule} is {expected:hill}: it is the file of another molecule. Delete "
            "it and load again to download the right one."
        )
    theory = labels["text"].get("theory", "")
    if level.startswith("ccsd") and any(name in theory.upper() for name in ("DFT", "PBE")):
        raise DatasetError(f"{path} holds labels of {theory}, not of {level}. Delete it and load again.")


@cache
def _md17_paths(name: str, root: Path) -> list[str]:
    """Where PyG keeps the raw files of one of its data sets, of two that for training first."""
    return _published(name, root).raw_paths


def _published(name: str, root: str | Path) -> Any:
    class Published(pyg_md17()):
        """PyG's names, folders and download, called when we want them."""

        has_download = has_process = False

        def load(self, path: str) -> None:
            """Nothing: the raw files are read instead of the processed copy."""

    return Published(str(root), name, True if "CCSD" in name else None)


def _md17_files(name: str, root: Path) -> list[str]:
    """Paths of the raw files of one of PyG's data sets, downloaded where all or the first are missing."""
    paths = _md17_paths(name, root)
    missing = [path for path in paths if not os.path.exists(path)]
    if paths[0] not in missing:
        return [path for path in paths if path not in missing]
    md17 = pyg_md17()
    url = md17.revised_url if name.startswith("revised ") else f"{md17.gdml_url}/{md17.file_names[name]}"
    advice = f"Put the file there yourself, or set ASTEROID_MD17 to a folder that has it: {', '.join(missing)}."
    try:
        root.mkdir(parents=True, exist_ok=True)
        # Moved into place when whole, so that a broken download leaves nothing that looks like data.
        with tempfile.TemporaryDirectory(prefix="download-", dir=root) as scratch:
            _published(name, scratch).download()
            # The archive of the revised sets holds all ten molecules: keep them all.
            for path in Path(scratch).rglob("*.npz"):
                target = root / path.relative_to(scratch)
                target.parent.mkdir(parents=True, exist_ok=True)
                path.replace(target)
    except Exception as error:  # Network, archive and disk fail in many ways; all mean that the files are not here.
        cause = f"{type(error).__name__}: {error}"
        raise DatasetError(f"Downloading {url} into {root} failed ({cause}). {advice}") from None
    if not all(os.path.exists(path) for path in paths):
        raise DatasetError(f"{url} was downloaded into {root} but lacks the expected files. {advice}")
    return paths


def pyg_md17() -> Any:
    """PyTorch Geometric's class, imported where it is needed because that takes seconds."""
    with warnings.catch_warnings():
        # Importing it compiles with torch.jit, of which torch now warns; nothing here depends on that.
        warnings.simplefilter("ignore", DeprecationWarning)
        from torch_geometric.datasets import MD17
    return MD17


def _narrowest(array: np.ndarray) -> np.ndarray:
    """The array in float32 if that loses nothing, which halves the file."""
    narrow = array.astype(np.float32)
    return narrow if np.array_equal(narrow, array) else array


def _sgdml_md5(arrays: Mapping[str, np.ndarray]) -> bytes:
    """sGDML's fingerprint of a data set, by which its models name the labels they saw."""
    digest = hashlib.md5(usedforsecurity=False)
    for key in ("z", "R", "E", "F"):
        digest.update(hashlib.md5(arrays[key].tobytes(), usedforsecurity=False).digest())
    return digest.hexdigest().encode()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
