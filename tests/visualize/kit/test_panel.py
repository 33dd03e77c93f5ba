"""The panel: controls, image and sentence."""

import ipywidgets

from repre_lite.visualize.kit.drawing import Figure
from repre_lite.visualize.kit.panel import panel


class Shown:
    """A visual that records what it is asked."""

    def __init__(self, sentence):
        self.sentence, self.asked = sentence, []

    def figure(self, **values):
        self.asked.append(values)
        return Figure(1, 1)

    def describe(self, **values):
        assert not self.asked or self.asked[-1] != values  # before the figure, with the same values
        return self.sentence


def test_panel_passes_values_by_name_and_escapes_the_sentence():
    visual = Shown("a < b")
    box = panel(visual, one=ipywidgets.IntSlider(1, 0, 3), two=ipywidgets.ToggleButton(False))
    box.controls["one"].value = 3
    box.controls["two"].value = True
    assert visual.asked == [{"one": 1, "two": False}, {"one": 3, "two": False}, {"one": 3, "two": True}]
    assert box.sentence.value == "a &lt; b"


def test_arguments_are_made_of_the_values():
    visual = Shown("")
    panel(visual, lambda one: {"half": one / 2}, one=ipywidgets.IntSlider(3, 0, 3))
    assert visual.asked == [{"half": 1.5}]


def test_the_image_has_its_alternative_text_in_the_browser():
    assert '<img alt="what &quot;is&quot; shown"' in panel(Shown('what "is" shown')).image.value
