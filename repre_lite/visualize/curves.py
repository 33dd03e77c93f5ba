"""Training curves: what runs logged over their steps, as figures and as charts that read out their values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..runtime.text import plain_text
from .kit import palette
from .kit.drawing import Figure, legend, svg
from .kit.extra import extra
from .kit.viewer import pack, to_html, viewer
from .kit.words import CURVES as WORDS
from .kit.words import short

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
    "online k-NN top-1 (%)": {"online_knn_top1": ("online k-NN top-1 (%)", palette.KNN)},
    "spread of the embedding": {"embedding_std": ("spread of the embedding", palette.series(0))},
    "effective rank": {"effective_rank": ("effective rank of the embedding", palette.series(0))},
    "cosine between patches": {"patch_cosine": ("cosine between patches of an image", palette.series(0))},
}
DASHES = {"-": "", "--": "6 3", "-.": "8 3 2 3", ":": "2 3"}  # of a line in the browser
COLUMNS = 3  # panels in a row
FEW = 20  # values of which each gets a marker


@dataclass(frozen=True)
class Curve:
    """One line: `steps` and `values` of one measure of one run; `name` is the legend's."""

    name: str
    style: palette.Style
    steps: tuple[int, ...]
    values: tuple[float, ...]

    def read(self, step: int, smooth: float = 0.0) -> tuple[float, float]:
        """The last value logged by `step`, or else the first, and the same smoothed, see `smoothed`."""
        at = max(0, int(np.searchsorted(self.steps, step, side="right")) - 1)
        values: list[float] = np.array(self.values[: at + 1], np.float32).tolist()  # as the browser holds them
        return values[-1], smoothed(values, smooth)[-1]


def smoothed(values: Sequence[float], share: float) -> list[float]:
    """The mean of all values so far, of which each counts `share` times as much as the next, in [0, 1)."""
    made, total, weight = [], 0.0, 0.0
    for value in values:
        total, weight = share * total + value, share * weight + 1
        made.append(total / weight)
    return made


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

    @property
    def steps(self) -> tuple[int, ...]:
        """Every step after which something was logged."""
        return tuple(sorted({step for curves in self.panels.values() for curve in curves for step in curve.steps}))

    def figure(self, panel: str | None = None, at: int | None = None, smooth: float = 0.0) -> Figure:
        """All panels, or one of them by its title; `at`: a line at that one of `steps`; `smooth`: see `smoothed`."""
        if panel is not None:
            figure = Figure(3.6, 2.4, "constrained")
            self._draw(figure.subplots(), panel, at, smooth)
            return figure
        rows = max(1, -(-len(self.panels) // COLUMNS))
        columns = max(1, min(COLUMNS, len(self.panels)))
        figure = Figure(3 * columns, 2.5 * rows, "constrained")
        axes = figure.subplots(rows, columns, squeeze=False).flat
        for axis, title in zip(axes, self.panels, strict=False):
            self._draw(axis, title, at, smooth)
        for axis in list(axes)[len(self.panels) :]:
            axis.set_axis_off()
        return figure

    def _draw(self, axis: Any, title: str, at: int | None, smooth: float) -> None:
        curves, handles = self.panels[title], {}
        for curve in curves:
            style = curve.style.options(marker=len(curve.steps) < FEW)
            if smooth:
                axis.plot(curve.steps, curve.values, markersize=3, alpha=0.3, **style)
            (handles[curve.name],) = axis.plot(curve.steps, smoothed(curve.values, smooth), markersize=3, **style)
        if at is not None:
            axis.axvline(self.steps[at], color=palette.FAINT, linewidth=0.8)
        axis.set(xlabel="step", title=title)
        axis.xaxis.get_major_locator().set_params(integer=True)
        if self._logarithmic(title):
            ticker = extra("matplotlib.ticker")
            axis.set_yscale("log")
            axis.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
            axis.yaxis.set_major_formatter("{x:g}")
            axis.yaxis.set_minor_locator(ticker.NullLocator())
        if "%" in title:
            axis.set_ylim(0, 100)
        if len(handles) > 1:
            legend(axis, list(handles.values()), list(handles), fontsize=8)

    def _logarithmic(self, title: str) -> bool:
        lowest = min(min(curve.values) for curve in self.panels[title])
        return ("loss" in title or "weight" in title) and lowest > 0

    def describe(self, panel: str | None = None, at: int | None = None, smooth: float = 0.0) -> str:
        """First and last value of every curve, of all panels or of one; or with `at` the values after that one of `steps`."""
        if not self.panels:
            return "Nothing has been logged."
        titles = list(self.panels) if panel is None else [panel]
        if at is not None:
            return " ".join(self._read(title, self.steps[at], smooth) for title in titles)
        sentences = []
        for title in titles:
            ends = [f"{plain_text(c.name)} from {c.values[0]:.3g} to {c.values[-1]:.3g}" for c in self.panels[title]]
            sentences.append(f"{title} over steps: {'; '.join(end.strip() for end in ends)}.")
        return " ".join(sentences)

    def _read(self, title: str, step: int, smooth: float) -> str:
        """kinds/curves.js says the same."""
        parts = []
        for curve in self.panels[title]:
            raw, even = curve.read(step, smooth)
            said = WORDS["value"].format(name=plain_text(curve.name), value=short(raw)).strip()
            parts.append(said + (f", {WORDS['smoothed'].format(value=short(even))}" if smooth else ""))
        return WORDS["said"].format(title=title, step=step, values="; ".join(parts))

    def widget(self) -> Any:
        """Charts that read out their values; needs anywidget."""
        return viewer("curves", self._data(), self._state(), self.describe)

    def to_html(self, script: bool = True) -> str:
        """The charts as a fragment of a page; without scripts the figures."""
        figures = "".join(svg(self.figure(title), self.describe(title)) for title in self.panels)
        still = f'<div class="row">{figures}</div>'
        return to_html("curves", self._data(), self._state(), "Curves", self.describe(), script, still)

    def _state(self) -> dict[str, Any]:
        return {"panel": next(iter(self.panels), None), "at": max(0, len(self.steps) - 1), "smooth": 0.0}

    def _data(self) -> dict[str, Any]:
        panels = [
            {
                "title": title,
                "log": self._logarithmic(title),
                "percent": "%" in title,
                "curves": [
                    {
                        "name": plain_text(curve.name),
                        "colour": curve.style.colour,
                        "dashes": DASHES[curve.style.line],
                        "steps": pack(np.array(curve.steps, np.float32)),
                        "values": pack(np.array(curve.values, np.float32)),
                    }
                    for curve in curves
                ],
            }
            for title, curves in self.panels.items()
        ]
        return {"panels": panels, "steps": self.steps, "few": FEW, "words": WORDS}
