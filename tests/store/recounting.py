"""Every window's counter against a naive recount from the ledger's entries."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, select

from batch.core.quota import FIXED, FOREVER, Quota, WindowKind
from batch.store import resets, schema, windows
from batch.store.schema import AnyRow

#: Rounding of a refill's level, which is a sum of floats.
ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A window whose counter is not what its entries add up to."""

    quota: Quota
    starts_at: datetime
    counter: float
    recount: float


def mismatches(
    connection: Connection,
    account_id: int,
    quotas: Sequence[Quota],
    now: datetime,
) -> list[Mismatch]:
    """The windows, stored or read as of now, that disagree with their entries."""
    said = connection.scalar(
        select(schema.accounts.c.quotas).where(schema.accounts.c.id == account_id)
    )
    # Those of others are counted anew by the next claim; reports do so themselves.
    kept = (said or "").split("\n")
    scoped = [one for quota in quotas for one in _scoped(connection, quota)]
    found = []
    in_force = resets.in_force(connection, account_id, scoped)
    for told, quota in zip(scoped, in_force, strict=True):
        if told.terms not in kept and not told.scope.startswith("job:"):
            continue
        mine = [
            row
            for row in _entries(connection, account_id, quota)
            if row.state != "released" and _concerns(row, quota)
        ]
        for row in _rows(connection, account_id, quota, now):
            counter, recount = row.used, float(_counted(mine, quota, row))
            if quota.kind is WindowKind.REFILL and row.level_at is not None:
                counter = windows.drained_by(row, now)
                recount = _level(mine, quota, row.limit, now)
            elif quota.kind not in FIXED:
                # What a claim that is made now would find is derived, see below.
                continue
            if abs(counter - recount) > ROUNDING:
                found.append(Mismatch(quota, row.starts_at, counter, recount))
    for one in windows.standings(connection, account_id, scoped, now):
        mine = [
            row
            for row in _entries(connection, account_id, one.quota)
            if row.state != "released" and _concerns(row, one.quota)
        ]
        expected = _expected(mine, one, now)
        if one.used != expected:
            found.append(Mismatch(one.quota, one.starts_at, one.used, expected))
    return found


def _expected(entries: Sequence[AnyRow], one: Any, now: datetime) -> int:
    """The usage that reports and claims must find in this window now."""
    quota = one.quota
    match quota.kind:
        case WindowKind.ROLLING:
            return _since(entries, quota, now - quota.period - quota.guard)
        case WindowKind.FIRST_CALL:
            return _since(entries, quota, one.starts_at - timedelta(milliseconds=1))
        case WindowKind.REFILL:
            level = _level(entries, quota, one.limit, now)
            in_flight = sum(_amount(row, quota) for row in entries if _flies(row))
            # As a float it may be a little above a whole number, or below it.
            return _ceiling_near(level, one.used - in_flight) + in_flight
        case _:
            return _counted(entries, quota, one)


def _ceiling_near(level: float, stated: int) -> int:
    return stated if level - ROUNDING <= stated < level + 1 + ROUNDING else round(level)


def _counted(entries: Iterable[AnyRow], quota: Quota, window: Any) -> int:
    """The usage of a calendar window: all that touched it, the guard included."""
    return sum(
        _amount(row, quota)
        for row in entries
        if _flies(row)
        or (
            min(row.reserved_at, row.settled_at) < window.resets_at + quota.guard
            and row.settled_at >= window.starts_at - quota.guard
        )
    )


def _since(entries: Iterable[AnyRow], quota: Quota, moment: datetime) -> int:
    return sum(
        _amount(row, quota) for row in entries if _flies(row) or row.settled_at > moment
    )


def _level(entries: Iterable[AnyRow], quota: Quota, limit: int, now: datetime) -> float:
    """The level of a bucket that loses `limit` a period, from its very first call."""
    level, at = 0.0, None
    ended = sorted(
        (row for row in entries if not _flies(row)), key=lambda row: row.settled_at
    )
    for row in ended:
        if at is not None:
            level = max(0.0, level - limit * ((row.settled_at - at) / quota.period))
        level, at = level + _amount(row, quota), row.settled_at
    if at is None:
        return 0.0
    return max(0.0, level - limit * ((now - at) / quota.period))


def _flies(row: AnyRow) -> bool:
    return bool(row.state == "reserved")


def _amount(row: AnyRow, quota: Quota) -> int:
    return int(getattr(row, quota.unit))


def _concerns(row: AnyRow, quota: Quota) -> bool:
    # What was counted again for a job's cap has the job's scope, and no request.
    if row.quota not in (None, quota.name if quota.job_id is None else quota.scope):
        return False
    whose, _, name = quota.scope.partition(":")
    if whose == "model":
        return row.model in (None, name)
    return whose != "job" or row.quota is not None or row.job_id == int(name)


def _entries(connection: Connection, account_id: int, quota: Quota) -> Sequence[AnyRow]:
    entries, requests = schema.entries, schema.requests
    query = select(entries, requests.c.job_id).outerjoin(
        requests, requests.c.id == entries.c.request_id
    )
    # A job's cap is one for all accounts.
    if not quota.scope.startswith("job:"):
        query = query.where(entries.c.account_id == account_id)
    return connection.execute(query).all()


def _rows(
    connection: Connection, account_id: int, quota: Quota, now: datetime
) -> Sequence[AnyRow]:
    """The rows of the quota's windows that are not over."""
    rows = schema.windows
    query = select(rows).where(
        rows.c.quota == quota.name,
        rows.c.scope == quota.scope,
        rows.c.kind == quota.kind,
        rows.c.resets_at > now - quota.guard,
    )
    if quota.kind is WindowKind.GRANT:
        query = query.where(
            rows.c.starts_at == quota.since, rows.c.resets_at == FOREVER
        )
    if not quota.scope.startswith("job:"):
        query = query.where(rows.c.account_id == account_id)
    return connection.execute(query).all()


def _scoped(connection: Connection, quota: Quota) -> list[Quota]:
    """This quota as it binds each model that windows exist of."""
    if quota.of("") is quota:
        return [quota]
    scopes = connection.scalars(select(schema.windows.c.scope).distinct()).all()
    return [
        quota.of(scope.removeprefix("model:"))
        for scope in scopes
        if scope.startswith("model:")
    ]
