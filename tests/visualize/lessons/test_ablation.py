"""The diagrams of lesson 10: nothing is cut off, and the spreads are those of the values."""

import pytest

from repre_lite.visualize.lessons.ablation import pairs, table4_rows

VALUES = {"detached": [70.0, 75.0, 80.0], "multi": [71.0, 76.5, 81.0]}


def figures():
    return [
        table4_rows(),
        pairs(VALUES),
        pairs({"a": [1.0, 2.0], "b": [1.0, 2.0]}),
        pairs({"a": [5.0, 1.0], "b": [1.0, 5.0]}),
    ]


@pytest.mark.parametrize("figure", figures(), ids=["rows", "pairs", "equal", "crossed"])
def test_all_text_is_legible_and_inside(figure, legible):
    legible(figure)


def test_the_decoders_read_what_table_4_says():
    words = [text.get_text() for text in table4_rows().axes[0].texts]
    assert words.count("tap 4") == 3 and words.count("de-\ncoder") == 2 and "no\ndecoder" in words


def test_pairing_shows_the_smaller_spread():
    words = " ".join(text.get_text() for text in pairs(VALUES).axes[0].texts)
    assert "standard deviations 5.0 and 5.0 %" in words and "standard deviation 0.3 %" in words
    assert all(text in words for text in ("70.0", "81.0", "+1.0", "+1.5", "multi minus detached"))
