"""Encoders and photographs from anywhere."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

import repre_lite as rl
from repre_lite.runs import RECIPE
from repre_lite.visualize.kit.capture import capture
from repre_lite.visualize.kit.subject import open_encoder, photograph


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
    with pytest.raises(rl.UserError, match="weights could not be fetched"):
        open_encoder("vit_tiny_patch16_224", pretrained=True)
    with pytest.raises(rl.UserError, match="no pretrained weights of that name"):
        open_encoder("vit_micro", pretrained=True)


def test_a_photograph_from_anywhere(tmp_path):
    wide = np.zeros((20, 40, 3), dtype=np.uint8)
    wide[:, 10:30, 1] = 200  # the middle is green
    stream = io.BytesIO()
    Image.fromarray(wide).save(stream, "png")
    (tmp_path / "wide.png").write_bytes(stream.getvalue())
    for source in (stream.getvalue(), tmp_path / "wide.png", str(tmp_path / "wide.png")):
        image = photograph(source, 16)
        assert image.shape == (3, 16, 16) and image.dtype == torch.uint8
        assert (image[1, :, 2:14] > 190).all() and (image[0] == 0).all()
    assert photograph("flower", 48).float().std() > 20
    for source in (b"no image", tmp_path / "missing.png"):
        with pytest.raises(rl.UserError):
            photograph(source, 16)
