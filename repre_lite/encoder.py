"""The encoder with taps: any timm ViT or Swin, one forward, a pooled feature and the paper's multi-hierarchy features."""

from __future__ import annotations

from typing import Any, NamedTuple

import timm
import torch
from torch import Tensor, nn

from .runtime.errors import UserError

# Name -> (timm name, arguments of ours). Sizes that depend on the picture's are filled in by `architecture`.
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "vit_micro": ("vit_tiny_patch16_224", {"embed_dim": 96, "depth": 8, "num_heads": 3}),
    "vit_tiny": ("vit_tiny_patch16_224", {}),
    "vit_small": ("vit_small_patch16_224", {}),
    "vit_base": ("vit_base_patch16_224", {}),
    "swin_micro": ("swin_tiny_patch4_window7_224", {"embed_dim": 48, "depths": (2, 2, 4), "num_heads": (3, 6, 12)}),
    "swin_tiny": ("swin_tiny_patch4_window7_224", {}),
}


class Features(NamedTuple):
    """What one forward pass gives: `pooled` (B, C) and `taps`, K maps (B, C_i, h_i, w_i) from shallow to deep."""

    pooled: Tensor
    taps: tuple[Tensor, ...]


def is_hierarchical(backbone: nn.Module) -> bool:
    """True for a Swin, whose stages shrink the patch grid; False for a ViT, whose blocks keep it."""
    reductions = {stage["reduction"] for stage in backbone.feature_info}  # type: ignore[union-attr]
    return len(reductions) > 1


def tap_indices(backbone: nn.Module, count: int | None = None) -> tuple[int, ...]:
    """Which blocks (ViT) or stages (Swin) are tapped, counted from 0 (section 3.2, Y = {y_(i*floor(L/K)-1)}).

    ViT with L blocks and K = `count` (4 if None): i*L/K - 1 for i = 1..K, so 2, 5, 8, 11 for L = 12. Where K does not
    divide L the paper's formula misses the last block; the taps are then spread evenly and end at the last.
    Swin: the last feature of every stage. Raises UserError where `count` does not fit.
    """
    depth = len(backbone.feature_info)  # type: ignore[arg-type]
    if is_hierarchical(backbone):
        if count not in (None, depth):
            raise UserError(f"--taps {count}: a Swin gives one tap for each of its {depth} stages; leave --taps out")
        return tuple(range(depth))
    count = 4 if count is None else count
    if not 2 <= count <= depth:
        raise UserError(f"--taps {count}: choose from 2 to {depth} for an encoder of {depth} blocks")
    return tuple(round(i * depth / count) - 1 for i in range(1, count + 1))


def encode(backbone: nn.Module, images: Tensor, indices: tuple[int, ...] | None = None) -> Features:
    """Pooled feature and taps of a plain timm ViT or Swin in one forward pass.

    `images` (B, 3, H, W), normalised. `indices`: which blocks or stages; None means `tap_indices(backbone)`; an empty
    tuple computes no taps. The pooled feature is what timm's classifier would see: the class token after the last norm
    (ViT), the average over patches (Swin). Taps are the blocks' raw outputs, before any norm, without class token.
    """
    indices = tap_indices(backbone) if indices is None else indices
    if not indices:
        return Features(backbone.forward_head(backbone.forward_features(images), pre_logits=True), ())  # type: ignore[operator]
    final, taps = backbone.forward_intermediates(images, indices=list(indices), output_fmt="NCHW")  # type: ignore[operator]
    return Features(backbone.forward_head(final, pre_logits=True), tuple(taps))  # type: ignore[operator]


