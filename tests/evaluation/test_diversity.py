"""Token statistics against closed forms, slow references and attention built by hand; ViT, Swin, registers, no class token."""

import json
import math

import pytest
import torch

import repre_lite as rl
from repre_lite.cli import main
from repre_lite.data import sources
from repre_lite.encoder import TappedEncoder, build_encoder
from repre_lite.evaluation.collapse import effective_rank, patch_cosine
from repre_lite.evaluation.diversity import attention_nmi, log_amplitude, measure_diversity, spread
from repre_lite.runtime.randomness import fork
from tests.small import TINY

MEAN, STD = (0.3, 0.3, 0.3), (0.2, 0.2, 0.2)


def tap(tokens):
    """(N, C) tokens of one image -> (1, C, 1, N)."""
    return torch.tensor(tokens, dtype=torch.float64).T[None, :, None]


def test_cosines_of_known_tokens():
    assert patch_cosine(tap([[1.0, 0.0], [5.0, 0.0], [0.1, 0.0]])).item() == pytest.approx(1)
    assert patch_cosine(tap([[1.0, 0.0], [0.0, 3.0]])).item() == pytest.approx(0, abs=1e-7)
    assert patch_cosine(tap([[1.0, 0.0], [-2.0, 0.0]])).item() == pytest.approx(-1)
    n = 5  # the corners of a regular simplex
    simplex = (torch.eye(n) - 1 / n).tolist()
    assert patch_cosine(tap(simplex)).item() == pytest.approx(-1 / (n - 1), abs=1e-6)
    assert math.isnan(patch_cosine(tap([[1.0, 2.0]])).item())


def test_the_cosine_is_the_mean_over_pairs_of_each_image():
    x = torch.randn(3, 7, 4, 5, generator=torch.Generator().manual_seed(0))
    tokens = torch.nn.functional.normalize(x.double().flatten(2), dim=1)  # (3, 7, 20)
    for image, found in zip(tokens, patch_cosine(x), strict=True):
        pairs = [float(image[:, i] @ image[:, j]) for i in range(20) for j in range(20) if i != j]
        assert found.item() == pytest.approx(sum(pairs) / len(pairs), abs=1e-6)
    assert patch_cosine(x.half()).dtype is torch.float32


def test_uniform_attention_knows_nothing_and_the_identity_everything():
    uniform = torch.full((9, 9), 1 / 9)
    same_key = torch.eye(9)[torch.zeros(9, dtype=torch.int64)]  # all look at token 0
    permuted = torch.eye(9)[torch.randperm(9, generator=torch.Generator().manual_seed(0))]
    found = attention_nmi(torch.stack([uniform, same_key, torch.eye(9), permuted]))
    assert found.tolist() == pytest.approx([0, 0, 1, 1], abs=1e-3)
    assert found[:2].max() < 1e-3


def test_halves_that_look_at_themselves_share_one_bit():
    """4 tokens, each attends to both of its half: I = ln 2, H(q) = H(k) = ln 4."""
    half = torch.tensor([[0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5], [0, 0, 0.5, 0.5]])
    assert attention_nmi(half).item() == pytest.approx(0.5, abs=1e-6)


def test_nmi_is_that_of_the_joint_distribution():
    weights = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(1)).softmax(-1).double()
    joint = weights / 6
    q, k = joint.sum(-1, keepdim=True), joint.sum(-2, keepdim=True)
    information = (joint * (joint / (q * k)).log()).sum((-2, -1))
    entropies = [-(p * p.log()).sum((-2, -1)) for p in (q, k)]
    assert torch.allclose(attention_nmi(weights), information / (entropies[0] * entropies[1]).sqrt(), atol=1e-9)


def test_scikit_learn_agrees_on_hard_attention():
    metrics = pytest.importorskip("sklearn.metrics")
    to = torch.tensor([0, 0, 1, 2, 2, 2, 5, 0])
    expected = metrics.normalized_mutual_info_score(range(8), to.tolist(), average_method="geometric")
    assert attention_nmi(torch.eye(8)[to]).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("side", [4, 7])
