"""More requests for a job that exists: what it has already, and taking them in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson
from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    delete,
    exists,
    func,
    or_,
    select,
    update,
)

from batch.core import asked
from batch.core.model import Job, RequestState
from batch.errors import UnknownJobError, UsageError
from batch.store import asking, earlier
from batch.store.jobs import INTO
from batch.store.many import among
from batch.store.schema import AnyRow, jobs, requests, results
from batch.store.submitting import discard, remove, take_back_number

AT_ONCE = 500
#: Requests whose questions are read at a time.
PAGE = 5000


def known(
    connection: Connection, job: Job, custom_ids: Sequence[str]
) -> dict[str, bytes]:
    """Those names that the job has, each with the digest of what is asked there."""
    found: dict[str, bytes] = {}
    for start in range(0, len(custom_ids), AT_ONCE):
        rows = connection.execute(
            select(
                requests.c.custom_id,
                *asking.KEPT,
                requests.c.model,
                requests.c.params,
            ).where(
                requests.c.job_id == job.id,
                requests.c.custom_id.in_(custom_ids[start : start + AT_ONCE]),
            )
        )
        found.update((row.custom_id, _digest(row)) for row in rows)
    return found


def last_number(connection: Connection, job: Job) -> int:
    """The highest number of its rows."""
    query = select(func.max(requests.c.number)).where(requests.c.job_id == job.id)
    return int(connection.scalar(query) or 0)


def asked_already(
    connection: Connection, job: Job, after: int
) -> tuple[int, dict[bytes, int]]:
    """By what is asked, the next requests whose answers can be shared; where they end.

    Not those that were answered to another question: the job was changed since then.
    """
    rows = connection.execute(
        select(requests, asking.SOURCE, results.c.asked)
        .outerjoin(results, results.c.request_id == requests.c.id)
        .where(
            requests.c.id > after,
            requests.c.id <= job.last_id,
            requests.c.job_id + 0 == job.id,
            requests.c.same_as.is_(None),
        )
        .order_by(requests.c.id)
        .limit(PAGE)
    ).all()
    end = rows[-1].id if rows else 0
    return end, {_digest(row): row.id for row in rows if _is_as_it_was(job, row)}


def publish(
    connection: Connection,
    submitted: int,
    job: Job,
    *,
    total: int,
    duplicates: int,
    reused: int,
    host: str,
    columns: Sequence[str],
    models: Sequence[str],
    first_id: int,
    last_id: int,
) -> None:
    """Count all that was submitted towards the job, to which `bring_in` moves it.

    From now on it is the job's, whatever happens. UnknownJobError where the job is gone
    meanwhile, UsageError where it has rows of these names.
    """
    row = connection.execute(_published(job.id)).first()
    if row is None:
        raise UnknownJobError(f"job {job.id} was deleted meanwhile")
    # Not by `last_id` alone: rows that were queued earlier may be counted later.
    is_as_it_was = (row.last_id, row.total) == (job.last_id, job.total)
    if not is_as_it_was and _have_names_in_common(connection, submitted, job):
        raise UsageError(
            f"rows of these names came into job {job.id} meanwhile: append again"
        )
    connection.execute(
        update(jobs)
        .where(jobs.c.id == job.id)
        .values(
            total=row.total + total,
            duplicates=row.duplicates + duplicates,
            reused=row.reused + reused,
            host=(host or None) if reused and row.host is None else row.host,
            columns=_union(row.columns, columns),
            models=_union(row.models, models),
            last_id=max(row.last_id, last_id),
        )
    )
    connection.execute(
        update(jobs)
        .where(jobs.c.id == submitted)
        .values(submission=f"{INTO}{job.id}", first_id=first_id, last_id=last_id)
    )


class Moved(NamedTuple):
    """The result of a step that moved appended rows to their job."""

    job_id: int
    #: Removed instead, as the job has rows of their names.
    left_out: int


def bring_in(connection: Connection, submitted: int, most: int) -> Moved | None:
    """Move up to so many rows to the job that they were appended to.

    A row whose name the job has meanwhile is removed instead. None when nothing is left
    to move.
    """
    this = jobs.c.id == submitted
    row = connection.execute(select(jobs).where(this)).first()
    if row is None or not (row.submission or "").startswith(INTO):
        # Somebody else has moved the last of them.
        return None
    job_id = int(row.submission.removeprefix(INTO))
    if connection.execute(_published(job_id)).first() is None:
        return None if discard(connection, submitted, most) else Moved(job_id, 0)
    query = (
        select(requests.c.id, _name_is_in(job_id).label("is_taken"))
        .where(
            requests.c.id.between(row.first_id, row.last_id),
            # By id: rows that are moved together lie together.
            requests.c.job_id + 0 == submitted,
        )
        .order_by(requests.c.id)
        .limit(most)
    )
    rows = connection.execute(query).all()
    if rows:
        # It would keep every command from opening the database.
        taken = [one.id for one in rows if one.is_taken]
        if taken:
            _leave_out(connection, job_id, taken)
        ids = [one.id for one in rows if not one.is_taken]
        these = among(requests.c.id)
        connection.execute(
            update(requests).where(these).values(job_id=job_id), {"ids": ids}
        )
        # What was cancelled or retried since `share` was the job's alone.
        earlier.follow(connection, ids)
        connection.execute(update(jobs).where(this).values(first_id=rows[-1].id + 1))
        return Moved(job_id, len(taken))
    connection.execute(delete(jobs).where(this))
    take_back_number(connection, submitted)
    return None


def _published(job_id: int) -> Select[tuple[Any, ...]]:
    return select(jobs).where(jobs.c.id == job_id, jobs.c.submission.is_(None))


def _have_names_in_common(connection: Connection, submitted: int, job: Job) -> bool:
    """Tell whether rows of the same names were appended by somebody else."""
    other = requests.alias("other")
    theirs = select(jobs.c.id).where(
        or_(jobs.c.id == job.id, jobs.c.submission == f"{INTO}{job.id}")
    )
    query = select(requests.c.id).where(
        requests.c.job_id == submitted,
        exists().where(
            other.c.job_id.in_(theirs), other.c.custom_id == requests.c.custom_id
        ),
    )
    return connection.execute(query.limit(1)).first() is not None


def _name_is_in(job_id: int) -> ColumnElement[bool]:
    other = requests.alias("other")
    return exists().where(
        other.c.job_id == job_id, other.c.custom_id == requests.c.custom_id
    )


def _leave_out(connection: Connection, job_id: int, ids: Sequence[int]) -> None:
    """Remove these appended rows, and count them towards the job no more.

    Requests that share the answer of one of them are asked themselves.
    """
    twins = requests.c.id.in_(ids), requests.c.same_as.is_not(None)
    duplicates = connection.scalar(select(func.count()).where(*twins)) or 0
    answered = results.c.request_id.in_(ids), results.c.reused.is_not(None)
    reused = connection.scalar(select(func.count()).where(*answered)) or 0
    freed = connection.execute(
        update(requests)
        .where(requests.c.same_as.in_(ids), requests.c.id.not_in(ids))
        .values(same_as=None, state=RequestState.PENDING)
    ).rowcount
    connection.execute(
        update(requests).where(requests.c.id.in_(ids)).values(same_as=None)
    )
    remove(connection, ids)
    connection.execute(
        update(jobs)
        .where(jobs.c.id == job_id)
        .values(
            total=jobs.c.total - len(ids),
            duplicates=jobs.c.duplicates - duplicates - freed,
            reused=jobs.c.reused - reused,
        )
    )


def _is_as_it_was(job: Job, row: AnyRow) -> bool:
    if row.state != RequestState.COMPLETED or row.asked is None:
        return True
    params = {**job.params, **(orjson.loads(row.params) if row.params else {})}
    model = row.model or job.model
    now = asked.anywhere(job.provider, model, asking.messages_of(row).json, params)
    return bool(row.asked == now)


def _digest(row: AnyRow) -> bytes:
    params = (row.params or "").encode()
    return asked.within_a_job(asking.messages_of(row).json, row.model, params)


def _union(old: str, new: Sequence[str]) -> str:
    return orjson.dumps(list(dict.fromkeys([*orjson.loads(old), *new]))).decode()
