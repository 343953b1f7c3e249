"""No call is forgotten when a clock or the configuration of a quota changes."""

from __future__ import annotations

from dataclasses import replace
from datetime import time
from zoneinfo import ZoneInfo

import pytest
from books import TODAY, TOMORROW
from scene import (
    DAY,
    GUARD,
    HOUR,
    MIDNIGHT,
    MINUTE,
    NOON,
    SECOND,
    Scene,
    answered,
    by_minute,
    daily,
    failed,
)

from batch.core.price import Cost
from batch.core.quota import WindowKind
from batch.store import ledger


def test_a_clock_that_is_set_back_opens_nothing_anew(scene: Scene):
    scene.job(20)
    scene.settle(*map(answered, scene.claimed(2)))
    after = MIDNIGHT + HOUR
    scene.settle(*map(answered, scene.claimed_in_turn(9, after)), now=after)
    assert scene.windows() == {TODAY: 2, TOMORROW: 5}
    # Back over midnight: yesterday has room for three, and nobody gets them.
    got = scene.claim(9)
    assert got.claims == []
    assert got.denied_until == MIDNIGHT + DAY + GUARD
    assert scene.claimed(9, after) == []
    assert scene.windows() == {TODAY: 2, TOMORROW: 5}


def test_calls_made_by_a_clock_that_was_set_back_count_where_it_was(scene: Scene):
    scene.job(20)
    after = MIDNIGHT + HOUR
    scene.settle(*map(answered, scene.claimed(2, after)), now=after)
    scene.settle(*map(answered, scene.claimed(2)))
    assert len(scene.claimed(9, after)) == 1


@pytest.mark.parametrize("hour", [0, 9, 11, 12, 13, 23])
def test_another_hour_of_the_reset_forgets_no_call(scene: Scene, hour):
    scene.job(20)
    scene.settle(*map(answered, scene.claimed(4)))
    moved = scene.runner(quotas=[daily(reset=time(hour))])
    now = NOON + MINUTE
    assert len(scene.claimed(9, now, holder=moved)) == 1


def test_a_reset_that_moves_to_this_very_minute_counts_on_both_sides(scene: Scene):
    scene.job(20)
    scene.settle(*map(answered, scene.claimed(4, NOON + SECOND)), now=NOON + SECOND)
    moved = daily(reset=time(12), name="moved")
    standings = scene.standings(NOON + 30 * SECOND, [moved])
    assert [(one.starts_at, one.used) for one in standings] == [
        (NOON - DAY, 4),
        (NOON, 4),
    ]


def test_another_hour_of_the_reset_does_not_open_the_old_day_either(scene: Scene):
    scene.job(20)
    scene.settle(*map(answered, scene.claimed(4)))
    moved = scene.runner(quotas=[daily(reset=time(13))])
    # Past the new reset, before the old one: the stricter of the two holds.
    after = NOON + HOUR + 2 * GUARD
    assert len(scene.claimed(9, after, holder=moved)) == 1
    assert scene.claimed(9, MIDNIGHT - 2 * GUARD, holder=moved) == []
    # The old window is past, and the new one has one call so far.
    got = scene.claimed_in_turn(9, MIDNIGHT + GUARD, holder=moved)
    assert len(got) == 4


def test_a_quota_of_another_name_forgets_no_call(scene: Scene):
    scene.job(20)
    scene.settle(*map(answered, scene.claimed(4)))
    renamed = scene.runner(quotas=[daily(name="calls")])
    assert len(scene.claimed(9, holder=renamed)) == 1


def test_another_zone_forgets_no_call(scene: Scene):
    scene.job(20)
    scene.settle(*map(answered, scene.claimed(4)))
    moved = replace(daily(), zone=ZoneInfo("America/Los_Angeles"))
    assert len(scene.claimed(9, holder=scene.runner(quotas=[moved]))) == 1


def test_a_run_of_earlier_quotas_settles_what_a_run_of_others_counts(scene: Scene):
    """Its call costs three of the five that the newer run's quota has."""
    scene.job(20)
    (mine,) = scene.claimed(1)
    other = scene.runner(quotas=[replace(daily(), kind=WindowKind.MONTH)])
    scene.settle(*map(answered, scene.claimed(1, holder=other)), holder=other)
    scene.settle(replace(failed(mine), cost=Cost(1, 3)))
    # One was spent by each run, and two more than the first run had estimated.
    assert len(scene.claimed(9, holder=other)) == 1


def test_what_is_recorded_counts_for_a_run_of_earlier_quotas(scene: Scene):
    scene.job(20)
    scene.claimed(1)
    changed = [replace(daily(), kind=WindowKind.MONTH)]
    connection, account_id = scene.connection, scene.account_id
    ledger.record(connection, account_id, changed, 3, None, NOON)
    assert len(scene.claimed(9)) == 1


def test_another_kind_of_window_may_begin_at_the_same_moment(scene: Scene):
    """At midnight by the minute; then it is the day's name, and later in the day."""
    scene.job(20)
    rate = replace(by_minute(5), name="rate")
    now = TODAY + 10 * SECOND
    scene.settle(
        answered(*scene.claimed(1, now, holder=scene.runner(quotas=[rate]))), now=now
    )
    changed = scene.runner(quotas=[daily(name="rate")])
    # IntegrityError: UNIQUE constraint failed: windows.account_id, quota, starts_at
    assert len(scene.claimed(9, NOON, holder=changed)) == 4
