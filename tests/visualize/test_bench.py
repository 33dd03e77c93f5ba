"""The bench in a real browser, from a file and offline: the numbers of torch, every control, the reader's own image."""

import dataclasses
import re

import numpy as np
import pytest
import torch
from PIL import Image

import repre_lite as rl
from repre_lite.report.arms import group
from repre_lite.report.visuals import bench as bench_of_arms
from repre_lite.report.visuals import left_off_the_bench
from repre_lite.visualize import Bench

READY = "() => !document.querySelector('.repre-lite p').textContent.includes('starting')"
SETTLED = """async () => {
  while (document.querySelector('.bench').ariaBusy !== 'false') await new Promise((done) => setTimeout(done, 20));
  return document.querySelector('.repre-lite p').textContent;
}"""


@pytest.fixture(scope="module")
def bench(tiny_runs):
    """A run with two snapshots and decoder beside one without; weights larger than after four steps, so that maps differ."""
    runs = [rl.load_run(tiny_runs[name]) for name in ("multi-0", "none-0")]
    generator = torch.Generator().manual_seed(0)
    for run in runs:
        for parameter in run.model.parameters():
            parameter.data += 0.03 * torch.randn(parameter.shape, generator=generator)
    return Bench.compute(runs)


@pytest.fixture
def opened(chromium, bench, tmp_path):
    """The page as it is opened from disk without network."""
    path = tmp_path / "bench.html"
    path.write_text(f"<!DOCTYPE html><meta charset='utf-8'>{bench.to_html()}", encoding="utf-8")
    context = chromium.new_context(offline=True, viewport={"width": 390, "height": 900})
    page, errors = context.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(path.as_uri())
    page.wait_for_function(READY)
    yield page
    context.close()
    assert errors == []


def numbers(sentence):
    return [float(number) for number in re.findall(r"-?\d+\.?\d*", sentence)]


def alike(said, wanted):
    """The same words, and numbers that differ by their last digit at most."""
    assert re.sub(r"[\d.-]+", "#", said) == re.sub(r"[\d.-]+", "#", wanted)
    np.testing.assert_allclose(numbers(said), numbers(wanted), atol=1.01, rtol=0.011)
    np.testing.assert_allclose([n for n in numbers(said) if n < 1], [n for n in numbers(wanted) if n < 1], atol=0.0011)


def set_input(page, label, value):
    page.locator("label").filter(has_text=re.compile(f"^{label}")).locator("input").first.evaluate(
        "(input, value) => { input.value = value; input.dispatchEvent(new Event('input')); }", str(value)
    )


def test_the_page_says_what_torch_says(opened, bench):
    alike(opened.evaluate(SETTLED), bench.describe())
    set_input(opened, "block 1", 0)
    set_input(opened, "block 3", 0.5)
    opened.get_by_label("block 7: from the other").click()
    opened.get_by_label("show").select_option("similarity of patches")
    opened.get_by_role("button", name="class token").click()
    state = {"weight0": 0.0, "weight1": 0.5, "swap3": True, "look": "similarity", "token": False}
    alike(opened.evaluate(SETTLED), bench.describe(**state))
    opened.locator(".thumbs button").nth(3).click()
    set_input(opened, "step", 0)
    opened.get_by_label("show").select_option("attention")
    opened.get_by_label("head").select_option("1")
    state |= {"image": 3, "stage": 0, "look": "attention", "head": 1}
    alike(opened.evaluate(SETTLED), bench.describe(**state))
    assert bench.describe(**state) != bench.describe(**(state | {"stage": 1}))


def test_patches_are_chosen_by_click_and_by_key(opened, bench):
    canvas = opened.locator(".bench canvas").first
    box = canvas.bounding_box()
    canvas.click(position={"x": box["width"] * 0.7, "y": box["height"] * 0.3})
    alike(opened.evaluate(SETTLED), bench.describe(token=False, row=2, column=5))
    canvas.press("ArrowDown")
    alike(opened.evaluate(SETTLED), bench.describe(token=False, row=3, column=5))


