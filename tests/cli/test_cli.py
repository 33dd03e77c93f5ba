"""The command line in one process: every verb, and every bad input ends with one line, status 2, nothing left behind."""

import json
import os
import warnings

import numpy as np
import pytest
import timm
import torch
from PIL import Image

import repre_lite as rl
from repre_lite.cli import demo, main, verbs
from repre_lite.evaluation.source import EncoderSource
from repre_lite.runtime.lock import locked

TINY = ["--steps", "6", "--batch-size", "16", "--train-images", "64"]


def pretrain(out, *more):
    return main(["pretrain", "--out", str(out), *TINY, *more])


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "one"
    assert pretrain(out, "--scale", "scenes", "--snapshots", "2") == 0
    return out


@pytest.fixture
def tree(tmp_path):
    """A labelled picture tree of two colours."""
    for part, count in (("train", 12), ("val", 6)):
        for label, base in (("blue", (20, 40, 200)), ("red", (200, 40, 20))):
            folder = tmp_path / "pictures" / part / label
            folder.mkdir(parents=True)
            for i in range(count):
                noise = np.random.default_rng(i).integers(0, 40, (40, 48, 3))
                Image.fromarray((noise + np.array(base)).clip(0, 255).astype(np.uint8)).save(folder / f"{i}.png")
    return tmp_path / "pictures"


def test_run_folder_keeps_the_contract(run_folder):
    names = {path.name for path in run_folder.iterdir()}
    assert names >= {
        "recipe.json",
        "metrics.jsonl",
        "checkpoint.pt",
        "encoder.safetensors",
        "decoder.safetensors",
        "summary.json",
    }
    lines = [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]
    assert lines[0]["step"] == 1 and lines[-1]["step"] == 6
    assert lines[0].keys() >= {
        "step", "epoch", "loss", "contrastive", "reconstruction", "weight_contrastive", "weight_reconstruction", "lr",
        "images_per_second", "embedding_std",
    }  # fmt: skip
    summary = json.loads((run_folder / "summary.json").read_text())
    assert summary["finished"] and summary["steps"] == 6 and 0 <= summary["online_knn_top1"] <= 1
    recipe = json.loads((run_folder / "recipe.json").read_text())
    assert recipe["versions"]["torch"] == torch.__version__ and recipe["seed"] == 0 and recipe["hardware"]
    torch.load(run_folder / "checkpoint.pt", weights_only=True)
    assert len(list((run_folder / "snapshots").iterdir())) == 2


def test_again_does_nothing_and_another_recipe_is_refused(run_folder, capsys):
    before = (run_folder / "metrics.jsonl").read_bytes()
    assert pretrain(run_folder, "--scale", "scenes", "--snapshots", "2") == 0
    assert "this run is finished; nothing to do" in capsys.readouterr().out
    assert pretrain(run_folder, "--scale", "scenes", "--seed", "1") == 2
    assert "seed" in capsys.readouterr().err
    assert (run_folder / "metrics.jsonl").read_bytes() == before


def test_evaluate_writes_into_the_summary(run_folder, capsys):
    assert main(["evaluate", str(run_folder), "--protocol", "knn", "linear"]) == 0
    summary = json.loads((run_folder / "summary.json").read_text())
    for name in ("knn_top1", "linear_top1", "knn_top1_untrained", "linear_top1_untrained", "knn_top1_pixels"):
        assert 0 <= summary[name] <= 1
    assert summary["finished"]
    assert (
        main(
            [
                "evaluate",
                str(run_folder / "encoder.safetensors"),
                "--protocol",
                "knn",
                "--scale",
                "scenes",
                "--train-images",
                "64",
            ]
        )
        == 0
    )
    assert f"{summary['knn_top1']:.4f}" in capsys.readouterr().out


def test_export_loads_strictly_in_timm_with_identical_features(run_folder, tmp_path):
    out = tmp_path / "encoder.safetensors"
    assert main(["export", str(run_folder), "--out", str(out)]) == 0
    description = json.loads(out.with_suffix(".json").read_text())
    model = timm.create_model(description["name"], checkpoint_path=str(out), **description["args"]).eval()
    run = rl.load_run(run_folder)
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(model(x), run.evaluated(x).pooled)


@pytest.mark.parametrize(
    "options",
    [
        ["--reconstruction", "single"],
        ["--reconstruction", "none"],
        ["--reconstruction", "detached"],
        ["--framework", "none"],
        ["--arch", "swin_micro"],
        ["--arch", "vit_tiny_patch16_224", "--patch-size", "8"],
        ["--fusion", "transformer", "--fusion-layers", "1", "--decoder-width", "32", "--taps", "2"],
        ["--weighting", "fixed:1,0.5", "--precision", "fp64"],
    ],
    ids=" ".join,
)
def test_every_form_trains(options, tmp_path):
    assert pretrain(tmp_path / "run", "--scale", "scenes", *options) == 0
    run = rl.load_run(tmp_path / "run")
    assert (run.decoder is None) == ("none" in options and "--reconstruction" in options)
    assert all(np.isfinite(line["loss"]) for line in run.metrics)


