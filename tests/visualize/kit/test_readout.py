"""The linear readout, against least squares."""

import numpy as np
import torch
from torch.nn import functional as F

from repre_lite.visualize.kit.readout import Readout


def test_a_readout_finds_a_linear_head_and_matches_least_squares():
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(8, 5, 4, 4, generator=generator, dtype=torch.float64)
    head = torch.nn.Conv2d(5, 3 * 4, 1).double()
    with torch.no_grad():
        images = F.pixel_shuffle(head(maps), 2)  # (8, 3, 8, 8)
    readout = Readout.fit(maps, images)
    assert np.allclose(readout.reconstruct(maps), images, atol=0.05)  # the ridge shrinks a little
    noise = torch.rand(8, 3, 8, 8, generator=generator)
    x = maps.permute(0, 2, 3, 1).reshape(-1, 5).numpy()
    y = F.pixel_unshuffle(noise, 2).permute(0, 2, 3, 1).reshape(-1, 12).double().numpy()
    centred = x - x.mean(0)
    ridge = 1e-2 * np.diag(centred.T @ centred).mean() * np.eye(5)
    slow = np.linalg.lstsq(
        np.concatenate([centred, np.linalg.cholesky(ridge).T]), np.concatenate([y - y.mean(0), np.zeros((5, 12))])
    )[0]
    assert np.allclose(Readout.fit(maps, noise).weight, slow)
