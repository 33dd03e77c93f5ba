"""Lint of the lessons, without a kernel: sizes, headings, references, links, exercises, assertions, what a screen reader says."""

import ast
import copy
import importlib.util
import itertools
import re
import statistics
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MOST_BYTES = 400_000
MOST_CELLS = 45
MOST_LINES = 20  # of a code cell, blank ones left out
MEDIAN_LINES = 6
PAPER = "https://arxiv.org/abs/2201.06857"
LINK = re.compile(r"\]\((?!https?:|#)([^)\s]+)\)")
SECTION = re.compile(r"\b[Ss]ections? (\d+)(?!\.?\d)")  # one of the paper's has a point, such as section 3.2
ABSOLUTE = re.compile(r"(?<![\w.:/~])/(?:home|Users|root|tmp|work|mnt|usr|opt|var)/|\b[A-Za-z]:\\+\w")
INSTALLS = re.compile(r"(?<![\w.])(?:pip3?|wget|curl|conda)\s")
COLOUR = re.compile(r"\x1b\[[\d;]*m")  # in tracebacks; its closing letter would hide the path that follows
UNNAMED_IMAGE = re.compile(r"!\[\s*\]\(|<img(?![^>]*\balt=[\"'][^\"'])")
IN_HTML = re.compile(r"</summary>.+(?:\n.+)*")  # up to an empty line this is HTML, which knows no Markdown
MODULE = re.compile(r"(?<![\w./])(F|nn|np|plt|math|torch|dataclasses|statistics)\.\w")  # in a hint or a solution
MEASURED = re.compile(r"\d\.\d|\d ?%")  # in an output
PLOTS_VALUES = re.compile(r"\.(?:plot|hist|scatter|bar|barh|errorbar|imshow|figure)\(")
ASSERTS = re.compile(r"^\s*(?:assert |checks\.compare\()", re.M)


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


def lines(cell):
    """The lines of a code cell that hold something."""
    return [line for line in cell.source.splitlines() if line.strip()]


def complaints(notebook):
    """What is wrong with a notebook, one line for each fault."""
    try:
        nbformat.validate(notebook)
    except nbformat.ValidationError as error:
        return [f"invalid: {error.message}"]
    found = size(notebook)
    if "widgets" in notebook.metadata:
        found.append("stored widget state")
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        found.append("the kernel is not python3")
    found += outline(headings(notebook.cells)) + head(notebook.cells[0].source)
    found += references(notebook.cells) + exercises(notebook.cells) + readings(notebook.cells)
    found += assertions(notebook.cells) + imports(notebook.cells)
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
        if cell.cell_type == "markdown" and any("`" in part for part in IN_HTML.findall(cell.source)):
            found.append(f"Markdown on a line of HTML: {cell.source[:40]!r}")
    return found


def size(notebook):
    code = [len(lines(cell)) for cell in notebook.cells if cell.cell_type == "code"]
    found = []
    if len(notebook.cells) > MOST_CELLS:
        found.append(f"{len(notebook.cells)} cells, more than {MOST_CELLS}")
    if code and statistics.median(code) > MEDIAN_LINES:
        found.append(f"the median code cell has {statistics.median(code)} lines, more than {MEDIAN_LINES}")
    return found


def head(source):
    """What the first cell leaves out: the question, both times, a link to the paper."""
    wanted = {
        "a question in bold": r"\*\*[^*]+\?\*\*",
        "the machine's time": r"^\*Machine:\* .*minute",
        "the reader's time": r"\*You:\* .*\d+ minutes",
        "a link to the paper": re.escape(PAPER),
    }
    return [f"the first cell lacks {name}" for name, pattern in wanted.items() if not re.search(pattern, source, re.M)]


