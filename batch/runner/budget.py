"""The calls that one run may still make, over all of its accounts."""

from __future__ import annotations

from collections.abc import Callable


class CallBudget:
    """Counts the calls of a run against `--max-calls`; None: as many as there are.

    A runner reserves before its transaction and gives back afterwards what that did
    not use, so that no two runners count on the same call.
    """

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._taken = 0
        #: Reserved for transactions that are under way.
        self._pending = 0
        self._listeners: list[Callable[[], object]] = []

    @property
    def left(self) -> int:
        """Calls that may be reserved now."""
        return 1 << 60 if self._most is None else max(0, self._most - self._taken)

    @property
    def is_spent(self) -> bool:
        """Tell whether all are made: no transaction gives one back any more."""
        return self.left == 0 and self._pending == 0

    def listen(self, on_more: Callable[[], object]) -> None:
        """Call this whenever calls are given back, or the last one is made."""
        self._listeners.append(on_more)

    def reserve(self, calls: int) -> int:
        """Take up to so many for a transaction; how many."""
        granted = min(calls, self.left)
        self._taken += granted
        self._pending += granted
        return granted

    def settle(self, reserved: int, used: int) -> None:
        """Keep so many of those reserved, and give back the others."""
        self._pending -= reserved
        self._taken -= reserved - used
        if reserved:
            self._tell()

    def give_back(self, calls: int) -> None:
        """Take back calls of which it is proven that they were never sent."""
        self._taken -= calls
        self._tell()

    def _tell(self) -> None:
        if self._most is not None:
            for on_more in self._listeners:
                on_more()
