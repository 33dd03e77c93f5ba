"""What the visuals are shown: an untrained run on a ViT and on a Swin, and six images; and how widgets are tested."""

import base64
import html
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session", params=["vit_micro", "swin_micro"])
def run(request):
    """Encoder and decoder as they are initialised, at 32 pixels."""
    import repre_lite as rl
    from repre_lite.repre import RePre
    from repre_lite.runs import Run

    recipe = rl.recipe("scenes", arch=request.param, decoder_width=8, method={"hidden": 16, "out": 8})
    return Run(Path("nowhere"), recipe, RePre.from_recipe(recipe).eval(), [], {})


@pytest.fixture(scope="session")
def views():
    return torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="session")
def taps(run, views):
    with torch.no_grad():
        return run.encoder(run.model.normalise(views)).taps


@pytest.fixture(scope="session")
def encoder_of():
    """`encoder_of(arch, size)`: an encoder whose attention is far from uniform."""
    import repre_lite as rl

    def build(arch, size=32):
        torch.manual_seed(0)
        encoder = rl.build_encoder(arch, image_size=size)
        for parameter in encoder.parameters():
            parameter.data.add_(0.05 * torch.randn_like(parameter))
        return encoder.eval()

    return build


@pytest.fixture(scope="session", params=[("vit_micro", 32), ("swin_micro", 32), ("swin_micro", 40)], ids=str)
def case(request, encoder_of):
    """An encoder, a normalised image and the attention of its blocks; at 40 pixels a Swin's windows are padded."""
    from repre_lite.visualize.kit.capture import capture

    arch, size = request.param
    encoder = encoder_of(arch, size)
    image = torch.randn(3, size, size, generator=torch.Generator().manual_seed(1))
    return encoder, image, capture(encoder.backbone, image)[0]


def _positions(control):
    """Every position of a control, or both ends and the middle of a continuous one."""
    import ipywidgets

    if isinstance(control, ipywidgets.IntSlider):
        return list(range(control.min, control.max + 1, control.step))
    if isinstance(control, ipywidgets.FloatLogSlider):
        return [control.base**e for e in (control.min, (control.min + control.max) / 2, control.max)]
    if isinstance(control, ipywidgets.SelectionSlider):
        return list(control.options)
    assert isinstance(control, ipywidgets.ToggleButton)
    return [True, False]


def _shown(box):
    """The PNG in the widget's data address."""
    return base64.b64decode(box.image.value.split("base64,")[1].split('"')[0])


@pytest.fixture(scope="session")
def positions():
    return _positions


@pytest.fixture(scope="session")
def shown():
    return _shown


@pytest.fixture(scope="session")
def move_all():
    """`move_all(box, expected)`: move every control through its range; `expected(values)` is the sentence for them."""

    def move(box, expected):
        start = {name: control.value for name, control in box.controls.items()}
        first = _shown(box)
        for name, control in box.controls.items():
            assert control.description
            seen = set()
            for value in _positions(control):
                control.value = value
                image = _shown(box)
                assert image.startswith(b"\x89PNG")
                assert html.unescape(box.sentence.value) == expected(start | {name: value})
                assert box.sentence.value == html.escape(html.unescape(box.sentence.value))
                seen.add(image)
            assert len(seen) == len(_positions(control)), f"{name} does not change the image"
            control.value = start[name]
            assert _shown(box) == first  # bytes differ only if the figure does

    return move
