"""Readers of annotation files: a folder in COCO's or in Pascal VOC's layout."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..data.listing import suffixes
from ..data.reading import Decoding
from ..data.survey import folder_levels
from ..runtime.errors import UserError
from ..runtime.progress import say
from ..runtime.text import plain_text
from .objects import Annotated, Found, ObjectSource, checked

COCO_NAMES = {"images": "file_name", "categories": "name"}  # lists, and what their entries need beside an id
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
    if all(bool(objects.crowd.all()) for objects in source.val.objects):
        raise UserError(f"data={plain_text(root)}: no validation image has an object; check the annotations")
    parts = (source.train, source.val)
    held = [(name, o) for part in parts for name, o in zip(part.names, part.objects, strict=True) if len(o.labels)]
    without = [name for name, objects in held if objects.masks is None]
    if 0 < len(without) < len(held):
        say(f"images that have objects without a mask: {len(without)}, such as {without[0]}; only boxes are learned")
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
    (train, names), (val, _) = (_coco_images(root, path) for path in parts if path is not None)
    return _source(train, val, tuple(dict.fromkeys(names)), skip_broken)


def _coco_file(root: Path, part: str) -> Path | None:
    """The annotation file of a part: that of instances if there are several."""
    names = ("valid", "val", "test") if part == "val" else (part,)
    for name in names:
        beside = root / name / "_annotations.coco.json"
        shown = [path for path in (root / "annotations").glob(f"*{name}*.json") if path.name[0] != "."]
        found = sorted(shown, key=lambda path: "instances" not in path.name)
        for path in (*found, beside):
            if path.is_file():
                return path
    return None


def _coco_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
        if all(isinstance(values[key], list) for key in ("images", "annotations", "categories")):
            return dict(values)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise UserError(f"{plain_text(path)}: not COCO's format; it needs the lists images, annotations and categories")


def _coco_images(root: Path, path: Path) -> tuple[list[Annotated], list[str]]:
    """The images of an annotation file, and the names of its categories in the order of their ids."""
    values = _coco_json(path)
    images, categories = (_by_id(path, key, values[key], name) for key, name in COCO_NAMES.items())
    names = {key: str(category["name"]) for key, category in categories.items()}
    held: dict[Any, list[Found]] = {key: [] for key in images}
    for number, annotation in enumerate(values["annotations"], 1):
        ids = [annotation.get(key) for key in ("image_id", "category_id")] if isinstance(annotation, dict) else [{}]
        if any(isinstance(each, dict | list) for each in ids):
            raise UserError(f"annotation {number} of {path.name}: not in COCO's format; correct or remove it")
        where = f"annotation {annotation.get('id', number)} of {path.name}"
        if annotation.get("image_id") not in held:
            raise UserError(f"{where}: there is no image {annotation.get('image_id')}; remove the annotation")
        label = names.get(annotation.get("category_id"), f"id {annotation.get('category_id')}")
        stated = _four(annotation.get("bbox"))
        box = stated and (stated[0], stated[1], stated[0] + stated[2], stated[1] + stated[3])
        crowd, mask = annotation.get("iscrowd") in (1, "1"), annotation.get("segmentation") or None
        held[annotation["image_id"]].append(Found(label, box, where, crowd, mask))
    part = path.stem.removeprefix("instances_")
    places = [root / part, root / "images" / part, path.parent, root / "images", root]
    found = []
    for key, image in images.items():
        name = str(image["file_name"])
        file = next((place / name for place in places if (place / name).is_file()), places[0] / name)
        found.append(Annotated(file, tuple(held[key]), _size(image.get("height"), image.get("width"))))
    return found, [names[key] for key in sorted(names, key=lambda key: (isinstance(key, str), key))]


def _by_id(path: Path, what: str, entries: Sequence[Any], name: str) -> dict[Any, dict[str, Any]]:
    """The `entries` of the list `what` by their ids; each has one of its own, and the field `name`."""
    found: dict[Any, dict[str, Any]] = {}
    for number, entry in enumerate(entries, 1):
        key = entry.get("id") if isinstance(entry, dict) else None
        if not isinstance(key, int | float | str) or name not in entry:
            raise UserError(f"{plain_text(path)}: entry {number} of {what} lacks id or {name}; correct or remove it")
        if key in found:
            raise UserError(f"{plain_text(path)}: two entries of {what} have the id {key}; give each entry its own id")
        found[key] = entry
    return found


def _four(values: Any) -> tuple[float, float, float, float] | None:
    """Four numbers; None if `values` are not."""
    try:
        x0, y0, x1, y1 = map(float, values)
    except (TypeError, ValueError):
        return None
    return x0, y0, x1, y1


def _size(height: Any, width: Any) -> tuple[int, int] | None:
    """(H, W) as annotations state it; None if they do not, or as 0."""
    try:
        stated = int(float(height)), int(float(width))
    except (TypeError, ValueError, OverflowError):
        return None
    return stated if min(stated) > 0 else None


# -- Pascal VOC


def _voc(root: Path, skip_broken: bool) -> ObjectSource | None:
    """A data set in Pascal VOC's layout; None if there is none. Also found in VOCdevkit/VOC2012 and the like."""
    places = [root, *sorted(root.glob("VOC*")), *sorted(root.glob("VOCdevkit/VOC*"))]
    here = next((place for place in places if (place / "Annotations").is_dir()), None)
    if here is None:
        return None
    train_names, val_names = _voc_parts(here)
    train, val = ([_voc_image(here, name) for name in part] for part in (train_names, val_names))
    classes = tuple(sorted({found.label for image in train for found in image.objects} - {""}))
    if not classes:
        raise UserError(f"data={plain_text(root)}: no training image has an object; check the annotations")
    return _source(train, val, classes, skip_broken)


