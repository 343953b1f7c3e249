"""An outcome is bound to the call that it came of: no other request ever gets it."""

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
    SPENT,
    Scene,
    answered,
    failed,
    idle,
    unsent,
)
from sqlalchemy import func, select

from batch.core.model import Claim, EntryState, Job, Settlement
from batch.store import ledger, queue, queueing, runners, schema, submitting, wishes

_the_books_agree_at_the_end = pytest.fixture(autouse=True)(agreeing)


def delete(scene: Scene, job: Job) -> None:
    """Remove the job, as `delete` does."""
    assert submitting.withdraw(scene.connection, job.id) == 0
    while not submitting.discard(scene.connection, job.id, 2):
        pass


def answered_claim(claim: Claim, text: str = "an answer") -> Settlement:
    """The answer to this claim's call."""
    return replace(answered(claim.request_id, text), entry_id=claim.entry_id)


def ids(job: Job) -> range:
    return range(job.first_id, job.last_id + 1)


def test_the_ids_of_a_deleted_job_are_never_given_again(scene: Scene):
    scene.job(2)
    gone = scene.job(3)
    delete(scene, gone)
    assert scene.job(3).first_id > gone.last_id


def test_ids_stay_unique_where_every_job_was_deleted(scene: Scene):
    last = 0
    for _ in range(3):
        job = scene.job(2)
        assert job.first_id > last
        last = job.last_id
        delete(scene, job)


def test_a_bulk_submission_gets_new_ids_after_a_deletion(scene: Scene):
    gone = scene.job(3)
    delete(scene, gone)
    connection = scene.connection
    job_id = scene.job(1).id
    first_id = queueing.next_request_id(connection)
    assert first_id > gone.last_id + 1
    delete(scene, scene.again(job_id))

    hidden = submitting.create(
        connection,
        name="bulk",
        provider="espai",
        model="m",
        params={},
        max_attempts=3,
        priority=0,
        submission="submission-1",
        now=NOON,
    )
    first_id = queueing.next_request_id(connection)
    names = ["a", "b", "c"]
    queueing.enqueue_alike(
        connection, hidden, first_id, [1, 2, 3], names, ["{}"] * 3, "[]"
    )

    rows = connection.execute(
        select(schema.requests.c.id, schema.requests.c.custom_id)
        .where(schema.requests.c.job_id == hidden)
        .order_by(schema.requests.c.id)
    ).all()
    assert [tuple(row) for row in rows] == [
        (first_id + place, name) for place, name in enumerate(names)
    ]
    while not submitting.discard(connection, hidden, 2):
        pass


def test_an_answer_to_a_deleted_job_is_not_stored_in_the_next_one(scene: Scene):
    old = scene.job(3)
    mine = scene.claim(3).claims
    # Its lease lapsed: nothing of the job is running any more.
    scene.crash()
    delete(scene, old)
    new = scene.job(3)

    settled = scene.settle(*(answered_claim(one) for one in mine))

    assert scene.states(new) == [PENDING] * 3
    assert [scene.result(one) for one in ids(new)] == [None] * 3
    assert settled.ownerless == frozenset(one.entry_id for one in mine)


def test_every_claim_and_every_renewal_names_its_entry(scene: Scene):
    scene.job(3)
    claims = scene.claim(3).claims
    by_request = {row.request_id: row.id for row in scene.entries()}
    assert {one.request_id: one.entry_id for one in claims} == by_request
    (first, *others) = claims
    scene.settle(failed(first.request_id, RUNNING))
    (renewed,) = queue.renew(scene.connection, scene.holder, [first], NOON)
    assert renewed is not None
    assert renewed.entry_id == max(row.id for row in scene.entries())
    scene.settle(
        answered(first.request_id), *(answered(one.request_id) for one in others)
    )


def test_an_outcome_without_an_entry_changes_nothing(scene: Scene):
    scene.job(1)
    (claim,) = scene.claim().claims
    one = claim.request_id
    before = scene.request(one), scene.entries()
    for outcome in (answered(one), failed(one), unsent(one), idle(one)):
        settled = scene.settle(replace(outcome, entry_id=claim.entry_id + 99))
        assert settled.ownerless == {claim.entry_id + 99}
    assert (scene.request(one), scene.entries()) == before
    scene.settle(idle(one))
    scene.settle(unsent(one))


