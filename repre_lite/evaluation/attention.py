"""Attention weights as the blocks of a timm ViT or Swin form them: fused attention is off while they are watched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from ..runtime.modes import evaluating


def attention_blocks(backbone: nn.Module) -> list[nn.Module]:
    """The blocks whose attention can be watched, shallow to deep."""
    return [module for module in backbone.modules() if hasattr(getattr(module, "attn", None), "attn_drop")]


@contextmanager
def watched(backbone: nn.Module, blocks: list[nn.Module], caught: list[dict[str, Tensor]]) -> Iterator[None]:
    """In evaluation mode, with fused attention off and hooks that keep `weights`, after the softmax, and the `output` of
    each block in `caught`; all undone at the end."""
    fused = [(m, m.fused_attn) for m in backbone.modules() if hasattr(m, "fused_attn")]
    handles = []
    try:
        for module, _ in fused:
            module.fused_attn = False  # type: ignore[assignment]
        for block, kept in zip(blocks, caught, strict=True):
            handles += [
                block.attn.attn_drop.register_forward_pre_hook(  # type: ignore[union-attr]
                    lambda _, inputs, kept=kept: kept.update(weights=inputs[0])
                ),
                block.register_forward_hook(lambda _, __, output, kept=kept: kept.update(output=output)),
            ]
        with evaluating(backbone):
            yield
    finally:
        for handle in handles:
            handle.remove()
        for module, value in fused:
            module.fused_attn = value
