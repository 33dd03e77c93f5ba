"""The attention explorer: every head of every block, from the class token or any patch, with rollout and distances."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from ..encoder import TappedEncoder
from .kit import palette
from .kit.attention import attention_top, pack_blocks, round_up
from .kit.capture import BlockAttention, capture, heaviest, mean_distance, rollout
from .kit.drawing import Figure, enlarge, outline, show_image
from .kit.viewer import on_scale, pack_image, pack_scale, to_html, viewer
from .kit.words import percent

CELL = 59  # pixels from one small map of the figure to the next, three of them empty
DROPS = (0.0, 0.3, 0.6, 0.9)  # shares of each row that rollout can drop

# Blocks, heads, rows and columns count from 0 everywhere.
WORDS = {
    "mean": "Block {block}, mean of its {heads} heads",
    "head": "Block {block}, head {head}",
    "rollout": "Rollout through blocks 0 to {block}, the lowest {drop} % of each row dropped",
    "class": "attention from the class token",
    "patch": "attention from the patch in row {row}, column {column} of {h} x {w}",
    "kept": "{count} of {patches} patches hold {mass} % of it, most of all ({share} %) row {top_row}, column {top_column}",
    "far": "; mean attention distance {distance} pixels",
}


@dataclass(frozen=True)
class Attention:
    """`image` (H, W, 3) in [0, 1]; `blocks`: each one's attention; `distances`: for each block (heads,) in pixels;
    `rolled`: share dropped -> rollout after each block (L, T, T); empty for a Swin, whose patches merge between stages."""

    image: np.ndarray
    blocks: tuple[BlockAttention, ...]
    distances: tuple[np.ndarray, ...]
    rolled: dict[float, np.ndarray]

    @classmethod
    def compute(cls, encoder: TappedEncoder, image: Tensor, normalised: Tensor) -> Attention:
        """One forward over `normalised` (3, H, W); `image` (3, H, W) in [0, 1] is the same, for display. Raises UserError
        for an encoder without attention."""
        captured, _ = capture(encoder.backbone, normalised)
        blocks = [replace(block, weights=on_scale(block.weights, 0, 1)) for block in captured]
        height = image.shape[1]
        distances = tuple(mean_distance(block, height / block.grid[0]) for block in blocks)
        rolled = {}
        if all(len(block.keys) == 1 and block.grid == blocks[0].grid for block in blocks):
            means = np.stack([block.dense().mean(0) for block in blocks])  # (L, T, T)
            rolled = {drop: on_scale(rollout(means, drop), 0, 1) for drop in DROPS}
        return cls(image.permute(1, 2, 0).cpu().numpy(), tuple(blocks), distances, rolled)

    @property
    def start(self) -> dict[str, Any]:
        """What is shown at first: the last block's mean over heads, from the class token or else the central patch."""
        h, w = self.blocks[0].grid
        source = "class" if self.blocks[0].class_token else "patch"
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
            tops["rollout"] = round_up(np.percentile(self.rolled[0.0][:, :, self.blocks[0].prefix :], 99.5))
        return tops | {"norm": round_up(max(block.norms.max() for block in self.blocks))}

    def weights(self, block: int, head: int | str, source: str, row: int, column: int, drop: float) -> np.ndarray:
        """One map (h, w) of attention to patches. `head`: a number (the last if the block has fewer), "mean" or
        "rollout"; `source`: "class" or "patch", the one at `row` and `column` of the first block's grid."""
        one = self.blocks[block]
        token = 0 if source == "class" and one.class_token else self._token(block, row, column)
        if head == "rollout" and self.rolled:
            sent = self.rolled[drop][block][token, one.prefix :].reshape(one.grid)
        else:
            every = one.sent(token).astype(np.float64)  # (heads, h, w)
            sent = every[min(head, one.heads - 1)] if isinstance(head, int) else every.mean(0)
        return np.asarray(sent, dtype=np.float64)

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
        source = "class" if state["source"] == "class" and one.class_token else "patch"
        where = WORDS[source].format(row=row, column=column, h=h, w=w)
        top = int(shown.argmax())
        kept = WORDS["kept"].format(
            mass=round(100 * mass),
            count=int(heaviest(shown, mass).sum()),
            patches=h * w,
            share=percent(shown.max() / max(shown.sum(), 1e-12)),
            top_row=top // w,
            top_column=top % w,
        )
        distances = self.distances[block]
        distance = distances[number] if isinstance(head, int) else distances.mean()
        far = "" if rolls else WORDS["far"].format(distance=f"{distance:.1f}")
        return f"{who}, {where}: {kept}{far}."

    def figure(self, **state: Any) -> Figure:
        """All heads of all blocks as small maps; beside them the image with the kept share, distances and norms."""
        state = self.start | state
        query = {key: state[key] for key in ("source", "row", "column", "drop")}
        tops, block = self.tops, self.blocks[state["block"]]
        figure = Figure(9.6, 4.6, "constrained")
        parts: Any = figure.subfigures(1, 2, width_ratios=(1.25, 1))
        left, right = parts
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
        show_image(axes[0][0], _dimmed(self.image, mask), title)
        if state["source"] == "patch" or not block.class_token:
            (row, column), (h, w) = self._patch(state["block"], state["row"], state["column"]), block.grid
            height, width = self.image.shape[:2]
            tall, wide = height / h, width / w
            outline(axes[0][0], (row * tall, column * wide, tall, wide))
        norms = show_image(axes[0][1], block.norms, "token norms", cmap="viridis", vmin=0, vmax=tops["norm"])
        right.colorbar(norms, ax=axes[0][1], fraction=0.05)
        for axis, numbers, title in (
            (axes[1][0], self.distances, "mean distance (pixels)"),
            (axes[1][1], [one.norms.ravel() for one in self.blocks], "norms of all patches"),
        ):
            for index, values in enumerate(numbers):
                axis.plot([index] * len(values), values, "o", markersize=3, alpha=0.5, color=palette.BLUE)
            axis.set_ylim(0, 1.1 * max(values.max() for values in numbers))
            axis.set_title(title, fontsize=9)
            axis.set_xlabel("block", fontsize=9)
        return figure

    def _mosaic(self, query: dict[str, Any]) -> np.ndarray:
        """Blocks from left to right, heads from top to bottom, every map enlarged to the same size, NaN in between."""
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
        """The widget as a fragment of a page. Without `heads` it holds only their mean, which saves megabytes for large
        encoders; without `script` the page must add it (`viewer.page_script`)."""
        return to_html("attention", self._data(heads), self.start, "Attention explorer", self.describe(), script)

    def _data(self, heads: bool = True) -> dict[str, Any]:
        return {
            "image": pack_image(self.image),
            "blocks": pack_blocks(self.blocks, heads),
            "distances": [values.tolist() for values in self.distances],
            "norms": [pack_scale(block.norms, 0, self.tops["norm"]) for block in self.blocks],
            "rolled": [pack_scale(maps, 0, 1) for maps in self.rolled.values()],
            "drops": list(self.rolled),
            "tops": self.tops,
            "words": WORDS,
        }


def _dimmed(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The image (H, W, 3), veiled where the mask (h, w) is false."""
    return np.where(enlarge(mask, *image.shape[:2])[..., None], image, 0.15 * image + 0.425)
