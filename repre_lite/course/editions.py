"""One source, four editions: the reader's notebook (as committed), the student's, the hosted one, and a page of HTML.

All of them are made from `notebooks/`; `scripts/build_course.py` writes them. In the sources a solution is folded:
`<details><summary>Solution...</summary>`, and so are the answers to the questions.
"""

from __future__ import annotations

import copy
import html
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

from ..runtime.errors import UserError
from ..visualize.kit.extra import extra
from .formula import draw_formulas

PAGE = Path(__file__).with_name("page.html")
GIVEN_AWAY = re.compile(r"<details><summary>(?:Solution|Answer)[^<]*</summary>.*?</details>\n*", re.S)
LINK = re.compile(r"\[([^\]]*)\]\((?!https?:|#|mailto:)([^)#\s]+)((?:#[^)\s]*)?)\)")
STUB = "NotImplementedError"
WIDGET = re.compile(r"\.widget\([^()]*\)\s*$")
LIVE = "This widget is live in the notebook; the figure above it shows the same."
LIVE_ONLY = "This widget is live in the notebook."  # all the visuals of a run: no figure shows the same
FIRST = """\
# A hosted notebook brings its own torch. Keep it, and add what the course needs.
import importlib.metadata as installed

keep = " ".join(f"{{name}}=={{installed.version(name)}}" for name in ("torch", "torchvision"))
%pip install -q --no-deps "repre-lite @ git+{address}"
%pip install -q {{keep}} {packages}"""


class Lesson(NamedTuple):
    """What an index says about a lesson: `number` "03", `title`, its `question`, and the line about time, if it has one."""

    number: str
    name: str
    title: str
    question: str
    time: str


def read(path: Path) -> Any:
    """A lesson as a notebook node. Raises UserError if the file is no notebook."""
    nbformat = extra("nbformat")
    try:
        return nbformat.read(path, as_version=4)
    except Exception as error:  # whatever a damaged file causes in the reader
        raise UserError(f"{path}: not a readable notebook ({type(error).__name__}); restore it from a copy") from None


def describe(path: Path, notebook: Any) -> Lesson:
    """The index entry of a lesson, from its first cell."""
    head = notebook.cells[0].source
    title = re.search(r"^# +(.+)$", head, re.M)
    question = re.search(r"\*\*(.+?)\*\*", head, re.S)
    time = re.search(r"^(\*Machine:\*.+?)(?:\n\n|\Z)", head, re.M | re.S)
    said = [
        " ".join(found[1].replace("*Machine:*", "Machine:").replace("*You:*", "You:").split()) if found else ""
        for found in (title, question, time)
    ]
    return Lesson(path.name[:2], path.stem, *said)


def without_solutions(notebook: Any) -> Any:
    """A copy for students: no solutions, no answers, and no outputs that tell how it ends."""
    book = copy.deepcopy(notebook)
    for cell in book.cells:
        cell.source = GIVEN_AWAY.sub("", cell.source).rstrip() if cell.cell_type == "markdown" else cell.source
        cell.update({"outputs": [], "execution_count": None} if cell.cell_type == "code" else {})
    return book


def hosted(notebook: Any, address: str, packages: Sequence[str]) -> Any:
    """A copy for a hosted notebook: one first cell installs the package from its public git `address`.

    The host's torch and torchvision stay as they are; `packages` are the other requirements. Links lead to the address.
    """
    new = extra("nbformat").v4
    book = linked(notebook, lambda target: f"{address.removesuffix('.git')}/blob/main/{_from_root(target)}")
    quoted = " ".join(f'"{package}"' for package in packages)
    book.cells.insert(0, new.new_code_cell(FIRST.format(address=address, packages=quoted)))
    return book


def linked(notebook: Any, target_of: Callable[[str], str | None]) -> Any:
    """A copy whose links inside the repository lead to `target_of` what they lead to; None leaves their text alone."""

    def link(found: re.Match[str]) -> str:
        target = target_of(found[2])
        return found[1] if target is None else f"[{found[1]}]({target}{found[3]})"

    book = copy.deepcopy(notebook)
    for cell in book.cells:
        if cell.cell_type == "markdown":
            cell.source = LINK.sub(link, cell.source)
    return book


