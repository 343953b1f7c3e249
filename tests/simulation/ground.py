"""The ground that stories stand on: a home with a fresh database in memory, and a disk
that can be told to fail.

Statements stay compiled and connections open from one process to the next, naps are
longer than they are in earnest, and there is one provider: that is all that is other
than it is for a user.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from enum import Enum
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event

from batch.core import standing
from batch.providers import profiles
from batch.runner import runner, trade
from batch.service import reading
from batch.store import engines, sqlite
from batch.store.engine import Database

#: Where a disk's syncs cost nothing, if there is such a place.
MEMORY = Path("/dev/shm")


class DiskFault(Enum):
    """What a commit may meet."""

    REFUSED = "refused"  # nothing was written
    UNKNOWN = "unknown"  # it was, though an error is reported
    LOCKED = "locked"  # another program has kept the database busy


class Ground:
    """One home and one database file, made anew for every story."""

    def __init__(self, folder: Path) -> None:
        self.home = folder
        self.database = folder / "quotabatch.db"
        self._template = folder / "template"
        self._engines: dict[tuple[Path, str], Engine] = {}
        self._lookers: list[sqlite3.Connection] = []
        #: What the next commit meets.
        self._fault: DiskFault | None = None
        shipped = profiles.shipped()
        self._protocols = {name: shipped[name] for name in profiles.PROTOCOLS}
        Database.open(self._template).close()

    @contextmanager
    def fresh(
        self, *, nap: float, beat: float, soon: float, look: float
    ) -> Iterator[None]:
        """As on the first day, for one story, with pauses of these lengths."""
        self.close()
        for name in ("-wal", "-shm"):
            Path(f"{self.database}{name}").unlink(missing_ok=True)
        for name in (".locks", ".kept", ".aside"):
            shutil.rmtree(f"{self.database}{name}", ignore_errors=True)
        (self.home / "ledgers.json").unlink(missing_ok=True)
        shutil.copyfile(self._template, self.database)
        self._fault = None
        make, connected = engines.of_file, sqlite.connected
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(engines, "of_file", lambda *which: self._kept(make, *which))
            patch.setattr(sqlite, "connected", lambda at: self._looked(connected(at)))
            patch.setattr(Database, "close", lambda _: None)
            # Neither is what these stories are about, and both take their time.
            patch.setattr(profiles, "shipped", lambda: dict(self._protocols))
            patch.setattr(reading, "forecast", lambda *_, **__: None)
            patch.setattr(sqlite, "BUSY_TIMEOUT", 0)
            patch.setattr(runner, "NAP", nap)
            patch.setattr(runner, "HEARTBEAT", beat)
            patch.setattr(trade, "HEARTBEAT", beat)
            patch.setattr(runner, "LOOK_AGAIN", look)
            patch.setattr(standing, "SOON", timedelta(seconds=soon))
            # The names of locks and of spooled files, which are taken in by name.
            names = Random("names")
            patch.setattr(
                secrets, "token_hex", lambda size: names.randbytes(size).hex()
            )
            yield

    @contextmanager
    def failing(self, fault: DiskFault | None) -> Iterator[None]:
        """The next transaction meets this."""
        if fault is DiskFault.LOCKED:
            with closing(sqlite3.connect(self.database, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                yield
            return
        self._fault = fault
        try:
            yield
        finally:
            self._fault = None

    @property
    def _kept_in(self) -> Path:
        return Path(f"{self.database}.kept")

    @property
    def _aside(self) -> Path:
        return Path(f"{self.database}.aside")

    def hide_kept(self) -> None:
        """Take the files of answers away that wait for the database."""
        if self._kept_in.exists() and not self._aside.exists():
            self._kept_in.rename(self._aside)

    def bring_kept(self) -> None:
        """Put them back; those that came meanwhile stay."""
        if self._aside.exists():
            self._kept_in.mkdir(exist_ok=True)
            for file in self._aside.iterdir():
                file.rename(self._kept_in / file.name)
            self._aside.rmdir()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Read from the file, past the product."""
        with closing(sqlite3.connect(self.database)) as connection:
            return connection.execute(query).fetchall()

    def close(self) -> None:
        for one in self._engines.values():
            one.dispose()
        while self._lookers:
            self._lookers.pop().close()

    def _looked(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        self._lookers.append(connection)
        return connection

    def _kept(self, make: Any, path: Path, begin: str) -> Engine:
        if (path, begin) not in self._engines:
            made: Engine = make(path, begin)
            event.listen(made, "commit", self._on_commit)
            self._engines[path, begin] = made
        return self._engines[path, begin]

    def _on_commit(self, connection: Connection) -> None:
        fault, self._fault = self._fault, None
        if fault is None:
            return
        if fault is DiskFault.UNKNOWN:
            connection.exec_driver_sql("COMMIT")
        raise sqlite3.OperationalError("disk I/O error")


@contextmanager
def a_ground() -> Iterator[Ground]:
    where = MEMORY if os.access(MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="quotabatch-", dir=where) as folder:
        ground = Ground(Path(folder))
        try:
            yield ground
        finally:
            ground.close()
