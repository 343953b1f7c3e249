"""Making a database file, and bringing an older one up to date.

Several processes may start at once, and any of them may be killed: a new database is
made whole under another name and then moved into place; an older one is migrated in
one transaction.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from batch import atomicfiles
from batch.errors import StoreError
from batch.store import revisions
from batch.store.revisions import REVISION

if TYPE_CHECKING:
    from sqlalchemy import Connection

#: "QBCH": tells our databases from those of others.
APPLICATION_ID = 0x51424348


def prepare(path: Path) -> None:
    """Make sure that a database of ours stands at this path, touching no other."""
    try:
        if path.is_symlink() and not path.exists():
            raise StoreError(f"{path} is a link that leads nowhere")
        if path.exists():
            _recognise(path)
        else:
            _refuse_a_log_alone(path)
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            _make(path)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise StoreError(f"cannot make or open {path}: {reason}") from None


def _recognise(path: Path) -> None:
    if path.is_dir():
        raise StoreError(f"{path} is a directory; name a file with --db")
    if path.stat().st_size == 0:
        raise StoreError(
            f"{path} is empty, which no database of ours ever is: restore it, or "
            "delete it to start anew"
        )
    # A connection of its own: ours would begin by turning the file to WAL.
    uri = f"{path.absolute().as_uri()}?mode=rw"
    connection = sqlite3.connect(uri, uri=True, timeout=60)
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
    finally:
        connection.close()
    if application != APPLICATION_ID:
        raise StoreError(
            f"{path} is a database of another program; name another with --db"
        )


def _refuse_a_log_alone(path: Path) -> None:
    # SQLite would fold another database's log into the new one.
    log = path.with_name(path.name + "-wal")
    # In this order: whoever made the database meanwhile has made it before its log.
    if log.exists() and not path.exists():
        raise StoreError(
            f"{path} is gone, but its log {log} is still there: put the database back, "
            "or delete the log to start anew"
        )


def _make(path: Path) -> None:
    with atomicfiles.scratch(path) as scratch:
        # SQLAlchemy takes longer to load than looking may take.
        from batch.store import engines

        engine = engines.of_scratch(scratch)
        with engine.connect() as connection:
            connection.exec_driver_sql(f"PRAGMA application_id={APPLICATION_ID}")
            connection.commit()
            revisions.migrate(connection)
        engine.dispose()
        # Of several processes that start at once, one wins and the others find its
        # database.
        with suppress(FileExistsError):
            atomicfiles.place(scratch, path)


def upgrade(connection: Connection, path: Path) -> None:
    """Bring an existing database to this code's revision; refuse what is not ours."""
    revision = revisions.of(connection)
    connection.rollback()
    if revision == REVISION:
        return
    if revision is None:
        raise StoreError(f"{path} has no schema: restore it, or delete it")
    revisions.refuse_newer(revision, path)
    revisions.migrate(connection)
