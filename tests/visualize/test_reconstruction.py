"""Reconstructions: views, decoder, error and attention of a run."""

import numpy as np
import torch

import repre_lite as rl
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
