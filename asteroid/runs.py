"""Runs: a specification in, a small record out, kept so that nothing is trained twice."""

import argparse
import hashlib
import json
import multiprocessing
import os
import platform
import re
import shutil
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm

from asteroid import datasets, stages
from asteroid.force_field import ForceField
from asteroid.stages import Recipe
from asteroid.training import progress_bar

if TYPE_CHECKING:
    import pandas as pd

# Counts up when a change of the code makes recorded results obsolete that no setting tells apart.
RECIPE_VERSION = 1

METHODS = {
    "standard": "accurate labels only",
    "asteroid": "ASTEROID",
    "asteroid-unweighted": "ASTEROID without bias-aware weights",
    "asteroid-not-tuned": "ASTEROID without fine-tuning",
    "inaccurate": "inaccurate labels only",
}

# What a method does not look at does not belong to the identity of its runs.
_UNUSED = {
    "standard": (
        "inaccurate",
        "inaccurate_budget",
        "recipe.identification",
        "recipe.inaccurate",
        "recipe.fine_tuning",
        "recipe.gammas",
    ),
    "asteroid": ("recipe.accurate",),
    "asteroid-unweighted": ("recipe.accurate", "recipe.identification", "recipe.gammas"),
    "asteroid-not-tuned": ("recipe.accurate", "recipe.fine_tuning"),
    "inaccurate": ("budget", "recipe.accurate", "recipe.identification", "recipe.fine_tuning", "recipe.gammas"),
}


@dataclass(frozen=True)
class RunSpec:
    """Everything that decides the outcome of one run.

    Attributes:
        molecule: as in `datasets.load`.
        method: one of `METHODS`.
        budget: accurate labels to train on.
        inaccurate_budget: inaccurate labels to train on.
        accurate, inaccurate: levels of theory.
        valid, test: accurate frames held out.
        seed: of split, initial weights and shuffles.
        recipe: model and training settings.
    """

    molecule: str
    method: str
    budget: int
    inaccurate_budget: int = 0
    accurate: str = "ccsd(t)"
    inaccurate: str = "pbe"
    valid: int = 50
    test: int = 100
    seed: int = 0
    recipe: Recipe = field(default_factory=Recipe)

    def __post_init__(self):
        if self.method not in METHODS:
            raise ValueError(f"unknown method {self.method!r}; known: {', '.join(METHODS)}")
        # A number of labels that the method never sees must not decide which frames are drawn.
        for name in {"budget", "inaccurate_budget"} & set(_UNUSED[self.method]):
            object.__setattr__(self, name, 0)

    @property
    def key(self) -> str:
        """Hash of the settings that matter, the data and `RECIPE_VERSION`: the name of this run for ever."""
        content = asdict(self)
        for name in _UNUSED[self.method]:
            place, _, leaf = name.rpartition(".")
            (content[place] if place else content).pop(leaf)
        content["data"] = _fingerprint(self)
        content["version"] = RECIPE_VERSION
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def file_name(self) -> str:
        """Name of the record's file, which a person can read too."""
        molecule = re.sub(r"[^\w.-]+", "-", Path(self.molecule).stem)  # it may be the path of a file
        sizes = f"a{self.budget}-i{self.inaccurate_budget}-s{self.seed}"
        return f"{molecule}-{self.recipe.model}-{self.method}-{sizes}-{self.key}.json"

    @property
    def bias_identification(self) -> "RunSpec | None":
        """The run that stage 1 amounts to: standard training on the same accurate labels, with stage 1's settings."""
        if self.method not in ("asteroid", "asteroid-not-tuned"):
            return None
        recipe = replace(self.recipe, accurate=self.recipe.identification)
        return replace(self, method="standard", inaccurate_budget=0, recipe=recipe)


