"""The settings of a transfer run and its named scales; imports no torch."""

from __future__ import annotations

import dataclasses
import functools
import json
import typing
from dataclasses import dataclass
from typing import Any

from ..recipes.recipe import check_values, setting
from ..runtime.errors import UserError

TASKS = ("segmentation", "detection")
HEADS = ("naive", "pup", "mla", "upernet")


@dataclass(frozen=True, kw_only=True)
class TransferRecipe:
    """Every setting of a transfer run, as `Recipe` has those of pre-training. Raises UserError for a value out of range.

    What is None and depends on encoder and images (head, head_width, short_side, crop) is filled in when the run starts.
    """

    # fmt: off
    task: str = setting("segmentation: SETR's heads or UPerNet; detection: Mask R-CNN, or Faster R-CNN if there are no masks",
                        choices=TASKS)
    scale: str = setting("the named recipe", "folder")
    arch: str | None = setting("the encoder of the source random, such as vit_micro; none: the source's own", None)
    image_size: int | None = setting("size in pixels that the encoder is built for, with a timm name or random; none: its "
                                     "own", None, least=8)
    head: str | None = setting("segmentation head; none: pup for a ViT, upernet for a Swin", None, choices=HEADS)
    head_width: int | None = setting("channels of the head; none: 256, or the encoder's width if that is less", None,
                                     least=4)
    auxiliary: float = setting("weight of the auxiliary heads' loss; 0: no such heads", 0.4, least=0)
    frozen: bool = setting("train the head only", False)
    regions: int = setting("regions per image that the detection heads are trained on", 512, least=4, by="scale")
    short_side: int | None = setting("images are resized to this shorter side in pixels; none: three times the size the "
                                     "encoder was trained at, but no more than the images' own shorter side",
                                     None, least=8, by="scale")
    long_side: int | None = setting("longest side after resizing; none: no limit", None, least=8, by="scale")
    crop: int | None = setting("side of the training crops and of the window that slides over an image to be segmented; "
                               "none: twice the size the encoder was trained at", None, least=8, by="scale")
    multi_scale: bool = setting("resize training images at random: to 0.5 to 2 times the short side (segmentation), to a "
                                "short side of 0.6 to 1 times (detection)", False, by="scale")
    photometric: bool = setting("distort colours of training images at random", False, by="scale")
    steps: int = setting("optimiser steps", least=1, by="scale")
    batch_size: int = setting("images per step, over all processes", least=1, by="scale")
    optimiser: str = setting("how weights are updated", "adamw", choices=("adamw", "sgd"), by="scale")
    lr: float = setting("learning rate of the encoder", least=0, by="scale")
    head_rate: float = setting("the head's learning rate, as a multiple of the encoder's", least=0, by="scale")
    schedule: str = setting("schedule of the learning rate; poly: a power; step: divided by ten after 8 and 11 twelfths", "poly",
                            choices=("poly", "step"), by="scale")
    min_lr: float = setting("learning rate at the end of poly", 0.0, least=0, by="scale")
    warmup_steps: int = setting("steps of linear warm-up", 0, least=0, by="scale")
    weight_decay: float = setting("weight decay; vectors and positions have none", 0.05, least=0, by="scale")
    drop_path: float = setting("maximum drop-path rate in the encoder", 0.0, least=0, by="scale")
    ignore_label: int = setting("id of the mask pixels to ignore", 255)
    skip_broken: bool = setting("skip broken object annotations", False, by="scale")
    train_images: int | None = setting("use only this many training images; none: all", None, least=2)
    seed: int = setting("seed of all random numbers", 0, least=0)
    precision: str = setting("auto: bf16 or fp16 on a GPU that has it, else fp32", "auto",
                             choices=("auto", "fp32", "fp16", "bf16", "fp64"))
    # how, not what
    source: str = setting("the encoder", how=True)
    data: str | None = setting("folder of images and annotations; none: the scenes", None, how=True)
    control: bool = setting("also train the same encoder untrained, into OUT/control", False, how=True)
    device: str = setting("where to compute", "auto", choices=("auto", "cpu", "cuda", "mps"), how=True)
    workers: int = setting("processes that read images; 0: none", 2, least=0, how=True)
    checkpoint_every: int | None = setting("steps between checkpoints; none: about ten per run", None, least=1, how=True)
    # fmt: on

    def __post_init__(self) -> None:
        """Check the values."""
        check_values({name: getattr(self, name) for name in FIELDS}, FIELDS, kinds())
        if not 0 <= self.drop_path < 1:
            raise UserError(f"drop_path={self.drop_path}: give a rate, 0 or more and below 1")
        if self.task == "segmentation" and self.batch_size < 2:
            raise UserError(f"batch_size={self.batch_size}: the heads normalise over a batch; give 2 or more")
        if self.data == "":  # pathlib would take it for the working directory
            raise UserError("data= is empty; give the folder of images and annotations")
        if self.scale == "scenes" and self.data is not None:
            raise UserError(f"data={self.data} cannot be used with scale=scenes, which are drawn; use scale=folder")
        if self.scale != "scenes" and self.data is None:
            raise UserError(
                f"scale={self.scale} needs data=, the folder of images and annotations; scale=scenes needs none"
            )


