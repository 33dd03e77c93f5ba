"""RePre: a contrastive framework and a reconstruction branch on one online forward (figure 1, algorithm 1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .decoder import ReconstructionDecoder
from .encoder import (
    TappedEncoder,
    build_encoder,
    fix_sincos_positions,
    freeze_patch_projection,
    is_hierarchical,
)
from .frameworks import Framework, build_framework
from .frameworks.base import at_least_fp32
from .frameworks.none import ReconstructionOnly
from .losses import FixedWeighting, UncertaintyWeighting, build_weighting, pixel_l1
from .recipes import Recipe
from .runtime.errors import UserError
from .runtime.randomness import fork

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Losses(NamedTuple):
    """One step's scalars and what else is worth keeping: `total` is minimised; `contrastive` and `reconstruction` are
    the raw losses (None if there is none); `reconstructed` (B, 3, H, W) is the decoder's image of view 1, `embedding`
    (B, D) the framework's, `monitors` its own further scalars."""

    total: Tensor
    contrastive: Tensor | None
    reconstruction: Tensor | None
    reconstructed: Tensor | None
    embedding: Tensor
    monitors: dict[str, Tensor]


class RePre(nn.Module):
    """`framework` + `decoder` + `weighting`, in the order of algorithm 1.

    `decoder` None leaves the bare framework, and nothing of the branch is computed. `detached` trains the decoder on
    taps without gradient: the encoder is then that of the bare framework, bit for bit, and has a reconstruction error.
    `weighting` None means learned uncertainty weights. `mean`, `std`: three numbers each, in [0, 1], to normalise views.
    """

    def __init__(
        self,
        framework: Framework,
        decoder: ReconstructionDecoder | None = None,
        weighting: UncertaintyWeighting | FixedWeighting | None = None,
        detached: bool = False,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        if decoder is None and isinstance(framework, ReconstructionOnly):
            raise UserError(
                "--framework none with --reconstruction none leaves nothing to learn; choose one of the two"
            )
        self.framework = framework
        self.decoder = decoder
        self.detached = detached
        alone = decoder is None or detached or isinstance(framework, ReconstructionOnly)
        self.weighting = None if alone else weighting or UncertaintyWeighting()
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    @classmethod
    def from_recipe(
        cls, recipe: Recipe, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD
    ) -> RePre:
        """The untrained model of a recipe. Encoder, heads and decoder are drawn from streams of their own, so every arm
        of a comparison starts from the same encoder and the same heads."""
        with fork(recipe.seed, "encoder"):
            encoder = build_encoder(
                recipe.arch, recipe.image_size, recipe.patch_size, recipe.taps, recipe.drop_path, **recipe.encoder
            )
        if not is_hierarchical(encoder.backbone):
            if recipe.positions == "sincos":
                fix_sincos_positions(encoder)
            if recipe.freeze_patch_projection:
                freeze_patch_projection(encoder)
        with fork(recipe.seed, "heads"):
            framework = build_framework(recipe.framework, encoder, **recipe.method)
        framework.online.backbone.set_grad_checkpointing(recipe.activation_checkpointing)  # type: ignore[operator]
        decoder = None
        if recipe.reconstruction != "none":
            mode = "single" if recipe.reconstruction == "single" else "multi"
            with fork(recipe.seed, "decoder"):
                decoder = ReconstructionDecoder.for_encoder(
                    encoder, recipe.fusion, recipe.fusion_layers, recipe.decoder_width, mode
                )
        weighting = build_weighting(recipe.weighting)
        return cls(framework, decoder, weighting, recipe.reconstruction == "detached", mean, std)

    def normalise(self, view: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> what encoders read."""
        return (view - self.mean) / self.std

    def forward(self, views: Sequence[Tensor]) -> Losses:
        """`views`: (B, 3, H, W) each, in [0, 1], before normalisation. The first one is reconstructed."""
        inputs = [self.normalise(view) for view in views]
        online = self.framework.encode(inputs, taps=self.decoder is not None)  # one forward serves both branches

        reconstructed, reconstruction = None, None  # reconstructive pre-training, lines 6 to 9
        if self.decoder is not None:
            taps = [tap.detach() for tap in online[0].taps] if self.detached else online[0].taps
            reconstructed = self.decoder(taps)  # (B, 3, H, W)
            reconstruction = pixel_l1(at_least_fp32(reconstructed), views[0])

        contrast = self.framework.contrast(online, inputs)  # contrastive pre-training, lines 10 to 12

        total = self.combine(contrast.loss, reconstruction)  # combining objectives, line 13
        contrastive = None if isinstance(self.framework, ReconstructionOnly) else contrast.loss
        return Losses(total, contrastive, reconstruction, reconstructed, contrast.embedding, contrast.monitors)

    def combine(self, contrastive: Tensor, reconstruction: Tensor | None) -> Tensor:
        """Equation 4. Weighting needs losses >= 0, so the contrastive one is shifted by the framework's lowest value."""
        if reconstruction is None:
            return contrastive
        if self.weighting is None:
            return contrastive + reconstruction
        return self.weighting(contrastive - self.framework.loss_floor, reconstruction)

    @property
    def weights(self) -> tuple[Tensor | None, Tensor | None]:
        """What the contrastive and the reconstruction loss are multiplied by now; None for one that is not there."""
        if self.weighting is not None:
            contrastive, reconstruction = self.weighting.weights.unbind()
            return contrastive, reconstruction
        one = self.mean.new_ones(())
        return (None if isinstance(self.framework, ReconstructionOnly) else one, None if self.decoder is None else one)


class ReconstructionBranch(nn.Module):
    """The branch for somebody else's training loop: give `parameters()` to the optimiser.

    features = encode(backbone, normalise(view))
    loss = branch.weigh(their_loss(features.pooled), branch(features.taps, view))
    """

    def __init__(self, decoder: ReconstructionDecoder, weighting: UncertaintyWeighting | FixedWeighting | None = None):
        super().__init__()
        self.decoder = decoder
        self.weighting = weighting or UncertaintyWeighting()
        self.tap_indices: tuple[int, ...] | None = None

    @classmethod
    def for_backbone(
        cls, backbone: nn.Module, image_size: int, taps: int | None = None, **decoder: Any
    ) -> ReconstructionBranch:
        """For any timm ViT or Swin reading pictures of `image_size` pixels, tapped where `encode` taps it; `taps`: K, if
        not 4 (give `encode` the branch's `tap_indices` then); `decoder`: fusion, layers, width, mode."""
        encoder = TappedEncoder(backbone, image_size, taps)
        branch = cls(ReconstructionDecoder.for_encoder(encoder, **decoder))
        branch.tap_indices = encoder.tap_indices
        return branch

    def forward(self, taps: Sequence[Tensor], view: Tensor) -> Tensor:
        """Equation 3 for `view` (B, 3, H, W) in [0, 1], before normalisation."""
        return pixel_l1(at_least_fp32(self.decoder(taps)), view)

    def weigh(self, contrastive: Tensor, reconstruction: Tensor, loss_floor: float = 0.0) -> Tensor:
        """Equation 4; `loss_floor` is the lowest value of the contrastive loss (-1 for a negative cosine)."""
        return self.weighting(contrastive - loss_floor, reconstruction)
