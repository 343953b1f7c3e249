"""How a call ends: its outcome and its credit are on record together."""

from __future__ import annotations

from dataclasses import replace

import pytest
from books import agreeing
from scene import (
    COMPLETED,
    FAILED,
    NOON,
    PENDING,
    RELEASED,
    RUNNING,
    SECOND,
    SPENT,
    Scene,
    answered,
    failed,
    idle,
    unsent,
)

from batch.core.model import EntryState
from batch.store import outcomes, queue

_the_books_agree_at_the_end = pytest.fixture(autouse=True)(agreeing)


def test_an_answer_is_on_record_with_its_credit(scene: Scene):
    job = scene.job(1)
    (one,) = scene.claimed()
    scene.settle(answered(one, "铁"), now=NOON + SECOND)
    result = scene.result(one)
    assert result is not None
    assert (result.text, result.finish_reason) == ("铁", "stop")
    assert result.finished_at == NOON + SECOND
    assert scene.state(one) is COMPLETED
    (entry,) = scene.entries(one)
    assert (entry.state, entry.settled_at) == (SPENT, NOON + SECOND)
    assert scene.used() == 1
    assert scene.again(job.id).credits == 1


def test_many_answers_at_once(scene: Scene):
    scene.job(5)
    ids = scene.claimed(5)
    scene.settle(*(answered(one, f"answer {one}") for one in ids))
    for one in ids:
        result = scene.result(one)
        assert result is not None
        assert result.text == f"answer {one}"


def test_a_failure_is_on_record_with_its_credit(scene: Scene):
    scene.job(1)
    (one,) = scene.claimed()
    scene.settle(failed(one, code="cut"))
    assert scene.state(one) is FAILED
    result = scene.result(one)
    assert result is not None
    assert (result.error_code, result.error_message) == ("cut", "no luck")
    assert result.text is None
    assert scene.errors(one) == ["cut"]
    assert [row.state for row in scene.entries(one)] == [SPENT]
    assert scene.request(one).failures == 1


def test_what_a_failed_attempt_had_so_far_is_kept_within_bounds(scene: Scene):
    scene.job(1)
    (one,) = scene.claimed()
    settlement = failed(one)
    assert settlement.failure is not None
    object.__setattr__(settlement.failure, "partial", "铁" * 10_000)
    scene.settle(settlement)
    partial = scene.connection.exec_driver_sql("SELECT partial FROM errors").scalar()
    assert partial == "铁" * outcomes.PARTIAL_KEPT


def test_a_request_given_back_waits_again_with_its_attempt_on_record(scene: Scene):
    job = scene.job(2)
    (one,) = scene.claimed()
    scene.settle(failed(one, PENDING))
    assert scene.state(one) is PENDING
    assert scene.result(one) is None
    assert scene.errors(one) == ["http_500"]
    # Behind those that were not tried yet.
    assert scene.claimed() == [one + 1]
    assert scene.claimed() == [one]
    assert scene.request(one).failures == 1
    assert scene.again(job.id).attempts == 3


def test_a_failure_that_is_not_its_fault_does_not_count_against_it(scene: Scene):
    scene.job(1)
    (one,) = scene.claimed()
    scene.settle(failed(one, PENDING, counts=False))
    assert scene.request(one).failures == 0
    assert [row.state for row in scene.entries(one)] == [SPENT]


def test_a_call_that_was_never_sent_costs_nothing(scene: Scene):
    job = scene.job(1)
    (one,) = scene.claimed()
    scene.settle(unsent(one))
    assert scene.state(one) is PENDING
    assert scene.used() == 0
    assert [row.state for row in scene.entries(one)] == [RELEASED]
    assert scene.request(one).attempts == 0
    assert scene.again(job.id).credits == 0


def test_a_request_may_fail_for_nothing(scene: Scene):
    """One that cannot be sent at all."""
    scene.job(1)
    (one,) = scene.claimed()
    scene.settle(unsent(one, FAILED))
    assert scene.state(one) is FAILED
    assert scene.used() == 0


def test_a_request_stays_with_its_runner_between_two_attempts(scene: Scene):
    job = scene.job(1)
    (claim,) = scene.claim().claims
    one = claim.request_id
    scene.settle(failed(one, RUNNING))
    assert scene.state(one) is RUNNING
    assert scene.request(one).runner_id == scene.holder.runner_id
    scene.check()
    later = NOON + 5 * SECOND
    (renewed,) = queue.renew(scene.connection, scene.holder, [claim], later)
    # It is the same request, with a credit of a later time.
    entry_id = scene.call_of(one)
    assert renewed == replace(claim, reserved_at=later, entry_id=entry_id)
    assert scene.used() == 2
    assert scene.request(one).attempts == 2
    assert [row.state for row in scene.entries(one)] == [SPENT, EntryState.RESERVED]
    scene.check()
    scene.settle(answered(one), now=later)
    assert scene.state(one) is COMPLETED
    assert scene.again(job.id).credits == 2
    assert scene.errors(one) == ["http_500"]


def test_between_two_attempts_it_may_go_back_with_nothing_at_stake(scene: Scene):
    scene.job(1)
    (one,) = scene.claimed()
    scene.settle(failed(one, RUNNING))
    scene.settle(idle(one))
    assert scene.state(one) is PENDING
    assert [row.state for row in scene.entries(one)] == [SPENT]
    assert scene.used() == 1


def test_renewals_are_granted_as_far_as_there_are_credits(scene: Scene):
    scene.job(4)
    claims = scene.claim(4).claims
    scene.settle(*(failed(one.request_id, RUNNING) for one in claims))
    # 4 of 5 are spent: one more.
    granted = queue.renew(scene.connection, scene.holder, claims, NOON)
    entry_id = scene.call_of(claims[0].request_id)
    assert granted == [replace(claims[0], entry_id=entry_id), None, None, None]
    assert scene.used() == 5
    scene.check()


def test_a_renewal_keeps_what_is_to_be_left_alone(scene: Scene):
    scene.job(1)
    careful = scene.runner(keep=4)
    claims = scene.claim(holder=careful).claims
    scene.settle(failed(claims[0].request_id, RUNNING), holder=careful)
    assert queue.renew(scene.connection, careful, claims, NOON) == [None]


def test_long_answers_and_short_ones_are_stored_alike(scene):
    scene.job(4)
    ids = scene.claimed(4)
    texts = ["short", "x" * 200_000, "short too", "y" * 70_000]
    scene.settle(*(answered(one, text) for one, text in zip(ids, texts, strict=True)))
    assert [scene.result(one).text for one in ids] == texts
