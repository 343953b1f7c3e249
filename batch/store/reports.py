"""One request with its result, and all that happened to it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import (
    ColumnElement,
    Connection,
    func,
    select,
    text,
)

from batch.core.model import Job
from batch.store.asking import SOURCE
from batch.store.jobs import of_job
from batch.store.schema import (
    AnyRow,
    accounts,
    entries,
    errors,
    requests,
    results,
    runners,
)


def request(connection: Connection, job: Job, custom_id: str) -> AnyRow | None:
    """One request with its result."""
    return connection.execute(
        select(requests, SOURCE, *_RESULT_COLUMNS)
        .outerjoin(results, _answer_of())
        .where(
            text(of_job(job, "requests.job_id")).bindparams(job_id=job.id),
            requests.c.custom_id == custom_id,
        )
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
            accounts.c.host.label("called"),
        )
        .join(accounts, accounts.c.id == entries.c.account_id)
        .outerjoin(errors, errors.c.entry_id == entries.c.id)
        .outerjoin(runners, runners.c.id == entries.c.runner_id)
        .where(entries.c.request_id == request_id)
        .order_by(entries.c.id)
    ).all()


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


def _answer_of() -> ColumnElement[bool]:
    return results.c.request_id == func.coalesce(requests.c.same_as, requests.c.id)
