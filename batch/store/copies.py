"""Databases that are copies of others: a copy is used only when all of it is there."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, insert, select, update

from batch.address import Address
from batch.errors import StoreError
from batch.store.schema import copies


def unfinished(connection: Connection) -> str | None:
    """The name of what this database is an unfinished copy of, None if it is none."""
    query = select(copies.c.source).where(copies.c.finished_at.is_(None)).limit(1)
    found: str | None = connection.scalar(query)
    return found


def refuse_unfinished(connection: Connection, address: Address) -> None:
    """StoreError where a copy into this database has not come to its end."""
    source = unfinished(connection)
    if source is not None:
        raise StoreError(
            f"{address} is an unfinished copy of {source}: the same "
            f"`quotabatch db copy` again finishes it"
        )


def begin(connection: Connection, source: str, now: datetime) -> None:
    """From now on nobody uses this database, until the copy is finished."""
    connection.execute(insert(copies).values(source=source, started_at=now))


def finish(connection: Connection, now: datetime) -> None:
    """All of it is there: the database may be used."""
    connection.execute(
        update(copies).where(copies.c.finished_at.is_(None)).values(finished_at=now)
    )
