"""Quotas: how many credits, in which kind of window, of whom, counted in what."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta, tzinfo
from enum import StrEnum

#: Before every call; and a time that never comes.
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FOREVER = datetime(9999, 1, 1, tzinfo=UTC)

#: The limit of a quota whose number nobody knows: calls are only counted.
NO_LIMIT = 10**15

#: The name of a job's own quota.
CAP = "cap"

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


class WindowKind(StrEnum):
    """How a quota's allowance comes back; each with the weakness at its edge.

    `day`: all of it, at a local time of every calendar day. Days have 23 and 25 hours,
    and some midnights do not exist: the window then starts at the first instant after
    the gap. Weakness: an endpoint that counts any 24 hours sees up to twice the limit
    across a reset, since a day's end and the next day's begin lie side by side.

    `month`: at a local time of the first of every month, of 28 to 31 days. The same
    weakness, once a month.

    `minute`: at second 0 of every minute. Calls are counted from their reservation to
    their end, in every minute between: safe, but long calls make it slow.

    `rolling`: each credit comes back a `period` after its call has ended. An endpoint
    that counts any other window of that length sees no more than the limit either:
    this is the strictest kind. Weakness: what was spent in a burst comes back in a
    burst, not all at once and not earlier.

    `first-call`: all of it, a `period` after the window's first call arrived. When
    that was is only known to lie between the reservation and the reply, so between
    the earliest and the latest end that the window can have no call is made.

    `refill`: continuously, `limit` a `period`, up to the limit; a call's credit begins
    to come back when the call has ended. Weakness: an endpoint whose clock runs slower
    than ours (not one that is merely off) refills less than we think.

    `grant`: never. Only a raised `limit`, or another `since`, brings more; when a
    grant expires is not known here.
    """

    DAY = "day"
    MONTH = "month"
    MINUTE = "minute"
    ROLLING = "rolling"
    FIRST_CALL = "first-call"
    REFILL = "refill"
    GRANT = "grant"


#: The kinds whose windows are known beforehand, from the calendar alone.
FIXED = frozenset(
    {WindowKind.DAY, WindowKind.MONTH, WindowKind.MINUTE, WindowKind.GRANT}
)
#: The kinds whose credits come back one by one; and those that have a period.
TRICKLING = frozenset({WindowKind.ROLLING, WindowKind.REFILL})
PERIODIC = frozenset({WindowKind.ROLLING, WindowKind.FIRST_CALL, WindowKind.REFILL})


class Unit(StrEnum):
    """What a quota counts."""

    CREDITS = "credits"  # by the provider's price, one a call where it has none
    CALLS = "calls"
    TOKENS = "tokens"  # of prompt and answer together


class Per(StrEnum):
    """Whose allowance it is."""

    ACCOUNT = "account"
    MODEL = "model"  # each model has one of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """The names of the headers by which an endpoint tells of a quota, lower case."""

    limit: str = ""
    remaining: str = ""
    reset: str = ""

    @property
    def names(self) -> frozenset[str]:
        return frozenset({self.limit, self.remaining, self.reset} - {""})


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """An allowance: how many, in which kind of window."""

    name: str
    limit: int
    kind: WindowKind
    zone: tzinfo = UTC
    #: Local time of the reset (day and month).
    reset: time = time(0, 0)
    #: How long it takes (rolling, first-call and refill).
    period: timedelta = DAY
    #: Calls before that are not counted (grant).
    since: datetime = EPOCH
    #: How far the endpoint's clock may be from ours. A call made closer than this to a
    #: reset counts in the windows on both sides of it.
    guard: timedelta = timedelta(seconds=60)
    unit: Unit = Unit.CREDITS
    per: Per = Per.ACCOUNT
    #: Of whom, where it is not the whole account: "model:…" or "job:…".
    scope: str = ""
    signals: Signals = Signals()

    @property
    def is_known(self) -> bool:
        """Whether its limit is; else only the endpoint's refusal shows it."""
        return self.limit < NO_LIMIT

    def less(self, keep: int) -> int:
        """The limit less what is to be left alone, which applies to long windows."""
        return kept(self, self.limit, keep)

    @property
    def length(self) -> timedelta:
        """About how long a window is."""
        match self.kind:
            case WindowKind.MINUTE:
                return timedelta(minutes=1)
            case WindowKind.DAY:
                return DAY
            case WindowKind.MONTH:
                return 30 * DAY
            case WindowKind.GRANT:
                return 36500 * DAY
            case _:
                return self.period

    def lasts(self, kind: WindowKind) -> bool:
        """Whether people call its window so: a day's may also be any 24 hours."""
        match kind:
            case WindowKind.DAY:
                return self.length == DAY
            case WindowKind.MONTH:
                return 28 * DAY <= self.length <= 31 * DAY
            case WindowKind.MINUTE:
                return self.length == timedelta(minutes=1)
            case _:
                return self.kind is kind

    @property
    def terms(self) -> str:
        """All that decides what a window has counted, in one line of text."""
        said = (
            f"{self.name} {self.kind} {self.per} {self.unit} {self.period} "
            f"{self.zone} {self.reset} {self.since} {self.guard}"
        )
        # A refill comes back as fast as its limit says.
        return f"{said} {self.limit}" if self.kind is WindowKind.REFILL else said

    @property
    def job_id(self) -> int | None:
        """The job whose own quota it is, whichever accounts its calls are made on."""
        whose, _, name = self.scope.partition(":")
        return int(name) if whose == "job" else None

    def of(self, model: str) -> Quota:
        """This quota as it binds calls of a model."""
        if self.per is Per.MODEL and not self.scope:
            return replace(self, scope=f"model:{model}")
        return self


