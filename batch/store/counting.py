"""Counting entries: what calls have taken of a quota since a given time.

A report, not a gate: the gate is the window's row, which is brought up to date with
these counts where its kind needs that, inside the transaction that then takes from it.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from batch.core.quota import Quota, Unit, WindowKind
from batch.core.standing import Standing
from batch.core.windows import Window
from batch.store import sql
from batch.store.sql import AnyConnection, AnyLine

#: No call lasts longer than this, from its reservation (which is used within minutes)
#: to its end, while its machine is awake: of a process that died, later windows count
#: nothing.
LONGEST_CALL = timedelta(minutes=70)

_AMOUNT = {Unit.CREDITS: "credits", Unit.CALLS: "calls", Unit.TOKENS: "tokens"}
_TAKEN = "state <> 'released'"
_SPENT = "state = 'spent'"
#: SQLite takes the index of these only where it finds the index's own condition.
_RESERVED = "state = 'reserved'"


def touching(
    connection: AnyConnection, account_id: int, quota: Quota, window: Window
) -> int:
    """What the calls so far took that may count in this window."""
    # A call that was reserved before the clock was set back may end before it began.
    by_now = "(reserved_at < :until OR settled_at < :until)"
    # Two questions, since one of "ended or not" would read every entry there is. What
    # is reserved counts however old it is: a machine that slept may send it yet.
    ended = _sum(
        connection,
        account_id,
        quota,
        f"{_TAKEN} AND settled_at >= :after AND {by_now}",
        until=window.resets_at + quota.guard,
        after=window.starts_at - quota.guard,
    )
    return ended + in_flight(connection, account_id, quota)


def since(
    connection: AnyConnection, account_id: int, quota: Quota, moment: datetime
) -> int:
    """What was taken by calls that are in flight, or ended after this."""
    ended = f"{_TAKEN} AND settled_at > :moment"
    return _sum(connection, account_id, quota, ended, moment=moment) + in_flight(
        connection, account_id, quota
    )


def ahead_of(
    connection: AnyConnection,
    account_id: int,
    quota: Quota,
    moment: datetime,
    *,
    but: str,
) -> int:
    """The usage of calls that ended after this, but for entries with the note `but`."""
    ended = f"{_TAKEN} AND settled_at > :moment AND (note IS NULL OR note <> :but)"
    return _sum(connection, account_id, quota, ended, moment=moment, but=but)


def in_flight(connection: AnyConnection, account_id: int, quota: Quota) -> int:
    """What is reserved for calls that have not ended."""
    return _sum(connection, account_id, quota, _RESERVED)


def returned_at(
    connection: AnyConnection, account_id: int, quota: Quota, amount: int, now: datetime
) -> datetime:
    """When so much of a rolling quota will have come back."""
    period = quota.period + quota.guard
    for row in _ended(connection, account_id, quota, now - period):
        amount -= row.amount
        if amount <= 0:
            back: datetime = row.settled_at + period
            return max(back, now) + timedelta(milliseconds=1)
    # The rest is in flight, or not even spent.
    return now + period


def grants_at(
    connection: AnyConnection,
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
    connection: AnyConnection, account_id: int, quota: Quota, limit: int, now: datetime
) -> float:
    """The level of a refill, from all its entries.

    None of them is too old: a refill that is used as fast as it comes back never has
    its first level behind it. It is the most that the entries since any of them have
    risen above what came back since.
    """
    mine, whose = _of(account_id, quota)
    amount = _AMOUNT[quota.unit]
    rate = limit / quota.period.total_seconds() / 1000
    # A sum over the newest first: what was spent since, the entry itself included.
    most = sql.scalar(
        connection,
        "SELECT max(risen - :rate * CASE WHEN at < :now THEN :now - at ELSE 0 END) "
        "AS most FROM ("
        f"SELECT settled_at AS at, sum({amount}) OVER (ORDER BY settled_at DESC "
        "RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS risen "
        f"FROM entries WHERE {mine} AND {_TAKEN} AND settled_at IS NOT NULL) AS ended",
        now=sql.to_stored(now),
        rate=rate,
        **whose,
    )
    return max(0.0, float(most or 0.0))


def first_call_began_by(
    connection: AnyConnection, account_id: int, quota: Quota, moment: datetime
) -> datetime | None:
    """The latest time at which a window can have begun that began then at the earliest.

    None where that is still open: no call that was made since is known to have
    arrived, and one is in flight.
    """
    mine, whose = _of(account_id, quota)
    spent = f"{mine} AND {_SPENT} AND settled_at >= :moment"
    # A reply proves that its call arrived; what was booked had been made before. Calls
    # that were in flight at that moment may have arrived before it.
    proven: datetime | None = sql.scalar(
        connection,
        "SELECT min(settled_at) AS settled_at FROM entries "
        "LEFT JOIN errors ON errors.entry_id = entries.id "
        f"WHERE {spent} AND reserved_at >= :moment "
        "AND (errors.entry_id IS NULL OR errors.status IS NOT NULL)",
        moment=moment,
        **whose,
    )
    if proven is not None:
        return proven
    in_doubt = f"SELECT id FROM entries WHERE {mine} AND {_RESERVED} LIMIT 1"
    if sql.row(connection, in_doubt, **whose) is not None:
        return None
    last: datetime | None = sql.scalar(
        connection,
        f"SELECT max(settled_at) AS settled_at FROM entries WHERE {spent}",
        moment=moment,
        **whose,
    )
    return last


def calls_after(
    connection: AnyConnection, account_id: int, quota: Quota, moment: datetime
) -> tuple[datetime, datetime] | None:
    """When the first call that ended after this was made, and when the last ended."""
    mine, whose = _of(account_id, quota)
    found = sql.row(
        connection,
        "SELECT min(reserved_at) AS reserved_at, max(settled_at) AS settled_at "
        f"FROM entries WHERE {mine} AND {_TAKEN} AND settled_at > :moment",
        moment=moment,
        **whose,
    )
    assert found is not None
    first, last = found
    return None if first is None else (first, last)


def answered(
    connection: AnyConnection,
    account_id: int,
    quota: Quota,
    after: datetime,
    before: datetime,
) -> bool:
    """Whether a call that was made after one time was answered before the other."""
    mine, whose = _of(account_id, quota)
    query = (
        "SELECT entries.id FROM entries "
        "LEFT JOIN errors ON errors.entry_id = entries.id "
        f"WHERE {mine} AND request_id IS NOT NULL AND {_SPENT} "
        "AND settled_at >= :after AND settled_at < :before AND reserved_at >= :after "
        "AND errors.entry_id IS NULL LIMIT 1"
    )
    return sql.row(connection, query, after=after, before=before, **whose) is not None


def _ended(
    connection: AnyConnection, account_id: int, quota: Quota, after: datetime
) -> list[AnyLine]:
    """When calls ended, and the amount that each took; oldest first."""
    mine, whose = _of(account_id, quota)
    return sql.rows(
        connection,
        f"SELECT settled_at, {_AMOUNT[quota.unit]} AS amount FROM entries "
        f"WHERE {mine} AND {_TAKEN} AND settled_at > :after ORDER BY settled_at",
        after=after,
        **whose,
    )


def _sum(
    connection: AnyConnection,
    account_id: int,
    quota: Quota,
    condition: str,
    **values: object,
) -> int:
    mine, whose = _of(account_id, quota)
    query = (
        f"SELECT coalesce(sum({_AMOUNT[quota.unit]}), 0) FROM entries "
        f"WHERE {mine} AND {condition}"
    )
    return int(sql.scalar(connection, query, **values, **whose))


def account_of(quota: Quota) -> str:
    """The condition on the account of a quota's windows, and of its entries."""
    if quota.job_id is None:
        return "account_id = :account_id"
    # Of any: they are named all the same, since each index begins with the account.
    return "account_id IN (SELECT id FROM accounts)"


def _of(account_id: int, quota: Quota) -> tuple[str, dict[str, object]]:
    """The entries that this quota counts: a condition, and its parameters."""
    condition = f"{account_of(quota)} AND (quota IS NULL OR quota = :quota)"
    values: dict[str, object] = {"account_id": account_id, "quota": quota.name}
    whose, _, name = quota.scope.partition(":")
    if whose == "model":
        # What was spent elsewhere may have been spent on any model.
        condition += " AND (model = :model OR model IS NULL)"
        values["model"] = name
    elif whose == "job":
        # What is booked for a job's quota alone has no request, but its scope.
        condition = (
            f"{account_of(quota)} AND (quota = :quota OR quota IS NULL "
            "AND EXISTS (SELECT requests.id FROM requests "
            "WHERE requests.id = entries.request_id AND requests.job_id = :job_id))"
        )
        values["quota"] = quota.scope
        values["job_id"] = int(name)
    return condition, values
