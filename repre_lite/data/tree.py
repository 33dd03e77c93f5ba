"""Pictures in folders: a labelled tree train/CLASS/*, val/CLASS/*, or any folder at all."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import torch
from torch import Tensor

from ..runtime import distributed
from ..runtime.errors import UserError
from .files import FileImages
from .image_set import ImageSet, choose
from .reading import list_images, read_squares, readable

IN_MEMORY = 96  # pixels; larger pictures stay in their files
STL_SIDE = 96  # pixels; its pictures are kept whole whatever --image-size


def load_tree(
    scale: str, root: Path, image_size: int, train_images: int | None, seed: int, skip_unreadable: bool
) -> tuple[ImageSet, ImageSet | None, ImageSet | None, int]:
    """Training, validation and labelled training pictures (see `Source`), and how many files could not be read.

    `folder` makes do without train/ and without labels, the other scales ask for train/CLASS/*. `imagenet100` picks its
    classes out of a tree of all of ImageNet's. `stl10` trains on unlabeled/ as well where there is one.
    """
    if not (root / "train").is_dir():
        if scale != "folder":
            raise UserError(f"--data {root}: has no train/ folder; --scale {scale} reads train/CLASS/* and val/CLASS/*")
        train, skipped = _unlabelled([root], root, image_size, train_images, seed, skip_unreadable)
        return train, None, None, skipped
    folder = root / "train"
    wanted = _imagenet100(folder) if scale == "imagenet100" else None
    paths, names = _listed(folder, wanted)
    if len(paths) < 2:
        raise UserError(f"--data {folder}: {len(paths)} pictures there; at least 2 are needed")
    if "" in names:
        if scale != "folder":
            raise UserError(f"--data {folder}: pictures lie outside of class folders; put each into train/CLASS/")
        train, skipped = _unlabelled([folder], root, image_size, train_images, seed, skip_unreadable)
        return train, None, None, skipped
    classes = tuple(sorted(set(names)))
    side = STL_SIDE if scale == "stl10" else image_size
    labelled, lost = _labelled(paths, names, classes, side, train_images, seed, skip_unreadable, "reading train")
    if len(labelled) < 2:
        raise UserError(f"--data {folder}: {len(labelled)} readable pictures; at least 2 are needed")
    train, skipped = labelled, lost
    if scale == "stl10" and (root / "unlabeled").is_dir():
        both = [folder, root / "unlabeled"]
        train, skipped = _unlabelled(both, root, side, train_images, seed, skip_unreadable)
    if not (root / "val").is_dir():
        return train, None, labelled, skipped
    paths, names = _listed(root / "val", wanted)
    strange = sorted(set(names) - set(classes))
    if strange == [""]:
        raise UserError(f"--data {root / 'val'}: pictures lie outside of class folders; put each into val/CLASS/")
    if strange:
        raise UserError(f"--data {root / 'val'}: class {strange[-1]!r} is not among train's; use the same folder names")
    val, lost = _labelled(paths, names, classes, side, None, seed, skip_unreadable, "reading val")
    if len(val) == 0:
        raise UserError(f"--data {root / 'val'}: no pictures there; fill it or remove it")
    return train, val, labelled, skipped + lost


def _listed(folder: Path, classes: set[str] | None) -> tuple[list[Path], list[str]]:
    """All pictures below `folder`, or those of some classes; and the class folder each lies in, "" for none."""
    found = [folder] if classes is None else [folder / name for name in sorted(classes) if (folder / name).is_dir()]
    paths = [path for place in found for path in list_images(place)]
    depth = len(folder.parts)
    return paths, [path.parts[depth] if len(path.parts) > depth + 1 else "" for path in paths]


def _imagenet100(folder: Path) -> set[str] | None:
    """The hundred classes of Contrastive Multiview Coding, where `folder` has more than a hundred; else None: all.

    The list is imagenet100.txt of https://github.com/HobbitLong/CMC.
    """
    wanted = set((resources.files(__package__) / "imagenet100.txt").read_text().split())
    there = {path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")}
    missing = sorted(wanted - there)
    if not missing:
        return wanted
    if len(there) > 100:
        raise UserError(
            f"--data {folder}: {len(there)} classes, but not {missing[0]} and {len(missing) - 1} more of ImageNet-100's; give "
            "the whole of ImageNet, or a tree of just your hundred classes"
        )
    if distributed.is_main():
        print(f"--data {folder}: taken as it is, {len(there)} classes; they are not the usual hundred of ImageNet-100")
    return None


def _labelled(
    paths: list[Path],
    names: list[str],
    classes: tuple[str, ...],
    side: int,
    count: int | None,
    seed: int,
    skip_unreadable: bool,
    what: str,
) -> tuple[ImageSet, int]:
    """A subset of `count` pictures, every class alike, and how many of them could not be read."""
    number = {name: index for index, name in enumerate(classes)}
    labels = torch.tensor([number[name] for name in names])
    chosen = choose(labels, count, seed)
    images, kept = _images([paths[i] for i in chosen.tolist()], side, skip_unreadable, what)
    return ImageSet(images, labels[chosen][kept], classes), len(chosen) - len(kept)


def _unlabelled(
    folders: list[Path], root: Path, side: int, count: int | None, seed: int, skip_unreadable: bool
) -> tuple[ImageSet, int]:
    """The same of all that lies below `folders`, without labels."""
    paths = [path for folder in folders for path in list_images(folder)]
    chosen = choose(torch.zeros(len(paths), dtype=torch.int64), count, seed)
    images, kept = _images([paths[i] for i in chosen.tolist()], side, skip_unreadable, "reading pictures")
    if len(kept) < 2:
        raise UserError(f"--data {root}: {len(kept)} readable pictures there; at least 2 are needed")
    return ImageSet(images, None, ()), len(chosen) - len(kept)


def _images(paths: list[Path], side: int, skip_unreadable: bool, what: str) -> tuple[Tensor | FileImages, list[int]]:
    """Pictures up to 96 pixels as one tensor, larger ones left in their files, at 8/7 of the wanted side so that the centre
    can be cut out; and which of `paths` they are. To leave unreadable files out, all are read once."""
    if side <= IN_MEMORY:
        return read_squares(paths, side, skip_unreadable, what)
    kept = readable(paths, what) if skip_unreadable else list(range(len(paths)))
    return FileImages([paths[i] for i in kept], round(side * 256 / 224)), kept
