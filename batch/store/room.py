"""Room on the disk: calls are made only while their answers can be stored.

A ballast lies beside the database. When the disk fills up all the same, it is thrown
off, so that the answers in hand find room.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from batch.core.model import Settlement
from batch.errors import DiskFullError

MIB = 1024 * 1024
#: Less than this is left: no call is made, bytes.
LOW = 16 * MIB
#: What is thrown off when the disk is full, bytes.
BALLAST = 4 * MIB
#: How often an answer is on the disk at most: in the log, and in the database.
COPIES = 2


class Answers:
    """How long answers are, and so the room that those still out may take."""

    def __init__(self) -> None:
        self._number = 0
        self._bytes = 0

    def see(self, settlements: Iterable[Settlement]) -> None:
        """Go by these, too."""
        for settlement in settlements:
            if settlement.completion is not None:
                self._number += 1
                self._bytes += _size(settlement.completion.text)
                self._bytes += _size(settlement.completion.reasoning or "")

    def wanted(self, calls: int) -> int:
        """Bytes to be had before so many calls may be out."""
        if not self._number:
            return LOW
        return max(LOW, COPIES * calls * self._bytes // self._number)


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def check(database: Path, wanted: int = LOW) -> None:
    """DiskFullError where less than so many bytes are left."""
    left = free(database)
    if left is not None and left < wanted:
        raise DiskFullError(
            f"the disk of {database} is nearly full ({left // MIB} MB are left, a run "
            f"wants {wanted // MIB}): no call is made; free space and run again"
        )


def free(database: Path) -> int | None:
    """Bytes that may still be written beside the database; None: unknown."""
    # Its folder may not be there yet.
    folder = next((one for one in database.absolute().parents if one.is_dir()), None)
    try:
        found = os.statvfs(folder or "/")
    except OSError:
        return None
    return found.f_bavail * found.f_frsize


def lay(database: Path) -> None:
    """Take the ballast on board, where there is room and it is not there yet."""
    path = ballast(database)
    left = free(database)
    if path.exists() or left is None or left < LOW + BALLAST:
        return
    # Not all file systems can; without it a full disk leaves less room, that is all.
    with contextlib.suppress(OSError):
        file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.posix_fallocate(file, 0, BALLAST)
        finally:
            os.close(file)


def throw_off(database: Path) -> None:
    """Make room for the answers in hand."""
    with contextlib.suppress(OSError):
        ballast(database).unlink(missing_ok=True)


def ballast(database: Path) -> Path:
    """The file that keeps some room."""
    return database.with_name(database.name + ".ballast")
