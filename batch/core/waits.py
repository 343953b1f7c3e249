"""How long an endpoint asks us to wait, in every format that endpoints use.

The formats are those of PROVIDERS' table: delta seconds, HTTP dates, ISO 8601, unix
seconds and milliseconds, Go and protobuf durations, and prose around one of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from email.utils import parsedate_to_datetime

#: A wait longer than this is nonsense, or a reset that we cannot plan for.
LONGEST = 400 * 86400.0

#: Headers that state a reset and no window.
_RESETS = ("x-ratelimit-reset", "ratelimit-reset")

_UNITS = {
    **dict.fromkeys(("d", "day", "days"), 86400.0),
    **dict.fromkeys(("h", "hour", "hours"), 3600.0),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    "ms": 0.001,
}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[dhms]))+", re.ASCII)
_PARTS = re.compile(r"(\d+(?:\.\d+)?)(ms|[dhms])", re.ASCII)
_NUMBER = re.compile(r"\d{1,15}(?:\.\d{1,12})?", re.ASCII)
#: Where a bare moment stands: as Zhipu has it, and in English.
_AT = re.compile(
    r"(?:将在|重置时间|resets? (?:at|on)|available at|until)[:：]?\s*"
    r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d)?)",
    re.IGNORECASE | re.ASCII,
)
_CHINESE = re.compile(r"(\d{1,9}) ?(秒|分钟|小时|天)(?:后|之后)")
_CHINESE_UNITS = {"秒": 1.0, "分钟": 60.0, "小时": 3600.0, "天": 86400.0}
_PROSE = re.compile(
    r"(?:try again|retry)(?: in| after)?:?\s+"
    rf"(?:(?P<wait>{_DURATION.pattern})|"
    r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[a-z]+))(?![A-Za-z0-9])",
    re.IGNORECASE | re.ASCII,
)


def parse_wait(text: str, now: datetime, zone: tzinfo = UTC) -> float | None:
    """Seconds from `now` that the text asks to wait; None where it says nothing.

    `zone` is that of a date that names none. Never negative, never beyond LONGEST: what
    is, is not believed.
    """
    return _believed(_seconds(text.strip(), now, zone))


def stated_wait(
    headers: Mapping[str, str], message: str, now: datetime, zone: tzinfo = UTC
) -> float | None:
    """The wait that a refusal states, in its headers first, then in its prose."""
    return next(iter(stated_waits(headers, message, now, zone)), None)


def stated_waits(
    headers: Mapping[str, str], message: str, now: datetime, zone: tzinfo = UTC
) -> list[float]:
    """Every wait that a refusal states, seconds; the most particular first."""
    milliseconds = headers.get("retry-after-ms", "").strip()
    if _NUMBER.fullmatch(milliseconds):
        found = [_believed(float(milliseconds) / 1000)]
    else:
        found = [parse_wait(milliseconds, now)]
    if found == [None]:
        found.append(parse_wait(headers.get("retry-after", ""), now))
    found += [_in_prose(message, now), _moment_in_prose(message, now, zone)]
    # These do not say whose reset it is.
    found += [parse_wait(headers.get(name, ""), now) for name in _RESETS]
    return [one for one in found if one is not None]


def is_beyond_belief(headers: Mapping[str, str], now: datetime) -> bool:
    """Tell whether a refusal states a wait longer than LONGEST."""
    text = headers.get("retry-after", "").strip()
    seconds = _seconds(text, now, UTC)
    return seconds is not None and seconds > LONGEST


def _in_prose(message: str, now: datetime) -> float | None:
    chinese = _CHINESE.search(message)
    if chinese is not None:
        return _believed(float(chinese[1]) * _CHINESE_UNITS[chinese[2]])
    found = _PROSE.search(message)
    if found is None:
        return None
    if found["wait"]:
        return parse_wait(found["wait"].lower(), now)
    unit = _UNITS.get(found["unit"].lower())
    return None if unit is None else _believed(float(found["number"]) * unit)


def _moment_in_prose(message: str, now: datetime, zone: tzinfo) -> float | None:
    found = _AT.search(message)
    return parse_wait(found[1], now, zone) if found else None


def _seconds(text: str, now: datetime, zone: tzinfo) -> float | None:
    seconds = _number(text, now)
    if seconds is None:
        seconds = _duration(text)
    return _date(text, now, zone) if seconds is None else seconds


def _believed(seconds: float | None) -> float | None:
    return seconds if seconds is not None and 0 <= seconds <= LONGEST else None


def _number(text: str, now: datetime) -> float | None:
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    if value > 1e12:
        return value / 1000 - now.timestamp()
    if value > 1e9:
        return value - now.timestamp()
    return value


def _duration(text: str) -> float | None:
    if not _DURATION.fullmatch(text):
        return None
    return sum(float(n) * _UNITS[unit] for n, unit in _PARTS.findall(text))


def _date(text: str, now: datetime, zone: tzinfo) -> float | None:
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            moment = parse(text)
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=zone)
        return (moment - now).total_seconds()
    return None
