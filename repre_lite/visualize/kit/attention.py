"""What the visuals of attention share: the range of their colours, and blocks packed for the browser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .capture import BlockAttention
from .viewer import pack, pack_scale


def attention_top(blocks: Sequence[BlockAttention]) -> float:
    """Where the colours of attention end, the same for all `blocks`: one in 200 weights lies above; uniform attention
    lies below."""
    weights = np.concatenate([block.weights[:, :, block.prefix :].ravel() for block in blocks])
    uniform = 1 / min(block.weights.shape[2] for block in blocks)
    return round_up(max(np.percentile(weights, 99.5), 2 * uniform))


def round_up(value: float) -> float:
    """The next larger number of two significant digits."""
    digits = 10.0 ** (np.floor(np.log10(max(value, 1e-12))) - 1)
    return float(f"{np.ceil(value / digits) * digits:.6g}")


def pack_blocks(blocks: Sequence[BlockAttention], heads: bool = True) -> list[dict[str, Any]]:
    """Blocks for the browser, with all heads or only their mean; a Swin's with each patch's window and place."""
    packed = []
    for block in blocks:
        weights = block.weights if heads else block.weights.mean(0, keepdims=True)
        windows = [pack(part.astype(np.uint16)) for part in block.places()] if len(block.keys) > 1 else None
        packed.append(
            {
                "grid": block.grid,
                "prefix": block.prefix,
                "classToken": block.class_token,
                "heads": block.heads,
                "weights": pack_scale(weights, 0, 1),
                "windows": windows,
            }
        )
    return packed
