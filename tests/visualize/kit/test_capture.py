"""Attention as it is captured, on random tiny encoders, and what is computed from it, on hand-built cases."""

import numpy as np
import pytest
import torch

import repre_lite as rl
from repre_lite.visualize.kit.capture import BlockAttention, capture, heaviest, mean_distance, rollout


def blocks_of(backbone):
    return [m for m in backbone.modules() if hasattr(m, "attn") and hasattr(m.attn, "attn_drop")]


# -- capture


def test_rows_sum_to_one_and_lie_on_the_grid(case):
    encoder, image, blocks = case
    assert len(blocks) == len(blocks_of(encoder.backbone)) == 8
    for block, module in zip(blocks, blocks_of(encoder.backbone), strict=True):
        assert block.heads == module.attn.num_heads
        assert np.allclose(block.weights.sum(-1), 1, atol=1e-5)
        tokens = block.prefix + block.grid[0] * block.grid[1]
        dense = block.dense()
        assert dense.shape == (block.heads, tokens, tokens)
        if (block.keys >= 0).all():
            assert np.allclose(dense.sum(-1), 1, atol=1e-5)
        else:
            assert (dense.sum(-1) < 1 + 1e-5).all()
    if image.shape[1] == 40:  # padding takes its share
        assert min(block.dense().sum(-1).min() for block in blocks) < 0.9


def test_attention_times_values_is_what_the_module_puts_out(case):
    """From the captured weights on the image's grid, patch by patch, so that windows, shift and padding are checked
    too; what padding sends comes from a patch of zeros. Then the block's own second half gives the block's output."""
    encoder, image, blocks = case
    modules, seen = blocks_of(encoder.backbone), []
    handles = [m.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output))) for m in modules]
    with torch.no_grad():
        encoder.backbone(image[None])
    for handle in handles:
        handle.remove()
    for block, module, (x, output) in zip(blocks, modules, seen, strict=True):
        attention, normed = module.attn, module.norm1(x).flatten(0, -2)  # (P+N, C)
        values = attention.qkv(normed).unflatten(-1, (3, block.heads, -1))[:, 2]  # (P+N, heads, C/heads)
        mixed = torch.einsum("hqk,khd->qhd", torch.from_numpy(block.dense()), values)
        if (block.keys < 0).any():
            empty = attention.qkv(torch.zeros_like(normed[:1])).unflatten(-1, (3, block.heads, -1))[0, 2]
            mixed += torch.from_numpy(1 - block.dense().sum(-1)).T[..., None] * empty
        y = x + attention.proj(mixed.flatten(1)).view_as(x)
        assert torch.allclose(y + module.mlp(module.norm2(y)), output, atol=1e-3 * float(output.abs().max()))
        if block.prefix:  # a ViT's module sees all tokens at once
            assert torch.allclose(attention.proj(mixed.flatten(1)), attention(normed[None])[0], atol=1e-4)


def test_sent_and_received_are_rows_and_columns(case):
    for block in case[2]:
        dense, (h, w), p = block.dense(), block.grid, block.prefix
        for token in (0, p + w + 1, p + h * w - 1):
            assert np.array_equal(block.sent(token), dense[:, token, p:].reshape(-1, h, w))
            assert np.array_equal(block.received(token), dense[:, p:, token].reshape(-1, h, w))


def test_nothing_is_left_behind(case, encoder_of):
    image = case[1]
    encoder = encoder_of("vit_micro" if case[2][0].prefix else "swin_micro", image.shape[1])
    modules = list(encoder.backbone.modules())
    for module in blocks_of(encoder.backbone)[:5]:
        module.attn.fused_attn = True  # a ViT's are already, a Swin's come later
    blocks_of(encoder.backbone)[5].attn.fused_attn = False

    def state():
        return [
            (getattr(m, "fused_attn", None), m.training, len(m._forward_hooks), len(m._forward_pre_hooks))
            for m in modules
        ]

    encoder.backbone.train()
    blocks_of(encoder.backbone)[1].eval()  # a mixture is kept
    before = state()
    capture(encoder.backbone, image)
    assert state() == before
    with pytest.raises(Exception):  # noqa: B017 (whatever timm raises for an image that does not fit)
        capture(encoder.backbone, image[:2])
    assert state() == before
    assert not any(hooks or before_hooks for _, _, hooks, before_hooks in before)


def test_capture_changes_nothing_and_needs_attention(case):
    encoder, image, blocks = case
    with torch.no_grad():
        before = encoder.backbone(image[None])
    again, features = capture(encoder.backbone, image, encoder.tap_indices)
    with torch.no_grad():
        expected = encoder(image[None])
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(features.taps, expected.taps, strict=True))
    assert torch.allclose(features.pooled, expected.pooled, atol=1e-4)
    with torch.no_grad():
        assert torch.equal(encoder.backbone(image[None]), before)
    assert all(np.array_equal(a.weights, b.weights) for a, b in zip(blocks, again, strict=True))
    with pytest.raises(rl.UserError, match="choose another timm ViT or a Swin"):
        capture(torch.nn.Flatten(), image)


def test_norms_are_those_of_the_taps(case):
    encoder, image, blocks = case
    features = rl.encode(encoder.backbone, image[None], tuple(range(len(encoder.backbone.feature_info))))
    last = blocks if len(features.taps) == len(blocks) else [blocks[1], blocks[3], blocks[7]]
    for block, tap in zip(last, features.taps, strict=True):
        assert np.allclose(block.norms, tap[0].norm(dim=0).detach().numpy(), rtol=1e-4)


