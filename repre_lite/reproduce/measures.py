"""What is measured of a finished run, once, on validation images that training has not seen.

One table: a protocol computes one or several entries of summary.json. A protocol whose module or extra package is not
there is left out, and the reason is printed; a later call of the same command adds what it measures.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from ..data.masks import load_masks
from ..data.scenes import VAL_START, scenes
from ..data.views import Views
from ..evaluation import at_size, knn_top1, linear_top1
from ..evaluation.dense import BEST, find, score_dense
from ..evaluation.diversity import score_diversity
from ..evaluation.linear import LEAST
from ..evaluation.protocols import SCENES as MASKED
from ..evaluation.score import unfit
from ..evaluation.supervised import Task, linear_sgd_top1, readable
from ..frameworks import framework_class
from ..frameworks.base import LinearProtocol
from ..hide import hidden_patches
from ..recipes import Recipe
from ..runs import ENCODER, SUMMARY, read_json
from ..transfer import transfer, transfer_recipe
from .cells import primary
from .subject import Subject
from .supervised import SOURCE

SCENES = 500  # validation scenes whose attention is compared with the object
MASS = 0.6  # of the attention that is kept, as in figure 4
TRANSFER: dict[str, Any] = {}  # settings of transfer runs other than their scale's
TRANSFERRED = "transferred_to"  # the entry of summary.json with the images of tables 2 and 3
DRAWN = 1000  # validation images that are reconstructed


@dataclass(frozen=True)
class Measure:
    """An entry of summary.json. `kind`: % for a fraction of 1, else a format. `better`: 1 if higher is, -1 if lower is."""

    label: str
    kind: str
    better: int


MEASURES = {
    "linear_top1": Measure("linear probe top-1", "%", 1),
    "linear_sgd_top1": Measure("linear evaluation top-1, the framework's published protocol", "%", 1),
    "knn_top1": Measure("k-NN top-1", "%", 1),
    "linear_top1_few": Measure("linear probe top-1, 1/64 of the labels", "%", 1),
    "knn_top1_few": Measure("k-NN top-1, 1/64 of the labels", "%", 1),
    "patch_cosine": Measure("cosine between patches of an image, last tap", ".4f", 0),
    "dense_miou": Measure("dense probe mIoU", "%", 1),
    "dense_miou_few": Measure("dense probe mIoU, 1/64 of the labels", "%", 1),
    "boundary_iou": Measure("dense probe boundary IoU", "%", 1),
    "attention_iou": Measure("attention-mask IoU, middle blocks", "%", 1),
    "reconstruction_error": Measure("reconstruction error (L1)", ".4f", -1),
    "gradient_cosine": Measure("cosine of the two losses' gradients, mean over blocks", ".3f", 0),
    "miou": Measure("mIoU", "%", 1),
    "macc": Measure("mAcc", "%", 1),
    "box_map": Measure("box mAP", "%", 1),
    "mask_map": Measure("mask mAP", "%", 1),
}


def _knn(subject: Subject) -> dict[str, Any]:
    return {"knn_top1": _classify(subject, lambda: knn_top1(*subject.pooled))}


def _linear(subject: Subject) -> dict[str, Any]:
    def score() -> float:
        encoder = subject.run.evaluated
        # at 224 pixels what the published protocol reads, such as the class tokens of DINO's last four blocks
        blocks, patches = readable(encoder, _published(subject)) if encoder.image_size == 224 else (None, False)
        return linear_top1(*(subject.pooled if blocks is None else subject.features(blocks, patches)))[0]

    return {"linear_top1": _classify(subject, score, LEAST)}


def _linear_sgd(subject: Subject) -> dict[str, Any]:
    """The framework's published linear protocol, as its row of table 1 was measured."""
    held, run = subject.run.recipe, subject.run
    if unfit(subject.source):
        return {"linear_sgd_top1": None}
    train, val = subject.source.labelled, subject.source.val
    assert train is not None and val is not None
    task = Task(train, val, run.mean, run.std, seed=held.seed, keeper=subject.keeper)
    return {"linear_sgd_top1": linear_sgd_top1(run.evaluated, task, _published(subject))}


