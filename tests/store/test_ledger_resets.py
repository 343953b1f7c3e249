"""Near a reset a call counts on every side where the endpoint may see it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from books import TODAY, TOMORROW
from clockwork import ManualClock
from scene import (
    GUARD,
    HOUR,
    MIDNIGHT,
    MINUTE,
    SECOND,
    Scene,
    answered,
    by_minute,
    failed,
    unsent,
)

from batch import config, worker
from batch.store.counting import LONGEST_CALL
from batch.store.servertime import ServerClock
from batch.timekeeper import Timekeeper


def test_a_call_in_flight_at_the_reset_counts_in_both_windows(scene: Scene):
    scene.job(20)
    ids = scene.claimed(3, MIDNIGHT - 5 * MINUTE)
    # Three may be counted by the endpoint when they end: two more, not five.
    assert len(scene.claimed_in_turn(9, MIDNIGHT + 5 * MINUTE)) == 2
    assert scene.windows() == {TODAY: 3, TOMORROW: 5}
    # That they end later changes nothing.
    scene.settle(*map(answered, ids), now=MIDNIGHT + 6 * MINUTE)
    assert scene.claimed(9, MIDNIGHT + 7 * MINUTE) == []


def test_at_the_last_microsecond_of_the_guard_a_window_is_the_one_that_is_there(
    scene: Scene,
):
    """A server tells microseconds, of which the database keeps milliseconds."""
    quota = by_minute(5)
    runner = scene.runner(quotas=(quota,))
    scene.job(2)
    scene.claim(1, MIDNIGHT + 30 * SECOND, holder=runner)
    clock = ServerClock(ManualClock(MIDNIGHT))
    clock.hear(MIDNIGHT + MINUTE + quota.guard - timedelta(microseconds=1))
    scene.claim(1, Timekeeper(clock).now(), holder=runner)
    # The first call is still in flight, and may be counted in both.
    assert list(scene.windows(quota.name).values()) == [2, 2]


@pytest.mark.parametrize(
    ("ended_at", "counted"),
    [
        (MIDNIGHT - 2 * GUARD, 0),
        (MIDNIGHT - GUARD - SECOND, 0),
        # By a clock that is a minute ahead, this is after midnight.
        (MIDNIGHT - GUARD + SECOND, 1),
        (MIDNIGHT - SECOND, 1),
        (MIDNIGHT, 1),
        (MIDNIGHT + SECOND, 1),
        (MIDNIGHT + 30 * MINUTE, 1),
    ],
)
def test_a_call_that_ended_counts_where_its_end_may_be_seen(
    scene: Scene, ended_at, counted
):
    """Nothing is opened before it ended: the window looks back."""
    scene.job(20)
    (one,) = scene.claimed(1, MIDNIGHT - 20 * MINUTE)
    scene.settle(answered(one), now=ended_at)
    assert scene.windows() == {TODAY: 1}
    assert len(scene.claimed_in_turn(9, MIDNIGHT + HOUR)) == 5 - counted
    assert scene.windows() == {TODAY: 1, TOMORROW: 5}


@pytest.mark.parametrize(
    ("made_at", "windows"),
    [
        (MIDNIGHT - GUARD - SECOND, {TODAY: 1}),
        # By a clock that is up to a minute ahead, or behind.
        (MIDNIGHT - GUARD + SECOND, {TODAY: 1, TOMORROW: 1}),
        (MIDNIGHT, {TODAY: 1, TOMORROW: 1}),
        (MIDNIGHT + GUARD - SECOND, {TODAY: 1, TOMORROW: 1}),
        (MIDNIGHT + GUARD, {TOMORROW: 1}),
    ],
)
def test_a_call_near_the_reset_counts_on_both_sides(scene: Scene, made_at, windows):
    scene.job(1)
    scene.claimed(1, made_at)
    assert scene.windows() == windows


def test_near_the_reset_both_windows_must_have_room(scene: Scene):
    scene.job(20)
    scene.settle(*map(answered, scene.claimed(4)))
    got = scene.claim(9, MIDNIGHT + 30 * SECOND)
    assert len(got.claims) == 1
    assert got.denied_until == MIDNIGHT + GUARD
    assert scene.windows() == {TODAY: 5, TOMORROW: 1}
    # It is the first of the new day, too.
    scene.settle(answered(got.claims[0].request_id), now=MIDNIGHT + GUARD)
    assert len(scene.claimed(9, MIDNIGHT + GUARD)) == 4


def test_a_call_that_is_still_reserved_counts_however_old_it_is(scene: Scene):
    """Its machine may have slept, and send it yet; who died is taken over from."""
    scene.job(20)
    scene.claimed(3, MIDNIGHT - LONGEST_CALL - MINUTE)
    assert len(scene.claimed_in_turn(9, MIDNIGHT + 5 * MINUTE)) == 2


@pytest.mark.parametrize("used", [1, 5], ids=["credits left", "used up"])
@pytest.mark.parametrize("end", [answered, failed, unsent])
def test_after_a_reset_the_first_call_goes_alone(scene: Scene, end, used):
    scene.job(20)
    scene.settle(*map(answered, scene.claimed(used)))
    now = MIDNIGHT + GUARD
    first = scene.claim(9, now)
    assert len(first.claims) == 1
    # Nobody knows how long it takes: look again soon.
    assert first.denied_until == now + SECOND
    later = now + 10 * SECOND
    other = scene.claim(9, later, holder=scene.runner())
    assert (other.claims, other.denied_until) == ([], later + SECOND)
    scene.settle(end(first.claims[0].request_id), now=later)
    # Only an answer proves that there are credits again.
    left = {answered: 4, failed: 1, unsent: 1}
    assert len(scene.claimed(9, later)) == left[end]


def test_another_call_that_ends_meanwhile_decides_nothing(scene: Scene):
    """It was made before the reset; the first one of the new day is in flight."""
    scene.job(20)
    old, _ = scene.claimed(2, MIDNIGHT - 5 * MINUTE)
    now = MIDNIGHT + 5 * MINUTE
    assert len(scene.claimed(9, now)) == 1
    scene.settle(answered(old), now=now + SECOND)
    assert scene.claimed(9, now + SECOND) == []


def test_the_first_window_of_all_is_not_one_that_was_waited_for(scene: Scene):
    scene.job(20)
    assert len(scene.claimed(9)) == 5


def test_a_first_call_whose_runner_died_is_followed_by_another(scene: Scene):
    scene.job(20)
    scene.settle(*map(answered, scene.claimed(5)))
    now = MIDNIGHT + GUARD
    assert len(scene.claimed(9, now)) == 1
    scene.crash(now=now)
    assert len(scene.claimed(9, now, holder=scene.runner())) == 1


def test_no_call_may_last_longer_than_the_ledger_thinks():
    longest = timedelta(seconds=config.OPTIONS["timeout"].most)
    assert worker.USE_WITHIN + longest <= LONGEST_CALL
