"""Windows that begin with their first call: when the newest began, and when it ends.

The endpoint's window begins when that call arrives, which is only known to be between
its reservation and its reply. So the end is known no better: from the earliest that it
can be to the latest, no call is made, and what was in flight then counts in the next.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from batch.core.quota import FOREVER, Quota
from batch.core.windows import Window
from batch.store import counting, sql
from batch.store.sql import AnyConnection, AnyLine

INSTANT = timedelta(milliseconds=1)

#: The rows of a quota, whose accounts are left to be said; see `whose`.
_OF = "AND quota = :quota AND scope = :scope AND kind = :kind"


def newest(
    connection: AnyConnection, account_id: int, quota: Quota, now: datetime
) -> tuple[AnyLine | None, Window]:
    """The row of the window that binds now; None: the window that is to be opened."""
    row = sql.row(
        connection,
        f"SELECT * FROM windows WHERE {windows_of(quota)} "
        "ORDER BY starts_at DESC LIMIT 1",
        **of(account_id, quota),
    )
    if row is None:
        return None, _first_of_all(connection, account_id, quota, now)
    ends_at = ends_by(connection, account_id, quota, row)
    if ends_at is None or now < ends_at + quota.guard:
        return row, Window(row.starts_at, row.resets_at)
    return None, _next(connection, account_id, quota, row.starts_at, now)


def _next(
    connection: AnyConnection,
    account_id: int,
    quota: Quota,
    starts_at: datetime,
    now: datetime,
) -> Window:
    """The window after one that began then and is over."""
    # A call that was in flight when the window may have ended may have begun the next
    # one; what began earlier than a period ago is over as well.
    horizon = now - quota.period - quota.guard
    starts_at = max(starts_at + quota.period - quota.guard, horizon)
    if counting.since(connection, account_id, quota, starts_at):
        began = counting.first_call_began_by(connection, account_id, quota, starts_at)
        if began is None or now < began + quota.period + quota.guard:
            return Window(starts_at, FOREVER)
    return Window(now, FOREVER)


def _first_of_all(
    connection: AnyConnection, account_id: int, quota: Quota, now: datetime
) -> Window:
    """The first window of a quota, which calls may have been made under another."""
    horizon = now - quota.period - quota.guard
    made = counting.calls_after(connection, account_id, quota, horizon)
    if made is None:
        return Window(now, FOREVER)
    first, last = made
    return Window(first, last + quota.period)


def ends_by(
    connection: AnyConnection, account_id: int, quota: Quota, row: Any
) -> datetime | None:
    """The latest end of the window of this row.

    FOREVER while nobody can tell; None where it has not begun: no call was sent.
    """
    starts_at: datetime = row.starts_at
    began_by = counting.first_call_began_by(connection, account_id, quota, starts_at)
    if began_by is not None:
        ends_at: datetime = began_by + quota.period
        # What was known once stays: a clock that was set back proves nothing earlier.
        return ends_at if row.resets_at >= FOREVER else max(ends_at, row.resets_at)
    taken = counting.since(connection, account_id, quota, starts_at - INSTANT)
    return FOREVER if taken else None


def windows_of(quota: Quota) -> str:
    """The condition that finds the windows of a quota; its parameters are `of`.

    Those of a job's own are the same for all accounts.
    """
    return f"{counting.account_of(quota)} {_OF}"


def of(account_id: int, quota: Quota) -> dict[str, object]:
    """The parameters of `windows_of`."""
    return {
        "account_id": account_id,
        "quota": quota.name,
        "scope": quota.scope,
        "kind": quota.kind,
    }
