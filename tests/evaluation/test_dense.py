"""Dense probes against scikit-learn and pixel counts, and the whole protocol on small scenes."""

import json
import math
import shutil

import pytest
import torch

from repre_lite.cli import main
from repre_lite.data import masks as masks_module
from repre_lite.data.masks import IGNORE, MaskSource, load_masks
from repre_lite.encoder import build_encoder
from repre_lite.evaluation import dense, protocols
from repre_lite.evaluation.dense import SHARES, knn, logistic, matrix_of, ridge_r2, scaled, score_dense
from repre_lite.evaluation.patches import patch_counts, place_of
from repre_lite.evaluation.segmentation_metrics import SegmentationScore, confusion_matrix
from repre_lite.runtime.randomness import fork
from tests.evaluation.test_segmentation_metrics import random_maps
from tests.small import TINY

MEAN, STD, CPU = (0.3, 0.3, 0.3), (0.2, 0.2, 0.2), torch.device("cpu")


def clusters(seed, n=300, classes=4, width=6):
    g = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, width, generator=torch.Generator().manual_seed(9))
    labels = torch.randint(0, classes, (n,), generator=g)
    return centres[labels] + 0.8 * torch.randn(n, width, generator=g), labels


def test_the_logistic_probe_is_scikit_learn_s():
    linear_model = pytest.importorskip("sklearn.linear_model")
    (x, labels), (y, _) = clusters(0), clusters(1)
    model = linear_model.LogisticRegression(C=1 / (2 * dense.PENALTY * len(x)), max_iter=2000, tol=1e-8)
    expected = model.fit(x.numpy(), labels.numpy()).predict(y.numpy())
    assert (logistic(x, labels, y, 4).numpy() == expected).mean() > 0.99


def test_patch_k_nn_is_scikit_learn_s():
    neighbors = pytest.importorskip("sklearn.neighbors")
    (x, labels), (y, _) = clusters(2), clusters(3)
    votes = neighbors.KNeighborsClassifier(30, metric="cosine", weights=lambda d: torch.tensor(-d / 0.07).exp().numpy())
    expected = votes.fit(x.double().numpy(), labels.numpy()).predict(y.double().numpy())
    assert (knn(x, labels, y, 4).numpy() == expected).mean() > 0.995


def test_counts_of_patches_give_the_matrix_of_pixels():
    truth, _ = random_maps(0, classes=4, shape=(2, 19, 26))
    predicted = torch.randint(0, 4, (2, 25), generator=torch.Generator().manual_seed(1))
    counts = torch.cat([patch_counts(mask, 5, 4) for mask in truth])
    pixels = torch.stack([cells[place_of(mask.shape, 5)] for cells, mask in zip(predicted, truth, strict=True)])
    assert torch.equal(matrix_of(counts, predicted.flatten()), confusion_matrix(truth, pixels, 4))


def test_ridge_explains_what_is_linear_and_nothing_else():
    g = torch.Generator().manual_seed(2)
    x, y = torch.randn(500, 8, generator=g), torch.randn(200, 8, generator=g)
    weights = torch.randn(8, 2, generator=g)
    assert ridge_r2(x, x @ weights + 3, y, y @ weights + 3) > 0.999
    noise, other = torch.randn(500, 2, generator=g), torch.randn(200, 2, generator=g)
    assert -0.2 < ridge_r2(x, noise, y, other) < 0.05
    half = torch.cat([x @ weights[:, :1], noise[:, :1]], 1), torch.cat([y @ weights[:, :1], other[:, :1]], 1)
    assert 0.4 < ridge_r2(x, half[0], y, half[1]) < 0.53


def test_standardised_channels_have_the_variance_of_the_training_patches():
    x = torch.randn(400, 3, generator=torch.Generator().manual_seed(3)) * torch.tensor([0.01, 1, 100]) + 5
    y = x[:10] + 1
    a, b = scaled(x, y, "standardised", "knn")
    assert torch.allclose(a.mean(0), torch.zeros(3), atol=1e-4) and torch.allclose(a.std(0), torch.ones(3), atol=1e-4)
    assert torch.allclose(b * x.std(0) + x.mean(0), y, rtol=1e-4)
    raw = scaled(x, y, "raw", "logistic")[0]
    assert raw.square().mean().item() == pytest.approx(1, abs=1e-3)
    ratios = raw.std(0) / x.std(0)
    assert torch.allclose(ratios, ratios[:1].expand(3), rtol=1e-3)  # scales between channels stay
    assert scaled(x, y, "raw", "knn")[0] is x


def small(train=64, val=6, size=32):
    source = load_masks(None, size, train)
    return MaskSource("scenes", source.train, source.val.at(range(val)))


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(dense, "ITERATIONS", 6)
    monkeypatch.setattr(dense, "FIT_PATCHES", 512)
    monkeypatch.setattr(masks_module, "SCENES_VAL", 20)
    monkeypatch.setattr(protocols, "SCENES", 64)


