"""Lesson 02: tokens to maps, which vectors a pixel reaches, which blocks are tapped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ...encoder import build_encoder
from .exercise import Fill, Open, Prediction, Rule, Wrong, values


def _tokens() -> list[tuple[Tensor, int]]:
    draw = torch.Generator().manual_seed(0)
    return [(torch.randn(2, 1 + 9, 5, generator=draw), 3), (torch.randn(1, 1 + 16, 4, generator=draw), 4)]


check_to_map = Fill(
    task="`to_map(tokens, grid)`: (B, 1 + N, C), the class token first -> (B, C, h, w) with h = w = grid.",
    solved="to_map: right for 2 grids",
    cases=_tokens,
    watch=values,
    right=(
        lambda tokens, grid: tokens[:, 1:].transpose(1, 2).unflatten(2, (grid, grid)),
        lambda tokens, grid: tokens[:, 1:].reshape(len(tokens), grid, grid, -1).permute(0, 3, 1, 2),
        lambda tokens, grid: torch.stack([row.mT for row in tokens[:, 1:].split(grid, dim=1)], dim=2),
        lambda tokens, grid: tokens.numpy()[:, 1:].reshape(len(tokens), grid, grid, -1).transpose(0, 3, 1, 2),
    ),
    wrong=(
        Wrong(
            lambda tokens, grid: tokens[:, 1:].reshape(len(tokens), -1, grid, grid),
            "the shape is right, but reshape reads number after number: the vectors are cut up. Swap N and C first",
        ),
        Wrong(
            lambda tokens, grid: tokens[:, :-1].transpose(1, 2).unflatten(2, (grid, grid)),
            "that drops the last patch; the class token comes first",
        ),
        Wrong(
            lambda tokens, grid: tokens.transpose(1, 2).unflatten(2, (grid, grid)),
            "one token too many for the grid: the class token has no place on the grid, so leave it out",
        ),
        Wrong(
            lambda tokens, grid: tokens.transpose(1, 2).reshape(len(tokens), -1, grid, grid),
            "the class token is still there, and 1 + N vectors do not fill the grid: leave the first out",
        ),
        Wrong(
            lambda tokens, grid: tokens[:, 1:].transpose(1, 2).unflatten(2, (grid, grid)).transpose(2, 3),
            "rows and columns are swapped: patches are numbered row by row",
        ),
        Wrong(
            lambda tokens, grid: tokens[:, 1:].unflatten(1, (grid, grid)),
            "the channels come last; a convolution wants (B, C, h, w)",
        ),
    ),
    otherwise="Leave out the first token, put the channels before the patches, and give the patches back their grid",
)


@torch.no_grad()
def _changed() -> int:
    """How many vectors of the last tap of a small ViT change with one pixel."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = build_encoder("vit_micro", image_size=32, embed_dim=24, depth=4, num_heads=2).double().eval()
        image = torch.rand(1, 3, 32, 32, dtype=torch.float64)
    changed = image.clone()
    changed[0, 0, 9, 9] += 1
    gap = encoder(changed).taps[-1] - encoder(image).taps[-1]  # (1, C, h, w)
    return int((gap != 0).any(1).sum())


check_changed_vectors = Prediction(
    task="How many of the 64 vectors of the last tap change if one pixel of the image changes: a number.",
    solved="changed vectors: right. Every block mixes all patches, so after the first one nothing is local",
    measure=_changed,
    right=(64, 64.0, "64", torch.tensor(64)),
    wrong=(
        Wrong(1, "that holds for the patch embedding; then each block lets every patch look at all others"),
        Wrong(9, "a 3x3 convolution would reach 9 neighbours. Attention knows no neighbourhood: who may look at whom?"),
        Wrong(65, "the class token changes too, but a tap leaves it out"),
        Wrong(0, "the network is untrained, not constant: its last layer still depends on the image"),
        Wrong(
            4, "count vectors of one tap: that there are four taps, or 4 pixels to a patch side, does not matter here"
        ),
    ),
    otherwise="Ask of one block: from which patches does it compute its output at one patch? Then count",
    tolerance=0.0,
)


