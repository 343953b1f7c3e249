"""What is asked in SQL itself, of SQLite's own driver or in SQLAlchemy's transaction.

To load SQLAlchemy takes longer than `status` may take. So whatever that command asks is
written in the SQL that both databases share, once, and put to whichever connection
there is: one truth of the ledger for those who look and for those who write.
"""

from __future__ import annotations

import re
import sqlite3
from collections import namedtuple
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from sqlalchemy import Connection, CursorResult

AnyConnection: TypeAlias = "Connection | sqlite3.Connection"
#: A row of any of these queries: a named tuple of its columns.
AnyLine: TypeAlias = Any

#: Columns that hold times, wherever they stand; UTC milliseconds in the database.
MOMENTS = frozenset(
    (
        "agreed_at",
        "answered_at",
        "at",
        "booted_at",
        "closed_until",
        "created_at",
        "due_at",
        "ended_at",
        "finished_at",
        "heartbeat_at",
        "level_at",
        "paused_at",
        "probing_until",
        "refused_at",
        "reserved_at",
        "resets_at",
        "seen_at",
        "settled_at",
        "started_at",
        "starts_at",
    )
)
#: Columns that hold truth values.
TRUTHS = frozenset(("confirmed", "provisional", "unproven", "valid"))

#: Answers whose finish reason may mean a cut, as their index has it: it leaves out the
#: reasons of nearly all others, "unknown" being that of protocols without any.
MAY_BE_CUT = (
    "finish_reason NOT IN ('stop', 'unknown', 'end_turn', 'tool_calls', 'STOP')"
)

_PARAMETER = re.compile(r":([a-z]\w*)")


def to_stored(moment: datetime) -> int:
    """A time as the database has it: UTC milliseconds."""
    return round(moment.timestamp() * 1000)


def from_stored(milliseconds: int) -> datetime:
    """What a stored time means: an aware UTC datetime."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def rows(connection: AnyConnection, text: str, /, **values: object) -> list[AnyLine]:
    """What this query finds; its parameters are written `:name`."""
    cursor = execute(connection, text, **values)
    return _shaped(_names(cursor), cursor)


def row(connection: AnyConnection, text: str, /, **values: object) -> AnyLine | None:
    """The first row that this query finds."""
    found = rows(connection, text, **values)
    return found[0] if found else None


def scalar(connection: AnyConnection, text: str, /, **values: object) -> Any:
    """The first column of the first row, None where there is none."""
    found = row(connection, text, **values)
    return None if found is None else found[0]


def each(
    connection: AnyConnection, text: str, ahead: int, /, **values: object
) -> Generator[AnyLine]:
    """Yield what this query finds row by row, as the database has it.

    A server sends no more than so many rows `ahead`. Whoever leaves off in the middle
    closes it, lest the database go on reading.
    """
    with closing(_execute(connection, text, values, ahead)) as cursor:
        yield from cursor


def execute(
    connection: AnyConnection, text: str, /, **values: object
) -> sqlite3.Cursor | CursorResult[Any]:
    """Carry out a statement; its parameters are written `:name`."""
    return _execute(connection, text, values)


def _execute(
    connection: AnyConnection,
    text: str,
    values: Mapping[str, object],
    ahead: int | None = None,
) -> sqlite3.Cursor | CursorResult[Any]:
    bound = {name: _bound(value) for name, value in values.items()}
    if isinstance(connection, sqlite3.Connection):
        return connection.execute(text, bound)
    if connection.dialect.name == "postgresql":
        text = _for_a_server(text)
    options = {"stream_results": True, "max_row_buffer": ahead}
    return connection.exec_driver_sql(
        text, bound, execution_options=None if ahead is None else options
    )


def false(connection: AnyConnection) -> str:
    """How a comparison says that it is not so: as the index's condition has it."""
    if isinstance(connection, sqlite3.Connection):
        return "0"
    return "0" if connection.dialect.name == "sqlite" else "false"


def has_table(connection: AnyConnection, name: str) -> bool:
    """Whether there is a table of this name."""
    if isinstance(connection, sqlite3.Connection):
        query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name = :name"
        return row(connection, query, name=name) is not None
    from sqlalchemy import inspect

    return inspect(connection).has_table(name)


class _Shape(NamedTuple):
    """What the rows of a query are made into."""

    line: Any
    moments: Sequence[int]
    truths: Sequence[int]


def _names(cursor: sqlite3.Cursor | CursorResult[Any]) -> tuple[str, ...]:
    if isinstance(cursor, sqlite3.Cursor):
        return tuple(column[0] for column in cursor.description)
    return tuple(cursor.keys())


def _shaped(names: tuple[str, ...], found: Iterable[Iterable[Any]]) -> list[AnyLine]:
    line, moments, truths = _shape(names)
    made = []
    for one in found:
        values = list(one)
        for place in moments:
            if values[place] is not None:
                values[place] = from_stored(values[place])
        for place in truths:
            if values[place] is not None:
                values[place] = bool(values[place])
        made.append(line._make(values))
    return made


@lru_cache(maxsize=256)
def _shape(names: tuple[str, ...]) -> _Shape:
    return _Shape(
        # What has no name of its own is asked for by its place.
        namedtuple("Line", names, rename=True),
        [place for place, name in enumerate(names) if name in MOMENTS],
        [place for place, name in enumerate(names) if name in TRUTHS],
    )


def _bound(value: object) -> object:
    if isinstance(value, datetime):
        return to_stored(value)
    # A driver may know of enumerations more than that they are texts.
    return value.value if isinstance(value, Enum) else value


@lru_cache(maxsize=256)
def _for_a_server(text: str) -> str:
    """The same as psycopg has it."""
    return _PARAMETER.sub(r"%(\1)s", text.replace("%", "%%"))
