"""The cost of a computation, counted without performing it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


def count(function: Callable[..., Any], *arguments: Any) -> int:
    """Floating-point operations of `function(*arguments)`, two for each multiply-add: matrix products, convolutions and
    attention, forward and, if the function calls it, backward. Sums, norms and activations are not counted.

    Use modules and tensors on the `meta` device: nothing is computed there, no memory is needed, and attention is counted,
    which is not so for the CPU's fused kernel.
    """
    with FlopCounterMode(display=False) as counter:
        function(*arguments)
    total: int = counter.get_total_flops()
    return total


def backward(*outputs: Tensor) -> None:
    """Run a backward pass from all of `outputs`, as a cheap loss on top of them would."""
    torch.stack([output.sum() for output in outputs]).sum().backward()


def parameters(module: nn.Module) -> int:
    """The number of parameters of `module`, frozen ones included."""
    return sum(parameter.numel() for parameter in module.parameters())