def _source(train: list[Annotated], val: list[Annotated], classes: tuple[str, ...], skip_broken: bool) -> ObjectSource:
    """Both parts; images of more than 8 bits are decoded by one rule, that of the images to learn from.

    Those to measure on are read after training, so they are decoded now: a broken one is an error before the work.
    """
    decoding = Decoding(folder_levels([image.path for image in train]))
    return ObjectSource(*(checked(part, classes, skip_broken, decoding, part is val) for part in (train, val)))


def _voc_parts(root: Path) -> tuple[list[str], list[str]]:
    """The names to learn from and to measure on: those of ImageSets/Main, or every fifth annotation is held out."""
    listed = [_voc_names(root, part) for part in ("train", "trainval", "val", "test")]
    train, val = listed[0] or listed[1], listed[2] or listed[3]
    names = train or sorted(path.stem for path in (root / "Annotations").glob("[!.]*.xml"))
    if len(names) < 2:
        raise UserError(
            f"data={plain_text(root)}: {len(names)} annotations in Annotations/*.xml; at least 2 are needed"
        )
    if not val or set(val) & set(names):
        val = names[HELD_OUT - 1 :: HELD_OUT] or names[-1:]
        names = [name for name in names if name not in set(val)]
    return names, val


def _voc_names(root: Path, part: str) -> list[str]:
    """The names in a part's list of images, each once; a second column, which says whether a class is present, is ignored."""
    path = root / "ImageSets" / "Main" / f"{part}.txt"
    if not path.is_file():
        return []
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise UserError(f"{plain_text(path)}: cannot be read ({error}); save it as UTF-8 text") from None
    whole = {line for line in lines if (root / "Annotations" / f"{line}.xml").is_file()}
    return list(dict.fromkeys(line if line in whole else re.sub(r"\s+-?[01]$", "", line) for line in lines))


def _voc_image(root: Path, name: str) -> Annotated:
    path = root / "Annotations" / f"{name}.xml"
    try:
        tree = ElementTree.parse(path).getroot()
    except FileNotFoundError:
        raise UserError(
            f"{plain_text(path)}: no such annotation, but ImageSets/Main names it; add or remove it"
        ) from None
    except (ElementTree.ParseError, OSError, LookupError, ValueError) as error:  # the last two: unknown encodings
        raise UserError(f"{plain_text(path)}: not readable as XML ({error}); repair or remove it") from None
    size = _size(tree.findtext("size/height"), tree.findtext("size/width"))
    return Annotated(_voc_file(root, name, tree.findtext("filename")), tuple(_voc_objects(tree, path)), size)


def _voc_file(root: Path, name: str, stated: str | None) -> Path:
    """The image of an annotation: of the same name, or the one that it states."""
    folder = root / "JPEGImages" if (root / "JPEGImages").is_dir() else root / "images"
    wanted: Sequence[str] = [f"{name}{suffix}" for suffix in (".jpg", *sorted(suffixes()))]
    for candidate in (*wanted, stated or ""):
        if candidate and (folder / candidate).is_file():
            return folder / candidate
    return folder / (stated or f"{name}.jpg")


def _voc_objects(tree: ElementTree.Element, path: Path) -> Iterator[Found]:
    """The objects of an annotation; pixels count from 1 and the last one belongs to the box, so x0 and y0 lose one."""
    for number, item in enumerate(tree.iter("object"), 1):
        where = f"object {number} of {path.name}"
        corners = [item.findtext(f"bndbox/{corner}") for corner in ("xmin", "ymin", "xmax", "ymax")]
        stated = _four(corners)
        box = stated and (stated[0] - 1, stated[1] - 1, stated[2], stated[3])
        label = (item.findtext("name") or "").strip()
        yield Found(label, box, where, item.findtext("difficult") == "1")
