"""A training step of every framework on a CUDA device that does not exist.

Under torch's FakeTensorMode every tensor has a device and a shape and nothing is computed. Operations on tensors of two
devices fail there, as does reading a number (`.item()`, `float(x)`); copies to the host are caught here. Only the backward
pass is a stub, since autograd needs a real device: every trained parameter gets a gradient of its shape.
"""

import pytest
import torch
from small import SMALL, TINY
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import repre_lite as rl
from repre_lite.data.image_set import ImageSet, Source
from repre_lite.data.sources import IMAGENET
from repre_lite.frameworks import FRAMEWORKS
from repre_lite.frameworks.moby import MoBY
from repre_lite.repre import RePre
from repre_lite.training import loop
from repre_lite.training.loop import Training

TINY_SWIN = {"embed_dim": 16, "depths": (1, 1, 2), "num_heads": (1, 2, 4)}
CUDA = torch.device("cuda", 0)


class NoCopiesToTheHost(TorchDispatchMode):
    """Fails if an operation on the GPU gives a tensor on the host."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        came, went = ({x.device.type for x in tree_leaves(values) if isinstance(x, torch.Tensor)}
                      for values in ((args, kwargs), result))  # fmt: skip
        if "cuda" in came and "cpu" in went:
            raise RuntimeError(f"{func} copies from the GPU to the host")
        return result


def placed(model):
    """The model with fake parameters and buffers on the GPU; `to` has nothing left to do."""
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(torch.empty_like(parameter, device=CUDA), parameter.requires_grad))
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, torch.empty_like(buffer, device=CUDA))
    model.to = lambda *_: model
    return model


def take_steps(patch, name, arch="vit_micro", count=2, **changes):
    """The training after `count` steps on the fake GPU, and what the last one gave."""
    encoder = TINY if arch.startswith("vit") else TINY_SWIN
    if name == "dino":
        encoder = encoder | ({"dynamic_img_size": True} if arch.startswith("vit") else {"strict_img_size": False})
    values = {"steps": 10, "batch_size": 8, "precision": "fp32", "drop_path": 0.1, "clip_norm": 1.0, "decoder_width": 8}
    recipe = rl.recipe("scenes", name, arch=arch, **(values | {"encoder": encoder, "method": SMALL[name]} | changes))
    model = RePre.from_recipe(recipe, *IMAGENET)

    def backward(loss):
        assert loss.device == CUDA and loss.requires_grad and loss.shape == ()
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.empty_like(parameter)

    patch.setattr(torch.Tensor, "backward", backward)
    patch.setattr(loop, "pick_device", lambda name: CUDA)
    patch.setattr(RePre, "from_recipe", lambda *_: placed(model))
    with FakeTensorMode(allow_non_fake_inputs=True), NoCopiesToTheHost():  # a real tensor becomes one on the host
        images = torch.zeros(16, 3, 32, 32, dtype=torch.uint8)
        training = Training(recipe, Source("scenes", ImageSet(images, None, ()), None, *IMAGENET, 0, ""))
        for _ in range(count):
            losses, views = training.advance()
    return training, losses, views


@pytest.mark.parametrize("arch", ["vit_micro", "swin_micro"])
@pytest.mark.parametrize("name", FRAMEWORKS)
def test_a_step_stays_on_the_gpu_and_reads_nothing_from_it(name, arch, monkeypatch):
    training, losses, views = take_steps(monkeypatch, name, arch)
    everything = [
        losses.total,
        losses.embedding,
        *losses.monitors.values(),
        *views,
        *training.model.state_dict().values(),
    ]
    assert {x.device.type for x in everything if isinstance(x, torch.Tensor)} == {"cuda"}
    assert training.step == 2 and "gradient_scale" in losses.monitors
    assert all(group["fused"] for group in training.optimiser.param_groups)


@pytest.mark.parametrize(
    "changes", [{"clip_each": True}, {"weighting": "fixed:1,1"}, {"reconstruction": "none"}], ids=str
)
def test_settings_of_the_step_do_too(changes, monkeypatch):
    take_steps(monkeypatch, "moby", count=1, **changes)


# sabotage: each of these must be seen

WRONG = {
    "float": lambda x: float(x.sum()),
    "item": lambda x: x.sum().item(),
    "bool": lambda x: bool(x.sum() > 0),
    "tolist": lambda x: x.sum().tolist(),
    "cpu": lambda x: x.cpu(),
    "mask": lambda x: x[x > 0],
    "two devices": lambda x: x + torch.ones(x.shape),
}


@pytest.mark.parametrize("wrong", [None, *WRONG])
def test_a_wrong_operation_is_seen(wrong, monkeypatch):
    def clip(model, recipe):
        WRONG.get(wrong, torch.sum)(next(model.parameters()).detach())
        return {}

    monkeypatch.setattr(loop, "clip", clip)
    if wrong is None:  # summing is not wrong
        take_steps(monkeypatch, "simsiam", count=1)
        return
    with pytest.raises(Exception):  # noqa: B017  (torch's exceptions of fake tensors are private)
        take_steps(monkeypatch, "simsiam", count=1)


@pytest.mark.parametrize("place", ["views", "forward", "schedule", "target"])
def test_a_number_read_anywhere_is_seen(place, monkeypatch):
    owner, name = {
        "views": (Training, "make_views"),
        "forward": (RePre, "combine"),
        "schedule": (loop, "set_schedule"),
        "target": (MoBY, "update_target"),
    }[place]
    real, reached = getattr(owner, name), []

    def reading(*arguments):
        result = real(*arguments)
        reached.append(place)
        float(torch.zeros((), device=CUDA))
        return result

    monkeypatch.setattr(owner, name, reading)
    with pytest.raises(Exception):  # noqa: B017  (torch's exceptions of fake tensors are private)
        take_steps(monkeypatch, "moby", count=1)
    assert reached == [place]
