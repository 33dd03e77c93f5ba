"""What a computation costs, counted without doing it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


def count(function: Callable[..., Any], *arguments: Any) -> int:
    """Floating-point operations of `function(*arguments)`, two for a multiply and its add: matrix products, convolutions
    and attention, forward and, where the function calls it, backward. Sums, norms and activations are left out.

    Give modules and tensors of the `meta` device: nothing is computed there and no memory is taken, and attention is
    counted, which the CPU's fused kernel escapes.
    """
    with FlopCounterMode(display=False) as counter:
        function(*arguments)
    return counter.get_total_flops()


def backward(*outputs: Tensor) -> None:
    """A backward pass from all of `outputs`: what a loss on top of them, itself cheap, would start."""
    torch.stack([output.sum() for output in outputs]).sum().backward()


def parameters(module: nn.Module) -> int:
    """How many numbers `module` holds in its parameters, frozen ones included."""
    return sum(parameter.numel() for parameter in module.parameters())
