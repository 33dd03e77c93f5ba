"""Images with a class for every pixel: a tree of `images/` and `labels/`, or the scenes.

A tree holds `images/train/*`, `images/val/*` (further folders such as `test` are parts too) and, under the same names,
`labels/train/*.png`, `labels/val/*.png`: masks of class ids, each of the size of its image. `classes.txt` may name the
classes, one a line, from id 0. Everything is checked before it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..runtime.errors import UserError
from ..runtime.progress import Progress
from ..runtime.text import plain_text
from .image_set import choose
from .listing import list_images
from .reading import THREADS, Decoding, decoded_size, opened, read_image, read_or_say, upright_size
from .scenes import CLASS_NAMES, VAL_START, scenes
from .survey import folder_levels

IGNORE = -100  # the class of a pixel that does not count, as in torch.nn.functional.cross_entropy
SCENES_TRAIN, SCENES_VAL = 2_000, 500
GROUND = "ground"  # class 0 of the scenes: all pixels outside of the shape
VAL_NAMES = ("val", "validation", "test")  # the first that is there is the validation part
LOSSY = ("AVIF", "JPEG", "JPEG2000", "MPO", "WEBP")  # formats of Pillow that may change class ids
MODES = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L")  # of Pillow, with one number for each pixel
MOST_CLASSES = 1000
REMEDY = "repair it, or remove it from images/ and labels/"


@dataclass(frozen=True)
class MaskSet:
    """n images with masks, read when asked for: `masks[i]` is (image uint8 (3, H, W), mask int64 (H, W)).

    A mask holds a class in [0, len(classes)) for every pixel, or IGNORE. Images may differ in size. `names`: the path of
    each image below its part, without suffix; `sizes`: (H, W) of each; `pixels` int64 (n, classes): how many pixels of
    each class an image has.
    """

    classes: tuple[str, ...]
    names: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    pixels: Tensor
    read: Callable[[int], tuple[Tensor, Tensor]]
    rows: tuple[int, ...] | None = None  # which of what `read` knows; None: all

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Image uint8 (3, H, W) and mask int64 (H, W) number `index`."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.read(index if self.rows is None else self.rows[index])

    def at(self, rows: Sequence[int]) -> MaskSet:
        """The images at `rows`."""
        known = range(len(self)) if self.rows is None else self.rows
        return replace(
            self,
            names=tuple(self.names[i] for i in rows),
            sizes=tuple(self.sizes[i] for i in rows),
            pixels=self.pixels[list(rows)],
            rows=tuple(known[i] for i in rows),
        )

    def subset(self, count: int | None, seed: int = 0) -> MaskSet:
        """`count` images drawn by `seed`, in their old order; all if there are fewer.

        A smaller subset is part of a larger one. The draw is even over the rarest class that each image holds.
        """
        if count is None or count >= len(self):
            return self
        holds = self.pixels > 0  # (n, classes)
        rarest = torch.where(holds, holds.sum(0), len(self) + 1).argmin(1)  # (n,)
        return self.at(choose(rarest, count, seed).tolist())

    def shares(self) -> Tensor:
        """The share of each class among the labelled pixels, float64 (classes,)."""
        total = self.pixels.sum(0).double()
        return total / total.sum().clamp(min=1)


@dataclass(frozen=True)
class MaskSource:
    """A part to learn from and a part to measure on, of the same classes. `name` says which images they are."""

    name: str
    train: MaskSet
    val: MaskSet


def load_masks(
    data: str | Path | None = None,
    image_size: int = 32,
    train_images: int | None = None,
    ignore_label: int = 255,
    seed: int = 0,
) -> MaskSource:
    """Images and masks of the tree `data`; without it the scenes, drawn at `image_size` pixels.

    The scenes have class 0, the ground, and one class for each shape: 2,000 images to learn from and 500 others.
    `train_images`: a subset to learn from, drawn by `seed`. `ignore_label`: the id in mask files of pixels that do not
    count. Raises UserError naming the file for a missing or unreadable file, a mask of another size than its image, and
    a label that `classes.txt` does not name, before anything else is done.
    """
    if data is None:
        drawn = (range(train_images or SCENES_TRAIN), range(VAL_START, VAL_START + SCENES_VAL))
        return MaskSource("scenes", *(_scenes(rows, image_size) for rows in drawn))
    root = Path(data)
    for folder in ("images", "labels"):
        if not (root / folder).is_dir():
            raise UserError(
                f"data={plain_text(root)}: no folder {folder}/; give a folder that holds images/train/*, images/val/* and "
                "masks under the same names in labels/"
            )
    parts = {part: _pairs(root, part) for part in _parts(root)}
    named = _class_names(root)
    found = {part: _survey(pairs, part != "train", named, ignore_label) for part, pairs in parts.items()}
    for part, (_, pixels) in found.items():
        if not any(map(torch.count_nonzero, pixels)):
            folder = plain_text(root / "labels" / part)
            raise UserError(f"{folder}: every pixel has ignore_label={ignore_label}; correct the masks")
    classes = named or tuple(map(str, range(max(len(pixels[0]) for _, pixels in found.values()))))
    if len(classes) < 2:
        held = f"{len(classes)} class{'es' * (len(classes) != 1)} besides ignore_label={ignore_label}"
        raise UserError(f"data={plain_text(root)}: the masks hold {held}; at least two are needed")
    decoding = Decoding(folder_levels([image for image, _ in parts["train"]]))
    train, val = (_file_set(root, part, parts[part], *found[part], classes, ignore_label, decoding) for part in parts)
    return MaskSource(root.name, train.subset(train_images, seed), val)


def is_mask_tree(data: str | Path) -> bool:
    """Whether the folder `data` holds images and masks as `load_masks` reads them."""
    return all((Path(data) / folder).is_dir() for folder in ("images", "labels"))


def _scenes(indices: Sequence[int], size: int) -> MaskSet:
    drawn = scenes(indices, size=size)
    masks = torch.where(drawn.masks, drawn.labels[:, None, None] + 1, 0).to(torch.uint8)  # (n, H, W)
    classes = (GROUND, *CLASS_NAMES)
    pixels = torch.stack([(masks == label).sum((1, 2)) for label in range(len(classes))], dim=1)  # (n, classes)
    names = tuple(f"scene-{index}" for index in indices)
    return MaskSet(classes, names, ((size, size),) * len(names), pixels, partial(_drawn_pair, drawn.images, masks))


def _drawn_pair(images: Tensor, masks: Tensor, index: int) -> tuple[Tensor, Tensor]:
    return images[index], masks[index].long()


def _parts(root: Path) -> tuple[str, str]:
    """The names of the part to learn from and the part to measure on."""
    val = next((name for name in VAL_NAMES if (root / "images" / name).is_dir()), None)
    if val is None or not (root / "images" / "train").is_dir():
        raise UserError(
            f"data={plain_text(root)}: images/ needs the folders train/ and val/; move the images into them, and the masks "
            "into the same folders in labels/"
        )
    return "train", val


def _pairs(root: Path, part: str) -> list[tuple[Path, Path]]:
    """Image and mask files of a part, which have the same names but for their suffix."""
    images, masks = (_by_name(root / folder / part) for folder in ("images", "labels"))
    for name, path in images.items():
        if name not in masks:
            raise UserError(
                f"{plain_text(path)}: no mask labels/{part}/{plain_text(name)}.png; add it or remove the image"
            )
    for name, path in masks.items():
        if name not in images:
            raise UserError(
                f"{plain_text(path)}: a mask without an image in images/{part}; add the image or remove the mask"
            )
    if not images:
        raise UserError(f"data={plain_text(root)}: no images in images/{part}; add some")
    return [(path, masks[name]) for name, path in images.items()]


def _by_name(folder: Path) -> dict[str, Path]:
    """The image files below `folder` by their path in it without suffix, with / between folders."""
    found: dict[str, Path] = {}
    if not folder.is_dir():
        raise UserError(f"data={plain_text(folder)}: no such folder; images/ and labels/ need the same subfolders")
    for path in list_images(folder):
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            raise UserError(f"{plain_text(path)}: {found[name].name} has the same name; rename or remove one of them")
        found[name] = path
    return found


def _class_names(root: Path) -> tuple[str, ...]:
    """The lines of classes.txt; empty if there is no such file. Raises UserError for an empty line, since ids are counted."""
    path = root / "classes.txt"
    if not path.is_file():
        return ()
    try:
        names = [plain_text(line.strip()) for line in path.read_text(encoding="utf-8-sig").rstrip().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{plain_text(path)}: cannot be read ({error}); save it as UTF-8 text") from None
    for index, name in enumerate(names):
        if not name or name in names[:index]:
            wrong = f"{name!r} twice" if name else f"line {index + 1} is empty"
            raise UserError(f"{plain_text(path)}: {wrong}; give every class its own name, one per line, from id 0")
    return tuple(names)


def _survey(
    pairs: Sequence[tuple[Path, Path]], whole: bool, named: tuple[str, ...], ignore_label: int
) -> tuple[list[tuple[int, int]], list[Tensor]]:
    """Size and pixels of each class, (classes,), of every image. Raises UserError for the first broken mask.

    `whole`: also for the first broken image, which is decoded, since it is not needed before training ends.
    """
    size_of, most = decoded_size if whole else upright_size, len(named) or MOST_CLASSES  # classes

    def check(pair: tuple[Path, Path]) -> tuple[tuple[int, int], Tensor]:
        image, path = pair
        mask, size = read_mask(path, ignore_label), read_or_say(size_of, image, REMEDY)
        if tuple(mask.shape) != size:
            raise UserError(
                f"{plain_text(path)}: {mask.shape[1]}x{mask.shape[0]} pixels, but its image {plain_text(image.name)} has "
                f"{size[1]}x{size[0]}; save the mask at the size of its image"
            )
        labels = mask[mask != IGNORE]  # (pixels,)
        wrong = labels[(labels < 0) | (labels >= most)]
        if len(wrong):
            known = f"classes.txt names {most} classes, 0 to {most - 1}" if named else f"ids are 0 to {most - 1}"
            raise UserError(
                f"{plain_text(path)}: label {int(wrong[0])}, but {known}; correct it, or give "
                f"ignore_label={int(wrong[0])} if such pixels do not count"
            )
        return size, torch.bincount(labels, minlength=len(named))  # (classes,)

    sizes, counts = [], []
    with ThreadPoolExecutor(THREADS) as pool, Progress(len(pairs), "mask", "checking", delay=2, leave=False) as bar:
        try:
            for size, pixels in pool.map(check, pairs):
                sizes.append(size)
                counts.append(pixels)
                bar.update()
        except UserError:
            pool.shutdown(cancel_futures=True)
            raise
    width = max(map(len, counts))
    return sizes, [F.pad(pixels, (0, width - len(pixels))) for pixels in counts]


def _file_set(
    root: Path,
    part: str,
    pairs: Sequence[tuple[Path, Path]],
    sizes: Sequence[tuple[int, int]],
    counts: Sequence[Tensor],
    classes: tuple[str, ...],
    ignore_label: int,
    decoding: Decoding,
) -> MaskSet:
    names = tuple(image.relative_to(root / "images" / part).with_suffix("").as_posix() for image, _ in pairs)
    pixels = torch.stack(list(counts))
    pixels = F.pad(pixels, (0, len(classes) - pixels.shape[1]))  # (n, classes)
    return MaskSet(classes, names, tuple(sizes), pixels, partial(_read_pair, tuple(pairs), ignore_label, decoding))


def _read_pair(
    pairs: Sequence[tuple[Path, Path]], ignore_label: int, decoding: Decoding, index: int
) -> tuple[Tensor, Tensor]:
    image, mask = pairs[index]
    pixels = np.array(read_or_say(lambda path: read_image(path, decoding), image, REMEDY))  # (H, W, 3)
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy()), read_mask(mask, ignore_label)


def read_mask(path: Path, ignore_label: int = 255) -> Tensor:
    """The class ids in a mask file, int64 (H, W); pixels of `ignore_label` become IGNORE.

    Raises UserError naming the file if it cannot be read, holds colours, or may have lost ids by compression.
    """

    read = partial(opened, decoding=Decoding(), use=lambda image: (image.format, image.mode, np.array(image)))
    kind, mode, values = read_or_say(read, path, REMEDY)
    if kind in LOSSY:
        raise UserError(f"{plain_text(path)}: {kind} compression changes class ids; save masks as .png")
    if mode not in MODES:
        raise UserError(
            f"{plain_text(path)}: an image of mode {mode}, not a mask of class ids; save one number for each pixel "
            "(greyscale or palette)"
        )
    mask = torch.from_numpy(values.astype(np.int64))  # (H, W)
    return mask.masked_fill(mask == ignore_label, IGNORE)
