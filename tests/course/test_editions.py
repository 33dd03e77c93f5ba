"""The editions of the course: what students do not see, what a host installs, a page that loads nothing."""

import ast
import html.parser
import importlib.util
import re
from pathlib import Path

import nbformat
import pytest

from repre_lite.course import editions
from repre_lite.course.formula import draw_formulas, formulas, svg

pytest.importorskip("nbconvert", reason="nbconvert is not installed")
ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
TEXT = """# A lesson

**Why is it so?** See [the encoder](../repre_lite/encoder.py), [another](03_reconstruction_decoder.ipynb#x), [out](https://example.org).

*Machine:* a minute on two CPU cores. *You:* about 20 minutes.
"""
HINTS = """<details><summary>Hint</summary>

Think of $L$.

</details>

<details><summary>Solution: one of many</summary>

```python
x = 3  # costs $5
```

</details>

Go on."""
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@pytest.fixture
def book():
    new = nbformat.v4
    figure = new.new_output("display_data", {"image/png": PNG})
    error = new.new_output("error", ename="NotImplementedError", evalue="x", traceback=["NotImplementedError: x"])
    cells = [
        new.new_markdown_cell(TEXT),
        new.new_code_cell("plot()", execution_count=1, outputs=[figure]),
        new.new_markdown_cell('*A "curve" that falls to $L$.* It does.'),
        new.new_code_cell("levels.widget()", execution_count=2),
        new.new_code_cell("raise NotImplementedError", execution_count=3, outputs=[error]),
        new.new_markdown_cell(HINTS),
        new.new_markdown_cell("<details><summary>Answers</summary>\n\n1. Because.\n\n</details>"),
    ]
    return new.new_notebook(cells=cells)


@pytest.fixture
def lesson(book):
    return editions.describe(Path("02_a_lesson.ipynb"), book)


class Page(html.parser.HTMLParser):
    """What a page loads, where it links, its images' text."""

    def __init__(self, text):
        super().__init__()
        self.loads, self.links, self.alts, self.tags = [], [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.add(tag)
        self.loads += [attrs["src"]] if "src" in attrs else []
        self.loads += [attrs["href"]] if tag == "link" else []
        self.links += [attrs["href"]] if tag == "a" else []
        self.alts += [attrs.get("alt", "")] if tag == "img" else []


def test_an_index_entry_comes_from_the_first_cell(lesson):
    assert lesson.number == "02" and lesson.title == "A lesson" and lesson.question == "Why is it so?"
    assert lesson.time == "Machine: a minute on two CPU cores. You: about 20 minutes."


def test_students_see_hints_but_neither_solutions_nor_answers_nor_outputs(book):
    student = editions.without_solutions(book)
    text = nbformat.writes(student)
    assert "Think of" in text and "Go on." in text
    assert "x = 3" not in text and "Because" not in text and PNG not in text
    assert all(cell.execution_count is None for cell in student.cells if cell.cell_type == "code")
    assert "x = 3" in nbformat.writes(book)  # the source stays as it is


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_no_solution_is_left_in_any_lesson(path):
    student = nbformat.writes(editions.without_solutions(editions.read(path)))
    assert "<summary>Solution" not in student and "<summary>Answer" not in student
    assert student.count("<details>") == student.count("</details>") == student.count("<summary>Hint")
    assert "raise NotImplementedError" in student


def test_a_hosted_notebook_installs_first_and_keeps_torch(book):
    made = editions.hosted(book, "https://example.org/me/repre-lite.git", ["timm>=1.0.31", "safetensors"])
    first = made.cells[0].source
    installs = [line for line in first.splitlines() if line.startswith("%pip")]
    assert "--no-deps" in installs[0] and "git+https://example.org/me/repre-lite.git" in installs[0]
    assert "{keep}" in installs[1] and '"timm>=1.0.31" "safetensors"' in installs[1] and "torch" not in installs[1]
    space = {}
    exec(ast.unparse(ast.parse("\n".join(line for line in first.splitlines() if line not in installs))), space)
    assert re.fullmatch(r"torch==\S+ torchvision==\S+", space["keep"])
    text = made.cells[1].source
    assert "(https://example.org/me/repre-lite/blob/main/repre_lite/encoder.py)" in text
    assert "blob/main/notebooks/03_reconstruction_decoder.ipynb#x" in text and "(https://example.org)" in text
    nbformat.validate(made)


def test_a_page_loads_nothing_and_its_links_lead_somewhere(book, lesson):
    other = editions.Lesson("03", "03_reconstruction_decoder", "Decoder", "?", "")
    text = editions.page(book, lesson, [lesson, other], lambda target: f"../source/{target[3:]}.txt")
    page = Page(text)
    assert all(source.startswith("data:") for source in page.loads) and "script" not in page.tags
    assert not re.search(r"@import|url\(", text)
    assert "../source/repre_lite/encoder.py.txt" in page.links and "https://example.org" in page.links
    assert "03_reconstruction_decoder.html#x" in page.links and "index.html" in page.links
    assert page.alts == ['A "curve" that falls to L.']
    assert editions.LIVE in text and "NotImplementedError: x" not in text
    assert text.count("<svg") == 2 and "# costs $5" in re.sub(r"<[^>]+>", "", text)


def test_a_widget_without_a_figure_beside_it_names_none(book, lesson):
    book.cells[3].source = "Explorer(run).widget()"
    text = editions.page(book, lesson, [lesson], str)
    assert editions.LIVE_ONLY in text and "figure above" not in text


def test_the_index_links_to_every_lesson(lesson):
    page = Page(editions.index([lesson, lesson._replace(name="03_b", title="<b>")], "<p>more</p>"))
    assert page.links == ["02_a_lesson.html", "03_b.html"]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_every_formula_of_the_course_can_be_drawn(path):
    for cell in editions.read(path).cells:
        if cell.cell_type == "markdown":
            for tex in formulas(cell.source):
                assert svg(" ".join(tex.split())).startswith("<svg")
            assert not formulas(draw_formulas(cell.source))


def test_formulas_are_found_outside_code_only():
    text = "a $x_1$ and `$y$`, $5 or $6; $$\n\\frac12 z\n$$\n```\n$w$\n```\n"
    assert [" ".join(tex.split()) for tex in formulas(text)] == ["x_1", "\\frac12 z"]
    drawn = draw_formulas(text)
    assert 'aria-label="x_1"' in drawn and "`$y$`" in drawn and "$w$" in drawn
    assert "\n" not in svg("x") and "<use" not in svg("x = x") and "currentColor" in svg("x")


def test_the_whole_course_is_written(tmp_path, monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location("build_course", ROOT / "scripts" / "build_course.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.setattr(script.editions, "page", lambda book, lesson, others, source_of: source_of("../a/b.py"))
    written = script.build(tmp_path, "https://example.org/r.git")
    assert len(written) == 3 * len(SOURCES) + 1
    assert (tmp_path / "html" / f"{SOURCES[0].stem}.html").read_text() == "../source/a/b.py.txt"
    names = {path.name for path in SOURCES}
    for path in (tmp_path / "student").glob("*.ipynb"):
        assert all(
            target.split("#")[0] in names or (path.parent / target).exists()
            for target in editions.links(editions.read(path))
        )
    installed = script.packages()
    assert any(line.startswith("timm") for line in installed) and not any(
        line.startswith("torch") for line in installed
    )
