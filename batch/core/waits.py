"""How long an endpoint asks us to wait, in every format that endpoints use.

The formats are those of PROVIDERS' table: delta seconds, HTTP dates, ISO 8601, unix
seconds and milliseconds, Go and protobuf durations, and prose around one of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

#: A wait longer than this is nonsense, or a reset that we cannot plan for.
LONGEST = 400 * 86400.0

_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PIECE = r"\d+(?:\.\d+)?(?:ms|[dhms])"
_DURATION = re.compile(rf"(?:{_PIECE})+", re.ASCII)
_PARTS = re.compile(r"(\d+(?:\.\d+)?)(ms|[dhms])", re.ASCII)
_NUMBER = re.compile(r"\d{1,15}(?:\.\d{1,12})?", re.ASCII)
_PROSE = re.compile(
    rf"(?:try again|retry)(?: in| after)?:?\s+(?P<wait>{_PIECE}(?:{_PIECE})*|"
    r"\d+(?:\.\d+)?(?=\s*(?:seconds?|secs?)\b))",
    re.IGNORECASE | re.ASCII,
)


def parse_wait(text: str, now: datetime) -> float | None:
    """Seconds from `now` that the text asks to wait; None where it says nothing.

    Never negative, never beyond LONGEST: what is, is not believed.
    """
    text = text.strip()
    seconds = _number(text, now)
    if seconds is None:
        seconds = _duration(text)
    if seconds is None:
        seconds = _date(text, now)
    if seconds is None or not 0 <= seconds <= LONGEST:
        return None
    return seconds


def stated_wait(
    headers: Mapping[str, str], message: str, now: datetime
) -> float | None:
    """The wait that a refusal states, in its headers first, then in its prose."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        seconds = parse_wait(value, now)
        if seconds is not None:
            return seconds * unit if _NUMBER.fullmatch(value.strip()) else seconds
    found = _PROSE.search(message)
    return parse_wait(found["wait"], now) if found else None


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


def _date(text: str, now: datetime) -> float | None:
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            moment = parse(text)
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return (moment - now).total_seconds()
    return None
