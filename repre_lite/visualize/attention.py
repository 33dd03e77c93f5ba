"""The attention explorer: every head of every block, from the class token or any patch, with rollout and distances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from ..encoder import TappedEncoder
from .kit.capture import BlockAttention, capture, heaviest, mean_distance, rollout
from .kit.panel import strip
from .kit.viewer import on_scale, pack, pack_picture, pack_scale, to_html, viewer

CELL = 59  # places from one small map of the figure to the next
DROPS = (0.0, 0.3, 0.6, 0.9)  # what rollout may drop of each row; 0 unless asked for

# Blocks, heads, rows and columns count from 0 everywhere.
WORDS = {
    "mean": "Block {block}, mean of its {heads} heads",
    "head": "Block {block}, head {head}",
    "rollout": "Rollout through blocks 0 to {block}, the lowest {drop} % of each row dropped",
    "class": "from the class token",
    "patch": "from the patch in row {row}, column {column} of {h} x {w}",
    "kept": "{mass} % of what goes to patches lies on {count} of {patches}, most of all ({share} %) on row {top_row}, "
    "column {top_column}",
    "far": "; patches look {distance} pixels far on average",
}


@dataclass(frozen=True)
class Attention:
    """`picture` (H, W, 3) in [0, 1]; `blocks`: each one's attention; `distances`: for each block (heads,) in pixels;
    `rolled`: share dropped -> rollout after each block (L, T, T); empty for a Swin, whose patches merge on the way."""

    picture: np.ndarray
    blocks: tuple[BlockAttention, ...]
    distances: tuple[np.ndarray, ...]
    rolled: dict[float, np.ndarray]

    @classmethod
    def compute(cls, encoder: TappedEncoder, view: Tensor, normalised: Tensor) -> Attention:
        """One forward over `normalised` (3, H, W); `view` (3, H, W), in [0, 1], is the same picture as it is shown."""
        captured, _ = capture(encoder.backbone, normalised)
        blocks = [replace(block, weights=on_scale(block.weights, 0, 1)) for block in captured]
        height = view.shape[1]
        distances = tuple(mean_distance(block, height / block.grid[0]) for block in blocks)
        rolled = {}
        if all(len(block.keys) == 1 and block.grid == blocks[0].grid for block in blocks):
            means = np.stack([block.dense().mean(0) for block in blocks])  # (L, T, T)
            rolled = {drop: on_scale(rollout(means, drop), 0, 1) for drop in DROPS}
        return cls(view.permute(1, 2, 0).cpu().numpy(), tuple(blocks), distances, rolled)

    @property
    def start(self) -> dict[str, Any]:
        """What is shown at first: the last block's mean over heads, from the class token or else the middle."""
        h, w = self.blocks[0].grid
        source = "class" if self.blocks[0].prefix else "patch"
        return {
            "block": len(self.blocks) - 1,
            "head": "mean",
            "source": source,
            "row": h // 2,
            "column": w // 2,
            "mass": 0.6,
            "drop": 0.0,
        }

    @property
    def tops(self) -> dict[str, float]:
        """Where the colours end, the same for every block and head."""
        tops = {"attention": attention_top(self.blocks)}
        if self.rolled:
            tops["rollout"] = _ceiling(np.percentile(self.rolled[0.0][:, :, self.blocks[0].prefix :], 99.5))
        return tops | {"norm": _ceiling(max(block.norms.max() for block in self.blocks))}

    def weights(self, block: int, head: int | str, source: str, row: int, column: int, drop: float) -> np.ndarray:
        """One map (h, w) of attention to patches. `head`: a number (the block's last where it has fewer), "mean" or
        "rollout"; `source`: "class" or "patch", the one at `row` and `column` of the first block's grid."""
        one = self.blocks[block]
        token = 0 if source == "class" and one.prefix else self._token(block, row, column)
        if head == "rollout" and self.rolled:
            return self.rolled[drop][block][token, one.prefix :].reshape(one.grid).astype(np.float64)
        sent = one.sent(token).astype(np.float64)
        return sent[min(head, one.heads - 1)] if isinstance(head, int) else sent.mean(0)

    def _patch(self, block: int, row: int, column: int) -> tuple[int, int]:
        """The patch of a block that covers the one at `row` and `column` of the first block's grid."""
        (h, w), (rows, columns) = self.blocks[block].grid, self.blocks[0].grid
        return row * h // rows, column * w // columns

    def _token(self, block: int, row: int, column: int) -> int:
        r, c = self._patch(block, row, column)
        return self.blocks[block].prefix + r * self.blocks[block].grid[1] + c

    def describe(self, **state: Any) -> str:
        """What a state (see `start`, which fills in what is not given) shows, in one sentence."""
        state = self.start | state
        block, head, mass = state["block"], state["head"], state["mass"]
        one, shown = self.blocks[block], self.weights(**{key: state[key] for key in state if key != "mass"})
        (h, w), rolls = one.grid, head == "rollout" and bool(self.rolled)
        number = min(head, one.heads - 1) if isinstance(head, int) else 0
        key = "rollout" if rolls else "head" if isinstance(head, int) else "mean"
        who = WORDS[key].format(block=block, head=number, heads=one.heads, drop=round(100 * state["drop"]))
        row, column = self._patch(block, state["row"], state["column"])
        source = "class" if state["source"] == "class" and one.prefix else "patch"
        where = WORDS[source].format(row=row, column=column, h=h, w=w)
        top = int(shown.argmax())
        kept = WORDS["kept"].format(
            mass=round(100 * mass),
            count=int(heaviest(shown, mass).sum()),
            patches=h * w,
            share=f"{100 * shown.max() / max(shown.sum(), 1e-12):.0f}",
            top_row=top // w,
            top_column=top % w,
        )
        distances = self.distances[block]
        distance = distances[number] if isinstance(head, int) else distances.mean()
        far = "" if rolls else WORDS["far"].format(distance=f"{distance:.1f}")
        return f"{who}, {where}: {kept}{far}."

    def figure(self, **state: Any) -> Any:
        """All heads of all blocks as small maps; beside them the picture with the kept share, distances and norms."""
        from matplotlib import pyplot as plt

        state = self.start | state
        query = {key: state[key] for key in ("source", "row", "column", "drop")}
        tops, block = self.tops, self.blocks[state["block"]]
        figure = plt.figure(figsize=(9.6, 4.6), layout="constrained")
        left, right = figure.subfigures(1, 2, width_ratios=(1.25, 1))
        overview = left.subplots()
        shown = overview.imshow(self._mosaic(query), cmap="cividis", vmin=0, vmax=tops["attention"])
        most = max(one.heads for one in self.blocks)
        overview.set_xticks([(i + 0.5) * CELL - 1.5 for i in range(len(self.blocks))], range(len(self.blocks)))
        overview.set_yticks([(i + 0.5) * CELL - 1.5 for i in range(most)], range(most))
        overview.set(xlabel="block", ylabel="head", title="attention to patches")
        overview.set_frame_on(False)
        overview.tick_params(length=0)
        left.colorbar(shown, ax=overview, orientation="horizontal", shrink=0.6, aspect=30, extend="max")

        axes = right.subplots(2, 2)
        mask = heaviest(self.weights(state["block"], state["head"], **query), state["mass"])
        head = state["head"] if isinstance(state["head"], str) else f"head {state['head']}"
        title = f"{round(100 * state['mass'])} % of block {state['block']}, {head}"
        strip(axes[0][0], _dimmed(self.picture, mask), title)
        if state["source"] == "patch" or not block.prefix:
            (row, column), (h, w) = self._patch(state["block"], state["row"], state["column"]), block.grid
            height, width = self.picture.shape[:2]
            mark_patch(axes[0][0], (row / h, column / w, 1 / h, 1 / w), height, width)
        norms = strip(axes[0][1], block.norms, "token norms", cmap="viridis", vmin=0, vmax=tops["norm"])
        right.colorbar(norms, ax=axes[0][1], fraction=0.05)
        for axis, numbers, title in (
            (axes[1][0], self.distances, "mean distance (pixels)"),
            (axes[1][1], [one.norms.ravel() for one in self.blocks], "norms of all patches"),
        ):
            for index, values in enumerate(numbers):
                axis.plot([index] * len(values), values, "o", markersize=3, alpha=0.5, color="#0072B2")
            axis.set_ylim(0, 1.1 * max(values.max() for values in numbers))
            axis.set_title(title, fontsize=9)
            axis.set_xlabel("block", fontsize=9)
        plt.close(figure)
        return figure

    def _mosaic(self, query: dict[str, Any]) -> np.ndarray:
        """Blocks from left to right, heads from top to bottom, every map on as many places, NaN in between."""
        most, side = max(block.heads for block in self.blocks), CELL - 3
        mosaic = np.full((most * CELL - 3, len(self.blocks) * CELL - 3), np.nan)
        for index, block in enumerate(self.blocks):
            for head in range(block.heads):
                one = enlarge(self.weights(index, head, **query), side, side)
                mosaic[head * CELL :, index * CELL :][:side, :side] = one
        return mosaic

    def widget(self) -> Any:
        """In the browser: click a small map, point at a patch or use the arrow keys."""
        return viewer("attention", self._data(), self.start, self.describe)

    def to_html(self, heads: bool = True, script: bool = True) -> str:
        """The widget as a fragment of a page. Without `heads` only their mean travels, which for large encoders saves
        megabytes; without `script` the page must bring it (`viewer.page_script`)."""
        return to_html("attention", self._data(heads), self.start, "Attention explorer", self.describe(), script)

    def _data(self, heads: bool = True) -> dict[str, Any]:
        return {
            "picture": pack_picture(self.picture),
            "blocks": pack_blocks(self.blocks, heads),
            "distances": [values.tolist() for values in self.distances],
            "norms": [pack_scale(block.norms, 0, self.tops["norm"]) for block in self.blocks],
            "rolled": [pack_scale(maps, 0, 1) for maps in self.rolled.values()],
            "drops": list(self.rolled),
            "tops": self.tops,
            "words": WORDS,
        }


