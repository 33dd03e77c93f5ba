"""Views: operation by operation against torchvision with the same parameters, and in distribution against its own draws."""

import itertools

import pytest
import torch
import torchvision.transforms as T
import torchvision.transforms.v2.functional as TF

from repre_lite.data.jitter import grey, jitter, turn_hue
from repre_lite.data.resample import blur_matrix, both_sides, sample_boxes
from repre_lite.data.views import View, Views, apply, sample
from repre_lite.frameworks import framework_class
from repre_lite.runtime.randomness import uniform

ROWS = torch.arange(64)


def images(height, width, count=64):
    # smooth colours, so that interpolation matters, plus noise
    noise = torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(1))
    return (noise * 255).to(torch.uint8)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("height", "width", "size"), [(32, 32, 32), (40, 48, 32), (64, 50, 24), (90, 120, 48), (20, 20, 40)]
)
def test_crop_resize_flip_as_torchvision(height, width, size, interpolation):
    view = View(size, jitter_p=0, grey=0, blur=0, interpolation=interpolation)
    source = images(height, width, 24)
    drawn = sample(view, 0, 0, torch.arange(24), 0, height, width, torch.float32)
    ours = apply(view, source, drawn)
    mode = getattr(TF.InterpolationMode, interpolation.upper())
    for i, box in enumerate(drawn.boxes.tolist()):
        expected = TF.resized_crop(source[i].float() / 255, *box, [size, size], interpolation=mode, antialias=True)
        expected = expected.clamp(0, 1)
        expected = TF.horizontal_flip(expected) if drawn.flips[i] else expected
        assert torch.allclose(ours[i], expected, atol=3e-5)


def test_jitter_in_all_24_orders_as_torchvision():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(24, 3, 16, 16, generator=generator)
    order = torch.tensor(list(itertools.permutations(range(4))))
    factors = 1 + (torch.rand(24, 3, generator=generator) - 0.5) * 1.6
    shift = torch.rand(24, generator=generator) * 0.2 - 0.1
    ours = jitter(x, factors, shift, order)
    operations = (TF.adjust_brightness, TF.adjust_contrast, TF.adjust_saturation, TF.adjust_hue)
    for i in range(24):
        expected = x[i]
        for operation in order[i].tolist():
            expected = operations[operation](expected, [*factors[i].tolist(), shift[i].item()][operation])
        assert torch.allclose(ours[i], expected, atol=1e-4)


@pytest.mark.parametrize("turn", [-0.5, -0.1, 0.0, 0.03, 0.5])
def test_hue_and_grey_as_torchvision(turn):
    x = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    x[0] = 0.5  # a grey picture has no hue to turn
    assert torch.allclose(turn_hue(x, torch.full((4,), turn)), TF.adjust_hue(x, turn), atol=1e-5)
    assert torch.allclose(grey(x), TF.rgb_to_grayscale(x), atol=1e-6)


@pytest.mark.parametrize(("size", "radius"), [(32, 8), (96, 8), (6, 5)])
def test_blur_as_torchvision(size, radius):
    x = torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(4))
    sigmas = torch.tensor([0.3, 2.0, 0.0])
    matrix = blur_matrix(sigmas, size, widest=2.0)
    ours = both_sides(matrix, x, matrix)
    for i, sigma in enumerate([0.3, 2.0]):
        assert torch.allclose(ours[i], TF.gaussian_blur(x[i], [2 * radius + 1] * 2, [sigma] * 2), atol=1e-5)
    assert torch.equal(ours[2], x[2])


def test_solarise_and_greyscale_as_torchvision():
    plain = View(16, jitter_p=0, grey=0, blur=0, scale=(1, 1), flip=0)
    view = View(16, jitter_p=0, grey=1, blur=0, solarise=1, scale=(1, 1), flip=0)
    source = images(16, 16, 4)
    before, after = (
        apply(v, source, sample(v, 0, 0, torch.arange(4), 0, 16, 16, torch.float32)) for v in (plain, view)
    )
    expected = TF.solarize(TF.rgb_to_grayscale(before, num_output_channels=3), 0.5)
    assert torch.allclose(after, expected, atol=1e-6)


def smirnov(a, b):
    """The two-sample Kolmogorov-Smirnov distance, in units of its 1 % critical value."""
    together = torch.cat([a, b]).sort().values
    gaps = torch.searchsorted(a.sort().values, together, right=True) / len(a)
    gaps = gaps - torch.searchsorted(b.sort().values, together, right=True) / len(b)
    return (gaps.abs().max() / (1.63 * (1 / len(a) + 1 / len(b)) ** 0.5)).item()


@pytest.mark.parametrize(("height", "width"), [(32, 32), (48, 64)])
def test_boxes_follow_torchvisions_law(height, width):
    count = 4000
    view = View(32, scale=(0.2, 1.0))
    u = uniform(5, 0, torch.arange(count), 0, 22)
    ours = sample_boxes(u[:, :10], u[:, 10:20], u[:, 20:], view, height, width).double()
    torch.manual_seed(0)
    picture = torch.zeros(3, height, width)
    theirs = torch.tensor(
        [T.RandomResizedCrop.get_params(picture, [0.2, 1.0], [3 / 4, 4 / 3]) for _ in range(count)]
    ).double()
    for measure in (
        lambda b: b[:, 2] * b[:, 3],
        lambda b: b[:, 3] / b[:, 2],
        lambda b: b[:, 0] + b[:, 2] / 2,
        lambda b: b[:, 1],
    ):
        assert smirnov(measure(ours), measure(theirs)) < 1
    assert (ours[:, 0] + ours[:, 2] <= height).all() and (ours[:, 1] + ours[:, 3] <= width).all()


