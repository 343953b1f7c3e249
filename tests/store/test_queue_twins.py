"""Twins, identical requests of a job, share one answer and every other fate."""

from __future__ import annotations

import pytest
from books import agreeing
from scene import COMPLETED, FAILED, PENDING, RUNNING, Scene, answered, failed

from batch.store import outcomes, wishes

_the_books_agree_at_the_end = pytest.fixture(autouse=True)(agreeing)


@pytest.fixture
def twins(scene: Scene):
    """Three requests that ask the same, and one that does not; the first leads."""
    return scene.job(4, same_as={1: 0, 2: 0})


def test_identical_requests_are_asked_once(scene: Scene, twins):
    assert scene.claimed(4) == [twins.first_id, twins.first_id + 3]
    assert scene.states(twins) == [RUNNING, PENDING, PENDING, RUNNING]


def test_twins_complete_with_their_leader(scene: Scene, twins):
    scene.claimed()
    scene.settle(answered(twins.first_id))
    assert scene.states(twins) == [COMPLETED, COMPLETED, COMPLETED, PENDING]
    assert scene.used() == 1


def test_twins_fail_with_their_leader(scene: Scene, twins):
    scene.claimed()
    scene.settle(failed(twins.first_id))
    assert scene.states(twins) == [FAILED, FAILED, FAILED, PENDING]


def test_twins_fail_with_a_leader_that_is_held_in_doubt(scene: Scene, twins):
    scene.claimed()
    scene.crash(hold=True)
    assert scene.states(twins) == [FAILED, FAILED, FAILED, PENDING]


def test_twins_are_tried_again_with_their_leader(scene: Scene, twins):
    scene.claimed()
    scene.settle(failed(twins.first_id))
    assert wishes.retry(scene.connection, twins) == 3
    assert scene.states(twins) == [PENDING] * 4
    scene.check()
    scene.claimed(2)
    scene.settle(answered(twins.first_id))
    assert scene.states(twins) == [COMPLETED, COMPLETED, COMPLETED, RUNNING]


def test_twins_are_put_back_with_their_leader(scene: Scene, twins):
    scene.claimed()
    scene.settle(failed(twins.first_id))
    outcomes.put_back(scene.connection, [twins.first_id])
    assert scene.states(twins) == [PENDING] * 4


def test_twins_are_cancelled_and_reopened_with_their_leader(scene: Scene, twins):
    assert wishes.cancel(scene.connection, twins.id) == (4, 0)
    assert scene.claimed(4) == []
    assert wishes.retry(scene.connection, twins, cancelled=True) == 4
    assert scene.claimed(4) == [twins.first_id, twins.first_id + 3]


def test_a_queue_of_twins_alone_is_dry(scene: Scene, twins):
    scene.claimed(4)
    got = scene.claim(4)
    assert got.claims == []
    assert got.denied_until is None


@pytest.mark.parametrize("settlement", [answered, failed])
def test_twins_cancelled_while_their_leader_ran_find_their_end(
    scene: Scene, twins, settlement
):
    """Cancelled alone, they were left out when it came to its end."""
    scene.claimed()
    wishes.cancel(scene.connection, twins.id)
    scene.settle(settlement(twins.first_id))
    wishes.retry(scene.connection, twins, cancelled=True)
    for one in scene.claimed(4):
        scene.settle(answered(one))
    assert PENDING not in scene.states(twins)
