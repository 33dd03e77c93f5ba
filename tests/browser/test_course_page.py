"""A page of the course in a browser, from disk and without network."""

import nbformat
import pytest

from repre_lite.course import editions

pytest.importorskip("nbconvert", reason="nbconvert is not installed")
TEXT = """# A lesson with a long line

**Why?** Because $e^{s} = L$.

| a | b |
|---|---|
| $\\lambda_1 L_1$ | text that is rather long for a telephone, and has to be scrolled or wrapped there |

<details><summary>Hint</summary>

Think of $e^{s} = L$.

</details>
"""


@pytest.mark.parametrize(("scheme", "width"), [("light", 390), ("dark", 1400)])
def test_a_page_is_readable_and_loads_nothing(chromium, tmp_path, scheme, width):
    new = nbformat.v4
    code = new.new_code_cell("x = 1  # " + "a long comment " * 20, execution_count=1)
    book = new.new_notebook(cells=[new.new_markdown_cell(TEXT), code])
    lesson = editions.Lesson("02", "02_a", "A", "Why?", "")
    (tmp_path / "a.html").write_text(editions.page(book, lesson, [lesson], lambda target: target), encoding="utf-8")
    context = chromium.new_context(color_scheme=scheme, viewport={"width": width, "height": 800}, offline=True)
    page, asked, said = context.new_page(), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.goto((tmp_path / "a.html").as_uri())
    assert said == [] and all(url.startswith(("file:", "data:")) for url in asked)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator("summary").click()
    folded = page.locator("details svg")
    assert folded.is_visible() and folded.bounding_box()["width"] > 30
    ink, ground = (page.evaluate(f"getComputedStyle(document.body).{name}") for name in ("color", "backgroundColor"))
    dark = [sum(map(int, value.strip("rgb()").split(","))) < 384 for value in (ink, ground)]
    assert dark == ([True, False] if scheme == "light" else [False, True])
    context.close()