def attention_top(blocks: Sequence[BlockAttention]) -> float:
    """Where colours of attention end: one in 200 weights of all blocks lies above; uniform attention lies below."""
    weights = np.concatenate([block.weights[:, :, block.prefix :].ravel() for block in blocks])
    uniform = 1 / min(block.weights.shape[2] for block in blocks)
    return _ceiling(max(np.percentile(weights, 99.5), 2 * uniform))


def pack_blocks(blocks: Sequence[BlockAttention], heads: bool = True) -> list[dict[str, Any]]:
    """Blocks for the browser, with all heads or only their mean; a Swin's with each patch's window and place."""
    packed = []
    for block in blocks:
        weights = block.weights if heads else block.weights.mean(0, keepdims=True)
        windows = [pack(part.astype(np.uint16)) for part in block.places()] if len(block.keys) > 1 else None
        packed.append(
            {
                "grid": block.grid,
                "prefix": block.prefix,
                "heads": block.heads,
                "weights": pack_scale(weights, 0, 1),
                "windows": windows,
            }
        )
    return packed


def enlarge(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """A map (h, w) on height x width places, each with the value of the patch that covers it."""
    h, w = values.shape
    return values[np.arange(height) * h // height][:, np.arange(width) * w // width]


def mark_patch(axis: Any, rectangle: Sequence[float], height: int, width: int) -> None:
    """Outline top, left, height, width, in shares of a picture of height x width pixels."""
    from matplotlib.patches import Rectangle

    top, left, tall, wide = rectangle
    corner = (left * width - 0.5, top * height - 0.5)  # the first pixel's middle is at 0
    for colour, thickness in (("black", 3), ("white", 1.5)):
        patch = Rectangle(corner, wide * width, tall * height, fill=False, edgecolor=colour, linewidth=thickness)
        axis.add_patch(patch)


def _dimmed(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The picture (H, W, 3), veiled where the mask (h, w) is false."""
    return np.where(enlarge(mask, *picture.shape[:2])[..., None], picture, 0.15 * picture + 0.425)


def _ceiling(value: float) -> float:
    """The next number up of two significant digits."""
    digits = 10.0 ** (np.floor(np.log10(max(value, 1e-12))) - 1)
    return float(f"{np.ceil(value / digits) * digits:.6g}")