def test_the_amplitude_is_that_of_a_sum_over_patches(side):
    x = torch.randn(2, 3, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    top = side // 2
    rows = torch.arange(side)
    phase = torch.exp(-2j * math.pi * top * (rows[:, None] + rows[None]) / side)
    high, zero = (x * phase).sum((2, 3)).abs(), x.sum((2, 3)).abs()
    expected = ((high + 1e-6).log() - (zero + 1e-6).log()).mean(1)
    assert torch.allclose(log_amplitude(x).double(), expected, atol=1e-4)


def test_a_checkerboard_is_the_highest_frequency():
    sign = (-1.0) ** (torch.arange(8)[:, None] + torch.arange(8)[None])
    assert log_amplitude((1 + sign)[None, None]).item() == pytest.approx(0, abs=1e-5)  # as much as the mean
    assert log_amplitude((1 + 0.5 * sign)[None, None]).item() == pytest.approx(math.log(0.5), abs=1e-5)
    assert log_amplitude(torch.ones(1, 1, 8, 8)).item() < -15


def built(name, **arguments):
    with fork(0, "encoder"):
        return build_encoder(name, 32, **arguments)


SMALL = {"patch_size": 8, "embed_dim": 24, "depth": 4, "num_heads": 2}
ENCODERS = {
    "vit": ("vit_micro", TINY),
    "registers": ("vit_tiny_patch16_224", SMALL | {"reg_tokens": 4}),
    "no class token": ("vit_tiny_patch16_224", SMALL | {"class_token": False, "global_pool": "avg"}),
    "swin": ("swin_micro", {"embed_dim": 12, "depths": (1, 1, 1), "num_heads": (2, 2, 2)}),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_the_lists_are_the_means_over_images(name):
    encoder = built(ENCODERS[name][0], **ENCODERS[name][1]).train()
    images = rl.scenes(range(40)).images
    found = measure_diversity(encoder, images, MEAN, STD)
    assert encoder.training  # as before
    x = (images.float() / 255 - 0.3) / 0.2
    with torch.no_grad():
        taps = encoder.eval()(x).taps
    assert found["patch_cosine"] == pytest.approx([patch_cosine(y).mean().item() for y in taps], abs=1e-5)
    assert found["fourier"] == pytest.approx([log_amplitude(y).mean().item() for y in taps], abs=1e-4)
    tokens = [y.flatten(2).transpose(1, 2).flatten(0, 1) for y in taps]
    for rank, all_of_them in zip(found["effective_rank"], tokens, strict=True):
        assert rank == pytest.approx(effective_rank(all_of_them[: 40 * 64]), rel=0.1)
    if name == "swin":
        assert found["attention_nmi"] is None
    else:
        assert len(found["attention_nmi"]) == 4 and all(0 <= value <= 1 for value in found["attention_nmi"])


def test_nmi_reads_the_weights_of_each_block():
    """A block whose queries and keys are zero attends uniformly: NMI 0; the others do not."""
    encoder = built("vit_micro", **TINY)
    with torch.no_grad():
        for block in encoder.backbone.blocks:
            block.attn.qkv.weight *= 20
        encoder.backbone.blocks[2].attn.qkv.weight[: 2 * encoder.width] = 0
        encoder.backbone.blocks[2].attn.qkv.bias[: 2 * encoder.width] = 0
    nmi = measure_diversity(encoder, rl.scenes(range(8)).images, MEAN, STD)["attention_nmi"]
    assert nmi[2] < 1e-3 < min(nmi[0], nmi[1], nmi[3])


def test_spread():
    assert spread(5, 10) == [0, 1, 2, 3, 4] and spread(10, 4) == [0, 2, 5, 7] and spread(0, 4) == []


def test_evaluate_writes_it_into_the_summary_and_shows_a_table(tiny_runs, tmp_path, monkeypatch, capsys):
    import shutil

    monkeypatch.setattr(sources, "SCENES_VAL", 40)
    run = tmp_path / "run"
    shutil.copytree(tiny_runs["multi-0"], run)
    before = json.loads((run / "summary.json").read_text())
    assert main(["evaluate", str(run), "--protocol", "diversity"]) == 0
    shown = capsys.readouterr().out
    summary = json.loads((run / "summary.json").read_text())
    assert {**summary, **before}.keys() == summary.keys() and "knn_top1" not in summary
    for suffix in ("", "_untrained"):
        lists = summary[f"diversity{suffix}"]
        assert summary[f"patch_cosine{suffix}"] == lists["patch_cosine"][-1]
        assert f"{lists['patch_cosine'][0]:.3f}" in shown and f"{lists['attention_nmi'][0]:.3f}" in shown
    held = rl.load_run(run)
    images = rl.scenes(range(1_000_000, 1_000_040)).images
    expected = measure_diversity(held.evaluated, images, held.mean, held.std)["patch_cosine"]
    assert summary["diversity"]["patch_cosine"] == pytest.approx(expected)


def test_every_logged_step_has_the_patch_cosine_of_view_1(tiny_runs):
    for name in ("multi-0", "none-0"):
        lines = rl.load_run(tiny_runs[name]).metrics
        assert lines and all(-1 <= line["patch_cosine"] <= 1 for line in lines)


@pytest.mark.parametrize("reconstruction", ["multi", "none", "detached"])
def test_the_logged_cosine_is_that_of_the_online_encoder_before_the_step(reconstruction):
    from repre_lite.training.loop import Training

    small = {"decoder_width": 8, "method": {"hidden": 16, "out": 8}, "train_images": 32, "batch_size": 8}
    recipe = rl.recipe("scenes", steps=2, reconstruction=reconstruction, encoder=TINY, lr=0.0, **small)
    training = Training(recipe)
    training.model.train()
    losses, views = training.advance()
    step = training.report(losses, views, 1.0)
    online: TappedEncoder = training.model.framework.online
    with torch.no_grad():
        last = online(training.model.normalise(views[0])).taps[-1]
    assert step.record()["patch_cosine"] == pytest.approx(patch_cosine(last).mean().item(), abs=1e-5)
