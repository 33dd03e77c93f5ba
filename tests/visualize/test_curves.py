"""Training curves of one run and of several arms."""

import pytest

from repre_lite.visualize.curves import PANELS, Curves, smoothed
from repre_lite.visualize.kit.drawing import png
from repre_lite.visualize.kit.words import short

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("missing", ["online_knn_top1", "contrastive", "weight_contrastive"])
def test_curves_draw_what_was_logged(missing):
    line = {"contrastive": 2.0, "reconstruction": 0.3, "weight_contrastive": 0.2, "weight_reconstruction": 1.0}
    rows = [{"step": step, **line, "online_knn_top1": 0.5} for step in (1, 2, 3)]
    labels = [
        [text.get_text() for text in axis.get_legend().get_texts()] for axis in Curves.compute(rows).figure().axes[:2]
    ]
    assert labels == [["contrastive", "reconstruction"]] * 2
    figure = Curves.compute([row | {missing: None} for row in rows]).figure()
    assert len(figure.axes) == (2 if missing == "online_knn_top1" else 3)
    assert sum(len(axis.lines) * (axis.lines[0].get_xdata().size > 0) for axis in figure.axes) == 4
    assert png(figure).startswith(PNG)


def lines(start, **more):
    return [{"step": step, "contrastive": start - 0.1 * step, "reconstruction": None, **more} for step in range(1, 31)]


def test_several_arms_have_a_panel_for_each_measure_and_a_line_for_each_run():
    arms = {"with $x$": [lines(5.0, reconstruction=0.2), lines(6.0, reconstruction=0.3)], "_bare": [lines(4.0)]}
    curves = Curves.compute(arms)
    assert list(curves.panels) == ["contrastive loss", "reconstruction loss (L1)"]
    first, second = (curves.panels[title] for title in curves.panels)
    assert [curve.name for curve in first] == ["with $x$", "with $x$", "_bare"] and len(second) == 2
    assert first[0].style == first[1].style != first[2].style
    assert first[1].values == tuple(line["contrastive"] for line in arms["with $x$"][1])
    axis = curves.figure("contrastive loss").axes[0]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["with $x$", "_bare"]
    sentence = curves.describe("contrastive loss")
    assert "with $x$ from 4.9 to 2; with $x$ from 5.9 to 3; _bare" in sentence and "_bare from 3.9 to 1" in sentence
    assert png(curves.figure()).startswith(PNG) and sentence in curves.describe()


def test_a_negative_loss_is_drawn_too():
    """BYOL's and SimSiam's contrastive loss lies below 0."""
    axis = (
        Curves.compute([{"step": s, "contrastive": -0.1 * s, "reconstruction": 0.2} for s in (1, 2)]).figure().axes[0]
    )
    assert axis.get_yscale() == "linear" and list(axis.lines[0].get_ydata()) == [-0.1, -0.2]
    assert Curves.compute([{"step": 1, "contrastive": 2.0}]).figure().axes[0].get_yscale() == "log"


def test_shares_are_shown_in_percent_and_few_values_with_markers():
    curves = Curves.compute([{"step": s, "online_knn_top1": 0.1 * s, "contrastive": 1.0} for s in (0, 1, 2)])
    assert curves.describe("online k-NN top-1 (%)") == "online k-NN top-1 (%) over steps: from 0 to 20."
    assert curves.figure("online k-NN top-1 (%)").axes[0].lines[0].get_marker() == "^"
    assert Curves.compute(lines(5.0)).figure("loss").axes[0].lines[0].get_marker() in ("", "None")


def test_nothing_logged_and_only_some_panels():
    empty = Curves.compute([])
    assert empty.panels == {} and empty.describe() == "Nothing has been logged." and png(empty.figure()).startswith(PNG)
    assert list(Curves.compute(lines(5.0, online_knn_top1=0.5), only=["loss"]).panels) == ["loss"]
    assert {"loss", "weight"} < set(PANELS)


