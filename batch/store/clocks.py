"""The time that this machine's processes go by, from one to the next."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from batch.store import sql
from batch.store.sql import AnyConnection

#: The interval at which a running boot's seen_at is refreshed.
UNSEEN = timedelta(minutes=1)
#: Seconds by which the uptime may be less than when last seen, and the boot still be
#: the same.
SLACK = 60.0
#: Before the name of a boot whose time nothing has confirmed.
_UNCONFIRMED = "?"


@dataclass(frozen=True, slots=True)
class Start:
    """The believed start time of a boot."""

    booted_at: datetime
    #: True if an endpoint's clock, or the user, has confirmed it.
    confirmed: bool
    #: The newest time at which a process was seen to go by it.
    seen_at: datetime | None = field(default=None, compare=False)
    #: Until when all that was spent is proven to be dated right.
    agreed_at: datetime | None = field(default=None, compare=False)

    def is_old(self, now: datetime) -> bool:
        """True if seen_at is due for a refresh."""
        return self.seen_at is None or now - self.seen_at >= UNSEEN


def seen(connection: AnyConnection, boot_id: str, uptime: float) -> Start | None:
    """Return this boot's start, if a process of it has stored one.

    `uptime`: seconds. A boot that has lasted for less than when it was last seen is
    another one: not every machine names them.
    """
    row = sql.row(
        connection,
        "SELECT * FROM clocks WHERE boot = :boot OR boot = :unconfirmed",
        boot=boot_id,
        unconfirmed=_UNCONFIRMED + boot_id,
    )
    if row is None:
        return None
    if uptime < (row.seen_at - row.booted_at).total_seconds() - SLACK:
        return None
    return Start(row.booted_at, row.boot == boot_id, row.seen_at, row.agreed_at)


def believe(
    connection: AnyConnection, boot_id: str, start: Start, now: datetime
) -> None:
    """Let all processes of this boot go by this time."""
    sql.execute(
        connection,
        "DELETE FROM clocks WHERE boot = :boot OR boot = :unconfirmed",
        boot=boot_id,
        unconfirmed=_UNCONFIRMED + boot_id,
    )
    sql.execute(
        connection,
        "INSERT INTO clocks (boot, booted_at, seen_at, agreed_at) "
        "VALUES (:boot, :booted_at, :seen_at, :agreed_at)",
        boot=boot_id if start.confirmed else _UNCONFIRMED + boot_id,
        booted_at=start.booted_at,
        seen_at=now,
        agreed_at=start.agreed_at,
    )


def others_spent(connection: AnyConnection, runner_id: int, moment: datetime) -> bool:
    """Tell whether anyone else has a call in flight, or spent anything after this."""
    # Two questions, each of which has its index.
    return any(
        sql.row(
            connection,
            "SELECT id FROM entries WHERE account_id IN (SELECT id FROM accounts) "
            f"AND {condition} AND (runner_id IS NULL OR runner_id <> :runner_id) "
            "LIMIT 1",
            runner_id=runner_id,
            **values,
        )
        is not None
        for condition, values in (
            ("state = 'reserved'", {}),
            ("settled_at > :moment", {"moment": moment}),
        )
    )


def newest(connection: AnyConnection) -> datetime | None:
    """The newest time that a call counts at in the ledger, of all accounts."""
    found = []
    for account in sql.rows(connection, "SELECT id FROM accounts"):
        row = sql.row(
            connection,
            "SELECT settled_at FROM entries WHERE account_id = :account_id "
            "AND settled_at IS NOT NULL AND (quota IS NULL OR quota <> '') "
            "ORDER BY settled_at DESC LIMIT 1",
            account_id=account.id,
        )
        if row is not None:
            found.append(row.settled_at)
    return max(found, default=None)


def lead(connection: AnyConnection, now: datetime) -> timedelta:
    """Return by how much the newest time in the ledger is ahead of `now`."""
    last = newest(connection)
    return timedelta(0) if last is None else max(timedelta(0), last - now)
