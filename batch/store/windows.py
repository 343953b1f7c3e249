"""Windows in the ledger: opened when a call may count in them, taken from, given back.

The row of a window is the gate: what a call takes is taken by a conditional update of
the rows of all the windows that it counts in. Which are those? Every one that it
touches, with the quota's guard on both sides, from its reservation until it is settled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update

from batch.core.quota import (
    EPOCH,
    FIXED,
    FOREVER,
    PERIODIC,
    Quota,
    WindowKind,
)
from batch.core.standing import Standing, drained
from batch.core.windows import Window, windows_touched
from batch.store import counting, first_call, resets
from batch.store.first_call import of
from batch.store.schema import AnyRow, windows

#: Windows of a quota that are looked at when another one is opened.
RECENT = 4


def open_windows(
    connection: Connection, account_id: int, quotas: Sequence[Quota], now: datetime
) -> list[Standing]:
    """Every window that a call made now counts in; those that are missing are made."""
    return [
        standing
        for quota in resets.in_force(connection, account_id, quotas)
        for standing in _open(connection, account_id, quota, now)
    ]


def standings(
    connection: Connection, account_id: int, quotas: Sequence[Quota], now: datetime
) -> list[Standing]:
    """Like `open_windows`, but for looking only: nothing is written."""
    found = []
    for quota in resets.in_force(connection, account_id, quotas):
        rows, missing = _look(connection, account_id, quota, now)
        fresh = [SimpleNamespace(id=0, **values) for values in missing]
        for row in [*fresh, *rows]:
            found.append(_brought_up(connection, account_id, quota, row, now))
    return found


def recount(
    connection: Connection, account_id: int, quotas: Sequence[Quota], now: datetime
) -> None:
    """Count anew what was taken from windows that were not in force for a while."""
    for quota in resets.in_force(connection, account_id, quotas):
        connection.execute(
            update(windows)
            .where(*of(account_id, quota), windows.c.kind == WindowKind.REFILL)
            .values(unit=quota.unit, level_at=None)
        )
        if quota.kind not in FIXED:
            continue
        for window, row in _binding(connection, account_id, quota, now).items():
            taken = counting.touching(connection, account_id, quota, window)
            if row.unit == quota.unit:
                # What was counted on both sides of a reset may stand here alone.
                taken = max(taken, row.used)
            connection.execute(
                update(windows)
                .where(windows.c.id == row.id)
                .values(used=taken, unit=quota.unit)
            )


def _open(
    connection: Connection, account_id: int, quota: Quota, now: datetime
) -> list[Standing]:
    rows, missing = _look(connection, account_id, quota, now)
    for values in missing:
        made = connection.execute(insert(windows).values(**values))
        key = made.inserted_primary_key
        assert key is not None
        rows.append(_row(connection, int(key[0])))
    found = []
    for row in sorted(rows, key=lambda row: row.starts_at):
        standing = _brought_up(connection, account_id, quota, row, now)
        _write(connection, row, standing)
        found.append(standing)
    return found


def _look(
    connection: Connection, account_id: int, quota: Quota, now: datetime
) -> tuple[list[Any], list[dict[str, Any]]]:
    """The rows of the windows that bind now, and those that are missing."""
    if quota.kind is WindowKind.FIRST_CALL:
        row, window = first_call.newest(connection, account_id, quota, now)
        if row is not None:
            return [row], []
        return [], [_fresh(connection, account_id, quota, window, 0, now)]
    rows = _binding(connection, account_id, quota, now)
    missing = []
    for window in windows_touched(quota, now):
        if window in rows:
            continue
        carried = 0
        if quota.kind in FIXED:
            carried = counting.touching(connection, account_id, quota, window)
        missing.append(_fresh(connection, account_id, quota, window, carried, now))
    return list(rows.values()), missing


def _brought_up(
    connection: Connection, account_id: int, quota: Quota, row: Any, now: datetime
) -> Standing:
    """Where this window stands now."""
    starts_at, resets_at, used = row.starts_at, row.resets_at, row.used
    reserved, level, level_at, ends_from = 0, 0.0, EPOCH, FOREVER
    stated = row.stated_limit
    limit = quota.limit if stated is None else min(quota.limit, stated)
    match quota.kind:
        case WindowKind.ROLLING:
            horizon = now - quota.period - quota.guard
            used = counting.since(connection, account_id, quota, horizon)
        case WindowKind.FIRST_CALL:
            ends = first_call.ends_by(connection, account_id, quota, row)
            # A clock that was set back makes calls before the window began.
            starts_at = now if ends is None else min(starts_at, now)
            ends = ends or FOREVER
            before = starts_at - first_call.INSTANT
            used = counting.since(connection, account_id, quota, before)
            resets_at, ends_from = ends, starts_at + quota.period - quota.guard
        case WindowKind.REFILL:
            reserved = counting.in_flight(connection, account_id, quota)
            if row.level_at is None:
                level = counting.level(connection, account_id, quota, limit, now)
            else:
                level = drained_by(row, now)
            level_at = max(now, row.level_at or EPOCH)
            used = math.ceil(level) + reserved
    return Standing(
        window_id=row.id,
        quota=quota,
        starts_at=starts_at,
        resets_at=resets_at,
        used=used,
        reserved=reserved,
        stated_limit=stated,
        closed_until=row.closed_until,
        closed_reason=row.closed_reason,
        unproven=row.unproven,
        probing_until=row.probing_until,
        ends_from=ends_from,
        level=level,
        level_at=level_at,
    )


def drained_by(row: Any, now: datetime) -> float:
    """What is left of the level of a refill's row."""
    period = timedelta(milliseconds=row.period)
    return drained(row.level, row.limit, period, now - row.level_at)


