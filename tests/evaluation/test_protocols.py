"""What holds for every protocol."""

import json
import shutil

import pytest
import torch

import repre_lite as rl
from repre_lite.data import sources
from repre_lite.evaluation import protocols, score
from repre_lite.evaluation.results import restart
from repre_lite.evaluation.source import EncoderSource, read_source
from repre_lite.runs import merge_summary

CPU = torch.device("cpu")


def test_too_little_memory_is_one_line(monkeypatch):
    read = read_source("random", "vit_micro", 32, 0)

    def too_large(*arguments, **settings):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(protocols, "score_diversity", too_large)
    with pytest.raises(rl.UserError, match="out of memory on the GPU: measure fewer images with train_images="):
        protocols.run_protocols(read, ["diversity"], CPU, "scenes", train_images=8)


@pytest.mark.parametrize(
    ("module", "breaks", "kept"),
    [
        (score, "linear_top1", ["knn_top1", "knn_top1_untrained", "knn_top1_pixels"]),
        (protocols, "linear_sgd_top1", ["knn_top1", "linear_top1", "linear_top1_untrained"]),
        (protocols, "finetune_top1", ["linear_top1", "linear_sgd_top1", "linear_sgd_top1_untrained"]),
        (protocols, "score_diversity", ["finetune_top1", "finetune_top1_untrained", "finetune_epochs"]),
        (protocols, "score_dense", ["finetune_top1", "patch_cosine", "patch_cosine_untrained"]),
    ],
)
def test_what_is_done_is_kept_if_a_later_protocol_ends_early(module, breaks, kept, tiny_runs, tmp_path, monkeypatch):
    """Written to summary.json with its controls, and nothing of the protocol that did not end."""

    def interrupt(*arguments, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(sources, "SCENES_VAL", 40)
    run = tmp_path / "run"
    shutil.copytree(tiny_runs["multi-0"], run)
    before = json.loads((run / "summary.json").read_text())
    monkeypatch.setattr(score, "linear_top1", lambda *arguments: (0.5, 1.0))
    monkeypatch.setattr(protocols, "linear_sgd_top1", lambda *arguments: 0.5)
    monkeypatch.setattr(protocols, "finetune_top1", lambda *arguments: 0.5)
    monkeypatch.setattr(module, breaks, interrupt)
    with pytest.raises(KeyboardInterrupt):
        protocols.run_protocols(
            read_source(run), ["knn", "linear", "linear-sgd", "finetune", "diversity", "dense"], CPU, train_images=32
        )
    found = json.loads((run / "summary.json").read_text())
    assert set(kept) <= found.keys() - before.keys()
    assert not any(name.startswith(breaks) for name in found) and not (run / "dense.json").exists()
    assert found["evaluated_on"] == "scenes: 40 validation images by 32 training images"


@pytest.mark.parametrize("protocol", ["linear", "linear-sgd"])
@pytest.mark.parametrize(
    ("arch", "blocks", "words"), [("vit_micro", 99, "1 to 8"), ("swin_micro", 4, "no class token")]
)
def test_blocks_are_checked_before_an_image_is_read(protocol, arch, blocks, words, monkeypatch):
    monkeypatch.setattr(EncoderSource, "images", lambda *arguments: pytest.fail("images were read"))
    monkeypatch.setattr(protocols, "load_masks", lambda *arguments: pytest.fail("masks were read"))
    read = read_source("random", arch, 32)
    with pytest.raises(rl.UserError, match=words):
        protocols.run_protocols(read, ["knn", protocol, "dense"], CPU, "scenes", blocks=blocks)


def test_k_nn_alone_leaves_what_is_known_of_the_linear_probe(tiny_runs, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "SCENES_VAL", 40)
    monkeypatch.setattr(score, "linear_top1", lambda *arguments: (0.5, 1.0))
    run = tmp_path / "run"
    shutil.copytree(tiny_runs["multi-0"], run)
    read = read_source(run)
    for names, blocks, wanted in ((["linear"], 2, 2), (["knn"], None, 2), (["linear"], None, None)):
        protocols.run_protocols(read, names, CPU, train_images=32, blocks=blocks)
        assert json.loads((run / "summary.json").read_text())["linear_blocks"] == wanted


def test_accuracies_on_other_images_are_kept_apart(tiny_runs, tmp_path, monkeypatch):
    """Each set of images has its own, whichever protocol was last; evaluated again, they come back."""
    monkeypatch.setattr(sources, "SCENES_VAL", 40)
    monkeypatch.setattr(score, "linear_top1", lambda *arguments: (0.5, 1.0))
    run = tmp_path / "run"
    shutil.copytree(tiny_runs["multi-0"], run)

    def held(count, *names):
        protocols.run_protocols(read_source(run), names, CPU, train_images=count)
        summary = json.loads((run / "summary.json").read_text())
        assert summary["evaluated_on"] == f"scenes: 40 validation images by {count} training images"
        return summary

    before = held(32, "knn")
    assert "evaluated_elsewhere" not in before and held(32, "linear")["knn_top1"] == before["knn_top1"]
    other = held(16, "linear")
    assert "knn_top1" not in other and other["linear_top1"] == 0.5 and other["steps"] == before["steps"]
    assert [one["knn_top1"] for one in other["evaluated_elsewhere"]] == [before["knn_top1"]]
    again = held(32, "knn")
    assert again["knn_top1"] == before["knn_top1"] and again["linear_top1"] == 0.5
    assert [one["evaluated_on"] for one in again["evaluated_elsewhere"]] == [other["evaluated_on"]]


def test_accuracies_without_a_note_are_of_the_runs_own_images(tiny_runs, tmp_path, monkeypatch):
    """Those that `demo` and `reproduce` enter."""
    monkeypatch.setattr(sources, "SCENES_VAL", 40)
    monkeypatch.setattr(score, "linear_top1", lambda *arguments: (0.5, 1.0))
    for count, stays in ((None, True), (32, False)):
        run = tmp_path / f"run-{count}"
        shutil.copytree(tiny_runs["multi-0"], run)
        merge_summary(run, {"knn_top1": 0.125})
        protocols.run_protocols(read_source(run), ["linear"], CPU, train_images=count)
        assert ("knn_top1" in json.loads((run / "summary.json").read_text())) == stays


def test_nothing_is_entered_of_an_encoder_that_was_trained_further(tiny_runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sources, "SCENES_VAL", 40)
    run = tmp_path / "run"
    shutil.copytree(tiny_runs["multi-0"], run)
    read = read_source(run)
    restart(run, {"steps": read.steps + 1, "finished": False})
    found = protocols.run_protocols(read, ["knn"], CPU, train_images=32)
    assert f"of step {read.steps}, are only printed" in capsys.readouterr().out + capsys.readouterr().err
    assert found["knn_top1"] >= 0 and "knn_top1" not in json.loads((run / "summary.json").read_text())
