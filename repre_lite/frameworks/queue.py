"""The queue of past keys that serve as negatives (MoCo v2, MoBY)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Queue(nn.Module):
    """The last `length` keys, (length, D) of unit length; the oldest are overwritten first. Starts as random directions.

    Wraps at any batch size, without a copy to the host, and is part of checkpoints.
    """

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.keys: Tensor
        self.next: Tensor
        self.register_buffer("keys", F.normalize(torch.randn(length, width), dim=1))
        self.register_buffer("next", torch.zeros((), dtype=torch.long))  # the row that is written next

    @torch.no_grad()
    def push(self, keys: Tensor) -> None:
        """Append `keys` (M, D) of unit length in their order; of more than `length` only the last are kept."""
        length = len(self.keys)
        skipped = max(0, len(keys) - length)
        places = torch.arange(skipped, len(keys), device=keys.device) + self.next  # (min(M, length),)
        self.keys.index_copy_(0, places % length, keys[skipped:].to(self.keys.dtype))
        self.next.add_(len(keys)).remainder_(length)
