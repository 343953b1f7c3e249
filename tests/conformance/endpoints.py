"""Endpoints that count by the rule itself, each by a clock of its own.

Naive on purpose: they keep every arrival and count anew each time. Times are whole
milliseconds since 1970; nothing here knows anything of `batch`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock:
    """A clock that is off, by as much as it was last set to: `(from when on, by)`."""

    def __init__(self, *steps: tuple[int, int]) -> None:
        self.steps = steps

    def off(self, at: int) -> int:
        return [by for since, by in self.steps if since <= at][-1]

    def shows(self, at: int) -> int:
        return at + self.off(at)


class Counter(ABC):
    """What one allowance was used for; `most` is what nobody may go beyond."""

    def __init__(self, rule: Mapping[str, Any], clock: Clock, keep: int) -> None:
        self.limit: int = rule["limit"]
        self.most = self.limit - keep
        self.clock = clock
        #: When each came, by this endpoint's clock, and what it took.
        self.arrivals: list[tuple[int, int]] = []

    def arrive(self, at: int, amount: int = 1) -> Fraction:
        """By how much this call goes beyond the limit: 0, if the rule was kept."""
        here = self.clock.shows(at)
        over = self.used(here) + amount - self.most
        self.arrivals.append((here, amount))
        return max(Fraction(0), Fraction(over))

    @property
    def total(self) -> int:
        return sum(amount for _, amount in self.arrivals)

    @abstractmethod
    def used(self, here: int) -> Fraction | int:
        """What is used up already, for a call that comes now."""

    @abstractmethod
    def edge_after(self, here: int) -> int:
        """About when something comes back: where it is worth trying to get it wrong."""


class Calendar(Counter):
    """A server that looks at the calendar on its wall; `page` is the sheet it is on."""

    def __init__(self, rule: Mapping[str, Any], clock: Clock, keep: int) -> None:
        super().__init__(rule, clock, keep)
        self.zone = ZoneInfo(rule.get("zone", "UTC"))
        hours, minutes = map(int, rule.get("reset", "00:00").split(":"))
        self.reset = timedelta(hours=hours, minutes=minutes)

    def used(self, here: int) -> int:
        page = self.page(here)
        return sum(n for at, n in self.arrivals if self.page(at) == page)

    def edge_after(self, here: int) -> int:
        page, later = self.page(here), here
        while self.page(later) == page:
            later += self.stride
        before = later - self.stride
        while later - before > 1:
            middle = (before + later) // 2
            if self.page(middle) == page:
                before = middle
            else:
                later = middle
        return later

    def wall(self, here: int) -> date:
        """The day that the wall shows, where days begin at the reset."""
        shown = (EPOCH + timedelta(milliseconds=here)).astimezone(self.zone)
        return (shown.replace(tzinfo=None) - self.reset).date()

    stride = HOUR // 4

    @abstractmethod
    def page(self, here: int) -> object: ...


class ByDay(Calendar):
    def page(self, here: int) -> object:
        return self.wall(here)


class ByMonth(Calendar):
    def page(self, here: int) -> object:
        day = self.wall(here)
        return day.year, day.month


class ByMinute(Calendar):
    stride = MINUTE // 4

    def page(self, here: int) -> object:
        return here // MINUTE


class Periodic(Counter):
    def __init__(self, rule: Mapping[str, Any], clock: Clock, keep: int) -> None:
        super().__init__(rule, clock, keep)
        self.period: int = rule["period"]


class Rolling(Periodic):
    """Whatever came less than a period ago counts."""

    def used(self, here: int) -> int:
        return sum(n for at, n in self.arrivals if at > here - self.period)

    def edge_after(self, here: int) -> int:
        back = [at + self.period for at, _ in self.arrivals]
        return min((at for at in back if at > here), default=here + self.period)


class FromFirstCall(Periodic):
    """A window opens with the first call after the last one ended."""

    def used(self, here: int) -> int:
        opened, used = None, 0
        for at, amount in self.arrivals:
            if opened is None or at >= opened + self.period:
                opened, used = at, 0
            used += amount
        self.opened = opened
        return used if opened is not None and here < opened + self.period else 0

    def edge_after(self, here: int) -> int:
        self.used(here)
        ends = here if self.opened is None else self.opened + self.period
        return ends if ends > here else here + self.period


class Bucket(Periodic):
    """Refilled without a pause, to the last fraction."""

    def used(self, here: int) -> Fraction:
        level, then = Fraction(0), 0
        for at, amount in [*self.arrivals, (here, 0)]:
            leaked = Fraction(self.limit * (at - then), self.period)
            level, then = max(Fraction(0), level - leaked) + amount, at
        return level

    def edge_after(self, here: int) -> int:
        return here + self.period // self.limit


class Once(Counter):
    """So many, and that was it."""

    def used(self, here: int) -> int:
        return self.total

    def edge_after(self, here: int) -> int:
        return here + DAY


COUNTERS: dict[str, type[Counter]] = {
    "day": ByDay,
    "month": ByMonth,
    "minute": ByMinute,
    "rolling": Rolling,
    "first-call": FromFirstCall,
    "refill": Bucket,
    "grant": Once,
}


def is_long(rule: Mapping[str, Any]) -> bool:
    """Whether its windows are so long that `keep` is left alone in them."""
    return rule["kind"] != "minute" and rule.get("period", DAY) >= HOUR


class Service:
    """All the rules of one account, which every call is counted by."""

    def __init__(
        self, rules: Sequence[Mapping[str, Any]], clock: Clock, keep: int = 0
    ) -> None:
        self.rules = rules
        self.clock = clock
        self.keep = keep
        self.calls = 0
        self.counters: dict[tuple[str, str], Counter] = {}

    def arrive(self, at: int, model: str, credits: int = 1) -> dict[str, Fraction]:
        """By how much each rule is broken; none should be."""
        self.calls += 1
        return {
            rule["name"]: self.counter(rule, model).arrive(
                at, 1 if rule.get("unit") == "calls" else credits
            )
            for rule in self.rules
        }

    def counter(self, rule: Mapping[str, Any], model: str) -> Counter:
        whose = model if rule.get("per") == "model" else ""
        key = (rule["name"], whose)
        if key not in self.counters:
            keep = self.keep if is_long(rule) else 0
            self.counters[key] = COUNTERS[rule["kind"]](rule, self.clock, keep)
        return self.counters[key]

    def edge_after(self, at: int, model: str, which: int) -> int:
        """When, by the true time, something comes back of one of the rules."""
        counter = self.counter(self.rules[which % len(self.rules)], model)
        return counter.edge_after(self.clock.shows(at)) - self.clock.off(at)
