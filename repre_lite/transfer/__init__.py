"""Dense tasks on an encoder (section 4.2): semantic segmentation and object detection, each into a run folder.

Names are imported when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..runtime.lazy import lazy

_HOME = {
    "DenseBackbone": "backbone",
    "Segmenter": "segmentation",
    "TransferRecipe": "settings",
    "transfer_recipe": "settings",
    "transfer": "run",
}

if TYPE_CHECKING:
    from .backbone import DenseBackbone as DenseBackbone
    from .run import transfer as transfer
    from .segmentation import Segmenter as Segmenter
    from .settings import TransferRecipe as TransferRecipe
    from .settings import transfer_recipe as transfer_recipe


__getattr__, __dir__ = lazy(__name__, _HOME)
