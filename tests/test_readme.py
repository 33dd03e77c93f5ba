"""Differences printed in README and lessons against the tables under results/ that they come from."""

import csv
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TABLES = sorted((ROOT / "results").glob("*-*.csv"))
INTERVAL = re.compile(
    r"([+-]\d+\.\d+)\**\s+\[([+-]\d+\.\d+),\s+([+-]\d+\.\d+)\]"
)  # +0.23 [-0.98, +1.44], **-2.79** [...]
HALF = re.compile(r"([+-]\d+\.\d+) ± (\d+\.\d+)\s+points of\s+k-NN")  # -0.9 ± 1.8 points of k-NN


def held() -> list[tuple[str, float, float, float]]:
    """Measure, difference and interval of every line of every table, in its unit and, for shares, in points."""
    rows = [row for path in TABLES if "cells" not in path.name for row in csv.DictReader(path.open(encoding="utf-8"))]
    numbers = [
        (row["measure"], *(float(row[key]) for key in ("difference", "low", "high"))) for row in rows if row.get("low")
    ]
    return [(name, *(unit * value for value in found)) for name, *found in numbers for unit in (1, 100)]


def printed(found: list[float], like: list[str]) -> list[str]:
    """Values with as many decimals as the strings have."""
    return [f"{value:+.{len(text.partition('.')[2])}f}" for value, text in zip(found, like, strict=True)]


def test_every_interval_of_the_readme_is_in_a_table():
    said = [list(match.groups()) for match in INTERVAL.finditer((ROOT / "README.md").read_text(encoding="utf-8"))]
    assert len(said) > 40
    known = held()
    lost = [text for text in said if all(printed(found, text) != text for _, *found in known)]
    assert not lost


@pytest.mark.parametrize("lesson", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_differences_of_lessons_are_in_a_table(lesson):
    cells = json.loads(lesson.read_text(encoding="utf-8"))["cells"]
    prose = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    known = [(mean, (high - low) / 2) for name, mean, low, high in held() if name == "knn_top1"]
    for mean, half in HALF.findall(prose):
        assert any(printed([m, h], [mean, half]) == [mean, f"+{half}"] for m, h in known), (mean, half)
    for text in map(list, INTERVAL.findall(prose)):
        assert any(printed(found, text) == text for _, *found in held()), text
