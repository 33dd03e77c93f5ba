"""`repre-lite transfer`: segmentation or detection on an encoder."""

from __future__ import annotations

from typing import Any

from ..runtime import distributed
from ..transfer import settings
from ..transfer.run import transfer as run

SHOWN = ("miou", "miou_majority", "macc", "boundary_iou", "box_map", "box_map50", "mask_map", "mask_map50")


def transfer(source: str, task: str, out: str, scale: str, **options: Any) -> int:
    """Train by the recipe, then print the scores beside those of the untrained encoder if they were asked for."""
    wanted = settings.transfer_recipe(source, task, scale, **options)
    summary = run(wanted, out)
    if distributed.is_main():
        for name in SHOWN:
            for key in (name, f"{name}_untrained"):
                if summary.get(key) is not None:
                    print(f"{key:24s} {summary[key]:.4f}")
        print(f"{out}: summary.json, model.safetensors, figures/predictions.png")
    return 0