def _published(subject: Subject) -> LinearProtocol:
    run = subject.run
    return framework_class(run.recipe.framework).linear_for(run.evaluated)


def _few(subject: Subject) -> dict[str, Any]:
    return {
        "knn_top1_few": _classify(subject, lambda: knn_top1(*subject.few)),
        "linear_top1_few": _classify(subject, lambda: linear_top1(*subject.few)[0], LEAST * primary()["few"]),
    }


def _classify(subject: Subject, score: Callable[[], float], least: int = 1) -> float | None:
    """A score in [0, 1]; None for images without labels, or fewer than `least` of them to learn from."""
    if unfit(subject.source) or len(subject.source.labelled or ()) < least:
        return None
    return score()


def _diversity(subject: Subject) -> dict[str, Any]:
    run, val = subject.run, subject.source.val or subject.source.train
    return score_diversity(run.evaluated, None, val, subject.device, run.mean, run.std)


def _dense(subject: Subject) -> dict[str, Any]:
    """The logistic probe of all taps, channels standardised: with all labels, and with those of 1/64 of the images."""
    size, run = subject.recipe.image_size, subject.run
    masks = load_masks(None, size, min(subject.recipe.train_images or MASKED, MASKED))
    found = score_dense(run.evaluated, None, masks, subject.device, run.mean, run.std)
    return {
        "dense_miou": find(found, "trained", *BEST),
        "dense_miou_few": find(found, "trained", *BEST, labels=f"1/{primary()['few']}"),
        "boundary_iou": find(found, "trained", *BEST, what="boundary_iou"),
    }


@torch.no_grad()
def _reconstruction(subject: Subject) -> dict[str, Any]:
    """L1 between whole validation images, not augmented, and their reconstructions."""
    error = [(subject.run.reconstruct(part) - part).abs().mean((1, 2, 3)) for part in subject.view(DRAWN).split(100)]
    return {"reconstruction_error": float(torch.cat(error).mean())}


def _attention(subject: Subject) -> dict[str, Any]:
    """Mean IoU of the object and the patches that hold 60 % of the attention, averaged over the middle half of the blocks."""
    from ..visualize.kit.capture import capture, middle_half
    from ..visualize.truth import Truth

    encoder, run = subject.run.evaluated.cpu(), subject.run
    held = scenes(range(VAL_START, VAL_START + SCENES), size=subject.recipe.image_size)
    shift, scale = (torch.tensor(values).view(3, 1, 1) for values in (run.mean, run.std))
    blocks = middle_half(capture(encoder.backbone, (held.images[0].float() / 255 - shift) / scale)[0])
    truth = Truth.compute(encoder, lambda x: (x - shift) / scale, held, mass=MASS, blocks=blocks)
    encoder.to(subject.device)
    return {"attention_iou": float(truth.iou.mean())}


def _conflict(subject: Subject) -> dict[str, Any]:
    """Cosine between the gradients of the two losses, mean over blocks, of one batch of validation images' views."""
    from ..visualize.tug import TugOfWar

    part = (subject.source.val or subject.source.train).subset(subject.recipe.batch_size)
    images = (at_size(part.images[:], subject.recipe.image_size) * 255).round().to(torch.uint8).to(subject.device)
    rows = torch.arange(len(images), device=images.device)
    views = Views(subject.recipe.views, subject.recipe.seed)(images, 0, rows)
    online, share = subject.run.model.framework.online, subject.recipe.hide
    grid = online.image_size // online.patch
    hidden = hidden_patches(subject.recipe.seed, 0, rows, share, grid) if share else None
    return {"gradient_cosine": float(TugOfWar.compute(subject.run.model, views, hidden=hidden).cosine.mean())}


