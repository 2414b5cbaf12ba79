"""Pages are made when, and only when, something they depend on has changed; notebooks keep to the house's rules."""

import ast
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch

import asteroid
from asteroid import book, processes
from asteroid.book import stamps

NOTEBOOKS = sorted((book.root() / "notebooks").glob("*.ipynb"))
# Modules that the reference leaves out.
NO_SECTION = {
    "asteroid": "its names are those of other modules",
    "asteroid.__main__": "a program, described by its --help",
    "asteroid.exports.script": "read by TorchScript; needs metatomic when it is imported",
    "asteroid.levels.embed": "a program of those who add labels to the package; says itself how it is called",
    "asteroid.levels.psi4_server": "run by Psi4 alone",
}


def notebook(*cells):
    """A notebook whose first cell is the one tagged ``parameters``."""
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    made.cells[0].metadata.tags = ["parameters"]
    made.metadata.kernelspec = {"name": "python3", "language": "python", "display_name": "Python 3"}
    return made


@pytest.fixture
def tree(tmp_path):
    """A repository with one notebook, in a folder whose name would break careless code."""
    folder = tmp_path / "a {tree} of ours"
    for name in ("notebooks", "asteroid/profiles", "asteroid/data", "results/smoke"):
        (folder / name).mkdir(parents=True)
    for name in ("smoke", "laptop"):
        (folder / f"asteroid/profiles/{name}.yaml").write_text("seeds: 1\n")
    (folder / "asteroid/training").mkdir()
    (folder / "asteroid/training/losses.py").write_text("")
    nbformat.write(notebook('profile = "laptop"', "print(profile)"), folder / "notebooks/tiny.ipynb")
    return folder


@pytest.fixture
def executed(monkeypatch):
    """Papermill replaced by a copy; the names of the notebooks it was given."""
    names = []

    def execute(page, folder):
        names.append(page.notebook.stem)
        return nbformat.read(page.notebook, as_version=4)

    in_this_process(monkeypatch, execute)
    return names


def in_this_process(monkeypatch, execute):
    monkeypatch.setattr(book.pages, "execute", execute)
    monkeypatch.setattr(book.pages.processes, "pool", lambda tasks: ThreadPoolExecutor(1))


def test_page_is_executed_bythis_interpreter_in_the_root(tree, monkeypatch, tmp_path):
    # A kernel of the user's under the same name, which must not be the one that runs.
    kernel = tmp_path / "user/kernels/python3/kernel.json"
    kernel.parent.mkdir(parents=True)
    kernel.write_text('{"argv": ["false"], "display_name": "theirs", "language": "python"}')
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "user"))
    source = notebook('profile = "laptop"', "import os, sys\nprint(profile, sys.executable, os.getcwd(), sep='\\n')")
    nbformat.write(source, tree / "notebooks/tiny.ipynb")

    (page,) = book.make_pages("smoke", folder=tree)

    assert page == tree / "book/pages/tiny.ipynb"
    printed = nbformat.read(page, as_version=4).cells[-1].outputs[0].text
    assert printed.splitlines() == ["smoke", os.path.normpath(sys.executable), str(tree)]


def test_failing_notebook_is_refused(tree):
    nbformat.write(notebook('profile = "laptop"', "half = 1 / 0"), tree / "notebooks/tiny.ipynb")
    with pytest.raises(book.NotebookError, match=r"notebooks/tiny.ipynb failed.*\n?.*half = 1 / 0.*ZeroDivisionError"):
        book.make_pages("smoke", folder=tree)
    assert list((tree / "book/pages").iterdir()) == []


def test_fresh_page_is_kept(tree, executed):
    assert len(book.make_pages("smoke", folder=tree)) == 1
    assert book.make_pages("smoke", folder=tree) == []
    assert executed == ["tiny"]


@pytest.mark.parametrize(
    "changed",
    [
        "notebooks/tiny.ipynb",
        "asteroid/profiles/smoke.yaml",
        "asteroid/training/losses.py",
        "asteroid/models/egnn.py",
        "asteroid/data/methanol.json",
        "results/smoke/key.json",
        "results/label_cost/methanol_pbe.jsonl",
    ],
)
def test_page_is_stale_when_what_it_depends_on_changes(tree, executed, changed):
    book.make_pages("smoke", folder=tree)
    path = tree / changed
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as file:
        file.write("\n")
    assert len(book.make_pages("smoke", folder=tree)) == 1


