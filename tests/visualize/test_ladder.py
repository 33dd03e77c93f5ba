"""The decoder ladder: its last rung is the decoder's output, the others the best a linear readout can draw."""

import base64
import json
import re

import numpy as np
import pytest
import torch

import repre_lite as rl
from repre_lite.visualize.kit.drawing import png
from repre_lite.visualize.ladder import Ladder


@pytest.fixture(scope="module")
def ladder(run, views, taps):
    return Ladder.compute(run.decoder, taps, views, [f"level {i}" for i in run.encoder.tap_indices], shown=2)


def test_the_last_rung_is_the_decoders_output(run, ladder, taps, views):
    with torch.no_grad():
        plain = run.decoder([tap[:2] for tap in taps]).permute(0, 2, 3, 1).numpy()
    assert ladder.reconstructions.shape == (2, len(taps) - 1, 32, 32, 3)
    assert np.allclose(ladder.reconstructions[:, -1], plain, atol=1e-6)
    assert np.array_equal(ladder.views, views[:2].permute(0, 2, 3, 1).numpy())
    assert np.allclose(ladder.l1[:, -1], [np.abs(a - b).mean() for a, b in zip(plain, ladder.views, strict=True)])
    error = np.square(plain[1].clip(0, 1) - ladder.views[1]).mean()
    assert ladder.psnr[1, -1] == pytest.approx(-10 * np.log10(error), rel=1e-5)


def test_readouts_never_saw_the_images_they_draw(run, ladder, taps, views):
    assert ladder.fitted == 4
    changed = views.clone()
    changed[:2] = 0
    again = Ladder.compute(run.decoder, taps, changed, shown=2)
    assert np.array_equal(again.reconstructions, ladder.reconstructions)
    changed[2:] = 0
    other = Ladder.compute(run.decoder, taps, changed, shown=2)
    assert np.allclose(other.reconstructions[:, :-1], 0, atol=1e-6) and np.array_equal(
        other.reconstructions[:, -1], ladder.reconstructions[:, -1]
    )
    with pytest.raises(rl.UserError, match="give more"):
        Ladder.compute(run.decoder, taps, views, shown=6)


def test_rungs_are_named_from_deep_to_shallow(run, ladder, views, taps):
    indices = run.encoder.tap_indices
    assert ladder.names[0] == f"level {indices[-1]} + level {indices[-2]}"
    assert ladder.names[1:] == tuple(f"+ level {i}" for i in reversed(indices[:-2]))
    single = rl.ReconstructionDecoder.for_encoder(run.encoder, width=8, mode="single")
    assert Ladder.compute(single, taps, views).names == tuple(f"fusion block {i + 1}" for i in range(len(taps) - 1))


def test_figure_says_what_draws_each_rung(ladder):
    figure = ladder.figure(1)
    words = [axis.get_xlabel() for axis in figure.axes]
    assert words.count("linear readout") == len(ladder.names) - 1 and words.count("decoder's head") == 1
    for rung, name in enumerate(ladder.names):
        assert name in [axis.get_title() for axis in figure.axes]
        assert f"L1 {ladder.l1[1, rung]:.3f}\n{ladder.psnr[1, rung]:.1f} dB" in words
    assert png(figure).startswith(b"\x89PNG")


def test_every_state_of_the_widget_and_its_sentence(ladder):
    widget = ladder.widget()
    sentences = set()
    for image in range(2):
        for rung, name in enumerate(ladder.names):
            widget.state = {"image": image, "rung": rung}
            assert widget.sentence == ladder.describe(image, rung)
            assert name in widget.sentence and f"Image {image}" in widget.sentence
            assert ("the decoder's own head" in widget.sentence) == (rung == len(ladder.names) - 1)
            assert f"{ladder.l1[image, rung]:.3f}" in widget.sentence
            sentences.add(widget.sentence)
    assert len(sentences) == 2 * len(ladder.names)
    assert all(
        f"{name} {error:.3f}" in ladder.describe() for name, error in zip(ladder.names, ladder.l1[0], strict=True)
    )


def test_the_page_holds_every_rung(ladder):
    page = ladder.to_html()
    assert set(re.findall('https?://[^"]*', page)) <= {"http://www.w3.org/2000/svg"}
    view = json.loads(re.search(r'<script type="application/json">(.*?)</script>', page)[1])
    packed = view["data"]["reconstructions"]
    images = np.frombuffer(base64.b64decode(packed["data"]), np.uint8).reshape(packed["shape"])
    assert view["kind"] == "ladder" and view["state"] == {"image": 0, "rung": len(ladder.names) - 1}
    assert np.abs(images - 255 * ladder.reconstructions.clip(0, 1)).max() <= 0.51
    assert view["data"]["sentences"][1][0] == ladder.describe(1, 0)
