"""Levels: colours and readouts of every block."""

import copy

import numpy as np
import pytest
import torch
from torch.optim.swa_utils import AveragedModel

import repre_lite as rl
from repre_lite.visualize.kit.drawing import png
from repre_lite.visualize.levels import Levels, _explained, shared_colours

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def levels(run, views):
    return Levels.compute(run.encoder, views, run.model.normalise(views))


def test_levels_hold_one_map_a_block_and_a_share_of_the_pixels(run, levels, views):
    depth = len(run.encoder.backbone.feature_info)
    assert len(levels.maps) == len(levels.pixels) == depth
    assert levels.tapped == run.encoder.tap_indices and set(levels.tapped) <= set(range(depth))
    assert np.array_equal(levels.image, views[0].permute(1, 2, 0).numpy())
    for colours in levels.maps:
        assert colours.ndim == 3 and colours.shape[2] == 3 and colours.min() == 0 and colours.max() == pytest.approx(1)
    assert all(0 <= share <= 1 for share in levels.pixels)


def test_levels_of_a_wrapped_encoder_in_a_half_format(run, levels, views):
    backbone = AveragedModel(copy.deepcopy(run.encoder.backbone).bfloat16())
    encoder = rl.TappedEncoder(backbone, run.encoder.image_size, tap_blocks=run.encoder.tap_indices)
    found = Levels.compute(encoder, views, run.model.normalise(views).bfloat16())
    assert found.pixels == pytest.approx(levels.pixels, abs=0.05)


def test_levels_figure_and_sentence(levels):
    figure = levels.figure()
    titles = [axis.get_title() for axis in figure.axes]
    assert titles[0] == "image" and len(titles) == len(levels.maps) + 1
    assert [i for i, title in enumerate(titles[1:]) if title.endswith("(tap)")] == list(levels.tapped)
    assert png(figure).startswith(PNG)
    assert (
        f"{len(levels.maps)} {levels.level}s" in levels.describe() and f"{levels.pixels[-1]:.0%}" in levels.describe()
    )
    for block, share in enumerate(levels.pixels):
        sentence = levels.describe(block)
        assert f"{levels.level.capitalize()} {block}," in sentence and f"{share:.0%}" in sentence
        assert ("not tapped" in sentence) == (block not in levels.tapped)


def test_levels_widget(levels, positions, move_all):
    box = levels.widget()
    assert positions(box.controls["block"]) == list(range(len(levels.maps)))
    move_all(box, lambda values: levels.describe(values["block"]))


def test_one_basis_for_all_blocks_of_a_vit(run, views):

    if run.recipe.arch == "swin_micro":
        with pytest.raises(rl.UserError, match="differ in width"):
            Levels.compute(run.encoder, views, views, shared=True)
        return
    levels = Levels.compute(run.encoder, views, run.model.normalise(views), shared=True)
    together = np.stack(levels.maps)
    assert together.min((0, 1, 2)) == pytest.approx(0) and together.max((0, 1, 2)) == pytest.approx(1)
    assert "in one basis" in levels.describe() and png(levels.figure()).startswith(PNG)
    tap = torch.randn(6, 4, 4, generator=torch.Generator().manual_seed(0))
    same, larger, turned = shared_colours([tap, 3 * tap + 1, -tap])  # size and offset do not count, direction does
    assert np.allclose(same, larger, atol=1e-5) and np.allclose(same - 0.5, 0.5 - turned, atol=1e-5)


def test_a_linear_readout_explains_linear_features_and_not_noise():
    smooth = torch.rand(40, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    images = smooth.repeat_interleave(8, 2).repeat_interleave(8, 3)  # one colour a patch
    mixing = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
    assert _explained(torch.einsum("cd,bdhw->bchw", mixing, smooth), images) > 0.95
    assert _explained(torch.randn(40, 6, 4, 4, generator=torch.Generator().manual_seed(2)), images) < 0.05
