"""Counting entries: what calls have taken of a quota since a given time.

A report, not a gate: the gate is the window's row, which is brought up to date with
these counts where its kind needs that, inside the transaction that then takes from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    and_,
    func,
    or_,
    select,
)

from batch.core.model import EntryState
from batch.core.quota import FOREVER, Quota, Unit, WindowKind
from batch.core.standing import Standing, drained
from batch.core.windows import Window
from batch.store.schema import RESERVED, entries, errors, requests

#: No call lasts longer than this, from its reservation (which is used within minutes)
#: to its end: one that is older belongs to a process that died, and touches no later
#: window.
LONGEST_CALL = timedelta(minutes=70)

_AMOUNT: dict[Unit, Column[int]] = {
    Unit.CREDITS: entries.c.credits,
    Unit.CALLS: entries.c.calls,
    Unit.TOKENS: entries.c.tokens,
}
_TAKEN = entries.c.state != EntryState.RELEASED


def touching(
    connection: Connection, account_id: int, quota: Quota, window: Window
) -> int:
    """What the calls so far took that may count in this window."""
    by_now = [entries.c.reserved_at <= window.resets_at + quota.guard]
    if window.resets_at >= FOREVER:
        by_now.clear()
    ended = [
        entries.c.settled_at > window.starts_at - quota.guard,
        entries.c.reserved_at > window.starts_at - LONGEST_CALL,
    ]
    # Two questions, since one of "ended or not" would read every entry there is. What
    # is reserved counts however old it is: a machine that slept may send it yet.
    return _sum(connection, account_id, quota, [_TAKEN, *ended, *by_now]) + _sum(
        connection, account_id, quota, [RESERVED, *by_now]
    )


def since(
    connection: Connection, account_id: int, quota: Quota, moment: datetime
) -> int:
    """What was taken by calls that are in flight, or ended after this."""
    ended = entries.c.settled_at > moment
    return _sum(connection, account_id, quota, [_TAKEN, ended]) + in_flight(
        connection, account_id, quota
    )


def in_flight(connection: Connection, account_id: int, quota: Quota) -> int:
    """What is reserved for calls that have not ended."""
    return _sum(connection, account_id, quota, [RESERVED])


def returned_at(
    connection: Connection, account_id: int, quota: Quota, amount: int, now: datetime
) -> datetime:
    """When so much of a rolling quota will have come back."""
    period = quota.period + quota.guard
    query = (
        select(entries.c.settled_at, _AMOUNT[quota.unit].label("amount"))
        .where(*_of(account_id, quota), _TAKEN, entries.c.settled_at > now - period)
        .order_by(entries.c.settled_at)
    )
    for row in connection.execute(query):
        amount -= row.amount
        if amount <= 0:
            back: datetime = row.settled_at + period
            return max(back, now) + timedelta(milliseconds=1)
    # The rest is in flight, or not even spent.
    return now + period


def grants_at(
    connection: Connection,
    account_id: int,
    one: Standing,
    keep: int,
    now: datetime,
    amount: int = 1,
) -> datetime:
    """The earliest time at which this window no longer stands in the way."""
    lacking = one.used + amount - one.less(keep)
    if one.quota.kind is WindowKind.ROLLING and lacking > 0:
        back = returned_at(connection, account_id, one.quota, lacking, now)
        return max(one.grants_at(now, keep, 0), back)
    return one.grants_at(now, keep, amount)


def level(
    connection: Connection, account_id: int, quota: Quota, limit: int, now: datetime
) -> float:
    """The level of a refill, from the entries of its last periods."""
    start = now - 3 * quota.period
    query = (
        select(entries.c.settled_at, _AMOUNT[quota.unit].label("amount"))
        .where(*_of(account_id, quota), _TAKEN, entries.c.settled_at > start)
        .order_by(entries.c.settled_at)
    )
    found, at = 0.0, start
    for row in connection.execute(query):
        found = drained(found, limit, quota.period, row.settled_at - at)
        found, at = found + row.amount, row.settled_at
    return drained(found, limit, quota.period, now - at)


def first_call_began_by(
    connection: Connection, account_id: int, quota: Quota, moment: datetime
) -> datetime | None:
    """The latest time at which a window can have begun that began then at the earliest.

    None where that is still open: no call that was made since is known to have
    arrived, and one is in flight.
    """
    mine = _of(account_id, quota)
    spent = [entries.c.state == EntryState.SPENT, entries.c.settled_at >= moment]
    # A reply proves that its call arrived; what was booked had been made before. Calls
    # that were in flight at that moment may have arrived before it.
    proven: datetime | None = connection.scalar(
        select(func.min(entries.c.settled_at))
        .outerjoin(errors, errors.c.entry_id == entries.c.id)
        .where(
            *mine,
            *spent,
            entries.c.reserved_at >= moment,
            or_(errors.c.entry_id.is_(None), errors.c.status.is_not(None)),
        )
    )
    if proven is not None:
        return proven
    if connection.scalar(select(entries.c.id).where(*mine, RESERVED).limit(1)):
        return None
    last: datetime | None = connection.scalar(
        select(func.max(entries.c.settled_at)).where(*mine, *spent)
    )
    return last


def calls_after(
    connection: Connection, account_id: int, quota: Quota, moment: datetime
) -> tuple[datetime, datetime] | None:
    """When the first call that ended after this was made, and when the last ended."""
    found = connection.execute(
        select(
            func.min(entries.c.reserved_at).label("first"),
            func.max(entries.c.settled_at).label("last"),
        ).where(*_of(account_id, quota), _TAKEN, entries.c.settled_at > moment)
    ).one()
    return None if found.first is None else (found.first, found.last)


def answered(
    connection: Connection,
    account_id: int,
    quota: Quota,
    after: datetime,
    before: datetime,
) -> bool:
    """Whether a call that was made after one time was answered before the other."""
    query = (
        select(entries.c.id)
        .outerjoin(errors, errors.c.entry_id == entries.c.id)
        .where(
            *_of(account_id, quota),
            entries.c.request_id.is_not(None),
            entries.c.state == EntryState.SPENT,
            entries.c.settled_at >= after,
            entries.c.settled_at < before,
            entries.c.reserved_at >= after,
            errors.c.entry_id.is_(None),
        )
        .limit(1)
    )
    return connection.scalar(query) is not None


def _sum(
    connection: Connection,
    account_id: int,
    quota: Quota,
    conditions: Sequence[ColumnElement[bool]],
) -> int:
    total = func.coalesce(func.sum(_AMOUNT[quota.unit]), 0)
    query = select(total).where(*_of(account_id, quota), *conditions)
    return int(connection.execute(query).scalar_one())


def _of(account_id: int, quota: Quota) -> list[ColumnElement[bool]]:
    """The entries that this quota counts."""
    conditions = [
        entries.c.account_id == account_id,
        or_(entries.c.quota.is_(None), entries.c.quota == quota.name),
    ]
    whose, _, name = quota.scope.partition(":")
    if whose == "model":
        # What was spent elsewhere may have been spent on any model.
        conditions.append(or_(entries.c.model == name, entries.c.model.is_(None)))
    elif whose == "job":
        mine = and_(
            requests.c.id == entries.c.request_id, requests.c.job_id == int(name)
        )
        conditions.append(select(requests.c.id).where(mine).exists())
    return conditions
