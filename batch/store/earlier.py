"""Answers of earlier jobs, for those who ask the very same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from sqlalchemy import Connection, case, insert, literal, or_, select, update

from batch.core.model import RequestState
from batch.store import queueing
from batch.store.many import among
from batch.store.schema import AnyRow, accounts, entries, jobs, requests, results

#: Digests that are looked up by one statement.
AT_ONCE = 500

#: What an answer takes along.
_TAKEN = (
    results.c.text,
    results.c.finish_reason,
    results.c.model,
    results.c.usage,
    results.c.reasoning,
    results.c.tool_calls,
    results.c.finished_at,
    results.c.asked,
    # It leads to the host that answered.
    results.c.entry_id,
)


def find(
    connection: Connection, digests: Sequence[bytes], host: str
) -> Iterator[AnyRow]:
    """Find this host's answers to these questions, newest first, each with its origin.

    An answer whose host is not known, as earlier versions stored them, is taken too.
    """
    answered_by = accounts.c.host
    for start in range(0, len(digests), AT_ONCE):
        yield from connection.execute(
            select(*_TAKEN, results.c.reused, requests.c.job_id, requests.c.custom_id)
            .join(requests, requests.c.id == results.c.request_id)
            .join(jobs, jobs.c.id == requests.c.job_id)
            .outerjoin(entries, entries.c.id == results.c.entry_id)
            .outerjoin(accounts, accounts.c.id == entries.c.account_id)
            .where(
                results.c.asked.in_(digests[start : start + AT_ONCE]),
                requests.c.state == RequestState.COMPLETED,
                # Not of one that is on its way in, or out.
                jobs.c.submission.is_(None),
                or_(answered_by.is_(None), answered_by.in_(("", host))),
            )
            .order_by(results.c.request_id.desc())
        )


def take(
    connection: Connection, found: Mapping[int, AnyRow], valid: bool | None
) -> None:
    """Give these requests these answers; `valid`: whether they were held to any."""
    if not found:
        return
    connection.execute(
        insert(results),
        [
            {
                "request_id": request_id,
                **{column.name: getattr(row, column.name) for column in _TAKEN},
                "valid": valid,
                "reused": origin(row),
            }
            for request_id, row in found.items()
        ],
    )


def origin(row: AnyRow) -> str:
    """The request that the answer was first given to."""
    return row.reused or f"{row.job_id}:{row.custom_id}"


def share(connection: Connection, twins: Sequence[tuple[int, int]]) -> None:
    """Of each pair, let the first request share the answer of the second.

    It stands where that one stands, from now on.
    """
    queueing.share(connection, twins)
    follow(connection, [twin for twin, _ in twins])


def follow(connection: Connection, ids: Sequence[int]) -> None:
    """Let those of these requests that share an answer stand where its request does."""
    leader = requests.alias("leader")
    done = (RequestState.COMPLETED, RequestState.FAILED, RequestState.CANCELLED)
    stands = (
        select(case((leader.c.state.in_(done), leader.c.state), else_=_WAITS))
        .where(leader.c.id == requests.c.same_as)
        .scalar_subquery()
    )
    connection.execute(
        update(requests)
        .where(
            among(requests.c.id),
            requests.c.same_as.is_not(None),
            requests.c.state != stands,
        )
        .values(state=stands),
        {"ids": ids},
    )


_WAITS = literal(RequestState.PENDING, requests.c.state.type)
