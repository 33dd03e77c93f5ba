"""Training curves of one run and of several arms."""

import pytest

from repre_lite.visualize.curves import PANELS, Curves
from repre_lite.visualize.kit.drawing import png

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
    assert curves.describe("k-NN top-1 (%)") == "k-NN top-1 (%) over steps: from 0 to 20."
    assert curves.figure("k-NN top-1 (%)").axes[0].lines[0].get_marker() == "^"
    assert Curves.compute(lines(5.0)).figure("loss").axes[0].lines[0].get_marker() in ("", "None")


def test_nothing_logged_and_only_some_panels():
    empty = Curves.compute([])
    assert empty.panels == {} and empty.describe() == "Nothing was logged." and png(empty.figure()).startswith(PNG)
    assert list(Curves.compute(lines(5.0, online_knn_top1=0.5), only=["loss"]).panels) == ["loss"]
    assert {"loss", "weight"} < set(PANELS)


def test_the_widget_goes_through_the_panels():
    curves = Curves.compute(lines(5.0, reconstruction=0.1, weight_contrastive=0.2, weight_reconstruction=3.0))
    box = curves.widget()
    seen = set()
    for title in curves.panels:
        box.controls["panel"].value = title
        assert box.sentence.value == curves.describe(title)
        seen.add(box.image.value)
    assert len(seen) == len(curves.panels) == 2
