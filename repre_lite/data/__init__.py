"""Images, their sources, and the views made of them on the device.

Names are imported when first used, so that `import repre_lite` does not wait for torch. `scenes` is the module.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOME = {
    "Batches": "loaders",
    "Decoding": "reading",
    "FileImages": "files",
    "ImageCache": "cache",
    "ImageSet": "image_set",
    "Scenes": "scenes",
    "Source": "image_set",
    "StepCrops": "stream",
    "View": "views",
    "ViewParameters": "views",
    "Views": "views",
    "build_cache": "cache",
    "list_images": "listing",
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
    "Scenes",
    "Source",
    "StepCrops",
    "View",
    "ViewParameters",
    "Views",
    "build_cache",
    "list_images",
    "load_source",
    "read_image",
    "scenes",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f".{_HOME[name]}", __name__), name)
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
