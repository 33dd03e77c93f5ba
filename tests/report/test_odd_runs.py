"""Runs off the beaten track: every report is written, and every tab of the explorer opens or says why not."""

import functools
import os
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import repre_lite as rl
from repre_lite.report import page
from repre_lite.repre import RePre
from repre_lite.runs import CHECKPOINT, Run
from repre_lite.visualize import Explorer

ODD = ["_hidden", "a $x^2$ b", "<b>&amp;", "$", "back\\slash" if os.name != "nt" else "back", "größe ☂"]
SMALL = {"decoder_width": 8, "method": {"hidden": 16, "out": 8}}


def images(folder, classes, each=3, size=40):
    """A tree train/CLASS/*.png; no class at all for None."""
    for number, name in enumerate(classes):
        place = folder / "train" / name if name is not None else folder
        place.mkdir(parents=True, exist_ok=True)
        for index in range(each):
            pixels = np.random.default_rng([number, index]).integers(0, 255, (size // 8, size // 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((size, size)).save(place / f"{index}.png")
    return str(folder)


def untrained(folder, data, **options):
    """A run as it stands before its first step."""
    torch.manual_seed(0)
    recipe = rl.recipe("folder", size="small", data=data, **({"image_size": 32} | SMALL | options))
    lines = [{"step": 1, "contrastive": 1.0, "reconstruction": None}]
    return Run(folder / "run", recipe, RePre.from_recipe(recipe).eval(), lines, {})


CASES = {
    "one class": (["only"], {}),
    "no labels": ([None], {}),
    "no decoder": (ODD, {"reconstruction": "none"}),
    "no contrast": (ODD, {"framework": "none", "method": {}}),
    "single": (ODD, {"reconstruction": "single"}),
    "DINO at 64 pixels": (ODD, {"framework": "dino", "image_size": 64}),
    "DINO at 96 pixels, patch 16": (ODD, {"framework": "dino", "image_size": 96, "patch_size": 16}),
    "DINO with a Swin at 64 pixels": (ODD, {"framework": "dino", "image_size": 64, "arch": "swin_micro"}),
    "transformer fusion": (ODD, {"fusion": "transformer"}),
    "Swin": (ODD, {"arch": "swin_micro"}),
    "224 pixels": (ODD, {"arch": "vit_tiny", "image_size": 224}),
    "a ResNet below a ViT": (ODD, {"arch": "vit_tiny_r_s16_p8_224", "image_size": 64}),
    "no attention to capture": (ODD, {"arch": "vit_pwee_patch16_reg1_gap_256", "reconstruction": "none"}),
}


@pytest.fixture(scope="module")
def report_of(tmp_path_factory, small):
    """`report_of(name)`: the page of a case, made once."""

    @functools.cache
    def make(name):
        classes, options = CASES[name]
        folder = tmp_path_factory.mktemp("odd")
        run = untrained(folder, images(folder / "data", classes, each=12 if len(classes) == 1 else 3), **options)
        run.folder.mkdir()
        (run.folder / "recipe.json").write_text("{}")
        return page([run])

    return make


@pytest.mark.parametrize("name", CASES)
def test_a_report_of_any_run(name, report_of, parsed):
    classes, options = CASES[name]
    text = report_of(name)
    parsed(text)
    assert "Patch inspector" in text and text.encode()
    live = '"kind": "bench"' in text
    assert live != any(part in name for part in ("Swin", "224", "ResNet", "capture", "transformer"))
    assert ("Tap mixer" in text) == (not live and options.get("reconstruction") != "none")
    assert "no attention weights" not in text or "capture" in name
    assert len(re.findall("Not shown", text)) == (not live) + ("capture" in name)
    if len(classes) == len(ODD):
        for shown in ("_hidden", "a $x^2$ b", "&lt;b&gt;&amp;amp;", "größe ☂"):
            assert f">{shown}</text>" in text
    else:
        assert "k-NN of the features" not in text  # of one class they say nothing


OPEN = """() => document.querySelectorAll("details").forEach((fold) => (fold.open = true))"""
NAMES = """() => [...document.querySelectorAll(".thumbs button")].map((button) => button.title).join(" ")"""


@pytest.mark.parametrize("name", CASES)
def test_it_opens_in_a_browser(name, report_of, chromium, tmp_path):
    """From disk, offline, on a phone: no error, nothing wider than the screen, every live view drawn, names as they are."""
    path = tmp_path / "report.html"
    path.write_text(report_of(name), encoding="utf-8")
    context = chromium.new_context(offline=True, viewport={"width": 390, "height": 800})
    opened, errors = context.new_page(), []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else None)
    opened.goto(path.as_uri())
    opened.evaluate(OPEN)
    assert opened.evaluate("document.documentElement.scrollWidth") <= 390
    for view in opened.locator(".repre-lite").all():
        view.locator("[role=status]").first.filter(has_text=re.compile(r"\d")).wait_for(state="attached")
    if opened.locator(".bench").count():
        opened.wait_for_function("() => document.querySelector('.bench').ariaBusy === 'false'")
        names = opened.evaluate(NAMES)
        assert (len(CASES[name][0]) != len(ODD)) or ("größe ☂" in names and "<b>&amp;" in names)
    context.close()
    assert errors == []


@pytest.mark.parametrize("name", ["one class", "no labels", "DINO at 64 pixels", "DINO with a Swin at 64 pixels",
                                  "DINO at 96 pixels, patch 16", "no attention to capture"])  # fmt: skip
def test_every_tab_opens(name, tmp_path, small):
    classes, options = CASES[name]
    run = untrained(tmp_path, images(tmp_path / "data", classes, each=12 if len(classes) == 1 else 3), **options)
    run.folder.mkdir(exist_ok=True)
    (run.folder / CHECKPOINT).touch()  # its heads are its own
    explorer = Explorer(run)
    for tab in explorer.makers:
        if "capture" in name and tab in ("attention", "patches"):
            with pytest.raises(rl.UserError, match="no attention weights"):
                explorer.tab(tab)
        else:
            assert explorer.tab(tab).describe() and explorer.tab(tab).figure()
    tabs = explorer.widget()
    first = tabs.children[0].children[0]
    assert ("no attention weights" in getattr(first, "value", "")) == ("capture" in name)


def test_a_tab_whose_images_are_gone_says_so(tmp_path, small):
    run = untrained(tmp_path, images(tmp_path / "data", ["a"]))
    explorer = Explorer(replace(run, recipe=replace(run.recipe, data=str(tmp_path / "<gone>"))))
    message = explorer.widget().children[0].children[0].value
    assert "&lt;gone&gt;" in message and "Traceback" not in message


@pytest.mark.skipif(sys.platform != "linux", reason="names of bytes that are no UTF-8 exist on Linux only")
def test_names_that_are_no_utf8(tmp_path, small, parsed):
    data = images(tmp_path / os.fsdecode(b"d\xe4ta"), [os.fsdecode(b"caf\xe9"), "plain"], each=6)
    run = untrained(tmp_path, data)
    place = tmp_path / os.fsdecode(b"r\xfcn")
    place.mkdir()
    (place / "recipe.json").write_text("{}")
    text = page([replace(run, folder=place)])
    parsed(text)
    assert text.encode() and "caf\\xe9" in text and "r\\xfcn" in text
    tab = Explorer(run).tab("embedding")
    assert tab.widget().controls["only"].options[1][0] == "caf\\xe9" and tab.figure("PCA")
