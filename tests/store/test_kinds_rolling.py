"""In a rolling window each credit comes back a period after its own call."""

from __future__ import annotations

from datetime import timedelta

from dealings import ROLLING, grants_first_at, spend
from scene import DAY, GUARD, HOUR, MIDNIGHT, MINUTE, NOON, SECOND, Scene
from till import MILLISECOND, a_job, denial, holding, quota, room, would_get

from batch.core.quota import WindowKind


def test_a_rolling_credit_is_back_a_period_after_its_call_has_ended(scene: Scene):
    a_job(scene)
    holder = holding(scene, ROLLING)
    spend(scene, holder, 5, NOON, NOON + 10 * SECOND)
    back = NOON + 10 * SECOND + DAY + GUARD
    at = denial(scene, NOON + HOUR, holder)
    assert timedelta(0) <= at - back <= 2 * MILLISECOND
    assert grants_first_at(scene, at, holder)
    assert room(scene, at, holder) == 5


def test_rolling_credits_come_back_one_after_the_other(scene: Scene):
    a_job(scene)
    holder = holding(scene, ROLLING)
    for hour in range(5):
        spend(scene, holder, 1, NOON + hour * HOUR)
    for hour in range(5):
        back = NOON + hour * HOUR + DAY + GUARD
        at = denial(scene, back - MINUTE, holder)
        assert timedelta(0) <= at - back <= 2 * MILLISECOND
        assert len(scene.claimed(9, at, holder=holder)) == 1


def test_a_rolling_credit_in_flight_is_taken_however_long_it_lasts(scene: Scene):
    a_job(scene)
    holder = holding(scene, quota(WindowKind.ROLLING, 2, 10 * MINUTE))
    scene.claimed(2, NOON, holder=holder)
    for minutes in (11, 30, 60):
        assert would_get(scene, 9, NOON + minutes * MINUTE, holder) == 0


def test_a_rolling_quota_knows_no_midnight(scene: Scene):
    a_job(scene)
    holder = holding(scene, ROLLING)
    spend(scene, holder, 5, MIDNIGHT - MINUTE)
    assert would_get(scene, 9, MIDNIGHT + 2 * HOUR, holder) == 0
