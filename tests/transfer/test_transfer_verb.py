"""`repre-lite transfer`: an option for every setting, one line for what is wrong, scores on screen."""

import json

from repre_lite.cli import main
from repre_lite.cli.parser import build_parser
from repre_lite.runs import SUMMARY
from repre_lite.transfer.settings import FIELDS, TransferRecipe, transfer_recipe

SMALL = "--steps 1 --batch-size 2 --workers 0 --device cpu --crop 24 --short-side 32 --head-width 8"


def test_every_setting_has_an_option():
    parsed = build_parser().parse_args(
        [
            "transfer",
            "RUN",
            "--task",
            "segmentation",
            "--scale",
            "folder",
            "--data",
            "d",
            "--out",
            "o",
            "--crop",
            "64",
            "--frozen",
            "--head",
            "mla",
            "--lr",
            "none",
        ][:-2]
    )
    assert isinstance(transfer_recipe("x", "segmentation", crop=parsed.crop, data=parsed.data), TransferRecipe)
    assert parsed.frozen is True and parsed.head == "mla" and parsed.crop == 64
    text = next(a for a in build_parser()._actions if a.dest == "verb").choices["transfer"].format_help()
    assert all("--" + name.replace("_", "-") in text for name in FIELDS if name != "source")


def test_the_command_prints_scores_beside_the_majority(vit, street, tmp_path, capsys):
    command = f"transfer {vit} --task segmentation --data {street} --out {tmp_path / 'run'} {SMALL}"
    assert main(command.split()) == 0
    printed = capsys.readouterr().out
    summary = json.loads((tmp_path / "run" / SUMMARY).read_text())
    assert f"{summary['miou']:.4f}" in printed and "miou_majority" in printed and "predictions.png" in printed


def test_what_is_wrong_is_one_line_in_options(vit, street, tmp_path, capsys):
    command = f"transfer {vit} --task segmentation --data {street} --out {tmp_path / 'run'} {SMALL} --head upernet"
    assert main(command.split()) == 2
    error = capsys.readouterr().err
    assert "--head upernet does not fit this encoder" in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()
