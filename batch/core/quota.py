"""Quotas and their windows: which stretch of time one allowance covers.

Windows are half-open, `starts_at <= moment < resets_at`, aware UTC; those of one quota
meet without gap or overlap. Local time is only used to find where a window begins.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from enum import StrEnum
from itertools import pairwise
from typing import assert_never


class WindowKind(StrEnum):
    """How a quota's allowance comes back."""

    DAY = "day"  # at a local time of every calendar day
    MONTH = "month"  # at a local time of the first of every month
    MINUTE = "minute"  # at second 0 of every minute


#: How far the endpoint's clock may be from ours. A call made closer than this to a
#: reset counts in the windows on both sides of it.
DEFAULT_GUARDS = {
    WindowKind.DAY: timedelta(seconds=60),
    WindowKind.MONTH: timedelta(seconds=60),
    WindowKind.MINUTE: timedelta(seconds=2),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """An allowance of credits: how many, in which kind of window.

    Weakness of the fixed kinds (day, month, minute): an endpoint that counts by
    another rule, say any 24 hours, can see up to twice the limit across a reset.
    """

    name: str
    limit: int
    kind: WindowKind
    zone: tzinfo = UTC
    #: Local time of the reset (day and month).
    reset: time = time(0, 0)
    guard: timedelta = timedelta(seconds=60)

    def less(self, keep: int) -> int:
        """The limit less what is to be left alone, which a minute never is."""
        return self.limit - (0 if self.kind is WindowKind.MINUTE else keep)


@dataclass(frozen=True, slots=True)
class Window:
    """The stretch of time that one allowance covers."""

    starts_at: datetime
    resets_at: datetime


def window_at(quota: Quota, moment: datetime) -> Window:
    """The window of this quota that the moment lies in."""
    match quota.kind:
        case WindowKind.DAY:
            return _between_days(quota, moment)
        case WindowKind.MONTH:
            return _between_months(quota, moment)
        case WindowKind.MINUTE:
            starts_at = moment.astimezone(UTC).replace(second=0, microsecond=0)
            return Window(starts_at, starts_at + timedelta(minutes=1))
        case _:
            assert_never(quota.kind)


def windows_touched(quota: Quota, moment: datetime) -> list[Window]:
    """Every window that a call made now may count in, oldest first.

    There are two within `guard` of a reset, since the endpoint's clock may be ahead
    of ours or behind it; else one.
    """
    windows = [
        window_at(quota, moment - quota.guard),
        window_at(quota, moment),
        window_at(quota, moment + quota.guard),
    ]
    return list(dict.fromkeys(windows))


def _between_days(quota: Quota, moment: datetime) -> Window:
    day = moment.astimezone(quota.zone).date()
    starts = {_reset_on(quota, day + timedelta(days=n)) for n in range(-2, 4)}
    return _pair_around(sorted(starts), moment)


def _between_months(quota: Quota, moment: datetime) -> Window:
    day = moment.astimezone(quota.zone).date().replace(day=1)
    starts = {_reset_on(quota, _months_after(day, n)) for n in range(-1, 3)}
    return _pair_around(sorted(starts), moment)


def _months_after(first: date, months: int) -> date:
    """The first of the month so many months on."""
    year, month = divmod(first.year * 12 + first.month - 1 + months, 12)
    return date(year, month + 1, 1)


def _reset_on(quota: Quota, day: date) -> datetime:
    # Through UTC: a local midnight that does not exist becomes the first instant
    # after the gap, and days of 23 and 25 hours keep their true length.
    return datetime.combine(day, quota.reset, tzinfo=quota.zone).astimezone(UTC)


def _pair_around(starts: Sequence[datetime], moment: datetime) -> Window:
    for starts_at, resets_at in pairwise(starts):
        if starts_at <= moment < resets_at:
            return Window(starts_at, resets_at)
    raise AssertionError(f"no window around {moment}")


@dataclass(frozen=True, slots=True)
class Forecast:
    """When the work will be done, if every call gets its answer."""

    #: Windows that the work takes, this one included.
    windows: int
    #: Calls that this window still has room for, of the work asked about.
    now: int
    #: Start of the window in which the last call is made; None where it never ends.
    finished_by: datetime | None
    #: Whether the window at hand has room for all of it.
    at_once: bool = False


def forecast(quota: Quota, left: int, room: int, keep: int, at: datetime) -> Forecast:
    """Foresee `left` calls, when `room` credits remain in the window at hand.

    `keep` credits of every window are left alone.
    """
    today = max(0, min(left, room))
    rest = left - today
    if rest == 0:
        return Forecast(1 if left else 0, today, at, at_once=True)
    a_window = quota.less(keep)
    if a_window <= 0:
        return Forecast(0, today, None)
    more = math.ceil(rest / a_window)
    try:
        finished_by = _starts_after(quota, at, more) + quota.guard
    except (OverflowError, ValueError):
        # Past the end of the calendar.
        finished_by = None
    return Forecast(more + (1 if today else 0), today, finished_by)


def _starts_after(quota: Quota, at: datetime, windows: int) -> datetime:
    """Start of the window that follows by so many the one at hand."""
    starts_at = window_at(quota, at).starts_at
    if quota.kind is WindowKind.MINUTE:
        return starts_at + timedelta(minutes=windows)
    # One step by the calendar, not one a window: a year of work is one addition.
    day = starts_at.astimezone(quota.zone).date()
    if quota.kind is WindowKind.MONTH:
        return _reset_on(quota, _months_after(day.replace(day=1), windows))
    if _reset_on(quota, day) != starts_at:
        # A reset in a gap of the clock can fall on the day after its own.
        day -= timedelta(days=1)
    return _reset_on(quota, day + timedelta(days=windows))


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where one window of a quota stands in the ledger."""

    window_id: int
    quota: Quota
    starts_at: datetime
    resets_at: datetime
    #: Credits taken, those reserved for calls in flight included.
    used: int
    closed_until: datetime | None = None
    closed_reason: str | None = None

    @property
    def limit(self) -> int:
        return self.quota.limit

    def room(self, now: datetime, keep: int = 0) -> int:
        """Credits that may be taken now, when `keep` of a window are left alone."""
        if self.is_closed(now):
            return 0
        return max(0, self.quota.less(keep) - self.used)

    def is_closed(self, now: datetime) -> bool:
        """Whether the endpoint said that nothing is left, and it is believed still."""
        return self.closed_until is not None and now < self.closed_until

    def grants_at(self, now: datetime, keep: int = 0) -> datetime:
        """The earliest time at which this window no longer stands in the way."""
        if self.room(now, keep) > 0:
            return now
        if self.used >= self.quota.less(keep) or self.closed_until is None:
            return self.resets_at + self.quota.guard
        return self.closed_until


def room(standings: Sequence[Standing], now: datetime, keep: int = 0) -> int:
    """Credits that all of these windows grant together."""
    return min(standing.room(now, keep) for standing in standings)


def grants_at(standings: Sequence[Standing], now: datetime, keep: int = 0) -> datetime:
    """The earliest time at which none of these windows stands in the way."""
    return max(standing.grants_at(now, keep) for standing in standings)
