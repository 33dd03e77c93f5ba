"""Where pictures come from: the scenes, CIFAR and STL, any labelled tree, any folder.

Small pictures become one uint8 tensor; larger ones stay in their files.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision

from ..runtime.errors import UserError
from .image_set import ImageSet, Source, fingerprint_of, measure
from .scenes import CLASS_NAMES, VAL_START, scenes
from .tree import load_tree

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
STANDARD: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "imagenet100": IMAGENET,
    "imagenet1k": IMAGENET,
}
SCENES_TRAIN, SCENES_VAL = 20_000, 2_000
TORCHVISION_FOLDERS = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python", "stl10": "stl10_binary"}
TREES = {"imagenet100": ("imagenet100", "imagenet1k", "imagenet"), "imagenet1k": ("imagenet1k", "imagenet")}


def load_source(
    scale: str,
    data: str | None,
    image_size: int,
    train_images: int | None = None,
    seed: int = 0,
    skip_unreadable: bool = False,
) -> Source:
    """The pictures of a scale.

    `data`: a tree `train/CLASS/*`, `val/CLASS/*`; for CIFAR and STL also torchvision's root; for `folder` any folder of
    pictures, labels not needed. None: scenes are drawn, CIFAR and STL are looked for in $REPRE_LITE_DATA and data/ and
    then downloaded into data/. `train_images` takes a subset, every class alike and drawn from `seed`. Pictures that
    do not all have the wanted size are resized and cut square. Raises UserError for whatever is not there or not fit.
    """
    if scale == "scenes":
        if data is not None:
            raise UserError(
                "--data does not go with --scale scenes, which are drawn; use --scale folder for your pictures"
            )
        return _scenes(image_size, train_images, seed)
    if data is None:
        data = _find(scale)
    elif not Path(data).exists():
        raise UserError(f"--data {data}: no such folder; give one that holds pictures")
    elif not Path(data).is_dir():
        raise UserError(f"--data {data}: a file, not a folder; give the folder it lies in")
    val: ImageSet | None
    labelled: ImageSet | None
    if scale in TORCHVISION_FOLDERS and (data is None or _is_torchvision_root(scale, Path(data))):
        train, val, labelled = _torchvision(scale, data)
        train, skipped = train.subset(train_images, seed), 0
        labelled = train if labelled is None else labelled.subset(train_images, seed)
    else:
        assert data is not None
        train, val, labelled, skipped = load_tree(scale, Path(data), image_size, train_images, seed, skip_unreadable)
    mean, std = STANDARD.get(scale) or measure(train.images)
    return Source(scale, train, val, mean, std, skipped, fingerprint_of(train, val), labelled)


def _scenes(image_size: int, train_images: int | None, seed: int) -> Source:
    """The same world for every seed of a run; a subset is the first so many, which the turn-taking labels balance."""
    train, val = (
        scenes(range(train_images or SCENES_TRAIN), size=image_size),
        scenes(range(VAL_START, VAL_START + SCENES_VAL), size=image_size),
    )
    parts = [ImageSet(part.images, part.labels, CLASS_NAMES) for part in (train, val)]
    mean, std = measure(parts[0].images)
    return Source("scenes", parts[0], parts[1], mean, std, 0, f"scenes-{image_size}-{len(parts[0])}", parts[0])


def _find(scale: str) -> str | None:
    """A data set in $REPRE_LITE_DATA or data/ by its name; None means torchvision may download it into data/."""
    places = [Path(os.environ["REPRE_LITE_DATA"])] if os.environ.get("REPRE_LITE_DATA") else []
    for place in [*places, Path("data")]:
        for tree in TREES.get(scale, (scale,)):
            if (place / tree / "train").is_dir():
                return str(place / tree)
        for root in (place, place / scale):
            if _is_torchvision_root(scale, root):
                return str(root)
    if scale in TORCHVISION_FOLDERS:
        return None
    raise UserError(
        f"--scale {scale} needs --data DIR: a folder with train/CLASS/* and val/CLASS/*, or your own pictures"
    )


def _is_torchvision_root(scale: str, root: Path) -> bool:
    return scale in TORCHVISION_FOLDERS and (root / TORCHVISION_FOLDERS[scale]).is_dir()


def _torchvision(scale: str, data: str | None) -> tuple[ImageSet, ImageSet, ImageSet | None]:
    """Training, validation and labelled pictures of CIFAR-10, CIFAR-100 or STL-10 as torchvision keeps them.

    STL trains on its 5,000 labelled and 100,000 unlabelled pictures, of which the former come first; the others' are None.
    """
    make: dict[str, Callable[..., Any]] = {
        "cifar10": torchvision.datasets.CIFAR10,
        "cifar100": torchvision.datasets.CIFAR100,
        "stl10": torchvision.datasets.STL10,
    }
    splits: list[dict[str, Any]] = [{"train": True}, {"train": False}]
    if scale == "stl10":
        splits = [{"split": "train+unlabeled"}, {"split": "test"}]
    try:
        sets = [make[scale](data or "data", download=data is None, **split) for split in splits]
    except (RuntimeError, OSError, ValueError, ImportError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"--scale {scale}: not found and not downloadable here ({reason}); give --data DIR, a tree train/CLASS/*, "
            "val/CLASS/* or a torchvision root"
        ) from None
    if scale == "stl10":
        parts = [ImageSet(torch.from_numpy(d.data), torch.from_numpy(d.labels).long(), tuple(d.classes)) for d in sets]
        whole, val = parts
        assert whole.labels is not None
        count = int((whole.labels >= 0).sum())
        return replace(whole, labels=None), val, ImageSet(whole.images[:count], whole.labels[:count], whole.classes)
    parts = [
        ImageSet(
            torch.from_numpy(np.ascontiguousarray(d.data.transpose(0, 3, 1, 2))),
            torch.tensor(d.targets),
            tuple(d.classes),
        )
        for d in sets
    ]
    return parts[0], parts[1], None