def links(notebook: Any) -> list[str]:
    """The targets inside the repository that a lesson links to, relative to its folder."""
    return [found[2] for cell in notebook.cells if cell.cell_type == "markdown" for found in LINK.finditer(cell.source)]


def _from_root(target: str) -> str:
    """A link of a lesson, relative to the repository instead of its folder notebooks/."""
    return target[3:] if target.startswith("../") else f"notebooks/{target}"


# -- HTML


def page(notebook: Any, lesson: Lesson, others: Sequence[Lesson], source_of: Callable[[str], str]) -> str:
    """A lesson as one page of HTML that loads nothing: figures inside, formulas as SVG, links to `others` beside it.

    `source_of` turns a link to a file of the repository, such as `../repre_lite/encoder.py`, into one that works where
    the page will be.
    """
    nbconvert = extra("nbconvert")
    names = {f"{other.name}.ipynb": f"{other.name}.html" for other in others}
    book = linked(notebook, lambda target: names.get(target) or source_of(target))
    for index, cell in enumerate(book.cells):
        if cell.cell_type == "markdown":
            cell.source = draw_formulas(cell.source)
        else:
            _prepare(cell, _reading(notebook.cells[index + 1 :]))
    exporter = nbconvert.HTMLExporter(template_name="basic", exclude_input_prompt=True, exclude_output_prompt=True)
    body, _ = exporter.from_notebook_node(book)
    here = [other.number for other in others].index(lesson.number)
    before, after = (others[k] if 0 <= k < len(others) else None for k in (here - 1, here + 1))
    steps = [
        f'<a href="{other.name}.html">{other.number} {html.escape(other.title)}</a>'
        for other in (before, after)
        if other
    ]
    return _document(f"{lesson.number} {lesson.title}", f'<a href="index.html">The course</a> {" ".join(steps)}', body)


def index(lessons: Sequence[Lesson], more: str = "") -> str:
    """The page that links to all lessons, with the question of each; `more` is HTML below the list."""
    rows = [
        f'<li><a href="{lesson.name}.html"><b>{lesson.number}</b> {html.escape(lesson.title)}</a>'
        f"<p>{html.escape(lesson.question)}</p><p class=time>{html.escape(lesson.time)}</p></li>"
        for lesson in lessons
    ]
    return _document("The course", "", f"<h1>The course</h1><ul class=lessons>{''.join(rows)}</ul>{more}")


def _prepare(cell: Any, reading: str) -> None:
    """A code cell for the page: no error of an unsolved exercise, a sentence for a widget, text for every figure."""
    cell.outputs = [o for o in cell.outputs if not (o.output_type == "error" and STUB in o.ename)]
    if WIDGET.search(cell.source) and not cell.outputs:
        text = f"<p class=live>{LIVE_ONLY if 'Explorer(' in cell.source else LIVE}</p>"
        cell.outputs = [extra("nbformat").v4.new_output("display_data", {"text/html": text})]
    for output in cell.outputs:
        if "image/png" in output.get("data", {}):
            output.metadata = {**output.metadata, "image/png": {"alt": reading}}


def _reading(following: Sequence[Any]) -> str:
    """The sentence in italics that reads a figure, from the next text; it is also the figure's text alternative."""
    for cell in following:
        if cell.cell_type == "markdown":
            found = re.match(r"\*([^*].*?[^*])\*(?!\*)", cell.source, re.S)
            text = found[1] if found else cell.source.split("\n\n")[0]
            return " ".join(re.sub(r"[*`$#]|\]\([^)]*\)|\[", "", text).split())
    return "a figure"


def _document(title: str, navigation: str, body: str) -> str:
    formatter: Any = extra("pygments.formatters").HtmlFormatter
    return Template(PAGE.read_text(encoding="utf-8")).substitute(
        title=html.escape(title),
        navigation=navigation,
        body=body,
        light=formatter(style="default").get_style_defs(".highlight"),
        dark=formatter(style="github-dark").get_style_defs(".highlight"),
    )
