"""Foresight: when the work will be done, and in how many windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import ceil, floor

from batch.core.quota import FOREVER, TRICKLING, WindowKind
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


@dataclass(frozen=True, slots=True)
class Charge:
    """A call in the unit of a quota."""

    #: Its expected cost.
    cost: float = 1.0
    #: The amount reserved for it: without that much left it is not made.
    held: float = 1.0


ONE = Charge()
#: Sums of averages are exact but for this.
EXACT = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Work under one quota: calls of ours, and those that come before them."""

    #: The windows that a call made now counts in, oldest first.
    standings: Sequence[Standing]
    calls: int
    before: int = 0
    #: The first calls of ours as far as they are known, and the average of the others.
    first: Sequence[Charge] = ()
    charge: Charge = ONE
    #: The cost of all calls that come before ours; None: each costs the average.
    cost_before: float | None = None
    #: Whether no more is reserved for a call than a whole window has.
    is_bounded: bool = False

    @property
    def ahead(self) -> float:
        """The cost of all calls that come before ours."""
        if self.cost_before is None:
            return self.before * self.charge.cost
        return self.cost_before

    @property
    def cost(self) -> float:
        """The cost of all calls."""
        others = (self.calls - len(self.first)) * self.charge.cost
        return self.ahead + sum(one.cost for one in self.first) + others


#: When so many credits of a rolling standing will have come back.
Returns = Callable[[Standing, int], datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What a forecast is made from, beside the quotas."""

    at: datetime
    returns: Returns
    #: Credits of every window that are left alone.
    keep: int = 0
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
    calls = load.before + load.calls
    open_at = max(one.grants_at(at, keep) for one in load.standings)
    limit = newest.less(keep)
    free = limit - (0 if newest.is_quiet(at) else newest.used)
    until = newest.closed_until
    if (
        newest.is_closed(at)
        and until
        and (newest.is_trial or until >= newest.resets_at)
    ):
        # Until its reset nothing of it is sure.
        free = 0
    first, spent = _fitting(load, free)
    at_hand = min(_fitting(load, one.room(at, keep))[0] for one in load.standings)
    now = max(0, at_hand - load.before)
    if first == calls:
        starts_at = at if now == load.calls else open_at
        return _paced(Forecast(1, now, starts_at, True, quota.name), calls, outlook)
    rest = load.cost - spent
    each = rest / (calls - first)
    held = each + max(0.0, load.charge.held - load.charge.cost)
    a_window = _fit(limit, each, min(held, limit) if load.is_bounded else held)
    if a_window <= 0 or quota.kind is WindowKind.GRANT:
        return Forecast(0, now, None, quota=quota.name)
    more = ceil((calls - first) / a_window)
    try:
        finished_by = _finished(newest, load.cost, rest, more, outlook)
    except (OverflowError, ValueError):
        # Past the end of the calendar.
        return Forecast(more, now, None, quota=quota.name)
    found = Forecast(more + (1 if first else 0), now, finished_by, quota=quota.name)
    last = (calls - first - 1) % a_window + 1
    trickles = quota.kind in TRICKLING
    return _paced(found, 0 if trickles else last, outlook)


def _fitting(load: Load, amount: float) -> tuple[int, float]:
    """Count the calls that so much is enough for, and add up their cost.

    In their order: those that come before ours are the first.
    """
    left = amount - load.ahead
    if left < -EXACT:
        each = load.ahead / max(1, load.before)
        fit = min(load.before, _fit(amount, each, each))
        return fit, fit * each
    fit = 0
    for one in load.first:
        if left < one.held - EXACT or left <= 0:
            return load.before + fit, amount - left
        left -= one.cost
        fit += 1
    cost = load.charge.cost
    more = min(load.calls - fit, _fit(left, cost, load.charge.held))
    return load.before + fit + more, amount - left + more * cost


def _fit(amount: float, cost: float, held: float) -> int:
    """Count the calls of this cost that so much is enough for."""
    if amount <= 0 or amount < held - EXACT:
        return 0
    return 1 + floor((amount - held) / max(cost, EXACT) + EXACT)


def _finished(
    newest: Standing, cost: float, rest: float, more: int, outlook: Outlook
) -> datetime:
    """Find when all calls are made; `rest`: the cost of those of later windows."""
    quota, at, keep = newest.quota, outlook.at, outlook.keep
    match quota.kind:
        case WindowKind.REFILL:
            over = newest.used + cost - newest.less(keep)
            return at + quota.period * (over / newest.limit)
        case WindowKind.ROLLING:
            # Every credit comes back a period after it was spent, time and again.
            back = max(1, ceil(rest - EXACT)) - 1
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
