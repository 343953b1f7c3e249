"""A window that begins with its first call ends a period after that, and no earlier."""

from __future__ import annotations

import pytest
from dealings import grants_first_at, spend
from scene import DAY, GUARD, HOUR, MINUTE, NOON, SECOND, Scene, answered, unsent
from till import MILLISECOND, a_job, denial, holding, quota, room

from batch.core.quota import WindowKind
from batch.store import ledger

FIRST_CALL = quota(WindowKind.FIRST_CALL, period=5 * HOUR)


def test_a_first_calls_window_lasts_a_period_from_when_it_may_have_arrived(
    scene: Scene,
):
    a_job(scene)
    holder = holding(scene, FIRST_CALL)
    spend(scene, holder, 1, NOON, NOON + 10 * SECOND)
    # It arrived between NOON and ten seconds later: so the window ends.
    earliest, latest = NOON + 5 * HOUR - GUARD, NOON + 10 * SECOND + 5 * HOUR + GUARD
    assert room(scene, earliest - MILLISECOND, holder) == 4
    for at in (earliest, latest - MINUTE, latest - MILLISECOND):
        assert denial(scene, at, holder) == latest
    assert room(scene, latest, holder) == 5


def test_a_first_calls_window_that_is_used_up_is_back_when_it_must_have_ended(
    scene: Scene,
):
    a_job(scene)
    holder = holding(scene, FIRST_CALL)
    spend(scene, holder, 1, NOON, NOON + 10 * SECOND)
    spend(scene, holder, 4, NOON + HOUR)
    back = NOON + 10 * SECOND + 5 * HOUR + GUARD
    assert denial(scene, NOON + 2 * HOUR, holder) == back
    assert grants_first_at(scene, back, holder)


def test_a_window_begins_with_its_first_call_and_not_with_the_day(scene: Scene):
    a_job(scene)
    holder = holding(scene, FIRST_CALL)
    late = NOON + 3 * DAY + 7 * HOUR
    assert room(scene, late, holder) == 5
    spend(scene, holder, 5, late)
    assert denial(scene, late + HOUR, holder) == late + 5 * HOUR + GUARD


def test_a_first_call_that_was_never_sent_begins_no_window(scene: Scene):
    a_job(scene)
    holder = holding(scene, FIRST_CALL)
    (one,) = scene.claimed(1, NOON, holder=holder)
    scene.settle(unsent(one), now=NOON + SECOND, holder=holder)
    spend(scene, holder, 5, NOON + 2 * HOUR)
    assert denial(scene, NOON + 3 * HOUR, holder) == NOON + 7 * HOUR + GUARD


def test_a_call_over_the_end_of_a_first_calls_window_counts_in_the_next(scene: Scene):
    a_job(scene)
    holder = holding(scene, FIRST_CALL)
    spend(scene, holder, 1, NOON)
    over = NOON + 5 * HOUR - 10 * MINUTE
    (one,) = scene.claimed(1, over, holder=holder)
    after = NOON + 5 * HOUR + 10 * MINUTE
    assert room(scene, after, holder) == 4
    scene.settle(answered(one), now=after, holder=holder)
    assert room(scene, after, holder) == 4


def test_of_a_crash_nobody_knows_when_its_call_began_the_window(scene: Scene):
    a_job(scene)
    holder = holding(scene, FIRST_CALL)
    scene.claimed(1, NOON, holder=holder)
    scene.crash(holder, now=NOON + 20 * MINUTE)
    other = holding(scene, FIRST_CALL)
    latest = NOON + 20 * MINUTE + 5 * HOUR + GUARD
    assert denial(scene, NOON + 5 * HOUR, other) == latest
    assert room(scene, latest, other) == 5


@pytest.mark.parametrize("booked", [3, 5])
def test_what_was_spent_elsewhere_before_the_first_call_is_back_some_day(
    scene: Scene, booked
):
    """The window that it was spent in began before now: it ends within a period."""
    a_job(scene)
    holder = holding(scene, FIRST_CALL)
    ledger.record(
        scene.connection, scene.account_id, [FIRST_CALL], booked, "my phone", NOON
    )
    assert room(scene, NOON + HOUR, holder) == 5 - booked
    assert room(scene, NOON + 5 * HOUR + 2 * GUARD, holder) == 5
    assert room(scene, NOON + 50 * HOUR, holder) == 5
