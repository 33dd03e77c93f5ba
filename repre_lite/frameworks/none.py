"""No contrast at all: the encoder learns from reconstruction alone, the other end of every comparison."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..encoder import Features
from .base import Contrast, Framework


class ReconstructionOnly(Framework):
    """Encodes one view and asks nothing of its pooled feature."""

    watch = "the k-NN need not rise: pixels alone ask for little meaning"

    def contrast(self, features: list[Features], views: Sequence[Tensor]) -> Contrast:
        pooled = features[0].pooled
        return Contrast(pooled.new_zeros(()), pooled.detach(), {})
