"""What is remembered of this machine's clocks, from one process to the next."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, delete, insert, select

from batch.store.schema import AnyRow, clocks


def seen(connection: Connection, boot_id: str) -> AnyRow | None:
    """How the clocks of this start of the machine stood when they were believed."""
    return connection.execute(select(clocks).where(clocks.c.boot == boot_id)).first()


def is_known(connection: Connection) -> bool:
    """Whether any start of a machine has been seen before."""
    return connection.execute(select(clocks.c.boot).limit(1)).first() is not None


def believe(
    connection: Connection, boot_id: str, booted_at: datetime, now: datetime
) -> None:
    """Remember when this start was, by a wall clock that is believed."""
    connection.execute(delete(clocks).where(clocks.c.boot == boot_id))
    connection.execute(
        insert(clocks).values(boot=boot_id, booted_at=booted_at, seen_at=now)
    )
