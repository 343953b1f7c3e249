"""The calls that one run may still make, over all of its accounts."""

from __future__ import annotations

from collections.abc import Callable


class CallBudget:
    """The count of a run's calls against `--max-calls`; None: as many as there are."""

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._taken = 0
        #: Reserved for transactions that are under way.
        self._pending = 0
        self._shares: list[Share] = []

    @property
    def left(self) -> int:
        """Calls that may be reserved now."""
        return 1 << 60 if self._most is None else max(0, self._most - self._taken)

    @property
    def is_spent(self) -> bool:
        """Tell whether all are made: no transaction gives one back any more."""
        return self.left == 0 and self._pending == 0

    def share(self, wake: Callable[[], object]) -> Share:
        """Add an account; `wake` is called when it may go on, or the last is made."""
        share = Share(self, wake)
        self._shares.append(share)
        return share

    def give_back(self, calls: int) -> None:
        """Take back calls of which it is proven that they were never sent."""
        self._taken -= calls
        self._wake()

    def _reserve(self, calls: int) -> int:
        granted = min(calls, self.left)
        self._taken += granted
        self._pending += granted
        return granted

    def _settle(self, reserved: int, used: int) -> None:
        self._pending -= reserved
        self._taken -= reserved - used
        if reserved:
            self._wake()

    def _wake(self) -> None:
        for share in self._shares:
            if self.is_spent or (share.is_short and self.left):
                share.wake()


class Share:
    """One account's part in the budget.

    A runner reserves before its transaction and gives back afterwards what that did
    not use, so that no two runners count on the same call.
    """

    def __init__(self, budget: CallBudget, wake: Callable[[], object]) -> None:
        self._budget = budget
        self.wake = wake
        #: True if it may have use for more calls than it got. Whoever needs none must
        #: not be woken: it would reserve once more, and wake the others in vain.
        self.is_short = False

    def reserve(self, calls: int) -> int:
        """Take up to so many for a transaction; how many."""
        granted = self._budget._reserve(calls)
        self.is_short = granted < calls
        return granted

    def settle(self, reserved: int, used: int) -> None:
        """Keep so many of those reserved, and give back the others."""
        self.is_short &= used == reserved
        self._budget._settle(reserved, used)
