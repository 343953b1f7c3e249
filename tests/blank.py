"""A migrated, empty database, made once a process and copied to where a test begins.

A migration takes 0.09 s, a copy 0.001 s.
"""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

from batch.store.engine import Database


def put(path: Path) -> None:
    """Copy the blank database to this path, unless something is there."""
    if path.exists() or path.with_name(path.name + "-wal").exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    shutil.copy(_template() / "blank.db", path)


@functools.cache
def _template() -> Path:
    folder = tempfile.TemporaryDirectory(prefix="quotabatch-blank-")
    atexit.register(folder.cleanup)
    Database.open(Path(folder.name) / "blank.db").close()
    return Path(folder.name)
