"""Correction of the ledger for a new believed time: setting a clock frees no credit.

Timestamps stay as written. Credits that counted at the old time and would not at the
new one are booked again as of the new time, in each quota that lacks them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    Select,
    delete,
    func,
    select,
    type_coerce,
    update,
)

from batch.core.price import Cost
from batch.core.quota import (
    DAY,
    FIXED,
    FOREVER,
    Quota,
    Unit,
    WindowKind,
    daily_cap,
    default_guard,
)
from batch.core.windows import Window
from batch.store import counting, ledger, opening
from batch.store.opening import of
from batch.store.schema import (
    RESERVED,
    AnyRow,
    Moment,
    accounts,
    entries,
    jobs,
    windows,
)
from batch.store.windows import standings

#: What lies further ahead than this was written by a clock that was wrong.
AHEAD = timedelta(seconds=90)
#: How far a clock may have been off that replies are said to have proven right: the
#: timekeeper's TOLERANCE.
RIGHT_WITHIN = timedelta(seconds=30)
#: The quota of an entry that counts in none any more: its credits were booked again.
NONE = ""
#: The longest windows that begin at a time of the calendar, however it is kept.
LONGEST = {
    WindowKind.MINUTE: timedelta(minutes=1),
    WindowKind.DAY: timedelta(hours=25),
    WindowKind.MONTH: timedelta(days=31, hours=1),
}
NOTE = "counted again: the clock was set"


@dataclass(frozen=True, slots=True)
class _Allowance:
    """A quota of an account, as read from its windows."""

    account_id: int
    quota: Quota


def carry(
    connection: Connection,
    before: datetime,
    now: datetime,
    agreed_at: datetime | None = None,
) -> None:
    """Count as of `now` what counted at `before`, in every account.

    Quotas whose guard covers the difference are left alone. `agreed_at`: the time up to
    which the old clock is known to have been right; what it lacks since is time that
    passed (a paused virtual machine). It is known to within RIGHT_WITHIN: no windows
    with a smaller guard go by it.
    """
    by = abs(now - before)
    allowances = [one for one in _allowances(connection) if one.quota.guard < by]
    counted: dict[_Allowance, int] = {}
    moved: dict[_Allowance, int] = {}
    for one in allowances:
        if agreed_at is not None and before < now and one.quota.guard > RIGHT_WITHIN:
            counted[one], moved[one] = _since(connection, one, agreed_at), 0
        else:
            counted[one] = _used(connection, one, before)
            moved[one] = _moved(connection, one, now, now - before)
    ahead = {one: _ahead(connection, one, now) for one in allowances}
    if now < before:
        _set_aside(connection, now)
    _move_closures(connection, before, now - before)
    for account_id in connection.scalars(select(accounts.c.id)).all():
        opening.recount_later(connection, account_id)
    for one in allowances:
        missing = max(counted[one], moved[one]) - _counts(connection, one, now)
        if now < before:
            # It comes on top of what was spent by a clock that was right.
            missing = max(missing, ahead[one])
        if missing > 0:
            _book(connection, one, missing, now)
        if one.quota.job_id is not None:
            _recount(connection, one)


def ended_at(entry: AnyRow, now: datetime) -> datetime:
    """Return when a call ended that is settled now.

    Not before it was made, unless the clock has been set back since.
    """
    reserved_at: datetime = entry.reserved_at
    return now if entry.note == NOTE else max(now, reserved_at)


def _allowances(connection: Connection) -> list[_Allowance]:
    query = select(windows).where(~windows.c.scope.startswith("job:"))
    found: Mapping[tuple[object, ...], _Allowance] = {
        (row.account_id, row.quota, row.scope, row.kind, row.unit, row.period): (
            _Allowance(
                row.account_id,
                Quota(
                    name=row.quota,
                    limit=row.limit,
                    kind=WindowKind(row.kind),
                    period=_period(row.period),
                    guard=default_guard(WindowKind(row.kind), _period(row.period)),
                    unit=Unit(row.unit),
                    scope=row.scope,
                ),
            )
        )
        for row in connection.execute(query.order_by(windows.c.id))
    }
    return [*found.values(), *_caps(connection)]


def _caps(connection: Connection) -> list[_Allowance]:
    """The daily caps of jobs, which are the same for all accounts."""
    account_id = connection.scalar(select(func.min(accounts.c.id)))
    if account_id is None:
        return []
    capped = select(jobs.c.id, jobs.c.daily_cap).where(jobs.c.daily_cap.is_not(None))
    return [
        _Allowance(account_id, daily_cap(row.id, row.daily_cap, ()))
        for row in connection.execute(capped)
    ]


def _period(milliseconds: int | None) -> timedelta:
    return DAY if milliseconds is None else timedelta(milliseconds=milliseconds)


def _since(connection: Connection, one: _Allowance, moment: datetime) -> int:
    """Return how much of it was taken after this, or is in flight."""
    return counting.since(connection, one.account_id, one.quota, moment)


def _used(connection: Connection, one: _Allowance, moment: datetime) -> int:
    """Return how much of it counts at this moment."""
    quota = one.quota
    if quota.kind in FIXED:
        rows = connection.execute(_binding(one, moment)).all()
        # One that is not there yet is opened with what is in flight.
        return max(
            (row.used for row in rows),
            default=counting.in_flight(connection, one.account_id, quota),
        )
    found = standings(connection, one.account_id, [quota], moment)
    return max((standing.used for standing in found), default=0)


def _counts(connection: Connection, one: _Allowance, now: datetime) -> int:
    """Return how much of it counts now at least, by its entries."""
    account_id, quota = one.account_id, one.quota
    if quota.kind not in FIXED:
        return _used(connection, one, now)
    rows = connection.execute(_binding(one, now)).all()
    return min(
        (
            counting.touching(
                connection, account_id, quota, Window(row.starts_at, row.resets_at)
            )
            for row in rows
            if row.starts_at <= now < row.resets_at
        ),
        # Nobody knows which entries count in a window that is not there yet.
        default=counting.in_flight(connection, account_id, quota),
    )


def _moved(
    connection: Connection, one: _Allowance, now: datetime, by: timedelta
) -> int:
    """Return the usage of the current window if every entry were later by that much.

    0 if the clock was set back, or the windows do not follow the calendar.
    """
    longest = LONGEST.get(one.quota.kind)
    if longest is None or by < timedelta(0):
        return 0
    # The window began no earlier than its longest, nor before an older one ended.
    begins = [now - longest]
    for row in connection.execute(
        select(windows).where(
            *of(one.account_id, one.quota), windows.c.starts_at <= now
        )
    ):
        begins.append(row.starts_at if now < row.resets_at else row.resets_at)
    moment = max(begins) - by - one.quota.guard
    return counting.since(connection, one.account_id, one.quota, moment)


def _ahead(connection: Connection, one: _Allowance, now: datetime) -> int:
    """Return the credits spent ahead of now, but at most the quota's limit.

    Of a grant all of them.
    """
    account_id, quota = one.account_id, one.quota
    # The next minutes are other windows, and the clock may be set back by seconds.
    ahead = quota.guard if quota.kind is WindowKind.MINUTE else AHEAD
    spent = counting.ahead_of(connection, account_id, quota, now + ahead, but=NOTE)
    return spent if quota.kind is WindowKind.GRANT else min(spent, quota.limit)


def _binding(one: _Allowance, moment: datetime) -> Select[Any]:
    """The rows of the calendar's windows that a call made at this moment counts in."""
    guard = one.quota.guard
    return select(windows).where(
        *of(one.account_id, one.quota),
        windows.c.starts_at <= moment + guard,
        windows.c.resets_at > moment - guard,
    )


