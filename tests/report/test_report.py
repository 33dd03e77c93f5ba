"""The report: what its numbers say, and a page that stands alone, with names for everything a reader cannot see."""

import functools
import html
import itertools
import json
import re
import shutil
from html.parser import HTMLParser

import pytest

import repre_lite as rl
from repre_lite.cli import main
from repre_lite.data import sources
from repre_lite.report import page
from repre_lite.report.arms import Arm, group
from repre_lite.report.numbers import curves, recipes, summary
from repre_lite.report.pieces import svg, table
from repre_lite.report.views import view_sections
from repre_lite.repre import RePre
from repre_lite.runs import Run
from repre_lite.visualize.embedding import Embedding

VOID = {"meta", "img", "br", "link", "input", "path", "use", "hr"}


class Page(HTMLParser):
    """Every tag with its attributes, and whether all are closed in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open = [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def runs(tiny_runs):
    return {name: rl.load_run(folder) for name, folder in tiny_runs.items()}


@pytest.fixture(scope="module")
def small():
    """Few pictures and quick maps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "SCENES_VAL", 40)
        patch.setattr(Embedding, "compute", functools.partial(Embedding.compute, perplexities=(5,)))
        yield


@pytest.fixture(scope="module")
def text(runs, small):
    return page([runs["none-0"], runs["multi-0"], runs["multi-1"]])


def with_summary(run, **values):
    return Run(run.folder, run.recipe, run.model, run.metrics, values)


# -- numbers


def test_runs_that_differ_only_in_the_seed_are_one_arm(runs):
    arms = group(list(runs.values()))
    assert [arm.name for arm in arms] == ["reconstruction multi", "reconstruction none"]
    assert [[run.recipe.seed for run in arm.runs] for arm in arms] == [[0, 1], [0]]
    assert [arm.name for arm in group([runs["multi-0"]])] == ["framework moco_v3, arch vit_micro, reconstruction multi"]


def cells(text):
    """The rows of every table, as lists of what their cells say."""
    rows = re.findall(r"<tr>(.*?)</tr>", text)
    return [[html.unescape(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)] for row in rows]


def test_means_spreads_and_paired_differences(runs):
    none, one, two = (
        with_summary(runs[name], knn_top1=knn, reconstruction_l1=l1, peak_memory_bytes=2e9)
        for name, knn, l1 in (("none-0", 0.5, None), ("multi-0", 0.56, 0.1), ("multi-1", 0.60, 0.2))
    )
    rows = cells(summary(group([none, one, two])))
    assert ["k-NN top-1", "50.0 %", "58.0 % ± 2.8 %"] in rows
    assert ["reconstruction L1, last batch", "–", "0.1500 ± 0.0707"] in rows
    assert ["peak memory in MB", "2000", "2000 ± 0"] in rows
    assert ["k-NN top-1", "+6.0 points", "seed 0: +6.0 points"] in rows  # seed 1 has no partner
    assert not any(row[0].startswith("reconstruction L1") and len(row) == 3 and "seed" in row[2] for row in rows)
    both = cells(summary(group([one, two, none])))
    assert ["k-NN top-1", "-6.0 points", "seed 0: -6.0 points"] in both
    alone = summary(group([none]))
    assert "no spread is known" in alone and "Difference" not in alone
    assert "no seed is in both" in summary(group([none, two]))
    assert "No run has come to its end" in summary(group([with_summary(none)]))


def test_curves_say_in_words_what_they_show(runs):
    text = curves(group(list(runs.values())))
    labels = [html.unescape(label) for label in re.findall(r'role="img" aria-label="([^"]*)"', text)]
    assert [label.split(" over steps")[0] for label in labels] == [
        "contrastive loss",
        "reconstruction loss (L1)",
        "weight of the contrastive loss",
        "weight of the reconstruction loss",
        "k-NN top-1 while training",
        "spread of the embedding",
    ]
    first, last = (runs["multi-1"].metrics[i]["contrastive"] for i in (0, -1))
    assert f"reconstruction multi from {first:.3g} to {last:.3g}" in labels[0]
    assert labels[0].count("from") == 3 and labels[1].count("from") == 2
    silent = Run(runs["none-0"].folder, runs["none-0"].recipe, runs["none-0"].model, [], {})
    assert "Nothing was logged" in curves(group([silent]))


def test_recipe_fields_that_differ_come_first(runs):
    rows = cells(recipes(group(list(runs.values()))))
    assert [row[0] for row in rows[1:3]] == ["seed", "reconstruction"] or rows[1][0] == "reconstruction"
    assert ["reconstruction", "multi", "none"] in rows and ["seed", "[0, 1]", "[0]"] in rows
    assert any(row[0] == "lr" for row in rows)


