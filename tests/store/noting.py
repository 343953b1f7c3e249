"""A database that notes are put into."""

from __future__ import annotations

from sqlalchemy import Connection

#: How every connection to a file keeps it. FULL is 2.
RECIPE = {
    "journal_mode": "wal",
    "synchronous": 2,
    "fullfsync": 1,
    "checkpoint_fullfsync": 1,
    "busy_timeout": 60_000,
}


def put(connection: Connection, text: str) -> None:
    connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS notes (text)")
    connection.exec_driver_sql("INSERT INTO notes VALUES (?)", (text,))


def notes(connection: Connection) -> list[str]:
    rows = connection.exec_driver_sql("SELECT text FROM notes ORDER BY rowid")
    return [row.text for row in rows]
