"""Device and precision, on simulated GPUs: what V100, T4, A100 and newer ones get, and what is refused."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from repre_lite.runtime.device import _has_kernels, describe_device, pick_device, pick_precision, precise, set_threads
from repre_lite.runtime.errors import UserError

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda", 0), torch.device("mps")
WHEEL = ["sm_70", "sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"]


@pytest.fixture(autouse=True)
def bare(monkeypatch):
    """A machine without accelerators and without settings."""
    for name in ("REPRE_LITE_DEVICE", "REPRE_LITE_THREADS", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.fixture
def gpu(monkeypatch):
    """Pretend that a GPU of some compute capability is here; returns what was set globally."""

    def install(capability, wheel=WHEEL):
        done = {}
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
        monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: wheel)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Pretended GPU")
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
        monkeypatch.setattr(torch.cuda, "set_device", lambda device: done.update(device=device))
        monkeypatch.setattr(torch, "set_float32_matmul_precision", lambda name: done.update(matmul=name))
        # as torch does: Volta and Turing claim bf16 unless told not to count its emulation
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or capability[0] >= 8
        )
        return done

    return install


@pytest.mark.parametrize(
    ("capability", "name"), [((7, 0), "fp16"), ((7, 5), "fp16"), ((8, 0), "bf16"), ((8, 9), "bf16"), ((9, 0), "bf16")]
)
def test_automatic_precision_by_capability(gpu, capability, name):
    gpu(capability)
    chosen = pick_precision("auto", CUDA)
    assert chosen.name == name and chosen.weights is torch.float32
    assert chosen.scaled == (name == "fp16")  # only fp16 needs its gradients scaled
    assert chosen.compute is {"fp16": torch.float16, "bf16": torch.bfloat16}[name]


def test_fp32_is_not_rounded_to_tf32(gpu):
    done = gpu((8, 0))
    pick_device("cuda")
    assert done["matmul"] == "highest" and torch.backends.cudnn.allow_tf32 is False
    for name, matmul in (("bf16", "high"), ("fp32", "highest"), ("auto", "high"), ("fp64", "highest")):
        pick_precision(name, CUDA)
        assert done["matmul"] == matmul and torch.backends.cudnn.allow_tf32 is (matmul == "high")
        pick_precision("fp32", CPU)  # says nothing about GPUs
        assert done["matmul"] == matmul


def test_more_processes_than_gpus(gpu, monkeypatch):
    done = gpu((8, 0))
    monkeypatch.setenv("LOCAL_RANK", "1")
    pick_device("cuda")
    assert done["device"] == torch.device("cuda", 1)
    monkeypatch.setenv("LOCAL_RANK", "4")
    with pytest.raises(UserError, match="process 4 finds no GPU .* at most 4, --nproc-per-node 4"):
        pick_device("cuda")


def test_without_cuda_precision_is_full():
    for device in (CPU, MPS):
        chosen = pick_precision("auto", device)
        assert (chosen.name, chosen.weights, chosen.compute, chosen.scaled) == ("fp32", torch.float32, None, False)
    assert pick_precision("fp64", CPU).weights is torch.float64


def test_impossible_precisions_are_user_errors(gpu):
    gpu((7, 0))
    for name, device in (("fp16", CPU), ("fp16", MPS), ("bf16", CUDA), ("fp64", MPS), ("fp8", CPU), ("", CPU)):
        with pytest.raises(UserError, match=f"precision={name}|precision='{name}"):
            pick_precision(name, device)


def test_autocast_computes_in_the_chosen_type():
    layer, x = torch.nn.Linear(4, 4), torch.ones(2, 4)
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        with pick_precision(name, CPU).autocast(CPU):
            assert layer(x).dtype is dtype


def test_auto_device_prefers_cuda_then_mps_then_cpu(gpu, monkeypatch):
    assert pick_device() == CPU
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert pick_device() == MPS
    done = gpu((9, 0))
    assert pick_device() == CUDA
    assert done == {"device": CUDA, "matmul": "highest"}


def test_the_environment_decides_auto_and_nothing_else(gpu, monkeypatch):
    gpu((9, 0))
    monkeypatch.setenv("REPRE_LITE_DEVICE", "cpu")
    assert pick_device("auto") == CPU
    assert pick_device("cuda") == CUDA
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert pick_device("cuda") == torch.device("cuda", 3)


def test_a_device_that_is_not_there_is_a_user_error(monkeypatch):
    for name in ("cuda", "mps", "tpu", "cuda:7", ""):
        with pytest.raises(UserError, match=f"device={name}"):
            pick_device(name)
    monkeypatch.setenv("REPRE_LITE_DEVICE", "gpu")
    with pytest.raises(UserError, match="gpu"):
        pick_device("auto")


@pytest.mark.parametrize(
    ("capability", "wheel", "fits"),
    [
        ((7, 0), WHEEL, True),
        ((7, 0), WHEEL[1:], False),  # the newest wheels: Turing's kernels do not run on Volta
        ((7, 5), ["sm_70"], True),  # a later one of the same generation
        ((8, 9), ["sm_86"], True),
        ((8, 0), ["sm_86"], False),  # an earlier one
        ((9, 0), ["sm_80"], False),  # another generation
        ((12, 0), ["sm_80", "compute_90"], True),  # compiled when it starts
        ((7, 0), ["compute_80"], False),
        ((9, 0), ["sm_90a"], True),
        ((12, 0), ["sm_120"], True),
        ((10, 0), ["sm_70", "sm_120"], False),
    ],
)
def test_kernels_for_a_gpu(gpu, capability, wheel, fits):
    assert _has_kernels(capability, wheel) == fits
    gpu(capability, wheel)
    if fits:
        assert pick_device("cuda") == CUDA
    else:
        with pytest.raises(UserError, match=r"no kernels for Pretended GPU.*device='cpu'") as said:
            pick_device("cuda")
        assert ("constraints-v100.txt" in str(said.value)) == (capability == (7, 0))


def test_gpus_of_amd_are_not_judged_by_names_of_nvidia(gpu, monkeypatch):
    gpu((9, 4), ["gfx942"])
    monkeypatch.setattr(torch.version, "hip", "6.4")
    assert pick_device("cuda") == CUDA


def test_sums_are_in_fp64_where_it_exists():
    x = torch.ones(2)
    assert precise(x).dtype == torch.float64
    with FakeTensorMode(allow_non_fake_inputs=True):
        assert precise(torch.empty(2, device="mps")).dtype == torch.float32


def test_threads_variable(monkeypatch):
    seen = []
    monkeypatch.setattr(torch, "set_num_threads", seen.append)
    set_threads()
    assert seen == []  # unset: torch's own choice stays
    monkeypatch.setenv("REPRE_LITE_THREADS", "3")
    set_threads()
    assert seen == [3]
    for bad in ("0", "-1", "many", "1.5"):
        monkeypatch.setenv("REPRE_LITE_THREADS", bad)
        with pytest.raises(UserError, match=f"REPRE_LITE_THREADS={bad}"):
            set_threads()
    assert seen == [3]


def test_describe_device(gpu):
    before = torch.get_num_threads()
    try:
        for count, said in ((1, ", 1 thread"), (2, ", 2 threads")):
            torch.set_num_threads(count)
            assert describe_device(CPU).endswith(said)
    finally:
        torch.set_num_threads(before)
    gpu((9, 0))
    assert describe_device(CUDA) == "Pretended GPU"
