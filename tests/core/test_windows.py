from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quotas import (
    INSTANT,
    MINUTE,
    ZONES,
    by_minute,
    daily,
    moments,
    monthly,
    resets,
    utc,
    zone_named,
    zones,
)

from batch.core.quota import Quota, WindowKind
from batch.core.windows import Window, window_at, windows_touched


@lru_cache(maxsize=4096)
def reset_by_looking_at_the_clock(zone: str, day: date, reset: time) -> datetime:
    """Look at the clock on the wall once a minute until it shows this day and time.

    Where the clock is put forward past it: as long after that as it would have been.
    """
    there = zone_named(zone)
    wanted = datetime.combine(day, reset)
    # No zone is further than 28 hours from where this begins; offsets are whole
    # minutes, so that the seconds stay in step.
    moment = wanted.replace(tzinfo=UTC) - timedelta(hours=28)
    shown = moment.astimezone(there).replace(tzinfo=None)
    assert shown < wanted
    while True:
        moment += MINUTE
        before = shown
        shown = moment.astimezone(there).replace(tzinfo=None)
        if shown == wanted:
            return moment
        if shown > wanted:
            return moment + (wanted - before - MINUTE)


def firsts_around(day: date) -> list[date]:
    """The first of this month, of the two before it and of the two after it."""
    number = day.year * 12 + day.month - 1
    return [date(n // 12, n % 12 + 1, 1) for n in range(number - 2, number + 3)]


def window_by_looking(quota: Quota, zone: str, moment: datetime) -> Window:
    day = moment.date()
    days = (
        [day + timedelta(days=n) for n in (-3, -2, -1, 0, 1, 2, 3)]
        if quota.kind is WindowKind.DAY
        else firsts_around(day)
    )
    starts = sorted(
        {reset_by_looking_at_the_clock(zone, one, quota.reset) for one in days}
    )
    before = [one for one in starts if one <= moment]
    after = [one for one in starts if one > moment]
    return Window(before[-1], after[0])


@st.composite
def places(draw: st.DrawFn) -> tuple[str, time, datetime]:
    """A zone, a reset, and a moment, often near one at which clocks change."""
    zone = draw(zones)
    day = draw(
        st.sampled_from(ZONES[zone]) | st.dates(date(2000, 1, 1), date(2099, 12, 1))
    )
    away = timedelta(seconds=draw(st.integers(-60 * 3600, 60 * 3600)))
    reset = draw(resets)
    noon = datetime.combine(day, time(12), tzinfo=UTC)
    at_the_reset = reset_by_looking_at_the_clock(zone, day, reset)
    moment = draw(
        st.sampled_from([noon + away, at_the_reset, at_the_reset - INSTANT, noon])
    )
    return zone, reset, moment


@given(places())
@settings(max_examples=150)
@pytest.mark.fault(45)
@pytest.mark.long
def test_the_window_of_a_day_is_what_the_clock_on_the_wall_says(place):
    zone, reset, moment = place
    quota = daily(zone, reset)
    assert window_at(quota, moment) == window_by_looking(quota, zone, moment)


@given(places())
@settings(max_examples=60)
@pytest.mark.fault(45)
@pytest.mark.long
def test_the_window_of_a_month_is_what_the_clock_on_the_wall_says(place):
    zone, reset, moment = place
    quota = monthly(zone, reset)
    assert window_at(quota, moment) == window_by_looking(quota, zone, moment)


@given(places(), st.sampled_from([daily, monthly]))
@settings(max_examples=300)
@pytest.mark.fault(45)
def test_every_moment_lies_in_its_window_and_windows_meet(place, kind):
    zone, reset, moment = place
    quota = kind(zone, reset)
    window = window_at(quota, moment)
    assert window.starts_at <= moment < window.resets_at
    assert window.starts_at.tzinfo is UTC
    assert window_at(quota, window.starts_at) == window
    assert window_at(quota, window.resets_at - INSTANT) == window
    assert window_at(quota, window.resets_at).starts_at == window.resets_at
    assert window_at(quota, window.starts_at - INSTANT).resets_at == window.starts_at


@given(
    places(),
    st.sampled_from([daily, monthly]),
    st.integers(0, 3600),
    st.floats(-1, 1),
)
@settings(max_examples=300)
@pytest.mark.long
def test_the_windows_touched_hold_every_moment_that_the_guard_allows(
    place, kind, seconds, where
):
    zone, reset, moment = place
    guard = timedelta(seconds=seconds)
    quota = replace(kind(zone, reset), guard=guard)
    touched = windows_touched(quota, moment)
    assert window_at(quota, moment + where * guard) in touched
    assert window_at(quota, moment) in touched
    for older, newer in pairwise(touched):
        assert older.resets_at == newer.starts_at
    # None but those that the guard reaches.
    assert touched[0].resets_at > moment - guard
    assert touched[-1].starts_at <= moment + guard


@given(moments(2000, 2099), st.floats(-1, 1))
def test_a_minute_begins_at_its_second_0(moment, where):
    quota = by_minute()
    window = window_at(quota, moment)
    assert window.starts_at.second == window.starts_at.microsecond == 0
    assert window.starts_at <= moment < window.resets_at
    assert window.resets_at - window.starts_at == MINUTE
    assert window_at(quota, moment + where * quota.guard) in windows_touched(
        quota, moment
    )


def test_a_minute_in_a_zone_is_the_minute_of_its_moment():
    moment = datetime(2026, 3, 10, 12, 0, 30, tzinfo=ZoneInfo("Asia/Kathmandu"))
    # 12:00:30 at +05:45 is 06:15:30 UTC.
    assert window_at(by_minute(), moment) == Window(
        utc(2026, 3, 10, 6, 15), utc(2026, 3, 10, 6, 16)
    )


@pytest.mark.parametrize(
    ("zone", "moment", "starts_at", "resets_at"),
    [
        # 00:00 at +08:00 is 16:00 the day before.
        (
            "Asia/Shanghai",
            utc(2026, 3, 10, 15, 59),
            utc(2026, 3, 9, 16),
            utc(2026, 3, 10, 16),
        ),
        # 00:00 at -08:00, then at -07:00: 08:00 to 07:00, 23 hours.
        (
            "America/Los_Angeles",
            utc(2026, 3, 8, 12),
            utc(2026, 3, 8, 8),
            utc(2026, 3, 9, 7),
        ),
        # 00:00 at -07:00, then at -08:00: 07:00 to 08:00, 25 hours.
        (
            "America/Los_Angeles",
            utc(2026, 11, 1, 12),
            utc(2026, 11, 1, 7),
            utc(2026, 11, 2, 8),
        ),
        # 24:00 at -04:00 is 01:00 at -03:00: 04:00 to 03:00, 23 hours from 01:00 on.
        (
            "America/Santiago",
            utc(2026, 9, 6, 12),
            utc(2026, 9, 6, 4),
            utc(2026, 9, 7, 3),
        ),
        # 24:00 at +02:00 is 01:00 at +03:00: 22:00 to 21:00.
        (
            "Africa/Cairo",
            utc(2026, 4, 24, 12),
            utc(2026, 4, 23, 22),
            utc(2026, 4, 24, 21),
        ),
        # The first 00:00 at -04:00; the second, at -05:00, begins no day.
        (
            "America/Havana",
            utc(2026, 11, 1, 5),
            utc(2026, 11, 1, 4),
            utc(2026, 11, 2, 5),
        ),
        # From 00:00 at -10:00 on the 29th to 00:00 at +14:00 on the 31st: 24 hours.
        (
            "Pacific/Apia",
            utc(2011, 12, 30, 9),
            utc(2011, 12, 29, 10),
            utc(2011, 12, 30, 10),
        ),
    ],
)
@pytest.mark.fault(45)
def test_days_as_they_were_worked_out_by_hand(zone, moment, starts_at, resets_at):
    assert window_at(daily(zone), moment) == Window(starts_at, resets_at)


@pytest.mark.parametrize("reset", [time(0, 30), time(9, 0), time(23, 59)])
@pytest.mark.fault(45)
def test_a_day_that_was_left_out_whole_makes_no_window_and_no_gap(reset):
    quota = daily("Pacific/Apia", reset)
    for minutes in range(0, 4 * 24 * 60, 7):
        moment = utc(2011, 12, 28) + timedelta(minutes=minutes)
        looked = window_by_looking(quota, "Pacific/Apia", moment)
        assert window_at(quota, moment) == looked


def changes(zone: str, first: int, last: int) -> list[date]:
    """The days of these years on which the clocks of a zone do something."""
    there = ZoneInfo(zone)
    noons = [
        datetime.combine(date(first, 1, 1), time(12), tzinfo=there) + timedelta(days=n)
        for n in range((date(last, 12, 31) - date(first, 1, 1)).days)
    ]
    return [b.date() for a, b in pairwise(noons) if a.utcoffset() != b.utcoffset()]


@pytest.mark.fault(45)
@pytest.mark.parametrize(
    "zone", ["America/Santiago", "Africa/Cairo", "America/Havana", "Asia/Beirut"]
)
def test_midnights_that_do_not_exist_are_found_year_after_year(zone):
    quota = daily(zone)
    found = changes(zone, 2022, 2037)
    assert len(found) > 20
    for day in found:
        for near in (day - timedelta(days=1), day, day + timedelta(days=1)):
            looked = reset_by_looking_at_the_clock(zone, near, time(0))
            window = window_at(quota, looked)
            assert window.starts_at == looked
            assert window_at(quota, looked - INSTANT).resets_at == looked


@pytest.mark.fault(45)
def test_a_reset_that_comes_twice_counts_once():
    # 01:30 at +01:00 is 00:30 UTC; the second 01:30, at 01:30 UTC, is no reset.
    quota = daily("Europe/London", time(1, 30))
    assert window_at(quota, utc(2026, 10, 25, 1, 30)) == Window(
        utc(2026, 10, 25, 0, 30), utc(2026, 10, 26, 1, 30)
    )


@pytest.mark.parametrize(
    ("moment", "days"),
    [
        (utc(2026, 1, 31, 23, 59), 31),
        (utc(2026, 2, 1), 28),
        (utc(2028, 2, 29), 29),
        (utc(2026, 4, 30), 30),
        (utc(2026, 12, 31), 31),
    ],
)
def test_a_month_is_as_long_as_the_calendar_says(moment, days):
    window = window_at(monthly(), moment)
    assert window.starts_at.day == window.resets_at.day == 1
    assert window.resets_at - window.starts_at == timedelta(days=days)


def test_a_moment_before_the_reset_of_the_first_is_of_the_month_before():
    quota = monthly(reset=time(9, 0))
    assert window_at(quota, utc(2026, 3, 1, 8, 59)).starts_at == utc(2026, 2, 1, 9)
