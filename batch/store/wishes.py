"""What a user does to a job that is queued: pause, cancel, retry, change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import orjson
from sqlalchemy import (
    Connection,
    Select,
    delete,
    false,
    func,
    or_,
    select,
    update,
)

from batch.core.model import Job, RequestState
from batch.store.answers import ANSWERED_BEFORE, IN_DOUBT
from batch.store.opening import drop_caps
from batch.store.schema import (
    ASIDE,
    INVALID,
    PENDING,
    entries,
    errors,
    jobs,
    requests,
    results,
)


def pause(connection: Connection, job_id: int, at: datetime | None) -> None:
    """No request of this job is claimed any more; None: they are again."""
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(paused_at=at))


class Cancelled(NamedTuple):
    """The number of requests that were cancelled, by their new state."""

    cancelled: int
    #: Answered before: the retry is withdrawn, and that answer stays.
    withdrawn: int


def pending(connection: Connection, job_id: int) -> Sequence[int]:
    """Return the ids of the requests that `cancel` concerns.

    Repetitions come first: a part of them leaves none that waits for a request which
    was cancelled.
    """
    waiting = (requests.c.job_id == job_id) & PENDING
    query = select(requests.c.id).where(waiting).order_by(requests.c.same_as.is_(None))
    return connection.scalars(query).all()


def cancel(
    connection: Connection, job_id: int, ids: Sequence[int] | None = None
) -> Cancelled:
    """Cancel what waits; those that were answered before go back to that answer.

    `ids`: of these alone.
    """
    waiting = (requests.c.job_id == job_id) & PENDING
    if ids is not None:
        waiting &= requests.c.id.in_(ids)
    restored = connection.execute(
        update(requests)
        .where(waiting, ANSWERED_BEFORE)
        .values(state=RequestState.COMPLETED)
    ).rowcount
    cancelled = connection.execute(
        update(requests).where(waiting).values(state=RequestState.CANCELLED)
    ).rowcount
    return Cancelled(cancelled, restored)


def closed(
    connection: Connection,
    job: Job,
    *,
    codes: Sequence[str] = (),
    cancelled: bool = False,
) -> Sequence[int]:
    """Return the ids of the requests that `retry` concerns."""
    state = RequestState.CANCELLED if cancelled else RequestState.FAILED
    chosen = select(requests.c.id).where(
        requests.c.job_id == job.id, ASIDE, requests.c.state == state
    )
    if codes:
        answer_of = func.coalesce(requests.c.same_as, requests.c.id)
        chosen = chosen.join(results, results.c.request_id == answer_of).where(
            results.c.error_code.in_(codes)
        )
    return connection.scalars(chosen).all()


def retry(
    connection: Connection,
    job: Job,
    *,
    codes: Sequence[str] = (),
    cancelled: bool = False,
    ids: Sequence[int] | None = None,
) -> int:
    """Reopen what failed (or was cancelled), with all attempts ahead; how many.

    `codes`: only those that ended with one of these errors. `ids`: what `closed` found,
    or a part of it.
    """
    if ids is None:
        ids = closed(connection, job, codes=codes, cancelled=cancelled)
    for start in range(0, len(ids), 500):
        _reopen(connection, ids[start : start + 500])
    return len(ids)


def answered(
    connection: Connection,
    job: Job,
    *,
    finish_reasons: Sequence[str] = (),
    invalid: bool = False,
    ids: Sequence[int] | None = None,
) -> Sequence[int]:
    """Return the ids of the requests that `retry_answered` concerns; among `ids`."""
    chosen = or_(
        results.c.finish_reason.in_(finish_reasons), INVALID if invalid else false()
    )
    query = (
        select(requests.c.id)
        .join(results, results.c.request_id == requests.c.id)
        .where(
            requests.c.job_id == job.id,
            requests.c.state == RequestState.COMPLETED,
            chosen,
        )
    )
    if ids is not None:
        query = query.where(requests.c.id.in_(ids))
    return connection.scalars(query).all()


def retry_answered(
    connection: Connection,
    job: Job,
    *,
    finish_reasons: Sequence[str] = (),
    invalid: bool = False,
    ids: Sequence[int] | None = None,
) -> int:
    """Ask anew what was answered so, or with what the job cannot use; how many.

    Each answer stands until the next one is on disk. `ids`: only those of these.
    """
    ids = answered(
        connection, job, finish_reasons=finish_reasons, invalid=invalid, ids=ids
    )
    return sum(
        ask_anew(connection, ids[start : start + 500])
        for start in range(0, len(ids), 500)
    )


def ask_anew(connection: Connection, ids: Sequence[int]) -> int:
    """Let these answered requests wait again, with all who share their answers."""
    connection.execute(
        update(results).where(results.c.request_id.in_(ids)).values(provisional=True)
    )
    _forget_doubts(connection, ids)
    return connection.execute(
        update(requests)
        .where(
            requests.c.id.in_(ids) | requests.c.same_as.in_(ids),
            requests.c.state == RequestState.COMPLETED,
        )
        .values(state=RequestState.PENDING, failures=0)
    ).rowcount


def change(
    connection: Connection,
    job_id: int,
    *,
    model: str | None,
    params: dict[str, Any] | None,
    max_attempts: int | None,
) -> None:
    """What the job's requests are asked with from now on."""
    values: dict[str, Any] = {}
    if model is not None:
        values["model"] = model
    if params is not None:
        values["params"] = orjson.dumps(params).decode()
    if max_attempts is not None:
        values["max_attempts"] = max_attempts
    if values:
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(**values))


def amend(connection: Connection, job_id: int, values: Mapping[str, Any]) -> None:
    """Change how much a job gets and when: priority, daily_cap, due_at."""
    if values:
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(**values))
    if "daily_cap" in values:
        # They know nothing of calls that were made while there was no cap: the next
        # claim opens them anew, and counts the entries.
        drop_caps(connection, [job_id])


def _reopen(connection: Connection, ids: Sequence[int]) -> None:
    these = requests.c.id.in_(ids)
    asked_for_them = select(func.coalesce(requests.c.same_as, requests.c.id)).where(
        these
    )
    answered = select(requests.c.id).where(
        requests.c.id.in_(asked_for_them),
        requests.c.state == RequestState.COMPLETED,
    )
    closed = requests.c.state.in_([RequestState.FAILED, RequestState.CANCELLED])
    # A repetition whose original was answered meanwhile has its answer.
    connection.execute(
        update(requests)
        .where(these, closed, requests.c.same_as.in_(answered))
        .values(state=RequestState.COMPLETED)
    )
    _forget_doubts(connection, asked_for_them)
    # Otherwise the original is asked again too, for it is what is asked.
    connection.execute(
        delete(results).where(
            results.c.request_id.in_(
                select(requests.c.id).where(requests.c.id.in_(asked_for_them), closed)
            )
        )
    )
    connection.execute(
        update(requests)
        .where(these | requests.c.id.in_(asked_for_them), closed)
        .values(state=RequestState.PENDING, failures=0)
    )


def _forget_doubts(
    connection: Connection, ids: Sequence[int] | Select[tuple[int]]
) -> None:
    """What they crashed with before counts no more."""
    of_them = select(entries.c.id).where(entries.c.request_id.in_(ids))
    connection.execute(
        update(errors)
        .where(errors.c.entry_id.in_(of_them), errors.c.verdict == IN_DOUBT)
        .values(verdict=f"{IN_DOUBT}, retried")
    )
