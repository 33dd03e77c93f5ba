"""The encoder with taps (sections 3.1 and 3.2): any timm ViT or Swin, one forward pass, a pooled feature and K taps."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import timm
import torch
from torch import Tensor, nn

from .backbone import (
    check_gathered,
    check_images,
    check_pooled,
    check_unsharded,
    check_whole,
    is_hierarchical,
    patch_of,
    square,
    unwrap,
)  # fmt: skip
from .initialise import POSITIONS, fix_sincos_positions, freeze_projection, initialise_encoder
from .runtime.distributed import world_size
from .runtime.errors import UserError, first_line


class Taps(tuple[Tensor, ...]):
    """The multi-hierarchy features Y (section 3.2): K maps (B, C_i, h_i, w_i) from shallow to deep.

    A plain tuple that also says where it was tapped: `indices`, the blocks or stages counted from 0; empty if unknown.
    """

    indices: tuple[int, ...]

    def __new__(cls, maps: Iterable[Tensor] = (), indices: tuple[int, ...] = ()) -> Taps:
        """The taps `maps` of the blocks or stages `indices`."""
        taps = super().__new__(cls, maps)
        taps.indices = indices
        return taps


class Features(NamedTuple):
    """What one forward pass gives: `pooled` (B, C) and `taps`, K maps (B, C_i, h_i, w_i) from shallow to deep."""

    pooled: Tensor
    taps: tuple[Tensor, ...]


torch.serialization.add_safe_globals([Taps, Features])  # saved features load by torch.load's default, tensors only


def encode(backbone: nn.Module, images: Tensor, indices: Sequence[int] | None = None) -> Features:
    """Pooled feature and taps of a plain timm ViT or Swin in one forward pass.

    `images` (B, 3, H, W), normalised. `indices`: which blocks or stages; None means `tap_indices(backbone)`; an empty
    tuple computes no taps. The pooled feature is what timm's classifier reads: the class token after the last norm
    (ViT), the average over patches (Swin). Taps are the blocks' raw outputs, before any norm, without class token.

    Wrappers (`torch.compile`, an averaged model) are unwrapped. Raises UserError for a backbone inside
    DistributedDataParallel, whose gradients would not be averaged, or sharded by itself, for a module that is not a timm
    ViT or Swin, and for images, indices, pooling or dropped patches that give no features.
    """
    if hasattr(backbone, "no_sync") and torch.is_grad_enabled() and world_size() > 1:
        raise UserError(
            "this backbone is wrapped in DistributedDataParallel, which averages gradients only in its own forward; "
            "wrap DistributedDataParallel(TappedEncoder(backbone, image_size)) instead and call that, and wrap the branch"
        )
    model: Any = unwrap(backbone)
    check_images(model, images)
    check_gathered(model)
    check_pooled(model)
    indices = tap_indices(model) if indices is None else _levels(model, indices, "indices")
    if indices:
        check_whole(model)
    try:
        if not indices:
            return Features(model.forward_head(model.forward_features(images), pre_logits=True), Taps())
        final, maps = model.forward_intermediates(images, indices=list(indices), output_fmt="NCHW")
    except AssertionError as error:  # timm's, about the size
        raise UserError(
            f"images {tuple(images.shape)} do not fit this backbone: {first_line(error).rstrip('.')}; resize them, or create it "
            "with dynamic_img_size=True (a ViT) or strict_img_size=False (a Swin)"
        ) from None
    return Features(model.forward_head(final, pre_logits=True), Taps(maps, indices))


def tap_indices(backbone: nn.Module, count: int | None = None, blocks: Sequence[int] | None = None) -> tuple[int, ...]:
    """Which blocks (ViT) or stages (Swin) are tapped, counted from 0 (section 3.2, Y = {y_(i * floor(L/K) - 1)}).

    ViT with L blocks and K = `count` (4 if None): i * L/K - 1 for i = 1..K, so 2, 5, 8, 11 for L = 12. If K does not
    divide L, the paper's formula misses the last block; the taps are then spread evenly and end at the last.
    Swin: the last feature of every stage. `blocks` chooses them one by one instead. Raises UserError for values that do
    not fit the backbone.
    """
    depth = len(unwrap(backbone).feature_info)  # type: ignore[arg-type]
    if blocks is not None:
        chosen = _levels(backbone, blocks, "tap_blocks", least=2)
        if count not in (None, len(chosen)):
            raise UserError(f"taps={count} and tap_blocks={chosen} differ; give one of them")
        return chosen
    if is_hierarchical(backbone):
        if count not in (None, depth):
            raise UserError(f"taps={count}: a Swin has one tap for each of its {depth} stages; leave out taps=")
        return tuple(range(depth))
    count = 4 if count is None else count
    if not hasattr(count, "__index__") or not 2 <= count <= depth:
        raise UserError(f"taps={count}: choose from 2 to {depth} for an encoder of {depth} blocks")
    return tuple(round(i * depth / count) - 1 for i in range(1, count + 1))


def _levels(backbone: nn.Module, chosen: Sequence[int], name: str, least: int = 0) -> tuple[int, ...]:
    """`chosen` blocks or stages as whole numbers. Raises UserError unless they ascend and the backbone has all of them."""
    depth = len(unwrap(backbone).feature_info)  # type: ignore[arg-type]
    try:
        found = [operator.index(one) for one in chosen]
    except TypeError:
        found = [-1]
    if len(found) < least or found != sorted(set(found)) or (found and not 0 <= found[0] <= found[-1] < depth):
        what = f"{least} or more " * bool(least) + ("stages" if is_hierarchical(backbone) else "blocks")
        raise UserError(f"{name}={chosen}: give {what} in ascending order, from 0 to {depth - 1} for this encoder")
    return tuple(found)


class TappedEncoder(nn.Module):
    """A timm backbone together with the places where it is tapped.

    `backbone`: the plain timm model; it has no hooks, so a copy of it (a target network) is a plain copy.
    `image_size`: H = W in pixels; `taps`, `tap_blocks`: see `tap_indices`. `tap_widths` and `tap_grids` describe the K
    taps of such images, as measured on the model itself; `width` is that of `pooled`, `patch` the side of a patch in
    pixels. Raises UserError for values that do not fit together.
    """

    def __init__(
        self, backbone: nn.Module, image_size: int, taps: int | None = None, tap_blocks: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.image_size = square(image_size)
        self.tap_indices = tap_indices(backbone, taps, tap_blocks)
        check_pooled(unwrap(backbone))
        self.width: int = unwrap(backbone).num_features  # type: ignore[assignment]
        self.patch = patch_of(backbone)
        if image_size % self.patch:
            raise UserError(f"patch_size={self.patch} does not divide image_size={image_size}; change one of them")
        shapes = tap_shapes(backbone, self.image_size, self.tap_indices)
        self.tap_widths = tuple(width for width, _ in shapes)
        self.tap_grids = tuple(grid for _, grid in shapes)
        self.timm_name = ""
        self.timm_args: dict[str, Any] = {}

    def forward(self, images: Tensor, taps: bool = True) -> Features:
        """`images` (B, 3, H, W), normalised -> Features; without `taps` nothing but the pooled feature is kept."""
        return encode(self.backbone, images, self.tap_indices if taps else ())


class _Maps(nn.Module):
    """A backbone whose forward stops at the last of `indices` and returns the maps alone."""

    def __init__(self, backbone: nn.Module, indices: Sequence[int]) -> None:
        super().__init__()
        self.backbone, self.indices = backbone, list(indices)

    def forward(self, images: Tensor) -> list[Tensor]:
        model: Any = unwrap(self.backbone)
        maps: list[Tensor] = model.forward_intermediates(
            images, indices=self.indices, output_fmt="NCHW", stop_early=True, intermediates_only=True
        )
        return maps


@torch.no_grad()
def tap_shapes(backbone: nn.Module, image_size: int, indices: Sequence[int]) -> list[tuple[int, int]]:
    """Width and grid side (C_i, h_i) of each tap, for images of `image_size` pixels, measured on the model itself.

    The forward pass runs on the meta device, which knows shapes and computes nothing; a ViT's blocks are all alike, so
    its first answers for all. Raises UserError for an image size that the backbone does not take.
    """
    check_whole(unwrap(backbone))
    check_unsharded(unwrap(backbone))
    measured = indices if is_hierarchical(backbone) else [0]
    maps = _Maps(backbone, measured)
    tensors = chain(maps.named_parameters(), maps.named_buffers())
    state = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors}
    try:
        images = next(iter(state.values())).new_empty(2, 3, image_size, image_size)
        shapes = [tuple(y.shape[1:]) for y in torch.func.functional_call(maps, state, (images,))]  # (C_i, h_i, w_i)
    except (AssertionError, RuntimeError, ValueError, TypeError) as error:
        raise UserError(f"image_size={image_size} does not fit this backbone: {first_line(error)}; choose another image_size=, or a backbone with in_chans=3") from None  # fmt: skip
    if any(h != w for _, h, w in shapes):
        raise UserError(f"this backbone has {shapes[0][1]} x {shapes[0][2]} patches; choose one with square patches")
    return [(channels, h) for channels, h, _ in shapes] * (len(indices) // len(shapes))


# Name -> (timm name, arguments of ours). The arguments that depend on the image size are filled in by `architecture`.
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "vit_micro": ("vit_tiny_patch16_224", {"embed_dim": 96, "depth": 8, "num_heads": 3}),
    "vit_tiny": ("vit_tiny_patch16_224", {}),
    "vit_small": ("vit_small_patch16_224", {}),
    "vit_base": ("vit_base_patch16_224", {}),
    "swin_micro": ("swin_tiny_patch4_window7_224", {"embed_dim": 48, "depths": (2, 2, 4), "num_heads": (3, 6, 12)}),
    "swin_tiny": ("swin_tiny_patch4_window7_224", {}),
}


def architecture(name: str, image_size: int, patch_size: int | None = None) -> tuple[str, dict[str, Any]]:
    """The timm name and arguments of `name` (one of ARCHITECTURES or any timm ViT or Swin) at this image size.

    Ours take patches that suit the image: a ViT has 4 pixels up to 48, 8 up to 128, else 16; a Swin has patch 2 and
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
        raise UserError(f"arch={name}: no such encoder; choose one of {ours}, or the name of a timm ViT or Swin")
    if patch_size is not None:
        arguments["patch_size"] = patch_size
    return timm_name, arguments


