"""Queueing a submission's requests, many by one statement."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import chain, repeat
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from batch.core.model import RequestState
from batch.store.many import among
from batch.store.schema import counters, requests, results

#: Requests that one statement queues, at most as many as may have their values in one
#: (32,766). Each statement waits for the interpreter's lock, which rendering wants too.
AT_ONCE = 4000
#: The same, where three values are enough for each.
ALIKE_AT_ONCE = 10_000
_DELETED = counters.c.name == "requests"
_QUEUED = "job_id, attempts, failures, state, id, number, custom_id, input, messages"


class Draft(NamedTuple):
    """A request about to be queued: a tuple, for there are millions of them."""

    number: int
    custom_id: str
    input: str
    messages: str
    model: str | None
    params: str | None


def next_request_id(connection: Connection) -> int:
    """The id of the next request, good for as long as this transaction writes.

    It was never another's, not even one's that was deleted.
    """
    last = connection.scalar(select(func.max(requests.c.id)))
    deleted = connection.scalar(select(counters.c.value).where(_DELETED))
    return max(last or 0, deleted or 0) + 1


def never_again(connection: Connection, ids: Sequence[int]) -> None:
    """Note, of requests about to be deleted, that their ids were given."""
    highest = max(ids)
    known = connection.scalar(select(counters.c.value).where(_DELETED))
    if known is None:
        row = {"name": "requests", "value": highest}
        connection.execute(insert(counters), row)
    elif known < highest:
        connection.execute(update(counters).where(_DELETED).values(value=highest))


def enqueue(
    connection: Connection,
    job_id: int,
    first_id: int,
    drafts: Sequence[Draft],
    answered: Collection[int] = (),
) -> None:
    """Queue these requests under ids from `first_id` on.

    `answered`: by their places, those that have an answer already.
    """
    if connection.dialect.name != "sqlite" or answered:
        done, waits = RequestState.COMPLETED.value, RequestState.PENDING.value
        named = [
            {
                **draft._asdict(),
                "id": first_id + place,
                "job_id": job_id,
                "state": done if place in answered else waits,
                "attempts": 0,
                "failures": 0,
            }
            for place, draft in enumerate(drafts)
        ]
        connection.execute(insert(requests), named)
        return
    for start in range(0, len(drafts), AT_ONCE):
        _enqueue(connection, job_id, first_id + start, drafts[start : start + AT_ONCE])


def _enqueue(
    connection: Connection, job_id: int, first_id: int, drafts: Sequence[Draft]
) -> None:
    """Queue these, none of which is answered, by one statement."""
    columns, marks = _QUEUED, "?, ?, ?, ?, ?"
    values: list[object] = []
    if any(one.model or one.params for one in drafts):
        columns, marks = f"{columns}, model, params", f"{marks}, ?, ?"
        for id, draft in enumerate(drafts, first_id):
            values += (id, *draft)
    else:
        for id, (number, custom_id, row, messages, _, _) in enumerate(drafts, first_id):
            values += (id, number, custom_id, row, messages)
    one = f"({job_id}, 0, 0, '{RequestState.PENDING.value}', {marks})"
    connection.exec_driver_sql(
        f"INSERT INTO requests ({columns}) VALUES {', '.join([one] * len(drafts))}",
        tuple(values),
    )


def enqueue_alike(
    connection: Connection,
    job_id: int,
    first_id: int,
    numbers: Sequence[int],
    names: Sequence[str],
    rows: Sequence[str],
    messages: str,
) -> None:
    """Queue requests that differ in nothing but these columns, as `enqueue` does."""
    if connection.dialect.name != "sqlite" or len(names) > ALIKE_AT_ONCE:
        nothing = repeat(None)
        drafts = map(Draft, numbers, names, rows, repeat(messages), nothing, nothing)
        enqueue(connection, job_id, first_id, list(drafts))
        return
    # SQLite gives the ids that follow the first one, in this order.
    rest = f"?1, {job_id}, 0, 0, '{RequestState.PENDING.value}', ?, ?, ?)"
    each = [f"({first_id}, {rest}", *[f"(NULL, {rest}"] * (len(names) - 1)]
    connection.exec_driver_sql(
        "INSERT INTO requests "
        "(id, messages, job_id, attempts, failures, state, number, custom_id, input) "
        f"VALUES {', '.join(each)}",
        (messages, *chain.from_iterable(zip(numbers, names, rows, strict=True))),
    )


def share(connection: Connection, twins: Sequence[tuple[int, int]]) -> None:
    """Of each pair, let the first request share the answer of the second.

    What it has of its own is the same.
    """
    connection.execute(
        _SHARE, [{"twin": twin, "leader": leader} for twin, leader in twins]
    )
    own = delete(results).where(among(results.c.request_id))
    connection.execute(own, {"ids": [twin for twin, _ in twins]})


_SHARE = (
    update(requests)
    .where(requests.c.id == bindparam("twin"))
    .values(same_as=bindparam("leader"))
)
