"""A machine that cannot compile says so in one line, before anything is written."""

import torch

from repre_lite.cli import main


def test_no_compiler_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, capsys):
    def fail(function):
        raise RuntimeError("\nNo working C++ compiler found\n  a long story")

    monkeypatch.setattr(torch, "compile", fail)
    tiny = ["--steps", "1", "--batch-size", "4", "--train-images", "16"]
    assert main(["pretrain", "--out", str(tmp_path / "run"), "--compile", *tiny]) == 2
    error = capsys.readouterr().err
    assert (
        error.count("\n") == 1
        and "--compile: torch.compile does not work here (No working C++ compiler found)" in error
    )
    assert not (tmp_path / "run").exists()
