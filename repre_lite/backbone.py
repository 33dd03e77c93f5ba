"""What is asked of a backbone before it is tapped, and what is said if it is no timm ViT or Swin as this package needs it."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor, nn

from .runtime.errors import UserError


def unwrap(backbone: nn.Module) -> nn.Module:
    """The timm model inside wrappers that keep it as `module`. Raises UserError if there is none."""
    model = backbone
    while not _has_taps(model):
        inner = getattr(model, "module", None)
        if not isinstance(inner, nn.Module):
            raise no_taps(model)
        model = inner
    return model


def _has_taps(model: Any) -> bool:
    """Whether `model` is a timm model that cuts images into patches and gives the maps of its blocks."""
    return hasattr(model, "forward_intermediates") and hasattr(model, "patch_embed")


def no_taps(model: Any) -> UserError:
    """The error for a model of another kind, with the remedy if there is a timm ViT or Swin in it."""
    name = type(model).__name__
    if hasattr(model, "tap_grids"):
        return UserError(
            f"{name} has taps of its own: call it, encoder(images), or give the model in it, encoder.backbone"
        )
    if name.startswith("Feature") and hasattr(model, "feature_info"):  # timm's FeatureListNet, FeatureGetterNet ...
        return UserError(f"{name} is what features_only=True makes of a timm model; create the model without it")
    parts = model.named_modules() if isinstance(model, nn.Module) else ()
    inside = next((path for path, part in parts if path and _has_taps(part)), None)
    if inside is not None:
        return UserError(f"{name} is not a timm ViT or Swin but holds one; give that, model.get_submodule({inside!r})")
    return UserError(f"{name} is not a timm ViT or Swin, so it has no taps; choose another backbone")


def is_hierarchical(backbone: nn.Module) -> bool:
    """True for a Swin, whose stages shrink the patch grid; False for a ViT, whose blocks keep it."""
    reductions = {stage["reduction"] for stage in unwrap(backbone).feature_info}  # type: ignore[union-attr]
    return len(reductions) > 1


def patch_of(backbone: nn.Module) -> int:
    """The side in pixels of the patch each vector of the first map stands for; a ResNet below a ViT counts."""
    embed: Any = unwrap(backbone).patch_embed
    try:
        return int(embed.feat_ratio() if hasattr(embed, "feat_ratio") else embed.patch_size[0])
    except (AttributeError, TypeError):  # a relative of the ViT: XCiT, Hiera, MViT ...
        raise no_taps(unwrap(backbone)) from None


def square(image_size: Any) -> int:
    """`image_size` as a whole number. Raises UserError for anything else, such as (H, W)."""
    try:
        side = operator.index(image_size)
    except TypeError:
        side = 0
    if side < 1:
        raise UserError(f"image_size={image_size}: give one whole number of pixels; images are square")
    return side


def check_tapped(encoder: nn.Module) -> None:
    """Raise UserError for a plain backbone, which does not say where it is tapped."""
    if not hasattr(encoder, "tap_grids"):
        raise UserError(f"{type(encoder).__name__} is no encoder with taps; give TappedEncoder(backbone, image_size)")


def check_whole(model: Any) -> None:
    """Raise UserError if blocks now see some of the patches only, which form no map."""
    if model.training and getattr(getattr(model, "patch_drop", None), "prob", 0):
        raise UserError("this backbone drops patches while training, so its taps are no maps; use patch_drop_rate=0")


def check_pooled(model: Any) -> None:
    """Raise UserError if a timm model gives all its vectors instead of a pooled feature."""
    pools = (getattr(part, "global_pool", None) for part in (model, getattr(model, "head", None)))
    if any(getattr(pool, "pool_type", pool) == "" for pool in pools):
        raise UserError(
            "this backbone has global_pool='', so it has no pooled feature (B, C); create it without that, or call "
            "backbone.reset_classifier(0, 'avg')"
        )


def check_images(model: Any, images: Tensor) -> None:
    """Raise UserError for `images` that are no batch of floats, or of other channels or another format than `model` reads."""
    if not isinstance(images, Tensor):
        raise UserError(f"images of type {type(images).__name__}: give a tensor of normalised floats (B, 3, H, W)")
    if images.ndim != 4 or not images.is_floating_point():
        raise UserError(f"images {tuple(images.shape)} of {images.dtype}: give normalised floats (B, 3, H, W)")
    weight = next(model.patch_embed.parameters())  # of the first convolution, (C, 3, p, p)
    if weight.ndim == 4 and weight.shape[1] != images.shape[1]:
        wanted = f"(B, {weight.shape[1]}, H, W)"
        raise UserError(f"images {tuple(images.shape)}: this backbone reads {wanted}; give them in that order")
    if images.dtype != weight.dtype and weight.is_floating_point() and not autocast_on(images):
        raise UserError(
            f"images of {images.dtype} for a backbone in {weight.dtype}; give images.to({weight.dtype}), or use torch.autocast"
        )


def autocast_on(x: Tensor) -> bool:
    """Whether an autocast of the device of `x` is on, which converts by itself. The meta device has none."""
    kind = x.device.type
    return torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)


def check_gathered(model: nn.Module) -> None:
    """Raise UserError if FSDP has sharded `model` itself, whose weights it gathers in the model's own `forward` alone."""
    registered = "forward_intermediates" in vars(model)  # by register_fsdp_forward_method
    if hasattr(model, "unshard") and not registered and is_sharded(next(model.parameters())):
        raise UserError(
            "this backbone is sharded by FSDP, which gathers its weights only in its own forward; shard "
            "TappedEncoder(backbone, image_size) instead and call that"
        )


def check_unsharded(model: nn.Module) -> None:
    """Raise UserError if weights of `model` are sharded, so that its shapes cannot be measured."""
    if any(is_sharded(p) for p in model.parameters()):
        raise UserError(
            "this backbone is sharded already; create TappedEncoder and ReconstructionBranch before fully_shard"
        )


def is_sharded(weight: Tensor) -> bool:
    """Whether this process holds a part of `weight` only (a DTensor)."""
    return hasattr(weight, "full_tensor")
