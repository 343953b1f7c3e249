"""How fast a run may go, and when it is hopeless: fed with replies, asked for slots."""

from __future__ import annotations

from datetime import datetime, timedelta

from batch.core.model import Failure
from batch.core.ramp import Ramp
from batch.core.verdict import Verdict, VerdictKind
from batch.runner.values import Options

#: Failures to connect, before anything ever succeeded, that stop a run.
DEAD_FROM_THE_START = 3


class Pace:
    """The first call alone, then more with every success; no further than credits."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._ramp = Ramp(options.concurrency)
        self._ever_succeeded = False
        #: Failures since the last success.
        self.row = 0
        #: Until when there are no credits.
        self.denied_until: datetime | None = None
        #: Until when the endpoint asked to be left alone.
        self.held_until: datetime | None = None

    def succeeded(self) -> None:
        self.row = 0
        self._ever_succeeded = True
        self._ramp.succeeded()

    def failed(self, verdict: Verdict, now: datetime) -> None:
        # A used-up quota is no sign of a service in trouble.
        if verdict.kind is not VerdictKind.EXHAUSTED:
            self.row += 1
        if verdict.overload:
            self._ramp.overloaded()
        if verdict.wait:
            until = now + timedelta(seconds=verdict.wait)
            self.held_until = max(until, self.held_until or until)

    def is_hopeless(self, failure: Failure) -> bool:
        """Whether this failure is one too many."""
        if not failure.sent:
            if not self._ever_succeeded:
                return self.row >= DEAD_FROM_THE_START
            if self._options.wait:
                # It costs nothing to try again, and networks come back.
                return False
        return self.row >= self._options.max_failures

    def slots(self, working: int, now: datetime) -> int:
        """Calls that may begin now, beside those at work."""
        return 0 if self.next_chance(now) else max(0, self._ramp.limit - working)

    def next_chance(self, now: datetime) -> datetime | None:
        """When something may be claimed again; None: now."""
        waits = (self.denied_until, self.held_until)
        return max((at for at in waits if at and at > now), default=None)

    def move(self, by: timedelta) -> None:
        """Another clock is believed: what was to be waited for is as long as before."""
        # Of credits the ledger knows better.
        self.denied_until = None
        if self.held_until is not None:
            self.held_until += by

    def restart(self) -> None:
        """Begin again with one call."""
        self._ramp.restart()
