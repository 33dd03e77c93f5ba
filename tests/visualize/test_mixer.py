"""The tap mixer: what its states draw, and that every control and the page show them."""

import base64
import copy
import html
import itertools
import json
import re

import numpy as np
import pytest
import torch

import repre_lite as rl
from repre_lite.visualize.kit.drawing import png
from repre_lite.visualize.mixer import CHOICES, TapMixer


@pytest.fixture(scope="module")
def names(run):
    return [f"tap <{index}>" for index in run.encoder.tap_indices]


@pytest.fixture(scope="module")
def mixer(run, views, taps, names):
    return TapMixer.compute(run.decoder, taps, views[0], names)


def test_all_taps_on_is_the_plain_reconstruction(run, mixer, views, taps):
    plain = run.decoder([tap[:1] for tap in taps])[0].detach()
    assert np.array_equal(mixer.mix(), plain.permute(1, 2, 0).numpy())
    assert np.array_equal(mixer.mix([True] * len(taps), [0] * len(taps)), mixer.mix())
    assert mixer.l1() == pytest.approx((plain - views[0]).abs().mean().item(), abs=1e-6)
    assert np.allclose(mixer.mix(), run.reconstruct(views)[0].permute(1, 2, 0).numpy(), atol=1e-5)


def test_a_half_format_is_mixed_too(run, mixer, views, taps):
    half = TapMixer.compute(
        copy.deepcopy(run.decoder).bfloat16(), [tap.bfloat16() for tap in taps], views[0].bfloat16()
    )
    assert half.figure() is not None and half.l1() == pytest.approx(mixer.l1(), abs=0.01)


def test_knocking_out_changes_the_image_and_is_the_mean_of_the_data_set(run, mixer, taps):
    for i in range(len(taps)):
        weights = [float(j != i) for j in range(len(taps))]
        replaced = [tap[:1] for tap in taps]
        replaced[i] = taps[i].mean((0, 2, 3), keepdim=True).expand_as(replaced[i])
        with torch.no_grad():
            expected = run.decoder(replaced)[0].permute(1, 2, 0).numpy()
        assert np.allclose(mixer.mix(weights), expected, atol=1e-6)
        assert not np.allclose(mixer.mix(weights), mixer.mix(), atol=1e-4)


def test_a_tap_that_is_out_no_longer_matters(run, views, taps):
    other = [taps[0].flip(-1), *taps[1:]]  # another first tap with the same mean
    one, two = (TapMixer.compute(run.decoder, each, views[0]) for each in (taps, other))
    for weights in itertools.product((0, 1), repeat=len(taps)):
        assert np.allclose(one.mix(weights), two.mix(weights), atol=1e-5) == (weights[0] == 0)


def test_swapping_with_itself_changes_nothing_and_with_another_does(run, mixer, views, taps):
    twice = [torch.cat([tap[:1], tap[:1], tap[2:]]) for tap in taps]  # image 1 is image 0 again
    same = TapMixer.compute(run.decoder, twice, views[0])
    for i in range(len(taps)):
        sources = [int(j == i) for j in range(len(taps))]
        assert np.array_equal(same.mix(sources=sources), same.mix())
        assert not np.allclose(mixer.mix(sources=sources), mixer.mix(), atol=1e-4)
    with torch.no_grad():
        other = run.decoder([tap[3:4] for tap in taps])[0].permute(1, 2, 0).numpy()
    assert np.array_equal(mixer.mix(sources=[3] * len(taps)), other)


def test_a_weight_leads_from_the_mean_to_the_tap(mixer, taps):
    ends = [mixer.mix([weight] * len(taps)) for weight in (0, 0.01, 0.5, 0.99, 1)]
    steps = [np.abs(ends[i + 1] - ends[i]).mean() for i in range(4)]
    assert 0 < steps[0] < steps[1] and 0 < steps[3] < steps[2]


def test_a_decoder_of_the_deepest_tap_has_one_control(run, views, taps, names):
    single = rl.ReconstructionDecoder.for_encoder(run.encoder, width=8, mode="single")
    mixer = TapMixer.compute(single, taps, views[0], names)
    assert mixer.names == (names[-1],) and set(mixer.widget().controls) == {"tap0", "weight0", "other"}
    with torch.no_grad():
        assert np.allclose(mixer.mix(), single(taps)[0].permute(1, 2, 0).numpy(), atol=1e-5)


def test_figure_names_every_state_and_its_error(mixer):
    figure = mixer.figure()
    shown = {axis.get_title(): axis.get_xlabel() for axis in figure.axes}
    assert len(shown) == 3 * (len(mixer.names) + 1)
    for i, name in enumerate(mixer.names):
        this = [float(j == i) for j in range(len(mixer.names))]
        assert shown[f"only {name}"] == f"{mixer.l1(this):.3f}"
        assert shown[f"no {name}"] == f"{mixer.l1([1 - w for w in this]):.3f}"
        assert shown[f"swap {name}"] == f"{mixer.l1(None, [int(w) for w in this]):.3f}"
    assert png(figure).startswith(b"\x89PNG")


