"""A recipe is a complete description of a run; a scale is a named one. `--scale` is the flag, anything can be overridden.

A recipe is put together in layers, later ones winning: what is common, the scale, the framework, at ImageNet's size the
published row of the framework on the architecture (`published.py`), the caller's overrides.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

from ..runtime.errors import UserError
from .published import published


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a run computes, and below the line what only decides how.

    Sizes are in pixels, `lr` is for 256 pictures (the rate used is `lr` * batch_size / 256), `min_lr` and `weighting_lr`
    are used as they stand, `batch_size` is global. Raises UserError for a value that cannot be.
    """

    scale: str
    size: str  # full, or small: the form for a CPU
    framework: str
    arch: str
    reconstruction: str  # multi, single, none, detached
    image_size: int
    patch_size: int | None  # None: what suits the picture size
    train_images: int | None  # None: all
    epochs: int
    steps: int | None  # None: epochs; else the run and its schedules end after so many
    batch_size: int
    lr: float
    min_lr: float
    warmup_epochs: float
    weight_decay: float
    weight_decay_end: float | None  # None: constant
    clip_norm: float | None  # gradient norm of the framework's parameters
    clip_each: bool  # clip every tensor by itself (DINO) instead of all together
    drop_path: float
    taps: int | None  # None: 4 on a ViT, one a stage on a Swin
    fusion: str
    fusion_layers: int
    decoder_width: int | str  # light: see `decoder.light_width`; full: the encoder's own; or channels
    weighting: str
    weighting_lr: float
    seed: int
    method: dict[str, Any] = field(default_factory=dict)  # the framework's own: widths, temperature, momentum, ...
    encoder: dict[str, Any] = field(default_factory=dict)  # further arguments of the timm model
    precision: str = "auto"
    # -- how, not what: a run may be resumed under other values of these
    data: str | None = None
    device: str = "auto"
    compile: bool = False
    activation_checkpointing: bool = False  # blocks are computed again in the backward pass instead of remembered
    checkpoint_every: int | None = None  # steps; None: about twenty times a run
    snapshots: int = 0
    skip_unreadable: bool = False
    images: str = "decode"
    workers: int = 4

    def __post_init__(self) -> None:
        check(self)


HOW = ("data", "device", "compile", "activation_checkpointing", "checkpoint_every", "images", "workers", "snapshots")

# fmt: off
SCALES: dict[str, dict[str, Any]] = {
    "scenes":      {"image_size": 32,  "arch": "vit_tiny",  "epochs": 100, "batch_size": 256,  "warmup_epochs": 5},
    "cifar10":     {"image_size": 32,  "arch": "vit_tiny",  "epochs": 200, "batch_size": 512,  "warmup_epochs": 10},
    "cifar100":    {"image_size": 32,  "arch": "vit_tiny",  "epochs": 200, "batch_size": 512,  "warmup_epochs": 10},
    "stl10":       {"image_size": 64,  "arch": "vit_tiny",  "epochs": 200, "batch_size": 512,  "warmup_epochs": 10},
    "folder":      {"image_size": 64,  "arch": "vit_tiny",  "epochs": 200, "batch_size": 256,  "warmup_epochs": 10},
    "imagenet100": {"image_size": 224, "arch": "vit_small", "epochs": 200, "batch_size": 1024, "warmup_epochs": 20},
    "imagenet1k":  {"image_size": 224, "arch": "vit_small", "epochs": 300, "batch_size": 4096, "warmup_epochs": 40},
}
# fmt: on

# The CPU-sized form of every scale: minutes on two cores.
SMALL: dict[str, Any] = {
    "arch": "vit_micro",
    "batch_size": 64,
    "epochs": 5,
    "warmup_epochs": 0.5,
    "train_images": 10_000,
}
SMALL_IMAGE_SIZE = 32

# What a framework trains with on pictures below 224 pixels: ours, and what it does in a hundred steps is measured
# (results/frameworks.json). At full size, with batches up to eight times as large, a quarter of the rate: not measured.
# fmt: off
FRAMEWORKS: dict[str, dict[str, Any]] = {
    "simclr":  {"lr": 4e-3, "weight_decay": 0.1, "method": {"temperature": 0.2}},
    "byol":    {"lr": 4e-3, "weight_decay": 0.1, "method": {"hidden": 1024, "momentum": 0.95}},
    "simsiam": {"lr": 2e-3, "weight_decay": 0.1, "method": {"out": 512, "bottleneck": 128}},
    "moco_v2": {"lr": 4e-3, "weight_decay": 0.1,
                "method": {"queue": 4096, "momentum": 0.95, "momentum_rises": True}},
    "moco_v3": {"lr": 4e-3, "weight_decay": 0.1, "method": {"hidden": 1024, "momentum": 0.95}},
    "moby":    {"lr": 4e-3, "weight_decay": 0.05, "clip_norm": 5.0, "drop_path": 0.1,
                "method": {"hidden": 1024, "queue": 4096, "momentum": 0.95}},
    "dino":    {"lr": 2e-3, "weight_decay": 0.04, "weight_decay_end": 0.4, "clip_norm": 3.0, "clip_each": True,
                "method": {"hidden": 512, "out": 128, "prototypes": 1024, "momentum": 0.99, "frozen_epochs": 0}},
    "none":    {"lr": 4e-3, "weight_decay": 0.05},
}
# fmt: on

