"""The paper's numbers are what it prints, and every gain is that of its own numbers or marked."""

import os
from pathlib import Path

import pytest

from repre_lite.reproduce import paper

GAINS = [pytest.param(gain, id=f"{gain.source} {' '.join(gain.place[1])} {gain.place[2]}") for gain in paper.GAINS]


@pytest.mark.parametrize("gain", GAINS)
def test_a_printed_gain_is_the_difference_of_its_numbers_or_marked(gain):
    agrees = gain.computed is not None and gain.computed == pytest.approx(gain.printed)
    assert agrees == (gain.doubt == "")


def test_what_is_marked():
    wrong = [gain for gain in paper.GAINS if gain.computed is not None and gain.doubt]
    assert [(gain.place[1], gain.printed, gain.computed) for gain in wrong] == [(("DINO", "ViT-B", "800"), 1.1, 1.0)]
    assert {number.table for number in paper.NUMBERS.values() if number.doubt} == {"table2"}
    assert all(n.doubt for n in paper.NUMBERS.values() if n.table == "table2" or n.value is None)


def test_the_claimed_range_is_that_of_the_computed_gains():
    gains = [gain.computed for gain in paper.GAINS if gain.place[0] == "table1"]
    assert (min(gains), max(gains)) == paper.GAINS_CLAIMED


def test_tables_that_share_a_run_print_the_same_number():
    def value(*place):
        return paper.NUMBERS[place].value

    arms = {"none": paper.BASE, "multi": paper.REPRE}
    for framework in ("MoCo v3", "MoBY"):
        for arch in ("ViT-S", "Swin-T"):
            for arm, column in arms.items():
                one = value("table1", (framework, arch, "300"), column)
                assert one == value("table4", (framework, arch, arm), paper.TOP1)
    for arch in ("ViT-S", "Swin-T"):
        for arm, row in (("none", ("w/o decoder", "–")), ("multi", ("Conv", "2"))):
            one = value("table4", ("MoCo v3", arch, arm), paper.TOP1)
            assert one == value("table5", (*row, arch), paper.TOP1)


def test_how_many_numbers_there_are():
    counts = {name: sum(n.table == name for n in paper.NUMBERS.values()) for name in map("table{}".format, range(1, 6))}
    assert counts == {"table1": 34, "table2": 10, "table3": 6, "table4": 12, "table5": 14}


def test_differences():
    box = [("table2", (name,), paper.BOX) for name in ("MoBY w/ RePre", "MoBY", "IN Sup.")]
    assert paper.difference(box[0], box[1])[0] == 1.2
    assert paper.difference(box[1], box[2])[0] is None
    assert "could not be read" in paper.difference(box[0], box[1])[1]
    miou = [("table3", (name,), paper.MIOU) for name in ("DINO w/ RePre", "DINO")]
    assert paper.difference(*miou) == (0.44, "")
    vit_b = [("table1", ("DINO", "ViT-B", "800"), column) for column in (paper.REPRE, paper.BASE)]
    value, doubt = paper.difference(*vit_b)
    assert value == 1.0 and "1.1" in doubt


@pytest.mark.skipif("REPRE_PAPER" not in os.environ, reason="REPRE_PAPER does not name the paper's text")
def test_every_number_is_in_the_text_of_the_paper():
    text = Path(os.environ["REPRE_PAPER"]).read_text(encoding="utf-8")
    for number in paper.NUMBERS.values():
        if number.value is not None:
            assert f"{number.value:.2f}" in text or f"{number.value:.1f}" in text, number
