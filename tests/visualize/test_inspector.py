"""The patch inspector on random tiny encoders: every number is that of its source, every state has its sentence."""

import re

import numpy as np
import pytest
import torch

import repre_lite as rl
from repre_lite.data.views import Views
from repre_lite.frameworks import framework_class
from repre_lite.visualize.inspector import FINEST, Inspector, _cosines
from repre_lite.visualize.kit.capture import capture
from repre_lite.visualize.kit.correspondence import corresponding, patches_at
from repre_lite.visualize.kit.drawing import png


@pytest.fixture(scope="module")
def image():
    return rl.scenes([4], size=40).images[0]


@pytest.fixture(scope="module")
def inspector(run, image):
    return Inspector.of_run(run, image, seed=2)


@pytest.fixture(scope="module")
def view(image):
    """The first view, made by hand as `of_run` makes it, and both views' parameters."""
    make, row = Views(framework_class("moco_v3").views(32, 8), 2), torch.zeros(1, dtype=torch.int64)
    return make(image[None], 0, row)[0], make.parameters(0, row, 40, 40)


def states_of(inspector):
    (h, w), most = inspector.grid, max(block.heads for block in inspector.blocks)
    ranges = {
        "block": range(len(inspector.blocks)),
        "head": ["mean", *range(most)],
        "tap": range(len(inspector.names)),
        "row": range(h),
        "column": range(w),
    }
    for key, values in ranges.items():
        yield from (inspector.start | {key: value} for value in values)
    yield from ({"row": r, "column": r, "block": 1, "head": 0, "tap": 0} for r in range(h))


def test_attention_is_a_row_and_a_column(run, inspector, view):
    blocks, _ = capture(run.encoder.backbone, run.model.normalise(view[0])[0])
    (rows, columns), (r, c) = inspector.grid, (1, 2)
    for index, block in enumerate(blocks):
        h, w = block.grid
        token = block.prefix + r * h // rows * w + c * w // columns
        dense = block.dense()
        for head, of in ((1, lambda x: x[1]), ("mean", lambda x: x.mean(0))):
            sent, received = inspector.attention(index, head, r, c)
            assert np.allclose(sent.ravel(), of(dense)[token, block.prefix :], atol=1e-5)
            assert np.allclose(received.ravel(), of(dense)[block.prefix :, token], atol=1e-5)


def test_similarity_is_the_cosine_of_patches(run, inspector, view):
    with torch.no_grad():
        taps = run.encoder(run.model.normalise(view[0])).taps
    assert inspector.names == tuple(
        f"{'block' if inspector.blocks[0].prefix else 'stage'} {i}" for i in run.encoder.tap_indices
    )
    for index, tap in enumerate(taps):
        x = tap[0].double().numpy()
        h, w = x.shape[1:]
        r, c = 3 * h // inspector.grid[0], 1 * w // inspector.grid[1]
        expected = np.einsum("chw,c->hw", x, x[:, r, c]) / np.linalg.norm(x, axis=0) / np.linalg.norm(x[:, r, c])
        assert np.allclose(inspector.similarity(index, 3, 1), expected, atol=1e-4)


def test_fine_taps_are_averaged_down():
    tap = torch.randn(3, 56, 56)
    cosines = _cosines(tap)
    assert cosines.shape == (14,) * 4 and 14 <= FINEST < 28
    a, b = tap[:, :4, :4].mean((1, 2)), tap[:, 52:, 4:8].mean((1, 2))
    assert cosines[0, 0, 13, 1] == pytest.approx(float(torch.cosine_similarity(a, b, dim=0)), abs=1e-5)


def test_the_error_is_that_of_the_reconstruction(run, inspector, view):
    error = (run.reconstruct(view[0]) - view[0])[0].abs().mean(0).numpy()
    assert np.allclose(inspector.error, error, atol=1e-5)
    assert np.allclose(inspector.view, view[0][0].permute(1, 2, 0))
    h, w = inspector.grid
    patch = error[: 32 // h, 32 // w : 2 * 32 // w].mean()
    assert f"its reconstruction error is {patch:.3f}, the mean of the view {error.mean():.3f}" in inspector.describe(
        row=0, column=1
    )


def test_the_other_view_and_where_it_shows_a_patch(inspector, view):
    one, two = view[1]
    expected = corresponding(
        inspector.grid, one.boxes[0].tolist(), bool(one.flips[0]), two.boxes[0].tolist(), bool(two.flips[0])
    )
    assert np.array_equal(inspector.match, expected)
    shown = patches_at(expected, inspector.grid)
    assert (shown >= 0).any() and (shown < 0).any()  # some patches are shown and some are not
    for r, c in np.ndindex(*inspector.grid):
        sentence = inspector.describe(row=r, column=c)
        if shown[r, c, 0] < 0:
            assert "the other view does not show it" in sentence
        else:
            assert f"the other view shows it in row {shown[r, c, 0]}, column {shown[r, c, 1]}." in sentence


def test_every_state_has_its_sentence(inspector):
    widget, said = inspector.widget(), set()
    for state in states_of(inspector):
        widget.state = state
        block = inspector.blocks[state["block"]]
        assert widget.sentence == inspector.describe(**state)
        assert widget.sentence.startswith(
            f"Patch at row {state['row']}, column {state['column']}: in block {state['block']}"
        )
        named = "mean of" if state["head"] == "mean" else f"head {min(state['head'], block.heads - 1)},"
        assert named in widget.sentence and f"at {inspector.names[state['tap']]} it is most like" in widget.sentence
        said.add(widget.sentence)
    assert len(said) > 20


def test_the_patch_itself_is_not_its_own_likeness(inspector):
    for r, c in np.ndindex(*inspector.grid):
        for tap, name in enumerate(inspector.names):
            h, w = inspector.similarities[tap].shape[:2]
            itself = f"row {r * h // inspector.grid[0]}, column {c * w // inspector.grid[1]}"
            assert not re.search(
                f"at {name} it is most like {itself}[ ,;(]", inspector.describe(row=r, column=c, tap=tap)
            )


def test_figure(inspector):
    figure = inspector.figure()
    titles = [axis.get_title() for axis in figure.axes[:6]]
    assert titles[0] == "view" and titles[-2:] == ["reconstruction error", "other view"]
    first = png(figure)
    assert first.startswith(b"\x89PNG")
    assert png(inspector.figure(row=0, block=0, head=1, tap=0)) != first


def test_without_decoder_and_second_view(run, view):
    plain = Inspector.compute(run.encoder, run.model.normalise, [view[0][0]])
    assert "reconstruction" not in plain.describe() and "view" not in plain.describe()
    assert png(plain.figure()).startswith(b"\x89PNG")
    page = plain.to_html(heads=False)
    assert not re.search("https?:", page) and '"errors"' not in page and plain.describe() in page