def test_the_readers_own_image(opened, bench, tmp_path):
    """A file that holds one of the images gives its numbers; painting changes them; another file is refused in words."""
    Image.fromarray(np.asarray(bench.images[5].permute(1, 2, 0))).save(tmp_path / "own.png")
    opened.locator("input[type=file]").first.set_input_files(tmp_path / "own.png")
    opened.wait_for_function("() => document.querySelector('.repre-lite p').textContent.startsWith('Your own image')")
    said, wanted = opened.evaluate(SETTLED), bench.describe(image=5)
    np.testing.assert_allclose(numbers(said), numbers(wanted)[1:], atol=1.01)

    Image.fromarray(np.asarray(bench.images[2].permute(1, 2, 0))).save(tmp_path / "second.png")
    opened.locator(".thumbs button").nth(0).click()
    opened.evaluate(SETTLED)
    opened.locator("input[type=file]").first.set_input_files(tmp_path / "second.png")
    opened.wait_for_function("() => document.querySelector('.repre-lite p').textContent.startsWith('Your own image')")
    said, wanted = opened.evaluate(SETTLED), bench.describe(image=2)  # not those of the first file
    np.testing.assert_allclose(numbers(said), numbers(wanted)[1:], atol=0.011, rtol=0.02)

    opened.get_by_role("button", name="paint").click()
    canvas = opened.locator(".bench canvas").first
    canvas.press(" ")
    painted = opened.evaluate(SETTLED)
    box = canvas.bounding_box()
    opened.mouse.move(box["x"] + 20, box["y"] + 20)
    opened.mouse.down()
    opened.mouse.move(box["x"] + 60, box["y"] + 60, steps=4)
    opened.mouse.up()
    assert opened.evaluate(SETTLED) != painted

    (tmp_path / "not.png").write_bytes(b"no image")
    opened.locator("input[type=file]").first.set_input_files(tmp_path / "not.png")
    opened.get_by_text("cannot read this file as an image").wait_for()


def test_every_control_is_moved(opened):
    seen = {opened.evaluate(SETTLED)}
    for index in range(opened.locator(".repre-lite input[type=range]").count()):
        slider = opened.locator(".repre-lite input[type=range]").nth(index)
        for key in ("Home", "End"):
            slider.press(key)
            seen.add(opened.evaluate(SETTLED))
    for index in range(opened.locator(".repre-lite select").count()):
        select = opened.locator(".repre-lite select").nth(index)
        for option in range(min(3, select.locator("option").count())):
            select.select_option(index=option)
            seen.add(opened.evaluate(SETTLED))
    assert len(seen) > 10
    assert opened.evaluate("document.documentElement.scrollWidth") <= 390


def test_runs_that_do_not_go_together_are_refused(tiny_runs):
    run = rl.load_run(tiny_runs["multi-0"])
    swin = rl.recipe("scenes", arch="swin_micro", method={"hidden": 16, "out": 8})
    from repre_lite.repre import RePre
    from repre_lite.runs import Run

    other = Run(run.folder, swin, RePre.from_recipe(swin).eval(), [], {})
    with pytest.raises(rl.UserError, match="plain ViTs"):
        Bench.compute([run, other])
    elsewhere = rl.recipe("scenes", tap_blocks=(2, 4, 5, 7), method={"hidden": 16, "out": 8}, decoder_width=8)
    moved = Run(run.folder, elsewhere, RePre.from_recipe(elsewhere).eval(), [], {})
    with pytest.raises(rl.UserError, match="class token or taps differ"):
        Bench.compute([run, moved])
    assert len(bench_of_arms(group([run, moved])).subjects) == 1
    assert left_off_the_bench(group([run, moved])).count("taps differ from") == 1
    fewer = rl.recipe("scenes", encoder={"num_heads": 1}, method={"hidden": 16, "out": 8}, decoder_width=8)
    one_head = Run(run.folder, fewer, RePre.from_recipe(fewer).eval(), [], {})
    with pytest.raises(rl.UserError, match="heads, class token or taps differ"):
        Bench.compute([run, one_head])
    swin_first = group([other, run])
    assert len(bench_of_arms(swin_first).subjects) == 1 and "SwinTransformer" in left_off_the_bench(swin_first)


