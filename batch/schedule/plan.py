"""Plans: what a machine's own scheduler is to run, and when."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo

from batch.core.quota import PERIODIC, Quota, WindowKind
from batch.errors import ConfigError, UsageError

#: A run starts so long after a reset and its guard.
MARGIN = timedelta(minutes=2)
#: The minute of the hour at which runs start that follow no reset.
HOURLY = 7
#: What comes back within this is waited for by the run itself.
SHORT = timedelta(minutes=5)

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Start:
    """A time of day at which a run starts; of every hour where `hour` is None."""

    minute: int
    hour: int | None = None
    #: None: by the machine's own clock.
    zone: tzinfo | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be run, in which environment, and when."""

    #: This program, by its absolute path.
    program: tuple[str, ...]
    arguments: tuple[str, ...]
    #: The interpreter, for schedulers that know no environment.
    python: str
    environment: Mapping[str, str]
    starts: tuple[Start, ...]

    def __post_init__(self) -> None:
        for text in (*self.command, self.python):
            _check(text, "the path")
        for name, value in self.environment.items():
            _check(value, f"${name}")

    @property
    def command(self) -> tuple[str, ...]:
        return self.program + self.arguments


def _check(text: str, what: str) -> None:
    """Refuse what some scheduler has no way to write."""
    if any(map(_is_no_text, text)):
        shown = text.encode("ascii", "backslashreplace").decode()
        raise ConfigError(
            f"{what} {shown!r} holds a newline or another character that is no text: "
            "a scheduler cannot be given it"
        )


def _is_no_text(character: str) -> bool:
    number = ord(character)
    return (
        unicodedata.category(character) in ("Cc", "Cs")
        or number & 0xFFFE == 0xFFFE
        or 0xFDD0 <= number <= 0xFDEF
    )


def after_resets(quotas: Sequence[Quota]) -> list[Start]:
    """When to run so that no reset of these quotas is missed by much.

    A quota with a calendar: each day after the hour of its reset, also where it is a
    month's, since a run that finds nothing to do spends nothing. Any other: each hour.
    """
    daily = [_after_reset(quota) for quota in quotas if _has_hour(quota)]
    others = [quota for quota in quotas if not _has_hour(quota)]
    if daily and all(map(_needs_no_run, others)):
        return daily
    return [*daily, Start(HOURLY)]


def _has_hour(quota: Quota) -> bool:
    return quota.kind in (WindowKind.DAY, WindowKind.MONTH)


def _needs_no_run(quota: Quota) -> bool:
    """Whether it adds no start to those of a daily quota beside it."""
    if quota.kind in PERIODIC:
        return quota.period <= SHORT
    return quota.kind in (WindowKind.MINUTE, WindowKind.GRANT)


def _after_reset(quota: Quota) -> Start:
    reset = quota.reset
    since_midnight = timedelta(
        hours=reset.hour,
        minutes=reset.minute,
        seconds=reset.second,
        microseconds=reset.microsecond,
    )
    return _at(_whole_minutes(since_midnight + quota.guard + MARGIN), quota.zone)


def _whole_minutes(stretch: timedelta) -> int:
    """Rounded up."""
    return -(-stretch // MINUTE)


def _at(minutes: int, zone: tzinfo | None) -> Start:
    hour, minute = divmod(minutes % (24 * 60), 60)
    return Start(minute, hour, zone)


def start_at(text: str) -> Start:
    """`HH:MM`, by the machine's own clock."""
    if not re.fullmatch(r"([01]?[0-9]|2[0-3]):[0-5][0-9]", text):
        raise UsageError(f"--at {text!r} is not a time of day such as 00:05")
    hour, minute = text.split(":")
    return Start(int(minute), int(hour))


def in_order(starts: Iterable[Start]) -> tuple[Start, ...]:
    """Each once, by their hour."""

    def place(start: Start) -> tuple[int, int, str]:
        hour = -1 if start.hour is None else start.hour
        return hour, start.minute, str(start.zone)

    return tuple(sorted(set(starts), key=place))


def without_zones(
    starts: Sequence[Start], now: datetime, here: tzinfo | None = None
) -> tuple[Start, ...]:
    """The starts for a scheduler that knows no zones: each hour, if one has a zone.

    At the minute of the first of these; a run that finds no credits ends at once.
    `here` is None for the machine's own zone.
    """
    zoned = [start for start in starts if start.zone is not None]
    if not zoned:
        return tuple(starts)
    # Zones may differ by half an hour.
    return (Start(next_start(zoned[:1], now).astimezone(here).minute),)


def next_start(
    starts: Iterable[Start], now: datetime, here: tzinfo | None = None
) -> datetime:
    """The first of these starts that is still to come, in UTC."""
    return min(_next(start, now, start.zone or here) for start in starts)


def _next(start: Start, now: datetime, zone: tzinfo | None) -> datetime:
    local = now.astimezone(zone)
    if start.hour is None:
        at = local.replace(minute=start.minute, second=0, microsecond=0)
        at = at.astimezone(UTC)
        return at if at > now else at + HOUR
    clock = time(start.hour, start.minute)
    # Combined with no zone it is the machine's own time, by the rules of that day.
    found = [
        datetime.combine(local.date() + days * DAY, clock, zone).astimezone(UTC)
        for days in range(-1, 3)
    ]
    return min(at for at in found if at > now)
