"""The embedding map: each image a point, close to those with similar features; with the numbers a map does not show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from ..data.image_set import ImageSet
from ..encoder import TappedEncoder
from ..evaluation import extract, knn_top1
from ..runtime.errors import UserError
from ..runtime.text import plain_text
from .kit import palette
from .kit.drawing import Figure, legend
from .kit.extra import extra
from .kit.panel import panel

THUMBNAIL = 32  # pixels
APART = 0.09  # minimal distance of two thumbnails, in widths of the map, so that they do not overlap


@dataclass(frozen=True)
class Embedding:
    """`thumbnails` (n, H, W, 3) in [0, 1]; `labels` (n,) into `classes`; `maps`: name -> (n, 2) in [0, 1]; `trust`: name ->
    how many of a point's neighbours on the map are neighbours in the features (trustworthiness, in [0, 1]); `knn`: top-1
    accuracy in [0, 1] of the features themselves, None for images of one class or without labels."""

    thumbnails: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    maps: dict[str, np.ndarray]
    trust: dict[str, float]
    knn: float | None

    @classmethod
    def compute(
        cls,
        encoder: TappedEncoder,
        images: ImageSet,
        mean: Sequence[float],
        std: Sequence[float],
        most: int | None = 20,
        count: int = 600,
        perplexities: Sequence[float] = (5, 30),
        seed: int = 0,
    ) -> Embedding:
        """PCA, and t-SNE at each perplexity, of the pooled features of `count` of the `images`.

        Of more than `most` classes, `most` are drawn from `seed` (the paper's figure 4 shows 20); None shows all. For the
        k-NN one half of the images votes on the other, with k at most the voters of a class. Raises UserError for fewer
        than 8 images.
        """
        decomposition, manifold = extra("sklearn.decomposition"), extra("sklearn.manifold")
        draw = torch.Generator().manual_seed(seed)
        labels = torch.zeros(len(images), dtype=torch.int64) if images.labels is None else images.labels
        kept = torch.arange(len(labels))
        if most is not None and len(images.classes) > most:
            chosen = torch.randperm(len(images.classes), generator=draw)[:most]
            kept = kept[torch.isin(labels, chosen)]
        kept = kept[torch.randperm(len(kept), generator=draw)[:count]]
        if len(kept) < 8:
            raise UserError(f"an embedding map needs 8 images or more, not {len(kept)}")
        names, y = torch.unique(labels[kept], return_inverse=True)
        chosen_images = images.images[kept]
        features = extract(encoder, chosen_images, mean, std).cpu()  # (n, C)

        half, x = len(kept) // 2, features.double().numpy()
        maps = {"PCA": decomposition.PCA(2, random_state=seed).fit_transform(x)}
        for perplexity in perplexities:
            most_neighbours = min(perplexity, (len(x) - 1) / 3)
            tsne = manifold.TSNE(perplexity=most_neighbours, init="pca", random_state=seed)
            with extra("threadpoolctl").threadpool_limits(1):  # on some hundred points threads mostly wait
                maps[f"t-SNE {most_neighbours:g}"] = tsne.fit_transform(x)
        neighbours, voters = min(5, len(x) // 2 - 1), max(1, min(20, half // len(names)))
        return cls(
            (F.interpolate(chosen_images.float(), (THUMBNAIL, THUMBNAIL), mode="area") / 255)
            .permute(0, 2, 3, 1)
            .numpy(),
            y.numpy(),
            tuple(plain_text(images.classes[i]) for i in names.tolist()) if images.classes else ("image",),
            {name: _unit(places) for name, places in maps.items()},
            {name: float(manifold.trustworthiness(x, p, n_neighbors=neighbours)) for name, p in maps.items()},
            knn_top1(features[:half], y[:half], features[half:], y[half:], k=voters) if len(names) > 1 else None,
        )

    @property
    def accuracy(self) -> str:
        """The k-NN accuracy of the features in words."""
        return "one class" if self.knn is None else f"k-NN {self.knn:.0%}"

    def draw(self, axis: Any, name: str, only: int | None = None, thumbnails: float = 0) -> list[Any]:
        """One map into a matplotlib axis; `only`, a class, greys the others; `thumbnails`: their width in points. Returns
        a handle for each class, for a legend."""
        offsetbox = extra("matplotlib.offsetbox")
        places, handles = self.maps[name], []
        for label in range(len(self.classes)):
            mine, lit, style = self.labels == label, only in (None, label), palette.series(label)
            colour = style.colour if lit else "0.85"
            handles.append(axis.scatter(*places[mine].T, s=16, color=colour, marker=style.marker, zorder=1 + lit))
        for index in _spread(places, self.labels == only if only is not None else None) if thumbnails else ():
            box = offsetbox.OffsetImage(self.thumbnails[index], zoom=thumbnails / THUMBNAIL)
            axis.add_artist(offsetbox.AnnotationBbox(box, places[index], pad=0.1, bboxprops={"linewidth": 0.4}))
        axis.set(xticks=[], yticks=[], xlim=(-0.05, 1.05), ylim=(-0.05, 1.05), aspect="equal")
        axis.set_title(f"{name}, trustworthiness {self.trust[name]:.3f}", fontsize=9)
        return handles

    def figure(self, map: str | None = None, only: int | None = None, thumbnails: bool = False) -> Figure:
        """Every map as points, and the last again as thumbnails; or one `map`, with one class of it or thumbnails."""
        if map is not None:
            figure = Figure(6.8, 5.4, "constrained")
            handles = self.draw(figure.subplots(), map, only, 28 * thumbnails)
            legend(figure, handles, self.classes, loc="outside right center", fontsize=9)
            return figure
        count = len(self.maps) + 1
        figure = Figure(2.5 * count, 3.2, "constrained")
        axes = figure.subplots(1, count)
        for axis, name in zip(axes, self.maps, strict=False):
            handles = self.draw(axis, name, only)
        self.draw(axes[-1], list(self.maps)[-1], only, thumbnails=13)
        figure.suptitle(f"the features themselves: {self.accuracy}", fontsize=11)
        legend(figure, handles, self.classes, loc="outside lower center", ncols=10, fontsize=9)
        return figure

    def describe(self, map: str | None = None, only: int | None = None, thumbnails: bool = False) -> str:
        """The maps, or one of them, or one class on it, in one sentence."""
        classes = f"{len(self.labels)} images of {len(self.classes)} class" + "es" * (len(self.classes) > 1)
        found = "" if self.knn is None else f"; k-NN of the features themselves is right for {self.knn:.0%}"
        if map is None:
            return f"{classes} as points, by {', '.join(self.maps)}{found}."
        shown = f"{map} with thumbnails" if thumbnails else map
        if only is None:
            return f"{shown}: {classes}; trustworthiness {self.trust[map]:.3f}{found}."
        places, mine = self.maps[map], self.labels == only
        near = np.square(places[mine][:, None] - places[None]).sum(-1)  # (m, n)
        near[np.arange(mine.sum()), np.flatnonzero(mine)] = np.inf
        alike = float((self.labels[near.argmin(1)] == only).mean())
        return (
            f"{shown}: the {mine.sum()} images of class {self.classes[only]}; the nearest neighbour on the map is of the "
            f"same class for {alike:.0%} of them."
        )

    def widget(self) -> Any:
        """Select the map and a class; points or thumbnails."""
        widgets = extra("ipywidgets")
        every = [("all", -1), *((name, label) for label, name in enumerate(self.classes))]
        return panel(
            self,
            lambda only, **values: {"only": None if only < 0 else only, **values},
            map=widgets.Dropdown(options=list(self.maps), value=list(self.maps)[-1], description="map"),
            only=widgets.Dropdown(options=every, value=-1, description="class"),
            thumbnails=widgets.ToggleButton(False, description="thumbnails"),
        )


def _unit(places: np.ndarray) -> np.ndarray:
    """Places (n, 2) shifted and scaled, equally in both directions, into the unit square."""
    low, high = places.min(0), places.max(0)
    return np.asarray((places - (low + high) / 2) / max((high - low).max(), 1e-12) + 0.5)


def _spread(places: np.ndarray, among: np.ndarray | None) -> list[int]:
    """Points in order of appearance, each at least APART from those before it."""
    shown: list[int] = []
    for index in range(len(places)) if among is None else np.flatnonzero(among):
        if all(np.abs(places[index] - places[other]).max() > APART for other in shown):
            shown.append(int(index))
    return shown
