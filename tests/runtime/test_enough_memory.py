"""Running out of memory is one line with remedies, whoever says it; other errors stay what they are."""

import pytest
import torch

from repre_lite.runtime.errors import UserError
from repre_lite.runtime.memory import enough_memory, peak_memory


@pytest.mark.parametrize(
    ("error", "place"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity"), "GPU"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "GPU"),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"), "GPU"),
        (RuntimeError("MPS backend out of memory (MPS allocated: 8.98 GB)"), "GPU"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:121] data. DefaultCPUAllocator: not enough memory"), "CPU"),
        (MemoryError(), "CPU"),
    ],
)
def test_out_of_memory_names_the_remedies(error, place):
    with pytest.raises(UserError) as told, enough_memory():
        raise error
    line = str(told.value)
    assert line.startswith(f"out of memory on the {place}: ") and "\n" not in line
    assert all(remedy in line for remedy in ("batch_size=", "activation_checkpointing=True", "precision="))


def test_the_allocator_of_this_machine_is_recognised():
    with pytest.raises(UserError, match="out of memory on the CPU: give less"), enough_memory("give less"):
        torch.empty(2**60, dtype=torch.uint8)


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), UserError("batch_size=0"), KeyError("step")])
def test_other_errors_are_left_alone(error):
    with pytest.raises(type(error)) as told, enough_memory():
        raise error
    assert told.value is error


def test_peak_memory_counts_bytes():
    held = torch.ones(2**24)
    assert peak_memory(torch.device("cpu")) > held.nbytes
