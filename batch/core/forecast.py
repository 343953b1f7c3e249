"""Foresight: when the work will be done, and in how many windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import ceil, floor

from batch.core.quota import FOREVER, TRICKLING, Unit, WindowKind
from batch.core.standing import Standing
from batch.core.windows import starts_after, window_at


@dataclass(frozen=True, slots=True)
class Forecast:
    """When the work will be done, if every call gets its answer."""

    #: Windows that the work takes, this one included, and what comes before it.
    windows: int
    #: Calls that may be made now, of the work asked about.
    now: int
    #: When the last call is made; None where it never is.
    finished_by: datetime | None
    #: Whether what is left now is enough for all of it.
    at_once: bool = False
    #: The name of the quota that holds it up most.
    quota: str = ""
    #: Whether the pace of late is counted in.
    paced: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Work under one quota: calls of ours, and those that come before them."""

    #: The windows that a call made now counts in, oldest first.
    standings: Sequence[Standing]
    calls: int
    before: int = 0


#: When so many credits of a rolling standing will have come back.
Returns = Callable[[Standing, int], datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What a forecast is made from, beside the quotas."""

    at: datetime
    returns: Returns
    #: Credits of every window that are left alone.
    keep: int = 0
    #: Credits of a call.
    each: float = 1.0
    #: How long one takes at the pace of late, where that is known.
    seconds_a_call: float | None = None


def forecast(loads: Sequence[Load], outlook: Outlook) -> Forecast:
    """Foresee work that all of these quotas bind."""
    if not any(load.calls for load in loads):
        return Forecast(0, 0, outlook.at, at_once=True)
    foreseen = [_by_one(load, outlook) for load in loads]
    worst = max(foreseen, key=lambda one: one.finished_by or FOREVER)
    return replace(
        worst,
        now=min(one.now for one in foreseen),
        at_once=all(one.at_once for one in foreseen),
    )


def _by_one(load: Load, outlook: Outlook) -> Forecast:
    """The same under one quota alone."""
    # Just after a reset the old window binds too, but only for as long as its guard.
    newest = load.standings[-1]
    quota, at, keep = newest.quota, outlook.at, outlook.keep
    each = outlook.each if quota.unit is Unit.CREDITS else 1.0
    calls = load.before + load.calls
    open_at = max(one.grants_at(at, keep) for one in load.standings)
    free = newest.less(keep) - (0 if newest.is_quiet(at) else newest.used)
    until = newest.closed_until
    if (
        newest.is_closed(at)
        and until
        and (newest.is_trial or until >= newest.resets_at)
    ):
        # Until its reset nothing of it is sure.
        free = 0
    first = min(calls, floor(max(0, free) / each))
    at_hand = min(floor(one.room(at, keep) / each) for one in load.standings)
    now = max(0, min(calls, at_hand) - load.before)
    if first == calls:
        starts_at = at if now == load.calls else open_at
        return _paced(Forecast(1, now, starts_at, True, quota.name), calls, outlook)
    a_window = floor(newest.less(keep) / each)
    if a_window <= 0 or quota.kind is WindowKind.GRANT:
        return Forecast(0, now, None, quota=quota.name)
    more = ceil((calls - first) / a_window)
    try:
        finished_by = _finished(newest, calls, first, more, each, outlook)
    except (OverflowError, ValueError):
        # Past the end of the calendar.
        return Forecast(more, now, None, quota=quota.name)
    found = Forecast(more + (1 if first else 0), now, finished_by, quota=quota.name)
    last = (calls - first - 1) % a_window + 1
    trickles = quota.kind in TRICKLING
    return _paced(found, 0 if trickles else last, outlook)


def _finished(
    newest: Standing, calls: int, first: int, more: int, each: float, outlook: Outlook
) -> datetime:
    quota, at, keep = newest.quota, outlook.at, outlook.keep
    match quota.kind:
        case WindowKind.REFILL:
            over = newest.used + calls * each - newest.less(keep)
            return at + quota.period * (over / newest.limit)
        case WindowKind.ROLLING:
            # Every credit comes back a period after it was spent, time and again.
            back = ceil((calls - first) * each) - 1
            whole, last = divmod(back, newest.less(keep))
            period = quota.period + quota.guard
            return outlook.returns(newest, last + 1) + whole * period
        case WindowKind.FIRST_CALL:
            ends = newest.resets_at
            if ends >= FOREVER:
                ends = max(newest.starts_at, at) + quota.period
            begun = more if newest.is_quiet(at) else more - 1
            return ends + quota.guard + begun * (quota.period + 2 * quota.guard)
        case _:
            # Not from `at`: the newest window may lie ahead of it.
            inside = max(window_at(quota, at).starts_at, newest.starts_at)
            return starts_after(quota, inside, more) + quota.guard


def _paced(found: Forecast, calls: int, outlook: Outlook) -> Forecast:
    """With the time that the calls of the last window take."""
    if outlook.seconds_a_call is None or found.finished_by is None:
        return found
    try:
        done = found.finished_by + timedelta(seconds=calls * outlook.seconds_a_call)
    except OverflowError:
        return replace(found, finished_by=None)
    return replace(found, finished_by=done, paced=True)
