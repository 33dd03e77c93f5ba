"""What a training step of a recipe costs, without a GPU: operations counted, memory for the backward pass added up."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode  # documented under this name

from ..evaluation.attention import attention_blocks
from ..losses import FixedWeighting
from ..recipes import Recipe
from ..repre import RePre
from ..runtime import flops


def blank_views(recipe: Recipe, batch: int) -> list[Tensor]:
    """The recipe's views of `batch` images, (B, 3, size, size) each, all black."""
    return [torch.zeros(batch, 3, view.size, view.size) for view in recipe.views]


def step_flops(recipe: Recipe) -> int:
    """Floating-point operations of a training step per image, counted on the meta device."""
    batch = 2  # BatchNorm needs more than one
    with torch.device("meta"):
        model = RePre.from_recipe(recipe)
        views = blank_views(recipe, batch)
    return flops.count(lambda: model(views).total.backward()) // batch


class Remembered:
    """A context that adds up the memory a forward pass keeps for the backward pass.

    `total` is in bytes; memory shared by tensors counts once, that of `own` (None: parameters and buffers of the module)
    does not count. `blocks` holds the share of each transformer block.
    """

    def __init__(self, module: nn.Module, own: Iterable[Tensor] | None = None) -> None:
        own = chain(module.parameters(), module.buffers()) if own is None else own
        self.held: dict[int, Any] = {id(tensor.untyped_storage()): tensor.untyped_storage() for tensor in own}
        self.total = 0
        self.blocks: dict[Any, int] = {}
        self.module = module

    def __enter__(self) -> Remembered:
        self.hooks = torch.autograd.graph.saved_tensors_hooks(self._keep, lambda tensor: tensor)
        self.hooks.__enter__()
        self.handles = []
        for block in attention_blocks(self.module):
            self.handles += [
                block.register_forward_pre_hook(lambda block, _: self._count(block, -self.total)),
                block.register_forward_hook(lambda block, *_: self._count(block, self.total)),
            ]
        return self

    def __exit__(self, *error: Any) -> None:
        self.hooks.__exit__(*error)
        for handle in self.handles:
            handle.remove()

    def _keep(self, tensor: Tensor) -> Tensor:
        memory = tensor.untyped_storage()
        if id(memory) not in self.held:
            self.held[id(memory)] = memory
            self.total += memory.nbytes()
        return tensor

    def _count(self, block: Any, change: int) -> None:
        self.blocks[block] = self.blocks.get(block, 0) + change


def activations(recipe: Recipe, half: bool = True) -> tuple[int, int, int]:
    """Bytes a step keeps for its backward pass: once, per image, and of the latter the most that one block keeps.

    From batches of 2 and 4 of the CPU's operations, assuming a straight line. Autocast keeps in bf16 on a CPU what it
    keeps in fp16 on a GPU. Nothing is computed: tensors have shapes and no contents, since a CPU without bf16 would take minutes.
    """
    with torch.device("meta"):
        model = RePre.from_recipe(recipe)
    if model.weighting is not None:
        model.weighting = FixedWeighting()  # learned weights look at the losses
    found = []
    with FakeTensorMode():
        state = {
            name: torch.empty(tensor.shape, dtype=tensor.dtype, requires_grad=tensor.requires_grad)
            for name, tensor in chain(model.named_parameters(), model.named_buffers())
        }
        for batch in (2, 4):
            views = blank_views(recipe, batch)
            with torch.autocast("cpu", torch.bfloat16, enabled=half), Remembered(model, state.values()) as kept:
                torch.func.functional_call(model, state, (views,))
            found.append((kept.total, max(kept.blocks.values())))
    (few, _), (many, most) = found
    return 2 * few - many, (many - few) // 2, most // 4


def cores(low: float, high: float) -> str:
    """Whole cores for a range of loads in cores, as one number if both need as many."""
    least, most = math.ceil(low), math.ceil(high)
    return f"{least} to {most} cores" if least != most else f"{most} core{'s' * (most != 1)}"
