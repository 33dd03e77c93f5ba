"""Grades: right, wrong, not attempted, not reached; a fresh process; a CSV that starts no formula."""

import csv

import nbformat
import pytest

import repre_lite as rl
from repre_lite.cli import main
from repre_lite.course.grade import Grade, _table, run

pytest.importorskip("nbclient", reason="nbclient is not installed")
RIGHT = "def f(t, o, c):\n    return c * t + (1 - c) * o\n"
WRONG = "def f(t, o, c):\n    return (1 - c) * t + c * o\n"
STUB = "def f(t, o, c):\n    raise NotImplementedError('the moving average')\n"
CHECK = "\nchecks.check_follow(f)"


def notebook(path, *cells):
    made = [nbformat.v4.new_code_cell("from repre_lite.course import checks, size\nassert size() == 'fast'")]
    for source in cells:
        made.append(nbformat.v4.new_code_cell(source))
        if CHECK in source:
            made[-1].metadata["tags"] = ["raises-exception"]
    nbformat.write(nbformat.v4.new_notebook(cells=made), path)
    return path


def test_every_exercise_gets_its_grade(tmp_path, capsys):
    prediction = "f = ...\n" + CHECK
    path = notebook(tmp_path / "a.ipynb", RIGHT + CHECK, "1 / 0", WRONG + CHECK, STUB + CHECK, prediction, RIGHT)
    assert main(["grade", str(path), "--out", str(tmp_path / "g.csv")]) == 0
    rows = list(csv.DictReader((tmp_path / "g.csv").open()))
    assert [row["result"] for row in rows] == ["right", "wrong", "not attempted", "not attempted"]
    assert all(row["exercise"] == "follow" for row in rows)
    assert rows[0]["message"] == "moving average: right"
    assert "the target should move slowly" in rows[1]["message"]
    assert "1 of 4 exercises are right" in capsys.readouterr().out


def test_what_counts_as_an_attempt(tmp_path):
    stub = STUB.splitlines()[1]
    torch_error = "import torch\ndef f(t, o, c):\n    return torch.tensor([1, 2]).softmax(0)\n"
    caught = f"{WRONG}try:\n    {CHECK.strip()}\nexcept AssertionError:\n    pass\n#{CHECK}"
    cases = [
        (RIGHT + stub + CHECK, "right"),  # the stub below the return
        (RIGHT.replace("return", "# raise NotImplementedError('the moving average')\n    return") + CHECK, "right"),
        (WRONG + stub + CHECK, "wrong"),
        (torch_error + CHECK, "wrong"),  # torch's own NotImplementedError
        (torch_error + stub + CHECK, "wrong"),
        ("def f(t, o, c):\n    t.nothing\n" + stub + CHECK, "wrong"),
        (RIGHT + "print('seen', end=' ')" + CHECK + "\n1 / 0", "right"),
        (RIGHT + CHECK.replace("check_", "check_no_"), "wrong"),  # no such check
        ("missing\n" + STUB + CHECK, "not attempted"),
        (RIGHT + CHECK.replace("checks", "# checks"), "not attempted"),
        (caught.replace("#\n", "# "), "not attempted"),
    ]
    path = notebook(tmp_path / "a.ipynb", *(source for source, _ in cases))
    book = nbformat.read(path, as_version=4)
    for cell in book.cells[1:]:
        cell.metadata["tags"] = ["raises-exception"]
    nbformat.write(book, path)
    grades = run(path, 100)
    assert [g.result for g in grades] == [result for _, result in cases]
    assert {g.message for g in grades if g.result == "right"} == {"moving average: right"}


def test_the_time_limit_and_a_process_that_dies(tmp_path):
    endless = notebook(tmp_path / "a.ipynb", RIGHT + CHECK, "import time; time.sleep(600)", RIGHT + CHECK)
    assert [g.result for g in run(endless, 20)] == ["right", "not reached"]
    dying = notebook(tmp_path / "b.ipynb", "import os; os._exit(1)", RIGHT + CHECK)
    assert [(g.result, g.message) for g in run(dying, 60)] == [("not reached", "the process died")]


def test_a_spreadsheet_runs_no_formula():
    table = _table([Grade("a.ipynb", "follow", "wrong", '=HYPERLINK("x")')])
    assert "'=HYPERLINK" in table


def test_wrong_input_is_one_line(tmp_path, capsys):
    (tmp_path / "x.ipynb").write_text("no notebook")
    for arguments, words in (
        (["missing.ipynb"], "not a notebook"),
        ([str(tmp_path / "x.ipynb"), "--out", str(tmp_path / "no" / "g.csv")], "folder does not exist"),
        ([str(tmp_path / "x.ipynb"), "--seconds", "0"], "--seconds 0"),
        ([str(tmp_path / "x.ipynb"), "--out", str(tmp_path / "g.csv")], "; restore it from a copy"),
    ):
        assert main(["grade", *arguments]) == 2
        assert words in capsys.readouterr().err
    with pytest.raises(rl.UserError):
        run(tmp_path / "x.ipynb", 10)