def references(cells):
    """Numbered headings out of order, a list of contents that differs from them, sections and links that are not there."""
    titles = [title for level, title in headings(cells) if level == 2]
    numbered = [(int(found[1]), found[2]) for title in titles if (found := re.match(r"(\d+)\. (.+)", title))]
    contents = re.findall(r"^(\d+)\. (.+)$", cells[0].source, re.M)
    found = []
    if [number for number, _ in numbered] != list(range(1, len(numbered) + 1)):
        found.append(f"headings are numbered {[number for number, _ in numbered]}")
    elif contents and [int(number) for number, _ in contents] != [number for number, _ in numbered]:
        found.append(f"the list of contents has {len(contents)} numbers, the headings {len(numbered)}")
    else:
        pairs = zip(contents, numbered, strict=False)
        found += [f"contents say {one!r}, the heading {two!r}" for (_, one), (_, two) in pairs if not alike(one, two)]
    for cell in cells:
        if cell.cell_type == "markdown":
            named = {int(number) for number in SECTION.findall(cell.source)} - {number for number, _ in numbered}
            found += [f"there is no section {number}" for number in sorted(named)]
            found += [f"a link to nothing: {target}" for target in LINK.findall(cell.source) if not leads(target)]
    return found


def alike(one, two):
    """Whether an entry of the contents is a heading, or the beginning of one."""
    return one.startswith(two) or two.startswith(one)


def leads(target):
    return (FOLDER / target.partition("#")[0]).exists()


def exercises(cells):
    """Fewer than three exercises, out of order, or one without a stub and a check, a hint and a solution."""
    titles = [title for _, title in headings(cells) if title.startswith("Exercise")]
    numbers = [int(found[1]) if (found := re.match(r"Exercise (\d+): .+ \(\d+ minutes\)", t)) else 0 for t in titles]
    stubs = [index for index, cell in enumerate(cells) if "raises-exception" in tags(cell) and "check" in cell.source]
    found = []
    if numbers != list(range(1, len(numbers) + 1)) or len(numbers) < 3 or len(stubs) != len(numbers):
        found.append(
            f"exercises {numbers} with {len(stubs)} stubs; three or more, each `Exercise N: title (M minutes)`"
        )
    for index in stubs:
        after = cells[index + 1].source if index + 1 < len(cells) else ""
        if not re.search(r"<summary>Hint", after) or not re.search(r"<summary>Solution", after):
            found.append(f"no hint or no solution behind {cells[index].source[:40]!r}")
        if "NotImplementedError" not in cells[index].source and not re.search(r"= \.\.\.", cells[index].source):
            found.append(f"no stub in {cells[index].source[:40]!r}")
    return found


def readings(cells):
    """Figures that no text reads: the next text begins in italics, with what the figure shows."""
    found = []
    for index, cell in enumerate(cells):
        if any("image/png" in output.get("data", {}) for output in cell.get("outputs", [])):
            text = next((c.source for c in cells[index + 1 :] if c.cell_type == "markdown"), "")
            found += [] if re.match(r"\*[^*]", text) else [f"no text reads the figure of {cell.source[:40]!r}"]
    return found


def assertions(cells):
    """Measured numbers that nothing asserts: between two texts, cells print a decimal or a per cent or plot values, and none
    of them asserts something, compares, or has its output compared. What the next text reads must hold on every machine."""
    found = []
    for is_code, group in itertools.groupby(cells, key=lambda cell: cell.cell_type == "code"):
        run = [cell for cell in group if is_code and "raises-exception" not in tags(cell)]
        if not any(ASSERTS.search(cell.source) or "nbval-check-output" in tags(cell) for cell in run):
            found += [f"no assertion beside the numbers of {cell.source[:40]!r}" for cell in run if measures(cell)][:1]
    return found


def imports(cells):
    """Hints and solutions with a module that neither they nor the lesson import: whoever follows them gets a NameError."""
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    found = []
    for cell in cells:
        used = set(MODULE.findall(cell.source)) if cell.cell_type == "markdown" else set()
        missing = [name for name in sorted(used) if not re.search(rf"\bimport .*\b{name}\b", code + "\n" + cell.source)]
        found += [f"{name} is not imported: {cell.source[:40]!r}" for name in missing]
    return found


