"""Training curves: what runs logged over their steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..runtime.text import plain_text
from .kit import palette
from .kit.drawing import Figure, legend
from .kit.extra import extra
from .kit.panel import panel

Metrics = Sequence[Mapping[str, Any]]  # lines of metrics.jsonl

# Panels of one arm: title -> key of metrics.jsonl -> name and style. Several arms have a panel for each key.
PANELS = {
    "loss": {
        "contrastive": ("contrastive loss", palette.CONTRASTIVE),
        "reconstruction": ("reconstruction loss (L1)", palette.RECONSTRUCTION),
    },
    "weight": {
        "weight_contrastive": ("weight of the contrastive loss", palette.CONTRASTIVE),
        "weight_reconstruction": ("weight of the reconstruction loss", palette.RECONSTRUCTION),
    },
    "k-NN top-1 (%)": {"online_knn_top1": ("k-NN top-1 (%)", palette.KNN)},
    "spread of the embedding": {"embedding_std": ("spread of the embedding", palette.series(0))},
    "effective rank": {"effective_rank": ("effective rank of the embedding", palette.series(0))},
    "cosine between patches": {"patch_cosine": ("cosine between patches of an image", palette.series(0))},
}
COLUMNS = 3  # panels in a row
FEW = 20  # values of which each gets a marker


@dataclass(frozen=True)
class Curve:
    """One line: `steps` and `values` of one measure of one run; `name` is the legend's."""

    name: str
    style: palette.Style
    steps: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Curves:
    """`panels`: title -> its curves, without the panels for which nothing was logged."""

    panels: dict[str, tuple[Curve, ...]]

    @classmethod
    def compute(cls, metrics: Metrics | Mapping[str, Sequence[Metrics]], only: Sequence[str] = tuple(PANELS)) -> Curves:
        """`metrics`: lines of metrics.jsonl of one run (`run.metrics`), or name of an arm -> those of each of its runs.

        Of one arm both losses share a panel, and so do both weights; of several each measure has its own, with a colour
        and a line style for each arm. `only`: titles of PANELS to show.
        """
        arms = dict(metrics) if isinstance(metrics, Mapping) else {"": [metrics]}
        panels: dict[str, tuple[Curve, ...]] = {}
        for title in only:
            for key, (name, role) in PANELS[title].items():
                curves = []
                for index, (arm, runs) in enumerate(arms.items()):
                    part = key.removeprefix("weight_") if len(PANELS[title]) > 1 else ""
                    label, style = (part, role) if len(arms) == 1 else (arm, palette.series(index))
                    points = [[(line["step"], line[key]) for line in run if line.get(key) is not None] for run in runs]
                    scale = 100 if "%" in name else 1
                    for steps, values in (zip(*each, strict=True) for each in points if each):
                        curves.append(Curve(label, style, steps, tuple(scale * value for value in values)))
                place = title if len(arms) == 1 else name
                if curves:
                    panels[place] = panels.get(place, ()) + tuple(curves)
        return cls(panels)

    def figure(self, panel: str | None = None) -> Figure:
        """All panels, or one of them by its title."""
        if panel is not None:
            figure = Figure(3.6, 2.4, "constrained")
            self._draw(figure.subplots(), panel)
            return figure
        rows = max(1, -(-len(self.panels) // COLUMNS))
        columns = max(1, min(COLUMNS, len(self.panels)))
        figure = Figure(3 * columns, 2.5 * rows, "constrained")
        axes = figure.subplots(rows, columns, squeeze=False).flat
        for axis, title in zip(axes, self.panels, strict=False):
            self._draw(axis, title)
        for axis in list(axes)[len(self.panels) :]:
            axis.set_axis_off()
        return figure

    def _draw(self, axis: Any, title: str) -> None:
        curves, handles = self.panels[title], {}
        for curve in curves:
            style = curve.style.options(marker=len(curve.steps) < FEW)
            (handles[curve.name],) = axis.plot(curve.steps, curve.values, markersize=3, **style)
        axis.set(xlabel="step", title=title)
        axis.xaxis.get_major_locator().set_params(integer=True)
        if ("loss" in title or "weight" in title) and min(min(curve.values) for curve in curves) > 0:
            ticker = extra("matplotlib.ticker")
            axis.set_yscale("log")
            axis.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
            axis.yaxis.set_major_formatter("{x:g}")
            axis.yaxis.set_minor_locator(ticker.NullLocator())
        if "%" in title:
            axis.set_ylim(0, 100)
        if len(handles) > 1:
            legend(axis, list(handles.values()), list(handles), fontsize=8)

    def describe(self, panel: str | None = None) -> str:
        """First and last value of every curve, of all panels or of one."""
        if not self.panels:
            return "Nothing was logged."
        sentences = []
        for title in self.panels if panel is None else [panel]:
            ends = [f"{plain_text(c.name)} from {c.values[0]:.3g} to {c.values[-1]:.3g}" for c in self.panels[title]]
            sentences.append(f"{title} over steps: {'; '.join(end.strip() for end in ends)}.")
        return " ".join(sentences)

    def widget(self) -> Any:
        """Select a panel."""
        return panel(self, panel=extra("ipywidgets").Dropdown(options=list(self.panels), description="measure"))
