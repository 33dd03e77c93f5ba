"""Published linear protocols and fine-tuning: schedules by hand, one step against PyTorch's own, and both as commands."""

import copy
import json
import math
import shutil
from types import SimpleNamespace

import pytest
import torch

import repre_lite as rl
from repre_lite.cli import main
from repre_lite.data import sources
from repre_lite.data.image_set import ImageSet, Source
from repre_lite.encoder import build_encoder
from repre_lite.evaluation import supervised
from repre_lite.evaluation.kept import Keeper
from repre_lite.evaluation.supervised import (
    Draws,
    DropPath,
    Task,
    _finetune_groups,
    _optimiser,
    factor,
    finetune_top1,
    linear_sgd_top1,
    readable,
    set_drop_path,
)
from repre_lite.frameworks import FRAMEWORKS, framework_class
from repre_lite.frameworks.base import LinearProtocol, target_of
from repre_lite.reproduce import measures
from repre_lite.runtime.randomness import fork
from tests.small import TINY

MEAN, STD = (0.3, 0.3, 0.3), (0.2, 0.2, 0.2)
SWIN = {"embed_dim": 12, "depths": (1, 1, 1), "num_heads": (2, 2, 2)}


def built(name="vit_micro", **arguments):
    with fork(0, "encoder"):
        return build_encoder(name, 32, **(arguments or TINY))


def task(train=64, val=32, epochs=2):
    parts = []
    for start, count in ((0, train), (1000, val)):
        made = rl.scenes(range(start, start + count))
        parts.append(ImageSet(made.images, made.labels % 2, ("even", "odd")))
    return Task(*parts, MEAN, STD, epochs)


