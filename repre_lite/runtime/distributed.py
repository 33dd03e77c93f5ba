"""All communication between processes; each function is the identity on one process."""

from __future__ import annotations

import os
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def launched() -> bool:
    """Whether `torchrun` (also under Slurm) started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def start(device: torch.device) -> None:
    """Join the process group once: NCCL between GPUs, gloo between CPU processes."""
    if launched() and not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")


def finish() -> None:
    """Leave the process group."""
    if dist.is_initialized():
        dist.destroy_process_group()


def world_size() -> int:
    """How many processes share the work; 1 outside a process group."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """The number of this process among them, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_main() -> bool:
    """True in the one process that writes files and prints, also before the process group is joined."""
    if launched() and not dist.is_initialized():
        return os.environ.get("RANK", "0") == "0"
    return rank() == 0


def barrier() -> None:
    """Wait until every process is here."""
    if dist.is_initialized():
        dist.barrier()


class _SumOverProcesses(torch.autograd.Function):
    """All-reduce; its gradient is the all-reduce of the gradients, since each loss depends on the inputs of all processes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        return gradient


def all_sum(x: Tensor) -> Tensor:
    """Sum of `x` over processes, with gradient."""
    return _SumOverProcesses.apply(x) if world_size() > 1 else x


def all_mean(x: Tensor) -> Tensor:
    """Mean of `x` over processes, with gradient."""
    return all_sum(x) / world_size() if world_size() > 1 else x


def all_min(x: Tensor) -> Tensor:
    """Minimum of `x` over processes, without gradient."""
    if world_size() == 1:
        return x.detach()
    x = x.detach().clone()
    dist.all_reduce(x, dist.ReduceOp.MIN)
    return x


def from_main(value: int, device: torch.device) -> int:
    """The main process's `value`, in every process."""
    if world_size() == 1:
        return value
    held = torch.tensor(value, device=device)
    dist.broadcast(held, src=0)
    return int(held)


@torch.no_grad()
def gather(x: Tensor) -> Tensor:
    """Rows of all processes in the order of their ranks, (B,...) -> (world*B,...), without gradient: MoCo's keys."""
    if world_size() == 1:
        return x.detach()
    parts = [torch.empty_like(x) for _ in range(world_size())]
    dist.all_gather(parts, x.detach().contiguous())
    return torch.cat(parts)


def gather_with_gradient(x: Tensor) -> Tensor:
    """Rows of all processes in the order of their ranks, (B,...) -> (world*B,...), with gradient: SimCLR's anchors."""
    if world_size() == 1:
        return x
    rows = x.new_zeros(world_size(), *x.shape)
    rows[rank()] = x
    return all_sum(rows).flatten(0, 1)


class BatchNorm1d(nn.BatchNorm1d):
    """Batch normalisation over the global batch, input (B, C): `nn.BatchNorm1d`, synchronised over processes.

    `nn.SyncBatchNorm` does the same, but on GPUs only.
    """

    def forward(self, input: Tensor) -> Tensor:
        """`input` normalised; the running statistics are updated in training mode."""
        if world_size() == 1 or not self.training:
            return super().forward(input)
        x = input.float() if input.dtype in (torch.float16, torch.bfloat16) else input
        count = x.shape[0] * world_size()
        mean = all_sum(x.sum(0)) / count  # (C,)
        variance = all_sum((x - mean).square().sum(0)) / count  # (C,)
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            with torch.no_grad():
                self.num_batches_tracked += 1
                momentum = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
                self.running_mean.lerp_(mean.detach().to(self.running_mean.dtype), momentum)
                unbiased = variance.detach() * count / (count - 1)
                self.running_var.lerp_(unbiased.to(self.running_var.dtype), momentum)
        x = (x - mean) * torch.rsqrt(variance + self.eps)
        if self.weight is not None:
            x = x * self.weight
        if self.bias is not None:
            x = x + self.bias
        return x.to(input.dtype)
