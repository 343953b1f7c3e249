"""Databases that are copies of others: a copy is used only when all of it is there."""

from __future__ import annotations

from datetime import datetime

from batch.address import Address
from batch.errors import StoreError
from batch.store import sql
from batch.store.sql import AnyConnection


def unfinished(connection: AnyConnection) -> str | None:
    """The name of what this database is an unfinished copy of, None if it is none."""
    query = "SELECT source FROM copies WHERE finished_at IS NULL LIMIT 1"
    found: str | None = sql.scalar(connection, query)
    return found


def refuse_unfinished(connection: AnyConnection, address: Address) -> None:
    """StoreError where a copy into this database has not come to its end."""
    source = unfinished(connection)
    if source is not None:
        raise StoreError(
            f"{address} is an unfinished copy of {source}: the same "
            f"`quotabatch db copy` again finishes it"
        )


def begin(connection: AnyConnection, source: str, now: datetime) -> None:
    """From now on nobody uses this database, until the copy is finished."""
    statement = "INSERT INTO copies (source, started_at) VALUES (:source, :started_at)"
    sql.execute(connection, statement, source=source, started_at=now)


def finish(connection: AnyConnection, now: datetime) -> None:
    """All of it is there: the database may be used."""
    statement = "UPDATE copies SET finished_at = :now WHERE finished_at IS NULL"
    sql.execute(connection, statement, now=now)