def _blocks(function: Callable[[int, int], Any], depth: int, taps: int) -> list[int]:
    """What `function` answers as a list; empty for anything that is none."""
    answer = function(depth, taps)
    return [int(block) for block in answer] if hasattr(answer, "__iter__") else []


DIVISIBLE = ((12, 4), (8, 4), (12, 3), (24, 4))
OTHERS = ((10, 4), (7, 3), (14, 4), (11, 2))


def _paper(depth: int, taps: int) -> list[int]:
    return [i * (depth // taps) - 1 for i in range(1, taps + 1)]


def _agrees(function: Callable[[int, int], Sequence[int]]) -> bool:
    return all(_blocks(function, *sizes) == _paper(*sizes) for sizes in DIVISIBLE)


def _counts_from_one(function: Callable[[int, int], Sequence[int]]) -> bool:
    return all(_blocks(function, *sizes) == [b + 1 for b in _paper(*sizes)] for sizes in DIVISIBLE)


check_tap_indices = Open(
    task="`tap_indices(depth, taps)` -> block numbers, counted from 0: the paper's where K divides L, always ending at "
    "the last block.",
    solved="tap indices: right for 8 encoders",
    right=(
        lambda depth, taps: [round(i * depth / taps) - 1 for i in range(1, taps + 1)],
        lambda depth, taps: [depth * (i + 1) // taps - 1 for i in range(taps)],
        lambda depth, taps: torch.linspace(depth / taps - 1, depth - 1, taps).round().int(),
        lambda depth, taps: (*_paper(depth, taps)[:-1], depth - 1),
        lambda depth, taps: [depth - 1 - i * (depth // taps) for i in range(taps)][::-1],
    ),
    rules=(
        Rule(
            lambda f: bool(_blocks(f, 12, 4)),
            "return the block numbers as a list",
            (lambda depth, taps: None, lambda depth, taps: 3, lambda depth, taps: []),
        ),
        Rule(
            lambda f: all(float(block).is_integer() for sizes in OTHERS for block in f(*sizes)),
            "where K does not divide L, some numbers are not whole (L = 10, K = 4), and there is no block 1.5: round them",
            (lambda depth, taps: [i * depth / taps - 1 for i in range(1, taps + 1)],),
        ),
        Rule(
            lambda f: not _counts_from_one(f),
            "count blocks from 0: the first interval of L/K blocks ends at block L/K - 1",
            (lambda depth, taps: [i * (depth // taps) for i in range(1, taps + 1)],),
        ),
        Rule(
            lambda f: _blocks(f, 12, 4) != [8, 9, 10, 11],
            "those are the last K blocks, all deep; the taps are spread from shallow to deep",
            (lambda depth, taps: list(range(depth - taps, depth)),),
        ),
        Rule(
            lambda f: max(_blocks(f, 8, 4)) < 8,
            "an encoder of 8 blocks has no block 11: compute the numbers from depth and taps",
            (lambda depth, taps: [2, 5, 8, 11],),
        ),
        Rule(
            lambda f: 0 not in _blocks(f, 12, 4),
            "the first tap ends the first interval instead of beginning it, so block 0 is not among them",
            (
                lambda depth, taps: [i * (depth // taps) for i in range(taps)],
                lambda depth, taps: [round(i * (depth - 1) / (taps - 1)) for i in range(taps)],
            ),
        ),
        Rule(
            _agrees,
            "where K divides L, take the paper's: every L/K-th block, ending at the last (12 and 4: 2, 5, 8, 11)",
            (lambda depth, taps: list(range(1, 2 * taps, 2)), lambda depth, taps: [depth - 1]),
        ),
        Rule(
            lambda f: all(_blocks(f, *sizes)[-1] == sizes[0] - 1 for sizes in OTHERS),
            "where K does not divide L, the last block is missing (L = 10, K = 4 ends at 7): spread the K numbers over L",
            (_paper,),
        ),
        Rule(
            lambda f: all(len(set(_blocks(f, *sizes))) == sizes[1] for sizes in OTHERS),
            "K taps, all different: where K does not divide L there are too many or some twice",
            (lambda depth, taps: sorted({*range(depth // taps - 1, depth, depth // taps), depth - 1}),),
        ),
    ),
)
