"""Every lever for speed or memory computes what the plain path computes, and a step never waits for the device."""

from collections import Counter

import pytest
import torch
from small import SMALL, TINY
from torch.utils._python_dispatch import TorchDispatchMode

import repre_lite as rl
from repre_lite import losses as losses_module
from repre_lite.data.image_set import ImageSet, Source
from repre_lite.data.sources import IMAGENET
from repre_lite.frameworks import FRAMEWORKS, base
from repre_lite.training.loop import Training, steps

TINY_SWIN = {"embed_dim": 16, "depths": (1, 1, 2), "num_heads": (1, 2, 4)}
IMAGES = rl.scenes(range(16), size=32).images


class Operations(TorchDispatchMode):
    """Counts what torch dispatches, by name; views of the same memory launch nothing and are left out."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if not func.is_view and func.name() != "aten::_unsafe_view":  # a view too, only autograd must not know
            self.counts[func.name()] += 1
        return func(*args, **(kwargs or {}))


def training(framework="moco_v3", arch="vit_micro", tiny=True, **overrides):
    encoder = (TINY if arch.startswith("vit") else TINY_SWIN) if tiny else {}
    if framework == "dino":
        encoder = encoder | {"dynamic_img_size": True}
    values = {"steps": 10, "batch_size": 8, "drop_path": 0.0, "device": "cpu", "encoder": encoder}
    method = SMALL[framework]
    recipe = rl.recipe("scenes", framework, **(values | {"arch": arch, "method": method} | overrides))
    return Training(recipe, Source("scenes", ImageSet(IMAGES, None, ()), None, *IMAGENET, 0, ""))


def after(made, count=2):
    """The losses of `count` steps and all weights after them."""
    losses = [next_step[0].total.item() for next_step, _ in zip(steps(made), range(count), strict=False)]
    return losses, [p.detach().clone() for p in made.model.parameters()]


@pytest.mark.parametrize("framework", ["moco_v3", "moco_v2", "dino"])
def test_views_together_equal_views_one_by_one(framework, monkeypatch):
    losses, weights = after(training(framework, precision="fp64"))
    monkeypatch.setattr(base, "together", lambda view: True)
    made = training(framework, precision="fp64")
    losses_together, weights_together = after(made)
    assert losses_together == pytest.approx(losses, abs=1e-10)
    assert all(torch.allclose(a, b, atol=1e-10) for a, b in zip(weights, weights_together, strict=True))


@pytest.mark.parametrize("arch", ["vit_micro", "swin_micro"])
def test_activation_checkpointing_gives_the_same_bits_from_less_memory(arch):
    plain, saving = (training(arch=arch, drop_path=0.2, activation_checkpointing=on) for on in (False, True))
    (losses, weights), (losses_saving, weights_saving) = after(plain), after(saving)
    assert losses == losses_saving
    assert all(torch.equal(a, b) for a, b in zip(weights, weights_saving, strict=True))
    assert not any(getattr(m, "grad_checkpointing", False) for m in saving.model.framework.target_encoder.modules())
    kept: list[list[int]] = [[], []]
    for made, sizes in zip((plain, saving), kept, strict=True):
        with torch.autograd.graph.saved_tensors_hooks(lambda x: sizes.append(x.numel()) or x, lambda x: x):  # noqa: B023
            made.model(made.make_views())
    assert sum(kept[1]) < 0.6 * sum(kept[0])


def test_the_fused_optimiser_equals_the_plain_one():
    fused, plain = training(precision="fp64"), training(precision="fp64")
    assert all(group["fused"] for group in fused.optimiser.param_groups)
    for group in plain.optimiser.param_groups:
        group["fused"], group["foreach"] = False, False
    (losses, weights), (losses_plain, weights_plain) = after(fused, 4), after(plain, 4)
    assert losses_plain == pytest.approx(losses, abs=1e-10)
    assert all(torch.allclose(a, b, atol=1e-10) for a, b in zip(weights, weights_plain, strict=True))


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_step_reads_nothing_from_the_device(framework, monkeypatch):
    monkeypatch.setattr(losses_module, "check_not_negative", lambda losses: None)  # reads, but on a CPU only
    made = training(framework, drop_path=0.1)
    after(made, 1)
    with Operations() as operations:
        losses, views = made.advance()
    assert operations.counts["aten::_local_scalar_dense"] == 0
    with Operations() as operations:
        made.report(losses, views, 0.0)
    assert operations.counts["aten::_local_scalar_dense"] > 0  # reading would have been seen


def test_operations_of_a_step(monkeypatch):
    monkeypatch.setattr(base, "together", lambda view: True)
    made = training(arch="vit_tiny", tiny=False, batch_size=4, reconstruction="none")
    after(made, 1)
    views = made.make_views()
    made.make_views = lambda: views
    with Operations() as operations:
        made.advance()
    counts = operations.counts
    assert sum(counts.values()) <= 750, counts.most_common(20)
    assert counts["aten::_fused_adamw_"] == 1 and counts["aten::_foreach_lerp_.Scalar"] == 2
    attention = [name for name in counts if "scaled_dot_product" in name and "backward" not in name]
    assert sum(counts[name] for name in attention) == 2 * 12  # online and target, both views in one


@pytest.mark.slow
def test_the_compiled_step_equals_the_plain_one():
    losses, weights = after(training())
    losses_compiled, weights_compiled = after(training(compile=True))
    assert losses_compiled == pytest.approx(losses, rel=1e-4)
    assert all(torch.allclose(a, b, atol=1e-3) for a, b in zip(weights, weights_compiled, strict=True))
