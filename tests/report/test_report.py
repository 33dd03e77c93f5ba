"""A page that stands alone, with names for everything a reader cannot see; and the verb that writes it."""

import itertools
import json
import re
import shutil

from repre_lite.cli import main


def test_the_page_stands_alone(text, parsed):
    made = parsed(text)
    assert len(text.encode()) < 8_000_000
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!data:|#)""", text)
    assert not re.search(r"@import|url\((?!#)|//cdn|import\(", text)
    assert made.all("html")[0]["lang"] == "en"
    assert any(tag.get("name") == "viewport" and "width=device-width" in tag["content"] for tag in made.all("meta"))
    assert "color-scheme: light dark" in text


def test_everything_has_a_name(text, parsed):
    made = parsed(text)
    assert all(tag.get("alt") for tag in made.all("img")) and made.all("img")
    assert all(tag["role"] == "img" and tag["aria-label"] for tag in made.all("svg"))
    ids = [attributes["id"] for _, attributes in made.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))
    targets = [tag["href"][1:] for tag in made.all("a")]
    assert set(targets) <= set(ids)
    levels = [int(tag[1]) for tag, _ in made.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1 and all(b <= a + 1 for a, b in itertools.pairwise(levels))
    assert [len(made.all(tag)) for tag in ("main", "nav", "header", "footer")] == [1, 1, 1, 1]
    assert all(tag.get("scope") in ("col", "row") for tag in made.all("th")) and text.count("<caption>") == text.count(
        "<table>"
    )


def test_all_sections_are_there_and_live(text):
    titles = re.findall(r"<h2[^>]*>(.*?)</h2>", text)
    assert titles == [
        "Result",
        "Bench",
        "Curves",
        "Reconstructions",
        "Decoder ladder",
        "Patch similarity",
        "Patch inspector",
        "Embedding",
        "All measures",
        "Recipe",
        "Environment",
    ]
    kinds = [json.loads(found)["kind"] for found in re.findall(r'<script type="application/json">(.*?)</script>', text)]
    assert kinds == ["bench", "curves", "ladder", "inspector"] and text.count("mountAll();") == 1
    assert "Of the run multi-0: reconstruction multi" in text


def test_the_verb_writes_into_the_run(tiny_runs, small, tmp_path, capsys, parsed):
    run = shutil.copytree(tiny_runs["multi-0"], tmp_path / "run")
    assert main(["report", str(run)]) == 0
    assert "report.html" in capsys.readouterr().out
    parsed((run / "report.html").read_text(encoding="utf-8"))
    assert "<title>moco_v3 with reconstruction on scenes</title>" in (run / "report.html").read_text(encoding="utf-8")


def test_wrong_input_is_one_line(tiny_runs, tmp_path, capsys):
    runs = [str(tiny_runs[name]) for name in ("multi-0", "multi-1")]
    for arguments, words in (
        (runs, "--out"),
        ([str(tmp_path)], "not a run folder: recipe.json not found"),
        ([runs[0], "--out", str(tmp_path / "page.txt")], ".html"),
        ([runs[0], "--out", str(tmp_path / "missing" / "page.html")], "missing does not exist"),
        ([runs[0], str(tmp_path / "nothing"), "--out", str(tmp_path / "page.html")], "nothing"),
    ):
        assert main(["report", *arguments]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and words in error and "Traceback" not in error
    assert list(tmp_path.iterdir()) == []
