"""Records: small files of JSON that say what a run found, and the folder that keeps them."""

import errno
import json
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Protocol

from asteroid import files
from asteroid.runs.spec import RunSpec, fingerprints


class Recorded(Protocol):
    """What a record is kept of: a run, a simulation or a toy example."""

    @property
    def key(self) -> str: ...

    @property
    def file_name(self) -> str: ...


@dataclass(frozen=True)
class Record:
    """What one run found; a few kilobytes of JSON.

    Attributes:
        spec: the run.
        key: its key when it was made.
        data: what names the labels that it was made from, by level and molecule.
        errors: from `stages.test_errors`, kcal/mol/Å and kcal/mol; for Δ-ML also pair_distance, the mean distance of
            its frames from those of their cheap labels, Å; for a model without labels also force_mae_LEVEL.
        valid_force_mae: on the labels that decided which weights are kept, kcal/mol/Å; None where none did.
        gamma: γ chosen, in units of the median bias; None without weights, and where several molecules were learned
            together, whose pre-training has a record of its own.
        bias_quantiles: 0, 5, 25, 50, 75, 95 and 100 % of the estimated bias, kcal/mol/Å; None as for gamma.
        histories: by stage, the columns of `training.History`.
        label_seconds: cost of the training labels, {"accurate": s, "inaccurate": s}, their number times the median of
            those that were timed; those of other molecules too where the method uses them. None where unmeasured.
        seconds: training time of all stages.
        threads: threads that it ran on.
        date: ISO 8601, UTC.
        versions: of what it was made with.
    """

    spec: RunSpec
    key: str
    data: Mapping[str, str]
    errors: Mapping[str, float]
    valid_force_mae: float | None
    gamma: float | None
    bias_quantiles: list[float] | None
    histories: Mapping[str, Any]
    label_seconds: Mapping[str, float | None]
    seconds: float
    threads: int
    date: str
    versions: Mapping[str, str]


class Store:
    """A folder of records, with the force fields and checkpoints of runs in two folders inside it."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def get(self, spec: RunSpec) -> Record | None:
        """The record of a run, or None if it was not made yet, or made from other labels than those on this machine.

        Of the second a warning says so. Where the labels are not here, a record is taken as it is.

        Raises:
            ValueError: if the record's file is damaged.
        """
        return recorded(Record, spec, self, fingerprints)

    def records(self) -> list[Record]:
        """All records of runs that `get` finds.

        Raises:
            ValueError: if a file is damaged.
        """
        found = []
        for path in sorted(self.folder.glob("*.json")):
            try:
                content = json.loads(path.read_text(encoding="utf-8"))["spec"]
                # Simulations and toy examples have no method.
                spec = RunSpec(**content) if "method" in content else None
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise _damaged(path, error) from None
            if spec is not None:
                found.append(self.get(spec))
        return [record for record in found if record is not None]

    def put(self, record: Record) -> Path:
        """Write a record; a kill or a full disk leaves no half of one."""
        path = self.folder / record.spec.file_name
        write_record(path, asdict(record))
        return path

    def force_field_path(self, spec: RunSpec) -> Path:
        """Where the force field of a run lies, on the machine that made it."""
        return self.folder / "models" / f"{spec.key}{spec.about.suffix}"

    def has_force_field(self, spec: RunSpec) -> bool:
        """Whether the force field of a run lies here, made from the labels that are here."""
        return self.force_field_path(spec).exists() and self.get(spec) is not None

    def work(self, spec: Recorded) -> Path:
        """Folder of the checkpoints of what is under way."""
        return self.folder / "work" / spec.key

    @contextmanager
    def alone(self, spec: Recorded) -> Iterator[Path]:
        """Hold the folder of a run's checkpoints, which no other process of this machine does meanwhile.

        A kill lets it go too. At the end the folder is removed, unless there was an error. Where a shared disk knows no
        locks, a run may be made twice.
        """
        folder = self.work(spec)
        with ExitStack() as stack:
            try:
                stack.enter_context(files.locked(folder))
            except OSError as error:
                if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP):
                    raise
            folder.mkdir(exist_ok=True)
            yield folder
            shutil.rmtree(folder, ignore_errors=True)


def recorded(
    kind: type, spec: Recorded, store: Store, data_of: Callable[[Any], Mapping[str, str] | None] | None = None
) -> Any:
    """The record of a run, a simulation or a toy example, or None if it was not made yet, or from other labels.

    Args:
        kind: data class of the record.
        spec: of what it should be the record.
        store: where it is kept.
        data_of: what names the labels on this machine that a specification is about, None where they are not here.

    Raises:
        ValueError: if its file is damaged, or holds the record of something else.
    """
    path = store.folder / spec.file_name
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if set(content) != {field.name for field in fields(kind)} or content["key"] != spec.key:
            raise ValueError(f"it does not hold the fields of a {kind.__name__} of this key")
        record = kind(**{**content, "spec": spec})
    except (ValueError, TypeError) as error:
        raise _damaged(path, error) from None
    here = data_of(spec) if data_of else None
    if here is not None and here != record.data:
        differ = ", ".join(name for name in sorted({*here, *record.data}) if here.get(name) != record.data.get(name))
        # The same for all records, so that it is said once.
        warnings.warn(
            f"records in {store.folder} were made from other labels than those on this machine ({differ}); they are "
            "not shown, and making the runs again replaces them",
            stacklevel=3,
        )
        return None
    return record


def _damaged(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path} is damaged ({error}); delete it and it is made again")


def made(
    kind: type,
    spec: Recorded,
    store: Store,
    make: Callable[[Any, Store], Any],
    data_of: Callable[[Any], Mapping[str, str] | None] | None = None,
) -> Any:
    """`recorded`, or what `make` of the specification and the store returns where there is no record yet."""
    if (record := recorded(kind, spec, store, data_of)) is None:
        with store.alone(spec):  # two pages may ask for it at once
            record = recorded(kind, spec, store, data_of) or make(spec, store)
    return record


def write_record(path: Path, content: Mapping[str, Any], indent: int | None = 1) -> None:
    """Write JSON, indented or in one line; a kill or a full disk leaves no half of a file.

    Raises:
        OSError: if it cannot be written.
    """
    with files.replacing(path, "the record") as temporary:
        temporary.write_text(json.dumps(content, indent=indent) + "\n", encoding="utf-8")
