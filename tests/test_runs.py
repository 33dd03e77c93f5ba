"""A run folder without its checkpoint, as artefacts are stored: the evaluated networks suffice if training has ended."""

import json
import shutil

import pytest
import torch
from small import SMALL, TINY

import repre_lite as rl
from repre_lite.cli import main
from repre_lite.runs import CHECKPOINT, DECODER, ENCODER, SNAPSHOTS, SUMMARY
from repre_lite.runtime.files import load_tensors, save_tensors
from repre_lite.runtime.quantise import shrink


def trained(out, framework="moco_v3"):
    recipe = rl.recipe(
        "scenes", framework, steps=2, batch_size=8, train_images=32, encoder=TINY, method=SMALL[framework], device="cpu"
    )
    return rl.train(recipe, out, quiet=True)


def test_a_finished_run_opens_without_its_checkpoint(tmp_path):
    run = trained(tmp_path / "run")
    view = torch.rand(2, 3, 32, 32)
    whole = run.reconstruct(view)
    (tmp_path / "run" / CHECKPOINT).unlink()
    assert torch.equal(rl.load_run(tmp_path / "run").reconstruct(view), whole)

    for name in (ENCODER, DECODER):  # and with weights as small integers
        path = tmp_path / "run" / name
        save_tensors(path, shrink(load_tensors(path)[0]))
    small = rl.load_run(tmp_path / "run").reconstruct(view)
    assert not torch.equal(small, whole)
    assert (small - whole).abs().max() < 0.05 * whole.abs().max()

    (tmp_path / "run" / ENCODER).unlink()
    with pytest.raises(rl.UserError, match=f"{ENCODER}: no such file; restore it from a copy, or give another run"):
        rl.load_run(tmp_path / "run")


def test_an_unfinished_run_does_not(tmp_path):
    trained(tmp_path / "run")
    (tmp_path / "run" / CHECKPOINT).unlink()
    summary = json.loads((tmp_path / "run" / SUMMARY).read_text())
    (tmp_path / "run" / SUMMARY).write_text(json.dumps(summary | {"finished": False}))
    with pytest.raises(rl.UserError, match="wait until the run has reached its first checkpoint, or start it again"):
        rl.load_run(tmp_path / "run")


def test_nor_one_whose_decoder_reads_another_encoder_than_the_evaluated(tmp_path, capsys):
    """But its evaluated encoder is a source of its own, and the error names that file."""
    trained(tmp_path / "run", "dino")
    (tmp_path / "run" / CHECKPOINT).unlink()
    file = tmp_path / "run" / ENCODER
    for verb in (["evaluate"], ["export", "--out", str(tmp_path / "out")]):
        assert main([verb[0], str(tmp_path / "run"), *verb[1:]]) == 2
        said = capsys.readouterr().err
        assert f"give {file} instead" in said and "wait" not in said and said.count("\n") == 1
    assert main(["export", str(file), "--out", str(tmp_path / "out")]) == 0


def test_a_copied_snapshot_is_none_of_the_run(tmp_path):
    run = trained(tmp_path / "run")
    for name in ("step-0000001", "step-0000001 (1)", "step-last"):
        (run.folder / SNAPSHOTS / name).mkdir(parents=True)
        shutil.copy(run.folder / ENCODER, run.folder / SNAPSHOTS / name)
    assert run.snapshots == (0, 1, 2)


def test_networks_of_another_run_are_refused(tmp_path):
    trained(tmp_path / "run")
    (tmp_path / "run" / CHECKPOINT).unlink()
    save_tensors(tmp_path / "run" / ENCODER, {"foreign": torch.zeros(1)})
    with pytest.raises(rl.UserError, match="encoder.safetensors: does not fit recipe.json"):
        rl.load_run(tmp_path / "run")
