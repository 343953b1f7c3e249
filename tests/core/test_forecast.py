from __future__ import annotations

from datetime import datetime, time, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quotas import by_minute, daily, moments, monthly, resets, utc, zones

from batch.core import forecast as foresight
from batch.core.forecast import Forecast, Load, Outlook
from batch.core.quota import Quota
from batch.core.standing import Standing
from batch.core.windows import Window, window_at, windows_touched


def standing(quota: Quota, window: Window, used: int) -> Standing:
    return Standing(
        window_id=1,
        quota=quota,
        starts_at=window.starts_at,
        resets_at=window.resets_at,
        used=used,
    )


def foreseen(
    calls: int, standings: list[Standing], keep: int, at: datetime
) -> Forecast:
    def returns(one: Standing, amount: int) -> datetime:
        raise AssertionError("nothing rolls here")

    load = Load(standings=standings, calls=calls)
    return foresight.forecast([load], Outlook(at=at, returns=returns, keep=keep))


def forecast(quota: Quota, left: int, room: int, keep: int, at: datetime) -> Forecast:
    """So many calls, where the window at hand has room for so many."""
    used = quota.less(keep) - room
    one = standing(quota, window_at(quota, at), used)
    return foreseen(left, [one], keep, at)


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
    st.floats(-1, 1),
    moments(2026, 2027),
)
@settings(max_examples=300)
def test_a_forecast_is_what_a_simulation_comes_to(
    kind, zone, reset, left, limit, keep, part, at
):
    quota = kind(zone, reset, limit)
    keep = min(keep, limit - 1)
    room = round(part * (limit - keep))
    free = max(0, room)
    got = forecast(quota, left, room, keep, at)
    windows, last = simulated(quota, left, free, keep, at)
    assert got.windows == windows
    assert got.now == min(left, free)
    assert got.at_once == (left <= free)
    if left <= free:
        assert got.finished_by == at
    else:
        assert last is not None
        assert got.finished_by == last + quota.guard


@given(
    st.sampled_from([daily, monthly]),
    zones,
    resets,
    st.integers(1, 400),
    st.integers(1, 40),
    st.integers(0, 40),
    moments(2026, 2027),
    st.integers(-60, 59),
)
@settings(max_examples=300)
@pytest.mark.long
def test_in_the_minutes_around_a_reset_the_new_window_is_the_one_that_counts(
    kind, zone, reset, left, limit, carried, moment, seconds
):
    """The old one is used up, and stands in the way until its guard has passed."""
    quota = kind(zone, reset, limit)
    at = window_at(quota, moment).resets_at + timedelta(seconds=seconds)
    old, new = windows_touched(quota, at)
    free = max(0, limit - carried)
    standings = [standing(quota, old, limit), standing(quota, new, carried)]
    got = foreseen(left, standings, 0, at)
    windows, last = simulated(quota, left, free, 0, new.starts_at)
    assert last is not None
    assert (got.windows, got.now) == (windows, 0)
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
        4, 57, utc(2026, 3, 13, 0, 1), quota="daily"
    )


def test_nothing_left_takes_no_window():
    at = utc(2026, 3, 10, 12)
    assert forecast(daily(), 0, 200, 0, at) == Forecast(0, 0, at, at_once=True)


def test_a_window_that_is_used_beyond_its_limit_is_not_feared():
    """More was spent elsewhere than there is: 13 of 10."""
    at = utc(2026, 3, 10, 12)
    assert forecast(daily(limit=10), 10, -3, 0, at) == Forecast(
        1, 0, utc(2026, 3, 11, 0, 1), quota="daily"
    )


def test_by_the_minute_work_goes_on_at_once():
    # 50 left, 20 now, 30 more at 20 a minute: two minutes more, from 12:00.
    got = forecast(by_minute(20), 50, 20, 0, utc(2026, 3, 10, 12, 0, 30))
    assert got == Forecast(3, 20, utc(2026, 3, 10, 12, 2, 2), quota="minute")


@pytest.mark.parametrize("keep", [10, 11], ids=["all is kept", "more than all is kept"])
def test_where_nothing_may_be_spent_nothing_is_finished(keep):
    quota, at = daily(limit=10), utc(2026, 3, 10)
    got = foreseen(30, [standing(quota, window_at(quota, at), 0)], keep, at)
    assert got == Forecast(0, 0, None, quota="daily")


@pytest.mark.parametrize("quota", [daily(limit=1), monthly(limit=1)])
def test_work_for_longer_than_the_calendar_goes_is_never_finished(quota):
    assert forecast(quota, 4_000_000, 0, 0, utc(2026, 3, 10)).finished_by is None


def test_a_minute_keeps_nothing_in_a_forecast_either():
    got = forecast(by_minute(20), 40, 20, 30, utc(2026, 3, 10, 12))
    assert got == Forecast(2, 20, utc(2026, 3, 10, 12, 1, 2), quota="minute")
