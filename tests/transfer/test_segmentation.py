"""Losses, sliding windows, crops and scores of segmentation, against cases counted by hand."""

import dataclasses
import pickle

import pytest
import torch
from small import TINY

import repre_lite as rl
from repre_lite.data.loaders import Batches
from repre_lite.data.masks import IGNORE, load_masks
from repre_lite.evaluation.source import read_source
from repre_lite.transfer.backbone import DenseBackbone
from repre_lite.transfer.crops import Crops, resized
from repre_lite.transfer.segmentation import Segmentation, Segmenter, batches_of_one_size, starts
from repre_lite.transfer.settings import transfer_recipe

GREY = (0.5,) * 3, (0.25,) * 3


def segmenter(head="naive", auxiliary=0.4):
    torch.manual_seed(0)
    return Segmenter(DenseBackbone(rl.build_encoder("vit_micro", 32, **TINY)), 3, head, 8, auxiliary, *GREY)


def task(source, data, **changes):
    read = read_source(source)
    recipe = transfer_recipe(source, "segmentation", data=str(data), batch_size=2, **changes)
    return Segmentation(recipe, read.encoder, read.mean, read.std)


def test_the_loss_is_the_mean_over_labelled_pixels():
    model = segmenter(auxiliary=0).eval()
    images = torch.randint(256, (2, 3, 36, 44), dtype=torch.uint8)
    masks = torch.randint(3, (2, 36, 44))
    masks[0, :20] = IGNORE
    loss = model(images, masks)["segmentation"]
    chances = model.logits(model.normalise(images)).log_softmax(1)
    wanted = [
        -chances[b, masks[b, y, x], y, x] for b in range(2) for y in range(36) for x in range(44) if masks[b, y, x] >= 0
    ]
    torch.testing.assert_close(loss, torch.stack(wanted).mean())


@pytest.mark.parametrize(("head", "count"), [("naive", 3), ("pup", 4), ("mla", 4)])
def test_auxiliary_heads_add_their_losses(head, count):
    model = segmenter(head).eval()
    images, masks = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8), torch.randint(3, (2, 32, 32))
    losses = model(images, masks)
    assert len(model.auxiliary) == count
    model.weight = 0.8
    torch.testing.assert_close(model(images, masks)["auxiliary"], 2 * losses["auxiliary"])


def test_images_without_a_labelled_pixel_have_loss_zero():
    losses = segmenter()(torch.zeros(2, 3, 32, 32, dtype=torch.uint8), torch.full((2, 32, 32), IGNORE))
    assert all(float(value.detach()) == 0 for value in losses.values())


@pytest.mark.parametrize("head", ["naive", "upernet"])
def test_a_head_of_the_other_kind_of_encoder_is_refused(head):
    arch = "vit_micro" if head == "upernet" else "swin_micro"
    backbone = DenseBackbone(rl.build_encoder(arch, 32))
    with pytest.raises(rl.UserError, match=f"head={head} does not fit this encoder; choose"):
        Segmenter(backbone, 3, head, 8, 0.4, *GREY)


def test_windows_cover_everything_and_average():
    assert starts(768, 768) == [0] and starts(100, 768) == [0]
    assert starts(1024, 768) == [0, 256] and starts(2048, 768) == [0, 512, 1024, 1280]
    model = segmenter().eval()
    images = torch.randn(1, 3, 32, 56)
    parts = [model.logits(images[..., left : left + 32]) for left in starts(56, 32)]
    assert starts(56, 32) == [0, 21, 24]
    slid = model.slide(images, 32)
    torch.testing.assert_close(slid[..., :21], parts[0][..., :21])
    torch.testing.assert_close(slid[..., 24:32], (parts[0][..., 24:] + parts[1][..., 3:11] + parts[2][..., :8]) / 3)
    torch.testing.assert_close(slid[..., 53:], parts[2][..., 29:])
    torch.testing.assert_close(model.slide(images, 56), model.logits(images))


