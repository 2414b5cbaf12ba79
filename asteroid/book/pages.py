"""From notebooks to pages of the book, and what every notebook says about itself.

``make_pages`` executes the notebooks that are stale with papermill; Sphinx renders what it wrote (``book/_ext`` calls
it before each build). ``begin``, ``banner``, ``keep`` and ``stamp`` are what a notebook calls.
"""

import ast
import contextlib
import hashlib
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, BrokenExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from unittest.mock import patch

import yaml

from asteroid import files, machine, processes
from asteroid.book.stamps import PAGES
from asteroid.files import root

DEFAULT_PROFILE = "laptop"
FIRST = ("your_molecule",)  # alone, since it measures what its labels cost
LAST = ("claims", "explore")  # they show what the other pages have recorded
AT_ONCE = 2  # pages, each of which may have processes of its own


class NotebookError(RuntimeError):
    """A notebook failed, so that no page was made of it."""


@dataclass(frozen=True)
class Page:
    """A page that a notebook makes: under its own name as it is, or one of ``book/variants.yml``.

    Attributes:
        notebook: The notebook's file.
        parameters: What the page changes of the notebook's parameters, the profile apart.
        profile: The profile that it shows in the default book, with its parameters; None shows the book's.
        title: Heading in place of the notebook's own; None keeps that.
    """

    notebook: Path
    parameters: Mapping[str, object] = field(default_factory=dict)
    title: str | None = None
    profile: str | None = None


def pages_of(folder: Path) -> dict[str, Page]:
    """All pages by name: one for each notebook, then variants.

    Args:
        folder: The repository's root.

    Raises:
        ValueError: If a variant names a notebook that is not there, or has another setting than those of a page.
    """
    notebooks = {path.stem: path for path in sorted((folder / "notebooks").glob("*.ipynb"))}
    pages = {name: Page(path) for name, path in notebooks.items()}
    variants = folder / "book/variants.yml"
    for name, about in (yaml.safe_load(variants.read_text("utf-8")) if variants.exists() else {}).items():
        try:
            _one_of("notebook", about["notebook"], notebooks.values())
            pages[name] = Page(**{**about, "notebook": notebooks[about["notebook"]]})
        except (TypeError, KeyError, ValueError) as error:
            raise ValueError(f"{variants.name}, page {name!r}: {error}") from None
    return pages


def make_pages(profile: str | None = None, only: list[str] | None = None, folder: Path | None = None) -> list[Path]:
    """Execute the notebook of each stale page into ``book/pages/``, two at a time.

    A page is stale when its notebook, its parameters, the profile, the library, the embedded data or the profile's
    records are no longer those it was made with. Each page replaces its predecessor only once it is whole.

    Args:
        profile: Name of a file in ``asteroid/profiles``; by default ``$ASTEROID_PROFILE``, else ``"laptop"``.
        only: Names of the pages to consider, without suffix; by default all.
        folder: The repository's root; by default the one that holds this file.

    Returns:
        The pages that were made anew.

    Raises:
        ValueError: If there is no such profile or page.
        NotebookError: If a notebook fails; pages made before it, and those under way, stay.
    """
    profile = profile or machine.flag("ASTEROID_PROFILE") or DEFAULT_PROFILE
    folder = folder or root()
    _one_of("profile", profile, (folder / "asteroid/profiles").glob("*.yaml"))
    known = {name: _under(page, profile) for name, page in pages_of(folder).items()}
    for name in only or []:
        _one_of("page", name, map(Path, known))

    pages = folder / "book/pages"
    pages.mkdir(parents=True, exist_ok=True)
    for file in pages.glob("*.ipynb"):
        if file.stem not in known:  # else a table of contents that still names it would build here and only here
            file.unlink()

    made = []
    names = [name for name in known if name in (only or known)]
    rest = [name for name in names if name not in FIRST + LAST]
    turns = ([name for name in names if name in FIRST], rest, [name for name in names if name in LAST])
    try:
        with processes.pool(AT_ONCE) as pool, processes.ended_on_interrupt():
            for turn in turns:
                stale = [name for name in turn if _seal_of(pages / f"{name}.ipynb") != _seal(known[name], folder)]
                for name in turn:
                    if name not in stale:
                        print(f"{name}: up to date (profile {known[name].profile})", flush=True)
                futures = [pool.submit(_make_page, name, known[name], folder) for name in stale]
                wait(futures, return_when=FIRST_EXCEPTION)
                for error in [future.exception() for future in futures if future.done()]:
                    if error:
                        pool.shutdown(cancel_futures=True)  # those under way are made
                        raise error
                made += [pages / f"{name}.ipynb" for name in stale]
    except BrokenExecutor as error:
        raise NotebookError("a process that executes notebooks was killed, most often for want of memory") from error
    # A notebook's records are news to those executed before it, which did not ask for them.
    for file in made:
        seal = _seal_of(file) | {"records": _records(known[file.stem], folder)}
        if seal != _seal_of(file):
            _write(file, json.loads(file.read_text(encoding="utf-8")), seal)
    return made