def test_where_a_block_looks():
    weights = np.full((1, 5, 5), 0.2)
    weights[0, 0] = [0.5, 0.5, 0, 0, 0]
    with_class = BlockAttention(weights, np.arange(5)[None], np.ones((2, 2)), class_token=True)
    assert with_class.overall().tolist() == [[0.5, 0], [0, 0]]
    register = BlockAttention(weights, np.arange(5)[None], np.ones((2, 2)))
    assert np.allclose(register.overall(), 0.2)  # a register is no class token: the mean over patches
    swin = BlockAttention(np.eye(4)[None] * 0 + np.array([0.7, 0.3, 0, 0]), np.arange(4)[None], np.ones((2, 2)))
    assert np.allclose(swin.overall(), [[0.7, 0.3], [0, 0]])


@pytest.mark.parametrize(
    ("name", "prefix", "class_token", "grid"),
    [
        ("vit_tiny_patch16_224", 1, True, (4, 4)),
        ("vit_small_patch16_18x2_224", 1, True, (4, 4)),  # two attentions side by side in a block
        ("vit_pwee_patch16_reg1_gap_256", None, None, None),  # attention and MLP side by side, not a module of its own
        ("vit_medium_patch16_reg4_gap_256", 4, False, (4, 4)),  # registers, no class token
        ("deit_tiny_distilled_patch16_224", 2, True, (4, 4)),
        ("vit_tiny_r_s16_p8_224", 1, True, (2, 2)),  # patches of what a ResNet stem puts out
        ("swin_tiny_patch4_window7_224", 0, False, (16, 16)),
        ("swinv2_tiny_window8_256", 0, False, (16, 16)),
    ],
)
def test_any_timm_vit_or_swin_or_one_clear_line(name, prefix, class_token, grid):
    import timm

    backbone = timm.create_model(name, num_classes=0, img_size=64).eval()
    if grid is None:
        with pytest.raises(rl.UserError, match="choose another timm ViT or a Swin"):
            capture(backbone, torch.rand(3, 64, 64))
        return
    blocks, _ = capture(backbone, torch.rand(3, 64, 64))
    assert (blocks[0].prefix, blocks[0].class_token, blocks[0].grid) == (prefix, class_token, grid)
    assert all(block.overall().shape == block.grid for block in blocks)


# -- what is computed from it


def uniform(h, w, prefix=0):
    tokens = prefix + h * w
    return BlockAttention(np.full((1, tokens, tokens), 1 / tokens), np.arange(tokens)[None], np.ones((h, w)))


def test_rollout_of_identity_is_identity():
    assert np.allclose(rollout(np.stack([np.eye(5)] * 4)), np.eye(5))
    assert np.allclose(rollout(np.stack([np.eye(5)] * 4), 0.8), np.eye(5))


def test_rollout_by_hand():
    swap = np.array([[[0.0, 1.0], [1.0, 0.0]], [[0.2, 0.8], [0.6, 0.4]]])
    after = rollout(swap)
    assert np.allclose(after[0], 0.5)  # half residual, half swapped
    assert np.allclose(after.sum(-1), 1)
    second = rollout(swap[1:], 0.5)[0]  # [[0, 0.8], [0.6, 0]] are left, and 1 for the residual
    assert np.allclose(second, [[1 / 1.8, 0.8 / 1.8], [0.6 / 1.6, 1 / 1.6]])
    assert np.allclose(rollout(swap)[1], [[1.2 / 2, 0.8 / 2], [0.6 / 2, 1.4 / 2]] @ after[0])


def test_mean_distance_by_hand():
    assert mean_distance(uniform(1, 2), 8.0) == pytest.approx([4.0])  # half of each looks at itself
    assert mean_distance(uniform(1, 2, prefix=1), 8.0) == pytest.approx([4.0])  # the class token does not count
    corners = np.array([[0, 1, 1, 2**0.5]])  # from a corner of 2 x 2
    assert mean_distance(uniform(2, 2), 4.0) == pytest.approx([4 * corners.mean()])


def test_mean_distance_is_that_of_the_dense_map(case):
    for block in case[2]:
        h, w = block.grid
        at = np.stack(np.meshgrid(np.arange(h), np.arange(w), indexing="ij"), -1).reshape(-1, 2)
        far = np.linalg.norm(at[:, None] - at[None], axis=-1)
        dense = block.dense()[:, block.prefix :, block.prefix :].astype(np.float64)
        assert np.allclose(mean_distance(block, 2.0), 2 * (dense * far).sum((1, 2)) / dense.sum((1, 2)), rtol=1e-5)


@pytest.mark.parametrize("mass", [0.0, 0.1, 0.5, 0.6, 0.95, 1.0])
def test_the_mask_keeps_the_mass_and_no_more_than_it_needs(mass):
    weights = np.random.default_rng(0).random((6, 7)) ** 4
    mask = heaviest(weights, mass)
    kept = weights[mask].sum()
    assert kept >= mass * weights.sum() - 1e-9
    assert mask.sum() == 1 or kept - weights[mask].min() < mass * weights.sum()
    assert weights[mask].min() >= weights[~mask].max(initial=0)
