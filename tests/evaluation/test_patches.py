"""Which pixels lie in a patch, its class by hand, edges of known direction, and the features of the taps themselves."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from repre_lite.data.masks import IGNORE, load_masks
from repre_lite.encoder import build_encoder
from repre_lite.evaluation.patches import Patches, edge_orientation, grid_of, patch_counts, place_of, read_patches
from repre_lite.runtime.randomness import fork
from tests.small import TINY

MEAN, STD = (0.3, 0.4, 0.5), (0.2, 0.25, 0.3)


@pytest.mark.parametrize(("shape", "grid"), [((8, 8), 4), ((36, 48), 5), ((7, 10), 4), ((3, 5), 8)])
def test_a_pixel_lies_in_the_patch_that_nearest_upsampling_gives_it(shape, grid):
    cells = torch.arange(float(grid * grid)).view(1, 1, grid, grid)
    expected = F.interpolate(cells, size=shape, mode="nearest")[0, 0].long()
    assert torch.equal(place_of(shape, grid), expected)


def patches_of(counts):
    nothing = torch.zeros(len(counts), 2)
    return Patches(2, (), torch.tensor(counts), nothing, nothing, nothing[:, 0].long(), nothing[:, 0].long())


def test_the_class_of_a_patch_is_that_of_most_of_its_pixels():
    mask = torch.tensor([[0, 0, 1, 1], [0, 2, 1, 1], [IGNORE, IGNORE, 2, 2], [IGNORE, 0, IGNORE, 2]])
    counts = patch_counts(mask, 2, 3)
    assert counts.tolist() == [[3, 0, 1, 0], [0, 4, 0, 0], [1, 0, 0, 3], [0, 0, 3, 1]]
    assert patches_of(counts.tolist()).labels().tolist() == [0, 1, IGNORE, 2]
    assert patches_of([[0, 0, 0, 0]]).labels().tolist() == [IGNORE]  # a patch between two pixels of a small image


def test_edges_of_known_direction():
    x = torch.linspace(0, 8 * math.pi, 64)
    across, down = x.sin()[None].expand(64, 64), x.sin()[:, None].expand(64, 64)  # gradients along x, along y
    both = ((x[None] + x[:, None]) / 2).sin()
    flat = torch.full((64, 64), 0.7)
    pixels = torch.stack([across, down, both, flat])[:, None].expand(4, 3, 64, 64) / 2 + 0.5
    found = edge_orientation(pixels, 4).view(4, 4, 4, 2)[:, 1:3, 1:3].flatten(1, 2)  # inner patches
    for vectors, expected in zip(found, ([1, 0], [-1, 0], [0, 1], [0, 0]), strict=True):
        assert torch.allclose(vectors, torch.tensor(expected, dtype=torch.float32).expand(4, 2), atol=0.1)
    faint = edge_orientation((pixels - 0.5) * 0.01 + 0.5, 4)
    assert faint.abs().max() < 0.02  # hardly an edge


def tree(root, shape=(20, 28), count=3):
    """A tree of noise, 28 pixels wide and 20 high, with two classes."""
    random = np.random.default_rng(0)
    for part in ("train", "val"):
        for i in range(count):
            for folder, values in (
                ("images", random.integers(0, 256, (*shape, 3))),
                ("labels", random.integers(0, 2, shape)),
            ):
                path = root / folder / part / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(values.astype(np.uint8)).save(path)
    return load_masks(root)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("vit_micro", TINY),
        ("swin_micro", {"embed_dim": 12, "depths": (1, 1, 1), "num_heads": (2, 2, 2)}),
    ],
)
def test_features_are_the_taps_of_the_whole_image(name, arguments, tmp_path):
    with fork(0, "encoder"):
        encoder = build_encoder(name, 32, **arguments)
    masks = tree(tmp_path).train
    patches = read_patches(encoder.train(), masks, MEAN, STD)
    grid = encoder.tap_grids[0]
    assert encoder.training and patches.grid == grid == grid_of(encoder)
    assert patches.image.tolist() == [i for i in range(3) for _ in range(grid * grid)]
    x = torch.cat([F.interpolate(masks[i][0][None] / 255, (32, 32), mode="bilinear", antialias=True) for i in range(3)])
    x = (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    with torch.no_grad():
        taps = encoder.eval()(x).taps
    for found, tap in zip(patches.taps, taps, strict=True):
        whole = F.interpolate(tap, (grid, grid), mode="bilinear") if tap.shape[-1] < grid else tap
        assert torch.allclose(found, whole.permute(0, 2, 3, 1).reshape(-1, tap.shape[1]), atol=1e-5)
    for i in range(3):
        assert torch.equal(patches.counts[patches.image == i], patch_counts(masks[i][1], grid, 2))
    corner = 1 / grid - 1
    assert patches.position[0].tolist() == pytest.approx([corner, corner])
    assert patches.position[1].tolist() == pytest.approx([corner + 2 / grid, corner])  # one column to the right

    fewer = read_patches(encoder, masks, MEAN, STD, quota=[5, 2, 9999])
    assert torch.bincount(fewer.image).tolist() == [5, 2, grid * grid]
    assert fewer.rank[:7].tolist() == [0, 1, 2, 3, 4, 0, 1]
    rows = {tuple(row) for row in patches.taps[0][patches.image == 0].tolist()}
    assert {tuple(row) for row in fewer.taps[0][:5].tolist()} <= rows


def test_the_grid_of_many_patches_is_coarser():
    encoder = type("Encoder", (), {"tap_grids": (56, 28, 14, 7)})()
    assert grid_of(encoder) == 32
