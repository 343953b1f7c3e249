"""Reading: results, and one request with all that happened to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Connection,
    CursorResult,
    func,
    select,
    type_coerce,
)

from batch.core.model import Job, RequestState
from batch.store.asking import SOURCE
from batch.store.schema import (
    INVALID,
    AnyRow,
    Moment,
    entries,
    errors,
    requests,
    results,
    runners,
)


def page(
    connection: Connection,
    job: Job,
    after: int,
    size: int,
    only: RequestState | None,
    invalid: bool = False,
) -> CursorResult[*tuple[Any, ...]]:
    """The job's next requests by input order, each with its result; keyset pages.

    `invalid`: only those whose answer is not what the job expects. `finished_at` is in
    milliseconds, as it is stored.
    """
    query = (
        select(*_PAGE_COLUMNS)
        .outerjoin(results, _answer_of())
        .where(
            requests.c.id > after,
            requests.c.id <= job.last_id,
            requests.c.job_id + 0 == job.id,  # by id, never by the index of names
        )
        .order_by(requests.c.id)
        .limit(size)
    )
    if only is not None:
        query = query.where(requests.c.state == only)
    if invalid:
        query = query.where(INVALID)
    return connection.execute(query)


def request(connection: Connection, job: Job, custom_id: str) -> AnyRow | None:
    """One request with its result."""
    return connection.execute(
        select(requests, SOURCE, *_RESULT_COLUMNS)
        .outerjoin(results, _answer_of())
        .where(requests.c.job_id == job.id, requests.c.custom_id == custom_id)
    ).first()


def custom_id(connection: Connection, request_id: int) -> str:
    """The custom_id of a request."""
    query = select(requests.c.custom_id).where(requests.c.id == request_id)
    return str(connection.execute(query).scalar_one())


def attempts(connection: Connection, request_id: int) -> Sequence[AnyRow]:
    """Every attempt at a request, oldest first: its credit, and why it failed."""
    return connection.execute(
        select(
            entries,
            errors.c.code,
            errors.c.message,
            errors.c.status,
            errors.c.endpoint_code,
            errors.c.verdict,
            errors.c.because,
            errors.c.partial,
            runners.c.pid,
            runners.c.host,
        )
        .outerjoin(errors, errors.c.entry_id == entries.c.id)
        .outerjoin(runners, runners.c.id == entries.c.runner_id)
        .where(entries.c.request_id == request_id)
        .order_by(entries.c.id)
    ).all()


def last_errors(
    connection: Connection, request_ids: Sequence[int]
) -> dict[int, AnyRow]:
    """By request, what its last failed attempt ended with."""
    rows = connection.execute(
        select(
            entries.c.request_id, errors.c.code, errors.c.status, errors.c.endpoint_code
        )
        .join(errors, errors.c.entry_id == entries.c.id)
        .where(entries.c.request_id.in_(request_ids))
        .order_by(entries.c.id)
    )
    return {row.request_id: row for row in rows}


_RESULT_COLUMNS = (
    results.c.text,
    results.c.finish_reason,
    results.c.model.label("answered_by"),
    results.c.usage,
    results.c.reasoning,
    results.c.tool_calls,
    results.c.error_code,
    results.c.error_message,
    results.c.finished_at,
    results.c.provisional,
    results.c.valid,
    results.c.invalid,
    results.c.reused,
)


#: What an export needs, in the order in which service.exporting takes it.
_PAGE_COLUMNS = (
    requests.c.id,
    requests.c.job_id,
    requests.c.number,
    requests.c.same_as,
    requests.c.custom_id,
    requests.c.state,
    requests.c.attempts,
    requests.c.model,
    requests.c.input,
    # As the database has them: made into what they mean where they are wanted.
    *(
        type_coerce(column, BigInteger).label(column.name)
        if isinstance(column.type, Moment | Boolean)
        else column
        for column in _RESULT_COLUMNS
    ),
)


def _answer_of() -> ColumnElement[bool]:
    return results.c.request_id == func.coalesce(requests.c.same_as, requests.c.id)
