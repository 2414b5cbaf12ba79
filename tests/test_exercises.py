"""What the answers of exercises tell a reader to run can be run."""

import re

import nbformat
import pytest

from asteroid import book

EXERCISES = {
    path.stem: cell.source
    for path in sorted((book.root() / "notebooks").glob("*.ipynb"))
    for cell in nbformat.read(path, as_version=4).cells
    if cell.cell_type == "markdown" and cell.source.startswith("## Exercises")
}
SNIPPETS = [
    pytest.param(code, id=f"{name} {number}")
    for name, source in EXERCISES.items()
    for number, code in enumerate(re.findall(r"^```python\n(.*?)^```$", source, re.MULTILINE | re.DOTALL), 1)
]


@pytest.mark.parametrize("code", SNIPPETS)
def test_an_answer_runs_and_prints_something(code, capsys):
    exec(compile(code, "answer", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out.strip()


def test_a_command_names_a_notebook_and_its_parameters():
    commands = [
        found for source in EXERCISES.values() for found in re.findall(r"papermill nb/(\w+)\.ipynb([^`]*)", source)
    ]
    assert commands
    for notebook, rest in commands:
        cells = nbformat.read(book.root() / f"notebooks/{notebook}.ipynb", as_version=4).cells
        (parameters,) = [cell.source for cell in cells if "parameters" in cell.metadata.get("tags", [])]
        for name in re.findall(r"-p (\w+)", rest):
            assert re.search(rf"^{name}\b", parameters, re.MULTILINE), f"{notebook} has no parameter {name}"
