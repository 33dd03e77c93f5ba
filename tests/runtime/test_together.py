"""Several processes, one after the other in this one: whatever fails where, one message and the same status."""

import pytest
import torch

from repre_lite.cli import main
from repre_lite.runtime import together as module
from repre_lite.runtime.errors import UserError
from repre_lite.runtime.together import together

MINE, OTHERS = UserError("mine"), RuntimeError("Connection closed by peer")


@pytest.fixture
def processes(monkeypatch):
    """torchrun's store, and `end(rank, error)`: what a process prints that ends with an error, or that it crashes."""
    store = torch.distributed.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    for name, value in (("MASTER_ADDR", "localhost"), ("MASTER_PORT", store.port), ("WORLD_SIZE", 2)):
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(module, "PATIENCE", 0.2)

    def end(rank, error):
        monkeypatch.setenv("RANK", str(rank))
        said = []

        def fail():
            raise error

        try:
            assert together(fail, said.append) == 2
        except RuntimeError:
            return "crash"
        return said

    yield end
    del store


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ([(0, MINE), (1, MINE)], [["mine"], []]),
        ([(1, MINE), (0, MINE)], [["mine"], []]),  # the main one took longer than the patience of the other
        ([(0, MINE), (1, OTHERS)], [["mine"], []]),
        ([(1, MINE), (0, OTHERS)], [["mine"], []]),
        ([(0, OTHERS), (1, OTHERS)], ["crash", "crash"]),
    ],
)
def test_a_message_is_said_once(processes, ends, expected):
    assert [processes(*end) for end in ends] == expected


def test_the_main_process_says_what_another_one_raised(processes, monkeypatch):
    monkeypatch.setattr(module, "_wait", lambda store: said.append(processes(0, OTHERS)))
    said = []
    assert processes(1, MINE) == [] and said == [["mine"]]


def test_after_a_restart_there_is_a_message_again(processes, monkeypatch):
    assert processes(0, MINE) == ["mine"]
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert processes(0, MINE) == ["mine"]


def test_without_a_store_no_error_is_lost(processes, monkeypatch):
    monkeypatch.setenv("MASTER_PORT", "1")
    assert [processes(rank, MINE) for rank in (0, 1)] == [["mine"], ["mine"]] and processes(1, OTHERS) == "crash"


def test_success_prints_nothing_and_keeps_its_status(processes):
    assert together(lambda: 0, pytest.fail) == 0


def test_the_command_line_speaks_once(processes, monkeypatch, capsys):
    for rank in (0, 1):
        monkeypatch.setenv("RANK", str(rank))
        assert main(["pretrain", "--out", "x", "--steps", "0"]) == 2
    assert capsys.readouterr().err.count("--steps 0: give") == 1
    monkeypatch.setenv("RANK", "1")
    assert main(["doctor", "nowhere"]) == 0 and capsys.readouterr().err == ""  # which the main process does alone
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert main(["doctor", "nowhere"]) == 2 and "nowhere: not a run folder" in capsys.readouterr().err
