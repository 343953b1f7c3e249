"""Rows as they are: read in the order of their keys, and written down again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import ne
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    MetaData,
    Table,
    delete,
    func,
    select,
    text,
)
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from batch.core.plain import plain
from batch.errors import StoreError
from batch.store.schema import (
    Moment,
    entries,
    jobs,
    metadata,
    requests,
    results,
)

#: What PostgreSQL cannot hold, and what takes its place.
NUL, REPLACEMENT = "\0", "\N{REPLACEMENT CHARACTER}"

#: Rows that are read, and written, at once: all that is held in memory.
PAGE = 250

Line = tuple[Any, ...]


def _plain(table: Table) -> Table:
    """The same table, without a meaning: times are the numbers that they are kept as.

    So nothing is changed by being read and written.
    """
    return Table(
        table.name,
        MetaData(),
        *(
            Column(
                column.name,
                BigInteger() if isinstance(column.type, Moment) else column.type,
                primary_key=column.primary_key,
            )
            for column in table.columns
        ),
    )


#: What is copied; what others refer to comes first.
TABLES: tuple[Table, ...] = tuple(_plain(table) for table in metadata.sorted_tables)


@contextmanager
def pages(connection: Connection, table: Table) -> Iterator[Iterator[list[Line]]]:
    """Yield the rows in the order of their keys, some at a time.

    Rows refer to earlier ones of their table.
    """
    query = select(table).order_by(*table.primary_key)
    # A server would else send all of them at once.
    query = query.execution_options(stream_results=True, max_row_buffer=PAGE)
    with connection.execute(query) as result:
        yield (list(map(tuple, page)) for page in result.partitions(PAGE))


def write(connection: Connection, table: Table, lines: Sequence[Line]) -> int:
    """Write rows down; in how many of them NUL characters were replaced.

    StoreError where this database does not take them.
    """
    changed = 0
    try:
        if connection.dialect.name == "postgresql":
            lines, changed = _without_nul(lines)
            _copy(connection, table, lines)
        else:
            marks = ", ".join("?" for _ in table.columns)
            connection.exec_driver_sql(
                f"INSERT INTO {_spelled_out(connection, table)} VALUES ({marks})",
                list(lines),
            )
    except (DataError, IntegrityError) as error:
        diagnosis = getattr(error.orig, "diag", None)
        said = getattr(diagnosis, "message_primary", None) or "it breaks a rule"
        raise StoreError(
            f"a row of {table.name} with a key from {lines[0][0]} to {lines[-1][0]} "
            f"cannot be copied: {plain(said, 200)}"
        ) from None
    return changed


def _without_nul(lines: Sequence[Line]) -> tuple[list[Line], int]:
    """Replace the characters that PostgreSQL cannot hold; in how many rows."""
    replaced = [
        tuple(
            value.replace(NUL, REPLACEMENT) if isinstance(value, str) else value
            for value in line
        )
        for line in lines
    ]
    return replaced, sum(map(ne, lines, replaced))


def _copy(connection: Connection, table: Table, lines: Sequence[Line]) -> None:
    """By COPY, three times as fast as INSERT; its errors are like those of others."""
    statement = f"COPY {_spelled_out(connection, table)} FROM STDIN"
    cursor: Any = connection.connection.cursor()
    dialect: Any = connection.dialect
    try:
        with cursor, cursor.copy(statement) as copy:
            for line in lines:
                copy.write_row(line)
    except dialect.dbapi.Error as error:
        raise DBAPIError.instance(
            statement, None, error, dialect.dbapi.Error, hide_parameters=True
        ) from None


def _spelled_out(connection: Connection, table: Table) -> str:
    quote = connection.dialect.identifier_preparer.quote
    names = ", ".join(quote(column.name) for column in table.columns)
    return f"{quote(table.name)} ({names})"


def clear(connection: Connection) -> None:
    """Remove every row, those first that refer to others."""
    for table in reversed(TABLES):
        connection.execute(delete(table))


def is_in_use(connection: Connection) -> bool:
    """Whether there are jobs, or credits that were spent."""
    return any(
        connection.scalar(select(table.c.id).limit(1)) is not None
        for table in (jobs, requests, entries)
    )


def dangling(connection: Connection) -> str | None:
    """A table with a row that refers to one that is not there; None: there is none.

    SQLite does not insist on it.
    """
    if connection.dialect.name != "sqlite":
        return None
    found = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
    return None if found is None else str(found[0])


def numbers_given(connection: Connection) -> dict[str, int]:
    """By table, the highest number that was given to a row, which may be gone."""
    given = {}
    for table in TABLES:
        if "id" not in table.c:
            continue
        last = connection.scalar(select(func.max(table.c.id))) or 0
        given[table.name] = max(last, _given(connection, table.name))
    return given


def number_on(connection: Connection, given: dict[str, int]) -> None:
    """Give no number again that was given elsewhere."""
    for name, number in given.items():
        if not number:
            continue
        if connection.dialect.name == "postgresql":
            connection.execute(
                text("SELECT setval(pg_get_serial_sequence(:name, 'id'), :number)"),
                {"name": name, "number": number},
            )
        elif _is_counted(name):
            of = {"name": name, "number": number}
            connection.execute(
                text("DELETE FROM sqlite_sequence WHERE name = :name"), of
            )
            connection.execute(
                text("INSERT INTO sqlite_sequence VALUES (:name, :number)"), of
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What a database comes to."""

    #: By table.
    rows: dict[str, int]
    answers: int
    #: Of all jobs.
    credits: int
    #: By state: how many entries, and their credits.
    entries: dict[str, tuple[int, int]]

    @property
    def jobs(self) -> int:
        return self.rows["jobs"]

    @property
    def requests(self) -> int:
        return self.rows["requests"]


def totals(connection: Connection) -> Totals:
    """Count and add up, queue and ledger."""
    by_state = connection.execute(
        select(entries.c.state, func.count(), func.sum(entries.c.credits)).group_by(
            entries.c.state
        )
    )
    return Totals(
        rows={table.name: _count(connection, table) for table in TABLES},
        answers=connection.scalar(select(func.count(results.c.text))) or 0,
        credits=int(connection.scalar(select(func.sum(jobs.c.credits))) or 0),
        entries={state: (number, int(sum)) for state, number, sum in by_state},
    )


def _count(connection: Connection, table: Table) -> int:
    return connection.scalar(select(func.count()).select_from(table)) or 0


def keep_turn(connection: Connection) -> None:
    """A server would end a transaction that is idle while the other side works."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))


def _given(connection: Connection, name: str) -> int:
    of = {"name": name}
    if connection.dialect.name == "postgresql":
        sequence = connection.scalar(
            text("SELECT pg_get_serial_sequence(:name, 'id')"), of
        )
        query = f"SELECT last_value FROM {sequence} WHERE is_called"
        return int(connection.scalar(text(query)) or 0)
    if not _is_counted(name):
        return 0
    query = "SELECT seq FROM sqlite_sequence WHERE name = :name"
    return int(connection.scalar(text(query), of) or 0)


def _is_counted(name: str) -> bool:
    """Whether SQLite keeps account of the numbers given in this table."""
    return bool(metadata.tables[name].dialect_options["sqlite"]["autoincrement"])
