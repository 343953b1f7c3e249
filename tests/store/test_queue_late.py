"""Outcomes that come late, twice, or by the wrong hands: no answer is lost to them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from books import agreeing
from scene import (
    COMPLETED,
    FAILED,
    NOON,
    PENDING,
    RUNNING,
    SPENT,
    Scene,
    answered,
    failed,
    idle,
    unsent,
)
from sqlalchemy import update

from batch.core.model import EntryState
from batch.store import queue, runners, wishes
from batch.store.schema import requests

_the_books_agree_at_the_end = pytest.fixture(autouse=True)(agreeing)


def test_the_first_answer_wins(scene: Scene):
    scene.job(1)
    (one,) = scene.claimed()
    scene.settle(answered(one, "first"))
    scene.settle(answered(one, "second"))
    result = scene.result(one)
    assert result is not None
    assert result.text == "first"


def test_an_answer_is_not_undone_by_a_failure(scene: Scene):
    scene.job(1)
    (one,) = scene.claimed()
    scene.settle(answered(one))
    scene.settle(failed(one))
    scene.settle(unsent(one))
    scene.settle(failed(one, PENDING))
    assert scene.state(one) is COMPLETED
    assert scene.errors(one) == []
    assert scene.used() == 1


def test_a_late_answer_is_taken_while_the_request_waits(scene: Scene):
    scene.job(1)
    (one,) = scene.claimed()
    scene.crash()
    assert scene.state(one) is PENDING
    scene.settle(answered(one, "late"))
    assert scene.state(one) is COMPLETED
    result = scene.result(one)
    assert result is not None
    assert result.text == "late"
    assert scene.used() == 1
    # It is not asked again.
    assert scene.claimed() == []


def test_a_late_answer_to_a_request_that_has_one_is_ignored(scene: Scene):
    scene.job(1)
    (one,) = scene.claimed()
    scene.crash()
    other = scene.runner()
    assert scene.claimed(holder=other) == [one]
    scene.settle(answered(one, "theirs"), holder=other)
    scene.settle(answered(one, "late"))
    result = scene.result(one)
    assert result is not None
    assert result.text == "theirs"
    assert scene.used() == 2


def test_a_runner_that_lost_its_request_cannot_fail_it(scene: Scene):
    scene.job(1)
    (one,) = scene.claimed()
    scene.crash()
    other = scene.runner()
    assert scene.claimed(holder=other) == [one]
    before = scene.request(one), scene.entries(one)
    for state in (FAILED, PENDING, RUNNING):
        scene.settle(replace(failed(one, state), failure=None))
    scene.settle(idle(one))
    assert (scene.request(one), scene.entries(one)) == before


def test_the_failure_of_a_lost_attempt_is_not_noted_at_another_s(scene: Scene):
    scene.job(1)
    (one,) = scene.claimed()
    scene.crash()
    other = scene.runner()
    assert scene.claimed(holder=other) == [one]
    scene.settle(failed(one, code="cut"))
    assert scene.errors(one) == ["in_doubt"]
    # The other's own failure has its place: it raised an IntegrityError.
    scene.settle(failed(one, code="http_503"), holder=other)
    assert scene.errors(one) == ["in_doubt", "http_503"]


def test_a_late_answer_leaves_the_credit_of_the_call_in_flight_alone(scene: Scene):
    """It is the other's to settle: else a new window does not count that call."""
    scene.job(1)
    (one,) = scene.claimed()
    scene.crash()
    other = scene.runner()
    assert scene.claimed(holder=other) == [one]
    try:
        scene.settle(answered(one, "late"))
        assert [row.state for row in scene.entries(one)] == [
            SPENT,
            EntryState.RESERVED,
        ]
    finally:
        scene.settle(answered(one, "second"), holder=other)


