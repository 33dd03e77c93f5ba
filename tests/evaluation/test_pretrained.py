"""timm's names with pretrained weights, the untrained encoder `random`, and what is said about anything else."""

import json
import socket

import pytest
import timm
import torch

import repre_lite as rl
from repre_lite.cli import main
from repre_lite.data import sources
from repre_lite.evaluation import read_source
from repre_lite.evaluation.export import export_encoder
from repre_lite.runtime.errors import UserError
from repre_lite.runtime.files import save_tensors
from repre_lite.runtime.randomness import fork


@pytest.fixture
def weights(monkeypatch, tmp_path):
    """Stand-ins for downloads: timm loads every pretrained model from a file of weights that were drawn here."""
    create = timm.create_model
    torch.manual_seed(11)
    saved = {}

    def from_file(name, pretrained=False, **arguments):
        if not pretrained or name.startswith("local-dir:"):
            return create(name, pretrained=pretrained, **arguments)
        path = tmp_path / f"{name}.safetensors"
        if not path.exists():
            saved[name] = {key: value.contiguous() for key, value in create(name).state_dict().items()}
            save_tensors(path, saved[name])
        return create(name, pretrained=True, pretrained_cfg_overlay={"file": str(path)}, **arguments)

    monkeypatch.setattr(timm, "create_model", from_file)
    monkeypatch.setattr("repre_lite.evaluation.pretrained._check_reachable", lambda *_: None)
    return saved


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224.augreg_in21k", "swin_tiny_patch4_window7_224.ms_in1k"])
def test_a_timm_name_is_its_pretrained_weights(name, weights):
    read = read_source(name)
    found, described = read.encoder.backbone.state_dict(), timm.get_pretrained_cfg(name)
    assert all(torch.equal(found[key], weights[name][key]) for key in found)
    assert (read.mean, read.std) == (described.mean, described.std)
    assert read.encoder.image_size == 224 and not read.encoder.training and len(read.encoder.tap_widths) == 4
    fresh, held = read.untrained().state_dict(), read.encoder.state_dict()
    assert fresh.keys() == held.keys() and any(not torch.equal(fresh[key], held[key]) for key in fresh)
    assert not read.random


def test_another_image_size_resamples_the_positions(weights):
    read = read_source("vit_tiny_patch16_224.augreg_in21k", image_size=64)
    assert read.encoder.tap_grids == (4,) * 4
    assert read.encoder.backbone.pos_embed.shape[1] == 17
    assert read.untrained()(torch.zeros(1, 3, 64, 64)).pooled.shape == (1, 192)
    with pytest.raises(UserError, match="image_size=50"):
        read_source("vit_tiny_patch16_224.augreg_in21k", image_size=50)


def test_registers_and_no_class_token(weights):
    for name, size in (("vit_wee_patch16_reg1_gap_256.sbb_in1k", 64), ("vit_small_patch14_reg4_dinov2.lvd142m", 56)):
        read = read_source(name, image_size=size)
        features = read.encoder(torch.zeros(1, 3, size, size))
        assert [tap.shape[2:] for tap in features.taps] == [(4, 4)] * 4


def test_a_pretrained_encoder_can_be_exported_and_read_again(weights, tmp_path):
    read = read_source("vit_tiny_patch16_224.augreg_in21k", image_size=64)
    export_encoder(read, tmp_path / "out")
    again = read_source(tmp_path / "out")
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(again.encoder(x).pooled, read.encoder(x).pooled) and again.mean == read.mean


def test_without_a_network_one_line_says_so(monkeypatch, capsys, tmp_path):
    def unreachable(*_):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "create_connection", unreachable)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr("urllib.request.getproxies", lambda: {})
    assert main(["evaluate", "vit_tiny_patch16_224", "--scale", "scenes"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "vit_tiny_patch16_224: its weights cannot be loaded (Name or service" in error


def test_a_download_that_fails_is_one_line(monkeypatch, capsys):
    create = timm.create_model

    def failing(name, pretrained=False, **arguments):
        if pretrained:
            raise RuntimeError("broken pipe\nand more")
        return create(name, **arguments)

    monkeypatch.setattr(timm, "create_model", failing)
    monkeypatch.setattr("repre_lite.evaluation.pretrained._check_reachable", lambda *_: None)
    assert main(["evaluate", "vit_tiny_patch16_224", "--scale", "scenes"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "cannot be loaded (broken pipe)" in error


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nothing"], "nothing: no such file or folder, and no timm model of that name; give a run folder, "),
        (["random"], "random: choose the encoder with --arch, such as"),
        (["random", "--arch", "vit_nothing"], "--arch vit_nothing: no such encoder"),
        (["random", "--arch", "vit_micro", "--image-size", "33"], "--image-size 33"),
        (["random", "--arch", "vit_micro", "--image-size", "0"], "--image-size 0"),
        (["random", "--arch", "vit_micro"], "--scale"),
        (["random", "--arch", "vit_micro", "--data", ""], "--data is empty"),
        (["random", "--arch", "vit_micro", "--scale", "scenes", "--train-images", "0"], "--train-images 0: give 2"),
        (["random", "--arch", "vit_micro", "--scale", "scenes", "--epochs", "0"], "--epochs 0: give 1"),
        (
            ["vit_tiny_patch16_224", "--arch", "vit_micro"],
            "--arch vit_micro applies only to the source random; leave it out for vit_tiny_patch16_224",
        ),
        (["resnet18"], "is not a timm ViT or Swin"),
        (
            ["vit_base_patch32_plus_256"],
            "no pretrained weights under this name; give random with --arch vit_base_patch32_plus",
        ),
        (["vit_tiny_patch16_224.nothing"], "no pretrained weights under this name; choose vit_tiny_patch16_224."),
    ],
)
def test_what_is_no_source_is_said_in_one_line(arguments, expected, capsys):
    assert main(["evaluate", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and expected in error


def test_a_run_has_its_own_image_size(tiny_runs, capsys):
    assert main(["evaluate", str(tiny_runs["multi-0"]), "--image-size", "64"]) == 2
    assert "--image-size 64 applies only to a timm name or random; leave it out for" in capsys.readouterr().err


def test_random_is_the_untrained_encoder_of_its_seed():
    with fork(3, "encoder"):
        expected = rl.build_encoder("vit_micro", 32).state_dict()
    read = read_source("random", arch="vit_micro", seed=3)
    found = read.encoder.state_dict()
    assert read.random and read.encoder.image_size == 32
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    other = read_source("random", arch="swin_micro", image_size=64, seed=4)
    assert other.encoder.image_size == 64 and other.mean == (0.485, 0.456, 0.406)


def test_evaluate_random(monkeypatch, capsys):
    monkeypatch.setattr(sources, "SCENES_VAL", 100)
    command = [
        "evaluate",
        "random",
        "--arch",
        "vit_micro",
        "--scale",
        "scenes",
        "--train-images",
        "50",
        "--protocol",
        "knn",
    ]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert [line.split()[0] for line in shown.splitlines()] == ["scenes:", "knn_top1", "knn_top1_pixels"]
    read = read_source("random", arch="vit_micro")
    assert json.loads(read.description["timm_args"])["img_size"] == 32
