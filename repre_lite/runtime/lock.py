"""One process at a time in a folder, by a lock of the operating system, which ends with its process even if that is killed."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import UserError

LOCK = ".lock"
UNSUPPORTED = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK}  # some network file systems have no locks

if sys.platform == "win32":
    import msvcrt

    def _take(file: int) -> None:
        os.lseek(file, 2**30, os.SEEK_SET)  # a locked byte cannot be read, so none of the text
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _take(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


class InUseError(UserError):
    """Another process holds the lock of a folder."""


@contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Inside, no other process can lock `folder`.

    The lock of a killed process is free. Raises InUseError if another process holds the lock, and UserError if the folder
    cannot be written. A file system without locks is not protected.
    """
    path = Path(folder) / LOCK
    file = _open(path)
    try:
        yield
    finally:
        if sys.platform == "win32":  # cannot remove a file that is open
            os.close(file)
        with contextlib.suppress(OSError):
            path.unlink()
        if sys.platform != "win32":
            os.close(file)


def _open(path: Path) -> int:
    """The lock file, opened and locked by this process."""
    while True:
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise UserError(f"{path.parent}: cannot be written ({error.strerror}); choose another folder") from None
        try:
            _take(file)
        except OSError as error:
            if error.errno in UNSUPPORTED:
                return file
            os.lseek(file, 0, os.SEEK_SET)
            holder = os.read(file, 200).decode(errors="replace")
            os.close(file)
            raise InUseError(
                f"{path.parent}: another process{f' ({holder})' * bool(holder)} is writing into this folder; "
                "wait for it to end or choose another folder"
            ) from None
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file), os.stat(path)):
                with contextlib.suppress(OSError):  # a full disk: the lock holds without its text
                    os.lseek(file, 0, os.SEEK_SET)
                    os.ftruncate(file, 0)
                    os.write(file, f"process {os.getpid()} on {platform.node()}".encode())
                return file
        os.close(file)  # of the process that has just ended and removed it: take a new one
