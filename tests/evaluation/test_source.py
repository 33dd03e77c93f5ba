"""A run folder, an exported folder and an encoder file are the same encoder with the same untrained control."""

import json
import shutil

import pytest
import torch

import repre_lite as rl
from repre_lite.cli import main
from repre_lite.data import sources
from repre_lite.evaluation import extract, knn_top1, read_source
from repre_lite.evaluation.export import export_encoder, export_file
from repre_lite.repre import RePre
from repre_lite.runs import describe_encoder, plain_tensors, save_networks
from repre_lite.runtime.errors import UserError
from repre_lite.runtime.files import load_tensors, save_tensors
from tests.small import SMALL, TINY


@pytest.fixture(autouse=True)
def few_images(monkeypatch):
    monkeypatch.setattr(sources, "SCENES_VAL", 100)


@pytest.fixture(scope="module")
def places(tiny_runs, tmp_path_factory):
    """The run, its encoder file, and both exports of it, none beside another."""
    root = tmp_path_factory.mktemp("exports")
    run = read_source(tiny_runs["multi-1"])
    export_encoder(run, root / "folder")
    export_file(run, root / "file.safetensors")
    shutil.copy(tiny_runs["multi-1"] / "encoder.safetensors", root / "copied.safetensors")
    return [tiny_runs["multi-1"], root / "folder", root / "file.safetensors", root / "copied.safetensors"]


def test_every_form_gives_the_same_encoder_control_and_images(places):
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(5)  # whatever ran before
    run, *others = (read_source(place) for place in places)
    assert run.run == places[0] and run.recipe.seed == 1
    trained, fresh = run.encoder(x), run.untrained()(x)
    assert not torch.equal(trained.pooled, fresh.pooled)
    images = run.images()
    for other in others:
        assert other.run is None and other.recipe.seed == 1 and not other.encoder.training
        assert (other.mean, other.std) == (run.mean, run.std)
        for wanted, encoder in ((trained, other.encoder), (fresh, other.untrained()), (fresh, other.untrained())):
            found = encoder(x)
            assert torch.equal(found.pooled, wanted.pooled)
            assert all(torch.equal(a, b) for a, b in zip(found.taps, wanted.taps, strict=True))
        assert torch.equal(other.images().train.images, images.train.images)


def test_evaluate_takes_all_of_them_and_gives_the_run_s_figures(places, capsys):
    shown = set()
    for place in places:
        assert main(["evaluate", str(place), "--protocol", "knn"]) == 0
        lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("knn")]
        assert len(lines) == 3
        shown.add("\n".join(lines))
    assert len(shown) == 1
    summary = json.loads((places[0] / "summary.json").read_text())
    assert f"{summary['knn_top1']:.4f}" in shown.pop()
    assert summary["evaluated_on"] == "scenes: 100 validation images by 64 training images"


def test_the_summary_says_what_the_linear_probe_read(places, capsys):
    for options, blocks in ((["--blocks", "2"], 2), ([], None)):
        assert main(["evaluate", str(places[0]), "--protocol", "linear", *options]) == 0
        assert json.loads((places[0] / "summary.json").read_text())["linear_blocks"] == blocks
        assert ("linear_blocks            2" in capsys.readouterr().out) == (blocks == 2)
    assert main(["evaluate", str(places[0]), "--protocol", "linear", "--blocks", "99"]) == 2
    assert "--blocks 99" in capsys.readouterr().err


def test_the_figure_is_that_of_the_run_s_features(places):
    read = read_source(places[1])
    source = read.images()
    x, x_val = (extract(read.encoder, part.images, read.mean, read.std) for part in (source.train, source.val))
    run = rl.load_run(places[0])
    y, y_val = (extract(run.evaluated, part.images, run.mean, run.std) for part in (source.train, source.val))
    labels = source.train.labels, source.val.labels
    assert knn_top1(x, labels[0], x_val, labels[1]) == knn_top1(y, labels[0], y_val, labels[1])


