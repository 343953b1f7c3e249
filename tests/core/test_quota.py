from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.core.quota import (
    DEFAULT_GUARDS,
    Forecast,
    Quota,
    Standing,
    Window,
    WindowKind,
    forecast,
    grants_at,
    room,
    window_at,
    windows_touched,
)

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


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]


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
        guard=DEFAULT_GUARDS[WindowKind.MINUTE],
    )


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


zones = st.sampled_from(sorted(ZONES))
# Mostly at the full minute, since it is there that clocks change.
resets = st.one_of(
    st.sampled_from([time(0, 0), time(0, 30), time(1, 30), time(2, 30), time(23, 30)]),
    st.builds(time, st.integers(0, 23), st.integers(0, 59), st.integers(0, 59)),
)


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


# Windows


@given(places())
@settings(max_examples=150)
def test_the_window_of_a_day_is_what_the_clock_on_the_wall_says(place):
    zone, reset, moment = place
    quota = daily(zone, reset)
    assert window_at(quota, moment) == window_by_looking(quota, zone, moment)


@given(places())
@settings(max_examples=60)
def test_the_window_of_a_month_is_what_the_clock_on_the_wall_says(place):
    zone, reset, moment = place
    quota = monthly(zone, reset)
    assert window_at(quota, moment) == window_by_looking(quota, zone, moment)


@given(places(), st.sampled_from([daily, monthly]))
@settings(max_examples=300)
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
def test_days_as_they_were_worked_out_by_hand(zone, moment, starts_at, resets_at):
    assert window_at(daily(zone), moment) == Window(starts_at, resets_at)


@pytest.mark.parametrize("reset", [time(0, 30), time(9, 0), time(23, 59)])
def test_a_day_that_was_left_out_whole_makes_no_window_and_no_gap(reset):
    quota = daily("Pacific/Apia", reset)
    for minutes in range(0, 4 * 24 * 60, 7):
        moment = utc(2011, 12, 28) + timedelta(minutes=minutes)
        looked = window_by_looking(quota, "Pacific/Apia", moment)
        assert window_at(quota, moment) == looked


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


# Forecasts


def simulated(
    quota: Quota, left: int, room: int, keep: int, at: datetime
) -> tuple[int, datetime | None]:
    """Make the calls window by window: in how many, and where the last one is."""
    used, last = 0, None
    window = window_at(quota, at)
    grant = room
    while left > 0:
        made = min(left, grant)
        if made > 0:
            used += 1
            last = window.starts_at
        left -= made
        window = window_at(quota, window.resets_at)
        grant = quota.limit - keep
    return used, last


@given(
    st.sampled_from([daily, monthly]),
    zones,
    resets,
    st.integers(0, 400),
    st.integers(1, 40),
    st.integers(0, 39),
    st.floats(0, 1),
    moments(2026, 2027),
)
@settings(max_examples=300)
def test_a_forecast_is_what_a_simulation_comes_to(
    kind, zone, reset, left, limit, keep, part, at
):
    quota = kind(zone, reset, limit)
    keep = min(keep, limit - 1)
    free = round(part * limit)
    got = forecast(quota, left, free, keep, at)
    windows, last = simulated(quota, left, free, keep, at)
    assert got.windows == windows
    assert got.now == min(left, free)
    assert got.at_once == (left <= free)
    if left <= free:
        assert got.finished_by == at
    else:
        assert last is not None
        assert got.finished_by == last + quota.guard


def test_a_forecast_holds_where_a_skipped_reset_falls_on_the_next_day():
    # 23:30 of 28 March does not exist in Nuuk: it falls on 00:30 of the 29th, and the
    # next reset is 23:30 of that same day.
    quota = daily("America/Nuuk", time(23, 30), limit=10)
    at = utc(2026, 3, 29, 12)
    starts_at = window_at(quota, window_at(quota, at).resets_at).starts_at
    got = forecast(quota, 10, 0, 0, at)
    assert got.finished_by == starts_at + quota.guard


def test_a_forecast_by_hand():
    # 450 left, 57 today: 393 more at 190 a day (200 less 10 kept) are 2.07, so 3 days
    # after today: the 13th.
    assert forecast(daily(), 450, 57, 10, utc(2026, 3, 10, 12)) == Forecast(
        4, 57, utc(2026, 3, 13, 0, 1)
    )