def terms_of(quotas: Iterable[Quota]) -> str:
    """Describe the counting of these quotas, a line for each."""
    return "\n".join(one.terms for one in quotas)


#: What binds the calls of a provider whose limits nobody knows. It counts, and a
#: refusal can close it.
COUNTED = Quota(
    name="calls",
    limit=NO_LIMIT,
    kind=WindowKind.GRANT,
    guard=timedelta(0),
    unit=Unit.CALLS,
)


def kept(quota: Quota, limit: int, keep: int) -> int:
    """A limit less what is to be left alone: credits, of windows of an hour or more."""
    applies = (
        quota.length >= HOUR
        and quota.unit is not Unit.TOKENS
        and not quota.scope.startswith("job:")
    )
    return limit - keep if applies else limit


def default_guard(kind: WindowKind, period: timedelta) -> timedelta:
    """How far an endpoint's clock is allowed to be off, where nothing else is said."""
    if kind in (WindowKind.REFILL, WindowKind.GRANT):
        return timedelta(0)
    short = kind is WindowKind.MINUTE or (kind in PERIODIC and period < HOUR)
    usual = timedelta(seconds=2) if short else timedelta(seconds=60)
    return min(usual, longest_guard(kind, period))


def longest_guard(kind: WindowKind, period: timedelta) -> timedelta:
    """Return the longest guard, in whole seconds, that leaves enough of a window."""
    if kind is WindowKind.MINUTE:
        return timedelta(seconds=10)
    quarter = period // 4 // SECOND if kind in PERIODIC else 3600
    return timedelta(seconds=min(3600, quarter))


def daily_cap(job_id: int, limit: int, quotas: tuple[Quota, ...]) -> Quota:
    """The quota that a job's daily cap amounts to: days as the provider has them."""
    days = [one for one in quotas if one.kind is WindowKind.DAY]
    day = days[0] if days else None
    return Quota(
        name=CAP,
        limit=limit,
        kind=WindowKind.DAY,
        zone=day.zone if day else UTC,
        reset=day.reset if day else time(0, 0),
        guard=timedelta(0),
        scope=f"job:{job_id}",
    )