def begin(namespace: dict, *known: str):
    """Check a notebook's parameters in its set-up cell, and load its profile.

    Papermill makes a variable of every ``-p NAME VALUE`` and at most warns of a name that the notebook does not use, so
    that a misspelt parameter would change nothing and say nothing.

    Args:
        namespace: The notebook's ``globals()``.
        known: Names of all its parameters, those of the cell tagged ``parameters``; ``"profile"`` is one.

    Returns:
        The profile, from :func:`asteroid.profiles.load`.

    Raises:
        ValueError: If a parameter is unknown or of another type than its default, or a known one is not set, or the
            profile has no such ``model``.

    Example:
        ``settings = book.begin(globals(), "profile", "molecule")``
    """
    for name in _injected(namespace.get("In", [])):
        if name not in known:
            raise ValueError(f"unknown parameter {name!r}; this notebook knows: {', '.join(known)}")
    for name in known:
        if name not in namespace:
            raise ValueError(f"parameter {name!r} is not set; give it a default in the cell tagged 'parameters'")
    for name, (types, default) in _declared(namespace.get("In", [])).items():
        value = namespace.get(name)
        found = "None" if value is None else type(value).__name__
        if found not in types and not (found == "int" and "float" in types):
            example = "" if default is None else f", such as {default!r}"
            quoted = f"; papermill keeps a word as it is by `-r {name} WORD`" if "str" in types else ""
            raise ValueError(f"parameter {name!r} is {value!r}; expected {' or '.join(types)}{example}{quoted}")
    from asteroid import profiles

    profile = profiles.load(namespace["profile"])
    if namespace.get("model") and "model" in known:
        profile.recipe(namespace["model"])  # an unknown one is refused by a list of those known
    return profile


@contextlib.contextmanager
def in_one_line() -> Iterator[None]:
    """Show what is wrong with a user's input in one line, without the way through the library that a traceback is.

    Meant for the cells that look at parameters: the notebook stops there, as at any other error.
    """
    try:
        yield
    except (ValueError, ImportError, OSError, RuntimeError) as error:
        line = f"{type(error).__name__}: {error}"
        error._render_traceback_ = lambda: [line]  # which IPython asks for
        raise


def _one_of(kind: str, name: str, paths: Iterable[Path]) -> None:
    known = sorted(path.stem for path in paths)
    if name not in known:
        raise ValueError(f"unknown {kind} {name!r}; known: {', '.join(known) or 'none'}")


def _injected(cells: list[str]) -> list[str]:
    """The names that papermill assigned: its cell is the one among those executed that begins with this comment."""
    statements = [s for cell in cells if cell.startswith("# Parameters\n") for s in ast.parse(cell).body]
    return [target.id for s in statements if isinstance(s, ast.Assign) for target in s.targets]


def _declared(cells: list[str]) -> dict[str, tuple[list[str], object]]:
    """Types and default of what the cell before papermill's own assigns: `-p measure false` makes a true string.

    A default that is None says no type: an annotation does, as in `budget_hours: float | None = None`.
    """
    before = [cell for cell, after in itertools.pairwise(cells) if after.startswith("# Parameters\n")]
    declared = {}
    for statement in (s for cell in before for s in ast.parse(cell).body):
        if isinstance(statement, ast.AnnAssign):
            types = ast.unparse(statement.annotation).split(" | ")
            declared[statement.target.id] = types, ast.literal_eval(statement.value)
        elif isinstance(statement, ast.Assign) and (default := ast.literal_eval(statement.value)) is not None:
            declared |= {target.id: ([type(default).__name__], default) for target in statement.targets}
    return declared


def _under(page: Page, profile: str) -> Page:
    """The page in a book of this profile; what it changes goes with the profile of its own, if it has one.

    A profile whose runs take days has pages of its own, those that show what is recorded; the others are the default's.
    """
    from asteroid import profiles

    if profile in profiles.names() and not profiles.load(profile).pages_train:
        profile = DEFAULT_PROFILE
    own = page.profile or profile
    if profile in (DEFAULT_PROFILE, own):
        return replace(page, profile=own)
    return replace(page, profile=profile, parameters={})


def _make_page(name: str, page: Page, folder: Path) -> None:
    print(f"{name}: executing (profile {page.profile})", flush=True)
    seal, start = _seal(page, folder), time.perf_counter()
    executed = execute(page, folder)
    if name != page.notebook.stem:
        _relabel(executed, name)
    # The sources are those of before the run, since an edit during a long run must count; the records are those of
    # after it, since a notebook makes the ones it misses.
    _write(folder / f"book/pages/{name}.ipynb", executed, seal | {"records": _records(page, folder)})
    print(f"{name}: made in {time.perf_counter() - start:.0f} s", flush=True)