def test_an_outcome_that_names_another_request_s_call_changes_nothing(scene: Scene):
    scene.job(2)
    first, second = scene.claim(2).claims
    scene.settle(replace(answered(first.request_id), entry_id=second.entry_id))
    assert scene.state(first.request_id) is RUNNING
    assert scene.state(second.request_id) is RUNNING
    scene.settle(answered_claim(first), answered_claim(second))


def test_an_outcome_that_is_recorded_twice_undoes_nothing(scene: Scene):
    """The reply to the commit was lost, and the user asked anew in between."""
    scene.job(1)
    (claim,) = scene.claim().claims
    one = claim.request_id
    scene.settle(answered_claim(claim, "first"))
    wishes.ask_anew(scene.connection, [one])
    (again,) = scene.claim().claims
    scene.settle(answered_claim(claim, "first"))
    assert scene.state(one) is RUNNING
    scene.settle(answered_claim(again, "second"))
    result = scene.result(one)
    assert result is not None
    assert result.text == "second"


def test_a_stale_word_cannot_give_back_a_request_that_is_called_again(scene: Scene):
    """By the same runner: who holds the request is not enough to know its call by."""
    scene.job(1)
    (claim,) = scene.claim().claims
    one = claim.request_id
    scene.settle(failed(one, RUNNING))
    scene.settle(idle(one))
    (again,) = scene.claim().claims
    scene.settle(replace(idle(one), entry_id=claim.entry_id))
    scene.settle(replace(failed(one), entry_id=claim.entry_id))
    assert scene.state(one) is RUNNING
    assert scene.request(one).failures == 1
    scene.settle(answered_claim(again))


def test_the_call_of_a_deleted_job_is_paid_for_all_the_same(scene: Scene):
    """Another runner's late answer completed the request while it was under way."""
    job = scene.job(1)
    (late,) = scene.claim().claims
    scene.crash()
    other = scene.runner()
    (mine,) = scene.claim(holder=other).claims
    scene.settle(answered_claim(late))
    delete(scene, job)

    settled = scene.settle(answered_claim(mine), holder=other)

    assert settled.ownerless == {mine.entry_id}
    assert [row.state for row in scene.entries()] == [SPENT, SPENT]


def test_the_unsettled_calls_of_a_runner_are_of_requests_that_exist(scene: Scene):
    job = scene.job(1)
    (late,) = scene.claim().claims
    scene.crash()
    other = scene.runner()
    scene.claim(holder=other)
    scene.settle(answered_claim(late))
    delete(scene, job)
    found = ledger.unsettled(scene.connection, scene.account_id, other.runner_id)
    assert found == []
    # One error of the call, and no more.
    scene.crash(other)
    assert scene.connection.scalar(select(func.count()).select_from(schema.errors)) == 2


def test_a_job_with_calls_in_flight_is_not_withdrawn(scene: Scene):
    job = scene.job(3)
    mine = scene.claimed(2)
    assert submitting.withdraw(scene.connection, job.id) == 2
    assert scene.again(job.id).id == job.id
    scene.settle(*map(answered, mine))
    assert submitting.withdraw(scene.connection, job.id) == 0
    assert scene.claimed() == []


def test_an_answer_to_a_job_that_is_being_deleted_has_no_owner(scene: Scene):
    job = scene.job(1)
    (claim,) = scene.claim().claims
    scene.crash()
    assert submitting.withdraw(scene.connection, job.id) == 0
    settled = scene.settle(answered_claim(claim))
    assert settled.ownerless == {claim.entry_id}
    assert scene.state(claim.request_id) is PENDING
    assert scene.result(claim.request_id) is None


def test_a_runner_that_was_replaced_settles_only_its_own_call(scene: Scene):
    scene.job(1)
    (late,) = scene.claim().claims
    scene.crash()
    other = scene.runner()
    (mine,) = scene.claim(holder=other).claims
    scene.settle(answered_claim(late))
    assert [row.state for row in scene.entries()] == [SPENT, EntryState.RESERVED]
    scene.settle(replace(unsent(mine.request_id), entry_id=mine.entry_id), holder=other)
    assert [row.state for row in scene.entries()] == [SPENT, RELEASED]
    assert scene.state(mine.request_id) is COMPLETED
    assert not runners.has_ended(scene.connection, other.runner_id)
    assert FAILED not in scene.states(scene.owner(mine.request_id))
