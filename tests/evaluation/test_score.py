"""Each protocol beside its controls, and what is said about images that cannot be classified."""

from dataclasses import replace

import pytest
import torch

import repre_lite as rl
from repre_lite.data.image_set import ImageSet, Source
from repre_lite.encoder import build_encoder
from repre_lite.evaluation import extract, knn_top1, linear_top1, score, score_encoder
from repre_lite.runtime.errors import UserError
from repre_lite.runtime.randomness import fork
from tests.small import TINY

MEAN, STD, CPU = (0.3, 0.3, 0.3), (0.2, 0.2, 0.2), torch.device("cpu")


def encoder(seed, name="vit_micro"):
    with fork(seed, "encoder"):
        return build_encoder(name, 32, **TINY)


def source(train=60, val=20, size=32):
    parts = []
    for rows in (range(train), range(1000, 1000 + val)):
        made = rl.scenes(rows, size=size)
        parts.append(ImageSet(made.images, made.labels, tuple("abcdefghij")))
    return Source("scenes", *parts, MEAN, STD, 0, "", parts[0])


def run(images, protocols=("knn", "linear"), **options):
    return score_encoder(encoder(0), encoder(1), images, protocols, CPU, MEAN, STD, **options)


def test_each_figure_is_that_of_its_function():
    images = source()
    results = run(images)
    labels, labels_val = images.train.labels, images.val.labels
    for seed, suffix in ((0, ""), (1, "_untrained")):
        x, x_val = (extract(encoder(seed), part.images, MEAN, STD) for part in (images.train, images.val))
        assert results[f"knn_top1{suffix}"] == knn_top1(x, labels, x_val, labels_val)
        assert results[f"linear_top1{suffix}"] == linear_top1(x, labels, x_val, labels_val)[0]
    assert set(run(images, ["knn"])) == {"knn_top1", "knn_top1_untrained", "knn_top1_pixels"}


def last_tokens(network, images, blocks):
    """By hooks: class tokens after each of the last blocks and the final norm, side by side."""
    kept = []
    handles = [block.register_forward_hook(lambda *seen: kept.append(seen[2])) for block in network.backbone.blocks]
    x = (images.float() / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    with torch.no_grad():
        network.eval()(x)
        tokens = [network.backbone.norm(tokens)[:, 0] for tokens in kept[-blocks:]]
    for handle in handles:
        handle.remove()
    return torch.cat(tokens, dim=1)


def test_the_linear_probe_reads_the_class_tokens_of_several_blocks():
    images = source()
    results = run(images, blocks=3)
    assert results["linear_blocks"] == 3
    for seed, suffix in ((0, ""), (1, "_untrained")):
        x, x_val = (last_tokens(encoder(seed), part.images, 3) for part in (images.train, images.val))
        assert x.shape == (60, 3 * TINY["embed_dim"])
        assert torch.allclose(extract(encoder(seed), images.train.images, MEAN, STD, blocks=3), x, atol=1e-5)
        assert results[f"linear_top1{suffix}"] == linear_top1(x, images.train.labels, x_val, images.val.labels)[0]
    plain = run(images)
    assert "linear_blocks" not in plain and plain["knn_top1"] == results["knn_top1"]
    assert torch.allclose(extract(encoder(0), images.val.images, MEAN, STD, blocks=1),
                          extract(encoder(0), images.val.images, MEAN, STD), atol=1e-5)  # fmt: skip


@pytest.mark.parametrize(
    ("protocols", "blocks", "wanted"),  # of each of two networks and two parts
    [(["knn", "linear"], None, [None] * 4), (["linear"], None, [None] * 4), (["linear"], 3, [3] * 4),
     (["knn", "linear"], 3, [None] * 4 + [3] * 4)],
)  # fmt: skip
def test_features_are_extracted_once_and_only_those_that_are_read(protocols, blocks, wanted, monkeypatch):
    asked, extract_shared = [], score.extract_shared
    monkeypatch.setattr(score, "extract_shared", lambda *given: asked.append(given[4]) or extract_shared(*given))
    assert run(source(), protocols, blocks=blocks) and asked == wanted


@pytest.mark.parametrize("blocks", [0, 5])
def test_more_blocks_than_there_are(blocks):
    with pytest.raises(UserError, match=f"blocks={blocks}.*1 to 4"):
        run(source(), ["linear"], blocks=blocks)


def test_a_swin_has_no_class_tokens():
    with fork(0, "encoder"):
        swin = build_encoder("swin_micro", 32)
    with pytest.raises(UserError, match="no class token"):
        score_encoder(swin, swin, source(), ["linear"], CPU, MEAN, STD, blocks=2)


@pytest.mark.parametrize("size", [20, 36, 64])
def test_images_of_another_size(size):
    results = run(source(size=size), ["knn"])
    assert len(results) == 3 and all(0 <= value <= 1 for value in results.values())


def unlabelled(part):
    return replace(part, labels=None, classes=())


def test_without_labels_or_with_one_class_a_line_says_why(capsys):
    images = source()
    cases = {
        "no labels": replace(images, train=unlabelled(images.train), labelled=None),
        "no labelled val/": replace(images, val=None),
        "no labelled val/ images": replace(images, val=unlabelled(images.val)),
        "one class": replace(images, labelled=replace(images.train, labels=torch.zeros(60, dtype=torch.int64))),
    }
    for reason, given in cases.items():
        assert run(given) == {}
        said = capsys.readouterr().out
        assert reason in said and "skipped" in said and said.count("\n") == 1


def test_few_images_still_have_a_k_nn(capsys):
    """Fewer than k = 20, fewer than a probe needs: the one is done with all there are, the other left out."""
    results = run(source(train=8))
    assert "knn_top1" in results and "linear_top1" not in results
    assert "8 labelled training images" in capsys.readouterr().out
    with pytest.raises(UserError, match="10 training images or more, got 8"):
        linear_top1(torch.randn(8, 4), torch.arange(8) % 2, torch.randn(4, 4), torch.arange(4) % 2)


def test_features_that_are_not_finite_are_no_accuracy():
    ruined = encoder(0)
    with torch.no_grad():
        ruined.backbone.norm.weight[0] = 3e38
        ruined.backbone.norm.bias[0] = 3e38
    with pytest.raises(UserError, match="features of .* of 60 images are not finite"):
        score_encoder(ruined, encoder(1), source(), ["knn"], CPU, MEAN, STD)


def test_tab_completion_lists_what_there_is():
    names = dir(rl.evaluation)
    assert {"knn_top1", "linear_top1", "extract", "read_source", "export_encoder", "effective_rank"} <= set(names)
    assert all(callable(getattr(rl.evaluation, name)) for name in names)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = rl.evaluation.nothing
