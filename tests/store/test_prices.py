"""What a call costs: reserved by an estimate, settled by what it was."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scene import (
    DAY,
    MIDNIGHT,
    MINUTE,
    NOON,
    PENDING,
    RUNNING,
    Scene,
    daily,
    failed,
    unsent,
)
from shopping import ESPAI, FIRST, check, every_kind, learned, one_claim, settle, some
from till import a_job, claims, denial, holding, spent, would_get

from batch.core.price import Cost, Price
from batch.core.quota import Per, Unit
from batch.store import queue

# Reserved by an estimate, settled by what it was


@every_kind
def test_a_cheaper_answer_gives_back_what_it_did_not_take(scene: Scene, kind):
    job, one = a_job(scene), some(kind, 10)
    holder = holding(scene, one, price=ESPAI)
    claim = one_claim(scene, holder)
    assert claim.cost == Cost(1, FIRST, claim.cost.tokens)
    assert (spent(scene, "credits"), scene.again(job.id).credits) == (FIRST, FIRST)
    settle(scene, holder, claim, 150)
    assert (spent(scene, "credits"), scene.again(job.id).credits) == (2, 2)
    assert scene.used(NOON, one) == 2
    check(scene, one)


@every_kind
@pytest.mark.parametrize("stated", [10**9 + 1, 2**62, 2**63 - 1, 2**64 - 1])
def test_a_count_that_cannot_be_true_is_not_stated(scene: Scene, kind, stated):
    a_job(scene)
    one = replace(some(kind, 5000), unit=Unit.TOKENS)
    dear = Price(tokens=1)
    holder = holding(scene, one, price=dear)
    usage = {"total_tokens": stated, "completion_tokens": stated}
    for _ in range(3):
        settle(scene, holder, one_claim(scene, holder), 400, usage=usage)
    assert spent(scene, "tokens") == scene.used(NOON, one) == 3 * 101
    assert spent(scene, "credits") == 3 * 102
    assert learned(scene).tokens == 100
    check(scene, one)


@every_kind
def test_a_dearer_answer_takes_more(scene: Scene, kind):
    job, one = a_job(scene), some(kind, 10)
    holder = holding(scene, one, price=ESPAI)
    settle(scene, holder, one_claim(scene, holder), 850)
    assert (spent(scene, "credits"), scene.again(job.id).credits) == (9, 9)
    assert scene.used(NOON, one) == 9
    check(scene, one)


@every_kind
def test_a_dearer_answer_may_go_over_the_limit_and_then_nothing_is_left(
    scene: Scene, kind
):
    one = some(kind, 6)
    a_job(scene)
    holder = holding(scene, one, price=ESPAI)
    settle(scene, holder, one_claim(scene, holder), 1234)
    assert scene.used(NOON, one) == 13
    assert would_get(scene, 9, NOON, holder) == 0
    check(scene, one)


@every_kind
def test_no_more_calls_are_in_flight_than_their_estimates_allow(scene: Scene, kind):
    a_job(scene)
    holder = holding(scene, some(kind, 10), price=ESPAI)
    got = claims(scene, 9, NOON, holder)
    assert [one.cost.credits for one in got] == [FIRST, FIRST]
    assert denial(scene, NOON, holder) > NOON


@every_kind
def test_a_failed_call_keeps_its_estimate(scene: Scene, kind):
    job, one = a_job(scene), some(kind, 10)
    holder = holding(scene, one, price=ESPAI)
    claim = one_claim(scene, holder)
    scene.settle(failed(claim.request_id, PENDING), holder=holder)
    assert (spent(scene, "credits"), scene.again(job.id).credits) == (FIRST, FIRST)
    assert scene.used(NOON, one) == FIRST
    assert learned(scene).calls == 0
    check(scene, one)


@every_kind
def test_a_call_that_was_never_sent_costs_nothing(scene: Scene, kind):
    job, one = a_job(scene), some(kind, 10)
    holder = holding(scene, one, price=ESPAI)
    claim = one_claim(scene, holder)
    scene.settle(unsent(claim.request_id), holder=holder)
    again = scene.again(job.id)
    assert (spent(scene, "credits"), again.credits, again.attempts) == (0, 0, 0)
    assert scene.used(NOON, one) == 0
    assert len(claims(scene, 9, NOON, holder)) == 2


@every_kind
def test_what_a_crash_left_in_flight_keeps_its_estimate(scene: Scene, kind):
    job, one = a_job(scene), some(kind, 10)
    holder = holding(scene, one, price=ESPAI)
    one_claim(scene, holder)
    scene.crash(holder, now=NOON)
    assert scene.used(NOON, one) == FIRST
    assert scene.again(job.id).credits == FIRST
    check(scene, one)


def test_a_second_attempt_is_estimated_anew(scene: Scene):
    job, one = a_job(scene), daily(20)
    holder = holding(scene, one, price=ESPAI)
    claim = one_claim(scene, holder)
    other = one_claim(scene, holder)
    scene.settle(failed(claim.request_id, RUNNING), holder=holder)
    settle(scene, holder, other, 90)
    (again,) = queue.renew(scene.connection, holder, [claim], NOON)
    assert again is not None
    # 90 characters, and half as many for what is not known yet: two credits.
    assert again.cost.credits == 2
    settle(scene, holder, again, 90)
    assert scene.used(NOON, one) == FIRST + 1 + 1
    assert scene.again(job.id).credits == FIRST + 1 + 1
    check(scene, one)


def test_a_call_over_the_reset_is_settled_on_both_sides_of_it(scene: Scene):
    a_job(scene)
    holder = holding(scene, daily(20), price=ESPAI)
    now = MIDNIGHT - 5 * MINUTE
    claim = one_claim(scene, holder, now)
    later = MIDNIGHT + 5 * MINUTE
    other = one_claim(scene, holder, later)
    assert list(scene.windows().values()) == [FIRST, 2 * FIRST]
    settle(scene, holder, claim, 100, now=later)
    assert list(scene.windows().values()) == [1, 1 + FIRST]
    settle(scene, holder, other, 900, now=later)
    assert list(scene.windows().values()) == [1, 10]


def test_an_answer_of_the_day_before_yesterday_counts_today_too(scene: Scene):
    """Nobody knows when the endpoint got its question."""
    a_job(scene)
    holder = holding(scene, daily(20), price=ESPAI)
    claim = one_claim(scene, holder)
    today = NOON + 2 * DAY
    settle(scene, holder, one_claim(scene, holder, today), 100, now=today)
    settle(scene, holder, claim, 900, now=today)
    assert list(scene.windows().values()) == [9, 10]


def test_a_jobs_cap_is_settled_too(scene: Scene):
    a_job(scene, cap=6)
    holder = holding(scene, daily(50), price=ESPAI)
    claim = one_claim(scene, holder)
    assert would_get(scene, 9, NOON, holder) == 0
    settle(scene, holder, claim, 100)
    # One of six: five are left, and the next is expected to take two.
    assert len(claims(scene, 9, NOON, holder)) == 2


@pytest.mark.parametrize("size", [100, 900])
def test_a_models_own_window_is_settled_too(scene: Scene, size):
    a_job(scene, models=["A", "B"])
    own = replace(daily(20), per=Per.MODEL)
    holder = holding(scene, own, price=ESPAI)
    first, second = claims(scene, 2, NOON, holder)
    settle(scene, holder, first, size)
    settle(scene, holder, second, 300)
    assert scene.used(NOON, own.of("A")) == size // 100
    assert scene.used(NOON, own.of("B")) == 3
