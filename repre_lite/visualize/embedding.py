"""The embedding map: every picture a point, near where its features are near; and numbers, since maps flatter."""

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
from .kit.panel import panel

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")  # Okabe and Ito's
MARKERS = "os^Dv"
THUMBNAIL = 32  # pixels
APART = 0.09  # thumbnails closer than this, in widths of the map, would hide one another


@dataclass(frozen=True)
class Embedding:
    """`thumbnails` (n, H, W, 3) in [0, 1]; `labels` (n,) into `classes`; `maps`: name -> (n, 2) in [0, 1]; `trust`: name ->
    how many of a point's neighbours on the map are neighbours in the features (trustworthiness, in [0, 1]); `knn`: top-1
    accuracy in [0, 1] of the features themselves."""

    thumbnails: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    maps: dict[str, np.ndarray]
    trust: dict[str, float]
    knn: float

    @classmethod
    def compute(
        cls,
        encoder: TappedEncoder,
        pictures: ImageSet,
        mean: Sequence[float],
        std: Sequence[float],
        most: int | None = 20,
        count: int = 600,
        perplexities: Sequence[float] = (5, 30),
        seed: int = 0,
    ) -> Embedding:
        """PCA, and t-SNE at each perplexity, of the pooled features of `count` of the `pictures`.

        Of more than `most` classes so many are drawn from `seed` (the paper's figure 4 shows 20); None shows all. For the
        k-NN one half of the pictures votes on the other, with k no more than a class has voters. Raises UserError for
        fewer than 8 pictures.
        """
        from sklearn.decomposition import PCA
        from sklearn.manifold import TSNE, trustworthiness
        from threadpoolctl import threadpool_limits

        draw = torch.Generator().manual_seed(seed)
        labels = torch.zeros(len(pictures), dtype=torch.int64) if pictures.labels is None else pictures.labels
        kept = torch.arange(len(labels))
        if most is not None and len(pictures.classes) > most:
            chosen = torch.randperm(len(pictures.classes), generator=draw)[:most]
            kept = kept[torch.isin(labels, chosen)]
        kept = kept[torch.randperm(len(kept), generator=draw)[:count]]
        if len(kept) < 8:
            raise UserError(f"an embedding map of {len(kept)} pictures shows nothing; give 8 or more")
        names, y = labels[kept].unique(return_inverse=True)
        images = pictures.images[kept]
        features = extract(encoder, images, mean, std).cpu()  # (n, C)

        half, x = len(kept) // 2, features.double().numpy()
        maps = {"PCA": PCA(2, random_state=seed).fit_transform(x)}
        for perplexity in perplexities:
            most_neighbours = min(perplexity, (len(x) - 1) / 3)
            tsne = TSNE(perplexity=most_neighbours, init="pca", random_state=seed)
            with threadpool_limits(1):  # on some hundred points threads mostly wait for each other
                maps[f"t-SNE {most_neighbours:g}"] = tsne.fit_transform(x)
        return cls(
            (F.interpolate(images.float(), (THUMBNAIL, THUMBNAIL), mode="area") / 255).permute(0, 2, 3, 1).numpy(),
            y.numpy(),
            tuple(pictures.classes[i] for i in names.tolist()) if pictures.classes else ("picture",),
            {name: _unit(places) for name, places in maps.items()},
            {name: float(trustworthiness(x, p, n_neighbors=min(5, len(x) // 2 - 1))) for name, p in maps.items()},
            knn_top1(features[:half], y[:half], features[half:], y[half:], k=max(1, min(20, half // len(names)))),
        )

    def draw(self, axis: Any, name: str, only: int | None = None, thumbnails: float = 0) -> None:
        """One map into a matplotlib axis; `only`, a class, greys the others; `thumbnails`: how wide, in points."""
        from matplotlib.offsetbox import AnnotationBbox, OffsetImage

        places = self.maps[name]
        for label in range(len(self.classes)):
            mine, lit = self.labels == label, only in (None, label)
            colour = COLOURS[label % len(COLOURS)] if lit else "0.85"
            marker = MARKERS[label // len(COLOURS) % len(MARKERS)]
            axis.scatter(*places[mine].T, s=10, color=colour, marker=marker, label=self.classes[label], zorder=1 + lit)
        for index in _spread(places, self.labels == only if only is not None else None) if thumbnails else ():
            box = OffsetImage(self.thumbnails[index], zoom=thumbnails / THUMBNAIL)
            axis.add_artist(AnnotationBbox(box, places[index], pad=0.1, bboxprops={"linewidth": 0.4}))
        axis.set(xticks=[], yticks=[], xlim=(-0.05, 1.05), ylim=(-0.05, 1.05), aspect="equal")
        axis.set_title(f"{name}, trustworthiness {self.trust[name]:.3f}", fontsize=9)

    def figure(self) -> Any:
        """Every map as points, and the last again as thumbnails."""
        from matplotlib import pyplot as plt

        count = len(self.maps) + 1
        figure, axes = plt.subplots(1, count, figsize=(2.5 * count, 3.2), layout="constrained")
        for axis, name in zip(axes, self.maps, strict=False):
            self.draw(axis, name)
        self.draw(axes[-1], list(self.maps)[-1], thumbnails=13)
        handles, names = axes[0].get_legend_handles_labels()
        figure.suptitle(f"k-NN top-1 of the features: {self.knn:.0%}", fontsize=11)
        figure.legend(handles, names, loc="outside lower center", ncols=10, fontsize=9, frameon=False)
        plt.close(figure)
        return figure

    def describe(self, name: str | None = None, only: int | None = None) -> str:
        """The maps, or one of them, or one class on it, in one sentence."""
        if name is None:
            return (
                f"{len(self.labels)} pictures of {len(self.classes)} classes as points, by {', '.join(self.maps)}; in the "
                f"features themselves k-NN finds the class of {self.knn:.0%}."
            )
        if only is None:
            return (
                f"{name}: {len(self.labels)} pictures of {len(self.classes)} classes; trustworthiness "
                f"{self.trust[name]:.3f}; in the features themselves k-NN finds the class of {self.knn:.0%}."
            )
        places, mine = self.maps[name], self.labels == only
        near = np.square(places[mine][:, None] - places[None]).sum(-1)  # (m, n)
        near[np.arange(mine.sum()), np.flatnonzero(mine)] = np.inf
        alike = float((self.labels[near.argmin(1)] == only).mean())
        return (
            f"{name}: the {mine.sum()} pictures of class {self.classes[only]}; {alike:.0%} of them have one of their own "
            "class as nearest neighbour on the map."
        )

    def widget(self) -> Any:
        """Choose the map and a class; points or thumbnails."""
        import ipywidgets as widgets

        def draw(map: str, only: int, thumbnails: bool) -> tuple[Any, str]:
            from matplotlib import pyplot as plt

            chosen = None if only < 0 else only
            figure, axis = plt.subplots(figsize=(6.8, 5.4), layout="constrained")
            self.draw(axis, map, chosen, 28 * thumbnails)
            figure.legend(loc="outside right center", fontsize=9, frameon=False)
            plt.close(figure)
            return figure, self.describe(map, chosen)

        every = [("all", -1), *((name, label) for label, name in enumerate(self.classes))]
        return panel(
            draw,
            map=widgets.Dropdown(options=list(self.maps), value=list(self.maps)[-1], description="map"),
            only=widgets.Dropdown(options=every, value=-1, description="class"),
            thumbnails=widgets.ToggleButton(False, description="thumbnails"),
        )


def _unit(places: np.ndarray) -> np.ndarray:
    """Places (n, 2) shifted and scaled, alike in both directions, into the unit square."""
    low, high = places.min(0), places.max(0)
    return (places - (low + high) / 2) / max((high - low).max(), 1e-12) + 0.5


def _spread(places: np.ndarray, among: np.ndarray | None) -> list[int]:
    """Points, first come first shown, none closer to another than APART."""
    shown: list[int] = []
    for index in range(len(places)) if among is None else np.flatnonzero(among):
        if all(np.abs(places[index] - places[other]).max() > APART for other in shown):
            shown.append(int(index))
    return shown