def test_page_is_stale_for_another_profile_only_when_that_differs(tree, executed):
    book.make_pages("smoke", folder=tree)
    (tree / "asteroid/profiles/laptop.yaml").write_text("seeds: 3\n")
    assert book.make_pages("smoke", folder=tree) == []
    assert len(book.make_pages("laptop", folder=tree)) == 1


def test_a_book_of_a_profile_that_takes_days_has_the_default_s_pages_beside_its_own(tree, executed, monkeypatch):
    shutil.copy(tree / "notebooks/tiny.ipynb", tree / "notebooks/zebra.ipynb")
    (tree / "asteroid/profiles/md17.yaml").write_text("seeds: 1\n")
    (tree / "book").mkdir(exist_ok=True)
    (tree / "book/variants.yml").write_text("zebra: {notebook: zebra, profile: md17}\n")
    made = {
        page.stem: nbformat.read(page, as_version=4).metadata.asteroid for page in book.make_pages("md17", folder=tree)
    }
    assert {name: seal.profile for name, seal in made.items()} == {"tiny": "laptop", "zebra": "md17"}


def test_a_page_is_stale_when_the_profile_beside_its_own_changes(tree, executed):
    (tree / "book").mkdir(exist_ok=True)
    (tree / "book/variants.yml").write_text("tiny: {notebook: tiny, profile: laptop, parameters: {beside: smoke}}\n")
    assert len(book.make_pages("laptop", folder=tree)) == 1
    assert book.make_pages("laptop", folder=tree) == []
    (tree / "results/smoke/new.json").write_text("{}")
    assert len(book.make_pages("laptop", folder=tree)) == 1
    (tree / "asteroid/profiles/smoke.yaml").write_text("seeds: 2\n")
    assert len(book.make_pages("laptop", folder=tree)) == 1


def test_records_made_by_a_later_notebook_leave_earlier_pages_fresh(tree, monkeypatch):
    shutil.copy(tree / "notebooks/tiny.ipynb", tree / "notebooks/zebra.ipynb")

    def execute(page, folder):
        (folder / f"results/{page.profile}/{page.notebook.stem}.json").write_text("{}")
        return nbformat.read(page.notebook, as_version=4)

    in_this_process(monkeypatch, execute)
    assert len(book.make_pages("smoke", folder=tree)) == 2
    assert book.make_pages("smoke", folder=tree) == []


@pytest.mark.skipif(processes.cores() < 2, reason="needs two cores")
def test_pages_are_executed_two_at_a_time(tree):
    met = "import time\nfrom pathlib import Path\nend = time.monotonic() + 60\n"
    for mine, other in [("tiny", "zebra"), ("zebra", "tiny")]:
        wait = f"Path('{mine}').touch()\nwhile not Path('{other}').exists():\n    assert time.monotonic() < end\n"
        nbformat.write(notebook('profile = "laptop"', met + wait), tree / f"notebooks/{mine}.ipynb")
    assert [page.stem for page in book.make_pages("smoke", folder=tree)] == ["tiny", "zebra"]


def test_the_claims_are_looked_at_after_all_other_pages(tree, executed):
    for name in ("claims", "zebra"):
        shutil.copy(tree / "notebooks/tiny.ipynb", tree / f"notebooks/{name}.ipynb")
    assert [page.stem for page in book.make_pages("smoke", folder=tree)] == executed == ["tiny", "zebra", "claims"]


def test_after_a_failure_no_page_is_begun_and_those_made_stay(tree, monkeypatch):
    begun = []

    def execute(page, folder):
        begun.append(page.notebook.stem)
        if page.notebook.stem == "unlucky":
            raise book.NotebookError("unlucky failed")
        return nbformat.read(page.notebook, as_version=4)

    for name in ("unlucky", "zebra", "claims"):
        shutil.copy(tree / "notebooks/tiny.ipynb", tree / f"notebooks/{name}.ipynb")
    in_this_process(monkeypatch, execute)
    with pytest.raises(book.NotebookError, match="unlucky failed"):
        book.make_pages("smoke", folder=tree)
    assert (tree / "book/pages/tiny.ipynb").exists() and "claims" not in begun