def measures(cell):
    """Whether a cell prints a measured number or plots values."""
    printed = [text for output in cell.outputs for text in texts(output)]
    plotted = any("image/png" in output.get("data", {}) for output in cell.outputs)
    return any(MEASURED.search(text) for text in printed) or (plotted and bool(PLOTS_VALUES.search(cell.source)))


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
    if len(lines(cell)) > MOST_LINES:
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
        new.new_markdown_cell(
            f"# Title\n\n**Why?** [paper]({PAPER}) ![a graph](README.md) see ~/x, a/tmp/b, https://example.org/tmp/x\n\n"
            "*Machine:* under a minute. *You:* 30 minutes.\n\n1. One: more\n2. Two\n\nSection 2 answers, and section 3.2 of the paper."
        ),
        new.new_markdown_cell("## 1. One\n\n```\n# not a heading\n```\n\n### Detail\n\n## 2. Two"),
        new.new_code_cell("import repre_lite as rl\nrl.build_encoder", execution_count=1),
        new.new_code_cell("x.shape", execution_count=2, outputs=[stream], metadata={"tags": ["nbval-check-output"]}),
    ]
    for number in (1, 2, 3):
        stub = {"execution_count": 2 + number, "metadata": {"tags": ["raises-exception"]}, "outputs": [error()]}
        cells += [
            new.new_markdown_cell(f"### Exercise {number}: do it ({number} minutes)"),
            new.new_code_cell("answer = ...\ncheck(answer)", **stub),
            new.new_markdown_cell(
                "<details><summary>Hint</summary></details><details><summary>Solution</summary></details>"
            ),
        ]
    png = {"image/png": ""}
    cells[3].outputs.append(new.new_output("display_data", png))
    cells.insert(4, new.new_markdown_cell("*A graph that rises.* And so on."))
    return new.new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})


def error(trace="ValueError"):
    return nbformat.v4.new_output("error", ename="ValueError", evalue="x", traceback=[trace])


def test_a_good_lesson_has_no_complaints(lesson):
    assert complaints(lesson) == []
    lesson.cells[2].outputs = [error()]
    lesson.cells[2].metadata["tags"] = ["raises-exception"]
    assert complaints(lesson) == []
    lesson.cells[3].update(source="print(0.5)\nassert 0.4 < x", metadata={"tags": []})
    assert complaints(lesson) == []


