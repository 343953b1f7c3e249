"""A bounded sample of a job's pending requests, to estimate what all of them cost.

In SQL itself, for `status` asks; by index seeks, whose number does not depend on how
many requests wait.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from batch.store import sql
from batch.store.messages import LIST, parsed
from batch.store.sql import AnyConnection, AnyLine

#: Requests in a sample.
SIZE = 128
#: Groups of requests with the same number of attempts and failures that are looked at.
GROUPS = 16

_WAITS = "job_id = :job_id AND state = 'pending' AND same_as IS NULL"
_COLUMNS = (
    "id, model, params, messages, "
    f"CASE WHEN substr(messages, 1, 1) = '{LIST}' THEN NULL ELSE input END AS source"
)
_IN_GROUP = f"{_WAITS} AND attempts = :attempts AND failures = :failures"


class Sampled(NamedTuple):
    """The part of a request that its cost is estimated from."""

    #: None: the job's.
    model: str | None
    messages: Sequence[Mapping[str, Any]]
    #: Those of the row alone.
    params: Mapping[str, Any]


class Sample(NamedTuple):
    """Requests of one job that wait."""

    #: The next ones, in the order in which they are claimed.
    first: Sequence[Sampled]
    #: Some of the others, evenly spread over the input.
    others: Sequence[Sampled]


def sample(connection: AnyConnection, job_id: int) -> Sample:
    """Select pending requests of a job: the next ones, and some others."""
    rows = sql.rows(
        connection,
        f"SELECT {_COLUMNS} FROM requests WHERE {_WAITS} "
        f"ORDER BY same_as, attempts, failures, id LIMIT {SIZE}",
        job_id=job_id,
    )
    first = [_sampled(row) for row in rows]
    if len(rows) < SIZE:
        return Sample(first, [])
    spread = _spread(connection, job_id) - {row.id for row in rows}
    ids = ", ".join(map(str, sorted(spread))) or "NULL"
    query = f"SELECT {_COLUMNS} FROM requests WHERE id IN ({ids})"
    return Sample(first, [_sampled(row) for row in sql.rows(connection, query)])


def sampled(model: str | None, messages: str, row: str, params: str | None) -> Sampled:
    """Take a request that is not queued; as it would be stored."""
    source = None if messages.startswith(LIST) else row
    said = parsed(messages, source).said
    return Sampled(model, said, orjson.loads(params) if params else {})


def _sampled(row: AnyLine) -> Sampled:
    params = orjson.loads(row.params) if row.params else {}
    return Sampled(row.model, parsed(row.messages, row.source).said, params)


def _spread(connection: AnyConnection, job_id: int) -> set[int]:
    """Return the ids of pending requests next to evenly spaced ones."""
    groups = _groups(connection, job_id)
    low, high = (
        [
            sql.scalar(
                connection,
                f"SELECT {end}(id) FROM requests WHERE {_IN_GROUP}",
                job_id=job_id,
                **group,
            )
            for group in groups
        ]
        for end in ("min", "max")
    )
    lowest = min(low)
    length = max(high) - lowest
    points = ", ".join(
        f"({lowest + length * place // (SIZE - 1)})" for place in range(SIZE)
    )
    # The next pending request is the nearest of the next ones of all groups.
    found = [
        sql.rows(
            connection,
            f"WITH points(x) AS (VALUES {points}) SELECT (SELECT id FROM requests "
            f"WHERE {_IN_GROUP} AND id >= x ORDER BY id LIMIT 1) AS id FROM points "
            "ORDER BY x",
            job_id=job_id,
            **group,
        )
        for group in groups
    ]
    nearest = (
        min((row.id for row in rows if row.id is not None), default=None)
        for rows in zip(*found, strict=True)
    )
    return {id for id in nearest if id is not None}


def _groups(connection: AnyConnection, job_id: int) -> list[dict[str, int]]:
    """Return the attempts and failures that pending requests have, each pair once."""
    found: list[dict[str, int]] = []
    # One column at a time: SQLite seeks by the first of a pair alone.
    further = ("attempts = :attempts AND failures > :failures", "attempts > :attempts")
    last, seek = {"attempts": -1, "failures": -1}, 0
    while len(found) < GROUPS:
        row = sql.row(
            connection,
            f"SELECT attempts, failures FROM requests WHERE {_WAITS} "
            f"AND {further[seek]} ORDER BY same_as, attempts, failures LIMIT 1",
            job_id=job_id,
            **last,
        )
        if row is not None:
            last, seek = {"attempts": row.attempts, "failures": row.failures}, 0
            found.append(last)
        elif seek:
            break
        else:
            seek = 1
    return found
