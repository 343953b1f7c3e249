"""SQLite: one file, for the processes of one machine.

WAL, synchronous=FULL. Every writing transaction begins with BEGIN IMMEDIATE, so that
what it reads stays true until it commits.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from batch.clock import Clock
from batch.errors import DiskFullError, StoreError
from batch.store import migrate, revisions
from batch.store.revisions import REVISION
from batch.store.sql import AnyConnection

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

#: How long a transaction waits for its turn among other processes, milliseconds.
BUSY_TIMEOUT = 60_000
#: A write-ahead log larger than this is folded into the database, bytes.
LARGE_LOG = 4 * 1024 * 1024


def has_reset_bug(version: tuple[int, ...]) -> bool:
    """Whether this SQLite can lose the log's end where a checkpoint meets a writer.

    3.7.0 to 3.51.2, but for 3.44.6, 3.50.7, and what came after them in their lines.
    """
    mended = (3, 44, 6) <= version < (3, 45) or (3, 50, 7) <= version < (3, 51)
    return (3, 7) <= version < (3, 51, 3) and not mended


class File:
    """One SQLite file."""

    #: Locks of this machine tell who lives.
    lease: timedelta | None = None
    clock: Clock | None = None

    def __init__(self, path: Path) -> None:
        self.path = path
        self._identity = _identity(path)
        self._log = path.with_name(path.name + "-wal")
        self._has_left = False
        self._idle: list[sqlite3.Connection] = []

    @classmethod
    def open(cls, path: Path) -> File:
        """The file at this path, made or brought up to date where needed."""
        with explained(path):
            migrate.prepare(path)
            file = cls(path)
            try:
                # Whoever only reads waits for no writer.
                with file.looking() as connection:
                    is_current = revisions.of(connection) == REVISION
                if not is_current:
                    with file.writing.connect() as connection:
                        migrate.upgrade(connection, path)
            except BaseException:
                file.close()
                raise
        return file

    @cached_property
    def writing(self) -> Engine:
        return self._engine("BEGIN IMMEDIATE")

    @cached_property
    def reading(self) -> Engine:
        return self._engine("BEGIN")

    def _engine(self, begin: str) -> Engine:
        # SQLAlchemy takes longer to load than looking may take.
        from batch.store import engines

        return engines.of_file(self.path, begin)

    def close(self) -> None:
        for name in ("writing", "reading"):
            # One that was never asked for has nothing to close.
            if name in self.__dict__:
                self.__dict__[name].dispose()
        while self._idle:
            self._idle.pop().close()

    @contextmanager
    def looking(self) -> Iterator[AnyConnection]:
        with self._spare() as connection:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.rollback()

    @contextmanager
    def _spare(self) -> Iterator[sqlite3.Connection]:
        """A connection of SQLite's own driver that nobody else uses now."""
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = connected(self.path)
        try:
            yield connection
        finally:
            # One is always kept: it stays with the file, wherever that is moved.
            self._idle.append(connection)

    def explained(self) -> contextlib.AbstractContextManager[None]:
        return explained(self.path)

    def take_turn(self, connection: Connection, account_id: int | None) -> None:
        """BEGIN IMMEDIATE has done that."""

    def hold(self, name: str) -> contextlib.AbstractContextManager[object]:
        """There are no other machines."""
        return contextlib.nullcontext()

    def is_held(self, connection: Connection, name: str) -> bool:
        return False

    def before(self) -> None:
        # SQLite goes on committing into a file that was deleted or replaced, and
        # every such answer would be lost.
        now = _identity(self.path)
        if now == self._identity:
            return
        if now is not None:
            self._take_back_the_log()
        raise StoreError(
            f"{self.path} was removed or replaced while it was in use: stopped; "
            "put it back, or start again with what is there now"
        )

    def _take_back_the_log(self) -> None:
        """Another file stands at our path: SQLite would fold our log into that one."""
        if self._has_left:
            return
        self._has_left = True
        # Into the file that we have open, wherever it is now.
        with contextlib.suppress(sqlite3.Error):
            self._fold()
        with contextlib.suppress(OSError):
            os.rename(self._log, self.path.with_name(f"{self._log.name}.of-another"))
        with contextlib.suppress(OSError):
            self.path.with_name(self.path.name + "-shm").unlink()

    def after(self) -> None:
        # Checkpoints only while no writer can commit (BEGIN IMMEDIATE on another
        # connection keeps them out): SQLite 3.7.0 to 3.51.2 can lose the log's end
        # where the two meet.
        try:
            if self._log.stat().st_size <= LARGE_LOG:
                return
        except OSError:
            return
        # What was written is on disk already; folding can be done another time, so
        # nobody is waited for.
        with contextlib.suppress(sqlite3.Error):
            self._fold()

    def _fold(self) -> None:
        with self._alone(), self._spare() as connection:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """While no other writer can commit; sqlite3.OperationalError if one is."""
        with contextlib.closing(self.writing.raw_connection()) as connection:
            cursor = connection.cursor()
            cursor.execute("PRAGMA busy_timeout=0")
            try:
                cursor.execute("BEGIN IMMEDIATE")
                try:
                    yield
                finally:
                    cursor.execute("COMMIT")
            finally:
                cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT}")


def connected(path: Path) -> sqlite3.Connection:
    """A connection as ours are kept, by SQLite's own driver."""
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    try:
        keep(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def keep(connection: sqlite3.Connection) -> None:
    """Set how a file is kept, which each connection has to be told."""
    for pragma in (
        f"busy_timeout={BUSY_TIMEOUT}",
        "journal_mode=WAL",
        "synchronous=FULL",
        # Where a plain fsync leaves it in the drive's cache: macOS.
        "fullfsync=ON",
        "checkpoint_fullfsync=ON",
        "foreign_keys=OFF",
        "wal_autocheckpoint=0",
        # A log that was folded shrinks to this when it is begun anew.
        f"journal_size_limit={LARGE_LOG // 2}",
        "cache_size=-4096",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Say in one line what SQLite means."""
    try:
        yield
    except Exception as error:
        # SQLAlchemy's errors carry the driver's.
        cause = getattr(error, "orig", error)
        if isinstance(cause, sqlite3.DatabaseError) and not isinstance(
            cause, sqlite3.IntegrityError | sqlite3.ProgrammingError
        ):
            raise _explained_error(path, str(cause)) from error
        raise


def _explained_error(path: Path, cause: str) -> StoreError:
    kind = DiskFullError if "disk is full" in cause else StoreError
    return kind(_explanation(path, cause))


def _explanation(path: Path, cause: str) -> str:
    for mark, meaning in (
        ("not a database", "is not a quotabatch database; name another with --db"),
        (
            "malformed",
            "is damaged: restore a backup, or save what `sqlite3 FILE .recover` finds",
        ),
        ("disk is full", "cannot grow: the disk is full; free space and run again"),
        ("readonly", "cannot be written: it or its folder is read-only"),
        ("unable to open", "cannot be opened: check that its folder can be written"),
        ("disk I/O error", "could not be read or written: the disk reports an error"),
        ("locked", "is locked: another program has kept it busy for over a minute"),
    ):
        if mark in cause:
            return f"{path} {meaning} ({cause})"
    return f"{path}: {cause}"
