"""Where images come from: the scenes, CIFAR and STL, any labelled tree, any folder.

Small images become one uint8 tensor; larger ones stay in their files.
"""

from __future__ import annotations

import os
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision

from ..runtime import distributed
from ..runtime.errors import UserError, first_line
from ..runtime.text import plain_text
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
TORCHVISION: dict[str, type[Any]] = {
    "cifar10": torchvision.datasets.CIFAR10,
    "cifar100": torchvision.datasets.CIFAR100,
    "stl10": torchvision.datasets.STL10,
}
TREES = {"imagenet100": ("imagenet100", "imagenet1k", "imagenet"), "imagenet1k": ("imagenet1k", "imagenet")}


def load_source(
    scale: str,
    data: str | Path | None = None,
    image_size: int = 32,
    train_images: int | None = None,
    seed: int = 0,
    skip_unreadable: bool = False,
    max_pixels: int | None = None,
) -> Source:
    """The images of a scale.

    `data`: a tree `train/CLASS/*`, `val/CLASS/*`; for CIFAR and STL also torchvision's root; for `folder` any folder of
    images, labels not needed. None: scenes are drawn, CIFAR and STL are looked for in $REPRE_LITE_DATA and data/ and
    then downloaded into data/. `image_size`: the side of the views; images up to 96 pixels are resized and cut square,
    and read into one uint8 tensor, larger ones stay in their files. `train_images`: a subset, as evenly over classes as
    possible, drawn by `seed`. `skip_unreadable`: train without the files that cannot be read, each replaced by the next
    that can. `max_pixels`: as in `Decoding`. Raises UserError for data that are missing or do not fit.
    """
    if not isinstance(image_size, Integral) or image_size < 1:
        raise UserError(f"image_size={image_size}: images are square; give their side as one whole number")
    if scale == "scenes":
        if data is not None:
            raise UserError(
                f"data={data} cannot be used with scale=scenes, which are drawn; use scale=folder for your images"
            )
        return _scenes(image_size, train_images)
    root = _find(scale) if data is None else _folder(data)
    if scale in TORCHVISION_FOLDERS and (root is None or _is_torchvision_root(scale, root)):
        train, val, labelled = _torchvision(scale, root)
        train = train.subset(train_images, seed)
        labelled = train if labelled is None else labelled.subset(train_images, seed)
        return _source(scale, train, val, labelled, origin="torchvision")
    assert root is not None
    return _source(
        scale,
        *load_tree(
            scale,
            root,
            image_size=image_size,
            train_images=train_images,
            seed=seed,
            skip_unreadable=skip_unreadable,
            max_pixels=max_pixels,
        ),
    )


def _source(
    scale: str, train: ImageSet, val: ImageSet | None, labelled: ImageSet | None, skipped: int = 0, origin: str = ""
) -> Source:
    mean, std = STANDARD.get(scale) or measure(train.images)
    return Source(scale, train, val, mean, std, skipped, fingerprint_of(train, val), labelled, origin)


def _scenes(image_size: int, train_images: int | None) -> Source:
    """The same world for every seed of a run. A subset is the first scenes, balanced because labels cycle through the classes."""
    train, val = (
        ImageSet(drawn.images, drawn.labels, CLASS_NAMES)
        for drawn in (
            scenes(range(train_images or SCENES_TRAIN), size=image_size),
            scenes(range(VAL_START, VAL_START + SCENES_VAL), size=image_size),
        )
    )
    mean, std = measure(train.images)
    return Source("scenes", train, val, mean, std, 0, f"scenes-{image_size}-{len(train)}", train, "drawn")


def _folder(data: str | Path) -> Path:
    root = Path(data)
    if str(data) == "":  # Path("") is the working directory
        raise UserError("data= is empty; give the folder that holds the images")
    if not root.exists():
        raise UserError(f"data={plain_text(root)}: no such folder; give one that holds images")
    if not root.is_dir():
        raise UserError(f"data={plain_text(root)}: a file, not a folder; give the folder that holds it")
    return root


def _find(scale: str) -> Path | None:
    """A data set in $REPRE_LITE_DATA or data/ by its name; None means torchvision may download it into data/."""
    places = [Path(os.environ["REPRE_LITE_DATA"])] if os.environ.get("REPRE_LITE_DATA") else []
    for place in [*places, Path("data")]:
        for tree in TREES.get(scale, (scale,)):
            if (place / tree / "train").is_dir():
                return place / tree
        for root in (place, place / scale):
            if _is_torchvision_root(scale, root):
                return root
    if scale in TORCHVISION_FOLDERS:
        return None
    raise UserError(
        f"scale={scale} needs data=: a folder with train/CLASS/* and val/CLASS/*, or, with scale=folder, any images"
    )


def _is_torchvision_root(scale: str, root: Path) -> bool:
    return scale in TORCHVISION_FOLDERS and (root / TORCHVISION_FOLDERS[scale]).is_dir()


def _torchvision(scale: str, root: Path | None) -> tuple[ImageSet, ImageSet, ImageSet | None]:
    """Training, validation and labelled images of CIFAR-10, CIFAR-100 or STL-10 as torchvision stores them.

    STL trains on its 5,000 labelled and 100,000 unlabelled images, the former first; for the others `labelled` is None.
    Without a `root` they are downloaded into data/, once on each machine.
    """
    splits: list[dict[str, Any]] = [{"train": True}, {"train": False}]
    if scale == "stl10":
        splits = [{"split": "train+unlabeled"}, {"split": "test"}]
    try:
        sets = _sets(scale, root, splits)
    except (RuntimeError, OSError, ValueError, ImportError) as error:
        reason = first_line(error)
        if root is not None:
            place = plain_text(root / TORCHVISION_FOLDERS[scale])
            raise UserError(
                f"data={plain_text(root)}: {place} is incomplete or damaged ({reason}); delete it and leave data= out to "
                "download it again, or give another folder"
            ) from None
        raise UserError(
            f"scale={scale}: not found and not downloadable here ({reason}); give data=, a tree train/CLASS/*, val/CLASS/* "
            "or a torchvision root"
        ) from None
    if scale == "stl10":
        whole, val = (
            ImageSet(torch.from_numpy(d.data), torch.from_numpy(d.labels).long(), tuple(d.classes)) for d in sets
        )
        assert whole.labels is not None
        count = int((whole.labels >= 0).sum())
        return replace(whole, labels=None), val, ImageSet(whole.images[:count], whole.labels[:count], whole.classes)
    train, val = (
        ImageSet(
            torch.from_numpy(np.ascontiguousarray(d.data.transpose(0, 3, 1, 2))),  # (n, 3, 32, 32)
            torch.tensor(d.targets),
            tuple(d.classes),
        )
        for d in sets
    )
    return train, val, None


def _sets(scale: str, root: Path | None, splits: list[dict[str, Any]]) -> list[Any]:
    """torchvision's data sets. Those that are not here yet are downloaded by the first process of each machine."""

    def load(root: Path, download: bool) -> list[Any]:
        return [TORCHVISION[scale](root, download=download, **split) for split in splits]

    if root is not None:
        return load(root, False)
    distributed.barrier()  # all have looked before one writes
    first = int(os.environ.get("LOCAL_RANK", "0")) == 0
    if not first:
        distributed.barrier()
    sets = load(Path("data"), first)
    if first:
        distributed.barrier()
    return sets