def test_a_process_that_was_killed_is_named(tree):
    kill = "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)"
    nbformat.write(notebook('profile = "laptop"', kill), tree / "notebooks/tiny.ipynb")
    with pytest.raises(book.NotebookError, match="killed, most often for want of memory"):
        book.make_pages("smoke", folder=tree)


INTERRUPTED = """
import signal, sys
from pathlib import Path
from asteroid import book
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
if __name__ == "__main__":
    try:
        book.make_pages("smoke", folder=Path(sys.argv[1]))
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


def test_an_interrupt_ends_the_notebooks_under_way(tree, tmp_path):
    endless = "import os, time\nfrom pathlib import Path\nPath('kernel').write_text(str(os.getpid()))\ntime.sleep(600)"
    nbformat.write(notebook('profile = "laptop"', endless), tree / "notebooks/tiny.ipynb")
    program, mark = tmp_path / "program.py", tree / "kernel"
    program.write_text(INTERRUPTED)
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen([sys.executable, str(program), str(tree)], start_new_session=True, **output) as process:
        try:
            within(60, lambda: mark.exists() and mark.read_text())
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does
            assert process.communicate(timeout=30)[0].endswith("interrupted\n")
        finally:
            process.kill()
    kernel = int(mark.read_text())
    within(20, lambda: not Path(f"/proc/{kernel}").exists() or "Z" in Path(f"/proc/{kernel}/stat").read_text())


def within(seconds, happens):
    end = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_variant_is_a_page_of_its_own_with_its_parameters_and_heading(tree):
    source = notebook('profile = "laptop"\nmodel = "egnn"', "print(model)")
    source.cells.insert(0, nbformat.v4.new_markdown_cell("# Heading\n\nText."))
    source.cells[-1].metadata.mystnb = {"figure": {"caption": "A figure.", "name": "fig1"}}
    nbformat.write(source, tree / "notebooks/tiny.ipynb")
    variants = tree / "book/variants.yml"
    variants.parent.mkdir()
    variants.write_text("other: {notebook: tiny, title: 'New: heading', parameters: {model: gemnet-t}}\n")

    plain, other = book.make_pages("smoke", folder=tree)

    assert (plain.stem, other.stem) == ("tiny", "other")
    cells = nbformat.read(other, as_version=4).cells
    assert cells[0].source == "# New: heading\n\nText." and cells[-1].outputs[0].text == "gemnet-t\n"
    assert cells[-1].metadata.mystnb.figure.name == "fig1-other"  # a label may stand once in a book
    cells = nbformat.read(plain, as_version=4).cells
    assert cells[-1].outputs[0].text == "egnn\n" and cells[-1].metadata.mystnb.figure.name == "fig1"
    assert book.make_pages("smoke", folder=tree) == []
    variants.write_text(variants.read_text().replace("gemnet-t", "gemnet-q"))
    assert book.make_pages("smoke", folder=tree) == [other]


@pytest.mark.parametrize(
    ("about", "reason"),
    [
        ("{notebook: tinny}", "unknown notebook 'tinny'; known: tiny"),
        ("{title: none}", "'notebook'"),
        ("{notebook: tiny, model: egnn}", "unexpected keyword argument 'model'"),
    ],
)
def test_variant_that_cannot_be_is_refused(tree, about, reason):
    (tree / "book").mkdir()
    (tree / "book/variants.yml").write_text(f"other: {about}\n")
    with pytest.raises(ValueError, match=f"variants.yml, page 'other': .*{reason}"):
        book.make_pages("smoke", folder=tree)


def test_page_of_a_removed_notebook_is_removed(tree, executed):
    (page,) = book.make_pages("smoke", folder=tree)
    (tree / "notebooks/tiny.ipynb").unlink()
    book.make_pages("smoke", folder=tree)
    assert not page.exists()


def test_unknown_profile_and_notebook_list_the_known(tree):
    with pytest.raises(ValueError, match="unknown profile 'lapdog'; known: laptop, smoke"):
        book.make_pages("lapdog", folder=tree)
    with pytest.raises(ValueError, match="unknown page 'tinny'; known: tiny"):
        book.make_pages("smoke", only=["tinny"], folder=tree)


def test_unknown_parameter_given_to_papermill_is_refused(tree):
    cells = [
        'profile = "laptop"\nmolecule = "methanol"',
        'from asteroid import book\nbook.begin(globals(), "molecule")',
    ]
    # `profile` is what make_pages passes, and this notebook's set-up cell does not declare it.
    nbformat.write(notebook(*cells), tree / "notebooks/tiny.ipynb")
    with pytest.raises(book.NotebookError, match="unknown parameter 'profile'; this notebook knows: molecule"):
        book.make_pages("smoke", folder=tree)


def test_begin_looks_at_injected_parameters_only(monkeypatch):
    loaded = SimpleNamespace(load=lambda name: f"profile {name}")
    monkeypatch.setitem(sys.modules, "asteroid.profiles", loaded)
    monkeypatch.setattr("asteroid.profiles", loaded, raising=False)
    cells = ["", "profile = 'laptop'", "# Parameters\nprofile = 'smoke'\n", "later = 1"]
    namespace = {"profile": "smoke", "later": 1, "In": cells}
    assert book.begin(namespace, "profile") == "profile smoke"
    with pytest.raises(ValueError, match="unknown parameter 'profile'; this notebook knows: seed"):
        book.begin(namespace | {"seed": 0}, "seed")
    with pytest.raises(ValueError, match="parameter 'seed' is not set"):
        book.begin(namespace, "profile", "seed")


@pytest.mark.parametrize(
    ("default", "value"), [(False, "false"), (2, "two"), (2, 1.5), (0, True), ("laptop", None), (False, 1)]
)
def test_begin_refuses_a_parameter_of_another_type_than_its_default(default, value):
    cells = ["", f"profile = 'smoke'\nanother = None\nsetting = {default!r}", f"# Parameters\nsetting = {value!r}\n"]
    namespace = {"profile": "smoke", "another": 3.5, "setting": default, "In": cells}
    assert book.begin(namespace, "profile", "another", "setting").name == "smoke"
    with pytest.raises(ValueError, match=f"'setting' is {value!r}; expected {type(default).__name__}, such as"):
        book.begin(namespace | {"setting": value}, "profile", "another", "setting")


@pytest.mark.parametrize(
    ("annotation", "value", "message"),
    [
        ("str", False, "expected str or None; papermill keeps a word as it is by `-r setting WORD`"),
        ("str", 2024, "expected str or None; papermill"),
        ("float", "much", "expected float or None$"),
        ("int", 1.5, "expected int or None$"),
        ("int", True, "expected int or None$"),
    ],
)
def test_a_default_of_none_has_the_type_of_its_annotation(annotation, value, message):
    def begin(given):
        declared = f"profile = 'smoke'\nsetting: {annotation} | None = None"
        cells = ["", declared, f"# Parameters\nsetting = {given!r}\n"]
        return book.begin({"profile": "smoke", "setting": given, "In": cells}, "profile", "setting").name

    good = {"str": "NO", "float": 1, "int": 3}[annotation]
    assert begin(None) == begin(good) == "smoke"
    with pytest.raises(ValueError, match=f"parameter 'setting' is {value!r}; {message}"):
        begin(value)


def test_begin_refuses_a_model_that_the_profile_does_not_have():
    assert book.begin({"profile": "smoke", "model": None}, "profile", "model").name == "smoke"
    with pytest.raises(ValueError, match="profile 'smoke' has no model 'egn'; it has: egnn"):
        book.begin({"profile": "smoke", "model": "egn"}, "profile", "model")


def test_stamp_counts_runs_seeds_and_seconds():
    records = [
        SimpleNamespace(key=date, spec=SimpleNamespace(seed=seed), seconds=600.0, date=date)
        for seed, date in [(0, "2026-03-01T10:00:00"), (1, "2026-03-02T10:00:00"), (1, "2026-03-02T11:00:00")]
    ]
    text = book.stamp("laptop", [*records, records[0]]).data  # one of them is shown twice
    assert "3 runs over 2 seeds, of 2026-03-01 to 2026-03-02, 1,800 s in all" in text
    assert "make book PROFILE=laptop" in text
    several = SimpleNamespace(key="1", spec=SimpleNamespace(seeds=(1, 2, 3, 4)), seconds=1.0, date="2026-03-02")
    assert "1 run over 4 seeds" in book.stamp("laptop", [several]).data
    assert "4 runs over 2 to 4 seeds" in book.stamp("laptop", [*records, several]).data
    assert "run" not in book.stamp("laptop").data
    wanted = [SimpleNamespace(key=record.key) for record in [*records, several]]
    assert "1 run not recorded yet: `make results PROFILE=laptop`" in book.stamp("laptop", records, wanted=wanted).data
    assert "not recorded" not in book.stamp("laptop", [*records, several], wanted=wanted).data


def test_what_a_page_shows_is_saved_beside_it_and_linked(tree):
    draw = "book.keep('fig1', plt.figure())\nbook.keep('table1', pd.DataFrame({'error': [0.5]}, index=['egnn']))"
    cells = ["import matplotlib.pyplot as plt, pandas as pd\nfrom asteroid import book", draw, "book.stamp(profile)"]
    nbformat.write(notebook('profile = "laptop"', *cells), tree / "notebooks/tiny.ipynb")
    (page,) = book.make_pages("smoke", folder=tree)
    assert (page.parent / "figures/fig1.svg").read_text().startswith("<?xml")
    assert (page.parent / "tables/table1.csv").read_text() == ",error\negnn,0.5\n"
    stamp = nbformat.read(page, as_version=4).cells[-1].outputs[0].data["text/markdown"]
    assert "[fig1.svg](figures/fig1.svg), [table1.csv](tables/table1.csv)" in stamp


def test_a_notebook_of_one_s_own_saves_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = pd.DataFrame({"error": [0.5]})
    assert book.keep("table1", table).equals(table) and list(tmp_path.iterdir()) == []
    with pytest.raises(TypeError, match="fig1: expected a matplotlib figure or a pandas table, got list"):
        book.keep("fig1", [])


def test_a_table_is_shown_without_underscores_and_saved_with_them(tmp_path, monkeypatch):
    monkeypatch.setenv(stamps.PAGES, str(tmp_path))
    index = pd.MultiIndex.from_tuples([("formic_acid", 50)], names=["molecule", "number_of"])
    table = pd.DataFrame({"force_mae": ["a_b"]}, index=index).rename_axis(columns="trained_on")
    shown = stamps.keep("table1", table)
    assert shown.index.tolist() == [("formic acid", 50)] and list(shown.index.names) == ["molecule", "number of"]
    assert shown.columns.tolist() == ["force mae"] and shown.columns.name == "trained on"
    assert shown.iloc[0, 0] == "a_b" and "formic_acid,50" in (tmp_path / "tables/table1.csv").read_text()


def test_banner_is_for_the_smoke_profile_alone():
    assert "mean nothing" in book.banner("smoke").data
    assert book.banner("laptop") is None


def test_import_loads_no_notebook_machinery():
    heavy = "{'papermill', 'nbformat', 'IPython', 'nbclient', 'py3Dmol'}"
    code = f"import sys, asteroid.book; sys.exit(str({heavy} & set(sys.modules) or ''))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr.strip() == ""


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_keeps_to_the_rules(path):
    from nbstripout import strip_output

    text = path.read_text(encoding="utf-8")
    source = nbformat.reads(text, as_version=4)
    nbformat.validate(source)
    stripped = strip_output(nbformat.reads(text, as_version=4), keep_output=False, keep_count=False, keep_id=True)
    assert stripped == source, f"holds outputs; run: nbstripout --keep-id notebooks/{path.name}"
    # Without these papermill stops with "No language found", or asks for a kernel that exists on one machine only.
    assert source.metadata.kernelspec.name == "python3"
    assert source.metadata.language_info.name == "python"

    code = [cell for cell in source.cells if cell.cell_type == "code"]
    (parameters,) = [cell for cell in code if "parameters" in cell.metadata.get("tags", [])]
    assignments = ast.parse(parameters.source).body
    assert assignments[0].targets[0].id == "profile"
    assert assignments[0].value.value == book.DEFAULT_PROFILE
    for assignment in assignments:
        default = ast.literal_eval(assignment.value)
        assert default is not None or isinstance(assignment, ast.AnnAssign), "of None, only an annotation says the type"

    for cell in code:
        tree = ast.parse("".join(line for line in io.StringIO(cell.source) if not line.startswith(("%", "!"))))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                length = node.end_lineno - node.lineno + 1
                assert length <= 10, f"{node.name} has {length} lines; move it into the library"


def kept(cell):
    """What a cell saves beside its page: the first argument of each `book.keep`, as it is written, and its source."""
    calls = [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Call)]
    return [ast.unparse(c.args[0]) for c in calls if ast.unparse(c.func) == "book.keep"]


def code_cells():
    for path in NOTEBOOKS:
        cells = nbformat.read(path, as_version=4).cells
        yield from ((path.stem, cell) for cell in cells if cell.cell_type == "code" and not cell.source.startswith("%"))


def test_the_reference_has_a_section_for_each_module():
    package = book.root() / "asteroid"
    parts = [path.relative_to(package.parent).with_suffix("").parts for path in package.rglob("*.py")]
    modules = {".".join(part for part in each if part != "__init__") for each in parts}
    text = (package.parent / "book/reference.md").read_text(encoding="utf-8")
    sections = re.findall(
        r"^## (\S+)\n\n```{eval-rst}\n\.\. automodule:: \1\n(?:   :no-members:\n)?```$", text, re.MULTILINE
    )
    assert len(sections) == len(set(sections)) == text.count("automodule::")
    assert set(sections) == modules - NO_SECTION.keys()


def test_what_is_kept_has_a_caption_a_label_and_a_description():
    labels = []
    for notebook, cell in code_cells():
        figure = cell.metadata.get("mystnb", {}).get("figure", {})
        if (kept(cell) or figure) and figure.get("name"):
            labels.append(figure["name"])
        if not kept(cell):
            continue
        where = f"{notebook}, cell {cell.id}"
        assert figure.get("caption", "").endswith("."), f"{where} has no caption"
        assert figure.get("name") or "for " in cell.source, f"{where} has no label"  # a loop draws several
        described = cell.metadata.mystnb.get("image", {}).get("alt") or "with_values(" in cell.source
        assert described or figure.get("classes") == "table", f"{where} has no description of its picture (alt)"
    assert len(labels) == len(set(labels)), "a label stands twice"


def test_no_page_overwrites_what_another_has_saved():
    owners = {}
    for notebook, cell in code_cells():
        for name in kept(cell):
            assert owners.setdefault(name, notebook) == notebook, f"{name} is saved by {owners[name]} and {notebook}"


def test_molecule_is_drawn_without_a_network():
    from asteroid.plots.viewer import molecule_view

    z, pos = np.array([8, 1, 1]), np.array([[0.0, 0.0, 0.1], [0.0, 0.8, -0.5], [0.0, -0.8, -0.5]])
    still, moving = molecule_view(z, pos).data, molecule_view(z, torch.from_numpy(np.stack([pos, pos + 0.1]))).data
    assert "O  0.000 0.000 0.100" in still
    assert moving.count("O  0.") == 2
    assert "https:" not in still + moving
    assert len(moving) < 250_000
    with pytest.raises(ValueError, match=r"pos has shape \(2, 3\); expected \(3, 3\)"):
        molecule_view(z, pos[:2])


def test_a_page_may_show_another_profile_than_the_default_book(tree, monkeypatch):
    """With its parameters; in another profile's book it is a page like all others."""
    shown = []

    def execute(page, folder):
        shown.append((page.profile, dict(page.parameters)))
        return nbformat.v4.new_notebook()

    in_this_process(monkeypatch, execute)
    (tree / "asteroid/profiles/md17.yaml").write_text("")
    nbformat.write(notebook('profile = "laptop"', "print(profile)"), tree / "notebooks/tiny.ipynb")
    (tree / "book").mkdir(exist_ok=True)
    (tree / "book/variants.yml").write_text("tiny: {notebook: tiny, profile: md17, parameters: {half: 2}}")
    for profile in ("laptop", "smoke", "md17"):
        book.make_pages(profile, folder=tree)
    assert shown == [("md17", {"half": 2}), ("smoke", {}), ("md17", {"half": 2})]
    book.make_pages("laptop", folder=tree)
    assert len(shown) == 3  # which is the same page
    record = tree / "results/md17/run.json"
    record.parent.mkdir(parents=True)
    record.write_text("{}")  # its records are those of its own profile
    book.make_pages("laptop", folder=tree)
    assert len(shown) == 4


def test_the_reference_lists_the_public_names():
    text = (book.root() / "book/reference.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `asteroid\.(\w+)` \|", text, re.MULTILINE)
    assert listed == asteroid.__all__ and set(listed) <= set(dir(asteroid))
