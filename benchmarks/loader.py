"""What one worker delivers: the classic ImageFolder and transforms against --images decode and --images cached.

REPRE_LITE_DATA=DIR python benchmarks/loader.py [--images 256] [--batch-size 64] [--rounds 9] [--json results/loader.json]

MoCo v3's two views at 224 pixels of the images in DIR/imagenet-sample/train, in one process pinned to one core, the
candidates taking turns; processor time. Compared is all that a worker process does for an image until the device can go
on without it:

classic  torchvision's ImageFolder in a DataLoader: PIL decodes, each view is cropped, flipped, jittered, blurred and
         solarised by PIL, normalised, and comes out as floats.
decode   PIL decodes once, both crops are cut and resized as bytes. The colour work is the device's, and done for a whole
         batch: what it costs on this core, if there were no other device, is the line "finish".
cached   both crops are cut and resized out of the mapped cache, in which images have a shorter side of 256.

The classic DataLoader runs in this process too: handing floats to another one would cost it more than ours. Files are
in the page cache after the first round. Ratios are classic's time by ours in the same round.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from measure import alternate, head, pin, ratios, shown, spread, write
from PIL import Image, ImageFilter
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from torchvision import transforms as T
from torchvision.datasets import ImageFolder

from repre_lite.data.cache import build_cache
from repre_lite.data.loaders import Batches
from repre_lite.data.sources import IMAGENET
from repre_lite.data.stream import StepCrops
from repre_lite.data.views import View, Views
from repre_lite.frameworks.moco_v3 import MoCoV3

SIZE = 224
CLAIMS = {"decode": 4.0, "cached": 12.0}  # times classic


class TwoViews:
    """The classic transform: an image in, a list of views out."""

    def __init__(self, views: tuple[View, ...]) -> None:
        self.pipelines = [torchvision_pipeline(view) for view in views]

    def __call__(self, image: Image.Image) -> list[Tensor]:
        return [pipeline(image) for pipeline in self.pipelines]


def torchvision_pipeline(view: View) -> Callable[[Image.Image], Tensor]:
    """The same operations with the same distributions, as in the published code of MoCo v3; blur by PIL, as there."""
    steps: list[Any] = [
        T.RandomResizedCrop(view.size, view.scale, view.ratio, T.InterpolationMode.BILINEAR),
        T.RandomApply([T.ColorJitter(*view.jitter)], view.jitter_p),
        T.RandomGrayscale(view.grey),
        T.RandomApply([GaussianBlur(view.blur_sigma)], view.blur),
    ]
    if view.solarise:
        steps.append(T.RandomSolarize(128, view.solarise))
    return T.Compose([*steps, T.RandomHorizontalFlip(view.flip), T.ToTensor(), T.Normalize(*IMAGENET)])


class GaussianBlur:
    """PIL's blur with a random sigma, as SimCLR's and MoCo's repositories have it."""

    def __init__(self, sigma: tuple[float, float]) -> None:
        self.sigma = sigma

    def __call__(self, image: Image.Image) -> Image.Image:
        low, high = self.sigma
        return image.filter(ImageFilter.GaussianBlur(low + (high - low) * float(torch.rand(()))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, help="a folder of class folders (default REPRE_LITE_DATA/imagenet-sample/train)"
    )
    parser.add_argument("--images", type=int, default=256, help="of the folder, evenly taken")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--core", type=int, help="the core to keep to (default: the last one allowed)")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    if options.data is None and "REPRE_LITE_DATA" not in os.environ:
        parser.error("set REPRE_LITE_DATA to a folder that holds imagenet-sample/train, or give --data")
    root = options.data or Path(os.environ["REPRE_LITE_DATA"]) / "imagenet-sample" / "train"
    core = pin(options.core)

    kinds = MoCoV3.views(SIZE, 16)
    folder = ImageFolder(str(root), TwoViews(kinds))
    count = min(options.images, len(folder)) // options.batch_size * options.batch_size
    chosen = [i * len(folder) // count for i in range(count)]
    paths = [Path(folder.samples[i][0]) for i in chosen]
    sizes = [Image.open(path).size for path in paths]
    batches, views = Batches(count, options.batch_size, seed=0), Views(kinds, seed=0)
    step = 0

    with tempfile.TemporaryDirectory() as place:
        crops = {
            "decode": StepCrops(paths, batches, views),
            "cached": StepCrops(build_cache(paths, Path(place) / "cache", workers=0), batches, views),
        }

        def classic() -> None:
            loader = DataLoader(Subset(folder, chosen), options.batch_size, shuffle=True)
            for (one, other), _ in loader:
                assert one.shape == other.shape

        def ours(name: str) -> Callable[[], None]:
            def run() -> None:
                nonlocal step
                for _ in range(batches.steps_per_epoch):  # the next epoch, with other random numbers
                    crops[name][step]
                    step += 1

            return run

        cut, rows = crops["cached"][0], torch.arange(options.batch_size)

        def finish() -> None:
            for number in range(batches.steps_per_epoch):
                views.finish(cut, number, rows)

        seconds = alternate(
            {"classic": classic, "decode": ours("decode"), "cached": ours("cached"), "finish": finish},
            options.rounds,
            warm_up=1,
        )
    bytes_each = sum(path.stat().st_size for path in paths) / count
    table: dict[str, Any] = head(core) | {
        "what": f"MoCo v3's two views at {SIZE} pixels of {count} JPEG files, batch {options.batch_size}, {options.rounds} rounds",
        "mean_file_kB": round(bytes_each / 1e3, 1),
        "mean_megapixels": round(sum(w * h for w, h in sizes) / count / 1e6, 3),
        "compared": "all a worker process does for an image; finish is the device's part, on this core",
        "candidates": {},
    }
    print(f"{table['what']}\n{'':10s}{'images/s':>12s}   times classic [quartiles]   claimed")
    for name, values in seconds.items():
        rate, ratio = spread([count / value for value in values]), ratios(seconds["classic"], values)
        claim = CLAIMS.get(name)
        table["candidates"][name] = {"images_per_second": rate, "times_classic": ratio, "claim_at_least": claim}
        print(f"{name:10s}{rate['median']:12.0f}   {shown(ratio):25s}  {claim or ''}")
    write(options.json, table)


if __name__ == "__main__":
    main()
