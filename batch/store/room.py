"""Room on the disk: calls are made only while their answers can be stored."""

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


def remove_ballast(database: Path) -> None:
    """Remove the file that earlier versions kept beside it for a full disk."""
    with contextlib.suppress(OSError):
        database.with_name(database.name + ".ballast").unlink(missing_ok=True)
