"""The outcomes of the newest calls of an account."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import Connection, Select, select

from batch.core.model import INVALID_CODE, EntryState, Failure, Job
from batch.store.schema import PENDING, entries, errors, requests


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
