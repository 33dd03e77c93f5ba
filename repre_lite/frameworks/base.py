"""The protocol of a framework: encode, contrast, update the target; and the pieces that several frameworks share."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, ClassVar, NamedTuple, TypeVar

import torch
from timm.layers import DropPath
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ..backbone import check_tapped
from ..data.view import View
from ..encoder import Features, TappedEncoder

AnyModule = TypeVar("AnyModule", bound=nn.Module)


class Row(NamedTuple):
    """One framework's row of the comparison table; `loss` is the range of its loss."""

    negatives: str
    queue: str
    predictor: str
    target: str
    stopped_gradient: str
    views: str
    loss: str


@dataclass(frozen=True)
class Published:
    """Settings of one architecture on ImageNet-1k at 224 pixels.

    `source` says where the numbers are published. `values` overrides fields of a Recipe. `ours` names the fields that no
    source gives. `views(size, patch)` replaces the framework's own views if it is not None.
    """

    source: str
    values: Mapping[str, Any]
    ours: tuple[str, ...] = ()
    views: Callable[[int, int], tuple[View, ...]] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class LinearProtocol:
    """The published linear evaluation of a framework on ImageNet-1k: a layer on the frozen encoder, trained on crops.

    Those of SimCLR, BYOL, SimSiam and MoCo v2 were published for ResNet-50, whose features have another scale; nobody has
    shown that their rates suit a ViT or a Swin. MoBY's code also clips gradients, keeps drop-path on, ends at a small rate
    and reports the best epoch; here the encoder is in evaluation mode and the last epoch counts.

    `optimiser`: sgd, nesterov or lars, momentum 0.9, no weight decay. `base_lr`: for a batch of 256. `warmup_epochs`
    come first; then half a cosine, or, with `drops`, a tenth of the rate from each of these shares of the run on.
    `blocks`: how many last blocks' class tokens are read, `patches`: and the mean over the last block's patches; without
    `blocks` the pooled feature.
    """

    optimiser: str
    epochs: int
    batch_size: int
    base_lr: float
    warmup_epochs: int = 0
    drops: tuple[float, ...] = ()
    label_smoothing: float = 0.0
    blocks: int | None = None
    patches: bool = False


class Contrast(NamedTuple):
    """A framework's result for one batch: its scalar `loss`, the projected features of view 1 as `embedding` (B, D), to
    be monitored for collapse, and further scalars to log in `monitors`."""

    loss: Tensor
    embedding: Tensor
    monitors: dict[str, Tensor]


class Framework(nn.Module):
    """A contrastive framework around an online encoder (section 3.1).

    One training step calls `encode` and `contrast`, then backward and the optimiser, then `update_target`, the only
    place where state changes without gradient (moving average, queue, centre).

    A framework is one subclass: beside the class attributes below it defines `views` and `contrast`.
    """

    row: ClassVar[Row | None] = None  # its row of the comparison table
    small: ClassVar[Mapping[str, Any]] = {}  # fields of a Recipe below 224 pixels, on top of the scale's
    published: ClassVar[Mapping[str, Published]] = {}  # arch, or "arch/epochs" -> settings on ImageNet-1k
    view_count: ClassVar[int] = 2  # whole views of an image
    local_crops: ClassVar[bool] = False  # whether further, smaller views may follow them
    loss_floor: ClassVar[float] = 0.0  # the lowest value `contrast` can return; RePre shifts by it before weighting
    loss_rises: ClassVar[bool] = (
        False  # whether the loss rises at first though all is well: a queue fills, a centre moves
    )
    decay_vectors: ClassVar[bool] = False  # whether weight decay also applies to biases and norms
    cosine_after_warmup: ClassVar[bool] = True  # whether the rate's cosine begins after warm-up or at step 0
    watch: ClassVar[str] = ""  # what to look at if this framework collapses
    linear: ClassVar[LinearProtocol] = LinearProtocol("sgd", 90, 1024, 3.0)  # MoCo v3's, for those without one

    @classmethod
    def views(cls, size: int, patch: int) -> tuple[View, ...]:
        """The views of an image for encoders of `size` pixels and patches of `patch` pixels."""
        raise NotImplementedError

    @classmethod
    def linear_for(cls, encoder: TappedEncoder) -> LinearProtocol:
        """The published linear protocol for an encoder: `linear`, unless it depends on the architecture."""
        return cls.linear

    def __init__(self, encoder: TappedEncoder) -> None:
        super().__init__()
        check_tapped(encoder)
        self.online = encoder

    @property
    def online_views(self) -> int:
        """How many of the two whole views go through the online encoder, so that they can be reconstructed."""
        return 2

    def encode(self, views: Sequence[Tensor], taps: int = 0) -> list[Features]:
        """Online features of every view (B, 3, H, W), normalised; those of the first `taps` views include their taps."""
        return encode_views(self.online, views, taps)

    def contrast(self, features: list[Features], views: Sequence[Tensor]) -> Contrast:
        """The framework's loss from the online features of all views; a target network encodes `views` by itself."""
        raise NotImplementedError

    def forward(self, views: Sequence[Tensor]) -> Contrast:
        """The bare framework: normalised views -> loss."""
        return self.contrast(self.encode(views), views)

    def update_target(self, step: int, total_steps: int) -> None:
        """Called after optimiser step `step` (from 0): update everything that has no gradient."""

    def constant_rate(self) -> list[nn.Module]:
        """The modules whose learning rate stays constant (SimSiam's predictor)."""
        return []

    def set_epoch(self, epoch: int) -> None:
        """Called before every step: set what depends on the epoch, counted from 0 (DINO's teacher temperature)."""

    def drop_gradients(self) -> None:
        """Called between backward and the optimiser step: discard gradients (DINO's last layer in the first epoch)."""

    @property
    def evaluated(self) -> TappedEncoder:
        """The encoder that is evaluated: the online one, or DINO's target."""
        return self.online


