"""A window that the endpoint refused stays closed until there may be credits again."""

from __future__ import annotations

from datetime import datetime

from scene import (
    DAY,
    GUARD,
    HOUR,
    MIDNIGHT,
    MINUTE,
    NOON,
    PENDING,
    SECOND,
    Scene,
    answered,
    by_minute,
    daily,
    failed,
    unsent,
)

from batch.core.quota import Quota, WindowKind
from batch.store import closures, windows


def close(scene: Scene, now: datetime = NOON, until: datetime | None = None) -> None:
    closures.close(
        scene.connection, scene.account_id, scene.quotas, until, "4002: no more", now
    )


def closed_until(scene: Scene, now: datetime) -> datetime | None:
    until: datetime | None = scene.standings(now)[-1].closed_until
    return until


def test_a_window_that_the_endpoint_closed_is_closed_until_its_reset(scene: Scene):
    scene.job(20)
    scene.settle(*map(answered, scene.claimed(3)))
    (one,) = scene.claimed()
    scene.settle(failed(one, PENDING, counts=False))
    close(scene)
    got = scene.claim(9)
    assert got.claims == []
    assert got.denied_until == MIDNIGHT + GUARD
    (standing,) = scene.standings()
    assert standing.closed_reason == "4002: no more"
    assert scene.claimed(9, MIDNIGHT + GUARD - SECOND) == []
    assert len(scene.claimed_in_turn(9, MIDNIGHT + GUARD)) == 5


def test_a_window_is_closed_until_the_time_that_the_endpoint_states(scene: Scene):
    scene.job(20)
    scene.settle(*map(answered, scene.claimed(3)))
    until = NOON + 2 * HOUR
    close(scene, until=until)
    assert scene.claim(9).denied_until == until
    assert scene.claimed(9, until - SECOND) == []
    assert len(scene.claimed_in_turn(9, until)) == 2


def test_a_refused_first_call_is_tried_again_after_pauses_that_grow(scene: Scene):
    """The reset itself may be elsewhere than assumed: one call at a time finds out."""
    scene.job(20)
    big = Scene(scene.connection, daily(200))
    now = MIDNIGHT + GUARD
    pauses = []
    for _ in range(7):
        (one,) = big.claimed(1, now)
        big.settle(failed(one, PENDING, counts=False), now=now)
        close(big, now)
        until = closed_until(big, now)
        assert until is not None
        pauses.append((until - now) / MINUTE)
        assert big.claimed(9, until - SECOND) == []
        now = until
    # Doubling to four hours: 23.75 hours in all; the last would be past the reset.
    assert pauses == [15, 30, 60, 120, 240, 240, 240]


def test_a_probe_is_never_later_than_the_reset(scene: Scene):
    scene.job(20)
    now = MIDNIGHT - 10 * MINUTE
    (one,) = scene.claimed(1, now)
    scene.settle(failed(one, PENDING, counts=False), now=now)
    close(scene, now)
    # Ten minutes and the guard, not fifteen.
    assert closed_until(scene, now) == MIDNIGHT + GUARD


def test_calls_carried_over_the_reset_do_not_make_a_fresh_window_a_used_one(
    scene: Scene,
):
    scene.job(20)
    ids = scene.claimed(3, MIDNIGHT - 5 * MINUTE)
    now = MIDNIGHT + 5 * MINUTE
    (one,) = scene.claimed(1, now)
    scene.settle(*map(answered, ids), failed(one, PENDING, counts=False), now=now)
    close(scene, now)
    assert closed_until(scene, now) == now + 15 * MINUTE


def test_calls_refused_together_are_one_refusal(scene: Scene):
    """Four were in flight over the reset; the endpoint's is later than ours."""
    scene.job(20)
    ids = scene.claimed(4, MIDNIGHT - 5 * MINUTE)
    now = MIDNIGHT + 5 * MINUTE
    ids += scene.claimed(1, now)
    for one in ids:
        scene.settle(failed(one, PENDING, counts=False), now=now)
        close(scene, now)
    assert closed_until(scene, now) == now + 15 * MINUTE


def test_carried_calls_that_were_never_sent_do_not_make_a_used_window_a_fresh_one(
    scene: Scene,
):
    scene.job(20)
    ids = scene.claimed(3, MIDNIGHT - 5 * MINUTE)
    now = MIDNIGHT + 5 * MINUTE
    (one,) = scene.claimed(1, now)
    scene.settle(*map(unsent, ids), answered(one), now=now)
    first, second, third = scene.claimed(3, now)
    scene.settle(
        answered(first),
        answered(second),
        failed(third, PENDING, counts=False),
        now=now,
    )
    # Three answers and a refusal: it is used up indeed.
    close(scene, now)
    assert closed_until(scene, now) == MIDNIGHT + DAY + GUARD


def test_a_stated_time_beyond_our_reset_is_believed_too(scene: Scene):
    """The endpoint's day begins later than ours."""
    scene.job(20)
    scene.settle(*map(answered, scene.claimed(3)))
    until = MIDNIGHT + 3 * HOUR
    close(scene, until=until)
    assert scene.claim(9).denied_until == until
    assert scene.claimed(9, MIDNIGHT + GUARD) == []
    assert len(scene.claimed_in_turn(9, until)) == 5


def test_looking_sees_the_closure_that_opening_would_bring(scene: Scene):
    scene.job(20)
    until = MIDNIGHT + 3 * HOUR
    close(scene, until=until)
    assert closed_until(scene, MIDNIGHT + HOUR) == until


def test_two_runners_refused_at_once_go_on_trying_one_call_at_a_time(scene: Scene):
    """No call of this day was answered: our reset may be the wrong one."""
    scene.job(20)
    now = MIDNIGHT + GUARD
    first, second = scene.holder, scene.runner()
    ids = [*scene.claimed(1, now, holder=first), *scene.claimed(1, now, holder=second)]
    for one, holder in zip(ids, (first, second), strict=True):
        scene.settle(failed(one, PENDING, counts=False), now=now, holder=holder)
        close(scene, now)
    later = now + 15 * MINUTE
    assert closed_until(scene, now) == later
    (one,) = scene.claimed(1, later)
    scene.settle(failed(one, PENDING, counts=False), now=later)
    close(scene, later)
    assert closed_until(scene, later) == later + 30 * MINUTE


def test_a_refusal_near_the_reset_closes_both_windows(scene: Scene):
    scene.job(20)
    scene.settle(*map(answered, scene.claimed(3)))
    now = MIDNIGHT - 10 * SECOND
    (one,) = scene.claimed(1, now)
    scene.settle(failed(one, PENDING, counts=False), now=now)
    close(scene, now)
    today, tomorrow = scene.standings(now)
    assert today.closed_until == MIDNIGHT + GUARD
    assert tomorrow.closed_until == now + 15 * MINUTE


def test_the_longest_quota_is_the_one_that_is_closed(scene: Scene):
    month = Quota(name="month", limit=90, kind=WindowKind.MONTH)
    quotas = [by_minute(9), month, daily(5)]
    scene.quotas = tuple(quotas)
    close(scene)
    standings = windows.standings(scene.connection, scene.account_id, quotas, NOON)
    closed = {one.quota.name for one in standings if one.is_closed(NOON)}
    assert closed == {"month"}