def test_sentence_names_what_is_own_swapped_and_out(mixer):
    count = len(mixer.names)
    first, *_, last = mixer.names
    sentence = mixer.describe([0.25, *[1] * (count - 2), 0], [2] + [0] * (count - 1))
    assert f"swapped: {first} at 0.25 of image 2" in sentence and f"knocked out: {last}" in sentence
    assert all(f"reconstructed from {name}" in sentence for name in mixer.names[1:2])
    assert f"{mixer.l1([0.25, *[1] * (count - 2), 0], [2] + [0] * (count - 1)):.3f}" in sentence
    assert "knocked out" not in mixer.describe() and "swapped" not in mixer.describe()
    assert "no tap of its own" in mixer.describe([0] * count)


def drawn(box):
    return base64.b64decode(box.image.value.split("base64,")[1].split('"')[0])


def test_every_control_of_the_widget(mixer):
    box = mixer.widget()
    count = len(mixer.names)
    first = drawn(box)
    for i in range(count):
        switch, weight = box.controls[f"tap{i}"], box.controls[f"weight{i}"]
        assert switch.description == mixer.names[i] and switch.options == CHOICES
        seen = {first}
        for control, value in ((weight, 0.35), (switch, "swap"), (weight, 1.0), (switch, "off"), (switch, "on")):
            control.value = value
            weights = [float(j != i or switch.value != "off") * (weight.value if j == i else 1) for j in range(count)]
            sources = [int(j == i and switch.value == "swap") for j in range(count)]
            assert html.unescape(box.sentence.value) == mixer.describe(weights, sources)
            seen.add(drawn(box))
        assert len(seen) == 5 and drawn(box) == first  # on again
    box.controls["tap0"].value = "swap"
    images = set()
    assert mixer.others == 5
    for value in (5, 1):
        box.controls["other"].value = value
        assert f"of image {value}" in box.sentence.value
        images.add(drawn(box))
    assert len(images) == 2


def test_one_image_alone_has_nothing_to_swap_with(run, views, taps):
    mixer = TapMixer.compute(run.decoder, [tap[:1] for tap in taps], views[0])
    assert mixer.others == 0 and "other" not in mixer.widget().controls
    assert mixer.widget().controls["tap0"].options == ("on", "off")
    assert len(mixer.figure().axes) == 2 * (len(taps) + 1)
    assert content(mixer.to_html())["data"]["choices"] == ["on", "off"]


def content(page):
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', page)[1])


def unpacked(packed):
    return np.frombuffer(base64.b64decode(packed["data"]), packed["dtype"]).reshape(packed["shape"])


def test_the_page_holds_every_combination(mixer):
    page = mixer.to_html(other=2)
    assert set(re.findall('https?://[^"]*', page)) <= {"http://www.w3.org/2000/svg"} and len(page) < 2_000_000
    view = content(page)
    data, count = view["data"], len(mixer.names)
    assert view["kind"] == "mixer" and view["state"] == {f"tap{i}": "on" for i in range(count)}
    images = unpacked(data["reconstructions"])
    assert len(images) == 3**count + 1 and len(data["sentences"]) == 3**count
    for place, choice in enumerate(itertools.product(CHOICES, repeat=count)):
        state = [float(c != "off") for c in choice], [2 * (c == "swap") for c in choice]
        assert data["sentences"][place] == mixer.describe(*state)
        assert np.abs(images[place] - 255 * mixer.mix(*state).clip(0, 1)).max() <= 0.51
    assert np.abs(images[-1] - 255 * mixer.mix(sources=[2] * count).clip(0, 1)).max() <= 0.51
    assert "application/json" in mixer.to_html(script=False) and "mountAll" not in mixer.to_html(script=False)


def test_large_images_are_not_swapped_and_then_halved(mixer, monkeypatch):
    from repre_lite.visualize import mixer as module

    count, size = len(mixer.names), mixer.view.size
    monkeypatch.setattr(module, "PAGE_BYTES", 3**count * size - 1)
    data = content(mixer.to_html())["data"]
    assert data["choices"] == ["on", "off"] and data["reconstructions"]["shape"] == [2**count, 32, 32, 3]
    assert data["other"] == ""
    monkeypatch.setattr(module, "PAGE_BYTES", 2**count * size // 3)
    data = content(mixer.to_html())["data"]
    assert data["reconstructions"]["shape"] == [2**count, 16, 16, 3] and data["view"]["shape"] == [16, 16, 3]
    halved = mixer.view.reshape(16, 2, 16, 2, 3).mean((1, 3))
    assert np.abs(unpacked(data["view"]) - 255 * halved).max() <= 0.51
