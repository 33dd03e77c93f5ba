"""k-NN against a slow loop in float64; raw pixels as the control."""

import math

import pytest
import torch

from repre_lite.evaluation import at_size, knn_top1, linear_top1, pixel_features
from repre_lite.evaluation.knn import knn_predict
from repre_lite.runtime.errors import UserError


def random_task(n=90, m=70, classes=4, seed=0):
    """Overlapping classes, so that the order and the weights of neighbours decide."""
    draw = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, 6, generator=draw, dtype=torch.float64)
    labels = torch.randint(classes, (n + m,), generator=draw)
    x = centres[labels] + 1.5 * torch.randn(n + m, 6, generator=draw, dtype=torch.float64)
    return x[:n], labels[:n], x[n:], labels[n:]


def loop(train, labels, val, k=20, temperature=0.07, weighted=True):
    """The class each row of `val` is voted into."""
    voted = []
    for row in val.tolist():
        cosines = []
        for other, label in zip(train.tolist(), labels.tolist(), strict=True):
            product = sum(a * b for a, b in zip(row, other, strict=True))
            cosines.append((product / math.hypot(*row) / math.hypot(*other), label))
        votes = {}
        for cosine, label in sorted(cosines, reverse=True)[:k]:
            votes[label] = votes.get(label, 0.0) + (math.exp(cosine / temperature) if weighted else 1.0)
        voted.append(max(votes, key=votes.get))
    return torch.tensor(voted)


@pytest.mark.parametrize("options", [{}, {"k": 1}, {"k": 5, "temperature": 0.5}, {"k": 1000}], ids=str)
def test_every_vote_is_that_of_the_loop(options):
    train, labels, val, truth = random_task()
    voted = loop(train, labels, val, **options)
    assert knn_top1(train, labels, val, voted, **options) == 1.0
    assert knn_top1(train, labels, val, truth, **options) == pytest.approx((voted == truth).double().mean().item())
    assert knn_top1(train.float(), labels, val.float(), voted, **options) == 1.0


def test_votes_are_weighted():
    train, labels, val, _ = random_task()
    weighted, counted = loop(train, labels, val), loop(train, labels, val, weighted=False)
    differ = weighted != counted
    assert differ.any()  # else this test says nothing
    assert knn_top1(train, labels, val[differ], counted[differ]) == 0.0


def test_twenty_neighbours_vote_and_no_more_or_fewer():
    """Class 1 wins by its tenth vote, the 20th nearest; the 21st would turn it over."""
    cosines = [1.0] * 9 + [1 - 2e-4] * 10 + [1 - 3e-4] + [1 - 4e-4] * 5
    labels = torch.tensor([1] * 9 + [0] * 10 + [1] + [0] * 5)
    train = torch.tensor([[c, math.sqrt(1 - c * c)] for c in cosines], dtype=torch.float64)
    val = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    assert [knn_top1(train, labels, val, torch.tensor([1]), **k) for k in ({}, {"k": 19}, {"k": 21})] == [1, 0, 0]


def test_chunks_change_nothing():
    train, labels, val, _ = random_task()
    voted = loop(train, labels, val)
    voted[::3] = (voted[::3] + 1) % 4  # 24 of 70 wrong, spread over the chunks
    for chunk in (1, 7, 69, 70, 1024):
        assert knn_top1(train, labels, val, voted, chunk=chunk) == pytest.approx(46 / 70)


def test_length_and_order_of_features_do_not_matter():
    train, labels, val, truth = random_task()
    expected = knn_top1(train, labels, val, truth)
    lengths = torch.rand(90, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.1
    assert knn_top1(train * lengths, labels, val * 40, truth) == expected
    order = torch.randperm(90, generator=torch.Generator().manual_seed(2))
    assert knn_top1(train[order], labels[order], val, truth) == expected


def test_separable_is_one_and_wrong_labels_are_zero():
    labels = torch.arange(60) % 3
    x = torch.eye(3)[labels] + 0.05 * torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    assert knn_top1(x[:45], labels[:45], x[45:], labels[45:], k=10) == 1.0
    assert knn_top1(x[:45], labels[:45], x[45:], (labels[45:] + 1) % 3, k=10) == 0.0


def test_a_sharp_temperature_does_not_overflow():
    labels = torch.arange(60) % 3
    x = torch.eye(3)[labels] + 2  # cosines of 1 in a class, 0.94 between classes
    assert knn_top1(x, labels, x, labels, k=60, temperature=0.01) == 1.0


def test_pixel_features_are_flat_and_independent_of_brightness():
    images = torch.randint(0, 200, (4, 3, 5, 6), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    features = pixel_features(images)
    assert features.shape == (4, 90) and features.dtype is torch.float32
    assert torch.allclose(features.mean(1), torch.zeros(4), atol=1e-6)
    assert torch.allclose(pixel_features(images + 50), features, atol=1e-6)
    assert (features[0, 1] - features[0, 0]).item() == pytest.approx(
        (images[0, 0, 0, 1].item() - images[0, 0, 0, 0].item()) / 255, abs=1e-6
    )


@pytest.mark.parametrize("k", [1, 20])
def test_every_vote_is_that_of_scikit_learn(k):
    neighbors = pytest.importorskip("sklearn.neighbors")
    train, labels, val, _ = random_task(n=400, m=200)

    theirs = neighbors.KNeighborsClassifier(
        k, weights=lambda distances: math.e ** (-distances / 0.07), algorithm="brute", metric="cosine"
    )  # its distance is one minus the cosine
    theirs.fit(train.numpy(), labels.numpy())
    assert knn_predict(train, labels, val, k).tolist() == theirs.predict(val.numpy()).tolist()


def test_what_would_be_a_number_of_something_else_is_refused():
    train, labels, val, truth = random_task()
    for wrong in ((train, labels[:-1], val, truth), (train[:-1], labels, val, truth), (train, labels, val, truth[:1])):
        for measure in (knn_top1, linear_top1):
            with pytest.raises(UserError, match="give one label per feature"):
                measure(*wrong)
    with pytest.raises(UserError, match="k=0"):
        knn_top1(train, labels, val, truth, k=0)
    with pytest.raises(UserError, match="give uint8, 0 to 255"):  # not black images, if they are in [0, 1] already
        at_size(torch.rand(2, 3, 32, 32), 32)
