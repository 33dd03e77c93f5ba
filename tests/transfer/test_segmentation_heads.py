"""Every head returns logits of its own resolution, and reads the taps that the papers say."""

import pytest
import torch

from repre_lite.transfer.heads import MLA, PUP, Naive, UPerNet, resize

VIT = [torch.randn(2, 12, 4, 5) for _ in range(4)]
PYRAMID = [torch.randn(2, 4 * 2**i, 16 // 2**i, 8 // 2**i) for i in range(3)]


@pytest.mark.parametrize(
    ("head", "grid"),
    [
        (Naive([12] * 4, 5, 8), (4, 5)),
        (PUP([12] * 4, 5, 8, stride=16), (64, 80)),
        (PUP([12] * 4, 5, 8, stride=4), (16, 20)),
        (MLA([12] * 4, 5, 8, stride=16), (16, 20)),
        (MLA([12] * 4, 5, 8, stride=2), (8, 10)),
    ],
    ids=["naive", "pup 16", "pup 4", "mla 16", "mla 2"],
)
def test_heads_on_a_vit(head, grid):
    assert head(VIT).shape == (2, 5, *grid)
    read = [i for i in range(4) if not torch.equal(head(VIT), head([y if i != j else -y for j, y in enumerate(VIT)]))]
    assert read == (list(range(4)) if isinstance(head, MLA) else [3])


def test_an_auxiliary_head_reads_its_tap():
    head = Naive([12] * 4, 5, 8, index=1)
    assert torch.equal(head(VIT), head([-VIT[0], VIT[1], -VIT[2], -VIT[3]]))


def test_upernet_fuses_all_levels_at_the_finest():
    head = UPerNet([4, 8, 16], 5, 8)
    assert head(PYRAMID).shape == (2, 5, 16, 8)
    for i in range(3):
        assert not torch.equal(head(PYRAMID), head([y if i != j else -y for j, y in enumerate(PYRAMID)]))


def test_mla_sums_from_deep_to_shallow():
    """The shallow streams see the deep taps; the deepest sees only itself."""
    head = MLA([12] * 4, 5, 8, stride=4).eval()
    seen = []
    for stream in head.streams:
        stream.register_forward_hook(lambda module, inputs, output: seen.append(output))
    head(VIT)
    first, seen[:] = list(seen), []
    head([-VIT[0], *VIT[1:]])
    assert [torch.equal(a, b) for a, b in zip(first, seen, strict=True)] == [False, True, True, True]


def test_resize_is_bilinear_between_centres():
    x = torch.tensor([[[[0.0, 1.0]]]])
    assert resize(x, (1, 4)).flatten().tolist() == [0, 0.25, 0.75, 1] and resize(x, (1, 2)) is x
