"""The teacher's page: its minutes are those of the lessons, its links lead somewhere, its warnings are there."""

import re
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
TEXT = (FOLDER / "TEACHING.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| \[[^]]+\]\(([^)]+\.ipynb)\) \| (\d+)[^|]*\| (\d+) \|$", re.M)


@pytest.mark.parametrize(("name", "learner", "exercises"), ROW.findall(TEXT))
def test_minutes_are_those_of_the_lesson(name, learner, exercises):
    cells = nbformat.read(FOLDER / name, as_version=4).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    assert re.search(r"\*You:\* about (\d+) minutes", cells[0].source)[1] == learner
    assert sum(int(minutes) for minutes in re.findall(r"^#+ Exercise \d+.*\((\d+) minutes\)", text, re.M)) == int(
        exercises
    )


def test_links_lead_somewhere():
    targets = re.findall(r"\]\(([^)]+)\)", TEXT)
    missing = [t for t in targets if not t.startswith("http") and not (FOLDER / t).resolve().exists()]
    assert missing in ([], ["../results/lessons.json"])  # written when lessons are executed and timed


def test_it_says_that_grading_runs_what_students_wrote():
    assert "executes what students wrote" in " ".join(TEXT.split())


@pytest.mark.parametrize("section", re.findall(r"\b(\d\d), sections? (\d+)", TEXT))
def test_sections_are_there(section):
    lesson, number = section
    cells = nbformat.read(next(FOLDER.glob(f"{lesson}*.ipynb")), as_version=4).cells
    assert any(re.search(rf"^## {number}\. ", cell.source, re.M) for cell in cells if cell.cell_type == "markdown")
