"""What is stated near a reset, or of one, counts only where it cannot be mistaken."""

from __future__ import annotations

from datetime import datetime

import pytest
from dealings import MONTH, NOW, ask, closed, every_kind, left, some, state
from dealings import spend_in_turn as spend
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
)
from till import a_job, denial, holding, quota, room, would_get

from batch.core.quota import WindowKind

# Not across a reset


@pytest.mark.parametrize(
    ("asked", "heard"),
    [
        (MIDNIGHT - MINUTE * 5, MIDNIGHT + MINUTE * 5),
        (MIDNIGHT - MINUTE * 5, MIDNIGHT - 30 * SECOND),
        (MIDNIGHT - 30 * SECOND, MIDNIGHT - 20 * SECOND),
        (MIDNIGHT + 30 * SECOND, MIDNIGHT + 5 * MINUTE),
        (NOON - DAY, NOON),
    ],
)
def test_a_count_that_may_be_of_the_other_day_is_not_taken_over(
    scene: Scene, asked, heard
):
    state(scene, {"remaining": 0}, heard, daily(20), asked_at=asked)
    assert left(scene, daily(20), heard) == 20
    assert scene.entries() == []


def test_a_minutes_count_is_of_the_minute_in_which_it_was_asked(scene: Scene):
    minute = by_minute(9)
    inside = NOON + 20 * SECOND
    state(scene, {"remaining": 2}, inside + SECOND, minute, asked_at=inside)
    assert left(scene, minute, inside + 2 * SECOND) == 2
    late, heard = NOON + 55 * SECOND, NOON + 65 * SECOND
    state(scene, {"remaining": 0}, heard, minute, asked_at=late)
    assert left(scene, minute, heard + 20 * SECOND) == 9


def test_a_months_count_is_not_taken_over_across_its_first(scene: Scene):
    first = datetime(2026, 4, 1, tzinfo=NOON.tzinfo)
    asked, heard = first - 5 * MINUTE, first + 5 * MINUTE
    state(scene, {"remaining": 0}, heard, MONTH, asked_at=asked)
    assert left(scene, MONTH, heard) == 90


def test_a_first_calls_count_is_not_taken_over_across_its_end(scene: Scene):
    a_job(scene)
    one = quota(WindowKind.FIRST_CALL, 5, HOUR)
    holder = holding(scene, one)
    spend(scene, holder, 1, NOON)
    asked, heard = NOON + 58 * MINUTE, NOON + 63 * MINUTE
    (over,) = ask(scene, holder, asked)
    scene.settle(answered(over), now=heard, holder=holder)
    state(scene, {"remaining": 0}, heard, one, asked_at=asked)
    # Of the new window that call may have been the first.
    assert room(scene, heard, holder) == 4


@pytest.mark.parametrize(
    "kind", [WindowKind.ROLLING, WindowKind.REFILL, WindowKind.GRANT]
)
def test_where_there_are_no_resets_every_count_is_of_now(scene: Scene, kind):
    one = some(kind)
    state(scene, {"remaining": 3}, NOW, one, asked_at=NOW - 10 * MINUTE)
    assert left(scene, one) == 3


# A reset that is stated


def test_a_later_reset_that_is_stated_with_nothing_left_is_waited_for(scene: Scene):
    a_job(scene)
    holder = holding(scene, daily(20))
    until = MIDNIGHT + 2 * HOUR
    state(scene, {"remaining": 0, "resets_at": until}, NOON, daily(20))
    assert denial(scene, NOON, holder) == until
    assert would_get(scene, 9, until - SECOND, holder) == 0
    assert room(scene, until, holder) == 20


def test_an_earlier_reset_brings_nothing(scene: Scene):
    a_job(scene)
    holder = holding(scene, daily(20))
    state(scene, {"remaining": 0, "resets_at": NOON + HOUR}, NOON, daily(20))
    assert denial(scene, NOON, holder) == MIDNIGHT + GUARD


@every_kind
def test_a_reset_that_is_stated_while_something_is_left_closes_nothing(
    scene: Scene, kind
):
    one = some(kind)
    state(scene, {"remaining": 3, "resets_at": NOW + 50 * DAY}, NOW, one)
    assert left(scene, one) == 3
    assert closed(scene, NOW, one) == {}
