"""A recipe: every setting of a run, each stated once with its help, its range and its role."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import os
import types
import typing
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ..data.view import View
from ..frameworks import FRAMEWORKS, framework_class
from ..runtime.errors import UserError

SIZES = ("full", "small")


def setting(
    text: str,
    default: Any = dataclasses.MISSING,
    *,
    factory: Any = dataclasses.MISSING,
    choices: Collection[str] | None = None,
    least: float | None = None,
    by: str | None = None,
    how: bool = False,
) -> Any:
    """A field of `Recipe`; the only place where an option is described.

    `text`: its help. `choices`: the allowed words. `least`: the lowest allowed number. `by`: what decides a value that is
    not given ("scale" or "framework"), instead of the default. `how`: it decides only how a run computes, so a run may be
    resumed with another value; all others decide what it computes.
    """
    metadata = {"help": text, "choices": choices, "least": least, "by": by, "how": how}
    if factory is not dataclasses.MISSING:
        return dataclasses.field(default_factory=factory, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Every setting of a run. Raises UserError for a value out of range.

    A type with `None` marks a setting that can be switched off; its help says what None means.
    """

    # fmt: off
    scale: str = setting("the named recipe")
    size: str = setting("small: the CPU-sized version of the scale, always used for scenes unless set",
                        choices=SIZES, by="scale")
    framework: str = setting("contrastive framework; none: reconstruction alone", choices=FRAMEWORKS)
    arch: str = setting(
        "vit_micro vit_tiny vit_small vit_base swin_micro swin_tiny, or the name of a timm ViT or Swin", by="scale")
    reconstruction: str = setting(
        "what is reconstructed from: all taps, the last one, nothing; detached: all taps, without gradient to the encoder",
        "multi", choices=("multi", "single", "none", "detached"))
    image_size: int = setting("side of an image in pixels", least=8, by="scale")
    patch_size: int | None = setting("side of a patch in pixels; none: what suits the image size", None, least=1)
    train_images: int | None = setting("use only this many training images; none: all", None, least=2, by="scale")
    epochs: int = setting("passes over the training images", least=1, by="scale")
    steps: int | None = setting("optimiser steps; shortens the run and its schedules; none: all epochs", None, least=1)
    batch_size: int = setting("images per step, over all processes", least=2, by="scale")
    base_lr: float = setting("learning rate for a batch of 256; the learning rate is base_lr * batch_size / 256",
                             least=0, by="framework")
    lr: float | None = setting("the learning rate itself; none: from base_lr", None, least=0)
    min_lr: float = setting("learning rate at the end of the schedule", 0.0, least=0, by="framework")
    warmup_epochs: float = setting("epochs of linear warm-up", least=0, by="scale")
    weight_decay: float = setting("weight decay of AdamW", least=0, by="framework")
    weight_decay_end: float | None = setting("weight decay at the end, reached along a half cosine; none: constant",
                                             None, least=0, by="framework")
    betas: tuple[float, float] = setting("AdamW's averaging coefficients", (0.9, 0.999))
    clip_norm: float | None = setting("maximum gradient norm of the framework's parameters; none: no clipping", None,
                                      least=0, by="framework")
    clip_each: bool = setting("clip each parameter tensor by itself instead of all together", False, by="framework")
    drop_path: float = setting("maximum drop-path rate in the online encoder", 0.0, least=0, by="framework")
    encoder_init: str = setting("initialisation of the encoder: timm's, or the published one of MoCo v3 or DINO", "timm",
                                choices=("timm", "moco_v3", "dino"), by="framework")
    positions: str = setting("position embedding of a ViT", "learned", choices=("learned", "sincos"), by="framework")
    freeze_patch_projection: bool = setting("do not train the patch projection", False, by="framework")
    taps: int | None = setting("number of taps, K; none: 4, or one for each stage of a Swin", None, least=2)
    tap_blocks: tuple[int, ...] | None = setting("blocks to tap, counted from 0, such as 2,5,8,11; none: spread evenly",
                                                 None)
    fusion: str = setting("the decoder's fusion layers", "conv", choices=("conv", "transformer"))
    fusion_layers: int = setting("fusion layers in each fusion block", 2, least=1)
    decoder_width: int | str = setting("light: a few per cent of a step; full: the encoder's width; or a number of "
                                       "channels", "light")
    decoder_init: str = setting("initialisation of the decoder's convolutions", "he", choices=("he", "torch"))
    reconstruct_views: str = setting("which views are reconstructed", "1", choices=("1", "both"))
    hide: float = setting("share of view 1's patches that the encoder sees as the mean colour", 0.0, least=0)
    weighting: str = setting("uncertainty (learned), or fixed:L1,L2", "uncertainty")
    weighting_lr: float = setting("learning rate of the log-variances", 1e-2, least=0)
    seed: int = setting("seed of all random numbers", 0, least=0)
    precision: str = setting("auto: bf16 or fp16 on a GPU that has it, else fp32", "auto",
                             choices=("auto", "fp32", "fp16", "bf16", "fp64"))
    views: tuple[View, ...] = setting("how each view of an image is made; the first one is reconstructed", by="framework")
    method: dict[str, Any] = setting("the framework's own settings: widths, temperature, ...", factory=dict, by="framework")
    encoder: dict[str, Any] = setting("further arguments of timm.create_model", factory=dict, by="framework")
    images: str = setting("images above 96 pixels: decode each one in every epoch, or once into a cache", "decode",
                          choices=("decode", "cached"))

    # how, not what
    data: str | None = setting("folder of images; none: generated or downloaded", None, how=True)
    device: str = setting("where to compute", "auto", choices=("auto", "cpu", "cuda", "mps"), how=True)
    compile: bool = setting("compile the step (slower to start)", False, how=True)
    activation_checkpointing: bool = setting("larger batches in the same memory, for about a sixth more computation",
                                             False, how=True)
    checkpoint_every: int | None = setting("steps between checkpoints; none: about twenty per run", None, least=1,
                                           how=True)
    snapshots: int = setting("save encoder and decoder this many times during the run", 0, least=0, how=True)
    skip_unreadable: bool = setting("replace an image that cannot be read by the next one", False, how=True)
    max_pixels: int | None = setting("largest image that is opened, in pixels; none: Pillow's limit", None, least=1,
                                     how=True)
    workers: int = setting("processes that read images above 96 pixels; 0: none", 4, least=0, how=True)
    # fmt: on

    def __post_init__(self) -> None:
        """Check the values."""
        check(self)

    @property
    def peak_lr(self) -> float:
        """The learning rate at the end of the warm-up."""
        return self.lr if self.lr is not None else self.base_lr * self.batch_size / 256


