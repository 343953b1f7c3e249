"""Quotas to try laws with, in zones whose clocks do something."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from batch.core.quota import Quota, WindowKind, default_guard

MINUTE = timedelta(minutes=1)
INSTANT = timedelta(microseconds=1)

#: Each zone with days on which its clocks do something, and a day of the other kind.
ZONES: dict[str, list[date]] = {
    "UTC": [date(2026, 1, 1)],
    "Asia/Shanghai": [date(1991, 9, 15), date(2026, 3, 10)],
    # 00:00 does not exist on 6 September; 4 April has 25 hours.
    "America/Santiago": [date(2026, 9, 6), date(2026, 4, 4)],
    "Africa/Cairo": [date(2026, 4, 24), date(2026, 10, 29)],
    # 00:00 does not exist on 8 March, and comes twice on 1 November.
    "America/Havana": [date(2026, 3, 8), date(2026, 11, 1)],
    "Asia/Beirut": [date(2026, 3, 29), date(2026, 10, 24)],
    "Europe/London": [date(2026, 3, 29), date(2026, 10, 25)],
    "America/Los_Angeles": [date(2026, 3, 8), date(2026, 11, 1)],
    # The whole of 30 December was left out.
    "Pacific/Apia": [date(2011, 12, 30), date(2012, 4, 1)],
    # 23:00 to 24:00 does not exist on 28 March.
    "America/Nuuk": [date(2026, 3, 28), date(2026, 10, 24)],
    # By half an hour.
    "Australia/Lord_Howe": [date(2026, 10, 4), date(2026, 4, 5)],
}


def utc(
    year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0
) -> datetime:
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC)


def zone_named(name: str) -> tzinfo:
    return UTC if name == "UTC" else ZoneInfo(name)


def moments(first_year: int, last_year: int) -> st.SearchStrategy[datetime]:
    """Any microsecond from the beginning of one year to that of another."""
    return st.builds(
        lambda passed: utc(first_year, 1, 1) + passed,
        st.timedeltas(
            timedelta(0), utc(last_year, 1, 1) - utc(first_year, 1, 1) - INSTANT
        ),
    )


def daily(zone: str = "UTC", reset: time = time(0, 0), limit: int = 200) -> Quota:
    return Quota(
        name="daily",
        limit=limit,
        kind=WindowKind.DAY,
        zone=zone_named(zone),
        reset=reset,
    )


def monthly(zone: str = "UTC", reset: time = time(0, 0), limit: int = 200) -> Quota:
    return replace(daily(zone, reset, limit), name="monthly", kind=WindowKind.MONTH)


def by_minute(limit: int = 20) -> Quota:
    return Quota(
        name="minute",
        limit=limit,
        kind=WindowKind.MINUTE,
        guard=default_guard(WindowKind.MINUTE, MINUTE),
    )


zones = st.sampled_from(sorted(ZONES))
# Mostly at the full minute, since it is there that clocks change.
resets = st.one_of(
    st.sampled_from([time(0, 0), time(0, 30), time(1, 30), time(2, 30), time(23, 30)]),
    st.builds(time, st.integers(0, 23), st.integers(0, 59), st.integers(0, 59)),
)
