"""What CONTRIBUTING.md points at is there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
POINTERS = sorted(set(re.findall(r"`([\w/.]+\.py)::([\w.]+)`", GUIDE)))
QUESTIONS = re.findall(r"^\| (.+\?) \| (.+) \|$", GUIDE, re.MULTILINE)


def names(body: list[ast.stmt]) -> dict[str, ast.stmt]:
    """What a module or class defines: functions, classes, assigned names."""
    found = {}
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id: node for target in targets if isinstance(target, ast.Name)}
    return found


def defined(path: Path, dotted: str) -> bool:
    body = ast.parse(path.read_text(encoding="utf-8")).body
    for name in dotted.split("."):
        node = names(body).get(name)
        if node is None:
            return False
        body = getattr(node, "body", [])
    return True


@pytest.mark.parametrize(("path", "name"), POINTERS, ids=lambda part: part)
def test_what_it_points_at_is_there(path, name):
    assert defined(ROOT / path, name)


def test_ten_questions_have_an_answer_of_one_line():
    assert len(QUESTIONS) == 10
    for question, answer in QUESTIONS:
        assert "::" in answer, question


@pytest.mark.parametrize("place", sorted(set(re.findall(r"`((?:repre_lite|tests|scripts|notebooks)/[\w/.]*)`", GUIDE))))
def test_every_path_is_there(place):
    assert "NN" in place or "NAME" in place or (ROOT / place).exists()


def test_every_name_beside_a_file_is_defined_in_it():
    pairs = re.findall(r"`(\w+)`\s+\(`([\w/.]+\.py)`\)", GUIDE)
    assert len(pairs) >= 5
    for name, path in pairs:
        assert defined(ROOT / path, name), (name, path)


def test_a_missing_name_is_seen():
    assert defined(ROOT / "repre_lite/repre.py", "RePre.forward")
    assert not defined(ROOT / "repre_lite/repre.py", "RePre.backward")
    assert not defined(ROOT / "repre_lite/losses.py", "pixel_l3")