FAULTS = {
    "invalid": lambda book: book.cells[2].update(execution_count="1"),
    "stored widget state": lambda book: book.metadata.update(widgets={}),
    "kernel is not python3": lambda book: book.metadata.kernelspec.update(name="conda-env-x"),
    "from top to bottom: [1, 3, 3": lambda book: book.cells[3].update(execution_count=3),
    "from top to bottom: [None, 2": lambda book: book.cells[2].update(execution_count=None),
    "without a stored output": lambda book: book.cells[3].update(outputs=[]),
    "a stored error": lambda book: book.cells[2].update(outputs=[error()]),
    "one H1, and first: [1, 2, 3, 2, 3, 3, 3, 1": lambda book: book.cells[-1].update(
        source=book.cells[-1].source + "\n# Again"
    ),
    "one H1, and first: [2, 1": lambda book: book.cells[0].update(source="## Before\n\n" + book.cells[0].source),
    "skips a level: [1, 2, 4": lambda book: book.cells[1].update(source=book.cells[1].source.replace("###", "####")),
    "46 cells, more than 45": lambda book: book.cells.extend(nbformat.v4.new_markdown_cell("x") for _ in range(32)),
    "median code cell has 7 lines": lambda book: (
        [c.update(source="x = 1\n" * 7) for c in book.cells[2:4]]
        and [c.update(source=c.source + "\nx = 1" * 5) for c in book.cells[6:8]]
    ),
    "lacks a question": lambda book: book.cells[0].update(source=book.cells[0].source.replace("**Why?**", "Why?")),
    "lacks the machine's time": lambda book: book.cells[0].update(
        source=book.cells[0].source.replace("*Machine:*", "")
    ),
    "lacks the reader's time": lambda book: book.cells[0].update(source=book.cells[0].source.replace("30", "some")),
    "lacks a link to the paper": lambda book: book.cells[0].update(source=book.cells[0].source.replace("2201", "2202")),
    "headings are numbered [2, 2]": lambda book: book.cells[1].update(source="## 2. One\n\n## 2. Two"),
    "contents has 2 numbers, the headings 3": lambda book: book.cells[4].update(source="*Read.*\n\n## 3. More"),
    "contents say 'Two', the heading 'Other'": lambda book: book.cells[1].update(source="## 1. One\n\n## 2. Other"),
    "there is no section 4": lambda book: book.cells[4].update(source="*Read.* See section 4."),
    "a link to nothing: 99.ipynb": lambda book: book.cells[4].update(source="*Read.* See [lesson](99.ipynb)."),
    "exercises [1, 2, 4] with 3 stubs": lambda book: book.cells[-3].update(source="### Exercise 4: x (3 minutes)"),
    "exercises [1, 2] with 3 stubs": lambda book: book.cells[-3].update(source="text"),
    "exercises [1, 2, 0]": lambda book: book.cells[-3].update(source="### Exercise 3: no time"),
    "no hint or no solution behind": lambda book: book.cells[-1].update(source="<summary>Hint</summary>"),
    "no stub in": lambda book: book.cells[-2].update(source="answer = 3\ncheck(answer)"),
    "no text reads the figure of 'x.shape": lambda book: book.cells[4].update(source="Next."),
    "no assertion beside the numbers of 'x.shape": lambda book: (
        book.cells[3].metadata.update(tags=[]) or book.cells[3].outputs[0].update(text="7 %")
    ),
    "no assertion beside the numbers of 'axis.plot": lambda book: book.cells[3].update(
        source="axis.plot(x)", metadata={"tags": []}
    ),
    "cell 1: installs": lambda book: book.cells[2].update(source="%pip install repre-lite"),
    "cell 2: installs": lambda book: book.cells[3].update(source="!wget -q x"),
    "cell 1: longer": lambda book: book.cells[2].update(source="x = 1\n" * 21),
    "cell 1: not in repre_lite: no_such": lambda book: book.cells[2].update(source="rl.no_such()"),
    "repre_lite: Nothing": lambda book: book.cells[2].update(source="from repre_lite.losses import Nothing"),
    "an absolute path: '# Title": lambda book: book.cells[0].update(source=book.cells[0].source + " /" + "home/ann/x"),
    "an absolute path: 'import": lambda book: book.cells[2].update(
        outputs=[error("File /" + "tmp/x.py")], metadata={"tags": ["raises-exception"]}
    ),
    "an absolute path: 'rl": lambda book: book.cells[2].update(
        source="rl",
        outputs=[error("\x1b[36mFile \x1b[32m/" + "work/x.py:3\x1b[39m")],
        metadata={"tags": ["raises-exception"]},
    ),
    "an absolute path: 'x.shape": lambda book: book.cells[3].outputs[0].update(text="C:" + "\\data"),
    "without alternative text": lambda book: book.cells[0].update(source=book.cells[0].source + "![](README.md)"),
    "Markdown on a line of HTML": lambda book: book.cells[-1].update(
        source="<details><summary>Hint</summary>Call\n`f`.</details>\n\n<summary>Solution</summary>\n\n`x`"
    ),
    "F is not imported": lambda book: book.cells[-1].update(source=book.cells[-1].source + "\n\n`F.relu(x)`"),
    "an image without": lambda book: book.cells[0].update(source=book.cells[0].source + '<img src="x.png">'),
}


@pytest.mark.parametrize("complaint", FAULTS)
def test_a_fault_is_seen(lesson, complaint):
    book = copy.deepcopy(lesson)
    FAULTS[complaint](book)
    found = complaints(book)
    assert len(found) == 1 and complaint in found[0], found
