"""A job from its submission to its removal: it is seen by all, or by nobody."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Connection, delete, func, insert, select, text, update

from batch.core.expected import Expected
from batch.core.model import RequestState
from batch.core.template import Template
from batch.store import queueing
from batch.store.jobs import INTO
from batch.store.opening import drop_caps
from batch.store.schema import ASIDE, entries, jobs, requests, results

#: In the place of a submission's lock: the job was there, and is being deleted.
WITHDRAWN = "withdrawn"


def create(
    connection: Connection,
    *,
    name: str,
    provider: str,
    model: str,
    params: dict[str, Any],
    max_attempts: int,
    priority: int,
    submission: str,
    now: datetime,
    due_at: datetime | None = None,
    daily_cap: int | None = None,
    expected: Expected | None = None,
    template: Template | None = None,
) -> int:
    """A job that nobody sees until `publish`; its id."""
    made = connection.execute(
        insert(jobs).values(
            name=name,
            provider=provider,
            model=model,
            params=orjson.dumps(params).decode(),
            max_attempts=max_attempts,
            priority=priority,
            columns="[]",
            total=0,
            duplicates=0,
            attempts=0,
            credits=0,
            first_id=0,
            last_id=0,
            created_at=now,
            submission=submission,
            due_at=due_at,
            daily_cap=daily_cap,
            schema=expected and expected.schema,
            on_invalid=expected and expected.on_invalid,
            template=template and orjson.dumps(template).decode(),
        )
    )
    key = made.inserted_primary_key
    assert key is not None
    return int(key[0])


def names(
    connection: Connection, job_id: int, after: int, most: int
) -> tuple[int, dict[str, int]]:
    """The next names that the job has, each with its row's number; where they end."""
    rows = connection.execute(
        select(requests.c.id, requests.c.custom_id, requests.c.number)
        .where(requests.c.id > after, requests.c.job_id + 0 == job_id)
        .order_by(requests.c.id)
        .limit(most)
    ).all()
    return rows[-1].id if rows else 0, {row.custom_id: row.number for row in rows}


def publish(
    connection: Connection,
    job_id: int,
    *,
    total: int,
    duplicates: int,
    columns: Sequence[str],
    first_id: int,
    last_id: int,
    models: Sequence[str] = (),
    model: str | None = None,
    reused: int = 0,
    host: str | None = None,
) -> None:
    """The job is whole: from now on it is there, and may be run.

    `model`: the job's, where it was made without one. `host`: of the answers that it
    reuses.
    """
    named: dict[str, str | None] = {} if model is None else {"model": model}
    if reused:
        # The answers still to come should be the same host's.
        named |= {"host": host or None}
    connection.execute(
        update(jobs)
        .where(jobs.c.id == job_id)
        .values(
            total=total,
            duplicates=duplicates,
            columns=orjson.dumps(list(columns)).decode(),
            models=orjson.dumps(list(models)).decode(),
            **named,
            reused=reused,
            first_id=first_id,
            last_id=last_id,
            submission=None,
        )
    )


def is_published(connection: Connection, job_id: int) -> bool:
    """Whether the last row of this job was queued, so that others see it."""
    query = select(jobs.c.submission).where(jobs.c.id == job_id)
    row = connection.execute(query).first()
    return row is not None and (
        row.submission is None or row.submission.startswith(INTO)
    )


def withdraw(connection: Connection, job_id: int) -> int:
    """Hide the job, like one that is not whole yet, unless calls are in flight.

    How many of its requests are running; it is hidden only where none is.
    """
    running = (
        select(func.count())
        .select_from(requests)
        .where(
            requests.c.job_id == job_id,
            ASIDE,
            requests.c.state == RequestState.RUNNING,
        )
    )
    found = connection.scalar(running) or 0
    if not found:
        connection.execute(
            update(jobs).where(jobs.c.id == job_id).values(submission=WITHDRAWN)
        )
    return found


def discard(
    connection: Connection, job_id: int, most: int, left_by: str | None = None
) -> bool:
    """Delete up to so many of a job's requests; the job itself with the last of them.

    True when nothing is left. The ledger keeps its entries: the credits were spent.
    `left_by`: only where the job is this submission's, which has come to no end.
    """
    if left_by is not None:
        submission = select(jobs.c.submission).where(jobs.c.id == job_id)
        if connection.scalar(submission) != left_by:
            # It was published since somebody looked, or somebody else removed it.
            return True
    ids = connection.scalars(
        select(requests.c.id).where(requests.c.job_id == job_id).limit(most)
    ).all()
    if ids:
        remove(connection, ids)
        return False
    withdrawn = connection.scalar(select(jobs.c.submission).where(jobs.c.id == job_id))
    connection.execute(delete(jobs).where(jobs.c.id == job_id))
    drop_caps(connection, [job_id])
    if withdrawn != WITHDRAWN:
        take_back_number(connection, job_id)
    return True


def remove(connection: Connection, ids: Sequence[int]) -> None:
    """Delete these requests with their results; the ledger keeps its entries."""
    queueing.never_again(connection, ids)
    of_these = entries.c.request_id.in_(ids)
    connection.execute(update(entries).where(of_these).values(request_id=None))
    connection.execute(delete(results).where(results.c.request_id.in_(ids)))
    connection.execute(delete(requests).where(requests.c.id.in_(ids)))


def take_back_number(connection: Connection, job_id: int) -> None:
    """A job that nobody ever saw leaves no gap in the numbers."""
    connection.execute(_TAKE_BACK[connection.dialect.name], {"id": job_id})


#: Where it was the last number given.
_TAKE_BACK = {
    "sqlite": text(
        "UPDATE sqlite_sequence SET seq = :id - 1 WHERE name = 'jobs' AND seq = :id"
    ),
    "postgresql": text(
        "SELECT setval('jobs_id_seq', greatest(:id - 1, 1), :id > 1) "
        "FROM jobs_id_seq WHERE last_value = :id"
    ),
}
