"""Figures without a window, and names from outside as plain text."""

import re
import warnings
import zlib

import numpy as np
import pytest

from repre_lite.runtime.text import plain_text
from repre_lite.visualize.kit import palette
from repre_lite.visualize.kit.drawing import (
    Figure,
    absolute_error,
    enlarge,
    legend,
    outline,
    png,
    show_image,
    shrink,
    svg,
)

NAMES = ["plain", "_hidden", "a $x^2$ b", "$", "$$", "<b>&amp;", "back\\slash", "caf\udce9", "two\nlines", "", "%s {0}"]


def svg_text(figure):
    import io

    import matplotlib

    stream = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        figure.savefig(stream, format="svg")
    return [re.sub(r"<[^>]*>", "", text) for text in re.findall(r"<text[^>]*>(.*?)</text>", stream.getvalue(), re.S)]


def test_a_notebook_shows_a_figure_as_png():
    figure = Figure(2, 1)
    figure.subplots()
    assert figure._repr_png_() == png(figure) and png(figure).startswith(b"\x89PNG")
    width, height = (int.from_bytes(png(figure)[at : at + 4]) for at in (16, 20))
    assert (width, height) == (200, 100)


@pytest.mark.parametrize("name", NAMES)
def test_names_are_drawn_as_they_are(name):
    import html

    figure = Figure(3, 2, "constrained")
    axis = figure.subplots()
    (line,) = axis.plot([0, 1])
    legend(figure, [line], [name], loc="outside lower center")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        png(figure)
    shown = [html.unescape(text) for text in svg_text(figure)]
    assert not plain_text(name) or plain_text(name) in shown
    titled = Figure(2, 2)
    show_image(titled.subplots(), np.zeros((2, 2)), name)
    assert not plain_text(name) or plain_text(name) in [html.unescape(text) for text in svg_text(titled)]


def test_a_script_that_the_font_lacks_stays_text_in_svg_and_warns_of_nothing():
    figure = Figure(3, 2, "constrained")
    (line,) = figure.subplots().plot([0, 1])
    legend(figure, [line], ["日本語"], loc="outside lower center")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "日本語" in svg(figure, "a line")


def test_maps_cover_their_patches_and_errors_their_pixels():
    small = np.arange(6).reshape(2, 3)
    assert np.array_equal(enlarge(small, 4, 6), small.repeat(2, 0).repeat(2, 1))
    assert np.array_equal(np.unique(enlarge(small, 5, 7)), np.arange(6))
    one, other = np.zeros((2, 2, 3)), np.array([0.3, 0.6, 0.0]) * np.ones((2, 2, 1))
    assert np.allclose(absolute_error(one, other), 0.3)


def test_an_outline_lies_on_its_pixels():
    figure = Figure(2, 2)
    axis = figure.subplots()
    show_image(axis, np.zeros((8, 8)))
    outline(axis, (2, 4, 1, 3))
    boxes = {(p.get_y(), p.get_x(), p.get_height(), p.get_width()) for p in axis.patches}
    assert boxes == {(1.5, 3.5, 1, 3)} and len(axis.patches) == 2


def test_shrinking_halves_until_all_fit():
    stack = np.random.default_rng(zlib.crc32(b"x")).random((2, 8, 8, 3))
    same, halved = shrink(2 * 8 * 8 * 3, stack)[0], shrink(2 * 8 * 8 * 3 - 1, stack)[0]
    assert same is stack and halved.shape == (2, 4, 4, 3)
    assert np.allclose(halved[1, 0, 0], stack[1, :2, :2].mean((0, 1)))
    assert shrink(1, np.zeros((6, 6, 3)))[0].shape == (3, 3, 3)  # odd sides stay


# -- the palette


def contrast(one, other):
    """Of two colours, as WCAG defines it."""

    def luminance(colour):
        parts = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722)

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_colours_are_okabe_and_itos_and_the_first_are_legible_on_white_and_on_black():
    theirs = {"#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7"}
    assert set(palette.COLOURS) <= theirs and len(set(palette.COLOURS)) == len(palette.COLOURS)
    for colour in palette.COLOURS[:3]:
        assert contrast(colour, "#ffffff") > 3 and contrast(colour, "#121212") > 3


def test_no_two_series_look_alike():
    styles = [palette.series(index) for index in range(35)]
    assert len({(style.colour, style.marker) for style in styles}) == 35
    assert len({style.line for style in styles[:4]}) == 4  # a few arms differ without colour
    assert palette.CONTRASTIVE.line != palette.RECONSTRUCTION.line
    assert "marker" in palette.KNN.options() and palette.KNN.options(marker=False)["marker"] == ""


def test_the_ground_is_grey_and_classes_differ():
    look = palette.class_map(11, ground=True)
    colours = [look["cmap"]((label - look["vmin"]) / (look["vmax"] - look["vmin"]))[:3] for label in range(11)]
    assert colours[0] == (0.85,) * 3 and len(set(colours)) == 11
