"""Where one window of a quota stands: what it grants, and when it will."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from batch.core.quota import EPOCH, FOREVER, NO_LIMIT, Quota, WindowKind, kept

#: Calls at once where nothing is in doubt.
ANY_NUMBER = 1 << 60
#: How soon to look again at what only the end of another call decides.
SOON = timedelta(seconds=1)
#: What begins further ahead than this was opened by a clock that was wrong.
AHEAD = timedelta(seconds=30)
#: The beginning of the reason of a closure where nothing is used up.
PAUSE = "it asks for a pause"
#: How long a "used up" is believed that may be wrong, doubling with every refusal.
FIRST_PROBE = timedelta(minutes=15)
LAST_PROBE = timedelta(hours=4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where one window of a quota stands in the ledger."""

    window_id: int
    quota: Quota
    starts_at: datetime
    resets_at: datetime
    #: Taken, in the quota's unit, what is reserved for calls in flight included.
    used: int
    #: Of these, reserved for calls in flight (rolling and refill only).
    reserved: int = 0
    #: What the endpoint stated, where it is less than the quota's own.
    stated_limit: int | None = None
    closed_until: datetime | None = None
    closed_reason: str | None = None
    #: True if `closed_until` is a guess, at which one call is tried.
    is_trial: bool = False
    #: The endpoint refused here: one call at a time, until one is answered.
    unproven: bool = False
    #: Until when a call is under way that decides it.
    probing_until: datetime | None = None
    #: From when on the window may have ended (first-call); no call is made from then
    #: until it must have.
    ends_from: datetime = FOREVER
    #: The level of a refill, and of when it is.
    level: float = 0.0
    level_at: datetime = EPOCH

    @property
    def limit(self) -> int:
        """The limit in force."""
        if self.stated_limit is None:
            return self.quota.limit
        return min(self.quota.limit, self.stated_limit)

    @property
    def is_known(self) -> bool:
        """Whether its limit is: by the profile, or as the endpoint stated it."""
        return self.limit < NO_LIMIT

    def less(self, keep: int) -> int:
        """The limit in force, less what is to be left alone."""
        return kept(self.quota, self.limit, keep)

    def room(self, now: datetime, keep: int = 0) -> int:
        """What may be taken now, when `keep` of a window are left alone."""
        if self.calls(now) == 0:
            return 0
        return max(0, self.less(keep) - self.used)

    def calls(self, now: datetime) -> int:
        """How many calls may begin now, whatever they cost."""
        if self.is_closed(now) or self.is_quiet(now) or self.is_probed(now):
            return 0
        return 1 if self.is_probe(now) else ANY_NUMBER

    def is_probe(self, now: datetime) -> bool:
        """Whether a call made now is to find out if there is anything left."""
        return self.unproven and now >= self.starts_at

    def is_closed(self, now: datetime) -> bool:
        """Whether the endpoint said that nothing is left, and it is believed still."""
        return self.closed_until is not None and now < self.closed_until

    def is_paused(self, now: datetime) -> bool:
        """Tell whether it is closed for a pause alone, after which it is as it was."""
        return self.is_closed(now) and (self.closed_reason or "").startswith(PAUSE)

    def is_quiet(self, now: datetime) -> bool:
        """Whether nobody can tell which window a call made now would count in."""
        return self.ends_from <= now < self.resets_at + self.quota.guard

    def lies_ahead(self, now: datetime) -> bool:
        """Whether only a clock that was wrong can have opened it."""
        return self.starts_at > now + self.quota.guard + AHEAD

    def is_probed(self, now: datetime) -> bool:
        """Whether a call is under way that tells if there is anything left."""
        return self.probing_until is not None and now < self.probing_until

    def grants_at(self, now: datetime, keep: int = 0, amount: int = 1) -> datetime:
        """The earliest time at which this window no longer stands in the way.

        When a rolling credit returns is not known here, but to the ledger.
        """
        at = now
        if self.is_closed(now) and self.closed_until is not None:
            at = self.closed_until
        if self.is_quiet(now):
            ends = self.resets_at + self.quota.guard
            at = max(at, now + SOON if self.resets_at >= FOREVER else ends)
        if self.is_probed(now) and self.probing_until is not None:
            at = max(at, min(self.probing_until, now + SOON))
        lacking = self.used + amount - self.less(keep)
        if lacking > 0:
            at = max(at, self._resets_for(lacking, now))
        return at

    def _resets_for(self, lacking: int, now: datetime) -> datetime:
        quota = self.quota
        match quota.kind:
            case WindowKind.REFILL:
                return self._refilled_at(lacking, now)
            case WindowKind.ROLLING:
                return now + quota.period + quota.guard
            case WindowKind.GRANT:
                return FOREVER
            case WindowKind.FIRST_CALL if self.resets_at >= FOREVER:
                # Its first call is in flight: it cannot end before this.
                return self.starts_at + quota.period + quota.guard
            case _:
                return self.resets_at + quota.guard

    def _refilled_at(self, lacking: int, now: datetime) -> datetime:
        most = self.used - self.reserved - lacking
        if most < 0:
            # Even empty it would not do: calls in flight must end first.
            return now + SOON
        a_credit = self.quota.period.total_seconds() / self.limit
        seconds = max(0.0, (self.level - most) * a_credit)
        moment = self.level_at + timedelta(milliseconds=math.ceil(seconds * 1000) + 1)
        return max(moment, now + timedelta(milliseconds=1))


def doubt(refusals: int) -> timedelta:
    """Return the time from a refusal to the next trial, after so many before it."""
    pause: timedelta = FIRST_PROBE * 2 ** min(refusals, 10)
    return min(pause, LAST_PROBE)


def drained(level: float, limit: int, period: timedelta, elapsed: timedelta) -> float:
    """What is left of a refill's level, which falls by `limit` a `period`."""
    rate = limit / period.total_seconds()
    return max(0.0, level - rate * max(0.0, elapsed.total_seconds()))
