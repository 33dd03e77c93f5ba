"""Attention and error against the known object, by hand and on scenes; and what may be looked at."""

import copy

import numpy as np
import pytest
import torch

import repre_lite as rl
from repre_lite.visualize.kit.capture import capture
from repre_lite.visualize.kit.drawing import png
from repre_lite.visualize.truth import Truth, on_object


@pytest.fixture(scope="module")
def scenes():
    return rl.scenes(range(4), size=32)


@pytest.fixture(scope="module")
def truth(run, scenes):
    return Truth.compute(run.encoder, run.model.normalise, scenes, run.decoder)


def test_share_on_the_object_by_hand():
    mask = np.zeros((4, 4), dtype=bool)
    mask[:2, :3] = True
    assert on_object(np.ones((2, 2)), mask) == pytest.approx(6 / 16)  # uniform attention: the object's area
    assert on_object(np.array([[1.0, 0.0], [0.0, 0.0]]), mask) == 1
    assert on_object(np.array([[0.0, 3.0], [0.0, 1.0]]), mask) == pytest.approx(0.75 / 2)  # half of the patch is on it


def test_overlap_by_hand():
    masks, kept = np.zeros((2, 4, 4), dtype=bool), np.zeros((2, 4, 4), dtype=bool)
    masks[:, :2], kept[0, :2], kept[1, 1:3] = True, True, True
    truth = Truth(np.zeros((2, 4, 4, 3)), masks, kept, 0.6, np.array([1.0, 0.5]))
    assert truth.iou.tolist() == pytest.approx([1, 1 / 3]) and truth.area.tolist() == [0.5, 0.5]
    assert "reconstruction" not in truth.describe()
    assert "50% of the image and gets 75% of the attention" in truth.describe()
    assert truth.describe(1).startswith("On scene 1 ") and "IoU of 0.33" in truth.describe(1)


def test_numbers_of_scenes(run, scenes, truth):
    view = scenes.images[2].float() / 255
    normalised = run.model.normalise(view[None])
    error = (run.reconstruct(view[None])[0] - view).abs().mean(0)
    assert truth.inside[2] == pytest.approx(float(error[scenes.masks[2]].mean()), abs=1e-5)
    assert truth.outside[2] == pytest.approx(float(error[~scenes.masks[2]].mean()), abs=1e-5)
    attention = capture(run.encoder.backbone, normalised[0])[0][-1].overall()
    patch = 32 // attention.shape[0]
    pixels = torch.from_numpy(attention).double().repeat_interleave(patch, 0).repeat_interleave(patch, 1)
    assert truth.share[2] == pytest.approx(float(pixels[scenes.masks[2]].sum() / pixels.sum()), abs=1e-5)
    kept = torch.from_numpy(truth.kept[2])
    assert pixels[kept].sum() >= 0.6 * pixels.sum() - 1e-9
    both = (kept & scenes.masks[2]).sum() / (kept | scenes.masks[2]).sum()
    assert truth.iou[2] == pytest.approx(float(both))
    assert f"{truth.inside.mean():.3f} on the object" in truth.describe()
    plain = Truth.compute(run.encoder, run.model.normalise, scenes)
    assert plain.inside is None and np.allclose(plain.share, truth.share)


def test_an_encoder_in_a_half_format(run, scenes, truth):
    encoder, decoder = copy.deepcopy(run.encoder).bfloat16(), copy.deepcopy(run.decoder).bfloat16()
    found = Truth.compute(encoder, lambda x: run.model.normalise(x).bfloat16(), scenes, decoder)
    assert found.inside.tolist() == pytest.approx(truth.inside.tolist(), abs=0.02)


def test_figure(truth):
    figure = truth.figure()
    assert [axis.get_title() for axis in figure.axes] == [f"IoU {value:.2f}" for value in truth.iou]
    assert png(figure).startswith(b"\x89PNG")


def test_one_scene_and_all_of_them(truth, move_all):
    assert [axis.get_title() for axis in truth.figure(2).axes] == [f"IoU {truth.iou[2]:.2f}"]
    move_all(truth.widget(), lambda values: truth.describe(values["image"]))
