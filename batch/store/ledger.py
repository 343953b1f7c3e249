"""The book of credits: which windows are open, what was taken, what came of it.

A credit is taken by a conditional update of the windows' own rows, in the transaction
that claims the request. Counting entries is only done where a window opens.

Which window does a call count in? In every one that it touches, with the quota's guard
on both sides, from the moment its credit is reserved until it is settled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    case,
    func,
    insert,
    or_,
    select,
    update,
)

from batch.core.model import EntryState
from batch.core.quota import Quota, Standing, Window, windows_touched
from batch.store.schema import RESERVED, AnyRow, accounts, entries, windows

#: No call lasts longer than this, from its reservation (which is used within minutes)
#: to its end: one that is older belongs to a process that died, and touches no later
#: window.
LONGEST_CALL = timedelta(minutes=70)

#: How long a "used up" of a fresh window is believed, doubling with every refusal.
FIRST_PROBE = timedelta(minutes=15)
LAST_PROBE = timedelta(hours=4)


def account(connection: Connection, provider: str, fingerprint: str) -> int:
    """The account's id; it is made at its first use."""
    same = and_(accounts.c.provider == provider, accounts.c.fingerprint == fingerprint)
    found = connection.scalar(select(accounts.c.id).where(same))
    if found is not None:
        return int(found)
    made = connection.execute(
        insert(accounts).values(provider=provider, fingerprint=fingerprint)
    )
    key = made.inserted_primary_key
    assert key is not None
    return int(key[0])


def open_windows(
    connection: Connection, account_id: int, quotas: Sequence[Quota], now: datetime
) -> list[Standing]:
    """Every window that a call made now counts in; those that are missing are made."""
    return [
        standing
        for quota in quotas
        for standing in _open_windows(connection, account_id, quota, now)
    ]


def standings(
    connection: Connection, account_id: int, quotas: Sequence[Quota], now: datetime
) -> list[Standing]:
    """Like `open_windows`, but for looking only: nothing is written."""
    found = []
    for quota in quotas:
        rows = _binding(connection, account_id, quota, now)
        closed = _closed_beyond(connection, account_id, quota, now)
        for window in windows_touched(quota, now):
            if window not in rows:
                carried = _credits_touching(connection, account_id, quota, window)
                found.append(_unopened(quota, window, carried, closed))
        found.extend(_standing(quota, row) for row in rows.values())
    return found


def reserve(
    connection: Connection,
    standings: Sequence[Standing],
    credits: int,
    keep: int,
    now: datetime,
) -> bool:
    """Take so many credits from all of these windows, or none from any."""
    taken: list[int] = []
    for standing in standings:
        granted = connection.execute(
            update(windows)
            .where(
                windows.c.id == standing.window_id,
                windows.c.used + credits <= standing.quota.less(keep),
                or_(
                    windows.c.closed_until.is_(None),
                    windows.c.closed_until <= now,
                ),
            )
            .values(used=windows.c.used + credits)
        ).rowcount
        if not granted:
            connection.execute(
                update(windows)
                .where(windows.c.id.in_(taken))
                .values(used=windows.c.used - credits)
            )
            return False
        taken.append(standing.window_id)
    return True


def enter(
    connection: Connection,
    account_id: int,
    runner_id: int,
    request_ids: Sequence[int],
    now: datetime,
) -> None:
    """Write an entry, one credit each, for the attempts about to be made."""
    connection.execute(
        insert(entries),
        [
            {
                "account_id": account_id,
                "request_id": request_id,
                "runner_id": runner_id,
                "credits": 1,
                "state": EntryState.RESERVED,
                "reserved_at": now,
            }
            for request_id in request_ids
        ],
    )


def release(
    connection: Connection,
    account_id: int,
    quotas: Sequence[Quota],
    reserved_at: datetime,
    credits: int,
) -> None:
    """Give credits back to the windows that they were taken from."""
    for quota in quotas:
        connection.execute(
            update(windows)
            .where(
                windows.c.account_id == account_id,
                windows.c.quota == quota.name,
                windows.c.resets_at > reserved_at - quota.guard,
                windows.c.starts_at < reserved_at + LONGEST_CALL,
            )
            .values(
                used=case(
                    (windows.c.used > credits, windows.c.used - credits), else_=0
                ),
                carried=case(
                    (
                        (windows.c.starts_at > reserved_at + quota.guard)
                        & (windows.c.carried >= credits),
                        windows.c.carried - credits,
                    ),
                    else_=windows.c.carried,
                ),
            )
        )


def close(
    connection: Connection,
    account_id: int,
    quotas: Sequence[Quota],
    until: datetime | None,
    reason: str,
    now: datetime,
) -> None:
    """The endpoint says that the longest quota is used up: believe it.

    Until the time that it states; else until the window's reset. But where every call
    of the window was refused, the reset itself may be elsewhere than assumed: then one
    call is tried again after a pause that grows.
    """
    quota = max(quotas, key=_length(now))
    for standing in _open_windows(connection, account_id, quota, now):
        row = connection.execute(
            select(windows).where(windows.c.id == standing.window_id)
        ).one()
        if standing.is_closed(now) and until is None:
            # One of several calls that were refused together: no new evidence.
            connection.execute(
                update(windows)
                .where(windows.c.id == standing.window_id)
                .values(carried=windows.c.carried + 1)
            )
            continue
        believed = until
        if believed is None:
            believed = row.resets_at + quota.guard
            settled = row.used - row.carried - reserved(connection, account_id)
            if settled <= row.refusals + 1:
                pause = min(FIRST_PROBE * 2 ** min(row.refusals, 10), LAST_PROBE)
                believed = min(believed, now + pause)
        connection.execute(
            update(windows)
            .where(windows.c.id == row.id)
            .values(
                refusals=row.refusals + 1,
                closed_until=believed,
                closed_reason=reason,
            )
        )


