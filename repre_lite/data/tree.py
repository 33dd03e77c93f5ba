"""Images in folders: a labelled tree train/CLASS/*, val/CLASS/*, or any folder of images."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import torch

from ..runtime.errors import UserError
from ..runtime.text import plain_text
from .image_set import ImageSet
from .listing import list_images, listing, say_once, suffixes
from .loading import Files, Reader
from .naming import origin_of
from .reading import Decoding
from .survey import folder_levels

STL_SIDE = 96  # pixels; STL-10's images are kept whole whatever the image size


@dataclass(frozen=True)
class Tree:
    """The files of a data set: those to train on, those to validate on, and the labelled training files."""

    train: Files
    val: Files | None = None
    labelled: Files | None = None


def load_tree(
    scale: str,
    root: Path,
    *,
    image_size: int,
    train_images: int | None,
    seed: int,
    skip_unreadable: bool,
    max_pixels: int | None,
) -> tuple[ImageSet, ImageSet | None, ImageSet | None, int, str]:
    """Training, validation and labelled training images, the number of files that cannot be read, and the origin (see
    `Source`)."""
    tree = list_tree(scale, root)
    decoding = Decoding(folder_levels(tree.train.paths, max_pixels), max_pixels)
    reader = Reader(STL_SIDE if scale == "stl10" else image_size, decoding, skip_unreadable)
    chosen = tree.train.subset(train_images, seed)
    train, lost = reader.read(chosen, "reading train", in_place=True)
    readable = len(chosen) - lost
    if readable < 2:
        raise UserError(
            f"data={plain_text(root)}: only {readable} readable training image{'s' * (readable != 1)}; give at least 2"
        )
    labelled = train if tree.labelled is tree.train else None
    if labelled is None and tree.labelled is not None:
        labelled, _ = reader.read(tree.labelled.subset(train_images, seed), "reading labelled", in_place=True)
    origin = origin_of(scale, tree.train.paths)
    if tree.val is None:
        return train, None, labelled, lost, origin
    val, lost_val = reader.read(tree.val, "reading val")
    if len(val) == 0:
        raise UserError(f"data={plain_text(root / 'val')}: no readable images; add some or remove the folder")
    return train, val, labelled, lost + lost_val, origin


def list_tree(scale: str, root: Path) -> Tree:
    """The image files below `root`, split into parts.

    `folder` needs neither train/ nor labels, and if images lie in folders beside a train/ without classes, train/ is one of
    them; the other scales need train/CLASS/*. `imagenet100` takes its classes out of
    a tree of all of ImageNet's. `stl10` trains on unlabeled/ too if there is one. Raises UserError if files are missing.
    """
    folder = root / "train"
    if not folder.is_dir():
        if scale != "folder":
            raise UserError(
                f"data={plain_text(root)}: has no train/ folder; scale={scale} reads train/CLASS/* and val/CLASS/*"
            )
        return Tree(Files(_images(root)))
    wanted = _imagenet100(folder) if scale == "imagenet100" else None
    paths = _images(folder, wanted)
    names = [_class_of(path, folder) for path in paths]
    if "" in names:
        if scale != "folder":
            raise UserError(
                f"data={plain_text(folder)}: some images lie outside the class folders; put each into train/CLASS/"
            )
        if _siblings(root):
            return Tree(Files(_images(root)))
        _say_left_out(root)
        return Tree(Files(paths))
    if scale == "folder":
        _say_left_out(root)
    classes = sorted(set(names))
    train = labelled = _labelled(paths, names, classes)
    if scale == "stl10" and (root / "unlabeled").is_dir():
        train = Files([*paths, *list_images(root / "unlabeled")])
    if not (root / "val").is_dir():
        return Tree(train, None, labelled)
    paths = _images(root / "val", wanted, least=1)
    names = [_class_of(path, root / "val") for path in paths]
    strange = sorted(set(names) - set(classes))
    where = f"data={plain_text(root / 'val')}"
    if strange == [""]:
        raise UserError(f"{where}: some images lie outside the class folders; put each into val/CLASS/")
    if strange:
        raise UserError(
            f"{where}: class '{plain_text(strange[-1])}' is not among the training classes; use the same folder names"
        )
    return Tree(train, _labelled(paths, names, classes), labelled)


def _siblings(root: Path) -> dict[str, int]:
    """How many images lie in the folders beside train/, val/ and the parts that public data sets have, by name."""
    parts = ("train", "val", "test", "unlabeled")
    folders = sorted(
        path for path in root.iterdir() if path.is_dir() and path.name not in parts and path.name[0] != "."
    )
    counts = {path.name: len(list_images(path)) for path in folders}
    return {name: count for name, count in counts.items() if count}


def _say_left_out(root: Path) -> None:
    """Say which images beside train/ are not read."""
    others = {f"{plain_text(name)}/": count for name, count in _siblings(root).items()}
    if loose := sum(path.suffix.lower() in suffixes() and path.is_file() for path in root.glob("[!.]*")):
        others["in no folder"] = loose
    if others:
        listed = ", ".join(f"{name} {count}" for name, count in others.items())
        say_once(f"{plain_text(root)}: images outside of train/ and val/ are left out: {listed}")


def _images(folder: Path, classes: set[str] | None = None, least: int = 2) -> list[Path]:
    """All image files below `folder`, or below those of its subfolders named `classes`.

    Says which other files are left out, and raises UserError if there are fewer than `least` images.
    """
    places = [folder] if classes is None else [folder / name for name in sorted(classes) if (folder / name).is_dir()]
    found = [listing(place) for place in places]
    paths = [path for part in found for path in part.paths]
    others = sum((part.left_out for part in found), Counter())
    left_out = ", ".join(f"{count} {plain_text(suffix)}" for suffix, count in others.most_common())
    if len(paths) < least:
        also = f", and other files: {left_out}" if left_out else ""
        count = f"{len(paths)} image{'s' * (len(paths) != 1)} found"
        needed = f"at least {least} {'is' if least == 1 else 'are'} needed"
        raise UserError(f"data={plain_text(folder)}: {count}{also}; {needed}")
    if left_out:
        say_once(f"{plain_text(folder)}: not images, left out: {left_out}")
    return paths


def _class_of(path: Path, folder: Path) -> str:
    """The subfolder of `folder` that holds `path`, "" for none."""
    depth = len(folder.parts)
    return path.parts[depth] if len(path.parts) > depth + 1 else ""


def _labelled(paths: list[Path], names: list[str], classes: list[str]) -> Files:
    """Files with labels; the classes' names as plain text."""
    number = {name: index for index, name in enumerate(classes)}
    return Files(paths, torch.tensor([number[name] for name in names]), tuple(map(plain_text, classes)))


def _imagenet100(folder: Path) -> set[str] | None:
    """The hundred classes of Contrastive Multiview Coding if `folder` has more than a hundred; None, for all, if not.

    The list is imagenet100.txt of https://github.com/HobbitLong/CMC.
    """
    wanted = set((resources.files(__package__) / "imagenet100.txt").read_text().split())
    there = {path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")}
    missing = sorted(wanted - there)
    if not missing:
        return wanted
    name = plain_text(folder)
    if len(there) > 100:
        rest = f" and {len(missing) - 1} more of ImageNet-100 are" if missing[1:] else " of ImageNet-100 is"
        raise UserError(
            f"data={name}: {len(there)} classes, but {missing[0]}{rest} missing; give all of ImageNet, or a tree with "
            "only your hundred classes"
        )
    say_once(f"{name}: taken as it is, {len(there)} classes; they are not the usual hundred of ImageNet-100")
    return None
