"""Tables and figures as HTML."""

import re

from repre_lite.report.pieces import table, text
from repre_lite.visualize.kit.drawing import Figure, svg


def test_figures_take_the_colour_of_the_text_and_keep_their_names_apart():
    made = []
    for values in ([1, 2], [2, 1]):
        figure = Figure(3, 2)
        figure.subplots().plot(values, color="#0072B2", marker="o")
        made.append(svg(figure, 'a "line" < 3'))
    names = [set(re.findall(r'id="([^"]*)"', one)) for one in made]
    assert names[0] and not names[0] & names[1]
    for one, own in zip(made, names, strict=True):
        assert 'aria-label="a &quot;line&quot; &lt; 3"' in one and "currentColor" in one and "#000000" not in one
        used = re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', one)
        assert used and {a or b for a, b in used} <= own


def test_cells_are_escaped():
    assert "<b>" not in table("a <b>", ["<b>"], [["<b>", "<b>"]]) and "&lt;b&gt;" in table("a", ["b"], [["c", "<b>"]])


def test_names_from_outside_are_plain_text_that_can_be_written():
    assert text("<caf\udce9> & $x$") == "&lt;caf\\xe9&gt; &amp; $x$"
    cells = table("caf\udce9", ["\udcff"], [["a\nb", "\x00"]]) + svg(Figure(1, 1), "\udcff")
    assert cells.encode() and "\\xff" in cells and "a\\nb" in cells and "\x00" not in cells
