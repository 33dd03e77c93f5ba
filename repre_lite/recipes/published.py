"""What each framework was trained with on ImageNet-1k at 224 pixels, for ViT-S, ViT-B and Swin-T, as one table.

`lr` is for 256 pictures, `min_lr` as it stands. `source` names where a row's numbers stand; `ours` lists the fields no source gives, which
are our choice. RePre itself says only that it trains "basically the same" as each framework (section 4.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

CODE = {
    "moco_v3": "facebookresearch/moco-v3: main_moco.py, CONFIG.md, vits.py, moco/builder.py",
    "dino": "facebookresearch/dino: main_dino.py, README.md",
    "moby": "SwinTransformer/Transformer-SSL: configs/moby_*.yaml, models/moby.py",
    "vissl": "facebookresearch/vissl: config/pretrain, the ViT-B/16 file of the method",
    "vissl-dino": "facebookresearch/vissl: config/pretrain/dino, dino_16gpus_deits16.yaml with models/swint_tiny.yaml",
    "dino-34": "facebookresearch/dino, issue 34: DINO's author on MoCo v2 and BYOL with ViT-S",
    "moco-v3-paper": "Chen, Xie and He (2021), the baselines of its table on ViT; numbers not checked against the text",
    "none": "no published recipe found",
}


@dataclass(frozen=True)
class Row:
    """`values` overrides fields of a Recipe; `source` is a key of CODE; `ours` names fields that no source gives."""

    source: str
    values: dict[str, Any]
    ours: tuple[str, ...] = ()


MOCO_V3: dict[str, Any] = {
    "batch_size": 4096, "epochs": 300, "warmup_epochs": 40, "lr": 1.5e-4, "min_lr": 0.0, "weight_decay": 0.1,
    "method": {"hidden": 4096, "out": 256, "temperature": 0.2, "momentum": 0.99},
}  # fmt: skip
MOBY: dict[str, Any] = {
    "batch_size": 512, "epochs": 300, "warmup_epochs": 5, "lr": 5e-4, "min_lr": 5e-6, "weight_decay": 0.05,
    "clip_norm": 5.0, "drop_path": 0.2,
    "method": {"hidden": 4096, "out": 256, "queue": 4096, "temperature": 0.2, "momentum": 0.99},
}  # fmt: skip
DINO_HEAD: dict[str, Any] = {
    "hidden": 2048, "out": 256, "prototypes": 65536, "student_temperature": 0.1, "teacher_start": 0.04,
    "teacher_temperature": 0.07, "temperature_warmup": 30, "frozen_epochs": 1, "centre_momentum": 0.9,
    "momentum": 0.996,
}  # fmt: skip
DINO: dict[str, Any] = {
    "batch_size": 1024, "epochs": 300, "warmup_epochs": 10, "lr": 5e-4, "min_lr": 1e-6, "weight_decay": 0.04,
    "weight_decay_end": 0.4, "clip_norm": 3.0, "clip_each": True, "drop_path": 0.1,
    "method": DINO_HEAD | {"unit_prototypes": False}, "encoder": {"dynamic_img_size": True},
}  # fmt: skip
MOCO_V2_S: dict[str, Any] = {
    "batch_size": 1024, "epochs": 300, "warmup_epochs": 10, "lr": 5e-4, "min_lr": 1e-6, "weight_decay": 0.05,
    "method": {"layers": 3, "out": 128, "queue": 65536, "temperature": 0.1, "momentum": 0.996, "momentum_rises": True},
}  # fmt: skip
BYOL_S: dict[str, Any] = {
    "batch_size": 1024, "epochs": 300, "warmup_epochs": 10, "lr": 5e-4, "min_lr": 1e-6, "weight_decay": 0.05,
    "method": {"hidden": 4096, "out": 256, "momentum": 0.996},
}  # fmt: skip
SIMCLR_S: dict[str, Any] = {
    "batch_size": 4096, "epochs": 300, "warmup_epochs": 40, "lr": 2e-4, "weight_decay": 0.1,
    "method": {"layers": 2, "out": 128, "temperature": 0.1}, "encoder": {"num_heads": 12},
}  # fmt: skip
SIMSIAM: dict[str, Any] = {
    "batch_size": 1024, "epochs": 300, "warmup_epochs": 10, "lr": 1.5e-4, "weight_decay": 0.1,
    "method": {"out": 2048, "bottleneck": 512},
}  # fmt: skip
RECONSTRUCTION: dict[str, Any] = {
    "batch_size": 4096, "epochs": 300, "warmup_epochs": 40, "lr": 1.5e-4, "weight_decay": 0.05,
}  # fmt: skip
EVERYTHING = ("batch_size", "warmup_epochs", "lr", "min_lr", "weight_decay", "clip_norm", "drop_path")

PUBLISHED: dict[tuple[str, str], Row] = {
    ("moco_v3", "vit_small"): Row("moco_v3", MOCO_V3 | {"encoder": {"num_heads": 12}}),
    ("moco_v3", "vit_base"): Row("moco_v3", MOCO_V3),
    ("moco_v3", "swin_tiny"): Row(
        "moby", {k: MOBY[k] for k in MOBY if k not in ("method", "drop_path")} | {"method": MOCO_V3["method"]},
        ours=EVERYTHING,
    ),
    ("dino", "vit_small"): Row("dino", DINO),
    ("dino", "vit_base"): Row(
        "dino",
        DINO | {"epochs": 400, "lr": 7.5e-4, "min_lr": 2e-6, "clip_norm": 0.3,
                "method": DINO_HEAD | {"unit_prototypes": True, "frozen_epochs": 3, "temperature_warmup": 50}},
        ours=("lr", "min_lr", "clip_norm", "method"),
    ),
    ("dino", "swin_tiny"): Row(
        "vissl-dino",
        DINO | {"min_lr": 1e-5, "method": DINO_HEAD | {"unit_prototypes": True}, "encoder": {"strict_img_size": False}},
        ours=("drop_path", "clip_each"),
    ),
    ("moby", "vit_small"): Row("moby", MOBY),
    ("moby", "vit_base"): Row("moby", MOBY, ours=EVERYTHING),
    ("moby", "swin_tiny"): Row("moby", MOBY),
    ("moco_v2", "vit_small"): Row("dino-34", MOCO_V2_S, ours=("batch_size", "warmup_epochs", "min_lr")),
    ("moco_v2", "vit_base"): Row(
        "vissl",
        {"batch_size": 4096, "epochs": 300, "warmup_epochs": 30, "lr": 1.875e-4, "weight_decay": 0.05, "clip_norm": 1.0,
         "method": {"layers": 2, "hidden": 2048, "out": 128, "queue": 65536, "temperature": 0.2, "momentum": 0.999}},
        ours=("clip_norm",),
    ),
    ("moco_v2", "swin_tiny"): Row("dino-34", MOCO_V2_S, ours=EVERYTHING),
    ("byol", "vit_small"): Row("dino-34", BYOL_S, ours=("batch_size", "warmup_epochs", "min_lr")),
    ("byol", "vit_base"): Row(
        "moco-v3-paper",
        {"batch_size": 4096, "epochs": 300, "warmup_epochs": 40, "lr": 1e-4, "weight_decay": 0.03,
         "method": {"hidden": 4096, "out": 256, "momentum": 0.996}},
        ours=("warmup_epochs",),
    ),
    ("byol", "swin_tiny"): Row("dino-34", BYOL_S, ours=EVERYTHING),
    ("simclr", "vit_small"): Row("moco-v3-paper", SIMCLR_S, ours=("warmup_epochs", "method")),
    ("simclr", "vit_base"): Row(  # without the dropout of 0.1 that VISSL trained with
        "vissl",
        {"batch_size": 4096, "epochs": 300, "warmup_epochs": 30, "lr": 1.875e-4, "weight_decay": 0.3, "clip_norm": 1.0,
         "method": {"layers": 2, "hidden": 3072, "out": 128, "temperature": 0.1}},
        ours=("clip_norm",),
    ),
    ("simclr", "swin_tiny"): Row("moco-v3-paper", SIMCLR_S | {"encoder": {}}, ours=EVERYTHING),
    ("simsiam", "vit_small"): Row("none", SIMSIAM, ours=EVERYTHING),
    ("simsiam", "vit_base"): Row("none", SIMSIAM, ours=EVERYTHING),
    ("simsiam", "swin_tiny"): Row("none", SIMSIAM, ours=EVERYTHING),
    ("none", "vit_small"): Row("none", RECONSTRUCTION, ours=EVERYTHING),
    ("none", "vit_base"): Row("none", RECONSTRUCTION, ours=EVERYTHING),
    ("none", "swin_tiny"): Row("none", RECONSTRUCTION, ours=EVERYTHING),
}  # fmt: skip


def published(framework: str, arch: str) -> dict[str, Any]:
    """The row of a framework on an architecture. Other ViTs take ViT-S's and other Swins Swin-T's, without the arguments
    of the timm model: 12 heads belong to ViT-S's width."""
    if arch in ("vit_small", "vit_base", "swin_tiny"):
        return PUBLISHED[framework, arch].values
    nearest = PUBLISHED[framework, "swin_tiny" if "swin" in arch else "vit_small"].values
    return {name: value for name, value in nearest.items() if name != "encoder"}
