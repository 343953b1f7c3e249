"""Setting the books right after a clock that was wrong."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import (
    BigInteger,
    Connection,
    case,
    delete,
    literal,
    select,
    true,
    type_coerce,
    update,
)

from batch.core.quota import FOREVER, WindowKind
from batch.store.schema import Moment, accounts, entries, windows

#: What lies further ahead than this was written by a clock that was wrong.
AHEAD = timedelta(seconds=90)


def move(connection: Connection, since: datetime, by: timedelta, now: datetime) -> None:
    """Date anew what was booked since then, by a clock that was so much behind.

    Every window is counted anew from it.
    """
    stretch = by // timedelta(milliseconds=1)
    reserved = type_coerce(entries.c.reserved_at, BigInteger)
    settled = type_coerce(entries.c.settled_at, BigInteger)
    connection.execute(
        update(entries)
        .where(entries.c.reserved_at >= since)
        .values(
            reserved_at=type_coerce(reserved + stretch, Moment()),
            settled_at=type_coerce(settled + stretch, Moment()),
        )
    )
    first_call = windows.c.kind == WindowKind.FIRST_CALL
    # What windows remember of these calls goes with them.
    for column, whose in (
        (windows.c.starts_at, first_call),
        (windows.c.resets_at, first_call & (windows.c.resets_at < FOREVER)),
        (windows.c.refused_at, true()),
        (windows.c.probing_until, true()),
    ):
        moved = type_coerce(column, BigInteger) + stretch
        connection.execute(
            update(windows)
            .where(column >= since, whose)
            .values({column.name: type_coerce(moved, Moment())})
        )
    realign(connection, now)
    connection.execute(update(accounts).values(quotas=None))


def realign(connection: Connection, now: datetime) -> None:
    """Count what was spent by a clock that was ahead in the windows of now.

    Windows that lie ahead are dropped, and what was taken from them is taken from
    those that bind now: they never were other ones.
    """
    ahead = connection.execute(
        select(windows).where(windows.c.starts_at > now + AHEAD)
    ).all()
    for row in ahead:
        connection.execute(
            update(windows)
            .where(
                windows.c.account_id == row.account_id,
                windows.c.quota == row.quota,
                windows.c.scope == row.scope,
                windows.c.kind == row.kind,
                windows.c.starts_at <= now,
                windows.c.resets_at > now,
                windows.c.resets_at < FOREVER,
            )
            .values(used=windows.c.used + row.used)
        )
        connection.execute(delete(windows).where(windows.c.id == row.id))
    moment = literal(now, Moment())
    settled = case((entries.c.settled_at > now, moment), else_=entries.c.settled_at)
    connection.execute(
        update(entries)
        .where(entries.c.reserved_at > now + AHEAD)
        .values(reserved_at=now, settled_at=settled)
    )
    connection.execute(
        update(windows).where(windows.c.level_at > now + AHEAD).values(level_at=now)
    )
    for column in (windows.c.closed_until, windows.c.probing_until):
        # A closure that a wrong clock dated cannot be told from a stated one; only
        # what no endpoint would state is dropped.
        connection.execute(
            update(windows)
            .where(column > now + timedelta(days=62))
            .values({column.name: None})
        )
