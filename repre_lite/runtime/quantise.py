"""Weights as small integers with one scale a row, for files that ship; `files.load_tensors` restores them."""

from __future__ import annotations

import torch
from torch import Tensor

SCALE = "|scale"  # the end of the name of the tensor that holds the scales of another


def shrink(tensors: dict[str, Tensor], levels: int = 127) -> dict[str, Tensor]:
    """Matrices and kernels, (out, ...), as int8 in [-levels, levels] with a scale for each row; the rest in half precision.

    Rounding is at most half a step, `scale / 2`. Fewer levels lose more, and take less room when compressed.
    """
    small = {}
    for name, tensor in tensors.items():
        if tensor.ndim < 2 or not tensor.is_floating_point():
            small[name] = tensor.half() if tensor.is_floating_point() else tensor
            continue
        rows = tensor.float().flatten(1)  # (out, in)
        scale = (rows.abs().amax(1) / levels).clamp(min=1e-12)  # (out,)
        small[name] = (rows / scale[:, None]).round().to(torch.int8).view_as(tensor)
        small[name + SCALE] = scale
    return small


def restore(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """What `shrink` made, as fp32; other tensors as they are."""
    whole = {}
    for name, tensor in tensors.items():
        if name.endswith(SCALE):
            continue
        scale = tensors.get(name + SCALE)
        if scale is not None:
            whole[name] = tensor.float() * scale.view(-1, *[1] * (tensor.ndim - 1))
        else:
            whole[name] = tensor.float() if tensor.dtype == torch.float16 else tensor
    return whole