def test_nothing_left_takes_no_window():
    at = utc(2026, 3, 10, 12)
    assert forecast(daily(), 0, 200, 0, at) == Forecast(0, 0, at, at_once=True)


def test_room_beyond_the_limit_is_not_feared():
    """More was spent elsewhere than there is: the room is negative."""
    at = utc(2026, 3, 10, 12)
    assert forecast(daily(limit=10), 10, -3, 0, at) == Forecast(
        1, 0, utc(2026, 3, 11, 0, 1)
    )


def test_by_the_minute_work_goes_on_at_once():
    # 50 left, 20 now, 30 more at 20 a minute: two minutes more, from 12:00.
    got = forecast(by_minute(20), 50, 20, 0, utc(2026, 3, 10, 12, 0, 30))
    assert got == Forecast(3, 20, utc(2026, 3, 10, 12, 2, 2))


@pytest.mark.parametrize("keep", [10, 11], ids=["all is kept", "more than all is kept"])
def test_where_nothing_may_be_spent_nothing_is_finished(keep):
    got = forecast(daily(limit=10), 30, 20, keep, utc(2026, 3, 10))
    assert got == Forecast(0, 20, None)


@pytest.mark.parametrize("quota", [daily(limit=1), monthly(limit=1)])
def test_work_for_longer_than_the_calendar_goes_is_never_finished(quota):
    assert forecast(quota, 4_000_000, 0, 0, utc(2026, 3, 10)).finished_by is None


def test_a_minute_keeps_nothing_in_a_forecast_either():
    got = forecast(by_minute(20), 40, 20, 30, utc(2026, 3, 10, 12))
    assert got == Forecast(2, 20, utc(2026, 3, 10, 12, 1, 2))


# Standings

NOON = utc(2026, 3, 10, 12)
MIDNIGHT = utc(2026, 3, 11)


def standing(quota: Quota | None = None, used: int = 0, **changes) -> Standing:
    quota = quota or daily(limit=10)
    window = window_at(quota, NOON)
    return replace(
        Standing(
            window_id=1,
            quota=quota,
            starts_at=window.starts_at,
            resets_at=window.resets_at,
            used=used,
        ),
        **changes,
    )


@pytest.mark.parametrize(
    ("one", "keep", "expected"),
    [
        (standing(used=0), 0, 10),
        (standing(used=7), 0, 3),
        (standing(used=10), 0, 0),
        (standing(used=12), 0, 0),  # booked beyond the limit
        (standing(used=7), 2, 1),  # 10 - 2 - 7
        (standing(used=7), 5, 0),
        (standing(by_minute(20), used=7), 15, 13),  # a minute keeps nothing
        (standing(closed_until=NOON + MINUTE), 0, 0),
        (standing(closed_until=NOON), 0, 10),  # believed until then, not longer
    ],
)
def test_the_room_of_a_window(one, keep, expected):
    assert one.room(NOON, keep) == expected


def test_a_window_with_room_grants_now():
    assert standing(used=9).grants_at(NOON) == NOON


def test_a_window_that_is_used_up_grants_after_its_reset_and_the_guard():
    assert standing(used=10).grants_at(NOON) == MIDNIGHT + MINUTE
    assert standing(used=8).grants_at(NOON, keep=2) == MIDNIGHT + MINUTE


def test_a_window_that_the_endpoint_closed_grants_when_it_is_no_longer_believed():
    later = NOON + timedelta(minutes=15)
    assert standing(used=1, closed_until=later).grants_at(NOON) == later


def test_a_window_both_closed_and_used_up_waits_for_its_reset():
    later = NOON + timedelta(minutes=15)
    one = standing(used=10, closed_until=later)
    assert one.grants_at(NOON) == MIDNIGHT + MINUTE


def test_all_windows_must_grant():
    day = standing(used=4)
    minute = standing(by_minute(20), used=18)
    assert room([day, minute], NOON) == 2
    assert grants_at([day, minute], NOON) == NOON
    full = standing(by_minute(20), used=20)
    # 12:01 and the guard of two seconds.
    assert grants_at([day, full], NOON) == NOON + timedelta(seconds=62)
    assert grants_at([standing(used=10), full], NOON) == MIDNIGHT + MINUTE
