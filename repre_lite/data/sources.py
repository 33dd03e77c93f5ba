"""Where pictures come from: the scenes, CIFAR and STL, any labelled tree, any folder.

Small pictures become one uint8 tensor; larger ones stay in their files.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from torch import Tensor

from ..runtime.errors import UserError
from ..runtime.randomness import generator
from .cache import fingerprint
from .files import FileImages
from .reading import list_pictures, read_squares, readable
from .scenes import CLASS_NAMES, VAL_START, scenes

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
STANDARD: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "imagenet100": IMAGENET,
    "imagenet1k": IMAGENET,
}
SCENES_TRAIN, SCENES_VAL = 20_000, 2_000
IN_MEMORY = 96  # pixels; larger pictures stay in their files


@dataclass(frozen=True)
class Pictures:
    """`images` uint8 (n, 3, H, W), or files that read like it; `labels` int64 (n,) into `classes`, or None."""

    images: Tensor | FileImages
    labels: Tensor | None
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Source:
    """Training and validation pictures, what they are normalised with (in [0, 1]), how many files were unreadable, and
    a `fingerprint` that changes when the pictures do."""

    name: str
    train: Pictures
    val: Pictures | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    skipped: int
    fingerprint: str


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
    val: Pictures | None
    if scale in ("cifar10", "cifar100", "stl10") and (data is None or _is_torchvision_root(scale, Path(data))):
        whole, val = _torchvision(scale, data)
        train, skipped = _subset(whole, train_images, seed), 0
    else:
        train, val, skipped = _tree(scale, Path(data), image_size, train_images, seed, skip_unreadable)  # type: ignore[arg-type]
    mean, std = STANDARD.get(scale) or _measure(train.images)
    return Source(scale, train, val, mean, std, skipped, _fingerprint(train, val))


def _scenes(image_size: int, train_images: int | None, seed: int) -> Source:
    """The same world for every seed of a run; a subset is the first so many, which the turn-taking labels balance."""
    train, val = (
        scenes(range(train_images or SCENES_TRAIN), size=image_size),
        scenes(range(VAL_START, VAL_START + SCENES_VAL), size=image_size),
    )
    parts = [Pictures(part.pictures, part.labels, CLASS_NAMES) for part in (train, val)]
    mean, std = _measure(parts[0].images)
    return Source("scenes", parts[0], parts[1], mean, std, 0, f"scenes-{image_size}-{len(parts[0])}")


def _find(scale: str) -> str | None:
    """A data set in $REPRE_LITE_DATA or data/ by its name; None means torchvision may download it into data/."""
    places = [Path(os.environ["REPRE_LITE_DATA"])] if os.environ.get("REPRE_LITE_DATA") else []
    for place in [*places, Path("data")]:
        if (place / scale / "train").is_dir():
            return str(place / scale)
        for root in (place, place / scale):
            if _is_torchvision_root(scale, root):
                return str(root)
    if scale in ("cifar10", "cifar100", "stl10"):
        return None
    raise UserError(
        f"--scale {scale} needs --data DIR: a folder with train/CLASS/* and val/CLASS/*, or your own pictures"
    )


TORCHVISION_FOLDERS = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python", "stl10": "stl10_binary"}


def _is_torchvision_root(scale: str, root: Path) -> bool:
    return scale in TORCHVISION_FOLDERS and (root / TORCHVISION_FOLDERS[scale]).is_dir()


def _torchvision(scale: str, data: str | None) -> tuple[Pictures, Pictures]:
    """CIFAR-10, CIFAR-100 or STL-10 as torchvision keeps them; STL trains on its labelled and unlabelled pictures."""
    make: dict[str, Callable[..., Any]] = {
        "cifar10": torchvision.datasets.CIFAR10,
        "cifar100": torchvision.datasets.CIFAR100,
        "stl10": torchvision.datasets.STL10,
    }
    root, download = data or "data", data is None
    try:
        if scale == "stl10":
            train, val = (make[scale](root, split=s, download=download) for s in ("train+unlabeled", "test"))
            parts = [
                Pictures(torch.from_numpy(d.data), torch.from_numpy(d.labels).long(), tuple(d.classes))
                for d in (train, val)
            ]
            return replace(parts[0], labels=None), parts[1]
        train, val = (make[scale](root, train=flag, download=download) for flag in (True, False))
    except (RuntimeError, OSError, ValueError, ImportError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"--scale {scale}: not found and not downloadable here ({reason}); give --data DIR, a tree train/CLASS/*, "
            "val/CLASS/* or a torchvision root"
        ) from None
    parts = [
        Pictures(
            torch.from_numpy(np.ascontiguousarray(d.data.transpose(0, 3, 1, 2))),
            torch.tensor(d.targets),
            tuple(d.classes),
        )
        for d in (train, val)
    ]
    return parts[0], parts[1]


def _tree(
    scale: str, root: Path, image_size: int, train_images: int | None, seed: int, skip_unreadable: bool
) -> tuple[Pictures, Pictures | None, int]:
    """A folder tree; `folder` makes do without train/ and without labels, the other scales ask for train/CLASS/*."""
    labelled = (root / "train").is_dir()
    if not labelled and scale != "folder":
        raise UserError(f"--data {root}: has no train/ folder; --scale {scale} reads train/CLASS/* and val/CLASS/*")
    folder = root / "train" if labelled else root
    paths = list_pictures(folder)
    if len(paths) < 2:
        raise UserError(f"--data {folder}: {len(paths)} pictures there; at least 2 are needed")
    names = [path.relative_to(folder).parts[0] if len(path.relative_to(folder).parts) > 1 else "" for path in paths]
    if not labelled or "" in names:
        if scale != "folder":
            raise UserError(f"--data {folder}: pictures lie outside of class folders; put each into train/CLASS/")
        names = [""] * len(names)
    classes = tuple(sorted(set(names)))
    labels = torch.tensor([classes.index(name) for name in names])
    chosen = _choose(labels, train_images, seed)
    paths, labels = [paths[i] for i in chosen.tolist()], labels[chosen]
    images, kept = _images(paths, image_size, skip_unreadable, "reading train")
    if len(kept) < 2:
        raise UserError(f"--data {folder}: {len(kept)} readable pictures; at least 2 are needed")
    known = classes != ("",)
    train = Pictures(images, labels[kept] if known else None, classes if known else ())
    if not (root / "val").is_dir() or not known:
        return train, None, len(paths) - len(kept)
    val_paths = list_pictures(root / "val")
    val_names = [path.relative_to(root / "val").parts[0] for path in val_paths]
    strange = sorted(set(val_names) - set(classes))
    if strange:
        raise UserError(f"--data {root / 'val'}: class {strange[0]!r} is not among train's; use the same folder names")
    if not val_paths:
        raise UserError(f"--data {root / 'val'}: no pictures there; fill it or remove it")
    val_images, val_kept = _images(val_paths, image_size, skip_unreadable, "reading val")
    val_labels = torch.tensor([classes.index(val_names[i]) for i in val_kept])
    skipped = len(paths) - len(kept) + len(val_paths) - len(val_kept)
    return train, Pictures(val_images, val_labels, classes), skipped


def _images(
    paths: list[Path], image_size: int, skip_unreadable: bool, what: str
) -> tuple[Tensor | FileImages, list[int]]:
    """Pictures up to 96 pixels as one tensor, larger ones left in their files, the side 8/7 of the wanted one so that the
    centre can be cut out; and which of `paths` they are. To leave unreadable files out, all are read once."""
    if image_size <= IN_MEMORY:
        return read_squares(paths, image_size, skip_unreadable, what)
    kept = readable(paths, what) if skip_unreadable else list(range(len(paths)))
    return FileImages([paths[i] for i in kept], round(image_size * 256 / 224)), kept


def _choose(labels: Tensor, count: int | None, seed: int) -> Tensor:
    """Indices of a subset of `count`, as even over classes as they allow, in their old order."""
    if count is None or count >= len(labels):
        return torch.arange(len(labels))
    shuffled = torch.randperm(len(labels), generator=generator(seed, "subset"))
    order = shuffled[labels[shuffled].argsort(stable=True)]
    ordered = labels[order]
    turn = torch.arange(len(order)) - torch.searchsorted(ordered, ordered)  # place within its class
    return order[turn.argsort(stable=True)[:count]].sort().values


def _subset(pictures: Pictures, count: int | None, seed: int) -> Pictures:
    labels = torch.zeros(len(pictures), dtype=torch.int64) if pictures.labels is None else pictures.labels
    chosen = _choose(labels, count, seed)
    return replace(pictures, images=pictures.images[chosen], labels=None if pictures.labels is None else labels[chosen])


def _measure(images: Tensor | FileImages) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each colour in [0, 1] over up to 10,000 pictures, 500 of those in files."""
    most = 500 if isinstance(images, FileImages) else 10_000
    x = images[:: max(1, len(images) // most)].transpose(0, 1).flatten(1).double() / 255  # (3, ...)
    return tuple(x.mean(1).tolist()), tuple(x.std(1).clamp(min=1e-3).tolist())


def _fingerprint(train: Pictures, val: Pictures | None) -> str:
    digest = hashlib.sha256()
    for part in (train, val):
        if part is not None and isinstance(part.images, FileImages):
            digest.update(fingerprint(part.images.paths, Path(os.path.commonpath(part.images.paths))).encode())
        elif part is not None:
            digest.update(f"{tuple(part.images.shape)}/{part.classes}".encode())
            digest.update(part.images[:: max(1, len(part) // 64)].contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
