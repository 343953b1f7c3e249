"""The results of requests: answers and final errors, and the states they lead to.

The first answer wins, unless it is provisional: then another was asked for, and it
stands until that one is here, whatever else happens. An identical request shares its
leader's fate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache
from typing import Any

import orjson
from sqlalchemy import (
    ColumnElement,
    Connection,
    Executable,
    LargeBinary,
    Text,
    bindparam,
    case,
    exists,
    func,
    literal_column,
    null,
    select,
    update,
)
from sqlalchemy.dialects import sqlite

from batch.core import asked
from batch.core.model import RequestState, Settlement
from batch.store.many import among
from batch.store.schema import PROVISIONAL, Moment, requests, results

#: The code of a request whose run ended while it was being asked.
IN_DOUBT = "in_doubt"
#: Characters of answers that are written by one statement at most.
MOST_AT_ONCE = 1024 * 1024
#: Characters beyond which an answer is written by a statement of its own.
LONG = 64 * 1024

_OPEN: list[ColumnElement[str]] = [
    literal_column(f"'{state}'") for state in ("running", "pending")
]

# A late answer of an attempt that was thought lost is taken too: it was paid for.
_COMPLETE = (
    update(requests)
    .where(among(requests.c.id), requests.c.state.in_(_OPEN))
    .values(state=RequestState.COMPLETED, runner_id=None)
)
_COMPLETE_TWINS = (
    update(requests)
    .where(among(requests.c.same_as), requests.c.state == RequestState.PENDING)
    .values(state=RequestState.COMPLETED)
)


def _first_wins(insert: Any) -> Executable:
    """The first answer wins: whoever comes second changes nothing.

    `insert` as SQLite or PostgreSQL have it.
    """
    wins: Executable = insert.on_conflict_do_update(
        index_elements=[results.c.request_id],
        set_={
            column.name: insert.excluded[column.name]
            for column in results.c
            if not column.primary_key
        },
        where=PROVISIONAL,
    )
    return wins


@cache
def _result(dialect: str) -> Executable:
    """Write an answer, or many by as many turns."""
    if dialect == "sqlite":
        return _first_wins(sqlite.insert(results))
    # Loaded by those alone that have a server.
    from sqlalchemy.dialects import postgresql

    return _first_wins(postgresql.insert(results))


def _results() -> Executable:
    """Write many answers by one statement, which takes no turn for each of them."""
    given = func.json_each(bindparam("rows", type_=Text())).table_valued("key", "value")
    parts = [
        func.json_extract(given.c.value, literal_column(f"'$[{place}]'"))
        for place in range(len(_GIVEN) + 1)
    ]
    start = given.c.key * literal_column(str(asked.SIZE)) + literal_column("1")
    digests = bindparam("digests", type_=LargeBinary())
    digest = func.substr(digests, start, literal_column(str(asked.SIZE)))
    rows = select(
        *parts[:-1],
        case((parts[-1], digest), else_=null()),
        bindparam("now", type_=Moment()),
        # Without a condition, SQLite takes the ON of ON CONFLICT for a join's.
    ).where(literal_column("true"))
    names = [*_GIVEN, "asked", "finished_at"]
    return _first_wins(sqlite.insert(results).from_select(names, rows))


#: What each of many answers is given as, in this order.
_GIVEN = (
    "request_id",
    "text",
    "finish_reason",
    "model",
    "usage",
    "reasoning",
    "tool_calls",
    "provisional",
    "valid",
    "invalid",
)
_RESULTS = _results()


def complete(
    connection: Connection, settlements: Sequence[Settlement], now: datetime
) -> None:
    """Write these answers, and the states of their requests and twins."""
    ids = [one.request_id for one in settlements]
    moved = connection.execute(_COMPLETE, {"ids": ids}).rowcount
    if moved < len(ids):
        _revive(connection, ids)
        settlements = _still_wanted(connection, settlements)
    if not settlements:
        return
    connection.execute(_COMPLETE_TWINS, {"ids": ids})
    if connection.dialect.name == "sqlite":
        # To pack a long one takes memory, and saves nothing.
        long = [one for one in settlements if _size(one) > LONG]
        if long:
            connection.execute(_result("sqlite"), [_row(one, now) for one in long])
        for some in _pieces([one for one in settlements if _size(one) <= LONG]):
            packed = _packed(some, now)
            if "\\u0000" in packed["rows"]:
                # SQLite's JSON would end a text there.
                connection.execute(_result("sqlite"), [_row(one, now) for one in some])
            else:
                connection.execute(_RESULTS, packed)
        return
    rows = [_row(one, now) for one in settlements if one.completion is not None]
    connection.execute(_result(connection.dialect.name), rows)


def _pieces(settlements: Sequence[Settlement]) -> Iterator[list[Settlement]]:
    """The answers in lots that one parameter can hold."""
    lot: list[Settlement] = []
    size = 0
    for one in settlements:
        size += _size(one)
        if lot and size > MOST_AT_ONCE:
            yield lot
            lot, size = [], _size(one)
        lot.append(one)
    if lot:
        yield lot


def _size(one: Settlement) -> int:
    """Characters of an answer."""
    done = one.completion
    assert done is not None
    return len(done.text) + len(done.reasoning or "")


def _packed(settlements: Sequence[Settlement], now: datetime) -> dict[str, Any]:
    """The parameters that _RESULTS takes its rows from."""
    rows = []
    for one in settlements:
        done = one.completion
        assert done is not None
        rows.append(
            (
                one.request_id,
                done.text,
                done.finish_reason,
                done.model,
                orjson.dumps(done.usage).decode() if done.usage else None,
                done.reasoning,
                orjson.dumps(done.tool_calls).decode() if done.tool_calls else None,
                one.state is not RequestState.COMPLETED,
                done.valid,
                done.invalid,
                bool(one.asked),
            )
        )
    # A digest is no text, so it travels beside them.
    digests = b"".join(one.asked or bytes(asked.SIZE) for one in settlements)
    return {"rows": orjson.dumps(rows).decode(), "digests": digests, "now": now}


def _row(one: Settlement, now: datetime) -> dict[str, Any]:
    done = one.completion
    assert done is not None
    return {
        "request_id": one.request_id,
        "text": done.text,
        "finish_reason": done.finish_reason,
        "model": done.model,
        "usage": orjson.dumps(done.usage).decode() if done.usage else None,
        "reasoning": done.reasoning,
        "tool_calls": orjson.dumps(done.tool_calls).decode()
        if done.tool_calls
        else None,
        "finished_at": now,
        "provisional": one.state is not RequestState.COMPLETED,
        "valid": done.valid,
        "invalid": done.invalid,
        "asked": one.asked or None,
        "reused": None,
    }


def hold(connection: Connection, one: Settlement, now: datetime) -> None:
    """Write an answer that stands until another one, which the request waits for."""
    open_still = select(requests.c.id).where(
        requests.c.id == one.request_id, requests.c.state.in_(_OPEN)
    )
    if connection.execute(open_still).first() is not None:
        connection.execute(_result(connection.dialect.name), _row(one, now))
    else:
        # Its runner was thought dead, and nobody waits for another any more.
        complete(connection, [replace(one, state=RequestState.COMPLETED)], now)


def _revive(connection: Connection, ids: Sequence[int]) -> None:
    """Complete those that were cancelled, or failed in doubt, while they were asked.

    Their answers were paid for.
    """
    in_doubt = select(results.c.request_id).where(
        results.c.request_id.in_(ids), results.c.error_code == IN_DOUBT
    )
    failed = (requests.c.state == RequestState.FAILED) & requests.c.id.in_(in_doubt)
    cancelled = requests.c.state == RequestState.CANCELLED
    revived = connection.scalars(
        select(requests.c.id).where(requests.c.id.in_(ids), failed | cancelled)
    ).all()
    connection.execute(results.delete().where(results.c.request_id.in_(revived)))
    connection.execute(
        update(requests)
        .where(requests.c.id.in_(revived) | requests.c.same_as.in_(revived))
        .values(state=RequestState.COMPLETED)
    )


def _still_wanted(
    connection: Connection, settlements: Sequence[Settlement]
) -> list[Settlement]:
    """Those whose request is completed, by this answer or by one before it."""
    ids = [one.request_id for one in settlements]
    done = set(
        connection.scalars(
            select(requests.c.id).where(
                requests.c.id.in_(ids), requests.c.state == RequestState.COMPLETED
            )
        )
    )
    return [one for one in settlements if one.request_id in done]


def has_answer(connection: Connection, request_id: int) -> bool:
    """Whether an earlier answer stands, though another was asked for."""
    query = select(results.c.request_id).where(
        results.c.request_id == request_id, PROVISIONAL
    )
    return connection.execute(query).first() is not None


#: Whether the request, or the one that it shares its answer with, has an earlier one.
ANSWERED_BEFORE = (
    exists()
    .where(
        results.c.request_id == func.coalesce(requests.c.same_as, requests.c.id),
        PROVISIONAL,
    )
    .correlate(requests)
)


def fail(
    connection: Connection, request_id: int, one: Settlement, now: datetime
) -> None:
    """Write the error that a failed request, and its twins, end with.

    One that was answered before goes back to that answer.
    """
    failure = one.failure
    assert failure is not None
    if has_answer(connection, request_id):
        connection.execute(
            update(requests)
            .where(requests.c.id == request_id, requests.c.state == RequestState.FAILED)
            .values(state=RequestState.COMPLETED)
        )
        move_twins(connection, request_id, RequestState.PENDING, RequestState.COMPLETED)
        return
    connection.execute(
        _result(connection.dialect.name),
        {
            "request_id": request_id,
            "error_code": failure.code,
            "error_message": failure.message,
            "finished_at": now,
        },
    )
    move_twins(connection, request_id, RequestState.PENDING, RequestState.FAILED)


def move_twins(
    connection: Connection, request_id: int, old: RequestState, new: RequestState
) -> None:
    connection.execute(
        update(requests)
        .where(requests.c.same_as == request_id, requests.c.state == old)
        .values(state=new)
    )