class TappedEncoder(nn.Module):
    """A timm backbone together with the places where it is tapped.

    `backbone` is the plain timm model: no hooks live on it, so a copy of it (a target network) is a plain copy.
    `tap_widths` and `tap_grids` describe the K taps for pictures of `image_size` pixels; `width` is that of `pooled`,
    `patch` the side of a patch in pixels.
    """

    def __init__(self, backbone: nn.Module, image_size: int, taps: int | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.image_size = image_size
        self.tap_indices = tap_indices(backbone, taps)
        table: Any = backbone.feature_info
        info = [table[index] for index in self.tap_indices]
        self.tap_widths: tuple[int, ...] = tuple(stage["num_chs"] for stage in info)
        self.tap_grids: tuple[int, ...] = tuple(image_size // stage["reduction"] for stage in info)
        self.width: int = backbone.num_features  # type: ignore[assignment]
        self.patch: int = backbone.patch_embed.patch_size[0]  # type: ignore[union-attr, index, assignment]
        self.timm_name = ""
        self.timm_args: dict[str, Any] = {}

    def forward(self, images: Tensor, taps: bool = True) -> Features:
        """`images` (B, 3, H, W), normalised -> Features; without `taps` nothing but the pooled feature is kept."""
        return encode(self.backbone, images, self.tap_indices if taps else ())


def architecture(name: str, image_size: int, patch_size: int | None = None) -> tuple[str, dict[str, Any]]:
    """The timm name and arguments of `name` (one of ARCHITECTURES or any timm ViT or Swin) at this picture size.

    Ours take patches that suit the picture: a ViT has 4 pixels up to 48, 8 up to 128, else 16; a Swin has patch 2 and
    windows of 4 up to 64 pixels, else 4 and 7. Raises UserError for an unknown name.
    """
    if name in ARCHITECTURES:
        timm_name, arguments = ARCHITECTURES[name]
        arguments = dict(arguments, img_size=image_size)
        if name.startswith("swin"):
            arguments |= {"patch_size": 2, "window_size": 4} if image_size <= 64 else {}
        else:
            arguments["patch_size"] = 4 if image_size <= 48 else 8 if image_size <= 128 else 16
    elif name in timm.list_models() and name.startswith(("vit_", "deit", "swin")):
        timm_name, arguments = name, {"img_size": image_size}
    else:
        ours = ", ".join(ARCHITECTURES)
        raise UserError(f"--arch {name}: no such encoder; choose one of {ours}, or the name of a timm ViT or Swin")
    if patch_size is not None:
        arguments["patch_size"] = patch_size
    return timm_name, arguments


def build_encoder(
    name: str,
    image_size: int = 224,
    patch_size: int | None = None,
    taps: int | None = None,
    drop_path: float = 0.0,
    **timm_args: Any,
) -> TappedEncoder:
    """A new, untrained encoder with taps.

    `name`: `vit_micro vit_tiny vit_small vit_base swin_micro swin_tiny` or any timm ViT or Swin; `image_size` and
    `patch_size` in pixels; `taps`: K, see `tap_indices`; `drop_path` in [0, 1); `timm_args` go to
    `timm.create_model` (such as `num_heads=12`, MoCo v3's ViT-S). Raises UserError where they do not fit together.
    """
    timm_name, arguments = architecture(name, image_size, patch_size)
    arguments |= timm_args
    patch = arguments.get("patch_size")
    if patch and image_size % patch:
        raise UserError(f"--image-size {image_size} is no multiple of the patch size {patch}; change one of them")
    try:
        backbone = timm.create_model(timm_name, num_classes=0, drop_path_rate=drop_path, **arguments)
    except (AssertionError, ValueError, TypeError, RuntimeError) as error:
        raise UserError(
            f"--arch {name} does not take --image-size {image_size}: {str(error).splitlines()[0]}"
        ) from None
    if not hasattr(backbone, "forward_intermediates") or not hasattr(backbone, "patch_embed"):
        raise UserError(f"--arch {name}: not a plain ViT or Swin, so it has no taps; choose another")
    encoder = TappedEncoder(backbone, image_size, taps)
    encoder.timm_name, encoder.timm_args = timm_name, dict(arguments)
    return encoder


@torch.no_grad()
def fix_sincos_positions(encoder: TappedEncoder) -> None:
    """MoCo v3's position embedding: fixed 2-D sines and cosines (temperature 10,000), zero for the class token.

    Does nothing for a Swin, which has no absolute positions. Raises UserError if the width is no multiple of 4.
    """
    positions = getattr(encoder.backbone, "pos_embed", None)
    if positions is None:
        return
    h, w = encoder.backbone.patch_embed.grid_size  # type: ignore[union-attr]
    width = positions.shape[-1]
    if width % 4:
        raise UserError(f"sin-cos positions need a width that is a multiple of 4, not {width}")
    frequencies = 1 / 10_000 ** (torch.arange(width // 4, dtype=torch.float64) / (width // 4))  # (C/4,)
    rows, columns = torch.meshgrid(
        torch.arange(h, dtype=torch.float64), torch.arange(w, dtype=torch.float64), indexing="ij"
    )
    angle_w, angle_h = columns.flatten()[:, None] * frequencies, rows.flatten()[:, None] * frequencies  # (N, C/4) each
    table = torch.cat([angle_w.sin(), angle_w.cos(), angle_h.sin(), angle_h.cos()], dim=1)  # (N, C)
    positions.zero_()
    positions[0, -h * w :] = table.to(positions.dtype)
    positions.requires_grad_(False)


def freeze_patch_projection(encoder: TappedEncoder) -> None:
    """MoCo v3's remedy against instability: the patch projection stays as it was drawn."""
    for parameter in encoder.backbone.patch_embed.parameters():  # type: ignore[union-attr]
        parameter.requires_grad_(False)
