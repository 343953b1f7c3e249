"""Jobs: submitting their requests in pieces, and what the user does to them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import chain, repeat
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection, bindparam, delete, func, insert, select, text, update

from batch.core.expected import Expected, OnInvalid
from batch.core.model import Job, RequestState
from batch.core.template import Template
from batch.store.many import among
from batch.store.schema import (
    AnyRow,
    entries,
    jobs,
    requests,
    results,
)

#: In the place of a submission's lock: the job was there, and is being deleted.
WITHDRAWN = "withdrawn"


#: Requests that one statement queues, at most as many as may have their values in one
#: (32,766). Each statement waits for the interpreter's lock, which rendering wants too.
AT_ONCE = 4000
#: The same, where three values are enough for each.
ALIKE_AT_ONCE = 10_000
_QUEUED = "job_id, attempts, failures, state, id, number, custom_id, input, messages"


class Draft(NamedTuple):
    """A request about to be queued: a tuple, for there are millions of them."""

    number: int
    custom_id: str
    input: str
    messages: str
    model: str | None
    params: str | None


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


def next_request_id(connection: Connection) -> int:
    """The id of the next request, good for as long as this transaction writes."""
    last = connection.scalar(select(func.max(requests.c.id)))
    return (last or 0) + 1


def enqueue(
    connection: Connection,
    job_id: int,
    first_id: int,
    drafts: Sequence[Draft],
    answered: Collection[int] = (),
) -> None:
    """Queue these requests under ids from `first_id` on.

    `answered`: by their places, those that have an answer already.
    """
    if connection.dialect.name != "sqlite" or answered:
        done, waits = RequestState.COMPLETED.value, RequestState.PENDING.value
        named = [
            {
                **draft._asdict(),
                "id": first_id + place,
                "job_id": job_id,
                "state": done if place in answered else waits,
                "attempts": 0,
                "failures": 0,
            }
            for place, draft in enumerate(drafts)
        ]
        connection.execute(insert(requests), named)
        return
    for start in range(0, len(drafts), AT_ONCE):
        _enqueue(connection, job_id, first_id + start, drafts[start : start + AT_ONCE])


def _enqueue(
    connection: Connection, job_id: int, first_id: int, drafts: Sequence[Draft]
) -> None:
    """Queue these, none of which is answered, by one statement."""
    columns, marks = _QUEUED, "?, ?, ?, ?, ?"
    values: list[object] = []
    if any(one.model or one.params for one in drafts):
        columns, marks = f"{columns}, model, params", f"{marks}, ?, ?"
        for id, draft in enumerate(drafts, first_id):
            values += (id, *draft)
    else:
        for id, (number, custom_id, row, messages, _, _) in enumerate(drafts, first_id):
            values += (id, number, custom_id, row, messages)
    one = f"({job_id}, 0, 0, '{RequestState.PENDING.value}', {marks})"
    connection.exec_driver_sql(
        f"INSERT INTO requests ({columns}) VALUES {', '.join([one] * len(drafts))}",
        tuple(values),
    )


def enqueue_alike(
    connection: Connection,
    job_id: int,
    first_id: int,
    numbers: Sequence[int],
    names: Sequence[str],
    rows: Sequence[str],
    messages: str,
) -> None:
    """Queue requests that differ in nothing but these columns, as `enqueue` does."""
    if connection.dialect.name != "sqlite" or len(names) > ALIKE_AT_ONCE:
        nothing = repeat(None)
        drafts = map(Draft, numbers, names, rows, repeat(messages), nothing, nothing)
        enqueue(connection, job_id, first_id, list(drafts))
        return
    # SQLite gives the ids from `first_id` on, in this order.
    each = f"(?1, {job_id}, 0, 0, '{RequestState.PENDING.value}', ?, ?, ?)"
    connection.exec_driver_sql(
        "INSERT INTO requests "
        "(messages, job_id, attempts, failures, state, number, custom_id, input) "
        f"VALUES {', '.join([each] * len(names))}",
        (messages, *chain.from_iterable(zip(numbers, names, rows, strict=True))),
    )


def share(connection: Connection, twins: Sequence[tuple[int, int]]) -> None:
    """Of each pair, let the first request share the answer of the second.

    What it has of its own is the same.
    """
    connection.execute(
        _SHARE, [{"twin": twin, "leader": leader} for twin, leader in twins]
    )
    own = delete(results).where(among(results.c.request_id))
    connection.execute(own, {"ids": [twin for twin, _ in twins]})


_SHARE = (
    update(requests)
    .where(requests.c.id == bindparam("twin"))
    .values(same_as=bindparam("leader"))
)


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
) -> None:
    """The job is whole: from now on it is there, and may be run.

    `model`: the job's, where it was made without one.
    """
    named = {} if model is None else {"model": model}
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


def unfinished(connection: Connection) -> list[tuple[int, str]]:
    """Jobs whose submission has not come to its end, each with its lock."""
    rows = connection.execute(
        select(jobs.c.id, jobs.c.submission).where(jobs.c.submission.is_not(None))
    )
    return [(row.id, row.submission) for row in rows]


def is_published(connection: Connection, job_id: int) -> bool:
    """Whether the last row of this job was queued, so that others see it."""
    query = select(jobs.c.id).where(jobs.c.id == job_id, jobs.c.submission.is_(None))
    return connection.scalar(query) is not None


def withdraw(connection: Connection, job_id: int) -> None:
    """The job is seen by nobody any more, like one that is not whole yet."""
    connection.execute(
        update(jobs).where(jobs.c.id == job_id).values(submission=WITHDRAWN)
    )


def discard(connection: Connection, job_id: int, most: int) -> bool:
    """Delete up to so many of a job's requests; the job itself with the last of them.

    True when nothing is left. The ledger keeps its entries: the credits were spent.
    """
    ids = connection.scalars(
        select(requests.c.id).where(requests.c.job_id == job_id).limit(most)
    ).all()
    if ids:
        of_these = entries.c.request_id.in_(ids)
        connection.execute(update(entries).where(of_these).values(request_id=None))
        connection.execute(delete(results).where(results.c.request_id.in_(ids)))
        connection.execute(delete(requests).where(requests.c.id.in_(ids)))
        return False
    withdrawn = connection.scalar(select(jobs.c.submission).where(jobs.c.id == job_id))
    connection.execute(delete(jobs).where(jobs.c.id == job_id))
    if withdrawn != WITHDRAWN:
        take_back_number(connection, job_id)
    return True


def listed(
    connection: Connection,
    *,
    ids: Sequence[int] | None = None,
    provider: str | None = None,
    active: bool = False,
) -> list[Job]:
    """The jobs that are there, in the order in which they are worked on."""
    query = (
        select(jobs)
        .where(jobs.c.submission.is_(None))
        .order_by(jobs.c.priority.desc(), jobs.c.id)
    )
    if ids is not None:
        query = query.where(jobs.c.id.in_(ids))
    if provider is not None:
        query = query.where(jobs.c.provider == provider)
    if active:
        query = query.where(jobs.c.paused_at.is_(None))
    return [_job(row) for row in connection.execute(query)]


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


@lru_cache(maxsize=256)
def _template(text: str) -> Template:
    return Template(**orjson.loads(text))


def _job(row: AnyRow) -> Job:
    return Job(
        id=row.id,
        name=row.name,
        provider=row.provider,
        model=row.model,
        params=orjson.loads(row.params),
        max_attempts=row.max_attempts,
        priority=row.priority,
        total=row.total,
        duplicates=row.duplicates,
        attempts=row.attempts,
        credits=row.credits,
        columns=tuple(orjson.loads(row.columns)),
        first_id=row.first_id,
        last_id=row.last_id,
        created_at=row.created_at,
        paused_at=row.paused_at,
        due_at=row.due_at,
        daily_cap=row.daily_cap,
        models=tuple(orjson.loads(row.models)),
        reused=row.reused,
        template=row.template and _template(row.template),
        expected=None
        if row.schema is None
        else Expected(schema=row.schema, on_invalid=OnInvalid(row.on_invalid)),
    )
