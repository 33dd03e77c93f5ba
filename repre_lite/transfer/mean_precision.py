"""Mean average precision by pycocotools, COCO's reference evaluator."""

from __future__ import annotations

import contextlib
import importlib.util
import io
from collections.abc import Sequence
from typing import Any

from ..runtime.errors import UserError
from .objects import ObjectSet


def needs_pycocotools() -> None:
    """Raise UserError if pycocotools is not installed."""
    if importlib.util.find_spec("pycocotools") is None:
        raise UserError("detection needs pycocotools; install it with: pip install 'repre-lite[transfer]'")


def average_precision(images: ObjectSet, found: Sequence[dict[str, Any]], masks: bool) -> dict[str, float]:
    """`box_map`, `box_map50` in [0, 1] and, with `masks`, `mask_map`, `mask_map50`; 0 if nothing was found.

    `found`: detections as COCO has them, `image_id` the number of the image, `category_id` from 1.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    kinds = {"bbox": "box"} | ({"segm": "mask"} if masks else {})
    if not found:
        return {f"{kind}_{name}": 0.0 for kind in kinds.values() for name in ("map", "map50")}
    scores: dict[str, float] = {}
    with contextlib.redirect_stdout(io.StringIO()):  # which it fills with progress and tables
        truth = COCO()
        truth.dataset = _dataset(images, masks)
        truth.createIndex()
        answers = truth.loadRes(list(found))
        for kind, name in kinds.items():
            score = COCOeval(truth, answers, kind)
            score.evaluate()
            score.accumulate()
            score.summarize()
            scores |= {f"{name}_map": float(score.stats[0]), f"{name}_map50": float(score.stats[1])}
    return {name: max(0.0, value) for name, value in scores.items()}  # -1 if the truth has no objects


def _dataset(images: ObjectSet, masks: bool) -> dict[str, Any]:
    """The truth in COCO's format."""
    annotations: list[dict[str, Any]] = []
    for index, objects in enumerate(images.objects):
        for i, (x0, y0, x1, y1) in enumerate(objects.boxes.tolist()):
            annotation = {
                "id": len(annotations) + 1,
                "image_id": index,
                "category_id": int(objects.labels[i]) + 1,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": (x1 - x0) * (y1 - y0),
                "iscrowd": int(objects.crowd[i]),
            }
            if masks:
                annotation |= _with_mask(objects.masks[i])  # type: ignore[index]
            annotations.append(annotation)
    sizes = [{"id": i, "height": height, "width": width} for i, (height, width) in enumerate(images.sizes)]
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(images.classes)]
    return {"info": {}, "images": sizes, "categories": categories, "annotations": annotations}


def _with_mask(code: dict[str, Any]) -> dict[str, Any]:
    from pycocotools import mask

    return {"segmentation": code, "area": float(mask.area(code))}
