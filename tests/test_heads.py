"""The heads: their layers in order, and DINO's unit vectors and prototypes."""

import pytest
import torch
from torch import nn

from repre_lite.heads import PrototypeHead, mlp


def kinds(head):
    return [type(module).__name__ for module in head]


def test_an_mlp_is_linear_norm_relu_and_a_last_linear():
    head = mlp(8, 16, 4, layers=3)
    assert kinds(head) == ["Linear", "BatchNorm1d", "ReLU"] * 2 + ["Linear"]
    assert [tuple(m.weight.shape) for m in head if isinstance(m, nn.Linear)] == [(16, 8), (16, 16), (4, 16)]
    assert kinds(mlp(8, 16, 4, layers=1)) == ["Linear"]
    assert kinds(mlp(8, 16, 4, layers=2, norm=False)) == ["Linear", "ReLU", "Linear"]


@pytest.mark.parametrize(
    ("last_norm", "scale", "shift"), [("affine", True, True), ("plain", False, False), ("unbiased", True, False)]
)
def test_the_last_norm(last_norm, scale, shift):
    norm = mlp(8, 16, 4, layers=2, bias=False, last_norm=last_norm)[-1]
    assert (norm.weight is not None) == scale
    assert (norm.bias is not None and norm.bias.requires_grad) == shift


def test_biases():
    def biases(**more):
        return [m.bias is not None for m in mlp(8, 16, 4, layers=2, **more) if isinstance(m, nn.Linear)]

    assert biases() == [True, True]
    assert biases(bias=False) == [False, False]
    assert biases(last_bias=False) == [True, False]


def test_prototypes_score_cosines():
    head = PrototypeHead(8, 16, 4, prototypes=5)
    x = torch.randn(3, 8)
    z = head.project(x)
    assert torch.allclose(z.norm(dim=1), torch.ones(3))
    expected = torch.stack([nn.functional.cosine_similarity(z, direction[None]) for direction in head.directions], 1)
    assert torch.allclose(head(x), expected, atol=1e-6)
    assert not head.gains.requires_grad
    assert PrototypeHead(8, 16, 4, prototypes=5, unit=False).gains.requires_grad


def test_batch_norm_of_prototypes_is_where_the_published_code_puts_it():
    """facebookresearch/dino, vision_transformer.py, DINOHead with use_bn: linear, batch norm, GELU, twice; then linear."""
    torch.manual_seed(0)
    head = PrototypeHead(8, 16, 4, prototypes=5, norm=True).double()
    kinds = [type(module).__name__ for module in head.mlp]
    assert kinds == ["Linear", "BatchNorm1d", "GELU", "Linear", "BatchNorm1d", "GELU", "Linear"]
    x = torch.randn(6, 8).double()
    first, second, last = (head.mlp[i] for i in (0, 3, 6))
    y = x
    for linear in (first, second):
        y = y @ linear.weight.T + linear.bias
        y = nn.functional.gelu((y - y.mean(0)) / (y.var(0, unbiased=False) + 1e-5).sqrt())
    y = y @ last.weight.T + last.bias
    assert torch.allclose(head.project(x), y / y.norm(dim=1, keepdim=True), atol=1e-12)
    assert not any("Norm" in type(module).__name__ for module in PrototypeHead(8, 16, 4, prototypes=5).mlp)