def test_a_picture_no_crop_fits_gets_the_central_one():
    box = sample_boxes(
        torch.rand(3, 10), torch.rand(3, 10), torch.rand(3, 2), View(8, scale=(0.9, 1.0)), height=10, width=100
    )
    assert (box[:, 2] == 10).all() and (box[:, 3] == 13).all() and (box[:, 1] == 43).all()


def test_all_jitter_orders_are_equally_likely_and_factors_in_range():
    drawn = sample(View(8), 0, 0, torch.arange(24_000), 0, 8, 8, torch.float32)
    counts = (drawn.order * torch.tensor([64, 16, 4, 1])).sum(1).unique(return_counts=True)[1].double()
    assert len(counts) == 24 and ((counts - 1000) ** 2 / 1000).sum() < 41.6  # chi2(23) at 1 %
    jittered = (drawn.factors != 1).any(1)
    assert abs(jittered.float().mean() - 0.8) < 0.01 and abs(drawn.greys.float().mean() - 0.2) < 0.01
    acting = drawn.factors[jittered]
    for column, strength in enumerate((0.4, 0.4, 0.2)):
        even = torch.linspace(1 - strength, 1 + strength, 20_000)
        assert smirnov(acting[:, column], even) < 1
    assert drawn.shift.abs().max() <= 0.1 and abs(drawn.flips.float().mean() - 0.5) < 0.01


def test_the_whole_pipeline_follows_torchvisions_law():
    """Colour and detail of the views of one picture, ours and torchvision's own transforms, 1,500 each."""
    count = 1500
    ramp = torch.linspace(0, 255, 40)
    picture = torch.stack([ramp.expand(40, 40), ramp[:, None].expand(40, 40), 255 - ramp.expand(40, 40)]).to(
        torch.uint8
    )
    view = View(24, scale=(0.2, 1), blur=0.5, solarise=0.2, interpolation="bilinear")
    ours = Views((view,), seed=1)(picture.expand(count, -1, -1, -1), 0, torch.arange(count))[0]
    torch.manual_seed(0)
    chain = T.Compose([
        T.RandomResizedCrop(24, (0.2, 1)), T.RandomHorizontalFlip(), T.RandomApply([T.ColorJitter(0.4, 0.4, 0.2, 0.1)], 0.8),
        T.RandomGrayscale(0.2), T.RandomApply([T.GaussianBlur(17, (0.1, 2))], 0.5), T.RandomSolarize(0.5, 0.2),
    ])  # fmt: skip
    theirs = torch.stack([chain(picture.float() / 255) for _ in range(count)])
    for measure in (
        lambda x: x.mean((1, 2, 3)),
        lambda x: x.std((1, 2, 3)),
        lambda x: (x[:, 0] - x[:, 2]).mean((1, 2)),
        lambda x: x.diff(dim=3).abs().mean((1, 2, 3)),
        lambda x: (x[..., :12] - x[..., 12:]).mean((1, 2, 3)),
    ):
        assert smirnov(measure(ours), measure(theirs)) < 1


@pytest.mark.parametrize("framework", ["simclr", "byol", "simsiam", "moco_v2", "moco_v3", "moby", "dino", "none"])
def test_views_do_not_depend_on_the_company_they_are_made_in(framework):
    source = images(32, 32, 40)
    views = Views(framework_class(framework).views(32, 8), seed=3)
    whole = views(source, 7, torch.arange(40), dtype=torch.float64)
    half = views(source[20:], 7, torch.arange(20, 40), dtype=torch.float64)
    again = views(source, 8, torch.arange(40), dtype=torch.float64)
    for a, b, c in zip(whole, half, again, strict=True):
        assert torch.allclose(a[20:], b, atol=1e-12) and not torch.allclose(a, c)
        assert a.min() >= 0 and a.max() <= 1
    if len(whole) > 1:
        assert whole[0].shape != whole[1].shape or not torch.allclose(whole[0], whole[1])


def test_no_branch_depends_on_the_data():
    """The same graph for every batch: tracing with symbolic tensors would fail on any host read."""
    from torch.fx.experimental.proxy_tensor import make_fx

    views = Views((View(16, blur=0.5, solarise=0.5),), seed=0)
    traced = make_fx(lambda p, r: views(p, 3, r)[0], tracing_mode="fake")(images(20, 20, 8), torch.arange(8))
    other = (images(20, 20, 8).flip(0), torch.arange(8, 16))
    assert torch.allclose(traced(*other), views(other[0], 3, other[1])[0], atol=1e-6)


@pytest.mark.parametrize(
    ("size", "patch", "local"), [(224, 16, 96), (224, 14, 112), (64, 16, 32), (32, 4, 16), (128, 16, 48)]
)
def test_local_crops_are_whole_patches(size, patch, local):
    assert {view.size for view in framework_class("dino").views(size, patch)[2:]} == {local}
    assert local % patch == 0
