"""The linear probe: at the optimum, sure of separable data, independent of scale, and validation images are used once."""

import pytest
import torch
from torch.nn import functional as F

import repre_lite as rl
from repre_lite.evaluation import extract, linear, linear_top1


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Thousands of tiny operations: on a busy machine threads would wait for each other most of the time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def task(noise, n=200, m=100, classes=4, width=8, seed=0):
    draw = torch.Generator().manual_seed(seed)
    centres = torch.eye(width)[:classes]
    labels = torch.randint(classes, (n + m,), generator=draw)
    x = centres[labels] + noise * torch.randn(n + m, width, generator=draw)
    return x[:n], labels[:n], x[n:], labels[n:]


def test_separable_is_one_and_wrong_labels_are_zero():
    x, y, x_val, y_val = task(noise=0.05)
    assert linear_top1(x, y, x_val, y_val)[0] == 1.0
    assert linear_top1(x, y, x_val, (y_val + 1) % 4)[0] == 0.0


def test_beats_chance_on_noisy_features_and_not_on_none():
    x, y, x_val, y_val = task(noise=0.6)
    assert 0.5 < linear_top1(x, y, x_val, y_val)[0] < 1.0
    noise = torch.randn(200, 8, generator=torch.Generator().manual_seed(5))
    assert linear_top1(noise, y, x_val * 0, y_val)[0] < 0.45


def test_deterministic_whatever_the_state_of_the_process():
    x, y, x_val, y_val = task(noise=0.6)
    torch.manual_seed(0)
    first, weight = linear_top1(x, y, x_val, y_val), linear.fit_linear(x, y, 4, 1e-3).weight
    torch.manual_seed(1)
    assert linear_top1(x, y, x_val, y_val) == first
    assert torch.equal(linear.fit_linear(x, y, 4, 1e-3).weight, weight)


def test_scale_and_offset_of_a_feature_do_not_matter():
    x, y, x_val, y_val = (t.double() if t.is_floating_point() else t for t in task(noise=0.6))
    scale = torch.tensor([1e-3, 0.1, 1, 10, 1e3, -1, 5, 0.02], dtype=torch.float64)
    shift = torch.linspace(-5, 5, 8, dtype=torch.float64)
    assert linear_top1(x * scale + shift, y, x_val * scale + shift, y_val) == linear_top1(x, y, x_val, y_val)


def test_a_constant_feature_is_harmless():
    x, y, x_val, y_val = task(noise=0.05)
    assert (
        linear_top1(*(F.pad(t, (0, 1), value=3.0) if t.is_floating_point() else t for t in (x, y, x_val, y_val)))[0]
        == 1
    )


@pytest.mark.parametrize("penalty", [1e-3, 1e-1])
def test_the_fit_is_at_the_optimum(penalty):
    x, y, _, _ = task(noise=0.6)
    x = x.double()
    layer = linear.fit_linear(x, y, 4, penalty)
    loss = F.cross_entropy(layer(x), y) + penalty * layer.weight.square().sum()
    for gradient in torch.autograd.grad(loss, (layer.weight, layer.bias)):
        assert gradient.abs().max() < 1e-4  # at zero weights it is 0.1


def test_the_penalty_is_the_one_best_on_a_held_out_tenth_of_the_training_images(monkeypatch):
    scores = dict(zip(linear.PENALTIES, (0.1, 0.2, 0.9, 0.3, 0.4), strict=True))
    fitted, scored = [], []

    def fit(features, labels, classes, penalty):
        fitted.append(len(labels))
        return penalty

    def top1(penalty, features, labels):
        scored.append(len(labels))
        return scores[penalty]

    monkeypatch.setattr(linear, "fit_linear", fit)
    monkeypatch.setattr(linear, "_top1", top1)
    assert linear_top1(*task(noise=0.6)) == (0.9, linear.PENALTIES[2])
    assert fitted == [180] * 5 + [200] and scored == [20] * 5 + [100]  # validation is looked at once


def test_every_class_is_fitted_and_held_out_when_labels_take_turns(monkeypatch):
    seen = []
    fit = linear.fit_linear
    monkeypatch.setattr(linear, "fit_linear", lambda x, y, *rest: (seen.append(set(y.tolist())), fit(x, y, *rest))[1])
    labels = torch.arange(100) % 10
    x = torch.randn(100, 4, generator=torch.Generator().manual_seed(0))
    linear_top1(x, labels, x, labels)
    assert all(classes == set(range(10)) for classes in seen)


def test_scikit_learn_s_logistic_regression_is_as_accurate():
    """On features of an encoder: the same standardised features, the same penalty, within a point."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    held = rl.scenes(range(600), size=32)
    labels, encoder = held.labels, rl.build_encoder("vit_micro", 32, depth=4)
    x = extract(encoder, held.images, (0.5,) * 3, (0.2,) * 3)
    train, val = x[:400], x[400:]
    accuracy, penalty = linear_top1(train, labels[:400], val, labels[400:])
    mean, std = train.mean(0), train.std(0)
    theirs = linear_model.LogisticRegression(C=1 / (2 * penalty * len(train)), max_iter=2000, tol=1e-8)
    theirs.fit(((train - mean) / std).numpy(), labels[:400].numpy())
    reference = theirs.score(((val - mean) / std).numpy(), labels[400:].numpy())
    assert accuracy == pytest.approx(reference, abs=0.01)
    assert accuracy > 1.5 * float(torch.bincount(labels[400:]).max()) / 200  # well above the majority class


def test_scores_are_made_part_by_part_and_the_optimum_stays(monkeypatch):
    x, y, _, _ = task(noise=0.6)
    whole = linear.fit_linear(x.double(), y, 4, 1e-3)
    seen, cross_entropy = [], F.cross_entropy
    monkeypatch.setattr(linear, "AT_ONCE", 4 * 64)
    monkeypatch.setattr(linear.F, "cross_entropy", lambda scores, *rest: (seen.append(scores.numel()), cross_entropy(scores, *rest))[1])  # fmt: skip
    parts = linear.fit_linear(x.double(), y, 4, 1e-3)
    assert set(seen) == {4 * 64, 4 * 8}  # 200 images
    torch.testing.assert_close(parts.weight, whole.weight, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(parts.bias, whole.bias, rtol=1e-4, atol=1e-5)
