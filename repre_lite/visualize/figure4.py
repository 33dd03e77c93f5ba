"""The paper's figure 4 for trained runs: class-token attention and t-SNE of each, and the numbers it leaves out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..data.image_set import ImageSet
from ..data.scenes import VAL_START, scenes
from ..evaluation import at_size
from ..runs import Run
from ..runtime.randomness import generator
from ..runtime.text import plain_text
from .embedding import Embedding
from .kit import palette
from .kit.capture import capture
from .kit.drawing import Figure, legend, show_image
from .kit.extra import extra
from .kit.panel import panel
from .kit.subject import has_token
from .kit.words import percent
from .truth import Truth

SCENES = 32  # on which the overlap of attention and object is measured


@dataclass(frozen=True)
class Figure4:
    """`images` (B, H, W, 3) in [0, 1]; for each arm by its name: `attention` (B, h, w) of the last block, see
    `BlockAttention.overall`, `embeddings`, and on scenes `truths`; `class_token`: False for a Swin, which has none."""

    images: np.ndarray
    attention: dict[str, np.ndarray]
    embeddings: dict[str, Embedding]
    truths: dict[str, Truth]
    class_token: bool

    @classmethod
    def compute(
        cls, runs: Mapping[str, Run], images: ImageSet | None = None, shown: int = 5, seed: int = 0, **maps: Any
    ) -> Figure4:
        """`runs` on the same images; the paper's arms are {"last layer": single, "multi-hierarchy": multi}. `images`: None
        for the first run's own; `shown` of them, drawn from `seed`, are shown; `maps` go to `Embedding.compute`."""
        first = next(iter(runs.values()))
        images = first.images() if images is None else images
        chosen = torch.randperm(len(images), generator=generator(seed, "figure4"))[:shown]
        views = at_size(images.images[chosen], first.recipe.image_size)  # (B, 3, H, W)
        options: dict[str, Any] = {"perplexities": (30,), "seed": seed} | maps
        attention, embeddings, truths = {}, {}, {}
        for name, run in runs.items():
            normalised = run.model.normalise(views)
            attention[name] = np.stack([capture(run.encoder.backbone, x)[0][-1].overall() for x in normalised])
            embeddings[name] = Embedding.compute(run.encoder, images, run.mean, run.std, **options)
            if run.recipe.scale == "scenes":
                drawn = scenes(range(VAL_START, VAL_START + SCENES), size=run.recipe.image_size)
                truths[name] = Truth.compute(run.encoder, run.model.normalise, drawn)
        class_token = has_token(first.encoder)
        return cls(views.permute(0, 2, 3, 1).numpy(), attention, embeddings, truths, class_token)

    def _look(self, axes: Any, image: int, titles: bool = True) -> Any:
        """One image and every arm's attention, all on one scale; returns the last map."""
        top = max(float(maps.max()) for maps in self.attention.values())
        show_image(axes[0], self.images[image], "image" if titles else "")
        for axis, (name, maps) in zip(axes[1:], self.attention.items(), strict=True):
            shown = show_image(axis, maps[image], name if titles else "", **palette.attention_map(top))
        return shown

    def figure(self, image: int | None = None) -> Figure:
        """Left the images and where each arm looks, right each arm's embedding map; or one image enlarged."""
        rows, arms = len(self.images), len(self.attention)
        if image is not None:
            figure = Figure(2.5 * (arms + 1) + 0.6, 2.8)
            axes = figure.subplots(1, arms + 1)
            figure.colorbar(self._look(axes, image), ax=axes[1:], fraction=0.03, label="share of attention")
            return figure
        figure = Figure(1.15 * (arms + 1) + 2.9 * arms, max(3.6, 1.15 * rows + 0.4), "constrained")
        parts: Any = figure.subfigures(1, 2, width_ratios=(1.15 * (arms + 1), 2.9 * arms))
        left, right = parts
        axes = left.subplots(rows, arms + 1, squeeze=False)
        for row in range(rows):
            shown = self._look(axes[row], row, titles=row == 0)
        left.colorbar(shown, ax=axes, orientation="horizontal", fraction=0.04, label="share of attention")
        maps = right.subplots(1, arms, squeeze=False)[0]
        for axis, (name, embedding) in zip(maps, self.embeddings.items(), strict=True):
            handles = embedding.draw(axis, list(embedding.maps)[-1])
            axis.set_title(f"{plain_text(name)}: {self._numbers(name)}", fontsize=9, parse_math=False)
        legend(right, handles, embedding.classes, loc="outside lower center", ncols=3 * arms, fontsize=8)
        return figure

    def _numbers(self, name: str) -> str:
        overlap = f", IoU {self.truths[name].iou.mean():.2f}" if name in self.truths else ""
        return f"{self.embeddings[name].accuracy}{overlap}"

    def describe(self, image: int | None = None) -> str:
        """The figure, or one image of it, in one sentence."""
        who = "the class token" if self.class_token else "no class token here, so what each patch receives on average:"
        if image is None:
            numbers = "; ".join(f"{name} {self._numbers(name)}" for name in self.attention)
            measured = ", IoU the overlap of attention and object on scenes" if self.truths else ""
            return f"Where {who} looks in {len(self.images)} images, and t-SNE; {numbers} (k-NN of the features{measured})."
        places = []
        for name, maps in self.attention.items():
            row, column = np.unravel_index(maps[image].argmax(), maps[image].shape)
            places.append(f"{name} most on row {row}, column {column} ({percent(maps[image].max())}%)")
        return f"Image {image}, {who} looks: {'; '.join(places)}."

    def widget(self) -> Any:
        """A slider over the images, enlarged."""
        return panel(self, image=extra("ipywidgets").IntSlider(0, 0, len(self.images) - 1, description="image"))
