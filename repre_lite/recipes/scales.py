"""The named scales: `--scale` is the flag."""

from __future__ import annotations

from typing import Any

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
    "image_size": 32,
    "arch": "vit_micro",
    "batch_size": 64,
    "epochs": 5,
    "warmup_epochs": 0.5,
    "train_images": 10_000,
}
