"""Images with the boxes, and perhaps the masks, of objects: the checked result of every reader of annotations."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.image_set import choose
from ..data.reading import THREADS, Decoding, decoded_size, read_image, read_or_say, upright_size
from ..data.scenes import CLASS_NAMES, VAL_START, scenes
from ..runtime.errors import UserError
from ..runtime.progress import Progress, say
from ..runtime.text import plain_text
from .mask_codes import encode_mask, run_lengths

SCENES_TRAIN, SCENES_VAL = 2_000, 200
LEAST_SIDE = 0.01  # pixels of a box: resized and mirrored in single precision, a smaller one may become empty
REMEDY = "repair it, or remove it and its annotations"


@dataclass(frozen=True)
class Objects:
    """The n objects of an image: `boxes` float32 (n, 4), x0 y0 x1 y1 in pixels; `labels` int64 (n,) into the classes.

    `crowd` bool (n,): not trained on, and neither right nor wrong if found. `masks`: run-length codes as pycocotools has
    them, or None.
    """

    boxes: Tensor
    labels: Tensor
    crowd: Tensor
    masks: tuple[dict[str, Any], ...] | None = None

    def decoded(self) -> Tensor:
        """The masks, bool (n, H, W)."""
        from pycocotools import mask

        assert self.masks is not None
        return torch.from_numpy(np.stack([mask.decode(code) for code in self.masks])).bool()


@dataclass(frozen=True)
class ObjectSet:
    """n images with objects. `read(i)`: image uint8 (3, H, W); `sizes`: (H, W) of each; `names`: of each."""

    classes: tuple[str, ...]
    names: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    objects: tuple[Objects, ...]
    read: Callable[[int], Tensor]
    rows: tuple[int, ...] | None = None  # which of what `read` knows; None: all

    def __len__(self) -> int:
        return len(self.names)

    def image(self, index: int) -> Tensor:
        """Image number `index`, uint8 (3, H, W)."""
        return self.read(index if self.rows is None else self.rows[index])

    @property
    def has_masks(self) -> bool:
        """Whether all objects have masks."""
        return all(objects.masks is not None for objects in self.objects)

    def at(self, rows: Sequence[int]) -> ObjectSet:
        """The images at `rows`."""
        known = range(len(self)) if self.rows is None else self.rows
        return replace(
            self,
            names=tuple(self.names[i] for i in rows),
            sizes=tuple(self.sizes[i] for i in rows),
            objects=tuple(self.objects[i] for i in rows),
            rows=tuple(known[i] for i in rows),
        )

    def subset(self, count: int | None, seed: int = 0) -> ObjectSet:
        """`count` images drawn by `seed`, as evenly over the class of their first object as possible."""
        if count is None or count >= len(self):
            return self
        first = torch.tensor([int(o.labels[0]) if len(o.labels) else len(self.classes) for o in self.objects])
        return self.at(choose(first, count, seed).tolist())

    def trainable(self) -> ObjectSet:
        """The images with an object to learn from. Says how many have none; raises UserError if no image is left."""
        rows = [i for i, objects in enumerate(self.objects) if not bool(objects.crowd.all())]
        if not rows:
            raise UserError("no training image has an object; check the annotations")
        if len(rows) < len(self):
            kept = set(rows)
            first = next(name for i, name in enumerate(self.names) if i not in kept)
            say(
                f"{len(self) - len(rows)} of {len(self)} training images have no objects and are left out, such as {first}"
            )
        return self.at(rows)

    def digest(self) -> str:
        """Changes if names, sizes, boxes or labels do."""
        found = hashlib.sha256(repr((self.classes, self.names, self.sizes)).encode())
        for objects in self.objects:
            found.update(repr((objects.boxes.tolist(), objects.labels.tolist(), objects.crowd.tolist())).encode())
        return found.hexdigest()[:16]


@dataclass(frozen=True)
class ObjectSource:
    """A part to learn from and a part to measure on, of the same classes."""

    train: ObjectSet
    val: ObjectSet


@dataclass(frozen=True)
class Found:
    """An object as an annotation file has it. `label`: "" if it has none; `box`: x0 y0 x1 y1, None unless it has four
    numbers; `where`: its place in words; `mask`: see `run_lengths`."""

    label: str
    box: tuple[float, float, float, float] | None
    where: str
    crowd: bool = False
    mask: Any = None


@dataclass(frozen=True)
class Annotated:
    """An image file with what its annotations say; `size` (H, W) if they state it."""

    path: Path
    objects: tuple[Found, ...]
    size: tuple[int, int] | None = None


def checked(
    images: Sequence[Annotated],
    classes: tuple[str, ...],
    skip_broken: bool = False,
    decoding: Decoding | None = None,
    whole: bool = False,
) -> ObjectSet:
    """The images and their objects, after a look at every annotation and the header of every file.

    With `whole` the files are decoded. Boxes are cut at the image's edge. Raises UserError naming the first image that is
    missing or of another size than its annotations say, the first label that is no class, box without area in the image and
    mask of another size; with `skip_broken` these are left out instead, with one line that counts them.
    """
    number = {name: index for index, name in enumerate(classes)}
    broken: list[str] = []

    def complain(text: str) -> None:
        if not skip_broken:
            raise UserError(f"{text}; correct it, or leave out what is broken with skip_broken=True")
        broken.append(text)

    sizes = _sizes(images, decoded_size if whole else upright_size, complain)
    kept = [(image, size) for image, size in zip(images, sizes, strict=True) if size is not None]
    objects = tuple(_objects(image, size, number, complain) for image, size in kept)
    if broken:
        say(f"{len(broken)} broken annotations left out; the first: {broken[0]}")
    paths = tuple(image.path for image, _ in kept)
    names = tuple(plain_text(path.name) for path in paths)
    return ObjectSet(classes, names, tuple(size for _, size in kept), objects, _ReadFiles(paths, decoding))


def _sizes(
    images: Sequence[Annotated], size_of: Callable[[Path], tuple[int, int]], complain: Callable[[str], None]
) -> list[tuple[int, int] | None]:
    """(H, W) of each image file; None if it is missing, unreadable or not as its annotations say."""

    def size(image: Annotated) -> tuple[int, int] | str:
        if not image.path.is_file():
            return f"{plain_text(image.path)}: the annotations name this image, but there is no such file"
        try:
            here = size_of(image.path)
        except UserError as error:
            return str(error).partition("; ")[0]
        if image.size is not None and image.size != here:
            return (
                f"{plain_text(image.path)}: {here[1]}x{here[0]} pixels, but its annotations say "
                f"{image.size[1]}x{image.size[0]}"
            )
        return here

    found: list[tuple[int, int] | None] = []
    with ThreadPoolExecutor(THREADS) as pool, Progress(len(images), "image", "checking", delay=2, leave=False) as bar:
        try:
            for result in pool.map(size, images):
                if isinstance(result, str):
                    complain(result)
                found.append(None if isinstance(result, str) else result)
                bar.update()
        except UserError:
            pool.shutdown(cancel_futures=True)
            raise
    return found


def _objects(
    image: Annotated, size: tuple[int, int], number: dict[str, int], complain: Callable[[str], None]
) -> Objects:
    height, width = size
    boxes, labels, crowd, masks = [], [], [], []
    for found in image.objects:
        place = f"{plain_text(image.path.name)}: {found.where}"
        if found.label not in number:
            complain(f"{place}: class {plain_text(found.label) or 'without name'} is none of {', '.join(number)}")
            continue
        if found.box is None:
            complain(f"{place}: no box of four numbers")
            continue
        x0, y0, x1, y1 = found.box
        box = (max(0.0, x0), max(0.0, y0), min(float(width), x1), min(float(height), y1))
        if not all(map(math.isfinite, found.box)) or min(box[2] - box[0], box[3] - box[1]) < LEAST_SIDE:
            complain(f"{place}: the box {tuple(found.box)} has no area in the image of {width}x{height} pixels")
            continue
        code = None if found.mask is None else run_lengths(found.mask, size)
        if isinstance(code, str):
            complain(f"{place}: {code}")
            continue
        boxes.append(box)
        labels.append(number[found.label])
        crowd.append(found.crowd)
        masks.append(code)
    codes = [code for code in masks if code is not None]
    return Objects(
        torch.tensor(boxes).view(-1, 4),
        torch.tensor(labels, dtype=torch.int64),
        torch.tensor(crowd, dtype=torch.bool),
        tuple(codes) if len(codes) == len(masks) else None,
    )


@dataclass(frozen=True)
class _ReadFiles:
    paths: tuple[Path, ...]
    decoding: Decoding | None

    def __call__(self, index: int) -> Tensor:
        image = read_or_say(lambda path: read_image(path, self.decoding), self.paths[index], REMEDY)
        return torch.from_numpy(np.array(image).transpose(2, 0, 1).copy())


def scene_objects(image_size: int, train_images: int | None = None) -> ObjectSource:
    """The scenes, drawn at `image_size` pixels, with box and mask of the shape of each; 2,000 to learn from, 200 others."""
    rows = (range(train_images or SCENES_TRAIN), range(VAL_START, VAL_START + SCENES_VAL))
    return ObjectSource(*(_scenes(part, image_size) for part in rows))


def _scenes(indices: Sequence[int], size: int) -> ObjectSet:
    drawn = scenes(indices, size=size)
    none = torch.zeros(1, dtype=torch.bool)
    objects = tuple(
        Objects(box[None], label[None], none, (encode_mask(mask),))
        for box, label, mask in zip(drawn.boxes, drawn.labels, drawn.masks, strict=True)
    )
    names = tuple(f"scene-{index}" for index in indices)
    return ObjectSet(CLASS_NAMES, names, ((size, size),) * len(names), objects, lambda i: drawn.images[i])
