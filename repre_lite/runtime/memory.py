"""How much memory a process has used, and one line if there is not enough."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from .errors import UserError

REMEDY = (
    "try a smaller batch_size=, activation_checkpointing=True, a smaller arch= or, on a GPU, precision='bf16' or 'fp16'"
)
# how torch's allocators of the CPU and of Apple's GPUs, and CUDA's libraries, say it without an exception of its own
REFUSALS = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED")


@contextmanager
def enough_memory(remedy: str = REMEDY) -> Iterator[None]:
    """Turn running out of memory inside, of a GPU or of the machine, into a UserError that ends with `remedy`."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is a RuntimeError
        text = str(error)
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and not any(part in text for part in REFUSALS):
            raise
        on_gpu = any(part in text for part in ("CUDA", "CUBLAS", "CUDNN", "MPS", "GPU"))
        raise UserError(f"out of memory on the {'GPU' if on_gpu else 'CPU'}: {remedy}") from None


def peak_memory(device: torch.device) -> int:
    """The most bytes this process has used: of a GPU if `device` is one, else of the machine; 0 if that is not known."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
