"""Which patches are hidden: how many, by what, and what is left of the image."""

from unittest import mock

import torch

from repre_lite.hide import hidden_patches, hide
from repre_lite.recipes import recipe
from repre_lite.training.loop import Training


def test_every_image_hides_the_same_share():
    hidden = hidden_patches(0, 3, torch.arange(50), 0.6, 14)
    assert hidden.shape == (50, 14, 14) and hidden.dtype == torch.bool
    assert hidden.flatten(1).sum(1).tolist() == [round(0.6 * 196)] * 50
    assert (
        not hidden_patches(0, 3, torch.arange(5), 0.0, 14).any() and hidden_patches(0, 3, torch.arange(5), 1, 14).all()
    )


def test_every_patch_is_hidden_equally_often_and_by_itself():
    hidden = hidden_patches(0, 0, torch.arange(4000), 0.25, 4).flatten(1).double()
    assert (hidden.mean(0) - 0.25).abs().max() < 0.03
    together = (hidden.T @ hidden / 4000)[~torch.eye(16, dtype=torch.bool)]
    assert (together - 4 * 3 / (16 * 15)).abs().max() < 0.02  # without replacement


def test_hidden_patches_depend_on_seed_step_and_row_and_not_on_the_batch():
    rows = torch.arange(8)
    whole = hidden_patches(0, 3, rows, 0.5, 8)
    assert torch.equal(torch.cat([hidden_patches(0, 3, part, 0.5, 8) for part in rows.split(3)]), whole)
    for other in (hidden_patches(1, 3, rows, 0.5, 8), hidden_patches(0, 4, rows, 0.5, 8)):
        assert not torch.equal(other, whole)
    assert not torch.equal(whole[0], whole[1])
    assert torch.equal(hidden_patches(0, torch.tensor(3), rows, 0.5, 8), whole)


def test_hide_covers_whole_patches():
    images, hidden = torch.rand(2, 3, 6, 6) + 1, torch.zeros(2, 3, 3, dtype=torch.bool)
    hidden[0, 1, 2] = True
    covered = hide(images, hidden)
    assert not covered[0, :, 2:4, 4:6].any() and torch.equal(covered[1], images[1])
    assert int((covered == 0).sum()) == 3 * 4


def test_a_step_hides_what_seed_step_and_row_say_and_nothing_by_default():
    small = {"batch_size": 4, "train_images": 8, "steps": 2, "decoder_width": 8, "method": {"hidden": 16, "out": 8}}
    plain, hiding = (Training(recipe("scenes", hide=share, **small)) for share in (0.0, 0.5))
    assert plain.hidden() is None
    model = hiding.model
    with mock.patch.object(model.framework, "encode", wraps=model.framework.encode) as encode:
        _, views = hiding.advance()
    rows = hiding.batches.rows(0)[1]
    grid = model.framework.online.tap_grids[0]
    expected = hide(model.normalise(views[0]), hidden_patches(0, 0, rows, 0.5, grid))
    assert torch.equal(encode.call_args.args[0][0], expected)
    assert torch.equal(encode.call_args.args[0][1], model.normalise(views[1]))
