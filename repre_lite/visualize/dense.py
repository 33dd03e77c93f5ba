"""Dense predictions beside the truth, and how well each depth of an encoder predicts: what `evaluate` measured, to look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.masks import GROUND, IGNORE, MaskSource, load_masks
from ..encoder import TappedEncoder
from ..evaluation.dense import BEST, FIT_PATCHES, find, logistic, scaled
from ..evaluation.patches import grid_of, read_patches
from ..evaluation.results import DENSE
from ..runs import Run, read_json
from .kit import palette
from .kit.drawing import Figure, enlarge, legend, show_image
from .kit.extra import extra
from .kit.panel import panel
from .kit.subject import tap_names

FITTED = 300  # images that the shown predictions are learned from
STYLES = {"trained": palette.series(0), "untrained": palette.series(1)}


@dataclass(frozen=True)
class DenseProbe:
    """`images` (S, H, W, 3) in [0, 1] with the `truth` (S, H, W), a class of `classes` or a negative number for pixels that
    do not count; `predicted`: name of an encoder -> the class of each patch (S, G, G), by a logistic probe of all taps.
    `depths`: names of the K taps, and "all"; `miou`: name -> (K + 1,) mIoU in [0, 1] of probes of each. `ceiling`: the
    mIoU of patches that each have the class of most of their pixels. Images or depths may be missing."""

    images: np.ndarray
    truth: np.ndarray
    predicted: dict[str, np.ndarray]
    classes: tuple[str, ...]
    depths: tuple[str, ...] = ()
    miou: dict[str, tuple[float, ...]] | None = None
    ceiling: float | None = None

    @classmethod
    @torch.no_grad()
    def compute(
        cls,
        encoders: Mapping[str, TappedEncoder],
        masks: MaskSource,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        shown: int = 4,
        results: dict[str, Any] | None = None,
    ) -> DenseProbe:
        """Fit a probe on the patches of some images of `masks` for each of `encoders`, and predict `shown` of the others,
        which must be of one size. `results`: what `score_dense` returned, for the depths."""
        train = masks.train.subset(FITTED)
        rows = [index * len(masks.val) // shown for index in range(min(shown, len(masks.val)))]
        val = masks.val.at(rows)
        quota = [-(-FIT_PATCHES // len(train))] * len(train)
        predicted = {}
        for name, encoder in encoders.items():
            learn, look = read_patches(encoder, train, mean, std, quota), read_patches(encoder, val, mean, std)
            labels = learn.labels()
            used = labels != IGNORE
            x, y = scaled(torch.cat(learn.taps, 1)[used], torch.cat(look.taps, 1), "standardised", "logistic")
            found: Tensor = logistic(x, labels[used], y, len(train.classes))  # (S*G*G,)
            predicted[name] = found.view(len(val), grid_of(encoder), -1).numpy()
        pairs = [val[index] for index in range(len(val))]
        images = np.stack([np.asarray(image.permute(1, 2, 0)) / 255 for image, _ in pairs])
        made = cls(images, np.stack([mask.numpy() for _, mask in pairs]), predicted, train.classes)
        return made if results is None else made._with(results, tap_names(next(iter(encoders.values()))))

    @classmethod
    def of_run(cls, run: Run, masks: MaskSource | None = None) -> DenseProbe:
        """What `evaluate --protocol dense` wrote into the folder of `run`, and predictions for some of `masks`; None takes the
        scenes if they were measured, else there are no images. Raises UserError if dense was not measured."""
        results = read_json(run.folder / DENSE)
        names = tap_names(run.evaluated)
        if masks is None and results["images"].startswith("scenes:"):
            masks = load_masks(None, run.recipe.image_size, FITTED)
        if masks is None:
            none = np.zeros((0, 1, 1))
            return cls(none[..., None], none, {}, tuple(results["classes"]))._with(results, names)
        encoders = {"trained": run.evaluated, "untrained": run.at(0).framework.evaluated}
        return cls.compute(encoders, masks, run.mean, run.std, results=results)

    def _with(self, results: dict[str, Any], names: tuple[str, ...]) -> DenseProbe:
        probe, _, channels = BEST
        held = [name for name in STYLES if name in results]
        taps: list[int | str] = [*(int(name.split()[-1]) for name in names), "all"]
        miou = {name: tuple(find(results, name, probe, tap, channels) for tap in taps) for name in held}
        return DenseProbe(
            self.images, self.truth, self.predicted, self.classes, (*names, "all"), miou, float(results["ceiling_miou"])
        )

    def right(self, name: str, image: int) -> float:
        """The share in [0, 1] of the pixels of an image that count whose patch has their class."""
        guess, truth = enlarge(self.predicted[name][image], *self.truth[image].shape), self.truth[image]
        return float((guess == truth)[truth >= 0].mean())

    def figure(self, image: int | None = None) -> Figure:
        """mIoU by depth; then for every image, or one of them, the truth and the predictions."""
        chosen = range(len(self.images)) if image is None else [image]
        columns, charted = 2 + len(self.predicted), self.miou is not None
        rows = len(chosen)
        figure = Figure(max(1.5 * columns, 7.5), 2.6 * charted + 1.65 * rows, "constrained")
        parts: Any = figure.subfigures(2, 1, height_ratios=(2.6, 1.65 * rows)) if charted and rows else [figure]
        if charted:
            self._by_depth(parts[0].subplots())
        if not rows:
            return figure
        axes = parts[-1].subplots(rows, columns, squeeze=False)
        look = palette.class_map(len(self.classes), ground=self.classes[0] == GROUND)
        for line, index in zip(axes, chosen, strict=True):
            show_image(line[0], self.images[index], "image")
            show_image(line[1], np.where(self.truth[index] < 0, np.nan, self.truth[index]), "truth", **look)
            for axis, name in zip(line[2:], self.predicted, strict=True):
                show_image(axis, self.predicted[name][index], f"{name}: {self.right(name, index):.0%}", **look)
        return figure

    def _by_depth(self, axis: Any) -> None:
        assert self.miou is not None
        handles = []
        for name, values in self.miou.items():
            handles += axis.plot(self.depths, [100 * value for value in values], **STYLES[name].options())
        names = list(self.miou)
        if self.ceiling is not None:
            handles.append(axis.axhline(100 * self.ceiling, color=palette.FAINT, linewidth=1))
            names.append("each patch its own class")
        axis.set(ylabel="mIoU (%)", ylim=(0, 100), title="a logistic probe of each tap, and of all")
        legend(axis, handles, names, fontsize=8)

    def describe(self, image: int | None = None) -> str:
        """mIoU at the shallowest and deepest tap and of all; and how many pixels of the images are right."""
        parts = []
        if self.miou is not None and image is None:
            ends = [
                f"{name} {100 * values[0]:.1f} % at {self.depths[0]}, {100 * values[-2]:.1f} % at {self.depths[-2]}, "
                f"{100 * values[-1]:.1f} % of all taps"
                for name, values in self.miou.items()
            ]
            parts.append(f"mIoU of patch probes: {'; '.join(ends)}")
        chosen = range(len(self.images)) if image is None else [image]
        shares = {name: np.mean([self.right(name, i) for i in chosen]) for name in self.predicted if len(chosen)}
        which = f"image {image}" if image is not None else f"{len(self.images)} image" + "s" * (len(self.images) > 1)
        if shares:
            said = ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares.items())
            parts.append(f"pixels of {which} that are classified correctly: {said}")
        return f"{'; '.join(parts) or 'nothing was measured'}."

    def widget(self) -> Any:
        """A slider over the images, if there are any."""
        if not len(self.images):
            return panel(self)
        return panel(self, image=extra("ipywidgets").IntSlider(0, 0, len(self.images) - 1, description="image"))
