"""What a submission has seen so far: a private database on disk, gone with it.

It keeps a submission of millions of rows in constant memory.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from types import TracebackType
from typing import Self


class Seen:
    """Which request first asked what, and which row first had which name."""

    def __enter__(self) -> Self:
        # "" is SQLite's name for a database in a temporary file of its own.
        self._connection = sqlite3.connect("", isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=OFF")
        self._connection.execute("PRAGMA cache_size=-16384")
        self._connection.execute(
            "CREATE TABLE seen (digest BLOB PRIMARY KEY, id INTEGER) WITHOUT ROWID"
        )
        self._connection.execute(
            "CREATE TABLE names (name TEXT PRIMARY KEY, number INTEGER) WITHOUT ROWID"
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.close()

    def first(self, digest: bytes) -> int | None:
        """The request that asked this first, None where nobody did."""
        row = self._connection.execute(
            "SELECT id FROM seen WHERE digest = ?", (digest,)
        ).fetchone()
        return None if row is None else int(row[0])

    def add(self, digests: Mapping[bytes, int]) -> None:
        self._connection.execute("BEGIN")
        self._connection.executemany(
            "INSERT OR IGNORE INTO seen VALUES (?, ?)", digests.items()
        )
        self._connection.execute("COMMIT")

    def name(self, names: Mapping[str, int]) -> dict[str, int]:
        """Take these names for these rows; those that other rows have, with the row."""
        cursor = self._connection.execute("BEGIN")
        cursor.executemany("INSERT OR IGNORE INTO names VALUES (?, ?)", names.items())
        taken = {}
        if cursor.rowcount < len(names):
            for name, number in names.items():
                (first,) = cursor.execute(
                    "SELECT number FROM names WHERE name = ?", (name,)
                ).fetchone()
                if first != number:
                    taken[name] = first
        cursor.execute("COMMIT")
        return taken