def record(
    connection: Connection,
    account_id: int,
    quotas: Sequence[Quota],
    credits: int,
    note: str | None,
    now: datetime,
) -> None:
    """Book credits that were spent elsewhere, beyond the limit if need be."""
    for standing in open_windows(connection, account_id, quotas, now):
        connection.execute(
            update(windows)
            .where(windows.c.id == standing.window_id)
            .values(used=windows.c.used + credits)
        )
    connection.execute(
        insert(entries).values(
            account_id=account_id,
            credits=credits,
            state=EntryState.SPENT,
            reserved_at=now,
            settled_at=now,
            note=note,
        )
    )


def reserved(connection: Connection, account_id: int) -> int:
    """Credits reserved for calls that are in flight, or in doubt."""
    return _sum(connection, [entries.c.account_id == account_id, RESERVED])


def accounts_of(
    connection: Connection, provider: str | None = None
) -> Sequence[AnyRow]:
    """The accounts that the ledger knows: id, provider, fingerprint."""
    query = select(accounts).order_by(accounts.c.id)
    if provider is not None:
        query = query.where(accounts.c.provider == provider)
    return connection.execute(query).all()


def history(connection: Connection, account_id: int, most: int) -> Sequence[AnyRow]:
    """The account's newest windows, newest first."""
    return connection.execute(
        select(windows)
        .where(windows.c.account_id == account_id)
        .order_by(windows.c.starts_at.desc(), windows.c.quota)
        .limit(most)
    ).all()


def _open_windows(
    connection: Connection, account_id: int, quota: Quota, now: datetime
) -> list[Standing]:
    rows = _binding(connection, account_id, quota, now)
    missing = [w for w in windows_touched(quota, now) if w not in rows]
    # The endpoint may have named a time that lies beyond its window's reset.
    closed = _closed_beyond(connection, account_id, quota, now) if missing else None
    for window in missing:
        carried = _credits_touching(connection, account_id, quota, window)
        connection.execute(
            insert(windows).values(
                account_id=account_id,
                quota=quota.name,
                starts_at=window.starts_at,
                resets_at=window.resets_at,
                limit=quota.limit,
                used=carried,
                carried=carried,
                refusals=0,
                closed_until=closed.closed_until if closed else None,
                closed_reason=closed.closed_reason if closed else None,
            )
        )
    if missing:
        rows = _binding(connection, account_id, quota, now)
    for row in rows.values():
        if row.limit != quota.limit:
            connection.execute(
                update(windows).where(windows.c.id == row.id).values(limit=quota.limit)
            )
    return [_standing(quota, row) for row in rows.values()]


def _closed_beyond(
    connection: Connection, account_id: int, quota: Quota, now: datetime
) -> AnyRow | None:
    return connection.execute(
        select(windows)
        .where(
            windows.c.account_id == account_id,
            windows.c.quota == quota.name,
            windows.c.closed_until > now,
        )
        .order_by(windows.c.closed_until.desc())
        .limit(1)
    ).first()


def _binding(
    connection: Connection, account_id: int, quota: Quota, now: datetime
) -> dict[Window, AnyRow]:
    # Also windows that lie ahead: a clock that was set back opens nothing anew.
    rows = connection.execute(
        select(windows)
        .where(
            windows.c.account_id == account_id,
            windows.c.quota == quota.name,
            windows.c.resets_at > now - quota.guard,
        )
        .order_by(windows.c.starts_at)
    )
    return {Window(row.starts_at, row.resets_at): row for row in rows}


def _credits_touching(
    connection: Connection, account_id: int, quota: Quota, window: Window
) -> int:
    """Credits of the calls so far that may count in this window."""
    return _sum(
        connection,
        [
            entries.c.account_id == account_id,
            entries.c.state != EntryState.RELEASED,
            entries.c.reserved_at > window.starts_at - LONGEST_CALL,
            entries.c.reserved_at <= window.resets_at + quota.guard,
            or_(
                entries.c.settled_at.is_(None),
                entries.c.settled_at > window.starts_at - quota.guard,
            ),
        ],
    )


def _sum(connection: Connection, conditions: Sequence[ColumnElement[bool]]) -> int:
    query = select(func.coalesce(func.sum(entries.c.credits), 0)).where(*conditions)
    return int(connection.execute(query).scalar_one())


def _standing(quota: Quota, row: AnyRow) -> Standing:
    return Standing(
        window_id=row.id,
        quota=quota,
        starts_at=row.starts_at,
        resets_at=row.resets_at,
        used=row.used,
        closed_until=row.closed_until,
        closed_reason=row.closed_reason,
    )


def _unopened(
    quota: Quota, window: Window, carried: int, closed: AnyRow | None
) -> Standing:
    return Standing(
        window_id=0,
        quota=quota,
        starts_at=window.starts_at,
        resets_at=window.resets_at,
        used=carried,
        closed_until=closed.closed_until if closed else None,
        closed_reason=closed.closed_reason if closed else None,
    )


def _length(now: datetime) -> Callable[[Quota], timedelta]:
    def length(quota: Quota) -> timedelta:
        window = windows_touched(quota, now)[-1]
        return window.resets_at - window.starts_at

    return length
