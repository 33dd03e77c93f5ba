"""The encoder as a dense task uses it: a timm ViT or Swin for images of any size, and its feature maps."""

from __future__ import annotations

from typing import Any, Self

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..backbone import is_hierarchical
from ..encoder import TappedEncoder
from ..runtime.errors import UserError, first_line
from ..runtime.weights import load_whole


class DenseBackbone(nn.Module):
    """The taps of an encoder, for images of any size.

    The timm model is built again from `encoder.timm_name` and gets the encoder's weights. A ViT interpolates its position
    embedding (bicubic, by timm); with `positions_at`, the side in pixels of what it is trained on, that is done once, and
    what is trained are the interpolated positions. A Swin has relative positions; it keeps the windows it was trained
    with, padded and shifted in every stage, as in Swin's own code for detection: also where the grid was a single window.
    What follows the last tap is left out.

    `widths`: channels C_i of the K maps; `strides`: side of a cell of each in pixels; `multiple`: images are padded below
    and to the right, by zeros, to a multiple of this many pixels. `frozen`: no gradient, and always in evaluation mode.
    Raises UserError for weights that do not all fit, and for an encoder that takes one image size only.
    """

    def __init__(
        self,
        encoder: TappedEncoder,
        frozen: bool = False,
        drop_path: float = 0.0,
        positions_at: int | None = None,
    ) -> None:
        super().__init__()
        self.hierarchical = is_hierarchical(encoder.backbone)
        self.indices = list(encoder.tap_indices)
        self.widths = encoder.tap_widths
        patch = encoder.patch
        self.strides = tuple(patch * 2**i if self.hierarchical else patch for i in self.indices)
        self.multiple = max(self.strides)
        self.frozen = frozen
        model = _any_size(encoder, drop_path)
        load_whole(model, encoder.backbone.state_dict(), encoder.timm_name)
        model.prune_intermediate_layers(self.indices, prune_norm=True, prune_head=True)
        if positions_at is not None and not self.hierarchical:
            side = -(-positions_at // patch) * patch
            model.set_input_size(img_size=(side, side))
        self.model = model
        if frozen:
            self.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> list[Tensor]:
        """`images` (B, 3, H, W), normalised -> K maps (B, C_i, h_i, w_i) of the padded images, from shallow to deep."""
        height, width = images.shape[-2:]
        padded = F.pad(images, (0, -width % self.multiple, 0, -height % self.multiple))
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            maps: list[Tensor] = self.model.forward_intermediates(
                padded, indices=self.indices, output_fmt="NCHW", intermediates_only=True
            )
        return maps

    def train(self, mode: bool = True) -> Self:
        """Training mode, unless the encoder is frozen."""
        return super().train(mode and not self.frozen)


def _any_size(encoder: TappedEncoder, drop_path: float) -> Any:
    """The encoder's timm model, built so that it takes images of any size; its weights are not those of the encoder."""
    several: dict[str, Any] = {"dynamic_img_size": True}
    if is_hierarchical(encoder.backbone):
        model: Any = encoder.backbone
        stages = model.stages if hasattr(model, "stages") else model.layers  # the former in SwinTransformerV2Cr
        windows = [stage.blocks[0].window_size for stage in stages]  # clipped to the grid it was built for
        several = {"strict_img_size": False, "always_partition": True, "window_size": windows}
    arguments = encoder.timm_args | several | {"pretrained": False, "num_classes": 0, "drop_path_rate": drop_path}
    try:
        return timm.create_model(encoder.timm_name, **arguments)
    except (TypeError, AssertionError, ValueError, RuntimeError) as error:
        reason = first_line(error)
        raise UserError(
            f"{encoder.timm_name} cannot be used at several image sizes: {reason}; choose another encoder"
        ) from None
