"""The protocol all seven frameworks keep: encode, contrast, update the target; and the pieces they share."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, NamedTuple, TypeVar

import torch
from timm.layers import DropPath
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ..encoder import Features, TappedEncoder

AnyModule = TypeVar("AnyModule", bound=nn.Module)


class Contrast(NamedTuple):
    """What a framework makes of a batch: its scalar `loss`, an `embedding` (B, D) of view 1 and a projected feature to
    watch for collapse, and further scalars worth logging under the names in `monitors`."""

    loss: Tensor
    embedding: Tensor
    monitors: dict[str, Tensor]


class Framework(nn.Module):
    """A contrastive framework around an online encoder (section 3.1).

    One training step calls `encode`, `contrast`, then backward and the optimiser, then `update_target`: everything that
    changes without gradient (moving average, queue, centre) happens there and nowhere else.
    """

    loss_floor: ClassVar[float] = 0.0  # the lowest value `contrast` can return; RePre shifts by it before weighting
    decay_vectors: ClassVar[bool] = False  # whether weight decay also applies to biases and norms
    watch: ClassVar[str] = ""  # what to look at when this framework collapses

    def __init__(self, encoder: TappedEncoder) -> None:
        super().__init__()
        self.online = encoder

    def encode(self, views: Sequence[Tensor], taps: bool = False) -> list[Features]:
        """Online features of every view (B, 3, H, W), normalised; with `taps`, the first one's hold its taps too."""
        return encode_views(self.online, views, taps)

    def contrast(self, features: list[Features], views: Sequence[Tensor]) -> Contrast:
        """The framework's loss from the online features of all views; target networks encode `views` themselves."""
        raise NotImplementedError

    def forward(self, views: Sequence[Tensor]) -> Contrast:
        """The bare framework: normalised views -> loss."""
        return self.contrast(self.encode(views), views)

    def update_target(self, step: int, total_steps: int) -> None:
        """After the optimiser step number `step` (from 0): all that is learned without gradient."""

    def constant_rate(self) -> list[nn.Module]:
        """Modules whose learning rate does not follow the schedule (SimSiam's predictor)."""
        return []

    def set_epoch(self, epoch: int) -> None:
        """Before every step: what follows the epoch, counted from 0 (DINO's teacher temperature)."""

    def drop_gradients(self) -> None:
        """Between backward and the optimiser step: gradients not to be followed (DINO's last layer in the first epoch)."""

    @property
    def evaluated(self) -> TappedEncoder:
        """The encoder this framework evaluates: the online one, DINO's target."""
        return self.online


def encode_views(encoder: TappedEncoder, views: Sequence[Tensor], taps: bool = False) -> list[Features]:
    """Features of each view, only the first with taps if asked for.

    Where views go `together`, those of one size share a forward pass.
    """
    if not together(views[0]):
        return [encoder(view, taps=taps and index == 0) for index, view in enumerate(views)]
    features: list[Features] = []
    while len(features) < len(views):
        size = views[len(features)].shape
        group = [view for view in views[len(features) :] if view.shape == size]
        first = taps and not features
        every = encoder(torch.cat(group), taps=first)
        parts = every.pooled.chunk(len(group))
        batch = len(group[0])
        for index, pooled in enumerate(parts):
            features.append(Features(pooled, tuple(t[:batch] for t in every.taps) if first and index == 0 else ()))
    return features


def together(view: Tensor) -> bool:
    """Whether views go through an encoder together: not on a CPU, where one by one is measured to be faster; elsewhere
    that halves the launches."""
    return view.device.type != "cpu"


def target_of(module: AnyModule) -> AnyModule:
    """A copy that never sees a gradient and, MoBY's asymmetry, never drops a path."""
    target = copy.deepcopy(module).requires_grad_(False)
    for part in target.modules():
        if isinstance(part, DropPath):
            part.drop_prob = 0.0
    return target


def cosine_to_one(base: float, progress: float) -> float:
    """The moving average's coefficient, from `base` to 1 by half a cosine over `progress` in [0, 1]."""
    return 1 - (1 - base) * (math.cos(math.pi * min(progress, 1.0)) + 1) / 2


@torch.no_grad()
def follow(target: nn.Module, online: nn.Module, coefficient: float) -> None:
    """target <- coefficient * target + (1 - coefficient) * online, parameters only: buffers are never averaged."""
    average: Any = get_ema_multi_avg_fn(coefficient)
    average(list(target.parameters()), list(online.parameters()), 0)


def over_chance(loss: Tensor, chance: float) -> dict[str, Tensor]:
    """The gauge `loss_over_chance`: the loss as a share of what knowing nothing gives (ln of the number of choices), so 1
    where nothing is learned yet or everything has collapsed."""
    return {"loss_over_chance": loss.detach() / chance}


def no_autocast(x: Tensor) -> AbstractContextManager:
    """Inside, what is computed from `x` keeps its type: losses. The meta device, where steps are counted, has no autocast."""
    kind = x.device.type
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()


def at_least_fp32(x: Tensor) -> Tensor:
    """Losses are computed in fp32 or better, whatever autocast gave."""
    return x if x.dtype == torch.float64 else x.float()