FIELDS = {field.name: field for field in dataclasses.fields(Recipe)}
HOW = tuple(name for name, field in FIELDS.items() if field.metadata["how"])


@functools.cache
def kinds() -> dict[str, Any]:
    """The type of each field."""
    return typing.get_type_hints(Recipe)


def optional(kind: Any) -> bool:
    """Whether None is a value of a type."""
    return isinstance(kind, types.UnionType) and type(None) in typing.get_args(kind)


def check_values(
    values: Mapping[str, Any],
    fields: Mapping[str, dataclasses.Field[Any]] | None = None,
    hints: Mapping[str, Any] | None = None,
) -> None:
    """Raise UserError for the first of some settings whose value by itself is out of range.

    `fields`, `hints`: fields and their types of another dataclass whose fields are made by `setting`, instead of Recipe's.
    """
    fields, hints = fields or FIELDS, hints or kinds()
    for name, value in values.items():
        choices, least = fields[name].metadata["choices"], fields[name].metadata["least"]
        if value is None:
            if not optional(hints[name]):
                raise UserError(f"{name}=None: this setting cannot be switched off; leave it out for its default")
            continue
        if choices is not None and value not in choices:
            raise UserError(f"{name}={value!r}: choose one of {', '.join(choices)}")
        if least is None:
            if not fits(value, hints[name]):
                raise UserError(f"{name}={value!r}: the wrong kind of value; give {wanted(hints[name])}")
            continue
        whole = hints[name] in (int, int | None)
        number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        if not (number and least <= value < math.inf):
            raise UserError(f"{name}={value!r}: give a {'whole ' * whole}number, {least} or more")


def fits(value: Any, kind: Any) -> bool:
    """Whether `value` is of a field's type; a list passes for a tuple, a path for a text, a whole number for any."""
    if isinstance(kind, types.UnionType):
        return any(fits(value, one) for one in typing.get_args(kind))
    origin, inner = typing.get_origin(kind) or kind, typing.get_args(kind)
    if origin is tuple:
        return isinstance(value, tuple | list) and all(fits(one, inner[0]) for one in value)
    allowed: Any = {float: int | float, str: str | os.PathLike}.get(origin, origin)
    return isinstance(value, allowed) and (origin is bool or not isinstance(value, bool))


