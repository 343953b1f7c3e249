"""Names of rows, and which row had each first: a private database on disk.

It keeps a submission of millions of rows in constant memory, and is gone with it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

#: Rows that one statement inserts: a step for each is what makes inserting slow.
AT_ONCE = 250


class Names:
    """Which row first had which name."""

    def __init__(self) -> None:
        # "" is SQLite's name for a database in a temporary file of its own.
        self._connection = sqlite3.connect("", isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=OFF")
        self._connection.execute("PRAGMA cache_size=-16384")
        self._connection.execute(
            "CREATE TABLE names (name TEXT PRIMARY KEY, number INTEGER) WITHOUT ROWID"
        )

    def close(self) -> None:
        """Let go of what is on disk."""
        self._connection.close()

    def take(self, names: Mapping[str, int]) -> dict[str, int]:
        """Take these names for these rows; those that other rows have, with the row."""
        if self._insert(sorted(names.items())) == len(names):
            return {}
        taken = {}
        for name, number in names.items():
            (first,) = self._connection.execute(
                "SELECT number FROM names WHERE name = ?", (name,)
            ).fetchone()
            if first != number:
                taken[name] = first
        return taken

    def _insert(self, rows: list[tuple[str, int]]) -> int:
        """How many of these are new."""
        new = 0
        cursor = self._connection.execute("BEGIN")
        for start in range(0, len(rows), AT_ONCE):
            piece = rows[start : start + AT_ONCE]
            marks = ", ".join(["(?, ?)"] * len(piece))
            cursor.execute(
                f"INSERT OR IGNORE INTO names VALUES {marks}",
                [value for row in piece for value in row],
            )
            new += cursor.rowcount
        cursor.execute("COMMIT")
        return new
