"""Sections with what the runs see, for runs of every kind."""

import re

import repre_lite as rl
from repre_lite.report import page
from repre_lite.report.arms import Arm
from repre_lite.report.visuals import visual_sections
from repre_lite.repre import RePre
from repre_lite.runs import Run


def test_a_run_without_decoder_and_one_whose_images_are_gone(runs, small, monkeypatch, parsed):
    bare = page([runs["none-0"]])
    titles = re.findall(r"<h2[^>]*>(.*?)</h2>", bare)
    assert "Patch inspector" in titles and "Tap mixer" not in titles and "Reconstructions" not in titles
    parsed(bare)

    def gone(*_):
        raise rl.UserError("--data x: no such <folder>")

    monkeypatch.setattr("repre_lite.runs.load_source", gone)
    text = page([runs["multi-0"]])
    assert "no such &lt;folder&gt;" in text and "Tap mixer" not in text
    parsed(text)


def test_a_swin_is_shown_stage_by_stage(runs, small, parsed):
    recipe = rl.recipe("scenes", arch="swin_micro", decoder_width=8, method={"hidden": 16, "out": 8})
    swin = Run(runs["none-0"].folder, recipe, RePre.from_recipe(recipe).eval(), [], {})
    sections = {section.title: section.content for section in visual_sections([Arm("Swin", (swin,))])}
    parsed("".join(sections.values()))
    assert list(sections) == [
        "Tap mixer",
        "Reconstructions",
        "Decoder ladder",
        "Patch similarity",
        "Patch inspector",
        "Embedding",
    ]
    assert "plain ViTs" in sections["Tap mixer"]
    assert "stage 2" in sections["Tap mixer"] and sum(map(len, sections.values())) < 3_000_000
