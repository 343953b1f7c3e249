"""A reset that is elsewhere than ours is observed, and gone by from then on."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, time

import pytest
from dealings import ask, close, closed, refuse, state, told
from dealings import spend_in_turn as spend
from scene import DAY, GUARD, HOUR, MIDNIGHT, MINUTE, NOON, Scene, answered, daily
from sqlalchemy import select
from till import a_job, denial, holding, refused, room, would_get

from batch.core.quota import Per
from batch.core.standing import FIRST_PROBE
from batch.store import closures, resets, schema
from batch.store.purse import Holder

MORNING = MIDNIGHT + 9 * HOUR


def observed(scene: Scene) -> list[tuple[datetime, datetime]]:
    rows = scene.connection.execute(select(schema.resets)).all()
    return [(row.refused_at, row.answered_at) for row in rows]


def a_day_that_begins_later(scene: Scene) -> tuple[Holder, datetime, datetime]:
    """Our day begins, the endpoint's does not yet: when it refused, and answered."""
    a_job(scene, 90)
    holder = holding(scene, daily(20))
    spend(scene, holder, 5, NOON)
    before, now = NOON, MIDNIGHT + GUARD
    while True:
        (probe,) = scene.claimed(1, now, holder=holder)
        if now > MIDNIGHT + 2 * HOUR:
            scene.settle(answered(probe), now=now, holder=holder)
            return holder, before, now
        refuse(scene, holder, probe, now)
        before, now = now, closed(scene, now, daily(20))["daily"]


def test_a_reset_that_was_observed_is_remembered(scene: Scene):
    _, refused_at, answered_at = a_day_that_begins_later(scene)
    # 00:01, and after 15, 30, 60 and 120 minutes: 03:46.
    assert refused_at == MIDNIGHT + GUARD + 105 * MINUTE
    assert answered_at == MIDNIGHT + GUARD + 225 * MINUTE
    assert observed(scene) == [(refused_at, answered_at)]
    assert ("reset", "daily") in told(scene)


def test_an_observed_reset_is_gone_by_on_the_next_day(scene: Scene):
    holder, _, answered_at = a_day_that_begins_later(scene)
    tomorrow = MORNING + DAY
    spend(scene, holder, room(scene, tomorrow, holder), tomorrow)
    at = denial(scene, tomorrow, holder)
    # Not at our midnight, and not before it has certainly come.
    assert answered_at + 2 * DAY <= at <= answered_at + 2 * DAY + 2 * GUARD
    assert would_get(scene, 9, MIDNIGHT + 2 * DAY + 2 * GUARD, holder) == 0
    assert room(scene, at, holder) == 20


def test_calls_around_an_observed_reset_count_on_both_sides(scene: Scene):
    holder, refused_at, answered_at = a_day_that_begins_later(scene)
    spend(scene, holder, 3, MORNING)
    # Of the day that began last night: the probe's answer, and three.
    between = refused_at + DAY + (answered_at - refused_at) / 2
    spend(scene, holder, 4, between)
    after = answered_at + DAY + 2 * GUARD
    assert room(scene, after, holder) == 20 - 4
    # And before it, they took from the day that was ending.
    assert room(scene, between, holder) <= 20 - 4 - 4


def test_a_reset_is_observed_for_a_models_own_quota_too(scene: Scene):
    a_job(scene, 90, model="A")
    own = replace(daily(20), per=Per.MODEL)
    holder = holding(scene, own)
    spend(scene, holder, 5, NOON)
    now = MIDNIGHT + GUARD
    (asked,) = ask(scene, holder, now)
    scene.settle(refused(asked), now=now, holder=holder)
    close(scene, now, own.of("A"))
    at = closed(scene, now, own.of("A"))["daily"]
    spend(scene, holder, 1, at)
    assert observed(scene) == [(now, at)]


def test_another_configuration_forgets_what_was_observed_of_this_one(scene: Scene):
    holder, _, answered_at = a_day_that_begins_later(scene)
    spend(scene, holder, 3, MORNING)
    other = daily(20, reset=time(9, 0))
    (seen,) = resets.in_force(scene.connection, scene.account_id, [other])
    assert seen == other
    (same,) = resets.in_force(scene.connection, scene.account_id, [daily(20)])
    assert same.reset != time(0, 0)
    assert same.guard >= answered_at - MIDNIGHT - 2 * HOUR


def test_forgetting_goes_by_the_configuration_alone_again(scene: Scene):
    holder, _, _ = a_day_that_begins_later(scene)
    state(scene, {"limit": 12}, MORNING, daily(20))
    close(scene, MORNING, daily(20), until=MORNING + 5 * HOUR)
    assert would_get(scene, 9, MORNING, holder) == 0
    closures.forget(scene.connection, scene.account_id)
    assert observed(scene) == []
    (seen,) = resets.in_force(scene.connection, scene.account_id, [daily(20)])
    assert seen == daily(20)
    assert closed(scene, MORNING, daily(20)) == {}
    # What was spent stays spent: today the probes, of which four were refused.
    assert 20 - 5 <= room(scene, MORNING, holder) < 20
    assert would_get(scene, 9, MORNING, holder) == 9


def test_a_day_that_was_used_up_elsewhere_teaches_nothing_of_the_reset(scene: Scene):
    """The first call of a day is refused; nobody asks again until the next one."""
    a_job(scene)
    holder = holding(scene, daily(20))
    (asked,) = ask(scene, holder, NOON)
    refuse(scene, holder, asked, NOON)
    spend(scene, holder, 1, MORNING)
    assert observed(scene) == []
    assert room(scene, MORNING, holder) == 19


@pytest.mark.parametrize("days", [2, 3, 10])
def test_an_answer_days_after_a_refusal_teaches_nothing_of_the_reset(
    scene: Scene, days
):
    a_job(scene)
    holder = holding(scene, daily(20))
    (asked,) = ask(scene, holder, MORNING)
    refuse(scene, holder, asked, MORNING)
    spend(scene, holder, 1, MORNING + days * DAY)
    assert observed(scene) == []


def test_a_day_of_which_a_call_was_answered_before_teaches_nothing(scene: Scene):
    a_job(scene)
    holder = holding(scene, daily(20))
    spend(scene, holder, 1, NOON)
    (asked,) = ask(scene, holder, NOON + MINUTE)
    refuse(scene, holder, asked, NOON + MINUTE)
    spend(scene, holder, 1, NOON + MINUTE + FIRST_PROBE)
    assert observed(scene) == []