def test_every_probe_has_its_numbers(quick):
    encoders = []
    for seed in (0, 1):
        with fork(seed, "encoder"):
            encoders.append(build_encoder("vit_micro", 32, **TINY))
    masks = small()
    results = score_dense(*encoders, masks, CPU, MEAN, STD)
    assert results["labelled"] == {"1": 64, "1/8": 8, "1/64": 1} and results["grid"] == 8
    assert results["classes"][0] == "ground" and results["small"] == results["classes"][1:]
    assert results["majority_miou"] < results["ceiling_miou"] < 1
    for name in ("trained", "untrained"):
        rows = results[name]["rows"]
        keys = {(row["probe"], row["tap"], row["channels"], row["labels"]) for row in rows}
        taps = encoders[0].tap_indices
        assert keys == {
            (probe, tap, channels, share)
            for probe, tapped in (("logistic", [*taps, "all"]), ("knn", taps))
            for tap in tapped
            for channels in ("raw", "standardised")
            for share in SHARES
        }
        for row in rows:
            assert 0 <= row["miou"] <= results["ceiling_miou"] and 0 <= row["macc"] <= 1 and "miou_small" in row
            assert ("boundary_iou" in row) == (row["labels"] == "1")
        assert len(results[name]["orientation_r2"]) == len(results[name]["position_r2"]) == 4
        assert all(value < 1 for value in results[name]["orientation_r2"])
    assert results["trained"] != results["untrained"]
    json.dumps(results, allow_nan=False)
    shown = dense.table(results, encoders[0].tap_indices)
    best = dense.find(results, "trained", *dense.BEST)
    assert f"mIoU {100 * best:.1f} %" in shown and dense.headline(results)["dense_miou"] == best


def test_the_ceiling_gives_every_patch_its_most_frequent_labelled_class():
    """Also where most pixels of a patch have no label."""
    counts = torch.tensor([[100, 0, 0], [0, 100, 0], [0, 40, 60]])  # the last column: without a label
    assert dense.ceiling(counts) == 1.0
    assert dense.ceiling(torch.tensor([[75, 25, 0], [0, 100, 0]])) == pytest.approx((0.75 + 0.8) / 2)


def test_scores_of_a_row_are_those_of_the_predicted_pixels(quick, monkeypatch):
    """All probes answer the true class of each patch: the ceiling, and boundaries as SegmentationScore counts them."""
    with fork(0, "encoder"):
        encoder = build_encoder("vit_micro", 32, **TINY)
    masks = small(val=4)
    truth = [mask for _, mask in (masks.val[i] for i in range(4))]
    answers = torch.cat([patch_counts(mask, 8, 11).argmax(1) for mask in truth])
    for probe in ("logistic", "knn"):
        monkeypatch.setattr(dense, probe, lambda x, labels, y, classes: answers)
    row = score_dense(encoder, None, masks, CPU, MEAN, STD)["trained"]["rows"][0]
    score = SegmentationScore(11)
    for mask, cells in zip(truth, answers.view(4, 64), strict=True):
        score.add(mask, cells[place_of(mask.shape, 8)])
    expected = score.results()
    assert {name: row[name] for name in ("miou", "macc", "boundary_iou")} == pytest.approx(
        {name: expected[name] for name in ("miou", "macc", "boundary_iou")}
    )


def test_probes_learn_from_labelled_patches_of_their_share_only(quick, monkeypatch):
    seen = []

    def watch(x, labels, y, classes):
        seen.append((len(x), labels))
        return torch.zeros(len(y), dtype=torch.int64)

    monkeypatch.setattr(dense, "knn", watch)
    monkeypatch.setattr(dense, "logistic", watch)
    masks = small()
    read = masks.train.read

    def half_ignored(index):
        image, mask = read(index)
        return image, mask.masked_fill(torch.arange(32) < 16, IGNORE)

    masks = MaskSource("scenes", masks.train.__class__(**{**vars(masks.train), "read": half_ignored}), masks.val)
    with fork(0, "encoder"):
        encoder = build_encoder("vit_micro", 32, **TINY)
    score_dense(encoder, None, masks, CPU, MEAN, STD)
    sizes = [size for size, _ in seen[:3]]  # of 512 patches, 8 of each of 64 images, about half are ignored
    assert 180 < sizes[0] < 330 and 180 < sizes[1] < 330 and sizes[2] == 32
    assert all((labels >= 0).all() for _, labels in seen)


def test_evaluate_writes_summary_and_dense_json(tiny_runs, tmp_path, quick, capsys):
    run = tmp_path / "run"
    shutil.copytree(tiny_runs["multi-0"], run)
    assert main(["evaluate", str(run), "--protocol", "dense"]) == 0
    shown = capsys.readouterr().out
    summary, details = (json.loads((run / name).read_text()) for name in ("summary.json", "dense.json"))
    assert summary["dense_miou"] == dense.find(details, "trained", *dense.BEST)
    assert summary["dense_miou_untrained"] == dense.find(details, "untrained", *dense.BEST)
    assert summary["dense_on"] == "scenes: 20 validation images by 64 training images" and "patch k-NN" in shown


def test_broken_or_missing_masks_are_one_line_and_nothing_is_written(tiny_runs, tmp_path, capsys):
    run = tiny_runs["multi-0"]
    before = sorted(path.name for path in run.iterdir()), (run / "summary.json").read_bytes()
    (tmp_path / "images" / "train").mkdir(parents=True)
    for options, expected in (
        (["--data", str(tmp_path)], "no folder labels/"),
        (["--scale", "cifar10"], "--data"),
    ):
        assert main(["evaluate", str(run), "--protocol", "dense", *options]) == 2
        error = capsys.readouterr().err
        assert expected in error and error.count("\n") == 1
    assert (sorted(path.name for path in run.iterdir()), (run / "summary.json").read_bytes()) == before


def test_numbers_that_do_not_exist_are_none():
    row = {"probe": "knn", "tap": 1, "channels": "raw", "labels": "1", "miou": None}
    assert math.isnan(dense.find({"trained": {"rows": [row]}}, "trained", "knn", 1, "raw"))
