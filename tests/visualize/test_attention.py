"""The attention explorer: what it shows is what was captured, every state has its sentence."""

import re

import numpy as np
import pytest

from repre_lite.visualize.attention import DROPS, Attention, enlarge
from repre_lite.visualize.kit.capture import rollout
from repre_lite.visualize.kit.drawing import png


@pytest.fixture(scope="module")
def explorer(case):
    encoder, image, _ = case
    return Attention.compute(encoder, image.sigmoid(), image)


def states_of(explorer):
    """Every control moved through its whole range, the others where they are at first."""
    h, w = explorer.blocks[0].grid
    most = max(block.heads for block in explorer.blocks)
    ranges = {
        "block": range(len(explorer.blocks)),
        "head": ["mean", *range(most)] + (["rollout"] if explorer.rolled else []),
        "source": ["class", "patch"],
        "row": range(h),
        "column": range(w),
        "mass": [0.1 + 0.05 * i for i in range(19)],
        "drop": [drop for drop in DROPS if explorer.rolled],
    }
    for key, values in ranges.items():
        for value in values:
            yield explorer.start | {key: value}
            if key in ("row", "column"):
                yield explorer.start | {key: value, "source": "patch", "head": 1, "block": 0}
            if key == "drop":
                yield explorer.start | {key: value, "head": "rollout"}


def test_explorer_shows_what_was_captured(case, explorer):
    blocks, p = case[2], case[2][0].prefix
    for index, block in enumerate(blocks):
        h, w = block.grid
        rows, columns = explorer.blocks[0].grid
        at = {"row": rows - 1, "column": columns // 2, "drop": 0.0}
        token = p + (h - 1) * w + columns // 2 * w // columns
        sent = block.dense()[:, token, p:].reshape(-1, h, w)
        assert np.allclose(explorer.weights(index, 1, "patch", **at), sent[1], atol=1e-5)
        assert np.allclose(explorer.weights(index, "mean", "patch", **at), sent.mean(0), atol=1e-5)
        assert np.allclose(
            explorer.weights(index, 99, "patch", **at), sent[-1], atol=1e-5
        )  # fewer heads than asked for
        if p:
            classes = block.dense()[:, 0, p:].reshape(-1, h, w)
            assert np.allclose(explorer.weights(index, 2, "class", **at), classes[2], atol=1e-5)
    if p:  # what is dropped depends on the order, which rounding may change: compare that on the rounded weights
        for drop, of in ((0.0, blocks), (0.6, explorer.blocks)):
            rolled = rollout(np.stack([block.dense().mean(0) for block in of]), drop)
            shown = explorer.weights(3, "rollout", "class", row=0, column=0, drop=drop)
            assert np.allclose(shown.ravel(), rolled[3, 0, p:], atol=1e-4)
    else:
        assert explorer.rolled == {}  # a Swin's grid shrinks between its stages


def test_every_state_has_its_map_and_its_sentence(explorer):
    widget, said = explorer.widget(), set()
    for state in states_of(explorer):
        widget.state = state
        assert widget.sentence == explorer.describe(**state)
        block, (h, w) = state["block"], explorer.blocks[state["block"]].grid
        shown = explorer.weights(**{key: value for key, value in state.items() if key != "mass"})
        assert shown.shape == (h, w)
        top = divmod(int(shown.argmax()), w)
        assert f"row {top[0]}, column {top[1]}" in widget.sentence
        assert f"{state['mass']:.0%}".replace("%", " %") in widget.sentence
        if state["head"] == "rollout":
            assert f"blocks 0 to {block}" in widget.sentence and "pixels" not in widget.sentence
        else:
            named = (
                "mean" if state["head"] == "mean" else f"head {min(state['head'], explorer.blocks[block].heads - 1)}"
            )
            assert f"Block {block}, {named}" in widget.sentence and "mean attention distance" in widget.sentence
        if state["source"] == "patch" or not explorer.blocks[0].prefix:
            rows, columns = explorer.blocks[0].grid
            place = f"row {state['row'] * h // rows}, column {state['column'] * w // columns} of {h} x {w}"
            assert f"from the patch in {place}" in widget.sentence
        else:
            assert "from the class token" in widget.sentence
        said.add(widget.sentence)
    assert len(said) > len(explorer.blocks) + 20


def test_explorer_figure(explorer):
    first = png(explorer.figure())
    assert first.startswith(b"\x89PNG")
    changed = explorer.figure(mass=0.9, block=0, source="patch", row=0, column=0, head=1)
    assert "90 % of block 0, head 1" in [axis.get_title() for axis in changed.axes]
    assert png(changed) != first


def test_small_maps_stand_upright(explorer):
    query = {"source": "patch", "row": 0, "column": 0, "drop": 0.0}
    mosaic, cell = explorer._mosaic(query), 59
    for block in (0, 7):
        for head in range(explorer.blocks[block].heads):
            part = mosaic[head * cell :, block * cell :][: cell - 3, : cell - 3]
            assert np.array_equal(part, enlarge(explorer.weights(block, head, **query), cell - 3, cell - 3))
    few, most = explorer.blocks[0].heads, max(block.heads for block in explorer.blocks)
    assert np.isnan(mosaic[few * cell :, : cell - 3]).all() and len(mosaic) == most * cell - 3


def test_enlarge_covers_each_patch():
    small = np.arange(6).reshape(2, 3)
    assert np.array_equal(enlarge(small, 4, 6), small.repeat(2, 0).repeat(2, 1))
    assert np.array_equal(np.unique(enlarge(small, 5, 7)), np.arange(6))


def test_the_page_needs_no_network_and_may_leave_heads_out(explorer):
    page, mean = explorer.to_html(), explorer.to_html(heads=False, script=False)
    assert not re.search("https?:", page) and explorer.describe() in page
    assert "mountAll" in page and "mountAll" not in mean and len(mean) < len(page)
