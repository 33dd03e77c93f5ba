"""What can be read from a view without an encoder, against cases built by hand."""

import pytest
import torch

import repre_lite as rl
from repre_lite.course import probes


def test_a_histogram_counts_colours():
    view = torch.zeros(2, 3, 2, 2)
    view[1, 0] = 1.0  # red
    view[1, :, 0, 0] = torch.tensor([0.3, 0.6, 0.8])  # levels 1, 2, 3 of 4
    found = probes.colour_histogram(view)
    assert found.shape == (2, 64) and torch.equal(found.sum(1), torch.ones(2))
    assert found[0, 0] == 1 and found[1, 3 * 16] == 0.75 and found[1, 16 + 2 * 4 + 3] == 0.25


def test_partners_are_the_nearest():
    one = torch.tensor([[0.0, 0.0], [5.0, 5.0], [9.0, 0.0]])
    assert probes.partners_found(one, one + 0.1) == 1
    assert probes.partners_found(one, one[[0, 2, 1]]) == pytest.approx(1 / 3)


def test_contours_do_not_depend_on_colour_or_brightness():
    view = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(probes.contours(view), probes.contours(1 - 0.5 * view), atol=1e-4)
    assert probes.contours(torch.zeros(1, 3, 32, 32)).abs().max() == 0  # nothing to scale


def test_patch_statistics_by_hand():
    view = torch.zeros(1, 3, 16, 16)
    view[:, 1, :, 8:] = 1.0  # the right half is green
    maps = probes.patch_statistics(view, grid=2).unflatten(1, (8, 2, 2))[0]
    assert maps[1].tolist() == [[0, 1], [0, 1]] and maps[[0, 2]].abs().max() == 0
    assert torch.equal(maps[4], torch.full((2, 2), 0.5))
    across, down = maps[6:]
    assert (
        torch.allclose(across, torch.full((2, 2), 1 / 24)) and down.abs().max() == 0
    )  # one column of 8, one colour of 3


def test_facts_are_those_of_the_scene():
    drawn = rl.scenes(range(20), size=32)
    found = probes.facts(drawn)
    assert {name: values.shape[1] for name, values in found.items()} == {
        "class": 10, "colour": 3, "brightness": 1, "left to right": 1, "top to bottom": 1,
    }  # fmt: skip
    assert torch.equal(found["class"].argmax(1), drawn.labels)
    shape = drawn.images[7][:, drawn.masks[7]].double().mean(1) / 255  # (3,)
    assert torch.allclose((found["colour"] + found["brightness"])[7].double(), shape, atol=1e-6)
    x0, y0, x1, y1 = drawn.boxes[7].tolist()
    assert found["left to right"][7].item() == pytest.approx((x0 + x1) / 64)
    assert found["top to bottom"][7].item() == pytest.approx((y0 + y1) / 64)


def test_the_linear_probe_is_ridge_regression():
    draw = torch.Generator().manual_seed(0)
    x, new = torch.randn(40, 5, generator=draw).double(), torch.randn(7, 5, generator=draw).double()
    weights = torch.randn(5, 2, generator=draw).double()
    exact = probes.predict_linearly(x, x @ weights + 3, new, penalty=1e-9)
    assert torch.allclose(exact, new @ weights + 3, atol=1e-5)
    assert torch.allclose(probes.predict_linearly(x, x @ weights, new, penalty=1e9), (x @ weights).mean(0), atol=1e-4)


def test_how_much_is_readable():
    truth = torch.eye(4)
    assert probes.readable(torch.tensor([[9.0, 0, 0, 0]] * 4), truth) == 0.25
    numbers = torch.tensor([[1.0], [2.0], [3.0]])
    assert probes.readable(numbers, numbers) == 1 and probes.readable(0 * numbers + 2, numbers) == 0


def test_whole_images_give_everything_away_and_tiny_crops_little():
    whole = rl.View(32, scale=(1, 1), ratio=(1, 1), flip=0, jitter_p=0, grey=0, blur=0)
    tiny = rl.View(32, scale=(0.01, 0.02), jitter_p=1, jitter=(0.8, 0.8, 0.8, 0.5))
    for features in (probes.colour_histogram, probes.contours):
        assert probes.shortcut((whole, whole), features, images=40) == 1
        assert probes.shortcut((tiny, tiny), features, images=40) < 0.3
    assert probes.class_left(whole, 200, 100) > 0.25 > probes.class_left(tiny, 200, 100)
