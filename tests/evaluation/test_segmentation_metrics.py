"""Counts of pixels against a matrix counted one by one, masks eroded by hand, and cases with a known answer."""

import math

import numpy as np
import pytest
import torch

from repre_lite.data.masks import IGNORE
from repre_lite.evaluation.segmentation_metrics import (
    SegmentationScore,
    band,
    boundary_counts,
    confusion_matrix,
    iou,
    mean_accuracy,
    miou,
    small_classes,
)


def random_maps(seed, classes=5, shape=(3, 17, 23), ignored=0.1):
    g = torch.Generator().manual_seed(seed)
    truth = torch.randint(0, classes, shape, generator=g)
    truth[torch.rand(shape, generator=g) < ignored] = IGNORE
    return truth, torch.randint(0, classes, shape, generator=g)


def matrix_by_hand(truth, prediction, classes):
    matrix = np.zeros((classes, classes), dtype=np.int64)
    for t, p in zip(truth.flatten().tolist(), prediction.flatten().tolist(), strict=True):
        if t != IGNORE:
            matrix[t, p] += 1
    return matrix


def test_the_matrix_is_that_counted_pixel_by_pixel():
    truth, prediction = random_maps(0)
    matrix = confusion_matrix(truth, prediction, 5)
    assert matrix.numpy().tolist() == matrix_by_hand(truth, prediction, 5).tolist()
    m = matrix.numpy().astype(float)
    ious = [m[k, k] / (m[k].sum() + m[:, k].sum() - m[k, k]) for k in range(5)]
    assert miou(matrix) == pytest.approx(np.mean(ious), abs=1e-12)
    assert mean_accuracy(matrix) == pytest.approx(np.mean([m[k, k] / m[k].sum() for k in range(5)]), abs=1e-12)


def test_scikit_learn_agrees():
    metrics = pytest.importorskip("sklearn.metrics")
    truth, prediction = random_maps(1)
    t, p = truth[truth != IGNORE], prediction[truth != IGNORE]
    matrix = confusion_matrix(truth, prediction, 5)
    assert matrix.tolist() == metrics.confusion_matrix(t, p).tolist()
    assert miou(matrix) == pytest.approx(metrics.jaccard_score(t, p, average="macro"))
    assert mean_accuracy(matrix) == pytest.approx(metrics.balanced_accuracy_score(t, p))


def test_classes_that_never_occur_are_left_out():
    """Class 2 is nowhere; class 3 is predicted only, so its IoU is 0 and it has no accuracy."""
    truth = torch.tensor([[0, 0, 1, 1], [0, 0, 1, IGNORE]])
    prediction = torch.tensor([[0, 0, 1, 3], [0, 1, 1, 3]])
    matrix = confusion_matrix(truth, prediction, 4)
    values = iou(matrix).tolist()
    assert values[0] == 3 / 4 and values[1] == 2 / 4 and math.isnan(values[2]) and values[3] == 0
    assert miou(matrix) == pytest.approx((3 / 4 + 2 / 4 + 0) / 3)
    assert mean_accuracy(matrix) == pytest.approx((3 / 4 + 2 / 3) / 2)
    assert miou(matrix, torch.tensor([False, True, True, False])) == 0.5


def test_nothing_labelled_is_no_number():
    nothing = torch.full((2, 3), IGNORE)
    assert math.isnan(miou(confusion_matrix(nothing, torch.zeros(2, 3, dtype=torch.int64), 3)))


def test_one_matrix_over_the_set_is_not_the_mean_over_images():
    score = SegmentationScore(2)
    for truth, prediction in (([[0, 0, 0, 1]], [[0, 0, 0, 0]]), ([[1, 1]], [[1, 1]])):
        score.add(torch.tensor(truth), torch.tensor(prediction))
    assert score.results()["miou"] == pytest.approx((3 / 4 + 2 / 3) / 2)
    whole, half = SegmentationScore(5), SegmentationScore(5)
    truth, prediction = random_maps(2)
    whole.add(truth, prediction)
    half.add(truth[:1], prediction[:1])
    half.add(truth[1:], prediction[1:])
    assert torch.equal(whole.matrix, half.matrix) and torch.equal(whole.boundary, half.boundary)


def eroded(mask, times):
    """A mask (H, W) eroded `times` times by 3x3, what lies outside of the image counting as not in it."""
    for _ in range(times):
        padded = np.pad(mask, 1)
        mask = np.min(
            [padded[i : i + mask.shape[0], j : j + mask.shape[1]] for i in range(3) for j in range(3)], axis=0
        )
    return mask


@pytest.mark.parametrize("width", [1, 2, 4])
def test_the_band_is_each_mask_without_its_erosion(width):
    g = torch.Generator().manual_seed(3)
    labels = torch.randint(0, 3, (2, 5, 6), generator=g).repeat_interleave(7, 1).repeat_interleave(6, 2)  # blocks
    for found, one in zip(band(labels, width), labels.numpy(), strict=True):
        by_hand = np.zeros(one.shape, dtype=bool)
        for label in range(3):
            mask = one == label
            by_hand |= mask & ~eroded(mask, width)
        assert found.numpy().tolist() == by_hand.tolist()


def test_boundary_iou_is_that_of_the_two_bands():
    g = torch.Generator().manual_seed(4)
    shape = (1, 6, 8)
    truth, prediction = (
        torch.randint(0, 3, shape, generator=g).repeat_interleave(20, 1).repeat_interleave(20, 2) for _ in range(2)
    )
    truth[:, 30:50, 40:90] = IGNORE
    hits, union = boundary_counts(truth, prediction, 3)
    reach = round(0.02 * (120**2 + 160**2) ** 0.5)
    assert reach == 4
    for label in range(3):
        t, p = (maps[0].numpy() == label for maps in (truth, prediction))
        t_band, p_band, counted = t & ~eroded(t, reach), p & ~eroded(p, reach), truth[0].numpy() != IGNORE
        assert hits[label] == (t_band & p_band & counted).sum()
        assert union[label] == ((t_band | p_band) & counted).sum()


def test_a_perfect_prediction_has_ones_only():
    truth, _ = random_maps(5, ignored=0.2)
    score = SegmentationScore(5, torch.tensor([True, False, False, False, False]))
    score.add(truth, truth.clamp(min=0))
    results = score.results()
    assert {results[name] for name in ("miou", "macc", "miou_small")} == {1.0} and results["iou"] == [1.0] * 5
    score = SegmentationScore(5)
    score.add(truth.clamp(min=0), truth.clamp(min=0))
    assert score.results()["boundary_iou"] == 1.0 and "miou_small" not in score.results()


def test_small_classes_hold_less_than_half_of_an_equal_share():
    shares = torch.tensor([0.8, 0.12, 0.08, 0.0], dtype=torch.float64)
    assert small_classes(shares).tolist() == [False, True, True, False]
