"""Tiles: cut and joined again an image is itself, and each tile is reconstructed as the run does it."""

import pytest
import torch

import repre_lite as rl
from repre_lite.visualize.lessons.tiles import cut, join, reconstruct_tiles


def test_joined_tiles_are_the_image():
    image = torch.rand(3, 12, 8)
    tiles = cut(image, 4)
    assert tiles.shape == (6, 3, 4, 4)
    assert torch.equal(tiles[1], image[:, :4, 4:]) and torch.equal(tiles[2], image[:, 4:8, :4])  # row by row
    assert torch.equal(join(tiles, rows=3), image)


def test_a_side_that_does_not_fit_is_refused():
    with pytest.raises(rl.UserError, match="side=5 does not divide an image of 12 x 8"):
        cut(torch.rand(3, 12, 8), 5)


def test_each_tile_is_reconstructed_for_itself(tiny_runs):
    run = rl.load_run(tiny_runs["multi-0"])
    side = run.recipe.image_size
    image = torch.randint(0, 256, (3, side, 2 * side), dtype=torch.uint8)
    whole = reconstruct_tiles(run, image)
    assert whole.shape == image.shape and whole.min() >= 0 and whole.max() <= 1
    second = run.reconstruct(image[None, :, :, side:] / 255)[0].clamp(0, 1)
    assert torch.allclose(whole[:, :, side:], second, atol=1e-5)
