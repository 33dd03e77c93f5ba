"""The protocols of `evaluate` by name, each beside its controls."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
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
from .class_tokens import check_blocks
from .dense import score_dense
from .diversity import score_diversity
from .kept import Keeper
from .results import DENSE, enter, evaluated_on, images_of
from .score import scores, unfit
from .source import EncoderSource
from .supervised import FINETUNE_EPOCHS, Task, finetune_top1, linear_sgd_top1

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

    In a run folder each protocol is written to summary.json as soon as it is done with its controls, and all that `dense`
    finds to dense.json; linear-sgd and finetune are resumed there. `scale`, `data`, `train_images`: the images, see `EncoderSource.images`; of a tree of images and
    masks those in images/. `blocks`: see `score_encoder`; `ignore_label`: see `load_masks`; `epochs`: of linear-sgd and
    finetune. Raises UserError if the images or the encoder do not allow a protocol, and Stopped after SIGINT or SIGTERM
    during training in a run folder, when it is saved.
    """
    for name, given, least in (("train_images", train_images, 2), ("blocks", blocks, 1), ("epochs", epochs, 1)):
        if given is not None and given < least:
            raise UserError(f"{name}={given}: give {least} or more")
    if blocks is not None and {"linear", "linear-sgd"} & set(protocols):
        check_blocks(read.encoder.backbone, blocks)
    masks = _masks(read, scale, data, train_images, ignore_label) if "dense" in protocols else None
    images = None
    if set(protocols) - {"dense"}:
        tree = data is not None and is_mask_tree(data)
        images = read.images(*(("folder", f"{data}/images") if tree else (scale, data)), train_images)
    results: dict[str, Any] = {}
    for found in _found(read, protocols, device, images, masks, blocks, epochs):
        probed = found.pop(DENSE, None)
        results |= found
        if read.run is not None and distributed.is_main() and enter(read.run, found, read.steps) and probed:
            files.write_json(read.run / DENSE, probed)
    return results


def _found(
    read: EncoderSource,
    protocols: Sequence[str],
    device: torch.device,
    images: Source | None,
    masks: MaskSource | None,
    blocks: int | None,
    epochs: int | None,
) -> Iterator[dict[str, Any]]:
    """What each protocol finds, entries of summary.json, one protocol after the other; under DENSE the contents of that file."""
    untrained = None if read.random else read.untrained()
    pair = (read.encoder, untrained)
    accuracies = [name for name in protocols if name in ("knn", "linear")]
    trained = [name for name in ("linear-sgd", "finetune") if name in protocols]
    if images is not None and (accuracies or trained) and not unfit(images):
        say(evaluated_on(images))
    if images is not None and accuracies:
        for found in scores(*pair, images, accuracies, device, read.mean, read.std, blocks):
            for name, value in found.items():
                say(f"{name:24s} {value:.4f}" if isinstance(value, float) else f"{name:24s} {value}")
            reset = {"linear_blocks": None} if "linear_top1" in found else {}
            yield reset | images_of(images) | found
    if images is not None and trained:
        yield from _supervised(read, untrained, images, trained, device, epochs, blocks)
    if images is not None and "diversity" in protocols:
        shown = images.val or images.train
        diverse = score_diversity(*pair, shown, device, read.mean, read.std)
        say(diversity.table(diverse, read.encoder.tap_indices))
        yield diverse
    if masks is not None:
        probed = score_dense(*pair, masks, device, read.mean, read.std)
        say(dense.table(probed, read.encoder.tap_indices))
        yield dense.headline(probed) | {"dense_on": probed["images"], DENSE: probed}


def _supervised(
    read: EncoderSource,
    untrained: TappedEncoder | None,
    images: Source,
    protocols: Sequence[str],
    device: torch.device,
    epochs: int | None,
    blocks: int | None,
) -> Iterator[dict[str, Any]]:
    """`linear-sgd` and `finetune`, each of an encoder and of its control."""
    reason = unfit(images)
    if reason:
        say(f"{reason}, so {' and '.join(protocols)} are skipped")
        return
    assert images.labelled is not None and images.val is not None
    keeper = Keeper(read.run)
    task = Task(images.labelled, images.val, read.mean, read.std, epochs, keeper=keeper)
    framework = read.recipe.framework if read.recipe is not None else read.description.get("framework", "none")
    protocol = framework_class(framework if framework in FRAMEWORKS else "none").linear_for(read.encoder)
    if blocks is not None:
        protocol = dataclasses.replace(protocol, blocks=blocks, patches=False)
    for name in protocols:
        key = name.replace("-", "_")
        ran = task.length(protocol.epochs if name == "linear-sgd" else FINETUNE_EPOCHS, read.encoder.image_size)
        found: dict[str, Any] = {f"{key}_epochs": ran} | images_of(images)
        for suffix, held in (("", read.encoder), ("_untrained", untrained)):
            if held is None:
                continue
            network = held.to(device)
            top1 = linear_sgd_top1(network, task, protocol) if name == "linear-sgd" else finetune_top1(network, task)
            found[f"{key}_top1{suffix}"] = top1
            say(f"{f'{key}_top1{suffix}':24s} {top1:.4f}, {ran} epochs")
        yield found
        keeper.forget()


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