def _write(connection: Connection, row: Any, standing: Standing) -> None:
    """What was brought up to date, into the row."""
    quota = standing.quota
    values: dict[str, Any] = {"limit": standing.limit, "unit": quota.unit}
    if quota.kind in PERIODIC:
        values["period"] = _milliseconds(quota.period)
        values["used"] = standing.used
        values["starts_at"] = standing.starts_at
        values["resets_at"] = standing.resets_at
    if quota.kind is WindowKind.REFILL:
        values["level"] = standing.level
        values["level_at"] = standing.level_at
    changed = {
        name: value for name, value in values.items() if getattr(row, name) != value
    }
    if changed:
        connection.execute(
            update(windows).where(windows.c.id == row.id).values(**changed)
        )


def _fresh(
    connection: Connection,
    account_id: int,
    quota: Quota,
    window: Window,
    carried: int,
    now: datetime,
) -> dict[str, Any]:
    """The row of a window that is not there yet."""
    recent = connection.execute(
        select(windows)
        .where(*of(account_id, quota))
        .order_by(windows.c.resets_at.desc())
        .limit(RECENT)
    ).all()
    # The endpoint may have named a time that lies beyond its window's reset.
    ahead = [row for row in recent if row.closed_until and row.closed_until > now]
    closed = max(ahead, key=lambda row: row.closed_until, default=None)
    before = next((r for r in recent if r.starts_at < window.starts_at), None)
    return {
        "account_id": account_id,
        "quota": quota.name,
        "scope": quota.scope,
        "kind": quota.kind,
        "unit": quota.unit,
        "period": _milliseconds(quota.period) if quota.kind in PERIODIC else None,
        "starts_at": window.starts_at,
        "resets_at": window.resets_at,
        "limit": quota.limit,
        "stated_limit": before.stated_limit if before is not None else None,
        "used": carried,
        "level": 0.0,
        "level_at": None,
        "refusals": 0,
        "refused_at": None,
        "closed_until": closed.closed_until if closed else None,
        "closed_reason": closed.closed_reason if closed else None,
        "unproven": before is not None and _has_resets(quota),
        "probing_until": None,
    }


def _has_resets(quota: Quota) -> bool:
    """Whether an endpoint has resets of this kind, which are assumed until seen."""
    kinds = (WindowKind.DAY, WindowKind.MONTH, WindowKind.FIRST_CALL)
    return quota.kind in kinds and not quota.scope.startswith("job:")


# Also windows that lie ahead: a clock that was set back opens nothing anew.
_BINDING = (
    select(windows)
    .where(
        windows.c.account_id == bindparam("account_id"),
        windows.c.quota == bindparam("quota"),
        windows.c.scope == bindparam("scope"),
        windows.c.kind == bindparam("kind"),
        windows.c.resets_at > bindparam("over_by"),
    )
    .order_by(windows.c.starts_at)
)


def _binding(
    connection: Connection, account_id: int, quota: Quota, now: datetime
) -> dict[Window, AnyRow]:
    given = Window(quota.since, FOREVER)
    rows = connection.execute(
        _BINDING,
        {
            "account_id": account_id,
            "quota": quota.name,
            "scope": quota.scope,
            "kind": quota.kind,
            "over_by": now - quota.guard,
        },
    )
    found = {Window(row.starts_at, row.resets_at): row for row in rows}
    if quota.kind is WindowKind.GRANT:
        # One that began at another time was another grant.
        return {window: row for window, row in found.items() if window == given}
    return found


def _row(connection: Connection, window_id: int) -> AnyRow:
    return connection.execute(select(windows).where(windows.c.id == window_id)).one()


def _milliseconds(stretch: timedelta) -> int:
    return round(stretch.total_seconds() * 1000)
