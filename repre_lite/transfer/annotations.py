"""Readers of annotation files: a folder in COCO's or in Pascal VOC's layout."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..data.listing import suffixes
from ..data.reading import Decoding
from ..data.survey import folder_levels
from ..runtime.errors import UserError
from ..runtime.text import plain_text
from .objects import Annotated, Found, ObjectSource, checked

HELD_OUT = 5  # every fifth image is measured on if a folder names no validation part
LAYOUTS = (
    "a folder in COCO's layout (annotations/*train*.json, annotations/*val*.json) or in Pascal VOC's (Annotations/*.xml, "
    "JPEGImages/)"
)


def load_objects(data: str | Path, train_images: int | None, seed: int, skip_broken: bool) -> ObjectSource:
    """Images and objects of the folder `data`, in COCO's or Pascal VOC's layout, whichever is found.

    `train_images`: a subset to learn from, drawn by `seed`; `skip_broken`: see `checked`. Raises UserError for a folder of
    another layout and for broken annotations.
    """
    root = Path(data)
    if not root.is_dir():
        raise UserError(f"data={plain_text(root)}: no such folder; give {LAYOUTS}")
    source = _coco(root, skip_broken) or _voc(root, skip_broken)
    if source is None:
        raise UserError(f"data={plain_text(root)}: neither layout found; give {LAYOUTS}")
    return ObjectSource(source.train.trainable().subset(train_images, seed), source.val)


# -- COCO


def _coco(root: Path, skip_broken: bool) -> ObjectSource | None:
    """A data set in COCO's layout; None if there is none."""
    parts = [_coco_file(root, part) for part in ("train", "val")]
    if parts == [None, None]:
        return None
    for part, path in zip(("train", "val"), parts, strict=True):
        if path is None:
            raise UserError(
                f"data={plain_text(root)}: no annotations for {part}; add annotations/instances_{part}.json"
            )
    held = [_coco_json(path) for path in parts if path is not None]
    classes = tuple(str(c["name"]) for c in sorted(held[0]["categories"], key=lambda c: c["id"]))
    train, val = (
        list(_coco_images(root, path, values))
        for path, values in zip([p for p in parts if p is not None], held, strict=True)
    )
    return _source(train, val, classes, skip_broken)


def _coco_file(root: Path, part: str) -> Path | None:
    """The annotation file of a part: that of instances if there are several."""
    names = ("valid", "val", "test") if part == "val" else (part,)
    for name in names:
        beside = root / name / "_annotations.coco.json"
        found = sorted((root / "annotations").glob(f"*{name}*.json"), key=lambda path: "instances" not in path.name)
        for path in (*found, beside):
            if path.is_file():
                return path
    return None


def _coco_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if all(isinstance(values[key], list) for key in ("images", "annotations", "categories")):
            return dict(values)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise UserError(f"{plain_text(path)}: not COCO's format; it needs the lists images, annotations and categories")


def _coco_images(root: Path, path: Path, values: dict[str, Any]) -> Iterator[Annotated]:
    names = {category["id"]: str(category["name"]) for category in values["categories"]}
    held: dict[Any, list[Found]] = {}
    known = {image["id"] for image in values["images"]}
    for annotation in values["annotations"]:
        where = f"annotation {annotation.get('id')} of {path.name}"
        if annotation.get("image_id") not in known:
            raise UserError(f"{where}: there is no image {annotation.get('image_id')}; remove the annotation")
        label = names.get(annotation.get("category_id"), f"id {annotation.get('category_id')}")
        box = annotation.get("bbox") or (0, 0, 0, 0)
        x, y, width, height = map(float, box)
        mask = annotation.get("segmentation") or None
        crowd = bool(annotation.get("iscrowd", 0))
        held.setdefault(annotation["image_id"], []).append(
            Found(label, (x, y, x + width, y + height), where, crowd, mask)
        )
    part = path.stem.removeprefix("instances_")
    places = [root / part, root / "images" / part, path.parent, root / "images", root]
    for image in values["images"]:
        name = image["file_name"]
        file = next((place / name for place in places if (place / name).is_file()), places[0] / name)
        size = (image["height"], image["width"]) if "height" in image and "width" in image else None
        yield Annotated(file, tuple(held.get(image["id"], ())), size)