COMMON: dict[str, Any] = {
    "reconstruction": "multi",
    "patch_size": None,
    "train_images": None,
    "steps": None,
    "min_lr": 0.0,
    "weight_decay_end": None,
    "clip_norm": None,
    "clip_each": False,
    "drop_path": 0.0,
    "taps": None,
    "fusion": "conv",
    "fusion_layers": 2,
    "decoder_width": "light",
    "weighting": "uncertainty",
    "weighting_lr": 1e-2,
    "seed": 0,
}


def recipe(
    scale: str = "scenes",
    framework: str = "moco_v3",
    size: str | None = None,
    **overrides: Any,
) -> Recipe:
    """The recipe of a scale and a framework, with `overrides` of any field of `Recipe`; None leaves a field alone.

    `size` is "full" or "small"; None means small for the scenes and full for the rest. Raises UserError for a value
    that cannot be, before anything is loaded.
    """
    if scale not in SCALES:
        raise UserError(f"--scale {scale}: choose one of {', '.join(SCALES)}")
    if framework not in FRAMEWORKS:
        raise UserError(f"--framework {framework}: choose one of {', '.join(FRAMEWORKS)}")
    size = size or ("small" if scale == "scenes" else "full")
    if size not in ("full", "small"):
        raise UserError(f"--size {size}: choose full or small")

    values = COMMON | SCALES[scale] | {"scale": scale, "size": size, "framework": framework}
    if size == "small":
        values |= SMALL | {"image_size": SMALL_IMAGE_SIZE}
    values |= FRAMEWORKS[framework]
    if size == "full":
        values["lr"] /= 4
    arch = overrides.get("arch") or values["arch"]
    if framework == "dino":  # its local crops are smaller than the encoder's pictures
        values |= {"encoder": {"strict_img_size": False} if "swin" in arch else {"dynamic_img_size": True}}
    if size == "full" and SCALES[scale]["image_size"] == 224:
        values |= published(framework, arch)
        if scale != "imagenet1k":  # a tenth of the pictures: the scale's own length and batch
            values |= {name: SCALES[scale][name] for name in ("epochs", "batch_size", "warmup_epochs")}
    given = {name: value for name, value in overrides.items() if value is not None}
    unknown = sorted(set(given) - {f.name for f in dataclasses.fields(Recipe)})
    if unknown:
        raise UserError(f"a recipe has no field {unknown[0]!r}; its fields are those of repre_lite.Recipe")
    if "method" in given:
        given["method"] = values.get("method", {}) | given["method"]
    return Recipe(**(values | given))


def check(recipe: Recipe) -> None:
    """Raise UserError for the first value that cannot be."""
    whole = {"epochs": 1, "batch_size": 2, "image_size": 8, "fusion_layers": 1}
    for name, least in whole.items():
        if getattr(recipe, name) < least:
            raise UserError(f"{_flag(name)} {getattr(recipe, name)}: give a whole number, {least} or more")
    width = recipe.decoder_width
    if width not in ("light", "full") and (isinstance(width, str) or width < 1):
        raise UserError(f"--decoder-width {width}: give light, full or a number of channels, 1 or more")
    for name in ("steps", "train_images", "checkpoint_every", "patch_size"):
        value = getattr(recipe, name)
        if value is not None and value < 1:
            raise UserError(f"{_flag(name)} {value}: give a whole number, 1 or more")
    for name in ("lr", "weight_decay", "warmup_epochs", "seed", "snapshots", "workers"):
        if not 0 <= getattr(recipe, name) < math.inf:
            raise UserError(f"{_flag(name)} {getattr(recipe, name)}: give a number, 0 or more")
    choices = {
        "reconstruction": ("multi", "single", "none", "detached"),
        "fusion": ("conv", "transformer"),
        "images": ("decode", "cached"),
        "precision": ("auto", "fp32", "fp16", "bf16", "fp64"),
        "device": ("auto", "cpu", "cuda", "mps"),
    }
    for name, allowed in choices.items():
        if getattr(recipe, name) not in allowed:
            raise UserError(f"{_flag(name)} {getattr(recipe, name)}: choose one of {', '.join(allowed)}")
    if recipe.framework == "none" and recipe.reconstruction in ("none", "detached"):
        raise UserError(
            f"--framework none with --reconstruction {recipe.reconstruction} leaves nothing for the encoder to learn; "
            "choose --reconstruction multi or single, or another framework"
        )


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def identity(recipe: Recipe) -> dict[str, Any]:
    """The fields that decide what a run computes: two runs of equal identity and seed are the same run."""
    return {name: value for name, value in dataclasses.asdict(recipe).items() if name not in HOW}


def from_dict(values: dict[str, Any]) -> Recipe:
    """A recipe read back from recipe.json; further keys (versions, hardware, ...) are ignored."""
    known = {f.name for f in dataclasses.fields(Recipe)}
    missing = sorted(f.name for f in dataclasses.fields(Recipe) if f.default is dataclasses.MISSING
                     and f.default_factory is dataclasses.MISSING and f.name not in values)  # fmt: skip
    if missing:
        raise UserError(f"the recipe lacks {', '.join(missing)}: it is not one of this version's")
    return Recipe(**{name: value for name, value in values.items() if name in known})
