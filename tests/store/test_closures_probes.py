"""A closed quota is probed by one call at a time, and an answer to it reopens it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest
from dealings import ask, close, closed, refuse, told
from dealings import spend_in_turn as spend
from scene import (
    GUARD,
    HOUR,
    MIDNIGHT,
    MINUTE,
    NOON,
    PENDING,
    SECOND,
    Scene,
    answered,
    daily,
    failed,
    unsent,
)
from till import a_job, claims, holding, refused, would_get

from batch.core.quota import Per
from batch.core.standing import FIRST_PROBE
from batch.store.purse import Holder

# One probe at a time


def refused_at_night(scene: Scene, number: int = 1) -> tuple[list[Holder], datetime]:
    """Runners at work, of which the first was refused; and when a probe is due."""
    a_job(scene, 60)
    holders = [holding(scene, daily(200)) for _ in range(number)]
    spend(scene, holders[0], 1, NOON - HOUR)
    (asked,) = ask(scene, holders[0], NOON)
    refuse(scene, holders[0], asked, NOON)
    return holders, closed(scene, NOON, daily(200))["daily"]


def test_several_runners_make_one_probe_between_them(scene: Scene):
    holders, at = refused_at_night(scene, 4)
    got = [scene.claimed(9, at, holder=one) for one in holders]
    assert [len(ids) for ids in got] == [1, 0, 0, 0]
    for one in holders:
        assert would_get(scene, 9, at + 20 * MINUTE, one) == 0


def test_whoever_is_free_makes_the_next_probe_after_a_pause_that_grows(scene: Scene):
    """No call of this day was answered yet: its reset may be elsewhere."""
    a_job(scene, 60)
    holders = [holding(scene, daily(200)) for _ in range(3)]
    at, pauses = MIDNIGHT + GUARD, []
    for turn in range(5):
        prober = holders[turn % 3]
        (probe,) = ask(scene, prober, at)
        end = at + 5 * SECOND
        refuse(scene, prober, probe, end)
        until = closed(scene, end, daily(200))["daily"]
        pauses.append((until - end) / MINUTE)
        assert [would_get(scene, 9, end, one) for one in holders] == [0, 0, 0]
        at = until
    assert pauses == [15, 30, 60, 120, 240]


@pytest.mark.parametrize("how", [answered, failed, unsent], ids=lambda f: f.__name__)
def test_an_older_call_that_ends_makes_no_second_probe(scene: Scene, how):
    a_job(scene, 60)
    one, other = (holding(scene, daily(200)) for _ in range(2))
    spend(scene, one, 1, NOON - HOUR)
    old, asked = ask(scene, one, NOON, number=2)
    refuse(scene, one, asked, NOON)
    at = closed(scene, NOON, daily(200))["daily"]
    (probe,) = ask(scene, other, at)
    scene.settle(how(old), now=at + SECOND, holder=one)
    assert would_get(scene, 9, at + 2 * SECOND, one) == 0
    assert would_get(scene, 9, at + 2 * SECOND, other) == 0
    # The probe itself decides.
    scene.settle(answered(probe), now=at + 3 * SECOND, holder=other)
    assert would_get(scene, 9, at + 4 * SECOND, one) == 9


def test_the_crash_of_another_runner_makes_no_second_probe(scene: Scene):
    a_job(scene, 60)
    one, other = (holding(scene, daily(200)) for _ in range(2))
    _, asked = ask(scene, one, NOON, number=2)
    refuse(scene, one, asked, NOON)
    at = closed(scene, NOON, daily(200))["daily"]
    ask(scene, other, at)
    scene.crash(one, now=at + SECOND)
    assert would_get(scene, 9, at + 2 * SECOND, other) == 0


def test_where_the_one_who_probed_has_died_another_probes(scene: Scene):
    (one, other), at = refused_at_night(scene, 2)
    ask(scene, one, at)
    scene.crash(one, now=at + MINUTE)
    assert len(scene.claimed(9, at + MINUTE, holder=other)) == 1


@pytest.mark.parametrize("how", [failed, unsent], ids=lambda f: f.__name__)
def test_a_probe_that_tells_nothing_is_made_again(scene: Scene, how):
    (one, other), at = refused_at_night(scene, 2)
    (probe,) = ask(scene, one, at)
    scene.settle(how(probe, PENDING), now=at + SECOND, holder=one)
    assert len(scene.claimed(9, at + SECOND, holder=other)) == 1


def test_a_lost_probe_does_not_hold_up_the_account_for_ever(scene: Scene):
    (one, other), at = refused_at_night(scene, 2)
    ask(scene, one, at)
    assert would_get(scene, 9, at + 30 * MINUTE, other) == 0
    assert would_get(scene, 9, at + 2 * HOUR, other) == 1


def test_another_models_calls_neither_probe_nor_prove(scene: Scene):
    a_job(scene, 60, models=["A", "B"])
    own = replace(daily(200), per=Per.MODEL)
    holder = holding(scene, own)
    first, second = claims(scene, 2, NOON, holder)
    scene.settle(refused(first.request_id), holder=holder)
    close(scene, NOON, own.of("A"))
    at = closed(scene, NOON, own.of("A"))["daily"]
    got = claims(scene, 4, at, holder)
    assert sorted(one.model for one in got) == ["A", "B", "B", "B"]
    others = [one.request_id for one in got if one.model == "B"]
    scene.settle(
        answered(second.request_id), *map(answered, others), now=at, holder=holder
    )
    assert {one.model for one in claims(scene, 4, at + SECOND, holder)} == {"B"}


# What reopens it


def test_an_answer_to_the_probe_reopens_it_for_all(scene: Scene):
    (one, other), at = refused_at_night(scene, 2)
    (probe,) = ask(scene, one, at)
    scene.settle(answered(probe), now=at + SECOND, holder=one)
    assert len(scene.claimed(9, at + SECOND, holder=other)) == 9
    assert closed(scene, at + SECOND, daily(200)) == {}
    assert told(scene)[:2] == [("closed", "daily"), ("reopened", "daily")]


def test_an_answer_to_what_was_asked_before_the_refusal_reopens_nothing(scene: Scene):
    a_job(scene, 60)
    holder = holding(scene, daily(200))
    spend(scene, holder, 1, NOON - HOUR)
    old, asked = ask(scene, holder, NOON, number=2)
    refuse(scene, holder, asked, NOON + SECOND)
    at = closed(scene, NOON + SECOND, daily(200))["daily"]
    scene.settle(answered(old), now=NOON + 2 * SECOND, holder=holder)
    assert would_get(scene, 9, NOON + 3 * SECOND, holder) == 0
    assert would_get(scene, 9, at, holder) == 1


def test_after_it_was_reopened_the_next_refusal_is_a_first_one_again(scene: Scene):
    (one,), at = refused_at_night(scene)
    (probe,) = ask(scene, one, at)
    scene.settle(answered(probe), now=at, holder=one)
    (asked,) = ask(scene, one, at + MINUTE)
    refuse(scene, one, asked, at + MINUTE)
    assert closed(scene, at + MINUTE, daily(200)) == {
        "daily": at + MINUTE + FIRST_PROBE
    }
