"""The patch inspector: point at a patch and see what it attends to, what resembles it, its reconstruction error, and
where the other view shows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.views import ViewParameters, Views
from ..decoder import ReconstructionDecoder
from ..encoder import TappedEncoder
from ..runs import Run
from .kit import palette
from .kit.attention import attention_top, pack_blocks
from .kit.capture import BlockAttention, capture
from .kit.correspondence import corresponding, patches_at
from .kit.drawing import Figure, enlarge, outline, show_image
from .kit.subject import tap_names
from .kit.viewer import on_scale, pack, pack_image, pack_scale, to_html, viewer
from .kit.words import percent

FINEST = 16  # patches a side: finer taps are averaged down, or the similarities of all pairs would fill a page

# Blocks, heads, rows and columns count from 0 everywhere; a place on another grid than the pointer's names its grid.
WORDS = {
    "place": "row {row}, column {column}",
    "place_of": "row {row}, column {column} of {h} x {w}",
    "mean": "in block {block} (mean of {heads} heads)",
    "head": "in block {block}, head {head},",
    "attention": "Patch at {here}: {who} it looks most at {to} ({sent} %), and {by} looks most at it ({received} %)",
    "similar": "; at {tap} it is most like {like} (cosine {cosine})",
    "error": "; its reconstruction error is {error}, the mean of the view {mean}",
    "match": "; the other view shows it in {there}",
    "no_match": "; the other view does not show it",
}


@dataclass(frozen=True)
class Inspector:
    """`view` (H, W, 3) in [0, 1]; `blocks`: each one's attention; `similarities`: for each tap the cosine of all pairs of
    patches (h, w, h, w), `names` of the taps; `error` (H, W): mean over colours of |reconstruction - view|, None without
    a decoder; `other`, the second view (H, W, 3), and `match`, where it shows each patch of the first tap (h, w, 4), as
    `corresponding` gives it; None without a second view."""

    view: np.ndarray
    blocks: tuple[BlockAttention, ...]
    similarities: tuple[np.ndarray, ...]
    names: tuple[str, ...]
    error: np.ndarray | None = None
    other: np.ndarray | None = None
    match: np.ndarray | None = None

    @classmethod
    @torch.no_grad()
    def compute(
        cls,
        encoder: TappedEncoder,
        normalise: Callable[[Tensor], Tensor],
        views: Sequence[Tensor],
        decoder: ReconstructionDecoder | None = None,
        parameters: Sequence[ViewParameters] = (),
    ) -> Inspector:
        """`views`: the inspected one and, if there is one, another of the same image, (3, H, W) each, in [0, 1];
        `parameters`: what `Views.parameters` drew for them, of one image. Encoder and decoder run once."""
        captured, (_, taps) = capture(encoder.backbone, normalise(views[0][None])[0], encoder.tap_indices)
        blocks = tuple(replace(block, weights=on_scale(block.weights, 0, 1)) for block in captured)
        similarities = tuple(on_scale(_cosines(tap[0]), -1, 1) for tap in taps)
        made = cls(_show(views[0]), blocks, similarities, tap_names(encoder))
        if decoder is not None:
            decoder.eval()
            made = replace(made, error=(decoder(taps)[0] - views[0]).abs().mean(0).cpu().numpy())
        if len(views) > 1 and len(parameters) > 1:
            crops = [(p.boxes[0].tolist(), bool(p.flips[0])) for p in parameters[:2]]
            made = replace(made, other=_show(views[1]), match=corresponding(made.grid, *crops[0], *crops[1]))
        return made

    @classmethod
    def of_run(cls, run: Run, image: Tensor, seed: int = 0) -> Inspector:
        """Two views of a uint8 `image` (3, H, W), made as in training, through the online encoder and its decoder."""
        make, row = Views(run.recipe.views[:2], seed), torch.zeros(1).long()
        parameters = make.parameters(0, row, *image.shape[1:])
        views = [view[0] for view in make(image[None], 0, row)]
        return cls.compute(run.encoder, run.model.normalise, views, run.decoder, parameters)

    @property
    def grid(self) -> tuple[int, int]:
        """h and w of the patches one can point at: those of the first tap, at most FINEST a side."""
        h, w = self.similarities[0].shape[:2]
        return h, w

    @property
    def start(self) -> dict[str, Any]:
        """What is shown at first: the central patch, the last block and tap."""
        h, w = self.grid
        last = {"block": len(self.blocks) - 1, "head": "mean", "tap": len(self.names) - 1}
        return last | {"row": h // 2, "column": w // 2}

    def attention(self, block: int, head: int | str, row: int, column: int) -> tuple[np.ndarray, np.ndarray]:
        """From and to a patch, (h, w) each; `head`: a number (the last if a block has fewer) or "mean"."""
        one = self.blocks[block]
        r, c = self._on(one.grid, row, column)
        token = one.prefix + r * one.grid[1] + c
        maps = [heads.astype(np.float64) for heads in (one.sent(token), one.received(token))]
        sent, received = (m[min(head, one.heads - 1)] if isinstance(head, int) else m.mean(0) for m in maps)
        return sent, received

    def similarity(self, tap: int, row: int, column: int) -> np.ndarray:
        """Cosine of the patch with every patch of a tap, (h, w), in [-1, 1]."""
        r, c = self._on(self.similarities[tap].shape[:2], row, column)
        cosines: np.ndarray = self.similarities[tap][r, c]
        return cosines

    def _on(self, grid: Sequence[int], row: int, column: int) -> tuple[int, int]:
        """The patch of another grid that covers, or begins, the one pointed at."""
        return row * grid[0] // self.grid[0], column * grid[1] // self.grid[1]

    def _errors(self) -> np.ndarray:
        """The error's mean over each patch pointed at, (h, w)."""
        (h, w), (height, width) = self.grid, self.view.shape[:2]
        error = np.asarray(self.error)[: height // h * h, : width // w * w]
        means: np.ndarray = error.reshape(h, height // h, w, width // w).mean((1, 3))
        return means.astype(np.float32)

    def describe(self, **state: Any) -> str:
        """One patch in one sentence; `start` fills in what is not given of the state."""
        state = self.start | state
        block, head, tap, row, column = (state[key] for key in ("block", "head", "tap", "row", "column"))
        one, (sent, received) = self.blocks[block], self.attention(block, head, row, column)
        key, number = ("head", min(head, one.heads - 1)) if isinstance(head, int) else ("mean", 0)
        text = WORDS["attention"].format(
            here=self._place((row, column), self.grid),
            who=WORDS[key].format(block=block, head=number, heads=one.heads),
            to=self._place(_top(sent), one.grid),
            sent=percent(sent.max()),
            by=self._place(_top(received), one.grid),
            received=percent(received.max()),
        )
        cosines = self.similarity(tap, row, column).copy()
        if cosines.size > 1:
            cosines[self._on(cosines.shape, row, column)] = -2  # itself
            like = self._place(_top(cosines), cosines.shape)
            text += WORDS["similar"].format(tap=self.names[tap], like=like, cosine=f"{cosines.max():.2f}")
        if self.error is not None:
            errors = f"{self._errors()[row, column]:.3f}", f"{self.error.mean():.3f}"
            text += WORDS["error"].format(error=errors[0], mean=errors[1])
        if self.match is not None:
            there = patches_at(self.match[row, column], self.grid).tolist()
            text += WORDS["match" if there[0] >= 0 else "no_match"].format(there=self._place(there, self.grid))
        return text + "."

    def _place(self, at: Sequence[int], grid: Sequence[int]) -> str:
        words = WORDS["place" if tuple(grid) == self.grid else "place_of"]
        return words.format(row=at[0], column=at[1], h=grid[0], w=grid[1])

    def figure(self, **state: Any) -> Figure:
        """The patch on the view, attention from and to it, similarity, error and the other view."""
        state = self.start | state
        block, head, tap, row, column = (state[key] for key in ("block", "head", "tap", "row", "column"))
        sent, received = self.attention(block, head, row, column)
        attention = {"cmap": "cividis", "vmin": 0, "vmax": attention_top(self.blocks)}
        who = f"block {block}" + (f", head {head}" if isinstance(head, int) else "")
        panels: list[tuple[str, np.ndarray, dict[str, Any]]] = [
            ("view", self.view, {}),
            (f"attention from it, {who}", sent, attention),
            (f"attention to it, {who}", received, attention),
            (f"cosine at {self.names[tap]}", self.similarity(tap, row, column), palette.signed_map()),
        ]
        panels += [] if self.error is None else [("reconstruction error", self.error, palette.error_map())]
        panels += [] if self.other is None else [("other view", self.other, {})]
        figure = Figure(7.6, 4.6)
        axes = figure.subplots(2, 3)
        height, width = self.view.shape[:2]
        for axis, (title, shown, options) in zip(axes.flat, panels, strict=False):
            image = show_image(axis, shown if shown.ndim == 3 else enlarge(shown, height, width), title, **options)
            if options:
                figure.colorbar(image, ax=axis, fraction=0.05)
            place = np.array((row / self.grid[0], column / self.grid[1], 1 / self.grid[0], 1 / self.grid[1]))
            if title == "other view" and self.match is not None:
                place, (height, width) = self.match[row, column], shown.shape[:2]
            outline(axis, place * (height, width, height, width))
        for axis in axes.flat[len(panels) :]:
            axis.set_axis_off()
        return figure

    def widget(self) -> Any:
        """In the browser: point at a patch of any image, or use the arrow keys."""
        return viewer("inspector", self._data(), self.start, self.describe)

    def to_html(self, heads: bool = True, script: bool = True) -> str:
        """The widget as a fragment of a page. Without `heads` it holds only their mean; without `script` the page must
        add it (`viewer.page_script`)."""
        return to_html("inspector", self._data(heads), self.start, "Patch inspector", self.describe(), script)

    def _data(self, heads: bool = True) -> dict[str, Any]:
        taps = [
            {"name": name, "grid": cosines.shape[:2], "cosines": pack_scale(cosines, -1, 1)}
            for name, cosines in zip(self.names, self.similarities, strict=True)
        ]
        data: dict[str, Any] = {"view": pack_image(self.view), "grid": self.grid, "taps": taps, "words": WORDS}
        data |= {"blocks": pack_blocks(self.blocks, heads), "top": attention_top(self.blocks)}
        if self.error is not None:
            data |= {"error": pack_scale(self.error, 0, palette.ERROR_RANGE), "range": palette.ERROR_RANGE}
            data |= {"errors": pack(self._errors()), "mean": f"{self.error.mean():.3f}"}
        if self.other is not None and self.match is not None:
            data |= {"other": pack_image(self.other), "match": pack(self.match.astype(np.float32))}
            data |= {"matched": patches_at(self.match, self.grid).tolist()}
        return data


def _cosines(tap: Tensor) -> np.ndarray:
    """(C, h, w) -> the cosine of all pairs of patches (h, w, h, w), those of 2 x 2 averaged until FINEST a side."""
    while max(tap.shape[1:]) > FINEST:
        tap = F.avg_pool2d(tap, 2)  # (C, h/2, w/2)
    h, w = tap.shape[1:]
    tokens = F.normalize(tap.float().flatten(1), dim=0)  # (C, N)
    return (tokens.T @ tokens).view(h, w, h, w).cpu().numpy()


def _top(values: np.ndarray) -> tuple[int, int]:
    """Row and column of the largest value."""
    return divmod(int(values.argmax()), int(values.shape[1]))


def _show(view: Tensor) -> np.ndarray:
    """(3, H, W) -> (H, W, 3)."""
    return view.permute(1, 2, 0).cpu().numpy()
