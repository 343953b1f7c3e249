"""The queue: claiming requests, each with the credit of its next attempt.

Functions of a Connection; the caller owns the transaction. Every transition names the
state that it expects, and whose request it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import orjson
from sqlalchemy import (
    Connection,
    select,
    update,
)

from batch.core.model import (
    Claim,
    Job,
    RequestState,
)
from batch.core.quota import Quota, Standing, grants_at, room
from batch.store import ledger
from batch.store.schema import PENDING, jobs, requests


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who claims: a runner, on whose account, under which quotas."""

    runner_id: int
    account_id: int
    quotas: tuple[Quota, ...]
    #: Credits of every window to leave alone.
    keep: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """What a claim brought."""

    claims: list[Claim]
    standings: list[Standing]
    #: Whether requests are waiting that no credit was left for, and until when.
    denied_until: datetime | None = None


def claim(
    connection: Connection,
    holder: Holder,
    jobs: Sequence[Job],
    slots: int,
    now: datetime,
) -> Claimed:
    """Take up to `slots` of the oldest pending requests, a credit reserved for each."""
    windows = ledger.open_windows(connection, holder.account_id, holder.quotas, now)
    affordable = min(slots, room(windows, now, holder.keep))
    claims: list[Claim] = []
    for job in jobs:
        if len(claims) >= affordable:
            break
        most = affordable - len(claims)
        claims += _claim(connection, holder.runner_id, job, most, now)
    if claims:
        _pay(connection, holder, windows, claims, now)
        windows = [replace(one, used=one.used + len(claims)) for one in windows]
    short = len(claims) == affordable < slots
    denied = short and any(_is_waiting(connection, job.id) for job in jobs)
    return Claimed(
        claims=claims,
        standings=windows,
        denied_until=grants_at(windows, now, holder.keep) if denied else None,
    )


def renew(
    connection: Connection, holder: Holder, claims: Sequence[Claim], now: datetime
) -> list[bool]:
    """Reserve a credit for one more attempt at each of these, as far as there are."""
    granted = []
    for one in claims:
        windows = ledger.open_windows(connection, holder.account_id, holder.quotas, now)
        affordable = room(windows, now, holder.keep) > 0
        held = (
            affordable
            and connection.execute(
                update(requests)
                .where(
                    requests.c.id == one.request_id,
                    requests.c.state == RequestState.RUNNING,
                    requests.c.runner_id == holder.runner_id,
                )
                .values(attempts=requests.c.attempts + 1)
            ).rowcount
        )
        granted.append(bool(held))
        if held:
            _pay(connection, holder, windows, [one], now)
    return granted


def _claim(
    connection: Connection, runner_id: int, job: Job, slots: int, now: datetime
) -> list[Claim]:
    oldest = (
        select(requests.c.id)
        .where(requests.c.job_id == job.id, PENDING, requests.c.same_as.is_(None))
        .order_by(requests.c.id)
        .limit(slots)
        .with_for_update(skip_locked=True)
    )
    rows = connection.execute(
        update(requests)
        .where(requests.c.id.in_(oldest))
        .values(
            state=RequestState.RUNNING,
            runner_id=runner_id,
            attempts=requests.c.attempts + 1,
        )
        .returning(
            requests.c.id,
            requests.c.custom_id,
            requests.c.messages,
            requests.c.model,
            requests.c.params,
            requests.c.failures,
        )
    ).all()
    claims = [
        Claim(
            request_id=row.id,
            job_id=job.id,
            custom_id=row.custom_id,
            messages=orjson.loads(row.messages),
            model=row.model or job.model,
            params={**job.params, **orjson.loads(row.params)}
            if row.params
            else job.params,
            failures=row.failures,
            max_attempts=job.max_attempts,
            reserved_at=now,
        )
        for row in rows
    ]
    # RETURNING promises no order.
    return sorted(claims, key=lambda one: one.request_id)


def _pay(
    connection: Connection,
    holder: Holder,
    windows: Sequence[Standing],
    claims: Sequence[Claim],
    now: datetime,
) -> None:
    if not ledger.reserve(connection, windows, len(claims), holder.keep, now):
        raise AssertionError("a window changed inside a writing transaction")
    ids = [one.request_id for one in claims]
    ledger.enter(connection, holder.account_id, holder.runner_id, ids, now)
    for job_id, attempts in Counter(one.job_id for one in claims).items():
        tally(connection, job_id, attempts)


def tally(connection: Connection, job_id: int, attempts: int) -> None:
    """Count attempts, a credit each, towards the job; negative: take them back."""
    connection.execute(
        update(jobs)
        .where(jobs.c.id == job_id)
        .values(attempts=jobs.c.attempts + attempts, credits=jobs.c.credits + attempts)
    )


def _is_waiting(connection: Connection, job_id: int) -> bool:
    return (
        connection.execute(
            select(requests.c.id)
            .where(requests.c.job_id == job_id, PENDING, requests.c.same_as.is_(None))
            .limit(1)
        ).first()
        is not None
    )
