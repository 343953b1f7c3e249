"""What a user wishes: to cancel and to retry, and no paid answer is lost by it."""

from __future__ import annotations

import pytest
from books import agreeing
from scene import (
    CANCELLED,
    COMPLETED,
    FAILED,
    PENDING,
    RUNNING,
    Scene,
    answered,
    daily,
    failed,
)

from batch.store import outcomes, wishes

_the_books_agree_at_the_end = pytest.fixture(autouse=True)(agreeing)


def test_cancelling_takes_back_what_waits_and_no_more(scene: Scene):
    job = scene.job(3)
    (one,) = scene.claimed()
    assert wishes.cancel(scene.connection, job.id) == (2, 0)
    assert scene.states(job) == [RUNNING, CANCELLED, CANCELLED]
    scene.settle(answered(one))
    assert scene.states(job) == [COMPLETED, CANCELLED, CANCELLED]
    assert scene.claimed() == []


@pytest.mark.parametrize("done", range(1, 6))
def test_a_cancel_that_ended_half_way_leaves_nothing_that_waits_for_a_cancelled_one(
    scene: Scene, done: int
):
    job = scene.job(6, same_as={3: 0, 4: 1, 5: 1})
    ids = wishes.pending(scene.connection, job.id)
    assert wishes.cancel(scene.connection, job.id, ids[:done]) == (done, 0)
    for one in scene.claimed_in_turn(6):
        scene.settle(answered(one))
    assert PENDING not in scene.states(job)
    assert scene.states(job).count(CANCELLED) == done


def test_a_retry_reopens_what_failed_with_all_attempts_ahead(scene: Scene):
    job = scene.job(3)
    first, second, third = scene.claimed(3)
    scene.settle(answered(first), failed(second), failed(third, code="cut"))
    assert wishes.retry(scene.connection, job) == 2
    assert scene.states(job) == [COMPLETED, PENDING, PENDING]
    assert scene.result(second) is None
    assert scene.request(second).failures == 0
    # What it cost is not forgotten.
    assert scene.request(second).attempts == 1
    assert scene.again(job.id).credits == 3


def test_a_retry_may_choose_by_error(scene: Scene):
    job = scene.job(4, same_as={3: 1})
    scene.settle(
        *(
            failed(one, code=code)
            for one, code in zip(scene.claimed(3), "abc", strict=True)
        )
    )
    assert wishes.retry(scene.connection, job, codes=["b", "x"]) == 2
    assert scene.states(job) == [FAILED, PENDING, FAILED, PENDING]


def test_paid_answers_stay_whatever_is_retried(scene: Scene):
    job = scene.job(2)
    scene.settle(*map(answered, scene.claimed(2)))
    assert wishes.retry(scene.connection, job) == 0
    assert wishes.retry(scene.connection, job, cancelled=True) == 0
    assert wishes.cancel(scene.connection, job.id) == (0, 0)
    outcomes.put_back(scene.connection, [job.first_id])
    assert scene.states(job) == [COMPLETED, COMPLETED]


@pytest.mark.long
def test_a_retry_of_many_goes_in_pieces(scene: Scene):
    job = scene.job(501)
    big = scene.runner(quotas=[daily(2000)])
    scene.settle(*map(failed, scene.claimed(501, holder=big)), holder=big)
    assert wishes.retry(scene.connection, job) == 501
    assert set(scene.states(job)) == {PENDING}


def test_put_back_reopens_failed_requests_only(scene: Scene):
    job = scene.job(3)
    first, second, third = scene.claimed(3)
    scene.settle(answered(first), failed(second))
    outcomes.put_back(scene.connection, [first, second, third])
    assert scene.states(job) == [COMPLETED, PENDING, RUNNING]
    assert scene.result(second) is None
    # As if it had not failed; the ledger knows better.
    assert scene.request(second).failures == 0
    assert scene.request(second).attempts == 1
    assert scene.errors(second) == ["http_500"]


def test_a_retry_that_was_withdrawn_is_not_put_back(scene: Scene):
    job = scene.job(1)
    (one,) = scene.claimed()
    scene.settle(answered(one))
    wishes.ask_anew(scene.connection, [one])
    assert scene.claimed() == [one]
    scene.settle(failed(one, PENDING))
    assert wishes.cancel(scene.connection, job.id) == (0, 1)
    outcomes.put_back(scene.connection, [one])
    assert scene.states(job) == [COMPLETED]