# -- the page


def test_the_page_stands_alone(text):
    made = Page(text)
    assert len(text.encode()) < 5_000_000
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!data:|#)""", text)
    assert not re.search(r"@import|url\((?!#)|//cdn|import\(", text)
    assert made.all("html")[0]["lang"] == "en"
    assert any(tag.get("name") == "viewport" and "width=device-width" in tag["content"] for tag in made.all("meta"))
    assert "color-scheme: light dark" in text


def test_everything_has_a_name(text):
    made = Page(text)
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
        "Summary",
        "Curves",
        "Reconstructions",
        "Decoder ladder",
        "Tap mixer",
        "Patch inspector",
        "Embedding",
        "Recipe",
        "Environment",
    ]
    kinds = [json.loads(found)["kind"] for found in re.findall(r'<script type="application/json">(.*?)</script>', text)]
    assert kinds == ["ladder", "mixer", "inspector"] and text.count("mountAll();") == 1
    assert "Of the run multi-0: reconstruction multi" in text


def test_figures_take_the_colour_of_the_text_and_keep_their_names_apart():
    from matplotlib import pyplot as plt

    made = []
    for values in ([1, 2], [2, 1]):
        figure, axis = plt.subplots()
        axis.plot(values, color="#0072B2", marker="o")
        made.append(svg(figure, 'a "line" < 3'))
    assert plt.get_fignums() == []
    names = [set(re.findall(r'id="([^"]*)"', one)) for one in made]
    assert names[0] and not names[0] & names[1]
    for one, own in zip(made, names, strict=True):
        assert 'aria-label="a &quot;line&quot; &lt; 3"' in one and "currentColor" in one and "#000000" not in one
        used = re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', one)
        assert used and {a or b for a, b in used} <= own


def test_cells_are_escaped():
    assert "<b>" not in table("a <b>", ["<b>"], [["<b>", "<b>"]]) and "&lt;b&gt;" in table("a", ["b"], [["c", "<b>"]])


def test_a_run_without_decoder_and_one_whose_pictures_are_gone(runs, small, monkeypatch):
    bare = page([runs["none-0"]])
    titles = re.findall(r"<h2[^>]*>(.*?)</h2>", bare)
    assert "Patch inspector" in titles and "Tap mixer" not in titles and "Reconstructions" not in titles
    Page(bare)

    def gone(*_):
        raise rl.UserError("--data x: no such <folder>")

    monkeypatch.setattr("repre_lite.runs.load_source", gone)
    text = page([runs["multi-0"]])
    assert "no such &lt;folder&gt;" in text and "Tap mixer" not in text
    Page(text)


def test_a_swin_is_shown_stage_by_stage(runs, small):
    recipe = rl.recipe("scenes", arch="swin_micro", decoder_width=8, method={"hidden": 16, "out": 8})
    swin = Run(runs["none-0"].folder, recipe, RePre.from_recipe(recipe).eval(), [], {})
    sections = view_sections([Arm("Swin", (swin,))])
    Page("".join(sections.values()))
    assert list(sections) == ["Reconstructions", "Decoder ladder", "Tap mixer", "Patch inspector", "Embedding"]
    assert "stage 2" in sections["Tap mixer"] and sum(map(len, sections.values())) < 3_000_000


# -- the verb


def test_the_verb_writes_into_the_run(tiny_runs, small, tmp_path, capsys):
    run = shutil.copytree(tiny_runs["multi-0"], tmp_path / "run")
    assert main(["report", str(run)]) == 0
    assert "report.html" in capsys.readouterr().out
    Page((run / "report.html").read_text(encoding="utf-8"))
    assert "<title>RePre: framework moco_v3" in (run / "report.html").read_text(encoding="utf-8")


def test_wrong_input_is_one_line(tiny_runs, tmp_path, capsys):
    runs = [str(tiny_runs[name]) for name in ("multi-0", "multi-1")]
    for arguments, words in (
        (runs, "--out"),
        ([str(tmp_path)], "no recipe.json"),
        ([runs[0], "--out", str(tmp_path / "page.txt")], ".html"),
        ([runs[0], "--out", str(tmp_path / "missing" / "page.html")], "missing does not exist"),
        ([runs[0], str(tmp_path / "nothing"), "--out", str(tmp_path / "page.html")], "nothing"),
    ):
        assert main(["report", *arguments]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and words in error and "Traceback" not in error
    assert list(tmp_path.iterdir()) == []
