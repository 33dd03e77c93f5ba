"""Lint of the lessons, without a kernel: what GitHub shows, what nbval compares, what a screen reader reads."""

import ast
import copy
import importlib.util
import itertools
import re
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parent.parent / "notebooks").glob("*.ipynb"))
MOST_BYTES = 300_000
MOST_LINES = 25
ABSOLUTE = re.compile(r"(?<![\w.:/~])/(?:home|Users|root|tmp|work|mnt|usr|opt|var)/|\b[A-Za-z]:\\+\w")
INSTALLS = re.compile(r"(?<![\w.])(?:pip3?|wget|curl|conda)\s")
COLOUR = re.compile(r"\x1b\[[\d;]*m")  # in tracebacks; its closing letter would hide the path that follows
UNNAMED_IMAGE = re.compile(r"!\[\s*\]\(|<img(?![^>]*\balt=[\"'][^\"'])")


def tags(cell):
    return cell.metadata.get("tags", [])


def texts(output):
    """The text of an output."""
    if output.output_type == "stream":
        return [output.text]
    if output.output_type == "error":
        return [COLOUR.sub("", line) for line in output.traceback]
    return [str(value) for kind, value in output.data.items() if kind.startswith("text/")]


def headings(cells):
    """(level, title) of every markdown heading, code fences left out."""
    found = []
    for cell in cells:
        if cell.cell_type == "markdown":
            prose = re.sub(r"^```.*?^```", "", cell.source, flags=re.M | re.S)
            found += [(len(m[1]), m[2]) for m in re.finditer(r"^(#{1,6}) +(.+)$", prose, re.M)]
    return found


def unknown_names(source):
    """Names in a cell that repre_lite does not have: `from repre_lite.x import y`, and `rl.y`."""
    tree = ast.parse("\n".join(line for line in source.splitlines() if not line.lstrip().startswith(("%", "!"))))
    unknown = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "repre_lite":
            names = [alias.name for alias in node.names]
            unknown += [name for name in names if not known(node.module, name)]
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "rl":
            unknown += [] if known("repre_lite", node.attr) else [node.attr]
    return unknown


def known(module, name):
    """Whether `from module import name` works."""
    found = importlib.import_module(module)
    return hasattr(found, name) or (
        hasattr(found, "__path__") and importlib.util.find_spec(f"{module}.{name}") is not None
    )


def complaints(notebook):
    """What is wrong with a notebook, one line for each fault."""
    found = []
    try:
        nbformat.validate(notebook)
    except nbformat.ValidationError as error:
        return [f"invalid: {error.message}"]
    if "widgets" in notebook.metadata:
        found.append("stored widget state")
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        found.append("the kernel is not python3")
    found += outline(headings(notebook.cells))
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    counts = [cell.execution_count for cell in code]
    if counts != list(range(1, len(code) + 1)):
        found.append(f"not executed once from top to bottom: {counts}")
    for number, cell in enumerate(code, 1):
        found += [f"code cell {number}: {complaint}" for complaint in code_complaints(cell)]
    for cell in notebook.cells:
        shown = [cell.source, *(text for output in cell.get("outputs", []) for text in texts(output))]
        if any(ABSOLUTE.search(text) for text in shown):
            found.append(f"an absolute path: {cell.source[:40]!r}")
        if cell.cell_type == "markdown" and UNNAMED_IMAGE.search(cell.source):
            found.append(f"an image without alternative text: {cell.source[:40]!r}")
    return found


def outline(found):
    levels = [level for level, _ in found]
    complaints = []
    if levels.count(1) != 1 or levels[0] != 1:
        complaints.append(f"needs one H1, and first: {levels}")
    if any(after > before + 1 for before, after in itertools.pairwise(levels)):
        complaints.append(f"a heading skips a level: {levels}")
    return complaints


def code_complaints(cell):
    found = []
    if len(cell.source.splitlines()) > MOST_LINES:
        found.append(f"longer than {MOST_LINES} lines")
    if INSTALLS.search(cell.source):
        found.append("installs or downloads")
    if "nbval-check-output" in tags(cell) and not cell.outputs:
        found.append("tagged nbval-check-output without a stored output")
    if any(output.output_type == "error" for output in cell.outputs) and "raises-exception" not in tags(cell):
        found.append("a stored error")
    if names := unknown_names(cell.source):
        found.append(f"not in repre_lite: {', '.join(names)}")
    return found


