"""What is remembered of this machine's clocks, from one process to the next."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, bindparam, delete, insert, select

from batch.store.schema import AnyRow, clocks, datings


def seen(connection: Connection, boot_id: str) -> AnyRow | None:
    """How the clocks of this start of the machine stood when they were believed."""
    return connection.execute(select(clocks).where(clocks.c.boot == boot_id)).first()


def believe(
    connection: Connection, boot_id: str, booted_at: datetime, now: datetime
) -> None:
    """Remember when this start was, by a wall clock that is believed."""
    connection.execute(delete(clocks).where(clocks.c.boot == boot_id))
    connection.execute(
        insert(clocks).values(boot=boot_id, booted_at=booted_at, seen_at=now)
    )


_DATED = select(datings).where(datings.c.boot == bindparam("boot"))


def dated(connection: Connection, boot_id: str) -> AnyRow | None:
    """By which clock the entries of this boot are dated, if there are any."""
    return connection.execute(_DATED, {"boot": boot_id}).first()


def date_by(
    connection: Connection, boot_id: str, booted_at: datetime, *, confirmed: bool
) -> None:
    """From now on, date the entries of this boot so."""
    connection.execute(delete(datings).where(datings.c.boot == boot_id))
    connection.execute(
        insert(datings).values(boot=boot_id, booted_at=booted_at, confirmed=confirmed)
    )
