"""When runs start by themselves, and which scheduler starts them."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planned import SHANGHAI, plan

from batch.core.quota import Quota, WindowKind
from batch.errors import ConfigError, UsageError
from batch.schedule.plan import (
    Start,
    after_resets,
    in_order,
    next_start,
    start_at,
    without_zones,
)

BERLIN = ZoneInfo("Europe/Berlin")
NEW_YORK = ZoneInfo("America/New_York")
NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)


def quota(kind: str = "day", **more: Any) -> Quota:
    return Quota(name=kind, limit=200, kind=WindowKind(kind), **more)


# When.


@pytest.mark.parametrize(
    ("reset", "guard", "hour", "minute"),
    [
        (time(0, 0), 60, 0, 3),  # 00:00:00 + 1 min + 2 min
        (time(0, 0), 0, 0, 2),
        (time(0, 0), 61, 0, 4),  # 00:01:01 is in the minute that ends at 00:02
        (time(0, 0, 30), 0, 0, 3),
        (time(8, 30), 60, 8, 33),
        (time(23, 58), 60, 0, 1),  # on the day after
        (time(23, 59, 59, 999999), 3600, 1, 2),
    ],
)
def test_a_run_starts_two_minutes_after_a_reset_and_its_guard(
    reset, guard, hour, minute
):
    one = quota(reset=reset, guard=timedelta(seconds=guard), zone=SHANGHAI)
    assert after_resets([one]) == [Start(minute, hour, SHANGHAI)]


def test_a_month_is_looked_at_each_day():
    assert after_resets([quota("month", zone=SHANGHAI)]) == [Start(3, 0, SHANGHAI)]


def test_what_comes_back_at_no_hour_is_tried_every_hour():
    for kind in set(WindowKind) - {WindowKind.DAY, WindowKind.MONTH}:
        assert after_resets([quota(kind.value)]) == [Start(7)], kind


def test_what_comes_back_within_minutes_or_never_adds_nothing_to_a_day():
    beside = [quota("minute"), quota("grant")]
    beside.append(quota("refill", period=timedelta(minutes=1)))
    assert after_resets([quota(), *beside]) == after_resets([quota()])
    long = quota("rolling", period=timedelta(hours=5))
    assert after_resets([quota(), long]) == [*after_resets([quota()]), Start(7)]


@pytest.mark.parametrize("text", ["24:00", "7:5", "7", "07:60", "noon", "-1:00", ""])
def test_an_hour_that_no_clock_shows_is_wrong_usage(text):
    with pytest.raises(UsageError, match="is not a time of day such as"):
        start_at(text)


def test_an_hour_of_ones_own_is_one_of_this_machine():
    assert start_at("7:05") == start_at("07:05") == Start(5, 7, None)


def test_each_start_is_there_once_in_the_order_of_the_day():
    mixed = [Start(3, 16), Start(7), Start(3, 4), Start(3, 16), Start(1, 4)]
    assert in_order(mixed) == (Start(7), Start(1, 4), Start(3, 4), Start(3, 16))


def test_without_zones_runs_start_each_hour_at_the_minute_of_a_reset():
    midnight, early = Start(3, 0, SHANGHAI), Start(33, 6, UTC)
    assert without_zones([midnight], NOW, BERLIN) == (Start(3),)
    assert without_zones([midnight], NOW, ZoneInfo("Asia/Kolkata")) == (Start(33),)
    # One for all of them, and whenever it is installed.
    for hours in range(24):
        now = NOW + timedelta(hours=hours)
        assert without_zones([Start(7), midnight, early], now, UTC) == (Start(3),)
    own = (Start(30, 12), Start(0, 18))
    assert without_zones(own, NOW, BERLIN) == own
    assert without_zones([Start(7)], NOW, BERLIN) == (Start(7),)


@pytest.mark.parametrize(
    ("start", "now", "following"),
    [
        (Start(3, 0, SHANGHAI), "2026-11-23T08:00", "2026-11-23T16:03"),
        (Start(3, 0, SHANGHAI), "2026-11-23T16:02:59", "2026-11-23T16:03"),
        (Start(3, 0, SHANGHAI), "2026-11-23T16:03", "2026-11-24T16:03"),
        (Start(3, 0, BERLIN), "2026-03-29T00:00", "2026-03-29T22:03"),  # summer now
        (Start(30, 12), "2026-11-23T08:00", "2026-11-23T11:30"),  # in Berlin
        (Start(7), "2026-11-23T08:00", "2026-11-23T08:07"),
        (Start(7), "2026-11-23T08:07", "2026-11-23T09:07"),
        (Start(7), "2026-11-23T23:30", "2026-11-24T00:07"),
    ],
)
def test_the_next_start_is_the_first_that_is_still_to_come(start, now, following):
    at = datetime.fromisoformat(now).replace(tzinfo=UTC)
    meant = datetime.fromisoformat(following).replace(tzinfo=UTC)
    assert next_start([start], at, BERLIN) == meant
    assert next_start([start, Start(0, 0, UTC)], at, BERLIN) <= meant


@given(
    hour=st.none() | st.integers(0, 23),
    zone=st.sampled_from([None, SHANGHAI, NEW_YORK, UTC]),
    minutes=st.integers(0, 366 * 24 * 60),
)
def test_the_next_start_is_never_past_and_at_most_a_day_and_an_hour_away(
    hour, zone, minutes
):
    now = NOW + timedelta(minutes=minutes)
    found = next_start([Start(7, hour, zone)], now)
    assert now < found <= now + timedelta(hours=1 if hour is None else 25)


@pytest.mark.parametrize("bad", ["\n", "\r", "\0", "\t", "\x7f", "\udcff", "\uffff"])
def test_what_no_scheduler_can_be_given_is_refused_in_one_line(bad):
    for make in (
        lambda: plan(f"/home/a{bad}b/quotabatch", "run"),
        lambda: plan("/bin/quotabatch", "run", "--db", f"/a{bad}b"),
        lambda: plan(environment={"QUOTABATCH_HOME": f"/a{bad}b"}),
    ):
        with pytest.raises(ConfigError, match="holds a newline or another") as error:
            make()
        assert str(error.value).isprintable()