def test_values_are_read_at_a_step_raw_and_smoothed():
    """By hand: 4, 2, 1 smoothed by half are 4, (2 + 4/2) / 1.5 and (1 + 2/2 + 4/4) / 1.75."""
    assert smoothed([4.0, 2.0, 1.0], 0.5) == [4.0, 4 / 1.5, 3 / 1.75]
    assert smoothed([4.0, 2.0], 0.0) == [4.0, 2.0]
    rows = [{"step": 10, "contrastive": 4.0, "online_knn_top1": None}, {"step": 20, "contrastive": 2.0},
            {"step": 30, "contrastive": 1.0, "online_knn_top1": 0.8125}]  # fmt: skip
    curves = Curves.compute(rows)
    assert curves.steps == (10, 20, 30)
    assert curves.describe("loss", at=1) == "loss after step 20: contrastive 2."
    assert curves.describe("loss", at=2, smooth=0.5) == "loss after step 30: contrastive 1, smoothed 1.71."
    assert curves.describe("online k-NN top-1 (%)", at=0) == "online k-NN top-1 (%) after step 10: 81.3."  # its first
    assert len(curves.figure("loss", at=1, smooth=0.5).axes[0].lines) == 3


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (2.0, "2"),
        (0.8125, "0.813"),
        (12345.0, "12300"),
        (-0.05, "-0.05"),
        (1e-5, "0.00001"),
        (1.2e-8, "1.2e-8"),
        (0, "0"),
    ],
)
def test_numbers_are_written_as_in_the_browser(value, said):
    assert short(value) == said


def test_the_widget_reads_what_is_chosen():
    curves = Curves.compute(lines(5.0, reconstruction=0.1, weight_contrastive=0.2, weight_reconstruction=3.0))
    widget = curves.widget()
    assert widget.sentence == curves.describe("loss", at=29, smooth=0.0)
    widget.state = {"panel": "weight", "at": 3, "smooth": 0.9}
    assert widget.sentence == curves.describe("weight", at=3, smooth=0.9) and "weight after step 4" in widget.sentence


READ = "() => document.querySelector('.repre-lite [role=status]').textContent"


def test_the_browser_reads_what_python_reads(chromium, tmp_path):
    """Names with markup are text; keys and pointer move through the steps; without scripts there is a figure."""
    runs = {"<b>one</b>": [lines(5.0, online_knn_top1=0.8125)], "two": [lines(4.0)[::3]]}
    curves = Curves.compute(runs)
    path = tmp_path / "curves.html"
    path.write_text(f"<!DOCTYPE html><meta charset='utf-8'>{curves.to_html()}", encoding="utf-8")
    page, errors = chromium.new_page(viewport={"width": 390, "height": 900}), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(path.as_uri())
    first, other = (page.locator(".curves figure > svg").nth(i) for i in range(2))
    assert page.evaluate(READ) == curves.describe("contrastive loss", at=29)
    first.press("ArrowLeft")
    first.press("ArrowLeft")
    assert page.evaluate(READ) == curves.describe("contrastive loss", at=27)
    page.get_by_label("smoothing").press("End")
    assert page.evaluate(READ) == curves.describe("contrastive loss", at=27, smooth=0.95)
    box = other.bounding_box()
    other.hover(position={"x": box["width"] * 0.5, "y": 20})
    said = page.evaluate(READ)
    assert said in [curves.describe("online k-NN top-1 (%)", at=at, smooth=0.95) for at in range(13, 17)]
    assert other.get_attribute("aria-label") == said
    other.press("Home")
    assert page.evaluate(READ) == curves.describe("online k-NN top-1 (%)", at=0, smooth=0.95)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390 and page.locator(".curves b b").count() == 0
    page.close()
    assert errors == []
    context = chromium.new_context(java_script_enabled=False)
    still = context.new_page()
    still.goto(path.as_uri())
    assert still.locator("noscript svg[role=img]").count() == len(curves.panels) or "<svg" in still.content()
    context.close()
