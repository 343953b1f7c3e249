"""The jobs that are there, and those that are not whole yet."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import orjson

from batch.core.expected import Expected, OnInvalid
from batch.core.model import Job
from batch.core.template import Template
from batch.store import sql
from batch.store.sql import AnyConnection, AnyLine

#: In the place of a submission's lock, before a job's number: all its rows are queued,
#: belong to that job, and are being moved to it.
INTO = "into:"
_VISIBLE_OR_MOVING = f"(submission IS NULL OR submission LIKE '{INTO}%')"


def of_job(job: Job, column: str = "job_id") -> str:
    """Return the condition that a request belongs to the job; it needs :job_id.

    While the job grows, rows not moved yet are included; only then the condition does
    not have the exact wording of the indices.
    """
    if not job.grows:
        return f"{column} = :job_id"
    into = f"submission = '{INTO}{job.id}'"
    return f"{column} IN (SELECT id FROM jobs WHERE id = :job_id OR {into})"


def listed(
    connection: AnyConnection,
    *,
    ids: Sequence[int] | None = None,
    provider: str | None = None,
    active: bool = False,
) -> list[Job]:
    """The jobs that are there, in the order in which they are worked on."""
    query = f"SELECT * FROM jobs WHERE {_VISIBLE_OR_MOVING}"
    values = dict[str, object]()
    if ids is not None:
        # PostgreSQL knows no empty list.
        if not ids:
            return []
        values = {f"id{place}": job_id for place, job_id in enumerate(ids)}
        into = {f"into{place}": f"{INTO}{job_id}" for place, job_id in enumerate(ids)}
        query += (
            f" AND (id IN ({', '.join(f':{name}' for name in values)})"
            f" OR submission IN ({', '.join(f':{name}' for name in into)}))"
        )
        values |= into
    if provider is not None:
        values["provider"] = provider
        query += " AND provider = :provider"
    if active:
        query += " AND paused_at IS NULL"
    query += " ORDER BY priority DESC, id"
    rows = sql.rows(connection, query, **values)
    grow = {row.submission for row in rows if row.submission is not None}
    return [
        _job(row, grows=f"{INTO}{row.id}" in grow)
        for row in rows
        if row.submission is None
    ]


def unfinished(connection: AnyConnection) -> list[tuple[int, str]]:
    """Jobs whose submission has not come to its end, each with its lock."""
    query = "SELECT id, submission FROM jobs WHERE submission IS NOT NULL"
    return [(row.id, row.submission) for row in sql.rows(connection, query)]


@lru_cache(maxsize=256)
def _template(text: str) -> Template:
    return Template(**orjson.loads(text))


def _job(row: AnyLine, *, grows: bool) -> Job:
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
        host=row.host,
        grows=grows,
        template=row.template and _template(row.template),
        expected=None
        if row.schema is None
        else Expected(schema=row.schema, on_invalid=OnInvalid(row.on_invalid)),
    )
