"""The trained runs of the package: they open, have learned what their summary says, and are small."""

import json
import zlib
from pathlib import Path

import pytest
import torch

import repre_lite as rl
from repre_lite.course.artefacts import FOLDER, PAIRS, names, pairs
from repre_lite.data.scenes import VAL_START
from repre_lite.evaluation import extract, knn_top1
from repre_lite.runs import SNAPSHOTS
from repre_lite.runtime.files import RELATIVE_TO, load_tensors, save_tensors
from repre_lite.runtime.quantise import shrink
from repre_lite.visualize.kit.capture import capture, middle_half
from repre_lite.visualize.truth import Truth

ARMS = ["multi", "detached"]  # those with snapshots
NEW = rl.scenes(range(VAL_START, VAL_START + 200), size=32)


def test_there_are_three_arms():
    assert names() == ("detached", "multi", "single")
    with pytest.raises(rl.UserError, match="no artefact 'triple': choose one of detached, multi, single"):
        rl.artefact("triple")


@pytest.mark.parametrize("name", names())
def test_it_has_learned(name):
    run, bank = rl.artefact(name), rl.scenes(range(1000), size=32)
    assert run.summary["finished"] and run.recipe.steps == run.summary["steps"] == run.metrics[-1]["step"]
    known, unknown = (extract(run.evaluated, held.images, run.mean, run.std) for held in (bank, NEW))
    accuracy = knn_top1(known, bank.labels, unknown, NEW.labels)
    assert 0.8 < accuracy <= run.summary["knn_top1"] + 0.05  # with a twentieth of the images to compare with
    view = NEW.images.float() / 255
    assert float((run.reconstruct(view) - view).abs().mean()) == pytest.approx(run.summary["scene_l1"], rel=0.1)
    for measure in ("knn_top1", "linear_top1"):
        assert abs(run.summary[measure] - run.summary[f"{measure}_fp32"]) < 0.003


@pytest.mark.parametrize("name", ARMS)
def test_its_snapshots_lead_to_it(name):
    run = rl.artefact(name)
    assert run.snapshots == (0, 47, 158, 375, 732, 1266, 2010, 3000)
    view = NEW.images[:50].float() / 255
    errors = []
    with torch.no_grad():
        for step in run.snapshots:
            model = run.at(step)
            errors.append(
                float((model.decoder(model.framework.evaluated(model.normalise(view)).taps) - view).abs().mean())
            )
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] == pytest.approx(float((run.reconstruct(view) - view).abs().mean()), abs=1e-6)


def test_both_arms_start_from_one_encoder():
    one, other = (rl.artefact(name).at(0).framework.evaluated.state_dict() for name in ("multi", "detached"))
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("name", names())
def test_attention_finds_objects(name):
    """IoU of the object and the patches that hold 60 % of the attention, against the untrained encoder's."""
    run = rl.artefact(name)
    shift, scale = (torch.tensor(values).view(3, 1, 1) for values in (run.mean, run.std))
    found = []
    for encoder in (run.evaluated, run.at(0).framework.evaluated):
        blocks = middle_half(capture(encoder.backbone, (NEW.images[0].float() / 255 - shift) / scale)[0])
        found.append(
            float(Truth.compute(encoder, lambda x: (x - shift) / scale, NEW, mass=0.6, blocks=blocks).iou.mean())
        )
    assert found == pytest.approx([run.summary["attention_iou"], run.summary["attention_iou_untrained"]], abs=0.01)
    assert found[0] > 1.4 * found[1] and found[0] > 1.4 * float(NEW.masks.float().mean())


def test_ten_megabytes_in_all():
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert sum(len(zlib.compress(path.read_bytes())) for path in files) < 10e6
    assert not any(
        "/" in json.dumps(json.loads((FOLDER / name / "recipe.json").read_text())["data"]) for name in names()
    )


def test_a_file_relative_to_another(tmp_path):
    base, moved = {"w": torch.randn(4, 8)}, {"w": torch.randn(4, 8) / 100}
    save_tensors(tmp_path / "base.safetensors", base, {})
    (tmp_path / SNAPSHOTS).mkdir()
    save_tensors(tmp_path / SNAPSHOTS / "x.safetensors", shrink(moved), {RELATIVE_TO: "../base.safetensors"})
    found, _ = load_tensors(tmp_path / SNAPSHOTS / "x.safetensors")
    assert torch.allclose(found["w"], base["w"] + moved["w"], atol=1e-3)
    save_tensors(tmp_path / "base.safetensors", {"v": base["w"]}, {})
    with pytest.raises(rl.UserError, match="does not fit ../base.safetensors"):
        load_tensors(tmp_path / SNAPSHOTS / "x.safetensors")


def test_the_pairs_are_those_of_the_results():
    committed = Path(__file__).parents[2] / "results" / PAIRS.name
    if committed.parent.exists():  # an installed package has no results/
        assert PAIRS.read_bytes() == committed.read_bytes(), f"copy {committed} to {PAIRS}"
    found = pairs("knn_top1")
    assert found["multi"][0] == 0.7945 and found["detached"][7] == 0.7635 and list(found["single"]) == list(range(8))
    with pytest.raises(rl.UserError, match="no measure 'knn': choose one of knn_top1"):
        pairs("knn")
