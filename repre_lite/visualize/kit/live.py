"""An encoder and its decoder as data for model.js, which runs them in the browser."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from importlib.resources import files
from typing import Any

import numpy as np
import torch
from timm.layers import Attention, LayerScale, Mlp, PatchEmbed
from timm.layers import LayerNorm as TimmLayerNorm
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from ...backbone import unwrap
from ...decoder import FusionBlock, ReconstructionDecoder
from ...encoder import TappedEncoder
from ...runtime.quantise import SCALE, restore, shrink
from .viewer import pack

KNOWN = (  # what model.js computes, or what does nothing in evaluation mode
    VisionTransformer, Block, Attention, Mlp, PatchEmbed, LayerScale, TimmLayerNorm, FusionBlock, nn.LayerNorm, nn.Linear,
    nn.Conv2d, nn.GELU, nn.ReLU, nn.Identity, nn.Dropout, nn.Sequential, nn.ModuleList, ReconstructionDecoder,
)  # fmt: skip


def why_not(encoder: TappedEncoder, decoder: ReconstructionDecoder | None) -> str | None:
    """Why model.js cannot run these two: a reader's sentence; None if it can."""
    backbone: Any = unwrap(encoder.backbone)
    if type(backbone) is not VisionTransformer:
        return f"the page runs plain ViTs, and this encoder is a {type(backbone).__name__}"
    if backbone.global_pool not in ("token", "avg") or backbone.pos_embed is None:
        return "the page runs ViTs with learned or sin-cos positions and a class token or average pooling"
    for part in (backbone, decoder):
        for module in part.modules() if part is not None else ():
            if type(module).__module__.endswith("drop") or type(module) in KNOWN:
                continue
            return f"the page does not know the layer {type(module).__name__}"
    blocks: Any = backbone.blocks
    extras = [backbone.patch_embed.norm]
    for block in blocks:
        extras += [block.attn.q_norm, block.attn.k_norm, getattr(block.attn, "norm", None), block.mlp.norm]
        extras += [getattr(block.attn, "gate", None)]
    if any(extra is not None and not isinstance(extra, nn.Identity) for extra in extras):
        return "the page runs ViTs without norms or gates inside attention, MLP and patch embedding"
    return None


def live(
    encoder: TappedEncoder,
    decoder: ReconstructionDecoder | None,
    mean: Sequence[float],
    std: Sequence[float],
    levels: int | None = 127,
) -> dict[str, Any]:
    """The contents of `new Model(config, weights)`: {"config": ..., "weights": ...}, matrices as int8 with a scale a row.

    `levels`: see `pack_weights`; `mean`, `std` normalise an image in [0, 1]. Raises ValueError if `why_not` has a reason.
    """
    reason = why_not(encoder, decoder)
    if reason is not None:
        raise ValueError(reason)
    backbone: Any = unwrap(encoder.backbone)
    config: dict[str, Any] = {
        "size": encoder.image_size,
        "patch": encoder.patch,
        "grid": encoder.tap_grids[0],
        "width": encoder.width,
        "depth": len(backbone.blocks),
        "heads": backbone.blocks[0].attn.num_heads,
        "prefix": backbone.num_prefix_tokens,
        "start": backbone.num_prefix_tokens > 0,
        "pooling": backbone.global_pool,
        "eps": backbone.blocks[0].norm1.eps,
        "taps": list(encoder.tap_indices),
        "mean": list(mean),
        "std": list(std),
        "decoder": None,
    }
    tensors = _encoder_tensors(backbone)
    if decoder is not None:
        layers = [[module for module in block.fusion if isinstance(module, nn.Conv2d)] for block in decoder.blocks]  # type: ignore[union-attr]
        config["decoder"] = {"read": len(decoder.laterals), "blocks": len(layers), "layers": len(layers[0])}
        tensors |= _named("laterals", decoder.laterals) | _named("head", decoder.head)
        for i, block in enumerate(layers):
            for j, convolution in enumerate(block):
                tensors |= _named(f"fusion.{i}.{j}", convolution)
    return {"config": config, "weights": pack_weights(tensors, levels)}


def quantised(
    encoder: TappedEncoder, decoder: ReconstructionDecoder | None, levels: int = 127
) -> tuple[TappedEncoder, ReconstructionDecoder | None]:
    """Copies whose matrices are rounded as `pack_weights` rounds them, so that torch gives what the page shows."""
    copies = deepcopy(encoder).eval(), deepcopy(decoder).eval() if decoder is not None else None
    for copy in copies:
        if copy is not None:
            state = copy.state_dict()
            copy.load_state_dict(state | restore(shrink(_matrices(state), levels)))
    return copies


def _matrices(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: t for name, t in tensors.items() if name.endswith(".weight") and t.ndim > 1}


def _encoder_tensors(backbone: Any) -> dict[str, Tensor]:
    """The backbone's weights by timm's names; positions are split into those of `start` and those of the patches."""
    tensors = dict(backbone.state_dict())
    positions = tensors.pop("pos_embed")[0]  # (T or N, C)
    starts = [tensors.pop(name)[0] for name in ("cls_token", "reg_token") if name in tensors]
    if starts:
        start = torch.cat(starts)  # (prefix, C)
        if not backbone.no_embed_class:
            start, positions = start + positions[: len(start)], positions[len(start) :]
        tensors["start"] = start
    return tensors | {"positions": positions}


def _named(name: str, module: nn.Module) -> dict[str, Tensor]:
    return {f"{name}.{key}": tensor for key, tensor in module.state_dict().items()}


def pack_weights(tensors: dict[str, Tensor], levels: int | None = 127) -> dict[str, Any]:
    """Tensors by name as `pack` makes them; matrices as int8, stored as uint8 + 128, with their scales; `levels` None: exactly."""
    packed = {name: pack_tensor(tensor) for name, tensor in tensors.items()}
    small = shrink(_matrices(tensors), levels) if levels is not None else {}
    for name in small.keys() & tensors.keys():
        packed[name] = pack((small[name].short() + 128).to(torch.uint8).cpu().numpy())
        packed[name]["scales"] = pack_tensor(small[name + SCALE])
    return packed


def pack_tensor(tensor: Tensor) -> dict[str, Any]:
    """A tensor as `pack` makes an array of float32."""
    return pack(np.asarray(tensor.detach().float().cpu()))


def model_script() -> str:
    """model.js, which defines `Model`."""
    return (files(__package__) / "model.js").read_text(encoding="utf-8")