def test_crops_cut_image_and_mask_alike(street):
    images = load_masks(street).train
    crops = Crops(images, Batches(len(images), 4, seed=0), short_side=48, crop=32, multi_scale=True, photometric=False)
    flipped = 0
    for step in range(6):
        x, masks = crops[step]
        assert x.shape == (4, 3, 32, 32) and masks.shape == (4, 32, 32) and x.dtype == torch.uint8
        assert set(masks.unique().tolist()) <= {IGNORE, 0, 1}
        right = (x[:, 0] > 120).long() == masks  # bright pixels are of class 1
        assert right[masks != IGNORE].float().mean() > 0.95
        both = [mask for mask in masks if {0, 1} <= set(mask.unique().tolist())]
        flipped += sum(int((mask[:, -1] == 1).any()) for mask in both)
    assert flipped > 0
    again = pickle.loads(pickle.dumps(crops))[5]  # as a worker process receives them
    assert torch.equal(x, again[0]) and torch.equal(masks, again[1])


def test_small_images_are_padded_by_what_does_not_count(street):
    images = load_masks(street).train
    x, masks = Crops(images, Batches(len(images), 2, seed=0), short_side=20, crop=48)[0]
    assert x.shape[-2:] == (48, 48) and (masks[:, 27:] == IGNORE).all() and (x[:, :, 27:] == 128).all()


def test_resizing_keeps_labels():
    image, mask = resized(torch.zeros(3, 10, 20, dtype=torch.uint8), torch.randint(5, (10, 20)) * 50, 1.5)
    assert (
        image.shape == (3, 15, 30) and mask.shape == (15, 30) and set(mask.unique().tolist()) <= {0, 50, 100, 150, 200}
    )


def test_neighbours_of_one_size_are_batched(street):
    val = load_masks(street).train.at([0, 3, 1, 2, 5])
    assert [tuple(masks.shape) for _, masks in batches_of_one_size(val, range(5))] == [
        (2, 40, 53),
        (1, 37, 41),
        (2, 64, 48),
    ]


@pytest.mark.parametrize("kind", ["right", "wrong", "majority"])
def test_scores_of_known_predictions(kind, vit, street, monkeypatch):
    seen = task(vit, street, steps=2)
    truth = {tuple(image.flatten()[:9].tolist()): mask for image, mask in (seen.source.val[i] for i in range(3))}

    def predict(images, precision=None):
        masks = torch.stack([truth[tuple(image.flatten()[:9].tolist())] for image in images]).clamp(min=0)
        return {"right": masks, "wrong": 1 - masks, "majority": 0 * masks}[kind]

    monkeypatch.setattr(seen, "predict", predict)
    found = seen.evaluate(torch.device("cpu"), None, quiet=True)
    expected = {"right": 1.0, "wrong": 0.0, "majority": found["miou_majority"]}[kind]
    assert found["miou"] == pytest.approx(expected) and set(found["iou"]) == {"dark", "bright"}
    assert found["macc"] == pytest.approx({"right": 1.0, "wrong": 0.0, "majority": 0.5}[kind])
    shares = seen.source.val.shares()
    assert found["miou_majority"] == pytest.approx(float(shares.max()) / 2)


def test_predictions_have_the_size_of_the_image(vit, swin):
    for source in (vit, swin):
        read = read_source(source)
        recipe = transfer_recipe(source, "segmentation", "scenes", train_images=4, batch_size=2)
        seen = Segmentation(recipe, read.encoder, read.mean, read.std)
        seen.recipe = dataclasses.replace(seen.recipe, short_side=40, crop=32)
        seen.model.eval()
        for size in ((37, 53), (20, 90)):
            assert seen.predict(torch.zeros(1, 3, *size, dtype=torch.uint8)).shape == (1, *size)


def test_sizes_for_small_encoders_on_photographs(vit, street):
    seen = task(vit, street, steps=2)
    recipe = seen.recipe
    assert (recipe.head, recipe.head_width) == ("pup", 32)
    assert recipe.short_side == 40 and recipe.crop == 40  # the images' own: three times 32 is more
    larger = dataclasses.replace(seen.source.train, sizes=((360, 480),) * 6)
    from repre_lite.transfer.segmentation import completed

    asked = dataclasses.replace(recipe, short_side=None, crop=None)
    found = completed(asked, read_source(vit).encoder, larger)
    assert (found.short_side, found.crop) == (96, 64)
