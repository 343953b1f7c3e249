"""A checksum over every column of every row, whichever database it comes from."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson
from sqlalchemy import Float, Table

#: What PostgreSQL cannot hold, and what takes its place.
NUL, REPLACEMENT = "\0", "\N{REPLACEMENT CHARACTER}"

Line = tuple[Any, ...]


class Digest:
    """A checksum over rows, as they come."""

    def __init__(self, table: Table, *, without_nul: bool) -> None:
        self.rows = 0
        #: Rows in which something had to be replaced.
        self.changed = 0
        self._sum = hashlib.sha256()
        self._without_nul = without_nul
        self._floats = [
            number
            for number, column in enumerate(table.columns)
            if isinstance(column.type, Float)
        ]

    def add(self, row: Line) -> tuple[Line, int]:
        """Count a row in; the row as it is to be written, and its size in bytes."""
        line = self._spelled(row)
        if self._without_nul and b"\\u0000" in line:
            replaced = _without_nul(row)
            if replaced != row:
                self.changed += 1
                row, line = replaced, self._spelled(replaced)
        self.rows += 1
        self._sum.update(line)
        return row, len(line)

    def agrees(self, other: Digest) -> bool:
        """Whether the same rows were counted in."""
        return (self.rows, self._sum.digest()) == (other.rows, other._sum.digest())

    def _spelled(self, row: Line) -> bytes:
        values = list(row)
        for number in self._floats:
            # JSON knows no infinity, and the last digit counts. SQLite has no -0.0.
            if values[number] is not None:
                values[number] = (float(values[number]) + 0.0).hex()
        return orjson.dumps(values, default=_spelled, option=orjson.OPT_APPEND_NEWLINE)


def _spelled(value: Any) -> str:
    return "\\x" + bytes(value).hex()


def _without_nul(row: Line) -> Line:
    return tuple(
        value.replace(NUL, REPLACEMENT) if isinstance(value, str) else value
        for value in row
    )
