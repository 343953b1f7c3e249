"""Files that stand under their name whole, or not at all.

A file is written beside its place, brought to disk and then moved there. So a kill or a
power cut leaves the earlier file or the new one, never a part.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def replace(path: Path, data: bytes) -> None:
    """Write a file whole, in place of one that is there; its owner alone may read it.

    A symbolic link stays, and its target is replaced. The folder must exist. OSError:
    what was there is unchanged.
    """
    target = path.resolve()
    with scratch(target) as beside:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, target)
    sync_folder(target.parent)


@contextmanager
def scratch(path: Path) -> Iterator[Path]:
    """Give an empty file beside this path, which its owner alone may read.

    It is removed at the end, unless it was moved into place.
    """
    # mkstemp makes it 0600 from its first byte on.
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    os.close(handle)
    beside = Path(name)
    try:
        yield beside
    finally:
        beside.unlink(missing_ok=True)


def place(beside: Path, path: Path) -> None:
    """Move a file to a path where none is; FileExistsError where one is by now."""
    try:
        # A link never replaces what came there meanwhile.
        os.link(beside, path)
    except FileExistsError:
        raise
    except OSError:
        # A file system without hard links.
        if path.exists():
            raise FileExistsError(path) from None
        os.rename(beside, path)


def sync_folder(folder: Path) -> None:
    """Have the names of a folder on disk, where the file system offers it."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
