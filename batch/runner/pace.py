"""How fast a run may go, and when it is hopeless: fed with replies, asked for slots."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from batch.core import retry
from batch.core.model import Failure
from batch.core.ramp import Ramp
from batch.core.verdict import Scope, Verdict, VerdictKind
from batch.runner.values import Options

#: Failures to connect, before anything ever succeeded, that stop a run.
DEAD_FROM_THE_START = 3
#: Failures in a row from which on each call is a probe: retries go back to the queue,
#: and the next call waits so long at most, seconds.
PROBING = 2
LONGEST_PROBE = 2.0


class Pace:
    """The first call alone, then more with every success; no further than credits."""

    def __init__(
        self, options: Options, random: Callable[[], float] = lambda: 0.5
    ) -> None:
        self._options = options
        self._random = random
        #: Failures in a row that stop the run now.
        self.patience = options.max_failures
        self._ramp = Ramp(options.concurrency)
        self._ever_succeeded = False
        #: The calls that have failed since the last success, by their reservation.
        self._failed: list[datetime | None] = []
        #: Until when there are no credits.
        self.denied_until: datetime | None = None
        #: Until when the endpoint asked to be left alone.
        self.held_until: datetime | None = None
        #: Until when the next probe waits.
        self._probe_at: datetime | None = None
        #: Time of the last counted request for a short wait; refusals of calls reserved
        #: before it do not count.
        self._busy_at: datetime | None = None

    @property
    def row(self) -> int:
        """The number of failures since the last success."""
        return len(self._failed)

    @property
    def is_probing(self) -> bool:
        """True after PROBING failures in a row: from there each call is a probe."""
        return self.row >= PROBING

    def lose_patience(self) -> None:
        """Lower the failure threshold.

        The account's newest calls, of earlier runs, all failed.
        """
        self.patience = min(self.patience, DEAD_FROM_THE_START)

    def succeeded(self, *, reserved_at: datetime | None = None) -> None:
        """Take note of an answer.

        It tells nothing of calls that were reserved after its own and have failed.
        """
        self._failed = [
            at for at in self._failed if reserved_at and at and at > reserved_at
        ]
        self._ever_succeeded = True
        self._ramp.succeeded()
        if not self._failed:
            self.patience = self._options.max_failures
            self._probe_at = None

    def failed(
        self,
        verdict: Verdict,
        now: datetime,
        *,
        reserved_at: datetime | None = None,
        sent: bool = True,
    ) -> bool:
        """Take note of a failure; whether it counts in the row of failures."""
        counts = self._counts(verdict, now, reserved_at)
        if counts:
            self._failed.append(reserved_at)
        if verdict.overload:
            self._ramp.overloaded()
        if verdict.wait or verdict.is_busy:
            until = now + timedelta(seconds=self._asked_for(verdict))
            self.held_until = max(until, self.held_until or until)
        elif counts and self.is_probing:
            pause = retry.wait(self.row - 1, None, self._random())
            pause = min(pause, LONGEST_PROBE) if sent else pause
            self._probe_at = now + timedelta(seconds=pause)
        return counts

    def _asked_for(self, verdict: Verdict) -> float:
        """Seconds to leave the endpoint alone."""
        stated = verdict.wait or 0.0
        if not verdict.is_busy:
            return stated
        row, random = max(1, self.row), self._random()
        # A wait that was kept in vain was too short.
        return max(retry.wait(row, stated, random), retry.wait(row, None, random))

    def _counts(
        self, verdict: Verdict, now: datetime, reserved_at: datetime | None
    ) -> bool:
        # A used-up quota is no sign of a service in trouble, and a model that it does
        # not have none of the others.
        if verdict.kind is VerdictKind.EXHAUSTED or verdict.scope is Scope.MODEL:
            return False
        if not verdict.is_busy:
            return True
        # Of calls that were in flight together one counts.
        before = self._busy_at
        if before is not None and reserved_at is not None and reserved_at <= before:
            return False
        self._busy_at = now
        return True

    def is_hopeless(self, failure: Failure) -> bool:
        """Whether this failure is one too many."""
        if not failure.sent:
            if not self._ever_succeeded:
                return self.row >= DEAD_FROM_THE_START
            if self._options.wait:
                # It costs nothing to try again, and networks come back.
                return False
        return self.row >= self.patience

    def slots(self, working: int, now: datetime) -> int:
        """Calls that may begin now, beside those at work."""
        if self.next_chance(now):
            return 0
        most = self._ramp.limit
        if self.row:
            # No more in all than may fail in a row.
            most = min(most, max(1, self.patience - self.row))
        return max(0, most - working)

    def next_chance(self, now: datetime) -> datetime | None:
        """When something may be claimed again; None: now."""
        waits = (self.denied_until, self.held_until, self._probe_at)
        return max((at for at in waits if at and at > now), default=None)

    def move(self, by: timedelta) -> None:
        """Another clock is believed: what was to be waited for is as long as before."""
        # Of credits the ledger knows better.
        self.denied_until = None
        if self.held_until is not None:
            self.held_until += by
        if self._probe_at is not None:
            self._probe_at += by
        self._busy_at = None

    def restart(self) -> None:
        """Begin again with one call."""
        self._ramp.restart()