# -- Pascal VOC


def _voc(root: Path, skip_broken: bool) -> ObjectSource | None:
    """A data set in Pascal VOC's layout; None if there is none. Also found in VOCdevkit/VOC2012 and the like."""
    places = [root, *sorted(root.glob("VOC*")), *sorted(root.glob("VOCdevkit/VOC*"))]
    here = next((place for place in places if (place / "Annotations").is_dir()), None)
    if here is None:
        return None
    train_names, val_names = _voc_parts(here)
    train, val = ([_voc_image(here, name) for name in part] for part in (train_names, val_names))
    classes = tuple(sorted({found.label for image in train for found in image.objects}))
    if not classes:
        raise UserError(f"data={plain_text(root)}: no training image has an object; check the annotations")
    return _source(train, val, classes, skip_broken)


def _source(train: list[Annotated], val: list[Annotated], classes: tuple[str, ...], skip_broken: bool) -> ObjectSource:
    """Both parts; images of more than 8 bits are decoded by one rule, that of the images to learn from."""
    decoding = Decoding(folder_levels([image.path for image in train]))
    return ObjectSource(*(checked(part, classes, skip_broken, decoding) for part in (train, val)))


def _voc_parts(root: Path) -> tuple[list[str], list[str]]:
    """The names to learn from and to measure on: those of ImageSets/Main, or every fifth annotation is held out."""
    listed = [_voc_names(root / "ImageSets" / "Main" / f"{part}.txt") for part in ("train", "trainval", "val", "test")]
    train, val = listed[0] or listed[1], listed[2] or listed[3]
    names = train or sorted(path.stem for path in (root / "Annotations").glob("*.xml"))
    if len(names) < 2:
        raise UserError(f"data={plain_text(root)}: {len(names)} annotations in Annotations/*.xml; at least 2 needed")
    if not val or set(val) & set(names):
        val = names[HELD_OUT - 1 :: HELD_OUT] or names[-1:]
        names = [name for name in names if name not in set(val)]
    return names, val


def _voc_names(path: Path) -> list[str]:
    if not path.is_file():
        return []
    return [line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _voc_image(root: Path, name: str) -> Annotated:
    path = root / "Annotations" / f"{name}.xml"
    try:
        tree = ElementTree.parse(path).getroot()
    except FileNotFoundError:
        raise UserError(
            f"{plain_text(path)}: no such annotation, but ImageSets/Main names it; add or remove it"
        ) from None
    except (ElementTree.ParseError, OSError) as error:
        raise UserError(f"{plain_text(path)}: not readable as XML ({error}); repair or remove it") from None
    numbers = [tree.findtext(f"size/{side}") for side in ("height", "width")]
    stated = tuple(int(float(number)) for number in numbers if number and float(number) > 0)
    size = (stated[0], stated[1]) if len(stated) == 2 else None
    return Annotated(_voc_file(root, name, tree.findtext("filename")), tuple(_voc_objects(tree, path)), size)


def _voc_file(root: Path, name: str, stated: str | None) -> Path:
    """The image of an annotation: of the same name, or the one that it states."""
    folder = root / "JPEGImages" if (root / "JPEGImages").is_dir() else root / "images"
    wanted: Sequence[str] = [f"{name}{suffix}" for suffix in (".jpg", *sorted(suffixes()))]
    for candidate in ((stated or ""), *wanted):
        if candidate and (folder / candidate).is_file():
            return folder / candidate
    return folder / (stated or f"{name}.jpg")


def _voc_objects(tree: ElementTree.Element, path: Path) -> Iterator[Found]:
    """The objects of an annotation; pixels count from 1 and the last one belongs to the box, so x0 and y0 lose one."""
    for number, item in enumerate(tree.iter("object"), 1):
        where = f"object {number} of {path.name}"
        corners = [item.findtext(f"bndbox/{corner}") for corner in ("xmin", "ymin", "xmax", "ymax")]
        try:
            x0, y0, x1, y1 = (float(corner) for corner in corners if corner is not None)
        except ValueError:
            raise UserError(f"{plain_text(path)}: object {number}: no box of four numbers; add or remove it") from None
        label = (item.findtext("name") or "").strip()
        yield Found(label, (x0 - 1, y0 - 1, x1, y1), where, item.findtext("difficult") == "1")
