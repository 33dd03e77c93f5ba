"""An export is what timm loads: the same features from the same pixels, a card, and never half of it."""

import dataclasses
import json
import os
import shutil

import pytest
import timm
import torch
from PIL import Image
from safetensors import safe_open

import repre_lite as rl
from repre_lite.cli import main
from repre_lite.data.sources import load_source
from repre_lite.evaluation import EncoderSource, at_size, export, export_encoder, read_source
from repre_lite.evaluation.card import model_card
from repre_lite.repre import RePre
from repre_lite.runs import merge_summary
from repre_lite.runtime.errors import UserError
from repre_lite.runtime.files import load_tensors
from tests.small import SMALL, TINY

SWIN = {"embed_dim": 16, "depths": (1, 2, 1), "num_heads": (1, 2, 4)}
MEAN, STD = (0.31, 0.42, 0.53), (0.2, 0.3, 0.4)
CASES = {
    "vit": rl.recipe("scenes", "moco_v3", method=SMALL["moco_v3"]),
    "vit, narrow": rl.recipe("scenes", "simclr", encoder=TINY, method=SMALL["simclr"]),
    "vit, 224": rl.recipe("imagenet1k", "moco_v3", arch="vit_tiny", encoder=TINY, method=SMALL["moco_v3"]),
    "timm's vit, patch 8": rl.recipe("scenes", "simclr", arch="vit_tiny_patch16_224", patch_size=8, encoder=TINY),
    "timm's deit": rl.recipe("scenes", "simclr", arch="deit_tiny_distilled_patch16_224", patch_size=8, encoder=TINY),
    "swin": rl.recipe("scenes", "simclr", arch="swin_micro", encoder=SWIN, method=SMALL["simclr"]),
    "dino": rl.recipe("scenes", "dino", encoder={"dynamic_img_size": True} | TINY, method=SMALL["dino"]),
    "dino, swin": rl.recipe(
        "scenes", "dino", arch="swin_micro", encoder={"strict_img_size": False} | SWIN, method=SMALL["dino"]
    ),
}


def source_of(recipe):
    """An encoder whose weights no initialisation could give."""
    encoder = RePre.from_recipe(recipe, MEAN, STD).framework.evaluated.eval()
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in encoder.parameters():
            weight += 0.05 * torch.randn(weight.shape, generator=draw)
    return EncoderSource("made here", encoder, MEAN, STD, recipe, None, {})


