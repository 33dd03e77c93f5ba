"""RePre: a contrastive framework and a reconstruction branch on one online forward (figure 1, algorithm 1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .decoder import ReconstructionDecoder
from .encoder import TappedEncoder, Taps, build_encoder
from .frameworks import Framework, build_framework
from .frameworks.base import at_least_fp32
from .frameworks.none import ReconstructionOnly
from .hide import hide
from .losses import FixedWeighting, UncertaintyWeighting, build_weighting, check_not_negative, pixel_l1
from .recipes import Recipe
from .runtime.errors import UserError
from .runtime.randomness import fork

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Losses(NamedTuple):
    """One step's scalars and what else is worth keeping.

    `total` is minimised; `contrastive` and `reconstruction` are the raw losses (None if there is none);
    `reconstructed` (B, 3, H, W) is the decoder's image of view 1; `embedding` (B, D) the framework's; `monitors` its own
    further scalars; `last_tap` (B, C, h, w) the deepest tap of view 1, without gradient.
    """

    total: Tensor
    contrastive: Tensor | None
    reconstruction: Tensor | None
    reconstructed: Tensor | None
    embedding: Tensor
    monitors: dict[str, Tensor]
    last_tap: Tensor


class RePre(nn.Module):
    """`framework` + `decoder` + `weighting`, in the order of algorithm 1.

    `decoder` None leaves the bare framework, and nothing of the branch is computed. `detached` trains the decoder on
    taps without gradient: the encoder is then that of the bare framework, bit for bit, and has a reconstruction error.
    `weighting` None means learned uncertainty weights. `mean`, `std`: three numbers each, in [0, 1], to normalise views.
    `reconstruct_views`: "1", as in algorithm 1, or "both", for the mean of both views' reconstruction losses.
    Raises UserError if there is nothing to learn, or no second view to reconstruct.
    """

    def __init__(
        self,
        framework: Framework,
        decoder: ReconstructionDecoder | None = None,
        weighting: UncertaintyWeighting | FixedWeighting | None = None,
        detached: bool = False,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        reconstruct_views: str = "1",
    ) -> None:
        super().__init__()
        if decoder is None and isinstance(framework, ReconstructionOnly):
            raise UserError("framework=none with reconstruction=none leaves nothing to learn; choose one of the two")
        if reconstruct_views not in ("1", "both"):
            raise UserError(f"reconstruct_views={reconstruct_views}: choose one of 1, both")
        if reconstruct_views == "both" and framework.online_views < 2:
            raise UserError(
                f"reconstruct_views=both: {type(framework).__name__} encodes only view 1 online; use reconstruct_views=1"
            )
        self.framework = framework
        self.decoder = decoder
        self.detached = detached
        self.reconstructed_views = 0 if decoder is None else 1 if reconstruct_views == "1" else 2
        alone = decoder is None or detached or isinstance(framework, ReconstructionOnly)
        self.weighting = None if alone else weighting or UncertaintyWeighting()
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.zeros(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.ones(3, 1, 1), persistent=False)
        self.normalise_by(mean, std)

    @classmethod
    def from_recipe(
        cls, recipe: Recipe, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD
    ) -> RePre:
        """The untrained model of a recipe.

        Encoder, heads and decoder are initialised from random streams of their own, so every arm of a comparison starts
        from the same encoder and the same heads.
        """
        with fork(recipe.seed, "encoder"):
            encoder = build_encoder(
                recipe.arch,
                recipe.image_size,
                recipe.patch_size,
                recipe.taps,
                recipe.drop_path,
                recipe.tap_blocks,
                recipe.encoder_init,
                recipe.positions,
                recipe.freeze_patch_projection,
                **recipe.encoder,
            )
        with fork(recipe.seed, "heads"):
            framework = build_framework(recipe.framework, encoder, **recipe.method)
        framework.online.backbone.set_grad_checkpointing(recipe.activation_checkpointing)  # type: ignore[operator]
        decoder = None
        if recipe.reconstruction != "none":
            mode = "single" if recipe.reconstruction == "single" else "multi"
            with fork(recipe.seed, "decoder"):
                decoder = ReconstructionDecoder.for_encoder(
                    encoder, recipe.fusion, recipe.fusion_layers, recipe.decoder_width, mode, recipe.decoder_init
                )
        weighting = build_weighting(recipe.weighting)
        detached = recipe.reconstruction == "detached"
        return cls(framework, decoder, weighting, detached, mean, std, recipe.reconstruct_views)

    def normalise_by(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Use this mean and standard deviation of each colour, in [0, 1], from now on."""
        for name, values, held in (("mean", mean, self.mean), ("std", std, self.std)):
            given = torch.as_tensor(values, dtype=torch.float32)
            if given.numel() != 3:
                raise UserError(f"{name}={values}: give three numbers, one for each colour")
            held.copy_(given.view(3, 1, 1))

    def normalise(self, view: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> what encoders read."""
        return (view - self.mean) / self.std

    def forward(self, views: Sequence[Tensor], hidden: Tensor | None = None) -> Losses:
        """Algorithm 1, lines 6 to 13: the losses of `views`, (B, 3, H, W) each, in [0, 1], before normalisation.

        The first view is reconstructed, or both. `hidden`, bool (B, h, w): patches of the first view that the online
        encoder does not see (see `hide`); the reconstruction's target and the target network's input are the whole view.
        """
        inputs = [self.normalise(view) for view in views]
        seen = inputs if hidden is None else [hide(inputs[0], hidden), *inputs[1:]]
        # one forward serves both branches; without a decoder the taps of view 1 are only watched
        online = self.framework.encode(seen, taps=max(1, self.reconstructed_views))

        reconstructed, reconstruction = None, None  # reconstructive pre-training, lines 6 to 9
        if self.decoder is not None:
            images = [self.reconstruct(features.taps) for features in online[: self.reconstructed_views]]
            errors = [pixel_l1(at_least_fp32(image), view) for image, view in zip(images, views, strict=False)]
            reconstructed, reconstruction = images[0], torch.stack(errors).mean()

        contrast = self.framework.contrast(online, inputs)  # contrastive pre-training, lines 10 to 12

        total = self.combine(contrast.loss, reconstruction)  # combining objectives, line 13
        contrastive = None if isinstance(self.framework, ReconstructionOnly) else contrast.loss
        last_tap = online[0].taps[-1].detach()
        return Losses(
            total, contrastive, reconstruction, reconstructed, contrast.embedding, contrast.monitors, last_tap
        )

    def reconstruct(self, taps: Sequence[Tensor]) -> Tensor:
        """The decoder's image (B, 3, H, W) of one view; without gradient to its taps if `detached`."""
        assert self.decoder is not None
        image: Tensor = self.decoder([tap.detach() for tap in taps] if self.detached else taps)
        return image

    def combine(self, contrastive: Tensor, reconstruction: Tensor | None) -> Tensor:
        """Equation 4. Weighting needs losses >= 0, so the contrastive one is shifted by the framework's lowest value."""
        if reconstruction is None:
            return contrastive
        if self.weighting is None:
            return contrastive + reconstruction
        total: Tensor = self.weighting(contrastive - self.framework.loss_floor, reconstruction)
        return total

    @property
    def weights(self) -> tuple[Tensor | None, Tensor | None]:
        """The current weights of the contrastive and the reconstruction loss; None for a loss that does not exist."""
        if self.weighting is not None:
            contrastive, reconstruction = self.weighting.weights.unbind()
            return contrastive, reconstruction
        one = self.mean.new_ones(())
        return (None if isinstance(self.framework, ReconstructionOnly) else one, None if self.decoder is None else one)


class ReconstructionBranch(nn.Module):
    """The branch for your own training loop, around any timm ViT or Swin.

    branch = ReconstructionBranch.for_backbone(backbone, image_size)
    optimiser = AdamW([{"params": backbone.parameters()}, *branch.parameter_groups()], lr)
    features = encode(backbone, normalise(view))
    loss = branch.weigh(their_loss(features.pooled), branch(features.taps, view))

    `tap_indices`: the blocks or stages whose taps the decoder reads; None if unknown.

    Under several processes its gradients are averaged only by a DistributedDataParallel of its own, whose `forward` gives
    the reconstruction loss (`weigh` stays the branch's), or as part of a module that holds backbone and branch. FSDP may
    shard the encoder, TappedEncoder(backbone, image_size), but not the branch.
    """

    def __init__(
        self,
        decoder: ReconstructionDecoder,
        weighting: UncertaintyWeighting | FixedWeighting | None = None,
        tap_indices: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        self.decoder = decoder
        self.weighting = weighting or UncertaintyWeighting()
        self.tap_indices = tap_indices
        self.views, self.calls = 0, 0  # of forward and of weigh

    @classmethod
    def for_backbone(
        cls,
        backbone: nn.Module,
        image_size: int,
        taps: int | None = None,
        tap_blocks: Sequence[int] | None = None,
        **decoder: Any,
    ) -> ReconstructionBranch:
        """For a timm ViT or Swin reading images of `image_size` pixels, tapped where `encode` taps it.

        On its device and in its number format; the log-variances are never in a half format.

        `taps` (K) or `tap_blocks` (which) choose other taps: give `encode` the branch's `tap_indices` then. `decoder`:
        fusion, layers, width, mode, init. Raises UserError for values that do not fit together.
        """
        encoder = TappedEncoder(backbone, image_size, taps, tap_blocks)
        branch = cls(ReconstructionDecoder.for_encoder(encoder, **decoder), tap_indices=encoder.tap_indices)
        weight = next(p for p in backbone.parameters() if p.is_floating_point())
        branch.decoder.to(weight.device, weight.dtype)
        branch.weighting.to(weight.device, torch.promote_types(weight.dtype, torch.float32))
        return branch

    def parameter_groups(self, weighting_lr: float = 1e-2) -> list[dict[str, Any]]:
        """Parameter groups for a torch optimiser: the decoder as usual, the log-variances without weight decay.

        The log-variances have a learning rate of their own, `weighting_lr`: Adam moves them by at most
        their learning rate per step, and an encoder's rate would take thousands of steps to follow a falling loss.
        Raises UserError if FSDP shards them.
        """
        if isinstance(self.weighting, UncertaintyWeighting):
            self.weighting.check_unsharded()
        groups: list[dict[str, Any]] = [{"params": list(self.decoder.parameters())}]
        learned = list(self.weighting.parameters())
        if learned:
            groups.append({"params": learned, "lr": weighting_lr, "weight_decay": 0.0})
        return groups

    def forward(self, taps: Sequence[Tensor], view: Tensor) -> Tensor:
        """Equation 3 for `view` (B, 3, H, W) in [0, 1], before normalisation.

        Raises UserError for taps of other blocks than the branch is built for, and for a normalised view, at which only
        calls 1, 10 and 100 look, since the host has to wait for its numbers, and none inside `torch.compile`.
        """
        given, built = (taps.indices if isinstance(taps, Taps) else ()), self.tap_indices or ()
        deepest = self.decoder.mode == "single" and given == built[-1:]  # all that it reads
        if given and built and given != built and not deepest:
            raise UserError(
                f"the branch was built for taps of blocks {self.tap_indices} but was given those of {given}; "
                "call encode(backbone, images, branch.tap_indices)"
            )
        error = pixel_l1(at_least_fp32(self.decoder(taps)), view)
        if not torch.compiler.is_compiling():
            self.views += 1
            if self.views in (1, 10, 100):
                _check_view(view)
        return error

    def weigh(self, contrastive: Tensor | float, reconstruction: Tensor, loss_floor: float = 0.0) -> Tensor:
        """Equation 4; `loss_floor` is the lowest value of the contrastive loss (-1 for a negative cosine).

        Raises UserError for a loss below its floor: on a CPU at once, elsewhere only calls 1, 10 and 100 look at it,
        since the host has to wait for that, and none inside `torch.compile`.
        """
        reconstruction = _one_number("reconstruction", reconstruction)
        contrastive = _one_number("contrastive", contrastive, reconstruction.device) - loss_floor
        if not torch.compiler.is_compiling():  # a count would be compiled again at every call
            self.calls += 1
            if self.calls in (1, 10, 100) and isinstance(self.weighting, UncertaintyWeighting):
                check_not_negative(torch.stack([contrastive, reconstruction]).detach())
        total: Tensor = self.weighting(contrastive, reconstruction)
        return total


def _one_number(name: str, loss: Tensor | float, device: torch.device | None = None) -> Tensor:
    """`loss` as a scalar on `device`. Raises UserError for more than one number."""
    loss = torch.as_tensor(loss, device=device)
    if loss.numel() != 1:
        raise UserError(f"the {name} loss is of shape {tuple(loss.shape)}, not one number; give its mean")
    return loss.reshape(())


def _check_view(view: Tensor) -> None:
    """Raise UserError if pixels of `view` are far outside [0, 1], as after a normalisation; bicubic resizing overshoots."""
    try:
        low, high = map(float, view.detach().aminmax())
    except RuntimeError:  # inside torch.func.vmap and on the meta device there are no numbers to look at
        return
    if low < -0.5 or high > 1.5:
        raise UserError(
            f"the view holds pixels from {low:.3g} to {high:.3g}; give the view before normalisation, in [0, 1]"
        )
