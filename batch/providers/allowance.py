"""What a provider gives away, and at what price: quotas, prices, balances from tables.

Every complaint names the key and the reason.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta, tzinfo
from enum import StrEnum
from typing import TypeVar

from batch import zones
from batch.core.price import ONE_CREDIT_A_CALL, Price
from batch.core.quota import (
    COUNTED,
    DAY,
    EPOCH,
    FOREVER,
    NO_LIMIT,
    PERIODIC,
    Per,
    Quota,
    Signals,
    Unit,
    WindowKind,
    default_guard,
    longest_guard,
)
from batch.core.urls import masked
from batch.providers.balance import Balance
from batch.tomltables import Reader

LARGEST_LIMIT = 10**12
#: What stands for a limit whose number nobody knows.
UNKNOWN = "unknown"
#: The longest period, and the most that a price can count by.
LONGEST_PERIOD = 400 * DAY
MOST_A_CREDIT = 10**9

_STRETCH = re.compile(r"(?:\d+(?:\.\d+)?[wdhms])+", re.ASCII)
_PARTS = re.compile(r"(\d+(?:\.\d+)?)([wdhms])", re.ASCII)
_SECONDS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}

_Word = TypeVar("_Word", bound=StrEnum)


def quotas(reader: Reader) -> tuple[Quota, ...]:
    """The quotas of a profile, each with a name of its own.

    Where it says that there are none, calls are counted all the same.
    """
    if not reader.has("quotas"):
        raise reader.error("quotas", "is missing; [] where no limit is known")
    found = tuple(_quota(item) for item in reader.tables("quotas"))
    if not found:
        return (COUNTED,)
    if len({quota.name for quota in found}) < len(found):
        raise reader.error("quotas", "two of them have one name")
    return found


def price(reader: Reader) -> Price:
    """What a call costs; one credit where nothing is said."""
    table = reader.table("price")
    if table.is_empty:
        return ONE_CREDIT_A_CALL
    found = Price(
        call=_count(table, "call", 0 if table.has("answer_chars", "tokens") else 1),
        answer_chars=_count(table, "answer_chars", 0),
        prompt_chars=_count(table, "prompt_chars", 0),
        prompt_free=_count(table, "prompt_free", 0),
        tokens=_count(table, "tokens", 0),
    )
    table.finish()
    if found.is_flat and found.call < 1:
        raise reader.error("price", "a call must cost something")
    return found


def balance(reader: Reader, quotas: Sequence[Quota], base_url: str) -> Balance | None:
    """Where the provider's own count can be read, if anywhere."""
    table = reader.table("balance")
    if table.is_empty:
        return None
    url = table.text("url")
    if not re.fullmatch(r"(?:https?://|/)[^\s]+", url):
        raise table.error("url", f"{masked(url)!r} is not an http:// or https:// URL")
    named = table.text("quota", max(quotas, key=lambda quota: quota.length).name)
    if named not in [quota.name for quota in quotas if quota.per is Per.ACCOUNT]:
        raise table.error("quota", f"no quota of the account is called {named!r}")
    found = Balance(
        url=base_url.rstrip("/") + url if url.startswith("/") else url,
        path=url if url.startswith("/") else "",
        quota=named,
        headers=table.texts("headers", {"Authorization": "Bearer {key}"}),
        remaining=table.text("remaining", ""),
        used=table.text("used", ""),
        limit=table.text("limit", ""),
        reset=table.text("reset", ""),
    )
    table.finish()
    if not (found.remaining or found.used):
        raise table.error("remaining", "the path to the number is missing")
    return found


def period(text: str) -> timedelta | None:
    """ "24h", "90m", "7d", "1h30m"; None for what is no stretch of time."""
    if not _STRETCH.fullmatch(text):
        return None
    seconds = sum(float(n) * _SECONDS[unit] for n, unit in _PARTS.findall(text))
    return timedelta(seconds=min(seconds, 10**10))


def _quota(reader: Reader) -> Quota:
    kind = _word(reader, "window", WindowKind)
    limit = _limit(reader)
    length = _period(reader, kind)
    signals = reader.texts("headers", {})
    unknown = sorted(signals.keys() - {"limit", "remaining", "reset"})
    if unknown:
        raise reader.error(
            "headers", f"{unknown[0]!r} is not limit, remaining or reset"
        )
    quota = Quota(
        name=reader.text("name", kind),
        limit=limit,
        kind=kind,
        zone=zone(reader),
        reset=_reset(reader),
        period=length,
        since=_since(reader, kind),
        guard=_guard(reader, kind, length),
        unit=_word(reader, "unit", Unit, Unit.CREDITS),
        per=_word(reader, "per", Per, Per.ACCOUNT),
        signals=Signals(**{name: word.lower() for name, word in signals.items()}),
    )
    reader.finish()
    return quota


def _limit(reader: Reader) -> int:
    if reader.says("limit", UNKNOWN):
        return NO_LIMIT
    return reader.number("limit", least=1, most=LARGEST_LIMIT)


def _word(
    reader: Reader, name: str, kind: type[_Word], default: _Word | None = None
) -> _Word:
    return kind(reader.text(name, default, list(kind)))


def _period(reader: Reader, kind: WindowKind) -> timedelta:
    if kind not in PERIODIC:
        if reader.has("period"):
            raise reader.error("period", f"a {kind} window has none")
        return DAY
    text = reader.text("period")
    found = period(text)
    if found is None or not timedelta(seconds=1) <= found <= LONGEST_PERIOD:
        raise reader.error(
            "period", f"{text!r} is not a stretch of time such as 24h, 90m or 7d"
        )
    return found


def zone(reader: Reader) -> tzinfo:
    """Its time zone, UTC where it names none."""
    name = reader.text("zone", "UTC")
    if name == "UTC":
        return UTC
    found = zones.zone(name)
    if found is None:
        raise reader.error("zone", f"{name!r} is not a time zone such as Asia/Shanghai")
    return found


def _reset(reader: Reader) -> time:
    text = reader.text("reset", "00:00")
    try:
        reset = time.fromisoformat(text)
    except ValueError:
        reset = None
    if reset is None or reset.tzinfo is not None:
        raise reader.error("reset", f"{text!r} is not a time of day such as 00:00")
    return reset


def _since(reader: Reader, kind: WindowKind) -> datetime:
    if not reader.has("since"):
        return EPOCH
    if kind is not WindowKind.GRANT:
        raise reader.error("since", f"a {kind} window has none")
    day = reader.day("since")
    moment = datetime.combine(day, time(0, 0), tzinfo=UTC)
    if not EPOCH <= moment < FOREVER:
        raise reader.error("since", f"{day} is not a day of this time")
    return moment


def _guard(reader: Reader, kind: WindowKind, length: timedelta) -> timedelta:
    default = default_guard(kind, length)
    seconds = reader.number("guard", round(default.total_seconds()))
    longest = round(longest_guard(kind, length).total_seconds())
    if not 0 <= seconds <= longest:
        raise reader.error("guard", f"{seconds} is not 0 to {longest} seconds")
    return timedelta(seconds=seconds)


def _count(reader: Reader, name: str, default: int) -> int:
    return reader.number(name, default, least=0, most=MOST_A_CREDIT)
