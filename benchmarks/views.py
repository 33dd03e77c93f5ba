"""Our batched views against torchvision's per-image pipeline: MoCo v3's two views at 32 pixels, on one core.

python benchmarks/views.py [--compile] [--batch-size 256] [--rounds 15] [--json results/views.json]

Both make the same two views from images already in memory: a uint8 tensor for ours, PIL images for torchvision's; both
end with one float batch in [0, 1] a view. Images are CIFAR-10's if REPRE_LITE_DATA holds them, else scenes. A ratio
is torchvision's time by ours in the same round, the median of all rounds with its quartiles.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from measure import alternate, head, pin, ratios, shown, spread, write
from PIL import Image
from torch import Tensor
from torchvision import transforms as T

from repre_lite.data.sources import load_source
from repre_lite.data.views import View, Views
from repre_lite.frameworks.moco_v3 import MoCoV3

SIZE = 32
CLAIMS = {"eager": 3.0, "compiled": 6.0}  # times torchvision


def torchvision_pipeline(view: View) -> Callable[[Image.Image], Tensor]:
    """The same operations with the same distributions, for one image; those of probability 0 are left out on both sides."""
    if view.interpolation != "bilinear" or view.blur:
        raise ValueError("written for MoCo v3's views below 96 pixels: bilinear, without blur")
    steps: list[Any] = [
        T.RandomResizedCrop(view.size, view.scale, view.ratio, T.InterpolationMode.BILINEAR),
        T.RandomApply([T.ColorJitter(*view.jitter)], view.jitter_p),
        T.RandomGrayscale(view.grey),
    ]
    if view.solarise:
        steps.append(T.RandomSolarize(128, view.solarise))
    return T.Compose([*steps, T.RandomHorizontalFlip(view.flip), T.ToTensor()])


def some_images(count: int) -> tuple[str, Tensor]:
    """What they are, and uint8 (count, 3, 32, 32)."""
    root = Path(os.environ.get("REPRE_LITE_DATA", "")) / "cifar10"
    real = "REPRE_LITE_DATA" in os.environ and root.is_dir()
    source = load_source("cifar10" if real else "scenes", str(root) if real else None, SIZE, count)
    images = source.train.images[:count]
    assert isinstance(images, Tensor)
    return source.name, images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compile", action="store_true", help="also the compiled form (needs a C++ compiler)")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--core", type=int, help="the core to keep to (default: the last one allowed)")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    core = pin(options.core)

    source, images = some_images(options.batch_size)
    images_pil = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
    rows, kinds = torch.arange(len(images)), MoCoV3.views(SIZE, 8)
    pipelines = [torchvision_pipeline(view) for view in kinds]
    step = 0

    def ours(views: Views) -> Callable[[], list[Tensor]]:
        def run() -> list[Tensor]:
            nonlocal step
            step += 1  # other random numbers every time
            return views(images, step, rows)

        return run

    def peer() -> list[Tensor]:
        return [torch.stack([pipeline(image) for image in images_pil]) for pipeline in pipelines]

    candidates: dict[str, Callable[[], list[Tensor]]] = {"torchvision": peer, "eager": ours(Views(kinds, seed=0))}
    compiling = None
    if options.compile:
        candidates["compiled"] = ours(Views(kinds, seed=0, compile=True))
        start = time.perf_counter()
        candidates["compiled"]()
        compiling = round(time.perf_counter() - start, 1)
    means = {name: [round(float(v.mean()), 3) for v in make()] for name, make in candidates.items()}

    seconds = alternate(candidates, options.rounds)
    made = len(kinds) * len(images)
    table: dict[str, Any] = head(core) | {
        "what": f"MoCo v3's two views at {SIZE} pixels, batch {len(images)}, {options.rounds} rounds",
        "images": source,
        "compiling_seconds": compiling,
        "mean_of_each_view": means,
        "candidates": {},
    }
    print(f"{table['what']}, {source}\n{'':12s}{'views/s':>10s}   times torchvision [quartiles]   claimed")
    for name, values in seconds.items():
        rate, ratio = spread([made / value for value in values]), ratios(seconds["torchvision"], values)
        claim = CLAIMS.get(name)
        table["candidates"][name] = {"views_per_second": rate, "times_torchvision": ratio, "claim_at_least": claim}
        print(f"{name:12s}{rate['median']:10.0f}   {shown(ratio):28s}  {claim or ''}")
    write(options.json, table)


if __name__ == "__main__":
    main()
