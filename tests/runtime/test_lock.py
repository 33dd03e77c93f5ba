"""A folder has one process at a time; a killed one does not count."""

import errno
import os
import subprocess
import sys
from contextlib import ExitStack

import pytest

from repre_lite.runtime import lock
from repre_lite.runtime.errors import UserError
from repre_lite.runtime.lock import LOCK, InUseError, locked

HOLD = "import sys, time; from repre_lite.runtime.lock import locked\nwith locked(sys.argv[1]): print(flush=True); time.sleep(600)"


def taken(folder):
    """What is said if the folder is locked, else None."""
    try:
        with locked(folder):
            return None
    except UserError as error:
        return str(error)


def test_another_process_is_refused_until_it_ends_or_is_killed(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        holder.stdout.readline()
        with pytest.raises(InUseError), locked(tmp_path):
            pass
        said = taken(tmp_path)
        assert str(tmp_path) in said and f"process {holder.pid} on" in said and "choose another folder" in said
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    assert (tmp_path / LOCK).exists()  # it could not remove it
    assert taken(tmp_path) is None
    assert not list(tmp_path.iterdir())


def test_the_same_process_has_it_once(tmp_path):
    with locked(tmp_path):
        assert f"process {os.getpid()}" in taken(tmp_path)
    assert taken(tmp_path) is None


def test_a_full_disk_has_room_for_the_lock(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(lock.os, "write", full)
    with locked(tmp_path):
        assert "another process is writing" in taken(tmp_path)


def test_an_error_inside_gives_it_back(tmp_path):
    with pytest.raises(KeyError), locked(tmp_path):
        raise KeyError
    assert taken(tmp_path) is None and not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be removed there")
def test_a_file_removed_between_opening_and_locking_is_not_used(tmp_path, monkeypatch):
    take, opened = lock._take, []

    def late(file):
        opened.append(file)
        if len(opened) == 1:
            (tmp_path / LOCK).unlink()  # as the process does that had the lock
        take(file)

    monkeypatch.setattr(lock, "_take", late)
    with locked(tmp_path):
        assert len(opened) == 2 and taken(tmp_path) is not None


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP])  # the last two differ on macOS
def test_a_file_system_without_locks_is_used_unprotected(code, tmp_path, monkeypatch):
    def unsupported(file):
        raise OSError(code, "no locks")

    monkeypatch.setattr(lock, "_take", unsupported)
    with ExitStack() as stack:
        stack.enter_context(locked(tmp_path))
        stack.enter_context(locked(tmp_path))


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    def refused(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(lock.os, "open", refused)
    assert "cannot be written (Read-only file system)" in taken(tmp_path)