@pytest.mark.parametrize("recipe", CASES.values(), ids=CASES)
def test_a_folder_loads_in_timm_with_identical_features_and_the_right_input(recipe, tmp_path):
    source = source_of(recipe)
    export_encoder(source, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["README.md", "config.json", "model.safetensors", "out"]
    model = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    size = recipe.image_size
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(model(x), source.encoder(x, taps=False).pooled)
    data = timm.data.resolve_model_data_config(model)
    assert tuple(data["input_size"]) == (3, size, size)
    assert tuple(data["mean"]) == MEAN and tuple(data["std"]) == STD
    assert model.num_classes == 0 and model.num_features == source.encoder.width


@pytest.mark.parametrize(
    ("shape", "size", "most"), [((300, 300), 32, 0.01), ((300, 300), 104, 0.01), ((300, 300), 224, 0.01),
                                ((340, 270), 32, 1.2), ((340, 270), 224, 1.2)]
)  # fmt: skip
def test_timm_prepares_image_files_as_evaluation_does(shape, size, most, tmp_path):
    """Both resize a file bicubically and cut out its centre; above 96 pixels with a margin, 256 for 224.

    Of an image that is not square timm rounds the longer side to whole pixels and ours does not.
    """
    encoder = rl.build_encoder("vit_tiny", size, 8, **TINY)
    export_encoder(EncoderSource("made here", encoder, MEAN, STD, None, None, {}), tmp_path / "out")
    model = timm.create_model(f"local-dir:{tmp_path / 'out'}")
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    pixels = torch.randint(0, 256, (3, *shape), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    blurred = torch.nn.functional.avg_pool2d(pixels.float(), 3, 1, 1).to(
        torch.uint8
    )  # fine detail, which filters change
    for part, label in (("train", "a"), ("train", "b"), ("val", "a"), ("val", "b")):
        path = tmp_path / "images" / part / label / "0.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(blurred.permute(1, 2, 0).numpy()).save(path)
    made = transform(Image.open(path))
    image = load_source("folder", str(tmp_path / "images"), size).val.images[0]
    ours = (at_size(image[None], size)[0] - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    assert ((made - ours).abs() * torch.tensor(STD).view(3, 1, 1) * 255).mean() < most  # in levels of 255


def test_a_dino_export_still_takes_other_sizes(tmp_path):
    export_encoder(source_of(CASES["dino"]), tmp_path / "out")
    model = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True)
    assert model(torch.zeros(1, 3, 48, 48)).shape == (1, 32)


def test_the_card_is_front_matter_and_says_what_and_how(tiny_runs, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(tiny_runs["multi-0"], run)
    merge_summary(run, {"knn_top1": 0.4321, "knn_top1_untrained": 0.3, "evaluated_on": "folder: 6 by 12"})
    facts = json.loads((run / "recipe.json").read_text())
    (run / "recipe.json").write_text(json.dumps(facts | {"versions": facts["versions"] | {"repre_lite": "9.9"}}))
    export_encoder(read_source(run), tmp_path / "my-encoder")
    card = (tmp_path / "my-encoder" / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\n")
    front, body = card[4:].split("\n---\n")
    fields = dict(line.split(": ") for line in front.splitlines() if ": " in line)
    assert fields == {"library_name": "timm", "license": "mit", "pipeline_tag": "image-feature-extraction"}
    tags = [line[2:] for line in front.splitlines() if line.startswith("- ")]
    assert {"timm", "moco-v3"} <= set(tags) and all(tag == tag.lower() and " " not in tag for tag in tags)
    for part in ("# my-encoder", "`moco_v3`", "`multi`", "`scenes`, 64", "4 steps", "trained without labels by repre-lite 9.9", "43.2 %", "30.0 %", "folder: 6 by 12", "MIT", "RePre",
                 'create_model("local-dir:my-encoder", pretrained=True)'):  # fmt: skip
        assert part in body, part
    recipe = json.loads(body.split("```json\n")[1].split("```")[0])
    assert recipe["batch_size"] == 8 and "data" not in recipe and "device" not in recipe  # nothing of this machine
    assert str(tmp_path) not in card


def test_a_card_claims_no_training_that_it_does_not_know():
    source = source_of(CASES["vit, narrow"])
    foreign = model_card(dataclasses.replace(source, recipe=None), "mine", {})
    assert "who trained it" in foreign
    assert not any(word in foreign for word in ("license: mit", "without labels", "self-supervised", "unknown"))
    control = model_card(dataclasses.replace(source, description={"framework": "supervised"}), "mine", {})
    assert "trained with labels by repre-lite" in control
    assert "without labels" not in control and "self-supervised" not in control


def test_the_code_in_the_card_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    export_encoder(source_of(CASES["vit, narrow"]), "mine")
    Image.new("RGB", (50, 40), (200, 30, 30)).save("image.png")
    code = (tmp_path / "mine" / "README.md").read_text().split("```python\n")[1].split("```")[0]
    names = {}
    exec(code, names)
    assert names["features"].shape == (1, 32)


def test_the_verb_writes_a_folder_or_a_file(tiny_runs, tmp_path, capsys):
    run = tiny_runs["multi-0"]
    assert main(["export", str(run), "--out", str(tmp_path / "deep" / "folder")]) == 0
    assert "local-dir:" in capsys.readouterr().out
    assert main(["export", str(run), "--out", str(tmp_path / "file.safetensors")]) == 0
    x = torch.randn(2, 3, 32, 32)
    wanted = rl.load_run(run).evaluated(x).pooled
    description = json.loads((tmp_path / "file.json").read_text())
    models = [
        timm.create_model(f"local-dir:{tmp_path / 'deep' / 'folder'}", pretrained=True),
        timm.create_model(
            description["name"], checkpoint_path=str(tmp_path / "file.safetensors"), **description["args"]
        ),
    ]
    for model in models:
        assert torch.equal(model.eval()(x), wanted)
    with safe_open(tmp_path / "deep" / "folder" / "model.safetensors", "pt") as stream:
        assert stream.metadata()["format"] == "pt"


@pytest.mark.skipif(os.name == "nt", reason="permissions")
def test_a_folder_in_a_shared_one_is_its_owners(tmp_path):
    tmp_path.chmod(0o1777)
    before = os.umask(0o022)
    try:
        export_encoder(source_of(CASES["vit, narrow"]), tmp_path / "mine")
    finally:
        os.umask(before)
    assert (tmp_path / "mine").stat().st_mode & 0o7777 == 0o755


def test_an_untrained_encoder_is_not_exported(tmp_path, capsys):
    assert main(["export", "random", "--out", str(tmp_path / "x")]) == 2
    said = capsys.readouterr().err
    assert "an untrained encoder is not exported; give a run folder" in said and "--arch" not in said


def test_a_count_of_images_that_is_not_known_is_a_limit(tiny_runs):
    source = dataclasses.replace(read_source(tiny_runs["multi-0"]), run=None)
    source = dataclasses.replace(source, recipe=dataclasses.replace(source.recipe, train_images=10_000))
    assert "`scenes`, at most 10,000" in model_card(source, "mine", {})


def test_an_export_can_be_exported_again(tmp_path):
    export_encoder(source_of(CASES["swin"]), tmp_path / "one")
    assert main(["export", str(tmp_path / "one"), "--out", str(tmp_path / "two.safetensors")]) == 0
    assert main(["export", str(tmp_path / "two.safetensors"), "--out", str(tmp_path / "three")]) == 0
    (one, described), (three, again) = (load_tensors(tmp_path / n / "model.safetensors") for n in ("one", "three"))
    assert (
        described == again and one.keys() == three.keys() and all(torch.equal(one[name], three[name]) for name in one)
    )
    assert (tmp_path / "one" / "config.json").read_bytes() == (tmp_path / "three" / "config.json").read_bytes()


@pytest.mark.parametrize("holding", ["notes.txt", "recipe.json", "config.json"])
def test_a_folder_that_holds_something_is_refused_and_untouched(holding, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / holding).write_text("mine")
    with pytest.raises(UserError, match="out=.*not an empty folder"):
        export_encoder(source_of(CASES["vit, narrow"]), tmp_path / "out")
    assert [p.name for p in tmp_path.rglob("*")] == ["out", holding]
    (tmp_path / "out" / holding).unlink()
    export_encoder(source_of(CASES["vit, narrow"]), tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").exists()


@pytest.mark.parametrize("stage", ["save_tensors", "write_json", "write_text", "rename"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")], ids=["stopped", "full"])
def test_an_interrupted_export_leaves_nothing(stage, error, tmp_path, monkeypatch):
    def stop(*_):
        raise error

    monkeypatch.setattr(export.os if stage == "rename" else export.files, stage, stop)
    with pytest.raises(KeyboardInterrupt if error is KeyboardInterrupt else UserError):
        export_encoder(source_of(CASES["vit, narrow"]), tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_what_timm_loads_with_a_network_only_is_not_written(tmp_path, monkeypatch):
    """timm builds some hybrids on a pretrained ResNet, and asks a hub for its weights."""
    source = source_of(CASES["vit, narrow"])

    def create(*_, **__):
        raise FileNotFoundError("cannot find the requested files")  # without strerror, as of the hub's client

    monkeypatch.setattr(timm, "create_model", create)
    with pytest.raises(
        UserError, match=r"does not load .*\(cannot find the requested files\); export to a .safetensors file"
    ):
        export_encoder(source, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_what_timm_would_not_load_is_not_written(tmp_path, monkeypatch):
    source = source_of(CASES["vit, narrow"])
    source.encoder.timm_args.pop("embed_dim")
    with pytest.raises(UserError, match="timm .* does not load"):
        export_encoder(source, tmp_path / "out")
    source = source_of(CASES["vit, narrow"])
    load = timm.create_model

    def change(*arguments, **options):
        model = load(*arguments, **options)
        model.norm.weight.data[3] += 1
        return model

    monkeypatch.setattr(export.timm, "create_model", change)
    with pytest.raises(UserError, match="changes the weights"):
        export_encoder(source, tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("out", ["encoder.pt", "encoder.bin", "missing/encoder.safetensors", "folder.safetensors"])
def test_other_names_are_refused_in_one_line(out, tiny_runs, tmp_path, capsys):
    (tmp_path / "folder.safetensors").mkdir()
    assert main(["export", str(tiny_runs["multi-0"]), "--out", str(tmp_path / out)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "Traceback" not in error
    assert [p.name for p in tmp_path.rglob("*")] == ["folder.safetensors"]


def test_an_export_into_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="out="):
        export_encoder(source_of(CASES["vit, narrow"]), tmp_path / "file")
    with pytest.raises(UserError, match="out="):
        export_encoder(source_of(CASES["vit, narrow"]), tmp_path / "file" / "below")
    assert (tmp_path / "file").read_text() == "mine"
