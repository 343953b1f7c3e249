"""Counts that endpoints state, and which of them are believed."""

from __future__ import annotations

#: More than any context or quota holds: above this, a count is taken for nonsense, such
#: as the -1 of a server that has no negative numbers. Sums stay far below 64 bits.
MOST = 10**9


def believed(count: object) -> int | None:
    """The count, where it is a whole number that can be true; None: not stated."""
    if isinstance(count, bool) or not isinstance(count, int):
        return None
    return count if 0 <= count <= MOST else None
