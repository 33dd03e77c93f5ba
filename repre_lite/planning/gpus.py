"""The GPUs that a plan can be made for."""

from __future__ import annotations

from dataclasses import dataclass

from ..runtime.errors import UserError

GIB = 2**30


@dataclass(frozen=True)
class GPU:
    """A kind of GPU.

    `peak`: FLOP/s of its matrix units in half precision (dense, sums in fp32), from NVIDIA's data sheets; `memory`: bytes;
    `half`: the half precision that a run uses there.
    """

    name: str
    peak: float
    memory: float
    half: str = "bf16"


GPUS = (
    GPU("V100-16GB", 112e12, 16 * GIB, "fp16"),  # the PCIe form; SXM2 has 125
    GPU("V100-32GB", 112e12, 32 * GIB, "fp16"),
    GPU("T4", 65e12, 15 * GIB, "fp16"),
    GPU("A100-40GB", 312e12, 40 * GIB),
    GPU("A100-80GB", 312e12, 80 * GIB),
    GPU("H100", 989e12, 80 * GIB),  # the SXM form
    GPU("H200", 989e12, 141 * GIB),
    GPU("RTX4090", 165e12, 24 * GIB),
)
SHORT = {"V100": "V100-16GB", "A100": "A100-40GB", "4090": "RTX4090"}


def parse_gpus(text: str) -> tuple[int, GPU]:
    """`8xV100` -> number and GPU. Raises UserError for a GPU that is not in the table."""
    number, times, name = text.upper().partition("X")
    if not (times and number.isdecimal()):
        number, name = "1", text.upper()
    name = SHORT.get(name, name)
    found = [gpu for gpu in GPUS if gpu.name.upper() == name]
    if not found or int(number) < 1:
        known = ", ".join(gpu.name for gpu in GPUS)
        raise UserError(f"gpus={text}: give a number and a name, such as 8xV100-32GB; known are {known}")
    return int(number), found[0]