def wanted(kind: Any) -> str:
    """A field's type in words, for a message."""
    words = {
        bool: "True or False",
        str: "a text",
        dict[str, Any]: "a dictionary of names and values",
        tuple[float, float]: "two numbers, such as (0.9, 0.95)",
        tuple[int, ...]: "whole numbers, such as (2, 5, 8, 11)",
        tuple[View, ...]: "a tuple of View",
        int: "a whole number",
    }
    kinds = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    return " or ".join(words[one] for one in kinds if one is not type(None))


ELSEWHERE = {  # arguments of timm that follow from other settings
    "img_size": "follows from the image size; give image_size=",
    "patch_size": "a setting of its own; give patch_size=",
    "drop_path_rate": "a setting of its own; give drop_path=",
    "num_classes": "an encoder has no classifier; leave it out",
}


def check(recipe: Recipe) -> None:
    """Raise UserError for the first setting that is out of range or does not fit another."""
    check_values({name: getattr(recipe, name) for name in FIELDS})
    if recipe.data == "":  # pathlib would take it for the working directory
        raise UserError("data= is empty; give the folder that holds the images")
    if not 0 <= recipe.hide < 1:
        raise UserError(f"hide={recipe.hide}: give a share, 0 or more and below 1")
    if recipe.clip_norm == 0:
        raise UserError("clip_norm=0 would keep nothing of the gradient; give none to switch clipping off")
    if not 0 <= recipe.drop_path < 1:
        raise UserError(f"drop_path={recipe.drop_path}: give a rate, 0 or more and below 1")
    if len(recipe.betas) != 2 or not all(0 <= beta < 1 for beta in recipe.betas):
        raise UserError(f"betas={recipe.betas}: give two numbers, 0 or more and below 1")
    width = recipe.decoder_width
    if width not in ("light", "full") and (isinstance(width, str) or width < 1):
        raise UserError(f"decoder_width={width!r}: give light, full or a number of channels, 1 or more")
    for name, instead in ELSEWHERE.items():
        if name in recipe.encoder:
            raise UserError(f"encoder.{name}: {instead}")
    if recipe.taps is not None and recipe.tap_blocks is not None and recipe.taps != len(recipe.tap_blocks):
        raise UserError(
            f"taps={recipe.taps}: tap_blocks names {len(recipe.tap_blocks)} blocks; give only one of the two"
        )
    cls, count = framework_class(recipe.framework), len(recipe.views)
    if count < cls.view_count or (count > cls.view_count and not cls.local_crops):
        most = " or more" * cls.local_crops
        raise UserError(
            f"views: {count} given, but {recipe.framework} takes {cls.view_count}{most}; change their number"
        )
    if recipe.views[0].size != recipe.image_size:
        raise UserError(
            f"views: the first view is reconstructed, so its size must be image_size={recipe.image_size}; "
            "change one of them"
        )
    if recipe.framework == "none" and recipe.reconstruction in ("none", "detached"):
        raise UserError(
            f"reconstruction={recipe.reconstruction!r} with framework='none' leaves nothing for the encoder to learn; "
            "choose reconstruction='multi' or 'single', or another framework"
        )


def identity(recipe: Recipe) -> dict[str, Any]:
    """The settings that decide what a run computes, as JSON has them: runs of equal identity are the same run."""
    plain = {name: value for name, value in dataclasses.asdict(recipe).items() if name not in HOW}
    return dict(json.loads(json.dumps(plain)))


def from_dict(values: dict[str, Any]) -> Recipe:
    """A recipe read back from recipe.json; further keys (versions, hardware, ...) are ignored."""
    missing = sorted(
        name for name, field in FIELDS.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING and name not in values
    )  # fmt: skip
    if missing:
        raise UserError(
            f"the recipe has no {', '.join(missing)}: it was written by another version of repre-lite; "
            "open it with that version, or train again"
        )
    known = {name: values[name] for name in FIELDS if name in values}
    try:
        known["views"] = tuple(View(**_with_tuples(view)) for view in known["views"])
        return Recipe(**_with_tuples(known))
    except TypeError as error:
        raise UserError(
            f"the recipe was written by another version of repre-lite: {error}; "
            "open it with that version, or train again"
        ) from None


def _with_tuples(values: dict[str, Any]) -> dict[str, Any]:
    """JSON has lists where a recipe has tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
