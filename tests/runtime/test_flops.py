"""Counted operations against sums by hand."""

import torch
from torch import nn
from torch.nn import functional as F

import repre_lite as rl
from repre_lite.runtime.flops import backward, count, parameters


def test_a_matrix_product_and_its_backward():
    with torch.device("meta"):
        layer, x = nn.Linear(5, 7), torch.zeros(3, 5, requires_grad=True)
    assert count(layer, x) == 2 * 3 * 5 * 7
    assert count(lambda: backward(layer(x))) == 3 * 2 * 3 * 5 * 7  # once more for each of input and weight
    assert parameters(layer) == 5 * 7 + 7


def test_a_convolution():
    with torch.device("meta"):
        layer, x = nn.Conv2d(4, 6, 3, padding=1), torch.zeros(2, 4, 8, 8)
    assert count(layer, x) == 2 * 2 * 8 * 8 * 4 * 6 * 9


def test_attention_is_counted():
    q = torch.zeros(2, 3, 10, 4, device="meta")
    assert count(F.scaled_dot_product_attention, q, q, q) == 2 * (2 * 2 * 3 * 10 * 10 * 4)


def test_an_encoder_of_known_size():
    with torch.device("meta"):
        encoder = rl.build_encoder("vit_micro", image_size=32)
        x = torch.zeros(1, 3, 32, 32)
    tokens, width, depth = 65, 96, 8
    block = 12 * width**2 * tokens + 2 * tokens**2 * width  # multiply-adds: qkv 3, projection 1, MLP 8; attention
    patches = 64 * 3 * 4 * 4 * width
    assert count(encoder, x) == 2 * (depth * block + patches)
