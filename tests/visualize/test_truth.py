"""Attention and error against the known object, by hand and on scenes; and what may be looked at."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

import repre_lite as rl
from repre_lite.runs import RECIPE
from repre_lite.visualize.kit.capture import BlockAttention, capture
from repre_lite.visualize.kit.panel import png
from repre_lite.visualize.kit.subject import open_encoder, photograph
from repre_lite.visualize.truth import Truth, looked_at, on_object


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
    assert "50% of the picture and gets 75% of the attention" in truth.describe()
    assert truth.describe(1).startswith("On scene 1 ") and "IoU of 0.33" in truth.describe(1)


def test_who_looks():
    weights = np.full((1, 5, 5), 0.2)
    weights[0, 0] = [0.5, 0.5, 0, 0, 0]
    with_class = BlockAttention(weights, np.arange(5)[None], np.ones((2, 2)))
    assert looked_at(with_class).tolist() == [[0.5, 0], [0, 0]]
    without = BlockAttention(np.eye(4)[None] * 0 + np.array([0.7, 0.3, 0, 0]), np.arange(4)[None], np.ones((2, 2)))
    assert np.allclose(looked_at(without), [[0.7, 0.3], [0, 0]])


def test_numbers_of_scenes(run, scenes, truth):
    view = scenes.images[2].float() / 255
    normalised = run.model.normalise(view[None])
    error = (run.reconstruct(view[None])[0] - view).abs().mean(0)
    assert truth.inside[2] == pytest.approx(float(error[scenes.masks[2]].mean()), abs=1e-5)
    assert truth.outside[2] == pytest.approx(float(error[~scenes.masks[2]].mean()), abs=1e-5)
    seen = looked_at(capture(run.encoder.backbone, normalised[0])[0][-1])
    patch = 32 // seen.shape[0]
    pixels = torch.from_numpy(seen).double().repeat_interleave(patch, 0).repeat_interleave(patch, 1)
    assert truth.share[2] == pytest.approx(float(pixels[scenes.masks[2]].sum() / pixels.sum()), abs=1e-5)
    kept = torch.from_numpy(truth.kept[2])
    assert pixels[kept].sum() >= 0.6 * pixels.sum() - 1e-9
    both = (kept & scenes.masks[2]).sum() / (kept | scenes.masks[2]).sum()
    assert truth.iou[2] == pytest.approx(float(both))
    assert f"{truth.inside.mean():.3f} on the object" in truth.describe()
    plain = Truth.compute(run.encoder, run.model.normalise, scenes)
    assert plain.inside is None and np.allclose(plain.share, truth.share)


def test_figure(truth):
    figure = truth.figure()
    assert [axis.get_title() for axis in figure.axes] == [f"IoU {value:.2f}" for value in truth.iou]
    assert png(figure).startswith(b"\x89PNG")


# -- what is looked at


def test_an_encoder_from_anywhere(tiny_runs):
    run = rl.load_run(tiny_runs["multi-0"])
    view = torch.rand(1, 3, 32, 32)
    for source in (run, run.folder, str(run.folder)):
        encoder, normalise = open_encoder(source)
        assert not encoder.training and torch.equal(normalise(view), run.model.normalise(view))
        assert torch.equal(encoder(view).pooled, run.encoder(view).pooled)
    assert (run.folder / RECIPE).exists()
    encoder, normalise = open_encoder("vit_micro", 32)
    assert encoder.image_size == 32 and open_encoder(encoder)[0] is encoder
    assert torch.allclose(normalise(view)[0, 1], (view[0, 1] - 0.456) / 0.224)
    with pytest.raises(rl.UserError, match="no such encoder"):
        open_encoder("no_such_thing")


def test_pretrained_weights_or_one_clear_line(monkeypatch):
    import timm

    def create(name, pretrained, num_classes, **arguments):
        if name == "vit_tiny_patch16_224":
            raise OSError("no route to host")
        assert pretrained and num_classes == 0
        return original(name.split(".")[0], num_classes=0, **arguments)

    original = timm.create_model
    monkeypatch.setattr(timm, "create_model", create)
    encoder, normalise = open_encoder("vit_small_patch16_224.dino", 32, pretrained=True)
    assert encoder.image_size == 32 and len(capture(encoder.backbone, normalise(torch.rand(3, 32, 32)))[0]) == 12
    with pytest.raises(rl.UserError, match="weights not fetched"):
        open_encoder("vit_tiny_patch16_224", pretrained=True)
    with pytest.raises(rl.UserError, match="no weights of that name"):
        open_encoder("vit_micro", pretrained=True)


def test_a_photograph_from_anywhere(tmp_path):
    wide = np.zeros((20, 40, 3), dtype=np.uint8)
    wide[:, 10:30, 1] = 200  # the middle is green
    stream = io.BytesIO()
    Image.fromarray(wide).save(stream, "png")
    (tmp_path / "wide.png").write_bytes(stream.getvalue())
    for source in (stream.getvalue(), tmp_path / "wide.png", str(tmp_path / "wide.png")):
        picture = photograph(source, 16)
        assert picture.shape == (3, 16, 16) and picture.dtype == torch.uint8
        assert (picture[1, :, 2:14] > 190).all() and (picture[0] == 0).all()
    assert photograph("flower", 48).float().std() > 20
    for source in (b"no picture", tmp_path / "missing.png"):
        with pytest.raises(rl.UserError):
            photograph(source, 16)
