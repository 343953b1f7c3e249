"""Leases: who has given no sign of life for too long, and who is still at work.

For databases that several machines share, where no lock tells who lives.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, select

from batch.core.model import RequestState
from batch.store import postgres
from batch.store.schema import ASIDE, jobs, requests, runners


def lapsed(
    connection: Connection,
    lease: timedelta,
    now: datetime,
    heard: Sequence[datetime] | None = None,
) -> frozenset[int]:
    """The runners whose leases are over: silent, though they could have been heard.

    `heard`: the last two heartbeats of the runner that asks, None where no runner asks.
    Where its own could not be written either, it may judge nobody: the whole database
    was blocked. The others then have as much time as passes between two of its own.
    """
    if heard is not None and (len(heard) < 2 or now - heard[-1] > lease):
        return frozenset()
    # After a restart of the server all have as much time as after a sign of life.
    if now - postgres.up_since(connection) <= lease:
        return frozenset()
    since = min([now - lease, *(heard or ())])
    silent = runners.c.heartbeat_at < since
    return frozenset(
        connection.scalars(
            select(runners.c.id).where(runners.c.ended_at.is_(None), silent)
        )
    )


def others_hold(
    connection: Connection,
    runner_id: int,
    provider: str,
    job_ids: Sequence[int] | None,
) -> bool:
    """Whether requests of these jobs are with other runners; None: of all jobs."""
    ours = [jobs.c.provider == provider, jobs.c.submission.is_(None)]
    if job_ids is not None:
        ours.append(jobs.c.id.in_(job_ids))
    held = (
        select(requests.c.id)
        .where(
            requests.c.job_id.in_(select(jobs.c.id).where(*ours)),
            ASIDE,
            requests.c.state == RequestState.RUNNING,
            requests.c.runner_id != runner_id,
        )
        .limit(1)
    )
    return connection.scalar(held) is not None
