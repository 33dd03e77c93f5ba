"""Lesson 09: rollout, what a patch keeps of itself, a score for an attention map."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ...visualize.kit.capture import rollout
from .exercise import Fill, Open, Prediction, Rule, Wrong, values


def _attention() -> list[tuple[Tensor]]:
    draw = torch.Generator().manual_seed(0)
    return [(torch.rand(3, 4, 4, generator=draw).softmax(-1),), (torch.rand(2, 5, 5, generator=draw).softmax(-1),)]


def _product(blocks: list[Tensor], reverse: bool = False) -> Tensor:
    reached = torch.eye(len(blocks[0]))
    for block in blocks:
        reached = reached @ block if reverse else block @ reached
    return reached


def _mixed(attention: Tensor, own: float = 1.0, scale: float = 0.5) -> list[Tensor]:
    return [scale * (block + own * torch.eye(len(block))) for block in attention]


check_rollout = Fill(
    task="`rollout(attention)`: (L, T, T), rows that sum to 1 -> (T, T), the share of each input token in each output "
    "token; half of each block is its residual connection.",
    solved="rollout: right for 2 encoders",
    cases=_attention,
    watch=values,
    right=(
        lambda attention: _product(_mixed(attention)),
        lambda attention: rollout(attention.numpy())[-1],
        lambda attention: _product(_mixed(attention)).tolist(),
        lambda attention: torch.linalg.multi_dot(_mixed(attention)[::-1]),
    ),
    wrong=(
        Wrong(
            lambda attention: _product(list(attention)),
            "add the identity to each block's attention: a block adds its output to its input",
        ),
        Wrong(
            lambda attention: _product(_mixed(attention, scale=1.0)),
            "after the identity is added, rows should sum to 1 again: halve them",
        ),
        Wrong(
            lambda attention: _product(_mixed(attention), reverse=True),
            "the last block is applied last, so it is on the left of the product",
        ),
        Wrong(
            lambda attention: _product(_mixed(attention, own=0.5, scale=2 / 3)),
            "input and attention have equal shares: half identity, half attention",
        ),
        Wrong(
            lambda attention: torch.stack(_mixed(attention)).mean(0),
            "that is a mean over blocks; a block mixes what the block before it has mixed, so multiply them",
        ),
        Wrong(
            lambda attention: _mixed(attention)[-1],
            "that is the last block alone; what reaches its input has been mixed by the blocks before it",
        ),
        Wrong(
            lambda attention: torch.stack(_mixed(attention)).prod(0),
            "multiply matrices with @; the sign * multiplies element by element",
        ),
        Wrong(
            lambda attention: _product([block.mT for block in _mixed(attention)]),
            "rows and columns are swapped: row i says where output token i looks",
        ),
    ),
    otherwise="Half attention, half identity, for each block; then the matrix product, the last block on the left",
)

TOKENS = 65


def _kept(blocks: int) -> float:
    """What a patch keeps of itself after blocks that mix all tokens evenly, by rollout."""
    even = np.full((blocks, TOKENS, TOKENS), 1 / TOKENS)
    return float(rollout(even)[-1].diagonal().mean())


check_kept = Prediction(
    task="What share of itself a patch keeps after 5 blocks whose attention is spread evenly over 65 tokens, by rollout: "
    "a number.",
    solved="kept: right. Half of a half, five times, and its own small share of all that was mixed",
    measure=lambda: _kept(5),
    right=(0.0462, "0.046", 1 / 32 + 31 / 32 / 65, torch.tensor(0.046)),
    wrong=(
        Wrong(1 / 32, "that is what it never gave away; of what is mixed, a 65th comes back to it as well"),
        Wrong(1 / 65, "that is the bare product: every block keeps half by its residual connection"),
        Wrong(0.5, "that is one block; each of the five keeps half of what is left"),
        Wrong(_kept(1), "that is one block; each of the five keeps half of what is left"),
        Wrong(_kept(3), "that is three blocks, as in the cell; two more halve it twice"),
        Wrong(1 / 5, "the shares multiply, block after block; they do not divide by the number of blocks"),
        Wrong(0, "not zero: a residual connection keeps half, and half of half, and so on"),
        Wrong(4.62, "give a share, not per cent"),
    ),
    otherwise="Each block keeps one half and mixes the other evenly. What is left of the patch itself after five? And how "
    "much returns to it by mixing?",
    tolerance=0.02,
)


# -- a score for an attention map

Score = Callable[[Tensor, Tensor], float]
PATCHES = 64


def _object(size: int) -> Tensor:
    mask = torch.zeros(PATCHES, dtype=torch.bool)
    mask[20 : 20 + size] = True
    return mask


def _even() -> Tensor:
    return torch.full((PATCHES,), 1 / PATCHES)


def _towards(mask: Tensor, strength: float) -> Tensor:
    """Attention that favours the object."""
    attention = 1 + strength * mask.float()
    return attention / attention.sum()


def _differ(a: float, b: float) -> bool:
    return abs(float(a) - float(b)) > 1e-4 * (1 + abs(float(b)))


def _same_peak() -> tuple[Tensor, Tensor]:
    """Two maps with one peak on the object, the rest on it or off it."""
    mask, on = _object(10), torch.zeros(PATCHES)
    on[20] = 0.5
    off = on.clone()
    on[21:30], off[40:49] = 0.5 / 9, 0.5 / 9
    assert mask[20]
    return on, off


def _area_under_curve(attention: Tensor, mask: Tensor) -> float:
    """How often a patch of the object gets more attention than one beside it; a tie counts one half."""
    difference = attention[mask][:, None] - attention[~mask][None]
    return float((difference > 0).float().mean() + 0.5 * (difference == 0).float().mean())


def _correlation(attention: Tensor, mask: Tensor) -> Tensor:
    return torch.corrcoef(torch.stack([attention, mask.float()]))[0, 1]


check_object_score = Open(
    task="`score(attention, mask)`, both (N,), mask bool: a number that is higher the more attention lies on the object "
    "and does not depend on how large the object is if attention is spread evenly.",
    solved="object score: rises with attention on the object, and an even map always gets the same",
    right=(
        lambda attention, mask: float(attention[mask].sum() / attention.sum() / mask.float().mean()),
        lambda attention, mask: attention[mask].sum() / attention.sum() - mask.float().mean(),
        lambda attention, mask: float(attention[mask].mean() / attention.mean()),
        _area_under_curve,
        lambda attention, mask: torch.nan_to_num(_correlation(attention, mask)),
    ),
    rules=(
        Rule(
            lambda score: score(_even(), _object(10)) is not None,
            "return a number",
            (lambda attention, mask: None,),
        ),
        Rule(
            lambda score: not math.isnan(float(score(_even(), _object(10)))),
            "an even map gives nan: its standard deviation is 0, so do not divide by it",
            (
                _correlation,
                lambda attention, mask: float(((attention - attention.mean()) / attention.std())[mask].mean()),
            ),
        ),
        Rule(
            lambda score: (
                float(score(_towards(_object(10), 3), _object(10)))
                > float(score(_even(), _object(10)))
                > float(score(_towards(~_object(10), 3), _object(10)))
            ),
            "attention that moves onto the object should raise the score, attention that leaves it should lower it",
            (
                lambda attention, mask: mask.float().mean(),
                lambda attention, mask: float(attention[~mask].sum()),
                lambda attention, mask: float(-(attention * (attention + 1e-9).log()).sum()),
            ),
        ),
        Rule(
            lambda score: not _differ(score(_even(), _object(4)), score(_even(), _object(30))),
            "an even map scores more on a larger object, so the number says how large the object is: compare with its area",
            (
                lambda attention, mask: float(attention[mask].sum() / attention.sum()),
                lambda attention, mask: float(attention[mask].sum() - attention[~mask].sum()),
            ),
        ),
        Rule(
            lambda score: (
                not _differ(
                    score(5 * _towards(_object(10), 3), _object(10)), score(_towards(_object(10), 3), _object(10))
                )
            ),
            "attention that is not scaled to sum to 1 gets another score: divide by its sum first",
            (lambda attention, mask: float(attention[mask].mean() - attention[~mask].mean()),),
        ),
        Rule(
            lambda score: not any(math.isnan(float(score(attention, _object(10)))) for attention in _same_peak()),
            "where most patches get no attention at all the score is nan: avoid 0 divided by 0",
            (lambda attention, mask: float(attention[mask].median() / attention.median()),),
        ),
        Rule(
            lambda score: _differ(score(_same_peak()[0], _object(10)), score(_same_peak()[1], _object(10))),
            "only the highest value counts: two maps with one peak score alike, wherever the rest lies",
            (lambda attention, mask: float(attention[mask].max() / attention.mean()),),
        ),
    ),
)
