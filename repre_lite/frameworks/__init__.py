"""The contrastive frameworks, one file each, under one protocol (`base.Framework`)."""

from __future__ import annotations

from typing import Any

from ..encoder import TappedEncoder
from ..runtime.errors import UserError
from .base import Contrast, Framework
from .byol import BYOL
from .dino import DINO
from .moby import MoBY
from .moco_v2 import MoCoV2
from .moco_v3 import MoCoV3
from .none import ReconstructionOnly
from .simclr import SimCLR
from .simsiam import SimSiam

FRAMEWORKS: dict[str, type[Framework]] = {
    "simclr": SimCLR,
    "byol": BYOL,
    "simsiam": SimSiam,
    "moco_v2": MoCoV2,
    "moco_v3": MoCoV3,
    "moby": MoBY,
    "dino": DINO,
    "none": ReconstructionOnly,
}

__all__ = ["FRAMEWORKS", "Contrast", "Framework", "build_framework"]


def build_framework(name: str, encoder: TappedEncoder, **options: Any) -> Framework:
    """The framework called `name` around `encoder`; `options` are its constructor's (widths, temperature, ...)."""
    if name not in FRAMEWORKS:
        raise UserError(f"--framework {name}: choose one of {', '.join(FRAMEWORKS)}")
    return FRAMEWORKS[name](encoder, **options)
