"""How many images a run trains on, before it reads them."""

from __future__ import annotations

from pathlib import Path

from ..data.sources import SCENES_TRAIN
from ..data.tree import list_tree
from ..recipes import Recipe
from ..runtime.errors import UserError

IMAGES = {  # to train on
    "scenes": SCENES_TRAIN,
    "cifar10": 50_000,
    "cifar100": 50_000,
    "stl10": 105_000,
    "imagenet100": 126_689,
    "imagenet1k": 1_281_167,
}


def image_count(recipe: Recipe, there: int | None = None) -> int:
    """How many images a run trains on. `there`: what `images_there` says, if that is known.

    Raises UserError if they do not fill a batch.
    """
    count = images_there(recipe.scale, recipe.data) if there is None else there
    count = min(count, recipe.train_images or count)
    if recipe.batch_size > count:
        raise UserError(f"batch_size={recipe.batch_size} is more than the {count} training images; make it smaller")
    return count


def images_there(scale: str, data: str | None) -> int:
    """How many training images a scale has; those of `data` are counted, if it is not torchvision's.

    Counting a million files takes a minute.
    """
    if data is not None and not Path(data).is_dir():
        raise UserError(f"data={data}: no such folder; give one that holds images")
    if scale == "folder" and data is None:
        raise UserError("data= is missing; give the folder whose images are to be counted")
    if data is not None and (scale == "folder" or (Path(data) / "train").is_dir()):
        return len(list_tree(scale, Path(data)).train)
    return IMAGES[scale]
