"""Reconstructions: views, decoder, error and attention of a run."""

import numpy as np
import pytest
import torch

import repre_lite as rl
from repre_lite.visualize.kit.capture import capture
from repre_lite.visualize.kit.drawing import png
from repre_lite.visualize.reconstruction import Reconstructions

PNG = b"\x89PNG\r\n\x1a\n"


def test_reconstructions(run):
    images = rl.scenes(range(4)).images
    shown = Reconstructions.compute(run, images)
    assert shown.views.shape == shown.reconstructions.shape == (4, 32, 32, 3)
    assert shown.reconstructions.min() >= 0 and shown.reconstructions.max() <= 1
    image = run.reconstruct(torch.from_numpy(shown.views).permute(0, 3, 1, 2))
    assert np.allclose(
        shown.l1,
        [np.abs(a - b).mean() for a, b in zip(image.permute(0, 2, 3, 1).numpy(), shown.views, strict=True)],
        atol=1e-6,
    )
    figure = shown.figure()
    assert [axis.get_ylabel() for axis in figure.axes[:16:4]] == ["view", "reconstruction", "error", "attention"]
    first = png(figure)
    assert first.startswith(PNG)
    assert first == png(Reconstructions.compute(run, images).figure())
    assert first != png(Reconstructions.compute(run, images, seed=1).figure())
    sentence = shown.describe()
    assert sentence.startswith("4 augmented views") and f"{shown.l1.min():.3f} to {shown.l1.max():.3f}" in sentence
    assert png(Reconstructions.compute(run, images[:1]).figure()).startswith(PNG)


def test_reconstructions_enlarge_each_image(run, move_all):
    view = Reconstructions.compute(run, rl.scenes(range(3), size=32).images)
    move_all(view.widget(), lambda v: view.describe(v["image"]))


def test_attention_is_the_mean_of_the_middle_blocks(run):
    images = rl.scenes(range(2)).images
    shown = Reconstructions.compute(run, images)
    blocks = [
        capture(run.encoder.backbone, x)[0]
        for x in run.model.normalise(torch.from_numpy(shown.views).permute(0, 3, 1, 2))
    ]
    swin = run.recipe.arch == "swin_micro"
    assert shown.blocks == ((2, 3) if swin else (2, 3, 4, 5))  # of a Swin those of one stage
    for mine, each in zip(shown.attention, blocks, strict=True):
        assert np.allclose(mine, sum(each[block].overall() for block in shown.blocks) / len(shown.blocks), atol=1e-6)
    who = "mean patch in blocks 2 to 3" if swin else "class token in blocks 2 to 5"
    row, column = divmod(int(shown.attention[1].argmax()), shown.attention.shape[2])
    assert who in shown.describe() and f"{who} looks most at row {row}, column {column}" in shown.describe(1)
    one = Reconstructions.compute(run, images, blocks=[7])
    assert np.allclose(one.attention[0], blocks[0][7].overall(), atol=1e-6) and "in block 7" in one.describe()


def test_colours_of_attention_show_uniform_attention_in_the_middle():
    views = np.zeros((1, 4, 4, 3))
    uniform = Reconstructions(views, views, np.zeros(1), np.full((1, 4, 4), 1 / 16), (0,))
    assert uniform.attention_top == pytest.approx(2 / 16, rel=0.05)
    hot = np.full((1, 20, 20), 1e-4)
    hot[0, 0, :2], hot[0, 1, :8] = 0.3, 0.02
    assert Reconstructions(views, views, np.zeros(1), hot, (0,)).attention_top == pytest.approx(0.02)


def test_an_encoder_without_attention_has_a_row_less(run, monkeypatch):
    def none(*_):
        raise rl.UserError("no attention")

    monkeypatch.setattr("repre_lite.visualize.reconstruction.capture", none)
    shown = Reconstructions.compute(run, rl.scenes(range(2)).images)
    assert shown.attention is None and "attention" not in shown.describe() + shown.describe(0)
    assert len([axis for axis in shown.figure().axes if axis.images]) == 6
    assert png(shown.figure(0)).startswith(PNG)
