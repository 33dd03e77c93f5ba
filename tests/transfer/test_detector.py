"""Pyramids, anchors, draws and boxes of the detectors, on a ViT and on a Swin."""

import pytest
import torch
from small import TINY, TINY_SWIN

import repre_lite as rl
from repre_lite.data.loaders import Batches
from repre_lite.transfer.backbone import DenseBackbone
from repre_lite.transfer.detection import Detections, flipped, resized
from repre_lite.transfer.detector import AsItIs, Detector, Draw
from repre_lite.transfer.objects import scene_objects
from repre_lite.transfer.pyramid import Pyramid

GREY = (0.5,) * 3, (0.25,) * 3


def pyramid(arch, **changes):
    arguments = TINY if arch == "vit_micro" else TINY_SWIN
    return Pyramid(DenseBackbone(rl.build_encoder(arch, 32, **(arguments | changes))), 8)


@pytest.mark.parametrize(
    ("arch", "changes", "strides"),
    [
        ("vit_micro", {}, (1, 2, 4, 8, 16)),
        ("vit_micro", {"patch_size": 16}, (4, 8, 16, 32, 64)),
        ("vit_micro", {"patch_size": 2}, (1, 2, 4, 8)),
        ("swin_micro", {}, (2, 4, 8, 16)),
    ],
)
def test_a_pyramid_halves_from_level_to_level(arch, changes, strides):
    made = pyramid(arch, **changes)
    assert made.strides == strides
    levels = made(torch.randn(2, 3, 64, 96))
    for level, stride in zip(levels.values(), strides, strict=True):
        assert level.shape == (2, 8, -(-64 // stride), -(-96 // stride))


def test_what_all_patches_share_does_not_reach_a_vits_levels():
    made = pyramid("vit_micro")
    maps = [torch.randn(4, made.backbone.widths[-1], 4, 4)]
    shared = 100 * torch.randn(1, made.backbone.widths[-1], 1, 1)
    images = torch.zeros(4, 3, 32, 32)
    made.backbone.forward = lambda _: maps
    alone = made(images)
    made.backbone.forward = lambda _: [maps[0] * 3 + shared]
    for name, level in made(images).items():
        torch.testing.assert_close(level, alone[name], atol=1e-3, rtol=1e-3)
    before = made.standardise.running_mean.clone()
    made.eval()(images)  # what was learned in training is used, and stays
    assert torch.equal(before, made.standardise.running_mean)


def test_patches_of_odd_sizes_are_refused():
    with pytest.raises(rl.UserError, match="patch_size=6: detection needs patches of 2, 4, 8, 16"):
        Pyramid(DenseBackbone(rl.build_encoder("vit_micro", 36, 6, **TINY)), 8)


def test_anchors_and_pooling_are_the_published_ones_at_stride_4():
    detector = Detector(pyramid("vit_micro", patch_size=16), 3, True, *GREY, short_side=64, long_side=None).model
    assert detector.rpn.anchor_generator.sizes == ((32,), (64,), (128,), (256,), (512,))
    pool = detector.roi_heads.box_roi_pool
    assert (pool.canonical_scale, pool.canonical_level) == (224, 4)
    assert detector.roi_heads.box_head.fc6.in_features == 8 * 49


@pytest.mark.parametrize("masks", [True, False])
def test_every_parameter_gets_a_gradient(masks):
    detector = Detector(pyramid("swin_micro"), 10, masks, *GREY, short_side=32, long_side=None, regions=8)
    images = [torch.rand(3, 32, 32), torch.rand(3, 40, 32)]
    target = {"boxes": torch.tensor([[4.0, 4.0, 20.0, 28.0]]), "labels": torch.tensor([3])}
    targets = [
        target | ({"masks": torch.ones(1, *image.shape[1:], dtype=torch.uint8)} if masks else {}) for image in images
    ]
    losses = detector(images, targets, 0, torch.arange(2))
    assert ("loss_mask" in losses) == masks
    torch.stack([*losses.values()]).sum().backward()
    assert [name for name, parameter in detector.named_parameters() if parameter.grad is None] == []


def test_draws_depend_on_the_row_alone():
    draw = Draw(count=6, share=0.5, seed=0, purpose=201)
    matched = [torch.tensor([1, 0, -1, 2, 0, 0, 3, 1, 0, 0, -2, 5]), torch.tensor([0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0])]
    draw.at(3, torch.tensor([0, 1]))
    positives, negatives = draw(matched)
    assert [int(x.sum()) for x in positives] == [3, 1] and [int(x.sum()) for x in negatives] == [3, 5]
    assert (draw.taken, draw.positive) == (12, 4)
    assert (matched[0][positives[0].bool()] >= 1).all() and (matched[0][negatives[0].bool()] == 0).all()
    draw.at(3, torch.tensor([1]))
    alone, _ = draw(matched[1:])
    assert torch.equal(alone[0], positives[1]) and draw.taken == 6
    draw.at(4, torch.tensor([0, 1]))
    assert not all(torch.equal(a, b) for a, b in zip(draw(matched)[1], negatives, strict=True))


def test_boxes_and_masks_move_with_the_image():
    mask = torch.zeros(1, 8, 10, dtype=torch.bool)
    mask[0, 2:6, 1:4] = True
    image = mask.to(torch.uint8).expand(3, 8, 10) * 255
    target = {"boxes": torch.tensor([[1.0, 2.0, 4.0, 6.0]]), "labels": torch.tensor([1]), "masks": mask}
    large, changed = resized(image, target, 16, None)
    assert large.shape == (3, 16, 20) and changed["boxes"].tolist() == [[2, 4, 8, 12]]
    assert changed["masks"][0, 4:12, 2:8].all() and changed["masks"].sum() == 48
    assert resized(image, target, 16, 15)[0].shape == (3, 12, 15)
    turned, changed = flipped(image, target)
    assert changed["boxes"].tolist() == [[6, 2, 9, 6]] and changed["masks"][0, 2:6, 6:9].all()
    assert torch.equal(turned[0] > 0, changed["masks"][0])


def test_batches_depend_on_seed_step_and_row():
    images = scene_objects(32, 6).train
    seen = Detections(images, Batches(6, 4, seed=0), 32, 40, True, True)
    pixels, targets, rows = seen[2]
    again, targets_again, _ = Detections(images, Batches(6, 4, seed=0), 32, 40, True, True)[2]
    assert rows.tolist() == [0, 1, 2, 3]
    assert {min(image.shape[1:]) for image in pixels} <= {round(32 * (0.6 + 0.04 * i)) for i in range(11)}
    for image, target, same, same_target in zip(pixels, targets, again, targets_again, strict=True):
        assert torch.equal(image, same) and torch.equal(target["boxes"], same_target["boxes"])
        assert target["labels"].min() >= 1 and target["masks"].shape[1:] == image.shape[1:]
        inside = torch.zeros_like(target["masks"][0])
        x0, y0, x1, y1 = target["boxes"][0].round().long().tolist()
        inside[max(0, y0 - 1) : y1 + 1, max(0, x0 - 1) : x1 + 1] = True
        assert not (target["masks"][0] & ~inside).any()


@pytest.mark.parametrize("arch", ["vit_micro", "swin_micro"])
def test_boxes_are_computed_in_full_precision_under_autocast(arch, monkeypatch):
    made = pyramid(arch)
    detector = Detector(made, 3, True, *GREY, short_side=32, long_side=None, regions=8)
    formats = []
    backbone = made.backbone.forward

    def watched(images):
        maps = backbone(images)
        formats.append((maps[-1] @ maps[-1].mT).dtype)
        return maps

    monkeypatch.setattr(made.backbone, "forward", watched)
    filtered = detector.model.rpn.filter_proposals

    def proposals(boxes, *rest):
        formats.append(boxes.dtype)
        return filtered(boxes, *rest)

    monkeypatch.setattr(detector.model.rpn, "filter_proposals", proposals)
    target = {"boxes": torch.tensor([[4.0, 4.0, 20.0, 28.0]]), "labels": torch.tensor([2])}
    target |= {"masks": torch.ones(1, 32, 32, dtype=torch.uint8)}
    with torch.autocast("cpu", torch.bfloat16):
        losses = detector([torch.rand(3, 32, 32)] * 2, [target] * 2, 0, torch.arange(2))
        found = detector.eval().detect([torch.rand(3, 32, 32)])[0]
    assert formats == [torch.bfloat16, torch.float32] * 2
    assert {loss.dtype for loss in losses.values()} == {torch.float32} == {found["boxes"].dtype, found["scores"].dtype}
    detector.train()([torch.rand(3, 32, 32)] * 2, [target] * 2, 0, torch.arange(2))
    assert formats[4:] == [torch.float32] * 2  # without autocast


@pytest.mark.parametrize(
    ("size", "long_side"), [((128, 160), None), ((128, 160), 36), ((20, 30), None), ((32, 40), None)]
)
def test_images_are_resized_for_evaluation_as_they_were_for_training(size, long_side):
    image = torch.randint(256, (3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    trained, _ = resized(image, {"boxes": torch.zeros(0, 4)}, 32, long_side)
    seen, _ = AsItIs(32, long_side or 320, [0.0] * 3, [1.0] * 3).eval().resize(image / 255)
    assert seen.shape == trained.shape
    torch.testing.assert_close(seen, trained / 255, atol=2 / 255, rtol=0)  # bytes were rounded