def execute(page: Page, folder: Path) -> dict:
    """The page's notebook, run by papermill in the root; NotebookError where a cell fails or the kernel dies."""
    import nbformat
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    try:
        with this_interpreter(folder / "book/pages"):
            # A notebook in and out, not paths: papermill formats paths, which braces in a folder's name break.
            executed = papermill.execute_notebook(
                nbformat.read(page.notebook, as_version=4),
                None,
                parameters={**page.parameters, "profile": page.profile},
                kernel_name="python3",
                cwd=str(folder),
                progress_bar=False,
            )
    except PapermillExecutionError as error:
        line = error.source.strip().partition("\n")[0]
        why = f"cell [{error.exec_count}] (`{line}` ...) raised {error.ename}: {error.evalue}"
    except DeadKernelError as error:
        why = f"its kernel died, most often for want of memory: {error}"
    else:
        if page.title is not None:
            heading = executed.cells[0]
            heading.source = f"# {page.title}\n" + heading.source.partition("\n")[2]
        # Settings, imports and definitions that show nothing would be bars before the first result; the notebook has
        # them, and the last line of the page says the profile.
        for cell in executed.cells:
            tags = cell.metadata.setdefault("tags", [])
            if "injected-parameters" in tags or ("hide-input" in tags and not cell.get("outputs")):
                tags.append("remove-cell")
        return executed
    raise NotebookError(
        f"notebooks/{page.notebook.name} failed, no page was made: {why}\n"
        f"To look into it: papermill notebooks/{page.notebook.name} out.ipynb -p profile {page.profile}"
        + "".join(f" -p {name} {value}" for name, value in page.parameters.items())
    )


def _relabel(notebook: dict, page: str) -> None:
    """Make the labels of figures and tables a variant's own: in the whole book a label may stand once."""
    for cell in notebook["cells"]:
        figure = cell["metadata"].get("mystnb", {}).get("figure", {})
        if "name" in figure:
            figure["name"] += f"-{page}"


@contextlib.contextmanager
def this_interpreter(pages: Path) -> Iterator[None]:
    """Make the kernel ``python3`` be the running interpreter, without the user's start-up files, for pages in a folder.

    A fresh environment may have no kernel registered, and one that the user registered under this name goes before an
    environment's own; a folder on ``JUPYTER_PATH`` goes before both.
    """
    with tempfile.TemporaryDirectory() as scratch:
        spec = Path(scratch, "kernels/python3/kernel.json")
        spec.parent.mkdir(parents=True)
        # The kernel's own log would fill the build's with a warning of its unencrypted talk with this process and with
        # a complaint about each shutdown; what fails in a cell comes back as a message and not through it.
        command = [sys.executable, "-Xfrozen_modules=off", "-m", "ipykernel_launcher", "--log-level=CRITICAL"]
        environment = {
            "IPYTHONDIR": scratch,
            "ASTEROID_QUIET": "1",  # a page has no use for progress bars
            # What a kernel itself computes is small: two threads gain little on idle cores, and on busy ones wait for
            # each other at every operation. Pools set the threads of their processes.
            "OMP_NUM_THREADS": machine.flag("OMP_NUM_THREADS") or "1",
            PAGES: str(pages),
        }
        about = {"argv": [*command, "-f", "{connection_file}"], "display_name": "Python 3", "language": "python"}
        about["env"] = {name: value.replace("$", "$$") for name, value in environment.items()}  # which it expands
        spec.write_text(json.dumps(about))
        folders = os.pathsep.join(filter(None, [scratch, machine.flag("JUPYTER_PATH")]))
        with patch.dict(os.environ, JUPYTER_PATH=folders):
            yield


def _write(file: Path, notebook: dict, seal: dict) -> None:
    notebook["metadata"]["asteroid"] = seal
    with files.replacing(file) as temporary:
        temporary.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _seal(page: Page, folder: Path) -> dict[str, str]:
    library = folder / "asteroid"
    settings = [library / f"profiles/{profile}.yaml" for profile in _shown(page)]
    paths = [page.notebook, *settings, *library.rglob("*.py"), *library.glob("data/*")]
    sources = f"{_digest(folder, paths)} {json.dumps([page.title, page.parameters], sort_keys=True)}"
    return {"profile": page.profile, "sources": sources, "records": _records(page, folder)}


def _seal_of(file: Path) -> dict[str, str] | None:
    return json.loads(file.read_text(encoding="utf-8"))["metadata"].get("asteroid") if file.exists() else None


def _records(page: Page, folder: Path) -> str:
    labels = [path for name in ("label_cost", "cheap_levels") for path in folder.glob(f"results/{name}/*.jsonl")]
    records = [path for profile in _shown(page) for path in folder.glob(f"results/{profile}/*.json")]
    return _digest(folder, [*records, *labels])


def _shown(page: Page) -> set[str]:
    """The profiles whose records it shows: its own, and that which stands beside it."""
    return {page.profile, page.parameters.get("beside") or page.profile}


def _digest(folder: Path, paths: Iterable[Path]) -> str:
    lines = sorted(
        f"{path.relative_to(folder).as_posix()} {hashlib.sha256(path.read_bytes()).hexdigest()}"
        for path in paths
        if path.is_file()
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
