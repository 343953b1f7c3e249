"""Windows: which stretch of time one allowance covers.

Windows are half-open, `starts_at <= moment < resets_at`, aware UTC; those of one quota
meet without gap or overlap. Local time is only used to find where a window begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

from batch.core.quota import EPOCH, FOREVER, Quota, WindowKind


@dataclass(frozen=True, slots=True)
class Window:
    """The stretch of time that one allowance covers."""

    starts_at: datetime
    resets_at: datetime


def window_at(quota: Quota, moment: datetime) -> Window:
    """The window of this quota that the moment lies in.

    For `rolling` and `refill`, which have no windows that follow each other, one for
    all time; `first-call` windows depend on calls and are not known here.
    """
    match quota.kind:
        case WindowKind.DAY:
            return _between_days(quota, moment)
        case WindowKind.MONTH:
            return _between_months(quota, moment)
        case WindowKind.MINUTE:
            starts_at = moment.astimezone(UTC).replace(second=0, microsecond=0)
            return Window(starts_at, starts_at + timedelta(minutes=1))
        case WindowKind.GRANT:
            return Window(quota.since, FOREVER)
        case _:
            return Window(EPOCH, FOREVER)


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


def starts_after(quota: Quota, at: datetime, windows: int) -> datetime:
    """Start of the calendar window that follows by so many the one at hand."""
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
