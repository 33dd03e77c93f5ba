"""The cost meter: what the decoder adds to an encoder and to a step of MoCo v3, by its width, layers and fusion."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from ...decoder import FUSIONS, ReconstructionDecoder
from ...encoder import build_encoder
from ...frameworks.moco_v3 import MoCoV3
from ...runtime import flops
from ..kit import palette
from ..kit.drawing import Figure, legend
from ..kit.extra import extra
from ..kit.panel import panel

CLAIM = 0.04  # "only brings a negligible average of 4% workload" (the paper's introduction)
BATCH = 2  # images on the meta device: batch norm needs more than one
STYLES = {"conv": "o-", "transformer": "s--"}


class Amount(NamedTuple):
    """Number of parameters; floating-point operations for one image: one forward, and a whole training step."""

    parameters: int
    forward: int
    step: int


@dataclass(frozen=True)
class Cost:
    """`encoder`: its parameters, one forward, and a whole step of MoCo v3 with it; `decoders`: (fusion, layers, width) ->
    the cost of such a decoder, whose forward and backward run once a step; width None is the encoder's own."""

    arch: str
    image_size: int
    encoder: Amount
    decoders: dict[tuple[str, int, int | None], Amount]

    @classmethod
    def compute(
        cls,
        arch: str = "vit_small",
        image_size: int = 224,
        widths: Sequence[int | None] = (32, 64, 96, 128, 192, 256, None),
        layers: Sequence[int] = (1, 2, 3),
        fusions: Sequence[str] = FUSIONS,
    ) -> Cost:
        """Counts every combination on the meta device, where nothing is computed: seconds, and the same everywhere."""
        with torch.device("meta"):
            framework = MoCoV3(build_encoder(arch, image_size, freeze_patch_projection=True))
            encoder, images = framework.online, torch.zeros(BATCH, 3, image_size, image_size)
            taps = [tap.detach().requires_grad_() for tap in encoder(images).taps]
            whole = Amount(
                flops.parameters(encoder),
                flops.count(encoder, images) // BATCH,
                flops.count(lambda: framework([images, images]).loss.backward()) // BATCH,
            )
            decoders = {}
            for fusion, count, width in itertools.product(fusions, layers, widths):
                decoder = ReconstructionDecoder.for_encoder(encoder, fusion, count, width)
                decoders[fusion, count, width] = Amount(
                    flops.parameters(decoder),
                    flops.count(decoder, taps) // BATCH,
                    flops.count(lambda d=decoder: flops.backward(d(taps))) // BATCH,
                )
        return cls(arch, image_size, whole, decoders)

    def share(self, fusion: str = "conv", layers: int = 2, width: int | None = None) -> float:
        """The cost of the decoder as a fraction of a step of MoCo v3 without it."""
        return self.decoders[fusion, layers, width].step / self.encoder.step

    def figure(self, fusion: str = "conv", layers: int = 2, width: int | None = None) -> Figure:
        """Share of a step, and parameters as a share of the encoder's, over width; one decoder and the claim marked."""
        fusions, counts, widths = (list(dict.fromkeys(values)) for values in zip(*self.decoders, strict=True))
        figure = Figure(8.4, 3.2, "constrained")
        axes = figure.subplots(1, 2)
        numbered = [place for place, each in enumerate(widths) if each is not None]  # a line joins these
        for kind, (index, count) in itertools.product(fusions, enumerate(counts)):
            costs = [self.decoders[kind, count, each] for each in widths]
            look = {"color": palette.series(index).colour, "markersize": 4, "linewidth": 1.3}
            name = f"{kind}, {count} layer{'s' * (count > 1)}"
            for axis, whole, values in (
                (axes[0], self.encoder.step, [cost.step for cost in costs]),
                (axes[1], self.encoder.parameters, [cost.parameters for cost in costs]),
            ):
                percent = [100 * value / whole for value in values]
                axis.plot(numbered, [percent[place] for place in numbered], STYLES[kind], label=name, **look)
                if None in widths:
                    axis.plot(widths.index(None), percent[widths.index(None)], STYLES[kind][0], **look)
                if (kind, count) == (fusion, layers):
                    place = widths.index(width)
                    axis.plot(place, percent[place], "o", markersize=12, mfc="none", mec=palette.ink(), mew=1.6)
        axes[0].axhline(100 * CLAIM, color=palette.ink(), linestyle=":", label="the paper's average")
        for axis, title in ((axes[0], "% of a step of MoCo v3"), (axes[1], "parameters, % of the encoder's")):
            axis.set_xticks(range(len(widths)), ["full" if each is None else str(each) for each in widths])
            axis.set_xlabel("decoder width")
            axis.set_title(title, fontsize=10)
            axis.set_ylim(bottom=0)
            axis.grid(axis="y", alpha=0.3)
        legend(figure, *axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=8)
        return figure

    def describe(self, fusion: str = "conv", layers: int = 2, width: int | None = None) -> str:
        """The cost of one decoder in one sentence."""
        cost = self.decoders[fusion, layers, width]
        wide = "of the encoder's own width" if width is None else f"{width} wide"
        return (
            f"On {self.arch} at {self.image_size} pixels a {fusion} decoder {wide} with {layers} fusion "
            f"layer{'s' * (layers > 1)} a block has {cost.parameters / 1e6:.2f} million parameters, "
            f"{cost.parameters / self.encoder.parameters:.0%} of the encoder's, and one forward costs "
            f"{cost.forward / 1e9:.2f} GFLOP, {cost.forward / self.encoder.forward:.0%} of the encoder's; it adds "
            f"{cost.step / self.encoder.step:.1%} to a step of MoCo v3, where the paper reports {CLAIM:.0%} on average."
        )

    def widget(self) -> Any:
        """Select width, layers and fusion."""
        widgets = extra("ipywidgets")
        fusions, counts, wide = (list(dict.fromkeys(values)) for values in zip(*self.decoders, strict=True))
        named = {"full" if each is None else str(each): each for each in wide}  # ipywidgets takes None for no choice
        return panel(
            self,
            lambda width, **values: {"width": named[width], **values},
            fusion=widgets.ToggleButtons(options=fusions, description="fusion"),
            layers=widgets.SelectionSlider(options=counts, value=counts[min(1, len(counts) - 1)], description="layers"),
            width=widgets.SelectionSlider(options=list(named), value=list(named)[-1], description="width"),
        )