def build_encoder(
    name: str,
    image_size: int = 224,
    patch_size: int | None = None,
    taps: int | None = None,
    drop_path: float = 0.0,
    tap_blocks: Sequence[int] | None = None,
    encoder_init: str = "timm",
    positions: str = "learned",
    freeze_patch_projection: bool = False,
    **timm_args: Any,
) -> TappedEncoder:
    """A new, untrained encoder with taps. Raises UserError for values that do not fit together.

    `name`: `vit_micro vit_tiny vit_small vit_base swin_micro swin_tiny` or any timm ViT or Swin; `image_size` and
    `patch_size` in pixels; `taps` (K) or `tap_blocks` (which): see `tap_indices`; `drop_path` in [0, 1).
    `encoder_init`: "timm", "moco_v3" or "dino"; `positions`: "learned" or "sincos"; `freeze_patch_projection` (neither
    of the two affects a Swin): see `initialise`. `timm_args` go to `timm.create_model`: `num_heads=12` is MoCo v3's.
    """
    image_size = square(image_size)
    timm_name, arguments = architecture(name, image_size, patch_size)
    arguments |= timm_args
    if positions not in POSITIONS:
        raise UserError(f"positions={positions}: choose one of {', '.join(POSITIONS)}")
    try:
        backbone = timm.create_model(timm_name, num_classes=0, drop_path_rate=drop_path, **arguments)
    except Exception as error:  # whatever timm raises for arguments that do not fit
        asked = "".join(f", encoder.{key}={value}" for key, value in timm_args.items())
        raise UserError(f"arch={name} does not take image_size={image_size}{asked}: {first_line(error)}; change these settings") from None  # fmt: skip
    encoder = TappedEncoder(backbone, image_size, taps, tap_blocks)
    encoder.timm_name, encoder.timm_args = timm_name, dict(arguments)
    initialise_encoder(backbone, encoder_init)
    if positions == "sincos":
        fix_sincos_positions(backbone)
    if freeze_patch_projection and not is_hierarchical(backbone):
        freeze_projection(backbone)
    return encoder
