"""The database: opening it, one transaction at a time, and whose hands it is in.

SQLite, WAL, synchronous=FULL. Every writing transaction begins with BEGIN IMMEDIATE, so
that what it reads stays true until it commits.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError, OperationalError

from batch.errors import DiskFullError, StoreError
from batch.store import migrate

P = ParamSpec("P")
T = TypeVar("T")

#: How long a transaction waits for its turn among other processes, milliseconds.
BUSY_TIMEOUT = 60_000
#: A write-ahead log larger than this is folded into the database, bytes.
LARGE_LOG = 4 * 1024 * 1024


def one_thread() -> Executor:
    """Where transactions are carried out beside an event loop.

    One thread: within a process writers take turns here, not in SQLite's busy handler,
    which polls.
    """
    return ThreadPoolExecutor(1, thread_name_prefix="store")


def has_reset_bug(version: tuple[int, ...]) -> bool:
    """Whether this SQLite can lose the log's end where a checkpoint meets a writer.

    3.7.0 to 3.51.2, but for 3.44.6, 3.50.7, and what came after them in their lines.
    """
    mended = (3, 44, 6) <= version < (3, 45) or (3, 50, 7) <= version < (3, 51)
    return (3, 7) <= version < (3, 51, 3) and not mended


class Database:
    """One SQLite file with a writing and a reading engine.

    `transaction` and `reading` are for callers without an event loop; `run` takes a
    writing transaction to the writer.
    """

    def __init__(self, path: Path, writer: Callable[[], Executor] = one_thread) -> None:
        self.path = path
        self._identity = _identity(path)
        self._log = path.with_name(path.name + "-wal")
        self._has_left = False
        self._writing = _engine(path, "BEGIN IMMEDIATE")
        self._reading = _engine(path, "BEGIN")
        self._writer = writer()

    @classmethod
    def open(cls, path: Path, writer: Callable[[], Executor] = one_thread) -> Database:
        """The database at this path, made or brought up to date where needed."""
        with _explained(path):
            migrate.prepare(path)
            database = cls(path, writer)
            try:
                with database._writing.connect() as connection:
                    migrate.upgrade(connection, path)
            except BaseException:
                database.close()
                raise
        return database

    def close(self) -> None:
        self._writer.shutdown()
        self._writing.dispose()
        self._reading.dispose()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A writing transaction: committed at the end, or not at all."""
        self._still_ours()
        with _explained(self.path), self._writing.begin() as connection:
            yield connection
        self._fold_log()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A consistent view of the database; keep it short."""
        with _explained(self.path), self._reading.begin() as connection:
            yield connection

    def write(
        self,
        function: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Call a store function in a writing transaction of its own."""
        with self.transaction() as connection:
            return function(connection, *args, **kwargs)

    def read(
        self,
        function: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Call a store function in a reading transaction of its own."""
        with self.reading() as connection:
            return function(connection, *args, **kwargs)

    async def run(
        self,
        function: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Like `write`, by the writer; cancelling does not cut it short."""
        loop = asyncio.get_running_loop()
        call = loop.run_in_executor(
            self._writer, lambda: self.write(function, *args, **kwargs)
        )
        return await asyncio.shield(call)

    def _still_ours(self) -> None:
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
        with contextlib.suppress(DatabaseError, sqlite3.Error):
            self._fold()
        with contextlib.suppress(OSError):
            os.rename(self._log, self.path.with_name(f"{self._log.name}.of-another"))
        with contextlib.suppress(OSError):
            self.path.with_name(self.path.name + "-shm").unlink()

    def _fold_log(self) -> None:
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
        with contextlib.suppress(DatabaseError, sqlite3.Error):
            self._fold()

    def _fold(self) -> None:
        with (
            self._alone(),
            contextlib.closing(self._reading.raw_connection()) as reading,
        ):
            reading.cursor().execute("PRAGMA wal_checkpoint(PASSIVE)")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """While no other writer can commit; sqlite3.OperationalError if one is."""
        with contextlib.closing(self._writing.raw_connection()) as connection:
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


def _engine(path: Path, begin: str) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        connect_args={"check_same_thread": False, "isolation_level": None},
    )

    @event.listens_for(engine, "connect")
    def on_connect(connection: sqlite3.Connection, _record: Any) -> None:
        for pragma in (
            f"busy_timeout={BUSY_TIMEOUT}",
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=OFF",
            "wal_autocheckpoint=0",
            # A log that was folded shrinks to this when it is begun anew.
            f"journal_size_limit={LARGE_LOG // 2}",
            "cache_size=-16384",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Say in one line what SQLite means."""
    try:
        yield
    except sqlite3.Error as error:
        raise _explained_error(path, str(error)) from error
    except OperationalError as error:
        raise _explained_error(path, str(error.orig)) from error
    except DatabaseError as error:
        if isinstance(error.orig, sqlite3.DatabaseError) and not isinstance(
            error.orig, sqlite3.IntegrityError | sqlite3.ProgrammingError
        ):
            raise _explained_error(path, str(error.orig)) from error
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
