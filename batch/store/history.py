"""The outcomes of the newest calls of an account."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import NamedTuple

from sqlalchemy import Connection, Row, Select, func, select

from batch.core.model import INVALID_CODE, EntryState, Failure, Job
from batch.core.verdict import VerdictKind
from batch.store.schema import PENDING, entries, errors, jobs, requests


def has_answered(connection: Connection, account_id: int, since: datetime) -> bool:
    """Tell whether any call of the account was answered since then."""
    query = _answered(account_id).where(entries.c.settled_at >= since).limit(1)
    return connection.execute(query).first() is not None


def newest_answer(
    connection: Connection, account_id: int, model: str | None = None
) -> int | None:
    """Find the ledger's entry of the call that was answered last, by this model."""
    answered = _answered(account_id)
    if model is not None:
        answered = answered.where(entries.c.model == model)
    return connection.execute(_newest(answered)).scalar()


#: Answers that are looked through for the models that gave them.
NEWEST_ANSWERS = 10_000


def answering_models(connection: Connection, account_id: int) -> set[str]:
    """Select the models of the account's newest answers."""
    newest = _newest(_answered(account_id), NEWEST_ANSWERS)
    models = newest.add_columns(entries.c.model).subquery().c.model
    return set(connection.scalars(select(models).distinct().where(models.is_not(None))))


#: A request that failed for so many times its attempts, over so long a time, is at
#: fault itself, whether others were answered or not: else it would be asked for ever.
GIVEN_UP_TIMES = 3
GIVEN_UP_AFTER = timedelta(days=1)


class Past(NamedTuple):
    """The calls that an account made of a model before they are looked at in a run."""

    account_id: int
    model: str
    runner_id: int
    #: Failures in a row that stop a run.
    most_failures: int
    now: datetime


def known_to_fail(
    connection: Connection, past: Past, request_ids: Collection[int]
) -> set[int]:
    """Select the requests that failed before while the model answered others.

    They failed before a call that was answered; or in an earlier run that had answers
    and was not stopped by failures; or too often for longer than a day.
    """
    known: set[int] = set()
    answer = _answer_of(connection, past)
    queries = [_given_up(past)]
    if answer is not None:
        queries.append(_failures_beside(connection, past, answer))
    ids = sorted(set(request_ids))
    for start in range(0, len(ids), 500):
        some = entries.c.request_id.in_(ids[start : start + 500])
        for query in queries:
            known.update(connection.scalars(query.where(some)))
    return known


def _given_up(past: Past) -> Select[int | None]:
    """Select the requests that failed too often for too long."""
    return (
        _failures(past)
        .join(requests, requests.c.id == entries.c.request_id)
        .join(jobs, jobs.c.id == requests.c.job_id)
        .group_by(entries.c.request_id, jobs.c.max_attempts)
        .having(
            (func.count() >= GIVEN_UP_TIMES * jobs.c.max_attempts)
            & (func.min(entries.c.settled_at) <= past.now - GIVEN_UP_AFTER)
        )
    )


def _answer_of(connection: Connection, past: Past) -> Row[int, int | None] | None:
    """Find the model's newest answer: its entry, and its runner."""
    query = _newest(_answered(past.account_id).where(entries.c.model == past.model))
    return connection.execute(query.add_columns(entries.c.runner_id)).first()


def _failures_beside(
    connection: Connection, past: Past, answer: Row[int, int | None]
) -> Select[int | None]:
    """Select the requests' failures that this answer shows to be their own."""
    entry_id, runner_id = answer
    failures = _failures(past)
    same_run = (entries.c.runner_id == runner_id) & (
        entries.c.runner_id != past.runner_id
    )
    after = (
        failures.where(same_run, entries.c.id > entry_id)
        .limit(past.most_failures)
        .subquery()
    )
    stopped = connection.scalar(select(func.count()).select_from(after))
    if stopped == past.most_failures:
        # It was the service that died, or the requests that were left.
        return failures.where(entries.c.id < entry_id)
    return failures.where((entries.c.id < entry_id) | same_run)


def _failures(past: Past) -> Select[int | None]:
    """Select the requests of the model's calls that failed."""
    return (
        select(entries.c.request_id)
        .join(errors, errors.c.entry_id == entries.c.id)
        .where(
            entries.c.account_id == past.account_id,
            entries.c.model == past.model,
            entries.c.state == EntryState.SPENT,
            errors.c.verdict.in_([VerdictKind.RETRY, VerdictKind.FAIL]),
            errors.c.code != INVALID_CODE,
            # Sent too fast: that is no failure of the request.
            errors.c.status.is_distinct_from(HTTPStatus.TOO_MANY_REQUESTS),
        )
    )


def _newest(answered: Select[int], most: int = 1) -> Select[int]:
    # In the order of an index: of a long ledger not all is to be read and sorted.
    newest = entries.c.settled_at.desc(), entries.c.id.desc()
    return answered.order_by(*newest).limit(most)


def refused_alone(
    connection: Connection,
    account_id: int,
    request_ids: Collection[int],
    failure: Failure,
    model: str | None = None,
) -> set[int]:
    """Select the requests that had this failure before a call that was answered.

    `model`: by that model; None: by any.
    """
    newest = newest_answer(connection, account_id, model)
    rows = connection.execute(
        select(entries.c.request_id)
        .join(errors, errors.c.entry_id == entries.c.id)
        .where(
            entries.c.request_id.in_(request_ids),
            entries.c.account_id == account_id,
            entries.c.id < (newest or 0),
            errors.c.code == failure.code,
            errors.c.endpoint_code.is_not_distinct_from(failure.endpoint_code),
        )
    )
    return set(rows.scalars())


def _answered(account_id: int) -> Select[int]:
    """Select the entries of the account's calls that were answered."""
    return (
        select(entries.c.id)
        .outerjoin(errors, errors.c.entry_id == entries.c.id)
        .where(
            entries.c.account_id == account_id,
            entries.c.state == EntryState.SPENT,
            entries.c.request_id.is_not(None),
            errors.c.entry_id.is_(None) | (errors.c.code == INVALID_CODE),
        )
    )


def unfailed_wait(
    connection: Connection, jobs: Sequence[Job], model: str | None = None
) -> bool:
    """Tell whether any of these jobs has a request to ask that has never failed.

    `model`: of that model; None: of any.
    """
    waiting = select(requests.c.id).where(
        requests.c.same_as.is_(None), PENDING, requests.c.failures == 0
    )

    def waits(job: Job) -> bool:
        mine = waiting.where(requests.c.job_id == job.id)
        if model is not None and job.models:
            mine = mine.where(func.coalesce(requests.c.model, job.model) == model)
        return connection.execute(mine.limit(1)).first() is not None

    return any(waits(job) for job in jobs if model in (None, job.model, *job.models))
