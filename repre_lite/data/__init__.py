"""Images, their sources, and the views made of them on the device.

Names are imported when first used, so that `import repre_lite` does not wait for torch. `scenes` is the module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..runtime.lazy import lazy

_HOME = {
    "Batches": "loaders",
    "Decoding": "reading",
    "FileImages": "files",
    "ImageCache": "cache",
    "ImageSet": "image_set",
    "MaskSet": "masks",
    "MaskSource": "masks",
    "Scenes": "scenes",
    "Source": "image_set",
    "StepCrops": "stream",
    "View": "views",
    "ViewParameters": "views",
    "Views": "views",
    "build_cache": "cache",
    "list_images": "listing",
    "load_masks": "masks",
    "load_source": "sources",
    "read_image": "reading",
}
_MODULES = ("scenes",)

if TYPE_CHECKING:
    from . import scenes
    from .cache import ImageCache, build_cache
    from .files import FileImages
    from .image_set import ImageSet, Source
    from .listing import list_images
    from .loaders import Batches
    from .masks import MaskSet, MaskSource, load_masks
    from .reading import Decoding, read_image
    from .scenes import Scenes
    from .sources import load_source
    from .stream import StepCrops
    from .views import View, ViewParameters, Views

__all__ = [
    "Batches",
    "Decoding",
    "FileImages",
    "ImageCache",
    "ImageSet",
    "MaskSet",
    "MaskSource",
    "Scenes",
    "Source",
    "StepCrops",
    "View",
    "ViewParameters",
    "Views",
    "build_cache",
    "list_images",
    "load_masks",
    "load_source",
    "read_image",
    "scenes",
]


__getattr__, __dir__ = lazy(__name__, _HOME, _MODULES)