@dataclass(frozen=True)
class Record:
    """What one run found; a few kilobytes of JSON.

    Attributes:
        spec: the run.
        key: its key when it was made.
        errors: from `stages.test_errors`, kcal/mol/Å and kcal/mol.
        valid_force_mae: kcal/mol/Å.
        gamma: γ chosen, in units of the median bias; None without weights.
        bias_quantiles: 0, 5, 25, 50, 75, 95 and 100 % of the estimated bias, kcal/mol/Å; None without weights.
        histories: by stage, the columns of `training.History`.
        label_seconds: measured cost of the training labels, {"accurate": s, "inaccurate": s}; None where unmeasured.
        seconds: training time of all stages.
        threads: threads that it ran on.
        date: ISO 8601, UTC.
        versions: of what it was made with.
    """

    spec: RunSpec
    key: str
    errors: Mapping[str, float]
    valid_force_mae: float
    gamma: float | None
    bias_quantiles: tuple[float, ...] | None
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
        """The record of a run, or None if it was not made yet.

        Raises:
            ValueError: if the record's file is damaged.
        """
        path = self.folder / spec.file_name
        if not path.exists():
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if set(content) != {field.name for field in fields(Record)} or content["key"] != spec.key:
                raise ValueError("it does not hold the fields of a run record")
            quantiles = content["bias_quantiles"]
            return Record(**{**content, "spec": spec, "bias_quantiles": quantiles and tuple(quantiles)})
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path} is damaged ({error}); delete it and the run is made again") from None

    def put(self, record: Record) -> Path:
        """Write a record; a kill or a full disk leaves no half of one."""
        path = self.folder / record.spec.file_name
        temporary = path.with_suffix(".tmp")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(asdict(record), indent=1) + "\n", encoding="utf-8")
            os.replace(temporary, path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise OSError(error.errno, f"could not write the record: {error.strerror}", str(path)) from None
        return path

    def force_field_path(self, spec: RunSpec) -> Path:
        """Where the force field of a run lies, on the machine that made it."""
        return self.folder / "models" / f"{spec.key}.safetensors"

    def work(self, spec: RunSpec) -> Path:
        """Folder of the checkpoints of a run under way."""
        return self.folder / "work" / spec.key


def split_of(spec: RunSpec) -> datasets.Split:
    """The frames that a run trains, validates and tests on."""
    accurate = _labels(spec.molecule, spec.accurate)
    inaccurate = _labels(spec.molecule, spec.inaccurate) if spec.inaccurate_budget else None
    return datasets.split(
        accurate,
        inaccurate,
        max(spec.budget, 1),  # a method without accurate labels still has the others' validation and test frames
        spec.seed,
        inaccurate_budget=spec.inaccurate_budget or None,
        valid=spec.valid,
        test=spec.test,
    )


def run(spec: RunSpec, store: Store, progress: bool = True) -> Record:
    """Make one run, or read its record if the store has it. An interrupted run goes on from its last checkpoint.

    Args:
        spec: the run.
        store: where records, force fields and checkpoints are kept.
        progress: show a bar for each stage.
    """
    if (record := store.get(spec)) is not None:
        return record
    split = split_of(spec)
    theta_a = None
    if spec.bias_identification is not None:
        theta_a = force_field(spec.bias_identification, store, progress)
    trained = _train(spec, split, theta_a, store.work(spec), progress)
    trained.save(store.force_field_path(spec))
    record = _record(spec, split, trained)
    store.put(record)
    shutil.rmtree(store.work(spec), ignore_errors=True)
    return record


def force_field(spec: RunSpec, store: Store, progress: bool = True) -> ForceField:
    """The force field of a run, trained now if it is not there (a clone has the records, not the force fields)."""
    path = store.force_field_path(spec)
    if not path.exists():
        if store.get(spec) is None:
            run(spec, store, progress)
        else:
            trained = _train(spec, split_of(spec), None, store.work(spec), progress)
            trained.save(path)
            shutil.rmtree(store.work(spec), ignore_errors=True)
    return ForceField.load(path)


def sweep(
    specs: Iterable[RunSpec],
    store: Store,
    executor: Executor | None = None,
    progress: bool = True,
) -> list[Record]:
    """Make every run that the store does not have yet, and return the records of all.

    Stage 1 of several runs is often the same standard training: those are made first, once. A run that fails is tried
    twice more; then the failure is written to the store's `failures` folder, a warning names it, and the sweep goes on.

    Args:
        specs: the runs.
        store: where records are kept.
        executor: any concurrent.futures executor; by default a pool of processes that share the cores.
        progress: show one bar for the sweep.

    Returns:
        The records, in the order of `specs`, without the runs that failed.
    """
    specs = list(specs)
    missing = [spec for spec in dict.fromkeys(specs) if store.get(spec) is None]
    first = {
        spec.bias_identification: None
        for spec in missing
        if spec.bias_identification is not None and not store.force_field_path(spec.bias_identification).exists()
    }
    waves = [list(first), [spec for spec in missing if spec not in first]]
    if missing:
        total = sum(map(len, waves))
        print(f"{len(specs) - len(missing)} of {len(specs)} runs are recorded; {total} trainings to do", flush=True)
        with progress_bar("sweep" if progress else None, total=total, unit="run", smoothing=0) as bar:
            pool = executor or local_pool(total)
            try:
                _run_waves(waves, store, pool, bar)
            finally:
                if executor is None:  # after an interrupt, what waits is dropped; what is under way has checkpoints
                    pool.shutdown(wait=False, cancel_futures=True)
    return [record for spec in specs if (record := store.get(spec)) is not None]


def table(records: Iterable[Record]) -> "pd.DataFrame":
    """A row per record: settings, errors (kcal/mol/Å, kcal/mol), training seconds, measured cost of the labels (s)."""
    import pandas as pd

    columns = ("molecule", "method", "accurate", "inaccurate", "budget", "inaccurate_budget", "seed")
    return pd.DataFrame(
        {
            **{name: getattr(record.spec, name) for name in columns},
            "model": record.spec.recipe.model,
            **record.errors,
            "gamma": record.gamma,
            "seconds": record.seconds,
            "accurate_label_seconds": record.label_seconds["accurate"],
            "inaccurate_label_seconds": record.label_seconds["inaccurate"],
        }
        for record in records
    )


def _run_waves(waves: list[list[RunSpec]], store: Store, executor: Executor, bar: tqdm) -> None:
    failed: set[RunSpec] = set()
    for wave in waves:
        for spec in [spec for spec in wave if spec.bias_identification in failed]:
            bar.update()
            _record_failure(spec, store, RuntimeError(f"stage 1 failed: {spec.bias_identification.file_name}"))
        wave = [spec for spec in wave if spec.bias_identification not in failed]
        tries = dict.fromkeys(wave, 1)
        pending: dict[Future, RunSpec] = {executor.submit(_run_quietly, spec, store): spec for spec in wave}
        while pending:
            for future in as_completed(list(pending)):
                spec = pending.pop(future)
                error = future.exception()
                if error is None:
                    bar.update()
                    (store.folder / "failures" / spec.file_name).unlink(missing_ok=True)
                    if bar.disable:
                        print(f"{future.result():6.1f} s  {spec.file_name}", flush=True)
                elif tries[spec] < 3 and not isinstance(error, (ValueError, TypeError, ArithmeticError)):
                    tries[spec] += 1
                    pending[executor.submit(_run_quietly, spec, store)] = spec
                else:
                    bar.update()
                    failed.add(spec)
                    _record_failure(spec, store, error)


def _run_quietly(spec: RunSpec, store: Store) -> float:
    """In a worker: leave record and force field in the store; returns the seconds it took."""
    started = time.perf_counter()
    run(spec, store, progress=False)
    force_field(spec, store, progress=False)  # of a run that was recorded elsewhere, it may be missing
    return time.perf_counter() - started


def _record_failure(spec: RunSpec, store: Store, error: BaseException) -> None:
    path = store.folder / "failures" / spec.file_name
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = traceback.format_exception(error)
    path.write_text(json.dumps({"spec": asdict(spec), "error": "".join(lines)}, indent=1) + "\n", encoding="utf-8")
    warnings.warn(f"a run failed and is left out ({type(error).__name__}: {error}); see {path}", stacklevel=4)


def local_pool(runs: int) -> ProcessPoolExecutor:
    """Processes that divide the cores among them, so that their threads do not fight; they end with this process."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = max(1, min(cores, runs))
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(max(1, cores // workers),))


def _start_worker(threads: int) -> None:
    torch.set_num_threads(threads)
    # A pool whose parent was killed would wait for work for ever.
    parent = multiprocessing.parent_process()
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def _train(
    spec: RunSpec, split: datasets.Split, theta_a: ForceField | None, folder: Path, progress: bool
) -> ForceField:
    keep = {"seed": spec.seed, "folder": folder, "progress": progress}
    if spec.method == "standard":
        return stages.standard(split.train, split.valid, spec.recipe, **keep)
    if spec.method == "inaccurate":
        return stages.train_on_inaccurate(split.inaccurate, split.valid, None, float("inf"), spec.recipe, **keep)
    return stages.asteroid(
        split,
        spec.recipe,
        weighted=spec.method != "asteroid-unweighted",
        tuned=spec.method != "asteroid-not-tuned",
        theta_a=theta_a,
        **keep,
    )


def _record(spec: RunSpec, split: datasets.Split, trained: ForceField) -> Record:
    provenance = trained.provenance
    started_from = provenance["started_from"]
    histories = {provenance["stage"]: provenance["history"]}
    if started_from:
        histories = {started_from["stage"]: started_from["history"], **histories}
    quantiles = None
    if trained.bias is not None:
        levels = torch.tensor([0, 0.05, 0.25, 0.5, 0.75, 0.95, 1], dtype=trained.bias.dtype)
        quantiles = tuple(torch.quantile(trained.bias, levels).tolist())
    return Record(
        spec=spec,
        key=spec.key,
        errors=stages.test_errors(trained, split.test),
        valid_force_mae=provenance["valid_force_mae"],
        gamma=provenance.get("gamma") if trained.bias is not None else None,
        bias_quantiles=quantiles,
        histories=histories,
        label_seconds={
            "accurate": _cost(split.train) if spec.budget else 0.0,
            "inaccurate": _cost(split.inaccurate) if split.inaccurate is not None else 0.0,
        },
        seconds=provenance.get("seconds_of_all_stages", provenance["seconds"]),
        threads=torch.get_num_threads(),
        date=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        versions={**provenance["versions"], "platform": platform.machine()},
    )


def _cost(labelled: datasets.LabelledSet) -> float | None:
    """Seconds of all labels, by the mean of those that were timed; by the set's median where none was one by one."""
    if labelled.seconds is not None:
        each = float(labelled.seconds.nanmean())
    else:
        each = labelled.provenance.get("seconds_median")
    return None if each is None else each * len(labelled)


@cache
def _labels(molecule: str, level: str) -> datasets.LabelledSet:
    return datasets.load(molecule, level=level)


@cache
def _fingerprint(spec: RunSpec) -> str:
    split = split_of(spec)
    parts = [split.train, split.valid, split.test] + ([split.inaccurate] if split.inaccurate is not None else [])
    return "-".join(part.fingerprint for part in parts)


def main(arguments: list[str] | None = None) -> None:
    """Command line: python -m asteroid.runs [--profile NAME] makes all missing runs of a profile."""
    from asteroid import book, profiles

    parser = argparse.ArgumentParser(prog="python -m asteroid.runs", description="Make the missing runs of a profile.")
    parser.add_argument("--profile", default="laptop", help="smoke, laptop (default) or paper")
    options = parser.parse_args(arguments)
    try:
        profile = profiles.load(options.profile)
        shown = ("standard", "inaccurate", "asteroid")  # what the book's pages ask for
        specs = [spec for model in profile.recipes for method in shown for spec in profile.specs(method, model)]
        specs.sort(key=lambda spec: spec.seed)  # stable: after any interruption whole sets of runs are there
        sweep(specs, Store(book.root() / "results" / profile.name))
    except (ValueError, OSError) as error:
        sys.exit(f"{error}")
    except KeyboardInterrupt:
        sys.exit("interrupted; the same command goes on from here")


if __name__ == "__main__":
    main()
