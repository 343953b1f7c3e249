"""Numbers, times and stretches of time as people say them."""

from __future__ import annotations

from datetime import datetime, tzinfo

from batch.core.quota import Forecast


def number(value: int, one: str, many: str | None = None) -> str:
    """`1 call`, `1,234 calls`."""
    return f"{value:,} {one if value == 1 else many or one + 's'}"


def stretch(seconds: float) -> str:
    """`42 s`, `3 min`, `2 h 5 min`, `4 days`."""
    seconds = max(0, round(seconds))
    if seconds < 90:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{round(hours / 24)} days"


def moment(at: datetime, zone: tzinfo | None = None, *, here: bool = True) -> str:
    """`Mon 23 Nov 00:01 Asia/Shanghai`; where it is another time here, that too."""
    local = at.astimezone()
    there = at.astimezone(zone) if zone is not None else local
    text = f"{there:%a} {there.day} {there:%b %H:%M}"
    if zone is None:
        return text
    if not here or there.replace(tzinfo=None) == local.replace(tzinfo=None):
        return f"{text} {zone}"
    return f"{text} {zone} ({local:%a %H:%M} here)"


def day(at: datetime, zone: tzinfo | None = None) -> str:
    """`Thu 10 Dec`, with the year where it is another one."""
    there = at.astimezone(zone)
    return f"{there:%a} {there.day} {there:%b}"


def done_by(forecast: Forecast, zone: tzinfo) -> str:
    """When a forecast sees the work done: `today`, `Thu 10 Dec`, `never`."""
    if forecast.finished_by is None:
        return "never"
    return "today" if forecast.at_once else day(forecast.finished_by, zone)
