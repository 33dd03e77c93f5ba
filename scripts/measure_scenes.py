"""How hard the scenes are: k-NN on raw pixels and on untrained encoders below, a supervised encoder above.

python scripts/measure_scenes.py [--minutes 5] [--train-images 8000] [--json results/scenes.json]

Top-1 on the 2,000 validation scenes; k-NN and pixel features are those of `repre-lite demo`. The ceiling is vit_micro
trained with labels on the same images, flips and crops only, for the wanted time: its own answers, and the k-NN of its
features.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import repre_lite as rl
from repre_lite.data.image_set import Source
from repre_lite.data.loaders import Batches
from repre_lite.data.sources import load_source
from repre_lite.data.views import View, Views
from repre_lite.encoder import TappedEncoder
from repre_lite.evaluation import extract, knn_top1, pixel_features
from repre_lite.runtime.device import set_threads
from repre_lite.runtime.files import write_json
from repre_lite.runtime.provenance import provenance
from repre_lite.runtime.randomness import fork

SIZE, ARCH, SEEDS = 32, "vit_micro", (0, 1, 2)
MILD = View(SIZE, scale=(0.5, 1.0), jitter_p=0.0, grey=0.0, blur=0.0)  # crops and flips, no colour augmentation


def labelled(source: Source) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training images and labels, validation images and labels."""
    train, val = source.train, source.val
    assert val is not None and train.labels is not None and val.labels is not None
    assert isinstance(train.images, Tensor) and isinstance(val.images, Tensor)
    return train.images, train.labels, val.images, val.labels


def knn(encoder: TappedEncoder, source: Source) -> float:
    """k-NN top-1 of an encoder's pooled features, as the demo measures it."""
    images, labels, images_val, labels_val = labelled(source)
    x, x_val = (extract(encoder, part, source.mean, source.std) for part in (images, images_val))
    return knn_top1(x, labels, x_val, labels_val)


def supervised(source: Source, minutes: float, batch_size: int = 128, rate: float = 1e-3) -> dict[str, float]:
    """Train with labels for the wanted time, the rate falling to 0 with it; the last state counts, none is chosen."""
    images, labels, images_val, labels_val = labelled(source)
    with fork(0, "encoder"):
        encoder = rl.build_encoder(ARCH, SIZE)
        head = nn.Linear(encoder.width, len(source.train.classes))
    network = nn.ModuleList([encoder, head])
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.05, fused=True)
    batches, views = Batches(len(images), batch_size, seed=0), Views((MILD,), seed=0)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (source.mean, source.std))
    start, step, progress = time.perf_counter(), 0, 0.0
    while progress < 1:
        indices, rows = batches.rows(step)
        (view,) = views(images[indices], step, rows)
        loss = F.cross_entropy(head(encoder((view - mean) / std, taps=False).pooled), labels[indices])
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 100) * (1 + math.cos(math.pi * progress)) / 2
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        step += 1
        progress = (time.perf_counter() - start) / (60 * minutes)
    with torch.no_grad():
        answers = head(extract(encoder, images_val, source.mean, source.std)).argmax(1)
    return {
        "top1": round(float((answers == labels_val).float().mean()), 4),
        "knn_top1": round(knn(encoder, source), 4),
        "last_loss": round(float(loss.detach()), 4),
        "steps": step,
        "epochs": round(step / batches.steps_per_epoch, 1),
        "minutes": minutes,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0, help="of supervised training")
    parser.add_argument("--train-images", type=int, default=8_000, help="default: the demo's 8000")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    set_threads()
    source = load_source("scenes", None, SIZE, options.train_images)
    images, labels, images_val, labels_val = labelled(source)

    pixels = knn_top1(pixel_features(images), labels, pixel_features(images_val), labels_val)
    print(f"raw pixels, k-NN       {100 * pixels:5.1f} %", flush=True)
    untrained = []
    for seed in SEEDS:
        recipe = rl.recipe("scenes", "moco_v3", seed=seed)
        fresh = rl.RePre.from_recipe(recipe, source.mean, source.std).framework.evaluated
        untrained.append(round(knn(fresh, source), 4))
    print("untrained, k-NN        " + ", ".join(f"{100 * value:.1f}" for value in untrained) + " %", flush=True)
    ceiling = supervised(source, options.minutes)
    print(f"supervised             {100 * ceiling['top1']:5.1f} %   ({ceiling['epochs']} epochs)")
    print(f"supervised, k-NN       {100 * ceiling['knn_top1']:5.1f} %")
    print(f"chance                 {100 / len(source.train.classes):5.1f} %")
    table: dict[str, Any] = provenance() | {
        "images": {"train": len(images), "val": len(images_val), "size": SIZE, "fingerprint": source.fingerprint},
        "arch": ARCH,
        "chance": 1 / len(source.train.classes),
        "knn_top1_pixels": round(pixels, 4),
        "knn_top1_untrained": {"seeds": list(SEEDS), "values": untrained},
        "supervised": ceiling,
    }
    if options.json is not None:
        write_json(options.json, table)
        print(f"written: {options.json}")


if __name__ == "__main__":
    main()
