"""Weights as small integers: rounding within half a step, files that restore them, other tensors untouched."""

import torch

from repre_lite.runtime.files import load_tensors, save_tensors
from repre_lite.runtime.quantise import restore, shrink


def test_a_hand_computed_row():
    small = shrink({"w": torch.tensor([[1.27, -0.5], [0.0, 0.0]])})
    assert small["w"].dtype == torch.int8
    assert small["w"].tolist() == [[127, -50], [0, 0]]
    assert torch.allclose(restore(small)["w"], torch.tensor([[1.27, -0.5], [0.0, 0.0]]), atol=1e-6)


def test_rounding_is_at_most_half_a_step_in_every_row():
    weight = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * torch.logspace(-3, 2, 5).view(
        5, 1, 1, 1
    )
    for levels in (127, 31):
        small = shrink({"w": weight}, levels)
        assert int(small["w"].abs().max()) == levels
        step = small["w|scale"].view(5, 1, 1, 1)
        assert ((restore(small)["w"] - weight).abs() <= 0.5001 * step).all()


def test_a_file_holds_the_same_names_and_dtypes_as_before(tmp_path):
    tensors = {"w": torch.randn(4, 4), "b": torch.randn(4), "count": torch.tensor(3)}
    save_tensors(tmp_path / "x.safetensors", shrink(tensors), {"key": "value"})
    found, metadata = load_tensors(tmp_path / "x.safetensors")
    assert metadata == {"key": "value"}
    assert {name: t.dtype for name, t in found.items()} == {name: t.dtype for name, t in tensors.items()}
    assert torch.allclose(found["b"], tensors["b"], atol=2e-3)
    assert int(found["count"]) == 3
