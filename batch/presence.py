"""Who is alive on this machine: a lock file that a process holds while it lives.

The kernel lets go of the lock at the instant the process ends, however it ends; no
clock is involved, and a process that is merely stopped keeps it.
"""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path
from types import TracebackType
from typing import Self


def host() -> str:
    """The machine's name, as runners write it down."""
    return socket.gethostname()


class Presence:
    """Held from `with` to its end; others see it with `is_alive`."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self._path = folder / f"{name}.lock"
        self._file: int | None = None

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._file)
            self._file = None


def is_alive(folder: Path, name: str) -> bool:
    """Whether the process that took this name still lives."""
    return lives(folder, name) or False


def lives(folder: Path, name: str) -> bool | None:
    """The same; None where no process of this machine has taken the name.

    A process whose file cannot be opened is taken for alive: nothing is taken from it.
    """
    try:
        file = os.open(folder / f"{name}.lock", os.O_RDWR)
    except FileNotFoundError:
        return None
    except OSError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(file)


def forget(folder: Path, name: str) -> None:
    """Remove the lock file of a process that died."""
    (folder / f"{name}.lock").unlink(missing_ok=True)
