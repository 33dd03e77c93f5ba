"""Tug of war: which way, and how hard, each of the two losses pulls every block of the encoder."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..repre import RePre
from ..runtime.device import precise
from ..runtime.errors import UserError
from .kit import palette
from .kit.drawing import Figure
from .kit.extra import extra
from .kit.panel import panel

ROLES = {"contrastive": palette.CONTRASTIVE, "reconstruction": palette.RECONSTRUCTION}
BLOCK = re.compile(r"(?:layers\.(\d+)\.)?blocks\.(\d+)")  # timm's names in a ViT and in a Swin


@dataclass(frozen=True)
class TugOfWar:
    """`blocks`: names of the L blocks; `norms` (2, L): of the gradient of the contrastive and of the reconstruction loss,
    unweighted, with respect to a block's parameters; `cosine` (L,) between the two gradients, in [-1, 1]; `weights` of the
    two losses; `history`: lines of metrics.jsonl, for the weights over time."""

    blocks: tuple[str, ...]
    norms: np.ndarray
    cosine: np.ndarray
    weights: tuple[float, float]
    history: tuple[dict[str, Any], ...] = ()

    @classmethod
    def compute(
        cls, model: RePre, views: Sequence[Tensor], history: Sequence[dict[str, Any]] = (), hidden: Tensor | None = None
    ) -> TugOfWar:
        """One forward of `views`, (B, 3, H, W) each in [0, 1], one backward from each loss; `model` is not changed.
        `hidden`: which patches of view 1 are hidden, as in a recipe with `hide`.

        Raises UserError if the encoder does not learn from both losses.
        """
        if model.decoder is None or model.detached or not all(model.weights):  # None or 0: a loss that is not learned
            raise UserError(
                "a tug of war needs two losses that train the encoder: reconstruction=multi or single and a contrastive "
                "framework="
            )
        model = copy.deepcopy(model).train()  # batch norm as in training; its statistics belong to the copy
        losses = model(views, hidden)
        modules = model.framework.online.backbone.named_modules()
        blocks = {name: list(module.parameters()) for name, module in modules if BLOCK.fullmatch(name)}
        every = [parameter for parameters in blocks.values() for parameter in parameters]
        pulls = []  # for each loss the flat gradient of each block
        for loss in (losses.contrastive, losses.reconstruction):
            gradients = torch.autograd.grad(loss, every, retain_graph=True, materialize_grads=True)
            parts = iter(precise(gradient.flatten()) for gradient in gradients)
            pulls.append([torch.cat([next(parts) for _ in parameters]) for parameters in blocks.values()])
        cosine = [float(torch.cosine_similarity(one, two, dim=0)) for one, two in zip(*pulls, strict=True)]
        return cls(
            tuple(_label(name) for name in blocks),
            np.array([[float(pull.norm()) for pull in row] for row in pulls]),
            np.array(cosine),
            tuple(float(weight) for weight in model.weights),  # type: ignore[arg-type]
            tuple(history),
        )

    def together(self, ratio: float) -> tuple[np.ndarray, np.ndarray]:
        """With the reconstruction loss weighted `ratio` times the contrastive: the reconstruction's share of the pull on
        each block, (L,) in [0, 1], and the cosines (2, L) of the summed gradient with that of each loss. If one is negative,
        a small step along the sum raises that loss."""
        one, two = self.norms[0], ratio * self.norms[1]
        product = one * two * self.cosine
        length = np.sqrt((one**2 + two**2 + 2 * product).clip(1e-24))
        along = np.stack([(one**2 + product) / one.clip(1e-12), (two**2 + product) / two.clip(1e-12)]) / length
        return two / (one + two).clip(1e-12), along

    @property
    def ratio(self) -> float:
        """The reconstruction's weight over the contrastive one's, as learned."""
        return self.weights[1] / self.weights[0]

    def figure(self, ratio: float | None = None) -> Figure:
        """Pulls of both losses on each block at the weights, the cosine between them, and the weights over time."""
        ratio = self.ratio if ratio is None else ratio
        over_time = [line for line in self.history if line.get("weight_reconstruction") is not None]
        columns = 2 + bool(over_time)
        figure = Figure(2.9 * columns, 2.8, "constrained")
        axes = figure.subplots(1, columns)
        blocks = range(len(self.blocks))
        _, along = self.together(ratio)
        for index, (name, style) in enumerate(ROLES.items()):
            axes[0].plot(blocks, self.norms[index] * (1, ratio)[index], **style.options(), label=name)
            axes[1].plot(blocks, along[index], **style.options(), label=f"sum with {name}")
        axes[1].bar(blocks, self.cosine, color=palette.FAINT, label="one with the other")
        axes[1].axhline(0, color=palette.ink(), linewidth=0.8)
        axes[0].set(ylabel="gradient norm at the weights", yscale="log", title=f"pull, ratio {ratio:.3g}")
        axes[1].set(ylabel="cosine of gradients", ylim=(-1.05, 1.05), title="agreement")
        for axis in axes[:2]:
            axis.set(xlabel="block", xticks=list(blocks))
            axis.legend(frameon=False, fontsize=8)
        if over_time:
            for name, style in ROLES.items():
                values = [line["weight_" + name] for line in over_time]
                axes[2].plot([line["step"] for line in over_time], values, **style.options(False), label=name)
            axes[2].set(xlabel="step", ylabel="weight", yscale="log", title="weights over time")
            axes[2].legend(frameon=False, fontsize=9)
        return figure

    def describe(self, ratio: float | None = None) -> str:
        """Who pulls harder and whether they agree, in one sentence."""
        ratio = self.ratio if ratio is None else ratio
        share, along = self.together(ratio)
        low, high = int(self.cosine.argmin()), int(self.cosine.argmax())
        raised = [
            f"the {name} loss in {count} of {len(self.blocks)} blocks"
            for name, row in zip(ROLES, along, strict=True)
            if (count := int((row < 0).sum()))
        ]
        return (
            f"With the reconstruction weighted {ratio:.3g} times the contrastive loss it makes {share[0]:.0%} of the pull on "
            f"{self.blocks[0]} and {share[-1]:.0%} on {self.blocks[-1]}; the cosine of their gradients lies between "
            f"{self.cosine[low]:.2f} ({self.blocks[low]}) and {self.cosine[high]:.2f} ({self.blocks[high]}); a small step "
            f"along the sum raises {' and '.join(raised) or 'neither loss'}."
        )

    def widget(self) -> Any:
        """A slider over the ratio of the weights, from a hundredth to a hundred times the learned one."""
        middle = float(np.log10(self.ratio))
        slider = extra("ipywidgets").FloatLogSlider(
            self.ratio, min=middle - 2, max=middle + 2, step=0.1, description="ratio", continuous_update=False
        )
        return panel(self, ratio=slider)


def _label(name: str) -> str:
    """A block's name: "layers.1.blocks.0" -> "stage 1 block 0"."""
    stage, block = BLOCK.fullmatch(name).groups()  # type: ignore[union-attr]
    return f"block {block}" if stage is None else f"stage {stage} block {block}"