def test_a_runner_that_lost_its_request_cannot_attempt_it_again(scene: Scene):
    scene.job(1)
    (claim,) = scene.claim().claims
    scene.crash()
    # It waits; then it is another's.
    assert queue.renew(scene.connection, scene.holder, [claim], NOON) == [None]
    scene.claimed(holder=scene.runner())
    assert queue.renew(scene.connection, scene.holder, [claim], NOON) == [None]
    assert scene.used() == 2


def test_a_runner_taken_for_dead_has_back_what_nobody_else_has(scene: Scene):
    """Its calls are still in flight: to claim them would be to make them twice."""
    scene.job(3)
    mine = scene.claimed(3)
    waiting, theirs, done = mine
    scene.settle(answered(done))
    assert not runners.has_ended(scene.connection, scene.holder.runner_id)
    scene.crash()
    other = scene.runner()
    scene.connection.execute(
        update(requests)
        .where(requests.c.id == theirs)
        .values(state=RUNNING, runner_id=other.runner_id)
    )
    assert runners.has_ended(scene.connection, scene.holder.runner_id)

    runners.hold_again(scene.connection, scene.holder.runner_id, mine)

    assert [scene.state(one) for one in mine] == [RUNNING, RUNNING, COMPLETED]
    owners = [scene.request(one).runner_id for one in mine]
    assert owners == [scene.holder.runner_id, other.runner_id, None]
    assert scene.claimed(3, holder=other) == scene.claimed(3) == []
    # The credits of its calls were counted when it was taken for dead.
    scene.settle(answered(waiting), failed(theirs))
    assert [scene.state(one) for one in mine] == [COMPLETED, RUNNING, COMPLETED]
    assert scene.used() == 3
    scene.settle(idle(theirs), holder=other)


def test_a_call_that_fails_late_waits_to_be_asked_again(scene: Scene):
    scene.job(1)
    (one,) = scene.claimed()
    scene.crash()
    runners.hold_again(scene.connection, scene.holder.runner_id, [one])
    scene.settle(failed(one, PENDING))
    assert scene.state(one) is PENDING
    assert scene.errors(one) == ["in_doubt"]
    assert scene.used() == 1


def test_a_late_answer_to_a_cancelled_request_leaves_no_half_result(scene: Scene):
    """Either it is completed by it, or there is no text."""
    job = scene.job(1)
    (one,) = scene.claimed()
    scene.crash()
    wishes.cancel(scene.connection, job.id)
    scene.settle(answered(one, "late"))
    try:
        assert (scene.state(one) is COMPLETED) == (scene.result(one) is not None)
    finally:
        wishes.retry(scene.connection, job, cancelled=True)


@pytest.mark.parametrize("code", ["http_500", "content_filter"])
def test_a_late_answer_replaces_the_failure_of_another_call(scene: Scene, code: str):
    job = scene.job(2, same_as={1: 0}, max_attempts=1)
    (one,) = scene.claimed()
    scene.crash()
    other = scene.runner()
    scene.settle(failed(*scene.claimed(holder=other), code=code), holder=other)
    assert scene.states(job) == [FAILED, FAILED]
    settled = scene.settle(answered(one, "late"))
    assert settled.stored == {scene.call_of(one)}
    assert scene.states(job) == [COMPLETED, COMPLETED]
    result = scene.result(one)
    assert result is not None
    assert (result.text, result.error_code) == ("late", None)


def test_only_what_the_database_took_counts_as_stored(scene: Scene):
    scene.job(2)
    first, second = scene.claimed(2)
    scene.crash()
    other = scene.runner()
    theirs = scene.claimed(2, holder=other)
    settled = scene.settle(answered(first), failed(second), holder=other)
    assert settled.stored == {scene.call_of(one, other) for one in theirs}
    # Once more, as after a commit whose reply was lost.
    again = scene.settle(answered(first), failed(second), holder=other)
    assert again.stored == settled.stored
    late = scene.settle(answered(first, "too late"), failed(second))
    assert late.stored == late.ownerless == frozenset()
