"""What a submission has seen so far: a private database on disk, gone with it.

It keeps a submission of millions of rows in constant memory.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

#: Rows that one statement inserts: a step for each is what makes inserting slow.
AT_ONCE = 250

_halves = struct.Struct("<qq").unpack


class Seen:
    """Which request first asked what, and which row first had which name."""

    def __enter__(self) -> Self:
        # "" is SQLite's name for a database in a temporary file of its own. Rows are
        # rendered in one thread and queued in another, never both at a time.
        self._connection = sqlite3.connect(
            "", isolation_level=None, check_same_thread=False
        )
        self._connection.execute("PRAGMA journal_mode=OFF")
        self._connection.execute("PRAGMA cache_size=-16384")
        # By one half of the digest, a whole number: that is the fastest key there is.
        self._connection.execute(
            "CREATE TABLE seen (half INTEGER PRIMARY KEY, other INTEGER, id INTEGER)"
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

    def take(self, digests: Mapping[bytes, int]) -> dict[bytes, int]:
        """Note who asks this; by digest, who asked it before.

        Of two digests with one half in common only the first is known: the other is
        asked anew each time.
        """
        rows = [(*_halves(digest), id) for digest, id in digests.items()]
        # In the order of the key: neighbours stand on the same page.
        rows.sort()
        if self._insert("seen", 3, rows) == len(rows):
            return {}
        found = {}
        for digest, id in digests.items():
            half, other = _halves(digest)
            first = self._connection.execute(
                "SELECT id FROM seen WHERE half = ? AND other = ?", (half, other)
            ).fetchone()
            if first is not None and first[0] != id:
                found[digest] = first[0]
        return found

    def forget(self, first_id: int) -> None:
        """These requests, from the first on, were not queued after all."""
        self._connection.execute("DELETE FROM seen WHERE id >= ?", (first_id,))

    def name(self, names: Mapping[str, int]) -> dict[str, int]:
        """Take these names for these rows; those that other rows have, with the row."""
        if self._insert("names", 2, sorted(names.items())) == len(names):
            return {}
        taken = {}
        for name, number in names.items():
            (first,) = self._connection.execute(
                "SELECT number FROM names WHERE name = ?", (name,)
            ).fetchone()
            if first != number:
                taken[name] = first
        return taken

    def _insert(self, table: str, width: int, rows: list[tuple[Any, ...]]) -> int:
        """How many of these rows are new."""
        new = 0
        one = f"({', '.join('?' * width)})"
        cursor = self._connection.execute("BEGIN")
        for start in range(0, len(rows), AT_ONCE):
            piece = rows[start : start + AT_ONCE]
            marks = ", ".join([one] * len(piece))
            cursor.execute(
                f"INSERT OR IGNORE INTO {table} VALUES {marks}",
                [value for row in piece for value in row],
            )
            new += cursor.rowcount
        cursor.execute("COMMIT")
        return new
