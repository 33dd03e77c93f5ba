"""All communication between processes; each function is the identity on one process."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterable
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


def share(count: int) -> range:
    """Which of `count` rows are this process's: neighbours, and of all processes in the order of their ranks each row once.

    All of them in every process if there are fewer rows than processes.
    """
    if count < world_size():
        return range(count)
    return range(rank() * count // world_size(), (rank() + 1) * count // world_size())


def parallel(model: Any, find_unused_parameters: bool = False) -> nn.Module:
    """`model` with gradients averaged over processes. Buffers are equal in all of them already and are not sent."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch 2.15 renames broadcast_buffers; 2.10 has this name only
        return nn.parallel.DistributedDataParallel(
            model,
            broadcast_buffers=False,
            find_unused_parameters=find_unused_parameters,
            gradient_as_bucket_view=True,
        )


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


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace the gradient of each of `parameters` by its sum over processes."""
    if world_size() > 1:
        for parameter in parameters:
            if parameter.grad is not None:
                dist.all_reduce(parameter.grad)


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


@torch.no_grad()
def gather_shares(x: Tensor, count: int, device: torch.device) -> Tensor:
    """What each process made of its `share(count)`, rows (n, ...), in the order of their ranks and in every process.

    They travel through `device`, that of the process group, and are where `x` was.
    """
    return x if count < world_size() else _gather_rows(x, device)


def _gather_rows(x: Tensor, device: torch.device) -> Tensor:
    """`gather` of as many rows as each process has."""
    if world_size() == 1:
        return x
    mine = x.detach().to(device)
    lengths = [torch.zeros(1, dtype=torch.int64, device=device) for _ in range(world_size())]
    dist.all_gather(lengths, torch.tensor([len(mine)], device=device))
    padded = mine.new_zeros(int(torch.cat(lengths).max()), *mine.shape[1:])
    padded[: len(mine)] = mine
    parts = [torch.empty_like(padded) for _ in lengths]
    dist.all_gather(parts, padded)
    return torch.cat([part[: int(length)] for part, length in zip(parts, lengths, strict=True)]).to(x.device)


def gather_lists(values: list[dict[str, Any]], device: torch.device) -> list[dict[str, Any]]:
    """The records of all processes in the order of their ranks, in every process; they travel as lines of JSON."""
    if world_size() == 1:
        return values
    text = "\n" + "".join(json.dumps(value) + "\n" for value in values)  # never empty
    whole = _gather_rows(torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8), device)
    return [json.loads(line) for line in whole.numpy().tobytes().splitlines() if line]


class BatchNorm1d(nn.BatchNorm1d):
    """Batch normalisation over the global batch, input (B, C): `nn.BatchNorm1d`, synchronised over processes.

    `nn.SyncBatchNorm` does the same, but on GPUs only.
    """

    def forward(self, input: Tensor) -> Tensor:
        """`input` normalised; the running statistics are updated in training mode."""
        shared = world_size() > 1 and self.training
        return _normalised_together(self, input) if shared else super().forward(input)


class BatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation over the global batch and all positions, input (B, C, h, w), synchronised over processes."""

    def forward(self, input: Tensor) -> Tensor:
        """`input` normalised; the running statistics are updated in training mode."""
        shared = world_size() > 1 and self.training
        return _normalised_together(self, input) if shared else super().forward(input)


def _normalised_together(norm: nn.BatchNorm1d | nn.BatchNorm2d, input: Tensor) -> Tensor:
    """`norm` of `input` (B, C, ...) with the mean and variance over all processes, whose inputs may differ in size."""
    x = input.float() if input.dtype in (torch.float16, torch.bfloat16) else input
    others, shape = [d for d in range(x.ndim) if d != 1], (-1, *[1] * (x.ndim - 2))
    own = x.new_full((1,), x.numel() // x.shape[1])  # values of a channel
    total = all_sum(torch.cat([x.sum(others), own]))  # (C + 1,)
    count = total[-1]
    mean = total[:-1] / count  # (C,)
    variance = all_sum((x - mean.view(shape)).square().sum(others)) / count  # (C,)
    if norm.running_mean is not None and norm.running_var is not None and norm.num_batches_tracked is not None:
        with torch.no_grad():
            norm.num_batches_tracked += 1
            momentum = norm.momentum if norm.momentum is not None else 1 / float(norm.num_batches_tracked)
            norm.running_mean.lerp_(mean.detach().to(norm.running_mean.dtype), momentum)
            unbiased = variance.detach() * count / (count - 1)
            norm.running_var.lerp_(unbiased.to(norm.running_var.dtype), momentum)
    x = (x - mean.view(shape)) * torch.rsqrt(variance + norm.eps).view(shape)
    if norm.weight is not None:
        x = x * norm.weight.view(shape)
    if norm.bias is not None:
        x = x + norm.bias.view(shape)
    return x.to(input.dtype)
