"""The protocols of `evaluate` by name, each beside its controls."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch

from ..data.image_set import Source
from ..data.masks import MaskSource, is_mask_tree, load_masks
from ..encoder import TappedEncoder
from ..frameworks import FRAMEWORKS, framework_class
from ..runtime import distributed, files
from ..runtime.errors import UserError
from ..runtime.memory import enough_memory
from ..runtime.progress import say
from . import dense, diversity
from .dense import score_dense
from .diversity import score_diversity
from .score import evaluated_on, score_encoder, unfit
from .source import EncoderSource
from .supervised import FINETUNE_EPOCHS, Task, finetune_top1, linear_sgd_top1

DENSE = "dense.json"
MEMORY = "measure fewer images with train_images=, or on device='cpu'"
SCENES = 1_000  # scenes that dense probes learn from, unless there are fewer


@enough_memory(MEMORY)
def run_protocols(
    read: EncoderSource,
    protocols: Sequence[str],
    device: torch.device,
    scale: str | None = None,
    data: str | None = None,
    train_images: int | None = None,
    blocks: int | None = None,
    ignore_label: int = 255,
    epochs: int | None = None,
) -> dict[str, Any]:
    """Measure an encoder by `protocols`, print what is found, and return it as entries of summary.json.

    `scale`, `data`, `train_images`: the images, see `EncoderSource.images`; of a tree of images and masks those in
    images/. `blocks`: see `score_encoder`; `ignore_label`: see `load_masks`; `epochs`: of linear-sgd and finetune. All that `dense` finds is written to
    dense.json in the run folder. Raises UserError if the images do not allow what is asked.
    """
    for name, given, least in (("train_images", train_images, 2), ("blocks", blocks, 1), ("epochs", epochs, 1)):
        if given is not None and given < least:
            raise UserError(f"{name}={given}: give {least} or more")
    results: dict[str, Any] = {}
    untrained = None if read.random else read.untrained()
    masks = _masks(read, scale, data, train_images, ignore_label) if "dense" in protocols else None
    accuracies = [name for name in protocols if name in ("knn", "linear")]
    trained = [name for name in ("linear-sgd", "finetune") if name in protocols]
    if accuracies or trained or "diversity" in protocols:
        tree = data is not None and is_mask_tree(data)
        images = read.images(*(("folder", f"{data}/images") if tree else (scale, data)), train_images)
        if (accuracies or trained) and not unfit(images):
            say(evaluated_on(images))
    if accuracies:
        found = score_encoder(read.encoder, untrained, images, accuracies, device, read.mean, read.std, blocks)
        for name, value in found.items():
            say(f"{name:24s} {value:.4f}" if isinstance(value, float) else f"{name:24s} {value}")
        if found:
            results |= {"linear_blocks": None, "evaluated_on": evaluated_on(images)} | found
    if trained:
        results |= _supervised(read, untrained, images, trained, device, epochs, blocks)
    if "diversity" in protocols:
        shown = images.val or images.train
        found = score_diversity(read.encoder, untrained, shown, device, read.mean, read.std)
        say(diversity.table(found, read.encoder.tap_indices))
        results |= found
    if masks is not None:
        found = score_dense(read.encoder, untrained, masks, device, read.mean, read.std)
        say(dense.table(found, read.encoder.tap_indices))
        results |= dense.headline(found) | {"dense_on": found["images"]}
        if read.run is not None and distributed.is_main():
            files.write_json(read.run / DENSE, found)
    return results


def _supervised(
    read: EncoderSource,
    untrained: TappedEncoder | None,
    images: Source,
    protocols: Sequence[str],
    device: torch.device,
    epochs: int | None,
    blocks: int | None,
) -> dict[str, Any]:
    """`linear-sgd` and `finetune` of an encoder and of its control."""
    reason = unfit(images)
    if reason:
        say(f"{reason}, so {' and '.join(protocols)} are skipped")
        return {}
    assert images.labelled is not None and images.val is not None
    task = Task(images.labelled, images.val, read.mean, read.std, epochs)
    framework = read.recipe.framework if read.recipe is not None else read.description.get("framework", "none")
    protocol = framework_class(framework if framework in FRAMEWORKS else "none").linear_for(read.encoder)
    if blocks is not None:
        protocol = dataclasses.replace(protocol, blocks=blocks, patches=False)
    results: dict[str, Any] = {}
    for suffix, network in (("", read.encoder), ("_untrained", untrained)):
        for name in protocols if network is not None else ():
            assert network is not None
            ran = task.length(protocol.epochs if name == "linear-sgd" else FINETUNE_EPOCHS, network.image_size)
            network = network.to(device)
            top1 = linear_sgd_top1(network, task, protocol) if name == "linear-sgd" else finetune_top1(network, task)
            key = name.replace("-", "_")
            results |= {f"{key}_top1{suffix}": top1, f"{key}_epochs": ran}
            say(f"{f'{key}_top1{suffix}':24s} {top1:.4f}, {ran} epochs")
    return results | {"evaluated_on": evaluated_on(images)}


def _masks(
    read: EncoderSource, scale: str | None, data: str | None, train_images: int | None, ignore_label: int
) -> MaskSource:
    """The images with masks to measure on: the tree `data`, or the scenes."""
    size = read.encoder.image_size
    if data is not None:
        return load_masks(data, size, train_images, ignore_label)
    if (scale or (read.recipe.scale if read.recipe is not None else None)) != "scenes":
        raise UserError(
            "protocol=dense needs a mask for each image; give data=, a folder that holds images/ and labels/, or "
            "scale=scenes"
        )
    return load_masks(None, size, min(train_images or SCENES, SCENES))
