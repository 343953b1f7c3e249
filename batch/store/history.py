"""The outcomes of the newest calls of an account."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import Connection, Select, select

from batch.core.model import INVALID_CODE, EntryState, Failure, Job
from batch.core.verdict import VerdictKind
from batch.store.schema import INVALID, PENDING, entries, errors, requests, results

#: Entries that are looked at: some tell nothing, such as calls that were not made.
LOOKED_AT = 30
_FAILED = frozenset({VerdictKind.RETRY, VerdictKind.FAIL})


def newest_failed(connection: Connection, account_id: int, number: int) -> bool:
    """Tell whether the account's newest calls, so many, all failed."""
    rows = connection.execute(
        select(entries.c.state, errors.c.code, errors.c.verdict)
        .outerjoin(errors, errors.c.entry_id == entries.c.id)
        .where(
            entries.c.account_id == account_id,
            entries.c.settled_at.is_not(None),
            entries.c.request_id.is_not(None),
        )
        .order_by(entries.c.settled_at.desc(), entries.c.id.desc())
        .limit(LOOKED_AT)
    )
    failed = 0
    for row in rows:
        if row.verdict in _FAILED and row.code != INVALID_CODE:
            failed += 1
            if failed == number:
                return True
        elif row.state == EntryState.SPENT and row.code in (None, INVALID_CODE):
            return False
    return False


def has_answered(connection: Connection, account_id: int, since: datetime) -> bool:
    """Tell whether any call of the account was answered since then."""
    query = _answered(account_id).where(entries.c.settled_at >= since).limit(1)
    return connection.execute(query).first() is not None


def newest_answer(connection: Connection, account_id: int) -> int | None:
    """Find the ledger's entry of the call that was answered last."""
    # In the order of an index: of a long ledger not all is to be read and sorted.
    newest = entries.c.settled_at.desc(), entries.c.id.desc()
    query = _answered(account_id).order_by(*newest).limit(1)
    return connection.execute(query).scalar()


def refused_alone(
    connection: Connection,
    account_id: int,
    request_ids: Collection[int],
    failure: Failure,
) -> set[int]:
    """Select the requests that had this failure before a call that was answered."""
    newest = newest_answer(connection, account_id)
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


def unfailed_wait(connection: Connection, jobs: Sequence[Job]) -> bool:
    """Tell whether any of these jobs has a request to ask that has never failed."""
    waiting = select(requests.c.id).where(
        requests.c.same_as.is_(None), PENDING, requests.c.failures == 0
    )
    return any(
        connection.execute(waiting.where(requests.c.job_id == job.id).limit(1)).first()
        for job in jobs
    )


def invalid_only(connection: Connection, job: Job, most: int) -> int | None:
    """Count the job's invalid answers, up to so many; None where any is valid."""
    answers = (
        select(results.c.request_id)
        .join(requests, requests.c.id == results.c.request_id)
        .where(
            results.c.request_id.between(job.first_id, job.last_id),
            requests.c.job_id == job.id,
        )
    )
    valid = answers.where(results.c.valid.is_(True)).limit(1)
    if connection.execute(valid).first() is not None:
        return None
    return len(connection.execute(answers.where(INVALID).limit(most)).all())
