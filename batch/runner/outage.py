"""A database's server that is away: how long it is waited for, and what is told."""

from __future__ import annotations

from collections.abc import Callable

from batch.errors import StoreAwayError
from batch.runner import endings
from batch.runner.values import Options
from batch.timekeeper import Timekeeper

#: Seconds between two tries to reach it again.
RECONNECT = 1.0
#: How often the last outcomes are brought to one that went away at the very end.
LAST_TRIES = 10


class Outage:
    """Begins with the first error, and ends with the first word from the server."""

    def __init__(
        self, clock: Timekeeper, options: Options, notify: Callable[[str], None]
    ) -> None:
        self._clock = clock
        self._notify = notify
        self._patience = float("inf") if options.wait else options.max_pause
        self._since: float | None = None

    @property
    def lasts(self) -> bool:
        """Whether nothing was heard since an error: a reply may have been lost."""
        return self._since is not None

    @property
    def last_tries(self) -> int:
        """How often to try at the end: one that was waited for in vain, once."""
        return 1 if self.lasts else LAST_TRIES

    def meet(self, error: StoreAwayError, calls: int) -> None:
        """It is away; raise the error where it has been for too long.

        `calls`: those in flight, which go on.
        """
        now = self._clock.monotonic()
        if self._since is None:
            self._since = now
            self._notify(endings.away(error, calls, self._patience))
        if now - self._since > self._patience:
            raise error

    def end(self) -> None:
        """It was heard of."""
        if self.lasts:
            self._since = None
            self._notify(endings.BACK)
