"""Windows in the ledger: which of them bind a call now, and where each stands.

Which does a call count in? Every one that it touches, with the quota's guard on both
sides, from its reservation until it is settled. Here they are only looked at; it is
store.opening that writes them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from types import SimpleNamespace
from typing import Any

from batch.core.quota import (
    EPOCH,
    FIXED,
    FOREVER,
    PERIODIC,
    Quota,
    WindowKind,
)
from batch.core.standing import Standing, doubt, drained
from batch.core.windows import Window, windows_touched
from batch.store import counting, first_call, resets, spending, sql
from batch.store.first_call import of, windows_of
from batch.store.sql import AnyConnection, AnyLine

#: Windows of a quota that are looked at when another one is opened.
RECENT = 4

#: Also windows that lie ahead: a clock that was set back opens nothing anew.
_BINDING = "AND resets_at > :over_by ORDER BY starts_at"
_RECENT = f"ORDER BY resets_at DESC LIMIT {RECENT}"


def standings(
    connection: AnyConnection, account_id: int, quotas: Sequence[Quota], now: datetime
) -> list[Standing]:
    """Every window that a call made now would count in, those that are missing too.

    In the order of the quotas, of each the oldest first.
    """
    found = []
    counted = _counted(connection, account_id)
    in_force = resets.in_force(connection, account_id, quotas)
    for said, quota in zip(quotas, in_force, strict=True):
        anew = said.job_id is None and said.terms not in counted
        rows, missing = look(connection, account_id, quota, now)
        fresh = [SimpleNamespace(id=0, **values) for values in missing]
        # One may be missing before others, or after them.
        for row in sorted([*fresh, *rows], key=attrgetter("starts_at")):
            one = _recounted(connection, account_id, quota, row) if anew else row
            found.append(brought_up(connection, account_id, quota, one, now))
    return found


def _counted(connection: AnyConnection, account_id: int) -> list[str]:
    """The terms of the quotas whose windows the last writer kept up to date."""
    query = "SELECT quotas FROM accounts WHERE id = :account_id"
    return (sql.scalar(connection, query, account_id=account_id) or "").split("\n")


def _recounted(
    connection: AnyConnection, account_id: int, quota: Quota, row: Any
) -> Any:
    """The row as the next writer will recount it: its quota was not maintained."""
    values = row._asdict() if hasattr(row, "_asdict") else vars(row)
    if quota.kind in FIXED:
        window = Window(row.starts_at, row.resets_at)
        taken = counting.touching(connection, account_id, quota, window)
        values = {**values, "used": taken}
    return SimpleNamespace(**{**values, "level_at": None})


def scoped(
    connection: AnyConnection, account_id: int, quotas: Sequence[Quota]
) -> list[Quota]:
    """The quotas of the account, and those of each of its models that has windows."""
    models = spending.models_of(connection, account_id)
    return list(
        dict.fromkeys(
            one
            for quota in quotas
            for one in (
                [quota] if quota.of("") is quota else [quota.of(m) for m in models]
            )
        )
    )


def look(
    connection: AnyConnection, account_id: int, quota: Quota, now: datetime
) -> tuple[list[Any], list[dict[str, Any]]]:
    """The rows of the windows that bind now, and those that are missing."""
    if quota.kind is WindowKind.FIRST_CALL:
        row, window = first_call.newest(connection, account_id, quota, now)
        if row is not None:
            return [row], []
        return [], [_fresh(connection, account_id, quota, window, 0, now)]
    rows = binding(connection, account_id, quota, now)
    missing = []
    for window in windows_touched(quota, now):
        if window in rows:
            continue
        carried = 0
        if quota.kind in FIXED:
            carried = counting.touching(connection, account_id, quota, window)
        missing.append(_fresh(connection, account_id, quota, window, carried, now))
    return list(rows.values()), missing


def binding(
    connection: AnyConnection, account_id: int, quota: Quota, now: datetime
) -> dict[Window, AnyLine]:
    """The rows of the windows of this quota that are not over."""
    given = Window(quota.since, FOREVER)
    rows = sql.rows(
        connection,
        f"SELECT * FROM windows WHERE {windows_of(quota)} {_BINDING}",
        over_by=now - quota.guard,
        **of(account_id, quota),
    )
    found = {Window(row.starts_at, row.resets_at): row for row in rows}
    if quota.kind is WindowKind.GRANT:
        # One that began at another time was another grant.
        return {window: row for window, row in found.items() if window == given}
    return found


def brought_up(
    connection: AnyConnection, account_id: int, quota: Quota, row: Any, now: datetime
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
        is_trial=_is_trial(row),
        unproven=row.unproven,
        probing_until=row.probing_until,
        ends_from=ends_from,
        level=level,
        level_at=level_at,
    )


def _is_trial(row: Any) -> bool:
    """Tell whether the end of its closure is a guess: neither stated nor its reset."""
    if row.closed_until is None or row.refused_at is None or not row.refusals:
        return False
    return bool(row.closed_until == row.refused_at + doubt(row.refusals - 1))


def drained_by(row: Any, now: datetime) -> float:
    """What is left of the level of a refill's row."""
    period = timedelta(milliseconds=row.period)
    return drained(row.level, row.limit, period, now - row.level_at)


def milliseconds(stretch: timedelta) -> int:
    """A period as a row has it."""
    return round(stretch.total_seconds() * 1000)


def _fresh(
    connection: AnyConnection,
    account_id: int,
    quota: Quota,
    window: Window,
    carried: int,
    now: datetime,
) -> dict[str, Any]:
    """The row of a window that is not there yet."""
    recent = sql.rows(
        connection,
        f"SELECT * FROM windows WHERE {windows_of(quota)} {_RECENT}",
        **of(account_id, quota),
    )
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
        "period": milliseconds(quota.period) if quota.kind in PERIODIC else None,
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