def _transferred(subject: Subject, task: str) -> dict[str, Any]:
    """What `transfer` reaches with the run's encoder, fine-tuned, in a run folder inside of the run's."""
    encoder = read_json(subject.folder / SUMMARY).get(SOURCE) or subject.folder / ENCODER
    held, data = subject.recipe, subject.transfer_data
    published = {"segmentation": "cityscapes", "detection": "coco"}[task]
    scale = "scenes" if data is None else published if held.scale == "imagenet1k" else "folder"
    options = {"data": data, "seed": held.seed, "device": held.device, "precision": held.precision} | TRANSFER
    return transfer(transfer_recipe(str(encoder), task, scale, **options), subject.folder / task, quiet=True)


def _segmentation(subject: Subject) -> dict[str, Any]:
    found = _transferred(subject, "segmentation")
    return {key: found[key] for key in ("miou", "macc")} | {TRANSFERRED: transferred_to(subject.transfer_data)}


def _detection(subject: Subject) -> dict[str, Any]:
    found = _transferred(subject, "detection")
    return {key: found.get(key) for key in ("box_map", "mask_map")} | {
        TRANSFERRED: transferred_to(subject.transfer_data)
    }


def transferred_to(data: str | None) -> str:
    """What a cell's summary says of the images of tables 2 and 3."""
    return "scenes" if data is None else str(Path(data).absolute())


@dataclass(frozen=True)
class Protocol:
    """`keys`: what `compute` enters into summary.json. `needs`: modules that may be missing. `fits`: for which recipes."""

    keys: tuple[str, ...]
    compute: Callable[[Subject], dict[str, Any]]
    needs: tuple[str, ...] = ()
    fits: Callable[[Recipe], bool] = lambda recipe: True


def _with_decoder(recipe: Recipe) -> bool:
    return recipe.reconstruction != "none"


def _with_two_losses(recipe: Recipe) -> bool:
    return recipe.reconstruction in ("single", "multi") and recipe.framework != "none"


def _of_scenes(recipe: Recipe) -> bool:
    return recipe.scale == "scenes"


PROTOCOLS = (
    Protocol(("knn_top1",), _knn),
    Protocol(("linear_top1",), _linear),
    Protocol(("linear_sgd_top1",), _linear_sgd),
    Protocol(("knn_top1_few", "linear_top1_few"), _few),
    Protocol(("patch_cosine",), _diversity),
    Protocol(("reconstruction_error",), _reconstruction, fits=_with_decoder),
    Protocol(("dense_miou", "dense_miou_few", "boundary_iou"), _dense, fits=_of_scenes),
    Protocol(("attention_iou",), _attention, ("matplotlib",), _of_scenes),
    Protocol(("miou", "macc"), _segmentation),
    Protocol(("box_map", "mask_map"), _detection, ("pycocotools",)),
    Protocol(("gradient_cosine",), _conflict, ("matplotlib",), _with_two_losses),
)


def missing(wanted: Collection[str]) -> dict[str, str]:
    """Measure -> why it cannot be computed here, of those `wanted`."""
    known = {key: protocol for protocol in PROTOCOLS for key in protocol.keys}
    found = {}
    for key in wanted:
        absent = [name for name in known[key].needs if not _there(name)] if key in known else None
        if absent is None:
            found[key] = "not part of this version"
        elif absent:
            found[key] = f"needs {', '.join(absent)}"
    return found


def _there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def wanted_of(recipe: Recipe, wanted: Collection[str]) -> list[str]:
    """Those of the measures `wanted` that a run of `recipe` can have here, in the order in which they are computed."""
    gone = missing(wanted)
    return [
        key
        for protocol in PROTOCOLS
        for key in protocol.keys
        if key in wanted and key not in gone and protocol.fits(recipe)
    ]


def next_protocol(wanted: Collection[str]) -> int:
    """The number of the first protocol that computes one of the measures `wanted`, -1 if none does."""
    return next((number for number, protocol in enumerate(PROTOCOLS) if set(protocol.keys) & set(wanted)), -1)
