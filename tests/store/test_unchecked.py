"""Answers that are recorded before they are checked, and the verdicts on them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from books import agreeing
from scene import COMPLETED, NOON, PENDING, RUNNING, SPENT, Scene, answered

from batch.core.model import (
    INVALID_CODE,
    UNCHECKED,
    Claim,
    Completion,
    Failure,
    Settlement,
)
from batch.core.price import Cost
from batch.store import queue

_the_books_agree_at_the_end = pytest.fixture(autouse=True)(agreeing)

COST = Cost(1, 1, 7)


def unchecked(claim: Claim) -> Settlement:
    """The outcome of a call whose answer is yet to be checked."""
    done = Completion(
        text="an answer", finish_reason="stop", valid=False, invalid=UNCHECKED
    )
    return Settlement(
        entry_id=claim.entry_id,
        request_id=claim.request_id,
        state=RUNNING,
        credit=SPENT,
        completion=done,
        cost=COST,
    )


def verdict(claim: Claim, reason: str | None) -> Settlement:
    one = replace(answered(claim.request_id), entry_id=claim.entry_id, cost=COST)
    assert one.completion is not None
    done = replace(one.completion, valid=reason is None, invalid=reason)
    return replace(one, completion=done, is_verdict=True)


def refused(claim: Claim) -> Settlement:
    """The verdict on an answer that is not valid, and is asked for again."""
    return replace(
        verdict(claim, "not JSON"),
        state=RUNNING,
        failure=Failure(code=INVALID_CODE, message="not JSON", sent=True),
        verdict="retry",
        counts=True,
    )


def claimed(scene: Scene) -> Claim:
    scene.job(1)
    (claim,) = scene.claim().claims
    return claim


@pytest.mark.parametrize("reason", [None, "not JSON"])
def test_an_answer_is_on_disk_while_it_is_checked_and_paid_for_once(scene, reason):
    claim = claimed(scene)
    scene.settle(unchecked(claim))
    result = scene.result(claim.request_id)
    assert (result.text, result.valid) == ("an answer", False)
    assert scene.state(claim.request_id) is RUNNING
    (before,) = scene.entries()
    assert before.state == SPENT

    scene.settle(verdict(claim, reason), now=NOON)

    assert scene.state(claim.request_id) is COMPLETED
    result = scene.result(claim.request_id)
    assert (result.valid, result.invalid) == (reason is None, reason)
    assert scene.entries() == [before]


def test_an_answer_that_is_not_valid_counts_against_its_request_once(scene: Scene):
    claim = claimed(scene)
    scene.settle(unchecked(claim))
    scene.settle(refused(claim))
    assert scene.request(claim.request_id).failures == 1
    assert scene.errors(claim.request_id) == [INVALID_CODE]
    (again,) = queue.renew(scene.connection, scene.holder, [claim], NOON)
    assert again is not None
    scene.settle(unchecked(again))
    scene.settle(verdict(again, None))
    assert scene.state(claim.request_id) is COMPLETED
    assert len(scene.entries()) == 2


def test_a_verdict_whose_answer_was_not_recorded_records_it(scene: Scene):
    claim = claimed(scene)
    scene.settle(verdict(claim, None))
    assert scene.state(claim.request_id) is COMPLETED
    assert [one.state for one in scene.entries()] == [SPENT]


def test_an_unchecked_answer_that_comes_again_undoes_no_verdict(scene: Scene):
    """The reply to its commit was lost."""
    claim = claimed(scene)
    scene.settle(unchecked(claim))
    scene.settle(unchecked(claim))
    scene.settle(verdict(claim, None))
    scene.settle(unchecked(claim))
    scene.settle(verdict(claim, "not JSON"))
    result = scene.result(claim.request_id)
    assert (result.valid, result.provisional) == (True, False)
    assert scene.state(claim.request_id) is COMPLETED
    assert len(scene.entries()) == 1


def test_the_unchecked_answer_of_a_dead_run_is_kept_and_not_asked_for_again(
    scene: Scene,
):
    first = claimed(scene)
    scene.job(1)
    (second,) = scene.claim().claims
    scene.settle(unchecked(first))

    (orphan,) = scene.crash()

    assert orphan.request_id == second.request_id
    assert scene.state(second.request_id) is PENDING
    assert scene.state(first.request_id) is COMPLETED
    result = scene.result(first.request_id)
    assert (result.provisional, result.invalid) == (False, UNCHECKED)