def asymmetric_views(size: int, interpolation: str = "bilinear") -> tuple[View, ...]:
    """BYOL's two views, which MoCo v3 and MoBY share: view 1 is blurred, view 2 solarised.

    Below 96 pixels, as in recipes for small images, without blur and with crops of a fifth of the image or more.
    """
    scale, blur = ((0.2, 1.0), (0.0, 0.0)) if size < 96 else ((0.08, 1.0), (1.0, 0.1))
    return (
        View(size, scale, blur=blur[0], interpolation=interpolation),
        View(size, scale, blur=blur[1], solarise=0.2, interpolation=interpolation),
    )


def symmetric_views(size: int) -> tuple[View, ...]:
    """MoCo v2's two views, which SimSiam shares; below 96 pixels without blur."""
    return (View(size, (0.2, 1.0), jitter=(0.4, 0.4, 0.4, 0.1), blur=0.0 if size < 96 else 0.5),) * 2


def encode_views(encoder: TappedEncoder, views: Sequence[Tensor], taps: int = 0) -> list[Features]:
    """Features of each view; those of the first `taps` views include their taps.

    Adjacent views of one size share a forward pass if `together` says so.
    """
    if not together(views[0]):
        return [encoder(view, taps=index < taps) for index, view in enumerate(views)]
    features: list[Features] = []
    for size, neighbours in groupby(views, key=lambda view: view.shape):
        group = list(neighbours)
        tapped = taps - len(features)  # how many of the group
        every = encoder(torch.cat(group), taps=tapped > 0)
        for index, pooled in enumerate(every.pooled.chunk(len(group))):
            own = slice(index * size[0], (index + 1) * size[0])
            features.append(Features(pooled, tuple(tap[own] for tap in every.taps) if index < tapped else ()))
    return features


def together(view: Tensor) -> bool:
    """Whether views share a forward pass: not on a CPU, where one by one is measured to be faster; on a GPU sharing halves
    the kernel launches."""
    return view.device.type != "cpu"


def target_of(module: AnyModule) -> AnyModule:
    """A target network: a copy without gradients and without drop-path (MoBY's asymmetry)."""
    target = copy.deepcopy(module).requires_grad_(False)
    for part in target.modules():
        if isinstance(part, DropPath):
            part.drop_prob = 0.0
    return target


def cosine_to_one(base: float, progress: float) -> float:
    """The moving average's coefficient: half a cosine from `base` to 1 while `progress` goes from 0 to 1."""
    return 1 - (1 - base) * (math.cos(math.pi * min(progress, 1.0)) + 1) / 2


@torch.no_grad()
def follow(target: nn.Module, online: nn.Module, coefficient: float) -> None:
    """target <- coefficient * target + (1 - coefficient) * online, parameters only: buffers are never averaged."""
    average: Any = get_ema_multi_avg_fn(coefficient)
    average(list(target.parameters()), list(online.parameters()), 0)


def over_chance(loss: Tensor, chance: float) -> dict[str, Tensor]:
    """The gauge `loss_over_chance`: the loss over the loss of guessing (ln of the number of choices). It is 1 before
    anything is learned, and after a collapse."""
    return {"loss_over_chance": loss.detach() / chance}


def no_autocast(x: Tensor) -> AbstractContextManager[Any]:
    """A context without autocast on the device of `x`, for losses. The meta device has no autocast to switch off."""
    kind = x.device.type
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()


def at_least_fp32(x: Tensor) -> Tensor:
    """`x` in fp32, or in fp64 if it is: losses are never computed in half precision."""
    return x if x.dtype == torch.float64 else x.float()