@pytest.mark.parametrize(
    "recipe",
    [
        rl.recipe("scenes", "moco_v3", encoder=TINY, method=SMALL["moco_v3"], seed=7, taps=2),
        rl.recipe("scenes", "dino", encoder={"dynamic_img_size": True} | TINY, method=SMALL["dino"], seed=8),
        rl.recipe("scenes", "simclr", arch="swin_micro", method=SMALL["simclr"], seed=9),
    ],
    ids=["vit", "dino", "swin"],
)
def test_the_control_is_where_the_run_began(recipe, tmp_path):
    model = RePre.from_recipe(recipe)
    began = {name: tensor.clone() for name, tensor in model.framework.evaluated.state_dict().items()}
    with torch.no_grad():
        for weight in model.framework.evaluated.parameters():
            weight += 0.1
    save_networks(model, recipe, tmp_path)
    torch.manual_seed(3)
    read = read_source(tmp_path / "encoder.safetensors")
    fresh = read.untrained().state_dict()
    assert fresh.keys() == began.keys() and all(torch.equal(fresh[name], began[name]) for name in began)
    held = read.encoder.state_dict()
    assert all(torch.equal(held[name], weight) for name, weight in model.framework.evaluated.state_dict().items())
    assert read.encoder.tap_indices == model.framework.evaluated.tap_indices


def test_a_file_without_a_recipe_has_one_control_too(places, tmp_path, capsys):
    """Files of earlier versions: the control is drawn from seed 0, and the images must be named."""
    tensors, description = load_tensors(places[3])
    for recipe in (None, json.dumps({"scale": "scenes"})):
        description.pop("recipe", None)
        save_tensors(tmp_path / "old.safetensors", tensors, description | ({"recipe": recipe} if recipe else {}))
        first, second = (read_source(tmp_path / "old.safetensors") for _ in range(2))
        assert first.recipe is None
        one, two = first.untrained().state_dict(), second.untrained().state_dict()
        assert all(torch.equal(one[name], two[name]) for name in one)
        with pytest.raises(UserError, match="scale="):
            first.images()
        assert len(first.images("scenes", None, 30).train) == 30
    said = capsys.readouterr()
    assert (said.out + said.err).count("the untrained control has timm's initialisation") == 1


def test_images_of_another_scale_are_not_looked_for_in_the_run_s_folder(places, tmp_path):
    read = read_source(places[2])
    with pytest.raises(UserError, match="data"):
        read.images("folder")
    other = rl.recipe("folder", "simclr", size="small", encoder=TINY, data=str(tmp_path))
    read = type(read)("x", read.encoder, read.mean, read.std, other, None, {})
    assert len(read.images("scenes", None, 20).train) == 20
    with pytest.raises(UserError, match=str(tmp_path)):
        read.images()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_said_to_be_so(value, places, tmp_path, capsys):
    tensors, description = load_tensors(places[3])
    tensors["blocks.3.attn.qkv.weight"][0, 0] = value
    save_tensors(tmp_path / "ruined.safetensors", tensors, description)
    run = tmp_path / "run"
    shutil.copytree(places[0], run)
    state = torch.load(run / "checkpoint.pt", weights_only=True)
    name = next(key for key in state["model"] if key.endswith("online.backbone.blocks.3.attn.qkv.weight"))
    state["model"][name][0, 0] = value
    torch.save(state, run / "checkpoint.pt")
    before = (run / "summary.json").read_bytes()
    for place in (tmp_path / "ruined.safetensors", run):
        for verb in (["evaluate", str(place)], ["export", str(place), "--out", str(tmp_path / "out")]):
            assert main(verb) == 2
            error = capsys.readouterr().err
            assert "not finite" in error and "blocks.3.attn.qkv.weight" in error and error.count("\n") == 1
    assert (run / "summary.json").read_bytes() == before and not (tmp_path / "out").exists()


def test_foreign_files_and_folders_are_refused_in_one_line(places, tmp_path, capsys):
    save_tensors(tmp_path / "plain.safetensors", {"x": torch.zeros(1)})
    tensors, description = load_tensors(places[3])
    fewer = dict(list(tensors.items())[:-1])
    save_tensors(tmp_path / "fewer.safetensors", fewer, description)
    save_tensors(tmp_path / "strange.safetensors", tensors, description | {"mean": "three", "recipe": "{"})
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "config.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("no encoder")
    for name in ("plain.safetensors", "fewer.safetensors", "strange.safetensors", "half", "empty", "text", "missing"):
        assert main(["evaluate", str(tmp_path / name), "--scale", "scenes"]) == 2, name
        error = capsys.readouterr().err
        assert str(tmp_path / name) in error and error.count("\n") == 1, error


def test_the_metadata_tells_nothing_of_the_machine():
    recipe = rl.recipe("folder", "simclr", size="small", encoder=TINY, data="/disk/of/somebody/images", device="cpu")
    encoder = RePre.from_recipe(recipe).framework.evaluated
    assert "somebody" not in json.dumps(describe_encoder(encoder, recipe, (0.5,) * 3, (0.5,) * 3))
    assert all(tensor.dtype is torch.float32 for tensor in plain_tensors(encoder.backbone.double()).values())