def test_weights_that_are_too_many_together(tiny_runs, monkeypatch):
    runs = [rl.load_run(tiny_runs[name]) for name in ("multi-0", "none-0")]
    one = sum(parameter.numel() for parameter in runs[0].encoder.parameters())
    monkeypatch.setattr("repre_lite.report.visuals.MOST_WEIGHTS", 1.5 * one)
    assert len(bench_of_arms(group(runs)).subjects) == 1
    assert "no room for more networks" in left_off_the_bench(group(runs))
    monkeypatch.setattr("repre_lite.report.visuals.MOST_WEIGHTS", 0.5 * one)
    with pytest.raises(rl.UserError, match="too many for a page"):
        bench_of_arms(group(runs))


def test_runs_saved_at_other_steps_are_shown_at_their_own(tiny_runs):
    """A step of the slider shows, of every run, its last moment until then."""
    runs = [rl.load_run(tiny_runs[name]) for name in ("multi-0", "none-0")]
    made = Bench.compute(runs)
    several, one = made.subjects
    assert several.steps == (0, 1, 4) and len(one.steps) == 1
    later = dataclasses.replace(one, stages=tuple(dataclasses.replace(one.stages[0], step=step) for step in (2, 9)))
    both = dataclasses.replace(made, subjects=(several, later))
    assert both._data()["steps"] == (0, 1, 2, 4, 9)
    assert [[s.at(step).step for s in both.subjects] for step in (0, 2, 4, 9)] == [[0, 2], [1, 2], [4, 2], [4, 9]]
    labels = [axis.get_ylabel() for axis in both.figure(stage=3).axes]
    assert [label.split()[-1] for label in labels if label] == ["4", "2"]


def test_the_class_token_has_no_similarity(bench):
    said = bench.describe(look="similarity", token=True)
    assert said == bench.describe(look="similarity", token=False) and "class token" not in said


def test_an_unfinished_run_is_shown_at_its_checkpoint(tiny_runs):
    """Snapshots that are newer than the checkpoint are left out, so that time does not run backwards."""
    run = rl.load_run(tiny_runs["multi-0"])
    kept = dataclasses.replace(run, summary={"steps": 1, "finished": False})
    assert Bench.compute([kept]).subjects[0].steps == (1,)


def test_the_figure_shows_every_look_and_no_empty_axis(bench):
    """Two rows of four; the run without a decoder has no reconstruction and no error."""
    for look in ("attention", "similarity", "colours"):
        axes = bench.figure(look=look, token=False).axes
        assert [len(axis.images) for axis in axes] == [1, 1, 1, 1, 1, 0, 0, 1]
        assert [axis.axison for axis in axes] == [True] * 5 + [False] * 2 + [True]
    shown = bench.answers(look="colours", tap=1)[0]["colours"]
    assert shown.shape == (8, 8, 3) and 0 <= shown.min() < shown.max() <= 1


def test_only_as_many_moments_as_fit(tiny_runs):
    run = rl.load_run(tiny_runs["multi-0"])
    assert [s.step for s in Bench.compute([run]).subjects[0].stages] == [0, 1, 4]
    assert [s.step for s in Bench.compute([run], snapshot_bytes=0).subjects[0].stages] == [4]


def test_dino_has_no_earlier_moments_since_snapshots_hold_its_target(tiny_runs):
    from repre_lite.repre import RePre
    from repre_lite.runs import Run

    class Often(Run):
        snapshots = (0, 1, 4)

        def at(self, step):
            return self.model

    folder, method = tiny_runs["multi-0"], {"hidden": 16, "out": 8, "prototypes": 16}
    recipe = dataclasses.replace(rl.load_run(folder).recipe, framework="dino", method=method)
    run = Often(folder, recipe, RePre.from_recipe(recipe).eval(), [], {"steps": 4})
    assert [stage.step for stage in Bench.compute([run]).subjects[0].stages] == [4]
