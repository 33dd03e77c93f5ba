"""No contrastive loss: the encoder learns from reconstruction alone, a control for every comparison."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..data.view import View
from ..encoder import Features
from .base import Contrast, Framework, Published, asymmetric_views

RECONSTRUCTION = {"batch_size": 4096, "epochs": 300, "warmup_epochs": 40, "base_lr": 1.5e-4, "weight_decay": 0.05}
OURS = Published("no published recipe found", RECONSTRUCTION, ours=tuple(RECONSTRUCTION))


class ReconstructionOnly(Framework):
    """Encodes one view and puts no loss on its pooled feature."""

    small = {"base_lr": 4e-3, "weight_decay": 0.05}
    published = {"vit_small": OURS, "vit_base": OURS, "swin_tiny": OURS}
    view_count = 1
    watch = "k-NN need not rise: reconstruction alone does not separate classes"

    @classmethod
    def views(cls, size: int, patch: int) -> tuple[View, ...]:
        """View 1 of `asymmetric_views`."""
        return asymmetric_views(size)[:1]

    @property
    def online_views(self) -> int:
        """View 1."""
        return 1

    def contrast(self, features: list[Features], views: Sequence[Tensor]) -> Contrast:
        """A loss of zero."""
        pooled = features[0].pooled
        return Contrast(pooled.new_zeros(()), pooled.detach(), {})
