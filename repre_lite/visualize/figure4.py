"""The paper's figure 4 from runs of one's own: class-token attention and t-SNE of each, and the numbers it leaves out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..data.image_set import ImageSet
from ..data.scenes import VAL_START, scenes
from ..encoder import is_hierarchical
from ..evaluation import at_size
from ..runs import Run
from ..runtime.randomness import generator
from .embedding import Embedding
from .kit.capture import capture
from .kit.panel import panel, strip
from .truth import Truth, looked_at

SCENES = 32  # on so many the overlap of attention and object is measured


@dataclass(frozen=True)
class Figure4:
    """`pictures` (B, H, W, 3) in [0, 1]; for each arm by its name: `attention` (B, h, w) of the last block's class token,
    mean over heads, `embeddings`, and on scenes `truths`, else nothing; `class_token`: False for a Swin, which has none
    and shows what each patch receives on average."""

    pictures: np.ndarray
    attention: dict[str, np.ndarray]
    embeddings: dict[str, Embedding]
    truths: dict[str, Truth]
    class_token: bool

    @classmethod
    def compute(
        cls, runs: Mapping[str, Run], pictures: ImageSet | None = None, shown: int = 5, seed: int = 0, **maps: Any
    ) -> Figure4:
        """`runs` on the same pictures, such as {"last layer": single, "multi-hierarchy": multi}; `pictures`: None for the
        first run's own; `shown` of them, drawn from `seed`, are looked at; `maps` go to `Embedding.compute`."""
        first = next(iter(runs.values()))
        pictures = first.images() if pictures is None else pictures
        chosen = torch.randperm(len(pictures), generator=generator(seed, "figure4"))[:shown]
        views = at_size(pictures.images[chosen], first.recipe.image_size)  # (B, 3, H, W)
        options: dict[str, Any] = {"perplexities": (30,), "seed": seed} | maps
        attention, embeddings, truths = {}, {}, {}
        for name, run in runs.items():
            normalised = run.model.normalise(views)
            attention[name] = np.stack([looked_at(capture(run.encoder.backbone, x)[0][-1]) for x in normalised])
            embeddings[name] = Embedding.compute(run.encoder, pictures, run.mean, run.std, **options)
            if run.recipe.scale == "scenes":
                drawn = scenes(range(VAL_START, VAL_START + SCENES), size=run.recipe.image_size)
                truths[name] = Truth.compute(run.encoder, run.model.normalise, drawn)
        class_token = not is_hierarchical(first.encoder.backbone)
        return cls(views.permute(0, 2, 3, 1).numpy(), attention, embeddings, truths, class_token)

    def _look(self, axes: Any, picture: int, titles: bool = True) -> Any:
        """One picture and every arm's attention, all on one scale, into as many axes; returns the last image."""
        top = max(float(maps.max()) for maps in self.attention.values())
        strip(axes[0], self.pictures[picture], "picture" if titles else "")
        for axis, (name, maps) in zip(axes[1:], self.attention.items(), strict=True):
            shown = strip(axis, maps[picture], name if titles else "", cmap="viridis", vmin=0, vmax=top)
        return shown

    def figure(self) -> Any:
        """Left the pictures and where each arm looks, right each arm's embedding map."""
        from matplotlib import pyplot as plt

        rows, arms = len(self.pictures), len(self.attention)
        figure = plt.figure(figsize=(1.15 * (arms + 1) + 2.9 * arms, max(3.6, 1.15 * rows + 0.4)), layout="constrained")
        left, right = figure.subfigures(1, 2, width_ratios=(1.15 * (arms + 1), 2.9 * arms))
        axes = left.subplots(rows, arms + 1, squeeze=False)
        for row in range(rows):
            shown = self._look(axes[row], row, titles=row == 0)
        left.colorbar(shown, ax=axes, orientation="horizontal", fraction=0.04, label="share of attention")
        maps = right.subplots(1, arms, squeeze=False)[0]
        for axis, (name, embedding) in zip(maps, self.embeddings.items(), strict=True):
            embedding.draw(axis, list(embedding.maps)[-1])
            axis.set_title(f"{name}: {self._numbers(name)}", fontsize=9)
        handles, classes = maps[0].get_legend_handles_labels()
        right.legend(handles, classes, loc="outside lower center", ncols=3 * arms, fontsize=8, frameon=False)
        plt.close(figure)
        return figure

    def _numbers(self, name: str) -> str:
        overlap = f", IoU {self.truths[name].iou.mean():.2f}" if name in self.truths else ""
        return f"k-NN {self.embeddings[name].knn:.0%}{overlap}"

    def describe(self, picture: int | None = None) -> str:
        """The figure, or one picture of it, in one sentence."""
        who = "the class token" if self.class_token else "no class token here, so what each patch receives on average:"
        if picture is None:
            numbers = "; ".join(f"{name} {self._numbers(name)}" for name in self.attention)
            measured = ", IoU the overlap of attention and object on scenes" if self.truths else ""
            return f"Where {who} looks in {len(self.pictures)} pictures, and t-SNE; {numbers} (k-NN of the features{measured})."
        places = []
        for name, maps in self.attention.items():
            row, column = np.unravel_index(maps[picture].argmax(), maps[picture].shape)
            places.append(f"{name} most on row {row}, column {column} ({maps[picture].max():.0%})")
        return f"Picture {picture}, {who} looks: {'; '.join(places)}."

    def widget(self) -> Any:
        """A slider over the pictures, enlarged."""
        import ipywidgets as widgets

        def draw(picture: int) -> tuple[Any, str]:
            from matplotlib import pyplot as plt

            columns = len(self.attention) + 1
            figure, axes = plt.subplots(1, columns, figsize=(2.5 * columns + 0.6, 2.8), layout="compressed")
            figure.colorbar(self._look(axes, picture), ax=axes[1:], fraction=0.03, label="share of attention")
            plt.close(figure)
            return figure, self.describe(picture)

        return panel(draw, picture=widgets.IntSlider(0, 0, len(self.pictures) - 1, description="picture"))


def figure4(single: Run, multi: Run, pictures: ImageSet | None = None, **options: Any) -> Figure4:
    """The paper's arms: MoCo v3 with RePre from the last layer only, and from the multi-hierarchy features."""
    return Figure4.compute({"last layer": single, "multi-hierarchy": multi}, pictures, **options)
