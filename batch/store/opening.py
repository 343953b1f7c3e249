"""Windows in the ledger: opened when a call may count in them, kept up to date.

The row of a window is the gate: what a call takes is taken by a conditional update of
the rows of all the windows that it counts in (store.taking).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from batch.core.quota import CAP, FIXED, PERIODIC, Per, Quota, WindowKind, terms_of
from batch.core.standing import Standing
from batch.store import counting, resets
from batch.store.schema import AnyRow, accounts, jobs, windows
from batch.store.windows import binding, brought_up, look, milliseconds, scoped


def open_windows(
    connection: Connection, account_id: int, quotas: Sequence[Quota], now: datetime
) -> list[Standing]:
    """Every window that a call made now counts in; those that are missing are made."""
    return [
        standing
        for quota in resets.in_force(connection, account_id, quotas)
        for standing in _open(connection, account_id, quota, now)
    ]


def adopt(
    connection: Connection, account_id: int, quotas: Sequence[Quota], now: datetime
) -> None:
    """Recount the windows of those quotas that the last writer did not maintain.

    A writer updates the counters of its own quotas only. A quota that was not in force,
    or that another runner does not know, lacks what was spent meanwhile.
    """
    same, terms = accounts.c.id == account_id, terms_of(quotas)
    known = connection.scalar(select(accounts.c.quotas).where(same))
    if known == terms:
        return
    counted = (known or "").split("\n")
    # Of every model, though the caller means one.
    anew = [
        replace(quota, scope="") if quota.per is Per.MODEL else quota
        for quota in quotas
        if quota.terms not in counted
    ]
    recount(connection, account_id, scoped(connection, account_id, anew), now)
    connection.execute(update(accounts).where(same).values(quotas=terms))


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
        for window, row in binding(connection, account_id, quota, now).items():
            taken = counting.touching(connection, account_id, quota, window)
            connection.execute(
                update(windows)
                .where(windows.c.id == row.id)
                .values(used=taken, unit=quota.unit)
            )


def recount_later(
    connection: Connection, account_id: int, job_ids: Collection[int | None] = ()
) -> None:
    """Have the next writer recount the account's windows, and reports until then.

    `job_ids`: also those of these jobs' own quotas.
    """
    connection.execute(
        update(accounts).where(accounts.c.id == account_id).values(quotas=None)
    )
    if job_ids:
        drop_caps(connection, job_ids)


def drop_caps(connection: Connection, job_ids: Collection[int | None]) -> None:
    """Remove the windows of these jobs' own quotas: the next claim counts them anew."""
    scopes = [f"job:{one}" for one in job_ids if one is not None]
    connection.execute(
        delete(windows).where(
            windows.c.account_id.in_(select(accounts.c.id)),
            windows.c.quota == CAP,
            windows.c.scope.in_(scopes),
        )
    )


def of(account_id: int, quota: Quota) -> list[ColumnElement[bool]]:
    """The rows of this quota."""
    whose = windows.c.account_id == account_id
    if quota.job_id is not None:
        whose = windows.c.account_id.in_(select(accounts.c.id))
    return [
        whose,
        windows.c.quota == quota.name,
        windows.c.scope == quota.scope,
        windows.c.kind == quota.kind,
    ]


def take_turn(connection: Connection, quota: Quota) -> None:
    """Have nobody else write a job's own windows before this transaction ends.

    On a server the runners of other accounts go on beside it.
    """
    if quota.job_id is not None:
        row = select(jobs.c.id).where(jobs.c.id == quota.job_id)
        connection.execute(row.with_for_update())


def _open(
    connection: Connection, account_id: int, quota: Quota, now: datetime
) -> list[Standing]:
    take_turn(connection, quota)
    rows, missing = look(connection, account_id, quota, now)
    for values in missing:
        made = connection.execute(insert(windows).values(**values))
        key = made.inserted_primary_key
        assert key is not None
        rows.append(_row(connection, int(key[0])))
    found = []
    for row in sorted(rows, key=lambda row: row.starts_at):
        standing = brought_up(connection, account_id, quota, row, now)
        _write(connection, row, standing)
        found.append(standing)
    return found


def _write(connection: Connection, row: Any, standing: Standing) -> None:
    """What was brought up to date, into the row."""
    quota = standing.quota
    values: dict[str, Any] = {"limit": standing.limit, "unit": quota.unit}
    if quota.kind in PERIODIC:
        values["period"] = milliseconds(quota.period)
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


def _row(connection: Connection, window_id: int) -> AnyRow:
    return connection.execute(select(windows).where(windows.c.id == window_id)).one()
