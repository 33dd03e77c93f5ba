"""Attention weights of every block of a timm ViT or Swin for one image, on the grid of its patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...encoder import Features, encode
from ...evaluation.attention import attention_blocks, watched
from ...runtime.errors import UserError


@dataclass(frozen=True)
class BlockAttention:
    """One block's attention, after the softmax, for one image of h x w patches (N) and P tokens before them.

    `weights` (heads, P+N, A): from each token to the A places of the window it attends in; a row sums to 1. `keys`
    (windows, A): the token at each place, -1 for padding. A ViT has one window, of all its tokens; a Swin has P = 0
    and many windows. `norms` (h, w): the length of each patch's feature after the block. `class_token`: whether token
    0 is one.
    """

    weights: np.ndarray
    keys: np.ndarray
    norms: np.ndarray
    class_token: bool = False

    @property
    def grid(self) -> tuple[int, int]:
        """h and w."""
        h, w = self.norms.shape
        return h, w

    @property
    def heads(self) -> int:
        """How many heads the block has."""
        return len(self.weights)

    @property
    def prefix(self) -> int:
        """P: class token and registers; 1 for a plain ViT, 0 for a Swin."""
        return int(self.weights.shape[1]) - self.norms.size

    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """The window of each token and its place in that window, (P+N,) each."""
        windows, places = np.nonzero(self.keys >= 0)
        order = np.argsort(self.keys[windows, places])
        return windows[order], places[order]

    def dense(self) -> np.ndarray:
        """From every token to every token, (heads, P+N, P+N); 0 outside the window. Padding's share is left out."""
        window, place = self.places()
        same = window[:, None] == window[None, :]  # (P+N, P+N)
        return np.where(same, self.weights[:, :, place], 0)

    def sent(self, token: int) -> np.ndarray:
        """From one token to every patch, (heads, h, w)."""
        window, place = self.places()
        row = np.where(window == window[token], self.weights[:, token, place], 0)  # (heads, P+N)
        return row[:, self.prefix :].reshape(-1, *self.grid)  # (heads, h, w)

    def received(self, token: int) -> np.ndarray:
        """From every patch to one token, (heads, h, w)."""
        window, place = self.places()
        column = np.where(window == window[token], self.weights[:, :, place[token]], 0)  # (heads, P+N)
        return column[:, self.prefix :].reshape(-1, *self.grid)  # (heads, h, w)

    def overall(self) -> np.ndarray:
        """Where the block looks, (h, w): attention from the class token, mean over heads; without a class token (a
        Swin) what each patch receives on average over all patches."""
        patches = self.dense()[:, self.prefix :, self.prefix :]  # (heads, N, N)
        mean: np.ndarray = self.sent(0).mean(0) if self.class_token else patches.mean((0, 1)).reshape(self.grid)
        return mean


@torch.no_grad()
def capture(backbone: nn.Module, image: Tensor, indices: tuple[int, ...] = ()) -> tuple[list[BlockAttention], Features]:
    """Run a timm ViT or Swin once on a normalised `image` (3, H, W): every block's attention, and what `encode` gives.

    Fused attention never forms the weights, so it is off during this forward and as before afterwards; the hooks are
    gone afterwards too. Raises UserError for an encoder whose blocks have no attention weights to capture.
    """
    blocks = attention_blocks(backbone)
    caught: list[dict[str, Tensor]] = [{} for _ in blocks]
    unseen = UserError("no attention weights found in the blocks of this encoder; choose another timm ViT or a Swin")
    if not blocks:
        raise unseen
    with watched(backbone, blocks, caught):
        features = encode(backbone, image[None], indices or (0,))
    if any("weights" not in one for one in caught):
        raise unseen
    h, w = features.taps[0].shape[2:]  # of a ViT, whose blocks all have one grid
    class_token = getattr(backbone, "cls_token", None) is not None
    seen = zip(blocks, caught, strict=True)
    maps = [_on_grid(block, one["weights"], one["output"], h, w, class_token) for block, one in seen]
    return maps, features if indices else Features(features.pooled, ())


def middle_half(blocks: Sequence[BlockAttention]) -> tuple[int, ...]:
    """Indices of the blocks in the middle half of the depth, of a Swin those that share the first one's grid.

    Single blocks specialise, some in bright and some in dark objects; the mean of the middle ones lies on objects of
    either kind.
    """
    first, last = len(blocks) // 4, max(len(blocks) // 4 + 1, 3 * len(blocks) // 4)
    return tuple(index for index in range(first, last) if blocks[index].grid == blocks[first].grid)


