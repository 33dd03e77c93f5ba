"""How long a lesson ran: in its first cell and in the table, as a reader and a teacher find it."""

import importlib.util
import json
from pathlib import Path

import nbformat
import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "execute_lessons.py"


@pytest.fixture
def script(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("execute_lessons", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "TIMES", tmp_path / "lessons.json")
    return module


def test_the_time_is_written_where_it_is_read(script, tmp_path):
    head = "# A\n\n*Machine:* a few minutes on two CPU cores. *You:* about 45 minutes, exercises included."
    path = tmp_path / "02_a.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(head)]), path)
    script.TIMES.write_text(json.dumps({"lessons": {"03_b": {"seconds": 9}}}))
    script.record(path, 61.2)
    text = nbformat.read(path, as_version=4).cells[0].source
    assert text == head.replace("a few minutes", "about 2 minutes")
    table = json.loads(script.TIMES.read_text())["lessons"]
    assert list(table) == ["02_a", "03_b"] and table["02_a"]["seconds"] == 61 and table["02_a"]["threads"] >= 1


@pytest.mark.parametrize(
    ("seconds", "words"), [(12, "about 1 minute on"), (60, "about 1 minute on"), (61, "about 2 minutes on")]
)
def test_minutes_are_rounded_up(script, seconds, words):
    assert script.minutes(seconds).startswith(words)