def test_schedules():
    assert [factor(p, 0.1) for p in (0.0, 0.05)] == [0, 0.5]
    assert factor(0.1, 0.1) == 1 and factor(0.55, 0.1) == pytest.approx(0.5)
    assert factor(0.325, 0.1) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    assert [factor(p, 0, (0.6, 0.8)) for p in (0, 0.59, 0.6, 0.8, 0.99)] == pytest.approx([1, 1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize(
    ("framework", "rate", "epochs"),  # the rate for the published batch, as the published code has it
    [
        ("moco_v3", 3 * 1024 / 256, 90),
        ("dino", 1e-3 * 1024 / 256, 100),
        ("moby", 1.0 * 512 / 512, 100),
        ("moco_v2", 30.0, 100),
        ("simsiam", 0.1 * 4096 / 256, 90),
        ("simclr", 0.1 * 4096 / 256, 90),
        ("byol", 0.2 * 1024 / 256, 80),
    ],
)
def test_published_protocols(framework, rate, epochs):
    found = framework_class(framework).linear
    assert found.base_lr * found.batch_size / 256 == pytest.approx(rate) and found.epochs == epochs
    assert (found.blocks == 4) == (framework == "dino") and bool(found.drops) == (framework == "moco_v2")


def test_every_framework_has_a_protocol():
    assert all(isinstance(framework_class(name).linear, LinearProtocol) for name in FRAMEWORKS)


def test_what_can_be_read():
    def held(blocks, patches=False):
        return LinearProtocol("sgd", 1, 1, 1.0, blocks=blocks, patches=patches)

    assert [readable(built(), held(blocks)) for blocks in (4, 9, None)] == [(4, False), (4, False), (None, False)]
    assert readable(built(), held(1, True)) == (1, True)
    assert readable(built("swin_micro", **SWIN), held(1, True)) == (None, False)


@pytest.mark.parametrize(
    ("name", "width", "blocks", "patches", "layer"),  # eval_linear.py: n_last_blocks, avgpool_patchtokens
    [("vit_small", 384, 4, False, 4 * 384), ("vit_base", 768, 1, True, 2 * 768), ("swin_tiny", 768, None, False, 768)],
)
def test_dino_reads_what_its_architecture_has_read(name, width, blocks, patches, layer, monkeypatch):
    encoder = built(name, **(SWIN | {"embed_dim": width // 4} if name == "swin_tiny" else TINY | {"embed_dim": width}))
    assert encoder.width == width
    protocol = framework_class("dino").linear_for(encoder)
    assert readable(encoder, protocol) == (blocks, patches)
    widths = []
    monkeypatch.setattr(supervised, "_layer", lambda count, task: widths.append(count) or torch.nn.Linear(count, 2))
    assert 0 <= linear_sgd_top1(encoder, task(train=8, val=4, epochs=1), protocol) <= 1 and widths == [layer]


@pytest.mark.parametrize(("size", "width", "wanted"), [(224, 32, (4, False)), (224, 768, (1, True)), (32, 32, None)])
def test_both_linear_measures_of_a_table_read_the_same(size, width, wanted, monkeypatch):
    """At 224 pixels as published; below, where nothing is, the pooled feature."""
    encoder = build_encoder("vit_tiny", size, **TINY | {"embed_dim": width})
    given, asked, ran = task(), [], []
    source = Source("folder", given.train, given.val, MEAN, STD, 0, "", given.train)
    run = SimpleNamespace(evaluated=encoder, recipe=rl.recipe("scenes", "dino"), mean=MEAN, std=STD)
    subject = SimpleNamespace(run=run, recipe=run.recipe, source=source, pooled=(None,) * 4, keeper=Keeper(),
                              features=lambda *reads: asked.append(reads) or (None,) * 4)  # fmt: skip
    monkeypatch.setattr(measures, "linear_top1", lambda *features: (0.5, 1.0))
    monkeypatch.setattr(measures, "linear_sgd_top1", lambda network, task, protocol: ran.append(protocol) or 0.5)
    measures._linear(subject)
    measures._linear_sgd(subject)
    assert asked == ([] if wanted is None else [wanted])
    assert wanted in (None, readable(encoder, ran[0]))


def test_batches_hold_every_image_once_an_epoch_with_its_label():
    given = task()
    seen = [labels for _, labels in given.batches(32, 2, 16, torch.device("cpu"))]
    assert len(seen) == 8
    for epoch in (seen[:4], seen[4:]):
        assert torch.cat(epoch).sum() == given.train.labels.sum()
    first, again = (next(given.batches(32, 1, 16, torch.device("cpu")))[0] for _ in range(2))
    assert torch.equal(first, again) and first.shape == (16, 3, 32, 32)


@pytest.mark.parametrize("optimiser", ["sgd", "nesterov", "lars"])
@pytest.mark.parametrize("name", ["vit_micro", "swin_micro"])
def test_linear_sgd_leaves_the_encoder_as_it_is(optimiser, name):
    encoder = built(name, **(SWIN if name.startswith("swin") else TINY)).train()
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    protocol = LinearProtocol(optimiser, 2, 32, 0.5, warmup_epochs=1, label_smoothing=0.1, blocks=2)
    top1 = linear_sgd_top1(encoder, task(), protocol)
    assert 0 <= top1 <= 1 and top1 == linear_sgd_top1(encoder, task(), protocol) and encoder.training
    assert all(torch.equal(before[key], value) for key, value in encoder.state_dict().items())


def test_linear_sgd_learns_what_a_layer_can(monkeypatch):
    """Classes that differ in brightness: even an untrained encoder's features separate them."""
    dark, bright = torch.randint(0, 90, (64, 3, 32, 32)), torch.randint(160, 255, (64, 3, 32, 32))
    images = torch.stack([dark, bright], 1).flatten(0, 1).to(torch.uint8)
    part = ImageSet(images, torch.arange(128) % 2, ("dark", "bright"))
    given = Task(part, part, (0.5,) * 3, (0.25,) * 3, 5)
    assert linear_sgd_top1(built(), given, LinearProtocol("sgd", 5, 32, 3.0)) == 1.0
    fitted = finetune_top1(built(), given)
    assert fitted == finetune_top1(built(), given) and fitted >= 0.9


def test_probes_are_trained_inside_no_grad_too():
    """Where many people put their evaluation."""
    calls = [lambda: linear_sgd_top1(built(), task(), LinearProtocol("sgd", 2, 32, 0.5)),
             lambda: finetune_top1(built(), task(epochs=1))]  # fmt: skip
    outside = [call() for call in calls]
    with torch.no_grad():
        assert [call() for call in calls] == outside


def test_lars_is_that_of_the_published_code_without_weight_decay():
    """SimSiam's main_lincls.py: apex's LARC, trust 0.001, not clipped, on SGD with momentum; written out in float64."""
    draw = torch.Generator().manual_seed(0)
    gradients = [[torch.randn(shape, generator=draw).double() for shape in ((3, 8), (3,))] for _ in range(5)]
    start = [torch.randn(3, 8, generator=draw).double(), torch.zeros(3).double()]  # a new bias has no norm to adapt to

    def ends(name):
        layer = torch.nn.Linear(8, 3).double()
        with torch.no_grad():
            layer.weight.copy_(start[0])
            layer.bias.copy_(start[1])
        optimiser = _optimiser(name, layer, 1.6)
        for pair in gradients:
            layer.weight.grad, layer.bias.grad = (gradient.clone() for gradient in pair)
            optimiser.step()
        return layer.weight.detach(), layer.bias.detach()

    wanted, momenta = [weight.clone() for weight in start], [torch.zeros(3, 8).double(), torch.zeros(3).double()]
    for pair in gradients:
        for index, gradient in enumerate(pair):
            norm = wanted[index].norm()
            trust = 0.001 * norm / (gradient.norm() + 1e-8) if norm else 1.0
            momenta[index] = 0.9 * momenta[index] + trust * gradient
            wanted[index] = wanted[index] - 1.6 * momenta[index]
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(ends("lars"), wanted, strict=True))
    assert not torch.allclose(ends("lars")[0], ends("sgd")[0], atol=0.1)


@pytest.mark.parametrize("name", ["vit_micro", "swin_micro"])
def test_finetuning_trains_a_copy(name):
    encoder = built(name, **(SWIN if name.startswith("swin") else TINY))
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    assert 0 <= finetune_top1(encoder, task(epochs=1)) <= 1
    assert all(torch.equal(before[key], value) for key, value in encoder.state_dict().items())


@pytest.mark.parametrize("name", ["vit_micro", "swin_micro"])
def test_finetuning_decays_what_mae_decays_and_lowers_the_rate_block_by_block(name):
    """MAE's lr_decay.py: no decay for vectors and what the model names; 0.65 to the power of the distance from the top."""
    encoder = built(name, **(SWIN if name == "swin_micro" else TINY))
    layer = torch.nn.Linear(encoder.width, 2)
    names = {id(value): key for key, value in encoder.backbone.named_parameters()}
    names |= {id(layer.weight): "head.weight", id(layer.bias): "head.bias"}
    groups = _finetune_groups(encoder, layer)
    decay = {names[id(value)]: group["weight_decay"] for group in groups for value in group["params"]}
    scale = {names[id(value)]: group["lr_scale"] for group in groups for value in group["params"]}
    assert len(decay) == len(names) == sum(len(group["params"]) for group in groups)
    exempt = ("pos_embed", "cls_token") if name == "vit_micro" else ("relative_position_bias_table",)
    free = {key for key in decay if key.endswith(("bias", "norm.weight", "norm1.weight", "norm2.weight", *exempt))}
    assert {key for key, value in decay.items() if value == 0} == free and set(decay.values()) == {0, 0.05}
    assert scale["head.weight"] == scale["head.bias"] == scale["norm.weight"] == 1
    if name == "vit_micro":
        assert [scale[f"blocks.{i}.mlp.fc1.weight"] for i in range(4)] == pytest.approx(
            [0.65 ** (4 - i) for i in range(4)]
        )
        assert scale["pos_embed"] == scale["patch_embed.proj.weight"] == pytest.approx(0.65**5)


@pytest.mark.parametrize("name", ["vit_micro", "swin_micro"])
def test_finetuning_has_the_same_drop_path_whatever_pre_training_had(name, monkeypatch):
    """Of an encoder without, with much, and of a target, and whatever was drawn before."""
    rates = []
    for drop_path in (0.0, 0.5):
        encoder = built(name, drop_path=drop_path, **(SWIN if name == "swin_micro" else TINY))
        for network in (encoder, target_of(encoder)):
            held = copy.deepcopy(network)
            set_drop_path(held.backbone, 0.1, Draws(0))
            rates.append([part.rate for part in held.modules() if isinstance(part, DropPath)])
    blocks = 4 if name == "vit_micro" else 3
    assert rates[0] == pytest.approx([0.1 * (i // 2) / (blocks - 1) for i in range(2 * blocks)])
    assert all(each == rates[0] for each in rates)

    monkeypatch.setattr(supervised, "_top1", lambda scores, task: scores.sum().item())
    ends = []
    for number, drop_path in enumerate((0.0, 0.5)):
        encoder = built(name, drop_path=drop_path, **(SWIN if name == "swin_micro" else TINY))
        torch.manual_seed(number)
        ends.append(finetune_top1(encoder, task(epochs=3)))
    monkeypatch.setattr(supervised, "DROP_PATH", 0.0)
    assert ends[0] == ends[1] != finetune_top1(encoder, task(epochs=3))


def test_drop_path_depends_on_seed_step_and_row_alone():
    x, draws = torch.ones(4000, 3, 2), Draws(5, 1, torch.arange(4000))
    drop = DropPath(0.25, 3, draws)
    whole = drop(x)
    assert whole.unique().tolist() == pytest.approx([0, 1 / 0.75]) and torch.equal(whole[:, 0, 0], whole[:, 2, 1])
    assert whole.mean() == pytest.approx(1, abs=0.03) and torch.equal(drop(x), whole)
    draws.rows = torch.arange(1000, 4000)  # another process
    assert torch.equal(drop(x[1000:]), whole[1000:])
    draws.rows = torch.arange(4000)
    for step, purpose in ((2, 3), (1, 4)):
        draws.step = step
        assert not torch.equal(DropPath(0.25, purpose, draws)(x), whole)
    assert drop.eval()(x) is x


@pytest.mark.parametrize("call", [lambda: finetune_top1(built(), task()),
                                  lambda: linear_sgd_top1(built(), task(), LinearProtocol("sgd", 1, 8, 1.0))])  # fmt: skip
def test_out_of_memory_names_what_makes_a_batch_smaller(call, monkeypatch):
    def too_large(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(supervised, "_loss", too_large)
    with pytest.raises(rl.UserError, match="out of memory on the GPU: start several processes with torchrun"):
        call()


def test_epochs_default_to_the_published_ones_at_full_size():
    assert [task(epochs=None).length(90, size) for size in (32, 224)] == [10, 90]
    assert task(epochs=3).length(90, 224) == 3


def test_both_are_commands_and_enter_the_summary(tiny_runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sources, "SCENES_VAL", 40)
    run = tmp_path / "run"
    shutil.copytree(tiny_runs["multi-0"], run)
    assert main(["evaluate", str(run), "--protocol", "linear-sgd", "finetune", "--epochs", "1"]) == 0
    summary, shown = json.loads((run / "summary.json").read_text()), capsys.readouterr().out
    for name in ("linear_sgd", "finetune"):
        assert summary[f"{name}_epochs"] == 1
        for suffix in ("", "_untrained"):
            assert f"{name}_top1{suffix}" in shown and 0 <= summary[f"{name}_top1{suffix}"] <= 1
    assert "knn_top1" not in summary