FIELDS = {field.name: field for field in dataclasses.fields(TransferRecipe)}
HOW = tuple(name for name, field in FIELDS.items() if field.metadata["how"])


@functools.cache
def kinds() -> dict[str, Any]:
    """The type of each field."""
    return typing.get_type_hints(TransferRecipe)


# Schedules that nobody here has run: Cityscapes and COCO are as published, and need GPUs.
NEVER_RUN = ("cityscapes", "coco")

# fmt: off
SCALES: dict[str, dict[str, dict[str, Any]]] = {
    "segmentation": {
        "scenes": {"steps": 300, "batch_size": 32, "lr": 3e-4, "head_rate": 5.0, "warmup_steps": 20, "workers": 0},
        "folder": {"steps": 2000, "batch_size": 16, "lr": 1e-4, "head_rate": 10.0, "warmup_steps": 100,
                   "multi_scale": True},
        # SETR's own recipe: SGD without weight decay, poly 0.9 down to 1e-4, 40,000 steps (or steps=80000); lr=0.002 for MLA
        "cityscapes": {"steps": 40_000, "batch_size": 8, "optimiser": "sgd", "lr": 0.01, "head_rate": 10.0, "min_lr": 1e-4,
                       "weight_decay": 0.0, "short_side": 1024, "crop": 768, "multi_scale": True, "photometric": True,
                       "workers": 8},
    },
    "detection": {
        "scenes": {"steps": 500, "batch_size": 16, "lr": 4e-4, "head_rate": 3.0, "schedule": "step", "warmup_steps": 20,
                   "regions": 16, "head_width": 64, "workers": 0},
        "folder": {"regions": 128, "steps": 2000, "batch_size": 8, "lr": 1e-4, "head_rate": 3.0, "schedule": "step", "warmup_steps": 100},
        # Swin's and the paper's: AdamW, 12 epochs of 117,266 images in batches of 16, rate over ten after 8 and 11
        "coco": {"steps": 87_960, "batch_size": 16, "lr": 1e-4, "head_rate": 1.0, "schedule": "step", "warmup_steps": 1000,
                 "drop_path": 0.2, "short_side": 800, "long_side": 1333, "skip_broken": True, "workers": 8},
    },
}
# fmt: on


def transfer_recipe(source: str, task: str, scale: str = "folder", **overrides: Any) -> TransferRecipe:
    """The recipe of a task and a scale for the encoder `source`, with `overrides` of any field of `TransferRecipe`.

    Raises UserError for an unknown name, a scale of the other task, or a value out of range, before anything is loaded.
    """
    if task not in TASKS:
        raise UserError(f"task={task!r}: choose one of {', '.join(TASKS)}")
    if scale not in SCALES[task]:
        raise UserError(f"scale={scale!r}: choose one of {', '.join(SCALES[task])} for task={task}")
    unknown = sorted(set(overrides) - set(FIELDS))
    if unknown:
        raise UserError(f"a transfer recipe has no setting {unknown[0]!r}; its settings are those of TransferRecipe")
    values = SCALES[task][scale] | overrides
    if scale == "cityscapes" and values.get("head") == "mla" and "lr" not in overrides:
        values["lr"] = 0.002
    check_values(values, FIELDS, kinds())
    return TransferRecipe(source=str(source), task=task, scale=scale, **values)


def identity(recipe: TransferRecipe) -> dict[str, Any]:
    """The settings that decide what a run computes, as JSON has them: runs of equal identity are the same run."""
    plain = {name: value for name, value in dataclasses.asdict(recipe).items() if name not in HOW}
    return dict(json.loads(json.dumps(plain)))