def test_there_are_lessons():
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_lesson(path):
    assert path.stat().st_size <= MOST_BYTES
    assert complaints(nbformat.read(path, as_version=nbformat.NO_CONVERT)) == []


# -- the lint itself


@pytest.fixture
def lesson():
    new = nbformat.v4
    stream = new.new_output("stream", text="(2, 3)\n")
    cells = [
        new.new_markdown_cell("# Title\n\n![a graph](x.png) see ~/x, a/tmp/b, https://example.org/tmp/x"),
        new.new_markdown_cell("## Part\n\n```\n# not a heading\n```\n\n### Detail\n\n## Part"),
        new.new_code_cell("import repre_lite as rl\nrl.build_encoder", execution_count=1),
        new.new_code_cell("x.shape", execution_count=2, outputs=[stream], metadata={"tags": ["nbval-check-output"]}),
    ]
    return new.new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})


def error(trace="ValueError"):
    return nbformat.v4.new_output("error", ename="ValueError", evalue="x", traceback=[trace])


def test_a_good_lesson_has_no_complaints(lesson):
    assert complaints(lesson) == []
    lesson.cells[2].outputs = [error()]
    lesson.cells[2].metadata["tags"] = ["raises-exception"]
    assert complaints(lesson) == []


FAULTS = {
    "invalid": lambda book: book.cells[2].update(execution_count="1"),
    "stored widget state": lambda book: book.metadata.update(widgets={}),
    "kernel is not python3": lambda book: book.metadata.kernelspec.update(name="conda-env-x"),
    "from top to bottom: [1, 3]": lambda book: book.cells[3].update(execution_count=3),
    "from top to bottom: [None, 2]": lambda book: book.cells[2].update(execution_count=None),
    "without a stored output": lambda book: book.cells[3].update(outputs=[]),
    "a stored error": lambda book: book.cells[2].update(outputs=[error()]),
    "one H1, and first: [1, 1": lambda book: book.cells[1].update(source="# Again"),
    "one H1, and first: [2, 3, 2, 1]": lambda book: book.cells.insert(0, book.cells.pop(1)),
    "skips a level: [1, 3]": lambda book: book.cells[1].update(source="### Detail"),
    "cell 1: installs": lambda book: book.cells[2].update(source="%pip install repre-lite"),
    "cell 2: installs": lambda book: book.cells[3].update(source="!wget -q x"),
    "cell 1: longer": lambda book: book.cells[2].update(source="x = 1\n" * 26),
    "cell 1: not in repre_lite: no_such": lambda book: book.cells[2].update(source="rl.no_such()"),
    "repre_lite: Nothing": lambda book: book.cells[2].update(source="from repre_lite.losses import Nothing"),
    "an absolute path: '# Title": lambda book: book.cells[0].update(source="# Title\n\nsee /" + "home/ann/x"),
    "an absolute path: 'import": lambda book: book.cells[2].update(
        outputs=[error("File /" + "tmp/x.py")], metadata={"tags": ["raises-exception"]}
    ),
    "an absolute path: 'rl": lambda book: book.cells[2].update(
        source="rl",
        outputs=[error("\x1b[36mFile \x1b[32m/" + "work/x.py:3\x1b[39m")],
        metadata={"tags": ["raises-exception"]},
    ),
    "an absolute path: 'x.shape": lambda book: book.cells[3].outputs[0].update(text="C:" + "\\data"),
    "without alternative text": lambda book: book.cells[0].update(source="# Title\n\n![](x.png)"),
    "an image without": lambda book: book.cells[0].update(source='# Title\n\n<img src="x.png">'),
}


@pytest.mark.parametrize("complaint", FAULTS)
def test_a_fault_is_seen(lesson, complaint):
    book = copy.deepcopy(lesson)
    FAULTS[complaint](book)
    found = complaints(book)
    assert len(found) == 1 and complaint in found[0], found