def _set_aside(connection: Connection, now: datetime) -> None:
    """Let what lies ahead of `now` count no more where it stands."""
    connection.execute(
        update(entries).where(entries.c.settled_at > now + AHEAD).values(quota=NONE)
    )
    in_flight = RESERVED, entries.c.reserved_at > now + AHEAD
    connection.execute(update(entries).where(*in_flight).values(note=NOTE))
    connection.execute(delete(windows).where(windows.c.starts_at > now + AHEAD))


def _move_closures(connection: Connection, before: datetime, by: timedelta) -> None:
    """Leave closures as long as they were: they were dated by the other time."""
    stretch = by // timedelta(milliseconds=1)
    for column in (windows.c.closed_until, windows.c.probing_until):
        moved = type_coerce(column, BigInteger) + stretch
        connection.execute(
            update(windows)
            .where(column > before, column < FOREVER)
            .values({column.name: type_coerce(moved, Moment())})
        )
    refused = type_coerce(windows.c.refused_at, BigInteger) + stretch
    connection.execute(
        update(windows)
        .where(windows.c.refused_at.is_not(None))
        .values(refused_at=type_coerce(refused, Moment()))
    )


def _book(connection: Connection, one: _Allowance, amount: int, now: datetime) -> None:
    quota = one.quota
    cost = Cost(
        calls=amount if quota.unit is Unit.CALLS else 0,
        credits=amount if quota.unit is Unit.CREDITS else 0,
        tokens=amount if quota.unit is Unit.TOKENS else 0,
    )
    name = quota.name if quota.job_id is None else quota.scope
    whose, _, of_it = quota.scope.partition(":")
    model = of_it if whose == "model" else None
    ledger.book(connection, one.account_id, cost, NOTE, now, quota=name, model=model)


def _recount(connection: Connection, one: _Allowance) -> None:
    """Count the windows of a job's cap anew, which no claim does."""
    mine = of(one.account_id, one.quota)
    for row in connection.execute(select(windows).where(*mine)).all():
        window = Window(row.starts_at, row.resets_at)
        used = counting.touching(connection, one.account_id, one.quota, window)
        connection.execute(
            update(windows).where(windows.c.id == row.id).values(used=used)
        )
