"""The device and the number format of a run."""

from __future__ import annotations

import contextlib
import os
import platform
from dataclasses import dataclass

import torch
from torch import Tensor

from .errors import UserError

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "fp32", "fp16", "bf16", "fp64")


def set_threads() -> None:
    """Use REPRE_LITE_THREADS processor threads if it is set; for machines that many people share."""
    wanted = os.environ.get("REPRE_LITE_THREADS")
    if not wanted:
        return
    if not (wanted.isascii() and wanted.isdigit()) or int(wanted) < 1:
        raise UserError(f"REPRE_LITE_THREADS={wanted}: give a whole number of threads, 1 or more")
    torch.set_num_threads(int(wanted))


def _has_kernels(capability: tuple[int, int], architectures: list[str]) -> bool:
    """True if a torch built for `architectures` runs on a GPU of this compute capability.

    "sm_70": machine code, for later GPUs of the same generation too. "compute_90": compiled for any later GPU.
    """
    built = [(kind, int(number.rstrip("af"))) for kind, _, number in (name.partition("_") for name in architectures)]
    this = 10 * capability[0] + capability[1]
    return any(arch <= this and (kind == "compute" or arch // 10 == capability[0]) for kind, arch in built)


def _check_kernels(device: torch.device) -> None:
    capability = torch.cuda.get_device_capability(device)
    if torch.version.hip is not None:  # AMD names its architectures otherwise
        return
    if _has_kernels(capability, torch.cuda.get_arch_list()):
        return
    name = torch.cuda.get_device_name(device)
    remedy = (
        "run pip install -c constraints-v100.txt torch torchvision" if capability == (7, 0) else "install one that has"
    )
    raise UserError(
        f"the installed torch {torch.__version__} has no kernels for {name} (compute capability {capability[0]}.{capability[1]}): "
        f"{remedy}, or choose device='cpu'"
    )


def pick_device(name: str = "auto") -> torch.device:
    """The device of a run.

    `name` is one of `DEVICES`; "auto" is the value of REPRE_LITE_DEVICE if that is set, else a CUDA GPU, Apple's MPS or
    the CPU, the first that exists. Under torchrun each process takes the GPU of its LOCAL_RANK. Raises UserError if the
    device does not exist or the installed torch has no kernels for it.
    """
    asked = "device="
    if name == "auto" and os.environ.get("REPRE_LITE_DEVICE"):
        name, asked = os.environ["REPRE_LITE_DEVICE"], "REPRE_LITE_DEVICE="
    if name not in DEVICES:
        raise UserError(f"{asked}{name}: choose one of {', '.join(DEVICES)}")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if name == "cuda":
        if not torch.cuda.is_available():
            raise UserError(f"{asked}cuda: torch finds no CUDA GPU; choose device='cpu' or install a CUDA driver")
        place, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if place >= count:
            raise UserError(f"process {place} finds no GPU of its own; start at most {count}, --nproc-per-node {count}")
        device = torch.device("cuda", place)
        _check_kernels(device)
        torch.cuda.set_device(device)
        _allow_tf32(False)
        return device
    if name == "mps" and not torch.backends.mps.is_available():
        raise UserError(f"{asked}mps: torch finds no Apple GPU; choose device='cpu'")
    return torch.device(name)


def describe_device(device: torch.device) -> str:
    """The name of a device in one line, such as "NVIDIA H200" or "AMD EPYC, 2 threads"."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name, threads = platform.processor() or platform.machine(), torch.get_num_threads()
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as lines:
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {threads} thread{'s' * (threads != 1)}" + (" (MPS)" if device.type == "mps" else "")


def precise(x: Tensor) -> Tensor:
    """`x` in fp64, or in fp32 on an Apple GPU, which has no 64-bit numbers."""
    return x.float() if x.device.type == "mps" else x.double()


def _allow_tf32(allowed: bool) -> None:
    """Whether products of fp32 numbers on a GPU may be rounded to TF32, ten bits, which is several times as fast."""
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed


@dataclass(frozen=True)
class Precision:
    """The number format of a run: type of the weights, type autocast computes in (None: no autocast), gradient scaling."""

    name: str
    weights: torch.dtype = torch.float32
    compute: torch.dtype | None = None
    scaled: bool = False

    def autocast(self, device: torch.device) -> contextlib.AbstractContextManager[None]:
        """The context of a forward pass."""
        if self.compute is None:
            return contextlib.nullcontext()
        return torch.autocast(device.type, dtype=self.compute)


def check_training_modes(device: torch.device) -> None:
    """Raise UserError if the caller has switched gradients off, autocast on, or torch to another default device or format:
    no recipe trains as it says there, since it draws its numbers on the CPU and its weights in fp32."""
    if not torch.is_grad_enabled():
        raise UserError("gradients are switched off; train outside torch.no_grad() and torch.inference_mode()")
    if torch.is_autocast_enabled(device.type):
        raise UserError("autocast is on; train outside torch.autocast() and choose the number format with precision=")
    if torch.get_default_device().type != "cpu":
        raise UserError(
            f"torch's default device is {torch.get_default_device()}; call torch.set_default_device(None) and choose the "
            "device with device="
        )
    if torch.get_default_dtype() != torch.float32:
        raise UserError(
            f"torch's default dtype is {torch.get_default_dtype()}; call torch.set_default_dtype(torch.float32) and choose "
            "the number format with precision="
        )


def pick_precision(name: str, device: torch.device) -> Precision:
    """The number format called `name`, one of `PRECISIONS`, on `device`.

    "auto" is fp32 on CPU and MPS; on CUDA it is bf16 if the hardware has it, else fp16 with gradient scaling (Volta and
    Turing). Emulated bf16, which a V100 reports, is never used. fp64 is for exact comparisons. With a half format what
    stays in fp32 may use TF32; fp32 itself never does. Raises UserError for a format that the device does not have.
    """
    if name not in PRECISIONS:
        raise UserError(f"precision={name!r}: choose one of {', '.join(PRECISIONS)}")
    cuda = device.type == "cuda"
    if name == "auto":
        name = "fp32" if not cuda else "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if cuda:
        _allow_tf32(name in ("fp16", "bf16"))
    if name == "fp16":
        if not cuda:
            raise UserError("precision='fp16' needs a CUDA GPU; choose fp32 or bf16")
        return Precision(name, compute=torch.float16, scaled=True)
    if name == "bf16":
        if cuda and not torch.cuda.is_bf16_supported(including_emulation=False):
            raise UserError("precision='bf16': this GPU only emulates bf16, slower than fp32; choose fp16")
        return Precision(name, compute=torch.bfloat16)
    if name == "fp64":
        if device.type == "mps":
            raise UserError("precision='fp64': Apple GPUs have no 64-bit numbers; choose device='cpu'")
        return Precision(name, weights=torch.float64)
    return Precision("fp32")
