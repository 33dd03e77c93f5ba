"""The cost meter: counted operations against sums by hand, and every control."""

import base64
import html

import pytest

import repre_lite as rl
from repre_lite.runtime import flops
from repre_lite.visualize.kit.drawing import png
from repre_lite.visualize.lessons.cost import Amount, Cost

WIDTHS, LAYERS = (8, 16, None), (1, 2)


@pytest.fixture(scope="module", params=["vit_micro", "swin_micro"])
def cost(request):
    return Cost.compute(request.param, 32, WIDTHS, LAYERS)


@pytest.fixture(scope="module")
def vit():
    return Cost.compute("vit_micro", 32, (8, None), (2,), ("conv",))


def test_a_conv_decoder_by_hand(vit):
    places, c, pixels = 64, 96, 3 * 4 * 4
    multiplied = 3 * (9 * 2 * c * c + 9 * c * c) + c * pixels  # three blocks of two layers, the head
    amount = vit.decoders["conv", 2, None]
    assert amount.parameters == multiplied + 3 * 2 * c + pixels
    assert amount.forward == 2 * places * multiplied
    assert amount.step == 3 * amount.forward  # once more for the weights, once more for what came in
    w = 8
    narrow = 4 * c * w + 3 * (9 * 2 * w * w + 9 * w * w) + w * pixels
    assert vit.decoders["conv", 2, 8].forward == 2 * places * narrow


def test_a_step_of_moco_v3_by_hand(vit):
    width, hidden, out = 96, 4096, 256
    patches = 2 * 64 * 3 * 4 * 4 * width  # frozen: forward only
    projector, predictor = 2 * (width * hidden + hidden * hidden + hidden * out), 2 * 2 * out * hidden
    online = 2 * (3 * (vit.encoder.forward - patches + projector + predictor) + patches)
    target = 2 * (vit.encoder.forward + projector)
    batch = 2  # every query meets every key, twice over; only the query has a gradient
    assert vit.encoder.step == online + target + 2 * 2 * 2 * batch * out


def test_encoder_and_every_decoder_are_those_that_are_built(cost):
    encoder = rl.build_encoder(cost.arch, image_size=32)
    assert cost.encoder.parameters == flops.parameters(encoder)
    assert set(cost.decoders) == {(f, n, w) for f in ("conv", "transformer") for n in LAYERS for w in WIDTHS}
    for (fusion, layers, width), amount in cost.decoders.items():
        decoder = rl.ReconstructionDecoder.for_encoder(encoder, fusion, layers, width)
        assert amount.parameters == flops.parameters(decoder)
        assert amount.forward < amount.step <= 3 * amount.forward
        assert cost.share(fusion, layers, width) == amount.step / cost.encoder.step
    for fusion in ("conv", "transformer"):
        assert cost.share(fusion, 1, 8) < cost.share(fusion, 2, 8) < cost.share(fusion, 2, 16)


def test_figure_marks_the_chosen_decoder_and_the_claim(cost):
    figure = cost.figure("transformer", 1, 16)
    steps, parameters = figure.axes
    (mark,) = [line for line in steps.lines if line.get_markersize() == 12]
    assert (mark.get_xdata()[0], mark.get_ydata()[0]) == (1, pytest.approx(100 * cost.share("transformer", 1, 16)))
    assert [line.get_ydata()[0] for line in steps.lines if line.get_label() == "the paper's average"] == [4]
    assert [text.get_text() for text in parameters.get_xticklabels()] == ["8", "16", "full"]
    assert png(figure).startswith(b"\x89PNG")


def test_sentence_names_decoder_and_numbers():
    amount = Amount(2_000_000, 3_000_000_000, 5_000_000_000)
    decoders = {("conv", 1, 48): amount, ("conv", 2, None): amount}
    cost = Cost("vit_small", 224, Amount(20_000_000, 10_000_000_000, 80_000_000_000), decoders)
    assert cost.describe("conv", 1, 48) == (
        "On vit_small at 224 pixels a conv decoder 48 wide with 1 fusion layer a block has 2.00 million parameters, "
        "10% of the encoder's, and one forward costs 3.00 GFLOP, 30% of the encoder's; it adds 6.2% to a step of "
        "MoCo v3, where the paper reports 4% on average."
    )
    assert "of the encoder's own width with 2 fusion layers" in cost.describe()


def test_every_control_of_the_widget(cost):
    box = cost.widget()
    assert [control.value for control in box.controls.values()] == ["conv", 2, "full"]
    seen = set()
    for name, values in (("fusion", ("transformer", "conv")), ("layers", LAYERS), ("width", ("8", "16", "full"))):
        control = box.controls[name]
        assert control.description == name and sorted(map(str, control.options)) == sorted(map(str, values))
        for value in values:
            control.value = value
            fusion, layers, width = (each.value for each in box.controls.values())
            expected = cost.describe(fusion, layers, None if width == "full" else int(width))
            assert html.unescape(box.sentence.value) == expected
            seen.add(base64.b64decode(box.image.value.split("base64,")[1].split('"')[0]))
    assert len(seen) == 5