def _on_grid(block: nn.Module, weights: Tensor, output: Tensor, h: int, w: int, class_token: bool) -> BlockAttention:
    """`weights` (windows, heads, A, A) as the block forms them, `output` its features -> BlockAttention."""
    if output.ndim == 4:  # a Swin block: (1, h, w, C)
        h, w = output.shape[1:3]
        keys = _windows(h, w, block.window_size, block.shift_size)  # type: ignore[arg-type]
        norms = output[0].norm(dim=-1)  # (h, w)
    else:  # a ViT block: (1, P+N, C)
        keys = torch.arange(output.shape[1])[None]  # (1, P+N)
        norms = output[0, -h * w :].norm(dim=-1).unflatten(0, (h, w))
    real = keys >= 0
    order = keys[real].argsort()
    rows = weights.transpose(1, 2)[real.to(weights.device)][order.to(weights.device)]  # (P+N, heads, A)
    arrays = rows.transpose(0, 1).float().cpu().numpy(), keys.numpy(), norms.float().cpu().numpy()
    return BlockAttention(*arrays, class_token)


def _windows(h: int, w: int, window: tuple[int, int], shift: tuple[int, int]) -> Tensor:
    """Which patch lies where in a Swin block's windows: the grid is rolled by the shift, padded by -1 to whole windows,
    cut up. -> int64 (windows, A)."""
    tokens = torch.arange(h * w).view(h, w).roll((-shift[0], -shift[1]), (0, 1))
    tokens = F.pad(tokens, (0, -w % window[1], 0, -h % window[0]), value=-1)  # (h', w')
    down, across = tokens.shape[0] // window[0], tokens.shape[1] // window[1]
    windows = tokens.view(down, window[0], across, window[1]).transpose(1, 2)  # (down, across, *window)
    return windows.reshape(down * across, -1)


def rollout(attention: np.ndarray, drop: float = 0.0) -> np.ndarray:
    """What reaches each token from each token of the input after every block (Abnar and Zuidema, 2020), (L, T, T).

    `attention` (L, T, T): each block's mean over heads. Half of a block is its residual connection, so the identity is
    added before rows are scaled to sum to 1. `drop` in [0, 1): the lowest share of each row is set to 0 first; this
    changes the map a lot, so nothing is dropped unless asked for.
    """
    length, tokens, _ = attention.shape
    reached, after = np.eye(tokens), np.empty((length, tokens, tokens), dtype=np.float32)
    for index, matrix in enumerate(attention.astype(np.float64)):
        if drop:
            lowest = np.argsort(matrix, axis=1, kind="stable")[:, : int(drop * tokens)]
            np.put_along_axis(matrix, lowest, 0, axis=1)
        matrix = matrix + np.eye(tokens)
        reached = (matrix / matrix.sum(1, keepdims=True)) @ reached
        after[index] = reached
    return after


def mean_distance(block: BlockAttention, patch: float) -> np.ndarray:
    """How far patches look, in pixels, (heads,): the mean distance between the centres of a patch and those it attends
    to, weighted by attention, over all patches (Dosovitskiy et al., 2021, figure 7). `patch`: pixels from one patch to
    the next. Tokens before the patches and padding do not count."""
    w, prefix = block.grid[1], block.prefix
    window, _ = block.places()
    keys = block.keys[window[prefix:]] - prefix  # (N, A): the patch at each place, negative for none
    at = np.arange(block.norms.size)[:, None]
    distance = patch * np.hypot(keys // w - at // w, keys % w - at % w)  # (N, A)
    weights = block.weights[:, prefix:].astype(np.float64) * (keys >= 0)
    mean: np.ndarray = (weights * distance).sum((1, 2)) / weights.sum((1, 2))
    return mean


def heaviest(weights: np.ndarray, mass: float) -> np.ndarray:
    """The fewest places that hold at least `mass` in [0, 1] of all weight, as a mask of the same shape."""
    flat = weights.ravel().astype(np.float64)
    order = np.argsort(-flat, kind="stable")
    count = int((np.cumsum(flat[order]) < mass * flat.sum() * (1 - 1e-9)).sum()) + 1
    mask = np.zeros(flat.size, dtype=bool)
    mask[order[:count]] = True
    return mask.reshape(weights.shape)
