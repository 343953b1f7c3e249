"""A release gives back what was taken, wherever it was, and nothing else."""

from __future__ import annotations

from books import TODAY, TOMORROW
from scene import (
    DAY,
    MIDNIGHT,
    MINUTE,
    NOON,
    SECOND,
    Scene,
    answered,
    by_minute,
    daily,
    unsent,
)

from batch.store.counting import LONGEST_CALL


def test_a_release_gives_back_what_was_taken(scene: Scene):
    scene.job(5)
    ids = scene.claimed(5)
    scene.settle(*map(unsent, ids[:2]))
    assert scene.windows() == {TODAY: 3}
    assert len(scene.claimed(9)) == 2


def test_a_release_gives_back_to_both_windows_near_the_reset(scene: Scene):
    scene.job(5)
    scene.settle(*map(answered, scene.claimed(2)))
    (one,) = scene.claimed(1, MIDNIGHT - SECOND)
    assert scene.windows() == {TODAY: 3, TOMORROW: 1}
    scene.settle(unsent(one), now=MIDNIGHT + SECOND)
    assert scene.windows() == {TODAY: 2, TOMORROW: 0}


def test_a_release_gives_back_to_a_window_that_opened_meanwhile(scene: Scene):
    scene.job(20)
    first, *others = scene.claimed(3, MIDNIGHT - 5 * MINUTE)
    assert len(scene.claimed_in_turn(9, MIDNIGHT + 5 * MINUTE)) == 2
    scene.settle(unsent(first), now=MIDNIGHT + 6 * MINUTE)
    assert scene.windows() == {TODAY: 2, TOMORROW: 4}
    scene.settle(*map(answered, others), now=MIDNIGHT + 6 * MINUTE)
    assert scene.windows() == {TODAY: 2, TOMORROW: 4}


def test_a_window_that_opens_later_never_had_what_was_released(scene: Scene):
    scene.job(20)
    (one,) = scene.claimed(1, MIDNIGHT - 5 * MINUTE)
    scene.settle(unsent(one), now=MIDNIGHT + MINUTE)
    assert scene.windows() == {TODAY: 0}
    assert len(scene.claimed_in_turn(9, MIDNIGHT + 5 * MINUTE)) == 5


def test_a_release_gives_nothing_to_a_window_that_did_not_count_it(scene: Scene):
    scene.job(20)
    (one,) = scene.claimed(1, MIDNIGHT - LONGEST_CALL - MINUTE)
    scene.claimed_in_turn(2, MIDNIGHT + 5 * MINUTE)
    scene.settle(unsent(one), now=MIDNIGHT + 6 * MINUTE)
    assert scene.windows() == {TODAY: 0, TOMORROW: 2}


def test_a_release_leaves_the_windows_before_alone(scene: Scene):
    scene.job(20)
    scene.settle(*map(answered, scene.claimed(2)))
    (one,) = scene.claimed(1, NOON + DAY)
    scene.settle(unsent(one), now=NOON + DAY)
    assert scene.windows() == {TODAY: 2, TOMORROW: 0}


def test_a_release_gives_back_to_every_quota(scene: Scene):
    both = [daily(5), by_minute(3)]
    holder = scene.runner(quotas=both)
    scene.job(9)
    now = NOON + 30 * SECOND
    ids = scene.claimed(3, now, holder=holder)
    assert scene.windows("minute") == {NOON: 3}
    # Two of them are still in flight in the next minute.
    scene.settle(answered(ids[0]), now=now + SECOND, holder=holder)
    later = now + MINUTE
    assert len(scene.claimed(9, later, holder=holder)) == 1
    assert scene.windows("minute") == {NOON: 3, NOON + MINUTE: 3}
    scene.settle(*map(unsent, ids[1:]), now=later, holder=holder)
    assert scene.windows("minute") == {NOON: 1, NOON + MINUTE: 1}
    assert scene.windows() == {TODAY: 2}


def test_a_release_gives_back_to_a_window_ahead_of_a_clock_set_back(scene: Scene):
    scene.job(20)
    scene.settle(answered(*scene.claimed(1, MIDNIGHT + 10 * MINUTE)))
    # Ten minutes back, and two more: it is yesterday, and today is open too.
    (one,) = scene.claimed(1, MIDNIGHT - 2 * MINUTE)
    assert scene.windows() == {TODAY: 1, TOMORROW: 2}
    scene.settle(unsent(one), now=MIDNIGHT - 2 * MINUTE)
    assert scene.windows() == {TODAY: 0, TOMORROW: 1}