def test_own_pictures_with_labels_and_without(tree, tmp_path, capsys):
    assert (
        pretrain(tmp_path / "a", "--scale", "folder", "--size", "small", "--data", str(tree), "--batch-size", "8") == 0
    )
    assert rl.load_run(tmp_path / "a").summary["online_knn_top1"] is not None
    assert main(["evaluate", str(tmp_path / "a"), "--protocol", "knn"]) == 0
    flat = tmp_path / "flat"
    flat.mkdir()
    for i, path in enumerate(sorted(tree.rglob("*.png"))):
        path.rename(flat / f"{i}.png")
    assert (
        pretrain(tmp_path / "b", "--scale", "folder", "--size", "small", "--data", str(flat), "--batch-size", "8") == 0
    )
    assert main(["evaluate", str(tmp_path / "b")]) == 0
    assert "skipped" in capsys.readouterr().out
    for data, said in ((flat, "finished; nothing"), (tmp_path, f"finished, on the images of {flat}; nothing")):
        pretrain(tmp_path / "b", "--scale", "folder", "--size", "small", "--data", str(data), "--batch-size", "8")
        assert said in capsys.readouterr().out


BAD = [
    (["pretrain", "--scale", "mars", "--out", "{out}"], "--scale"),
    (["pretrain", "--out", "{out}", "--steps", "0"], "--steps"),
    (["pretrain", "--out", "{out}", "--steps", "many"], "--steps"),
    (["pretrain", "--out", "{out}", "--batch-size", "1"], "--batch-size"),
    (["pretrain", "--out", "{out}", "--batch-size", "128", "--train-images", "64"], "--batch-size"),
    (["pretrain", "--out", "{out}", "--arch", "resnet50", *TINY], "--arch"),
    (["pretrain", "--out", "{out}", "--image-size", "30", *TINY], "--image-size"),
    (["pretrain", "--out", "{out}", "--weighting", "equal", *TINY], "--weighting"),
    (["pretrain", "--out", "{out}", "--taps", "20", *TINY], "--taps"),
    (["pretrain", "--out", "{out}", "--framework", "none", "--reconstruction", "none"], "--framework none"),
    (["pretrain", "--out", "{out}", "--precision", "fp16", "--device", "cpu", *TINY], "--precision"),
    (["pretrain", "--out", "{out}", "--lr", "-1"], "--lr"),
    (["pretrain", "--out", "{out}", "--scale", "cifar10", "--data", "{missing}"], "--data"),
    (["pretrain", "--out", "{out}", "--scale", "folder", "--data", "{file}"], "--data"),
    (["pretrain", "--out", "{out}", "--scale", "folder", "--data", "{empty}"], "--data"),
    (["pretrain", "--out", "{out}", "--scale", "folder"], "--data"),
    (["pretrain", "--out", "{out}", "--scale", "imagenet1k", "--data", "{empty}"], "train/"),
    (["pretrain", "--out", "{out}", "--scale", "scenes", "--data", "{empty}"], "--data"),
    (["pretrain", "--out", "{file}", *TINY], "--out"),
    (["pretrain", "--scale", "scenes"], "--out"),
    (["pretrain", "--out", "{out}", "--scale", "folder", "--data", ""], "--data"),
    (["demo", "--out", "{file}"], "--out"),
    (["reproduce", "local", "--out", "{file}", "--seeds", "1", "--dry-run"], "--out"),
    (["demo", "--out", "{out}", "--steps", "0"], "--steps 0"),
    (["evaluate", "{missing}"], "no such file"),
    (["evaluate", "{empty}"], "recipe.json"),
    (["evaluate", "{file}", "--scale", "scenes"], "safetensors"),
    (["export", "{empty}", "--out", "{out}.safetensors"], "recipe.json"),
    (["export", "{empty}", "--out", "{out}.pt"], "out"),
    (["pretrain", "--out", "{out}", "--scale", "folder", "--data", "{long}"], "xxxxx"),
    (["pretrain", "--out", "{long}", *TINY], "xxxxx"),
    (["plan", "--scale", "folder", "--data", "{long}"], "xxxxx"),
    (["evaluate", "{long}"], "xxxxx"),
    (["export", "{long}", "--out", "{out}"], "xxxxx"),
    (
        ["transfer", "random", "--arch", "vit_micro", "--task", "detection", "--data", "{long}", "--out", "{out}"],
        "xxxxx",
    ),
    (["pretrain", "--out", "{out}", "--arch", "a\nb", *TINY], r"--arch a\nb"),
    (["reproduce", "local", "*-0"], "arguments: *-0; see repre-lite reproduce --help"),
    ([], "VERB"),
    (["fly"], "VERB"),
]


