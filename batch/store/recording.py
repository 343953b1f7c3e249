"""How results are written down: one by one, or many by one statement.

The first answer wins, unless it is provisional.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

import orjson
from sqlalchemy import (
    Connection,
    Executable,
    LargeBinary,
    Text,
    bindparam,
    case,
    func,
    literal_column,
    null,
    select,
)
from sqlalchemy.dialects import sqlite

from batch.core import asked
from batch.core.model import RequestState, Settlement
from batch.store.schema import PROVISIONAL, Moment, results

#: Characters of answers that are written by one statement at most.
MOST_AT_ONCE = 1024 * 1024
#: Characters beyond which an answer is written by a statement of its own.
LONG = 64 * 1024


def write(
    connection: Connection, settlements: Sequence[Settlement], now: datetime
) -> None:
    """Write these answers."""
    if connection.dialect.name != "sqlite":
        rows = [_row(one, now) for one in settlements if one.completion is not None]
        connection.execute(_result(connection.dialect.name), rows)
        return
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


def write_one(connection: Connection, one: Settlement, now: datetime) -> None:
    """Write an answer that may be provisional."""
    connection.execute(_result(connection.dialect.name), _row(one, now))


def write_error(connection: Connection, error: Mapping[str, Any]) -> None:
    """Write what a request failed with, by its columns."""
    connection.execute(_result(connection.dialect.name), error)


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
    "entry_id",
)
_RESULTS = _results()


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
                one.entry_id,
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
        "entry_id": one.entry_id,
    }
