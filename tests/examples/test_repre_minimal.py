"""The example in one file computes what the library computes."""

import copy
import importlib.util
import math
import re
from pathlib import Path

import pytest
import torch
from torch import nn

import repre_lite as rl
from repre_lite.frameworks.base import cosine_to_one

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "repre_minimal.py"
STEPS = 4
TINY = {"embed_dim": 32, "depth": 8, "num_heads": 2}


@pytest.fixture
def example():
    spec = importlib.util.spec_from_file_location("repre_minimal", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def parts(model):
    """The same five networks of either model, in the same order."""
    if hasattr(model, "framework"):
        f = model.framework
        return [
            f.online.backbone,
            f.projector,
            f.predictor,
            f.target_encoder.backbone,
            f.target_projector,
            model.decoder,
        ]
    return [
        model.encoder, model.projector, model.predictor, model.target_encoder, model.target_projector, model.decoder
    ]  # fmt: skip


def paired_parameters(one, other):
    pairs = [
        pair
        for a, b in zip(parts(one), parts(other), strict=True)
        for pair in zip(a.parameters(), b.parameters(), strict=True)
    ]
    assert all(a.shape == b.shape and a.requires_grad == b.requires_grad for a, b in pairs)
    return pairs


@pytest.fixture
def both(example):
    """The example's model and the library's in float64, of equal weights."""
    torch.manual_seed(0)
    encoder = rl.build_encoder("vit_tiny", 32, 4, **TINY)
    encoder.backbone.pos_embed.requires_grad_(False)
    encoder.backbone.patch_embed.requires_grad_(False)
    minimal = example.RePre(copy.deepcopy(encoder.backbone), hidden=32, out=16).double()
    framework = rl.build_framework("moco_v3", encoder, hidden=32, out=16, temperature=0.2, momentum=0.99)
    decoder = rl.ReconstructionDecoder.for_encoder(encoder)
    library = rl.RePre(framework, decoder, mean=(0.5,) * 3, std=(0.25,) * 3).double()
    with torch.no_grad():
        for ours, theirs in paired_parameters(minimal, library):
            theirs.copy_(ours)
    return minimal, library


def optimiser_of(model):
    log_variances = [p for name, p in model.named_parameters() if "log_variances" in name]
    rest = [p for name, p in model.named_parameters() if p.requires_grad and "log_variances" not in name]
    assert len(log_variances) == 1
    return torch.optim.AdamW([{"params": rest}, {"params": log_variances, "lr": 1e-2}], lr=1e-3)


def test_losses_gradients_and_targets_equal_the_librarys(both):
    minimal, library = both
    optimisers = optimiser_of(minimal), optimiser_of(library)
    for step in range(STEPS):
        v1, v2 = torch.rand(2, 6, 3, 32, 32, dtype=torch.float64)
        total, contrastive, l1, _ = minimal(v1, v2)
        losses = library([v1, v2])
        for ours, theirs in ((total, losses.total), (contrastive, losses.contrastive), (l1, losses.reconstruction)):
            torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
        for optimiser, loss in zip(optimisers, (total, losses.total), strict=True):
            optimiser.zero_grad()
            loss.backward()
        for ours, theirs in paired_parameters(minimal, library):
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-7, atol=1e-10)
        s = library.weighting.log_variances
        torch.testing.assert_close(minimal.log_variances.grad, s.grad, rtol=1e-8, atol=1e-10)
        for optimiser in optimisers:
            optimiser.step()
        minimal.update_target((step + 1) / STEPS)
        library.framework.update_target(step, STEPS)
        for ours, theirs in paired_parameters(minimal, library):
            torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)


def test_the_weighting_equals_the_librarys_down_to_its_floor(both):
    minimal, _ = both
    theirs = rl.losses.UncertaintyWeighting().double()
    for losses in ((2.0, 0.3), (1.5, 0.2), (1e-3, 1e-4)):
        ours = minimal.weigh(torch.tensor(losses, dtype=torch.float64))
        torch.testing.assert_close(ours, theirs(*torch.tensor(losses, dtype=torch.float64)))
        for weighting in (minimal, theirs):
            weighting.log_variances.data -= 3


def test_the_positions_are_the_librarys_in_another_order_of_channels(example):
    ours = example.build_vit().pos_embed[0].double()
    theirs = rl.build_encoder("vit_micro", 32, positions="sincos").backbone.pos_embed[0].double()
    assert ours.shape == theirs.shape
    distances = torch.cdist(ours.T, theirs.T)  # (C, C)
    assert distances.min(0).values.max() < 1e-5 and distances.min(1).values.max() < 1e-5


def test_the_decoder_starts_like_the_librarys(example):
    torch.manual_seed(0)
    ours = example.Decoder(96, 4)
    theirs = rl.ReconstructionDecoder([96] * 4, [8] * 4, 32)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        if a.ndim > 1:
            assert float(a.detach().std()) == pytest.approx(float(b.detach().std()), rel=0.1)


def test_the_momentum_is_the_librarys(example):
    model = example.RePre(example.build_vit(), hidden=8, out=8)
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.fill_(1)
    for progress in (0.0, 0.3, 1.0):
        for parameter in model.target_encoder.parameters():
            nn.init.zeros_(parameter)
        model.update_target(progress)
        moved = next(model.target_encoder.parameters()).flatten()[0]
        assert float(moved) == pytest.approx(1 - cosine_to_one(0.99, progress), abs=1e-7)


def test_it_runs_on_shapes_and_on_a_folder(example, photographs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for folder in (None, photographs / "train"):
        example.main(folder, steps=2, batch=8)
        assert (tmp_path / "repre_minimal.png").stat().st_size > 1000
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 2
        for line in lines:
            contrastive, reconstruction = map(float, re.findall(r"loss ([\d.]+)", line))
            assert 0 < contrastive < 2 * 0.8 * math.log(8) and 0 < reconstruction < 1


def test_it_stands_alone():
    source = EXAMPLE.read_text(encoding="utf-8")
    assert "repre_lite" not in source
    assert len([line for line in source.splitlines() if line.strip()]) <= 150