@pytest.mark.parametrize(
    ("command", "names"), BAD, ids=lambda value: " ".join(value) if isinstance(value, list) else value
)
def test_bad_input_is_one_line_status_2_nothing_left(command, names, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REPRE_LITE_DATA", raising=False)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("not a picture")
    places = {name: str(tmp_path / name) for name in ("out", "missing", "file", "empty")}
    places["long"] = str(tmp_path / ("x" * 300))  # longer than file systems take
    before = sorted(p.name for p in tmp_path.iterdir())
    assert main([part.format(**places) for part in command]) == 2
    error = capsys.readouterr().err.strip()
    assert names in error and "\n" not in error and "Traceback" not in error and error.count("repre-lite: ") == 1
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "work") == before


def test_an_unreadable_picture_is_named_or_skipped(tree, tmp_path, capsys):
    broken = sorted((tree / "train" / "red").iterdir())[3]
    broken.write_bytes(broken.read_bytes()[:100])
    where = ["--scale", "folder", "--size", "small", "--data", str(tree), "--batch-size", "8"]
    assert pretrain(tmp_path / "run", *where) == 2
    assert str(broken) in capsys.readouterr().err and not (tmp_path / "run").exists()
    assert pretrain(tmp_path / "run", *where, "--skip-unreadable") == 0
    assert rl.load_run(tmp_path / "run").summary["skipped_images"] == 1
    capsys.readouterr()
    for verb, remedy in (
        (["evaluate", "random", "--arch", "vit_micro", "--image-size", "32"], ""),  # it has no option for that
        (["reproduce", "local", "--steps", "2", "--out", str(tmp_path / "cells")], ", or use --skip-unreadable"),
    ):
        assert main([*verb, "--scale", "folder", "--data", str(tree), "--device", "cpu"]) == 2
        said = capsys.readouterr().err.splitlines()[-1].removesuffix(", also to resume a run")
        assert said.endswith("; repair or remove it" + remedy)


def test_a_path_that_one_may_not_use_is_one_line(tmp_path, capsys, monkeypatch):
    def refused(**_):
        raise PermissionError(13, "Permission denied", f"{tmp_path}/someone\nelse/train")

    monkeypatch.setattr("repre_lite.planning.plan.plan", refused)
    assert main(["plan"]) == 2
    wanted = f"repre-lite: {tmp_path}/someone\\nelse/train: Permission denied; give a path that you may use\n"
    assert capsys.readouterr().err == wanted
    monkeypatch.setattr("repre_lite.planning.plan.plan", lambda **_: (tmp_path / "gone").read_text())
    with pytest.raises(FileNotFoundError):  # a fault of the program keeps its traceback
        main(["plan"])


def test_what_pillow_says_of_metadata_is_not_printed(tree, tmp_path):
    """Its warnings name no file, and stood above the one line of an error."""
    for path in tree.rglob("*.png"):
        with Image.open(path) as image:
            image.save(path, exif=b"MM\0*\xff\xff\xff\x7f")
    where = ["--scale", "folder", "--size", "small", "--data", str(tree), "--batch-size", "8", "--steps", "1"]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert pretrain(tmp_path / "run", *where) == 0
    assert [str(one.message) for one in said if "PIL" in one.filename] == []


def test_a_run_that_cannot_be_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("os.access", lambda *_: False)
    (tmp_path / "recipe.json").write_text("{}")
    assert main(["report", str(tmp_path)]) == 2  # before the work
    assert "is not writable; choose another --out" in capsys.readouterr().err
    read = EncoderSource("run", None, (), (), None, tmp_path, {})
    monkeypatch.setattr(verbs, "read_source", lambda *_: read)
    monkeypatch.setattr(verbs, "run_protocols", lambda read, *_: {"knn_top1": 0.5})
    assert main(["evaluate", str(tmp_path)]) == 0
    assert "cannot be written, so the results are only printed" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.json"]


def test_a_figure_that_cannot_be_written_is_one_line(tmp_path, monkeypatch, tiny_runs):
    run = rl.load_run(tiny_runs["multi-0"])
    kept = demo._plot(run, run.images().images[:2], tmp_path)
    assert kept.read_bytes().startswith(b"\x89PNG") and [path.name for path in kept.parent.iterdir()] == [kept.name]
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(rl.UserError, match="No space left on device"):
        demo._plot(run, run.images().images[:2], tmp_path)


def test_demo_leaves_a_folder_alone_that_another_process_writes_into(tmp_path, capsys):
    (tmp_path / "recipe.json").write_text("{}")
    with locked(tmp_path):
        assert main(["demo", "--out", str(tmp_path), "--device", "cpu"]) == 2
    assert "another process" in capsys.readouterr().err
    assert (tmp_path / "recipe.json").exists()
