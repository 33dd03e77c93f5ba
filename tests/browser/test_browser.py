"""Lessons and reports in a real browser: one JupyterLab server, one Chromium, and no error anywhere."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager

import nbformat
import pytest

import repre_lite as rl
from repre_lite.data import sources
from repre_lite.report import page as report_page

WAIT = 90_000  # milliseconds: a kernel on a busy machine
IDLE = "() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
TRACEBACKS = """() => [...document.querySelectorAll('[data-mime-type="application/vnd.jupyter.stderr"]')]
  .map((node) => node.textContent).filter((text) => /Traceback|Error/.test(text))"""
CELLS = [
    "from repre_lite.visualize import Explorer\n\nexplorer = Explorer('run')\nexplorer.tab('levels').widget()",
    "explorer.tab('patches').widget()",
    "explorer.widget()",
]


@contextmanager
def watched(browser, **options):
    """A page of its own; leaving it fails on an error of a script or in the console."""
    context = browser.new_context(**options)
    page, errors = context.new_page(), []
    page.set_default_timeout(WAIT)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    yield page
    context.close()
    assert errors == []


@pytest.fixture(scope="module")
def lab(chromium, tiny_runs, tmp_path_factory):
    """The address of a JupyterLab server, with a notebook `book.ipynb` beside a run; it has settings of its own."""
    pytest.importorskip("jupyterlab", reason="JupyterLab is not installed")
    home = tmp_path_factory.mktemp("lab")
    shutil.copytree(tiny_runs["multi-0"], home / "work" / "run")
    book = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    )
    nbformat.write(book, home / "work" / "book.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {
        "JUPYTER_CONFIG_DIR": "c",
        "JUPYTERLAB_SETTINGS_DIR": "s",
        "JUPYTERLAB_WORKSPACES_DIR": "w",
        "IPYTHONDIR": "i",
    }
    server = subprocess.Popen(
        [
            sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}",
            "--ServerApp.ip=127.0.0.1", "--ServerApp.port_retries=0", "--IdentityProvider.token=",
            "--LabApp.expose_app_in_browser=True", f"--ServerApp.root_dir={home / 'work'}", "--LabApp.news_url=",
            "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        ],
        env=os.environ | {name: str(home / folder) for name, folder in own.items()} | {"REPRE_LITE_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}/lab"
    try:
        for _ in range(WAIT // 200):
            assert server.poll() is None, "JupyterLab did not start"
            try:
                urllib.request.urlopen(address, timeout=5).close()
                break
            except OSError:
                time.sleep(0.2)
        yield f"{address}/tree/book.ipynb?reset"
    finally:
        server.terminate()
        server.wait(30)


def changed(page, canvas, act):
    """Do something and wait until what the canvas shows is different."""
    before = canvas.evaluate("node => node.toDataURL()")
    act()
    page.wait_for_function("([node, before]) => node.toDataURL() !== before", arg=[canvas.element_handle(), before])


def test_a_notebook_runs_and_its_widgets_move(chromium, lab):
    with watched(chromium, viewport={"width": 1300, "height": 1000}) as page:
        page.goto(lab)
        page.wait_for_selector(".jp-Notebook .jp-CodeCell")
        page.wait_for_function(IDLE)
        page.evaluate("async () => { await window.jupyterapp.commands.execute('notebook:run-all-cells') }")
        page.wait_for_function(IDLE)
        outputs = page.locator(".jp-CodeCell .jp-Cell-outputWrapper")

        picture = outputs.nth(0).locator("img")
        before = picture.get_attribute("alt"), picture.get_attribute("src")
        assert before[0].startswith("Block 0,")
        outputs.nth(0).locator(".noUi-handle").press("ArrowRight")
        page.wait_for_function("src => document.querySelector('.jp-OutputArea-output img').src !== src", arg=before[1])
        assert picture.get_attribute("alt").startswith("Block 1,")

        inspector = outputs.nth(1).locator(".repre-lite")
        inspector.scroll_into_view_if_needed()
        pointed, sentence = inspector.locator("canvas[tabindex]").first, inspector.locator("[aria-live]")
        side = pointed.bounding_box()["width"]
        changed(page, pointed, lambda: pointed.hover(position={"x": side / 16, "y": side / 16}))
        assert sentence.text_content().startswith("Patch at row 0, column 0:")
        changed(page, pointed, lambda: pointed.press("ArrowDown"))
        assert sentence.text_content().startswith("Patch at row 1, column 0:")

        tabs = outputs.nth(2)
        tabs.get_by_role("tab", name="tap mixer").click()
        page.wait_for_function(IDLE)
        all_on = tabs.locator("img").get_attribute("src")
        tabs.locator(".widget-dropdown select").first.select_option("off")
        mixed = tabs.locator("img[alt*='knocked out: block 1']")
        mixed.wait_for()
        assert mixed.get_attribute("src") != all_on
        page.wait_for_function(IDLE)
        assert page.evaluate(TRACEBACKS) == []


@pytest.fixture(scope="module")
def report(tiny_runs, tmp_path_factory):
    """A report of two arms on disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "SCENES_VAL", 60)
        text = report_page([rl.load_run(tiny_runs[name]) for name in ("multi-0", "none-0")])
    place = tmp_path_factory.mktemp("report") / "report.html"
    place.write_text(text, encoding="utf-8")
    return place.as_uri()


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (390, "dark")])
def test_a_report_from_disk_is_live_without_network(browser, report, width, scheme):
    asked = []
    with watched(browser, offline=True, viewport={"width": width, "height": 800}, color_scheme=scheme) as page:
        page.on("request", lambda request: asked.append(request.url))
        page.goto(report)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        views = page.locator(".repre-lite")
        assert views.count() == 4
        bench, curves, ladder, inspector = (views.nth(i) for i in range(4))
        said = curves.locator("[aria-live]").text_content()
        curves.locator("svg[tabindex]").first.press("ArrowLeft")
        assert curves.locator("[aria-live]").text_content() != said
        for heading in ("Decoder ladder", "Patch inspector"):
            page.locator("summary").filter(has_text=heading).click()
        drawn = ladder.locator("canvas").nth(1)
        changed(page, drawn, lambda: ladder.locator("input[type=range]").first.press("ArrowLeft"))
        assert "rung 2 of 3" in ladder.locator("[aria-live]").text_content()

        said = bench.locator("[aria-live]")
        said.filter(has_text="Mean absolute error").wait_for()
        changed(
            page, bench.locator(".bench canvas").nth(1), lambda: bench.locator("input[type=range]").first.press("Home")
        )
        said.filter(has_text="Knocked out: block 1").wait_for()

        pointed = inspector.locator("canvas[tabindex]").first
        pointed.scroll_into_view_if_needed()
        side = pointed.bounding_box()["width"]
        changed(page, pointed, lambda: pointed.hover(position={"x": side * 0.9, "y": side * 0.05}))
        assert "Patch at row 0, column 7:" in inspector.locator("[aria-live]").text_content()
        changed(page, pointed, lambda: pointed.press("ArrowDown"))
        assert "Patch at row 1, column 7:" in inspector.locator("[aria-live]").text_content()

        page.keyboard.press("Home")
        contrast = page.evaluate(
            "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
        )
        ink, paper = (sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in contrast)
        assert (ink > paper) == (scheme == "dark") and abs(ink - paper) > 450
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []


def test_a_report_is_reached_by_keyboard_alone(chromium, report):
    with watched(chromium, offline=True) as page:
        page.goto(report)
        seen = []
        for _ in range(60):
            page.keyboard.press("Tab")
            seen.append(
                page.evaluate("document.activeElement.tagName + ' ' + (document.activeElement.textContent || '')")
            )
        assert seen[0] == "A Skip to the content" and seen[1] == "A Result"
        kinds = {name.split()[0] for name in seen}
        assert {"A", "BUTTON", "INPUT", "SELECT", "CANVAS", "svg"} <= kinds  # links, and every part of the live views
