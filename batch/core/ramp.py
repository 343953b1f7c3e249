"""How many calls may be in flight: one at first, then more with every success.

Slow start and halving, as TCP has them: a call too many costs a credit.
"""

from __future__ import annotations


class Ramp:
    """The number of calls in flight that the endpoint has shown it can take."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._cautious_from = most
        self._partial = 0
        self.limit = 1

    def restart(self) -> None:
        """Begin again with one call, as after a reset."""
        self.limit = 1
        self._partial = 0

    def succeeded(self) -> None:
        """One answer more: double by the round until the last overload's half, then
        one more a round."""
        if self.limit >= self._most:
            return
        if self.limit < self._cautious_from:
            self.limit += 1
            return
        self._partial += 1
        if self._partial >= self.limit:
            self._partial = 0
            self.limit += 1

    def overloaded(self) -> None:
        """The endpoint says that it is too much: halve."""
        self.limit = max(1, self.limit // 2)
        self._cautious_from = self.limit
        self._partial = 0
