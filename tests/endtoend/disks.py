"""Disks that are small, full or read-only, and folders that may not be written."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

MIB = 1024 * 1024


def _mount(*words: str | Path) -> None:
    subprocess.run(["mount", *map(str, words)], check=True, capture_output=True)


@contextmanager
def tmpfs(folder: Path, size: int) -> Iterator[Path]:
    """A disk of this many bytes, at this folder."""
    folder.mkdir(exist_ok=True)
    _mount("-t", "tmpfs", "-o", f"size={size},mode=700", "quotabatch-test", folder)
    try:
        yield folder
    finally:
        _unmount(folder)


@contextmanager
def read_only(path: Path) -> Iterator[None]:
    """A file or a folder on a disk that takes no writes, whoever asks."""
    _mount("--bind", path, path)
    try:
        _mount("-o", "remount,bind,ro", path)
        yield
    finally:
        _unmount(path)


def _unmount(path: Path) -> None:
    # Lazily: whoever still uses it may be the test that failed.
    subprocess.run(["umount", "--lazy", path], check=True, capture_output=True)


@cache
def _may_mount() -> bool:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return False
    try:
        with tempfile.TemporaryDirectory() as name, tmpfs(Path(name), MIB):
            return True
    except subprocess.CalledProcessError:
        return False


needs_mount = pytest.mark.skipif(
    not _may_mount(), reason="needs root, and the right to mount a disk"
)


def enlarge(folder: Path, size: int) -> None:
    """Let the disk at this folder have so many bytes."""
    _mount("-o", f"remount,size={size}", folder)


def left(folder: Path) -> int:
    """Bytes that may still be written there."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def fill(folder: Path, but: int = 0) -> Path:
    """Use up the disk, but for so many bytes; the file that does."""
    path = folder / "somebody-elses"
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, left(folder) - but)
    return path


#: Even root minds the permissions of files under this; others mind them anyway.
MINDFUL = ("setpriv", "--bounding-set=-all") if os.geteuid() == 0 else ()

needs_setpriv = pytest.mark.skipif(
    os.geteuid() == 0 and shutil.which("setpriv") is None,
    reason="needs setpriv (Debian: util-linux), as root minds no permissions",
)
