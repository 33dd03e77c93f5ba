"""A file is the old one or the new one; a torn line costs that line only; nothing foreign is unpickled."""

import json
import os
import pickle
from pathlib import Path

import pytest
import torch

from repre_lite.runtime import files
from repre_lite.runtime.errors import UserError

STATE = {"model": {"weight": torch.arange(6.0).view(2, 3)}, "step": 3, "names": ["a", None, True]}


@pytest.fixture
def checkpoint(tmp_path):
    files.save_checkpoint(tmp_path / "checkpoint.pt", STATE)
    return tmp_path / "checkpoint.pt"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_write_replaces_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    files.write_text(path, "old, and longer\n")
    files.write_text(path, "né\n")
    assert path.read_bytes() == "né\n".encode()
    assert names(tmp_path) == ["a.txt"]
    files.write_json(path, {"a": [1, None]})
    assert json.loads(path.read_text()) == {"a": [1, None]}


def test_a_name_that_is_no_text_is_escaped(tmp_path):
    files.write_text(tmp_path / "page.html", "caf\udce9, café")
    assert (tmp_path / "page.html").read_bytes() == b"caf\\udce9, caf\xc3\xa9"


@pytest.mark.parametrize("moment", ["fsync", "chmod", "replace"])
@pytest.mark.parametrize("crash", [KeyboardInterrupt, MemoryError])
def test_a_crash_in_the_middle_keeps_the_old_file(tmp_path, monkeypatch, moment, crash):
    path = tmp_path / "a.txt"
    files.write_text(path, "old")

    def fail(*_):
        raise crash

    monkeypatch.setattr(files.os, moment, fail)
    with pytest.raises(crash):
        files.write_text(path, "new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_readers_see_the_old_file_until_the_new_one_is_whole(tmp_path, monkeypatch):
    path, seen = tmp_path / "a.txt", []
    files.write_text(path, "old")
    replace = os.replace

    def watched(temporary, target):
        seen.append((path.read_text(), Path(temporary).read_text()))
        replace(temporary, target)

    monkeypatch.setattr(files.os, "replace", watched)
    files.write_text(path, "new")
    assert seen == [("old", "new")] and path.read_text() == "new"


def test_a_full_disk_is_a_user_error_and_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    files.write_text(path, "old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(UserError, match="a.txt.*No space left"):
        files.write_text(path, "new")
    assert path.read_text() == "old" and names(tmp_path) == ["a.txt"]
    with pytest.raises(UserError, match="missing"):
        files.write_text(tmp_path / "missing" / "a.txt", "new")


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")
def test_others_may_read_what_was_written(tmp_path):
    files.write_text(tmp_path / "ours", "")
    (tmp_path / "plain").write_text("")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_sweep_removes_what_a_killed_process_was_writing(tmp_path):
    (tmp_path / f"{files.TEMPORARY}x1").write_text("half")
    (tmp_path / "kept").write_text("")
    files.sweep(tmp_path)
    assert names(tmp_path) == ["kept"]


def test_jsonl_appends_and_survives_a_torn_last_line(tmp_path):
    path = tmp_path / "m.jsonl"
    for step in range(3):
        files.append_jsonl(path, {"step": step, "loss": float("nan") if step == 1 else 0.5})
    whole = [{"step": 0, "loss": 0.5}, {"step": 1, "loss": None}, {"step": 2, "loss": 0.5}]
    assert files.read_jsonl(path) == whole
    data = path.read_bytes()
    start = data.rstrip(b"\n").rindex(b"\n") + 1  # where the last line begins
    for end in range(start, len(data) - 1):
        path.write_bytes(data[:end])
        assert files.read_jsonl(path) == whole[:2]


def test_broken_lines_are_left_out(tmp_path):
    """Lines torn by a kill, zeros that a power failure leaves, lines that are no records."""
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"step": 0}\n{"st\n\0\0\0\0\n3\n{"step": 2}\n\xff\n')
    assert files.read_jsonl(path) == [{"step": 0}, {"step": 2}]
    assert files.read_jsonl(tmp_path / "missing.jsonl") == []


def test_truncate_drops_records_and_the_torn_line_so_that_appending_goes_on(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"ste')
    files.truncate_jsonl(path, lambda record: record["step"] <= 2)
    files.append_jsonl(path, {"step": 3})
    assert [record["step"] for record in files.read_jsonl(path)] == [1, 2, 3]
    files.truncate_jsonl(tmp_path / "new.jsonl", lambda record: True)  # a run that logged nothing yet
    assert files.read_jsonl(tmp_path / "new.jsonl") == []


@pytest.mark.parametrize("value", [float("inf"), float("-inf")])
def test_infinities_become_null(tmp_path, value):
    files.append_jsonl(tmp_path / "m.jsonl", {"loss": value})
    assert (tmp_path / "m.jsonl").read_text() == '{"loss": null}\n'


def test_checkpoints_load_with_weights_only(checkpoint):
    for loaded in (torch.load(checkpoint, weights_only=True), files.load_checkpoint(checkpoint)):
        assert torch.equal(loaded["model"]["weight"], STATE["model"]["weight"])
        assert (loaded["step"], loaded["names"]) == (3, ["a", None, True])


def test_a_crash_while_saving_keeps_the_last_checkpoint(checkpoint, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(KeyboardInterrupt):
        files.save_checkpoint(checkpoint, STATE | {"step": 4})
    assert files.load_checkpoint(checkpoint)["step"] == 3


def test_a_truncated_checkpoint_is_a_user_error_wherever_it_ends(checkpoint):
    data = checkpoint.read_bytes()
    for end in range(0, len(data), 97):
        checkpoint.write_bytes(data[:end])
        with pytest.raises(UserError, match=r"checkpoint\.pt.*truncated.*restore it"):
            files.load_checkpoint(checkpoint)


class Harmful:
    """Touches a file when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize(
    "wrap", [lambda value, stream: pickle.dump(value, stream, 2), torch.save], ids=["pickle", "torch"]
)
def test_foreign_code_is_refused_and_does_not_run(tmp_path, wrap):
    with open(tmp_path / "foreign.pt", "wb") as stream:
        wrap({"model": Harmful(tmp_path / "ran")}, stream)
    with pytest.raises(UserError, match=r"foreign\.pt"):
        files.load_checkpoint(tmp_path / "foreign.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello\n",
        b"\x93NUMPY\x01\x00v\x00",
        b"PK\x03\x04",
        b"encoder weights\n",
        b".gitignore\n",
        b"\x80\x02X",
    ],
)
def test_a_foreign_file_is_a_user_error(tmp_path, data):
    (tmp_path / "foreign.pt").write_bytes(data)
    with pytest.raises(UserError, match=r"foreign\.pt"):
        files.load_checkpoint(tmp_path / "foreign.pt")


def test_missing_files_and_folders_are_user_errors(tmp_path):
    for load in (files.load_checkpoint, files.load_tensors):
        for path in (tmp_path / "none", tmp_path):
            with pytest.raises(UserError, match=path.name):
                load(path)


def test_tensors_come_back_with_their_metadata_and_truncated_ones_do_not(tmp_path):
    path = tmp_path / "e.safetensors"
    files.save_tensors(path, {"a": torch.eye(3)}, {"timm_name": "x"})
    tensors, metadata = files.load_tensors(path)
    assert torch.equal(tensors["a"], torch.eye(3)) and metadata == {"timm_name": "x"}
    files.save_tensors(path, {"a": torch.eye(3)})
    assert files.load_tensors(path)[1] == {}
    data = path.read_bytes()
    for end in (0, 5, 20, len(data) - 1):
        path.write_bytes(data[:end])
        with pytest.raises(UserError, match=r"e\.safetensors"):
            files.load_tensors(path)
