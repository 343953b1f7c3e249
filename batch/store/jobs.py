"""The jobs that are there."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import orjson
from sqlalchemy import Connection, select

from batch.core.expected import Expected, OnInvalid
from batch.core.model import Job
from batch.core.template import Template
from batch.store.schema import AnyRow, jobs


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
