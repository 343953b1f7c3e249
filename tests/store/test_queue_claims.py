"""What a claim takes: the right requests, each with a credit, and no more."""

from __future__ import annotations

from datetime import timedelta

import pytest
from books import agreeing
from scene import (
    GUARD,
    MIDNIGHT,
    NOON,
    PENDING,
    RUNNING,
    SECOND,
    Scene,
    answered,
    by_minute,
    daily,
)

from batch.core.model import EntryState
from batch.store import wishes

_the_books_agree_at_the_end = pytest.fixture(autouse=True)(agreeing)


def test_a_claim_takes_the_oldest(scene: Scene):
    job = scene.job(5)
    assert scene.claimed(2) == [job.first_id, job.first_id + 1]
    assert scene.claimed(2) == [job.first_id + 2, job.first_id + 3]
    assert scene.states(job) == [RUNNING] * 4 + [PENDING]


def test_a_claim_holds_all_that_a_call_needs(scene: Scene):
    job = scene.job(1, max_attempts=7)
    (claim,) = scene.claim().claims
    assert claim.job_id == job.id
    assert claim.custom_id == "row-1"
    assert claim.messages == [{"role": "user", "content": "hi"}]
    assert claim.model == "qwen2.5:7b"
    assert claim.params == {"temperature": 0.2}
    assert (claim.failures, claim.max_attempts) == (0, 7)
    assert claim.reserved_at == NOON


def test_what_a_request_says_of_itself_wins_over_its_job(scene: Scene):
    job = scene.job(1)
    scene.connection.exec_driver_sql(
        """UPDATE requests SET model = 'openchat', params = '{"temperature":1,"n":2}'"""
    )
    (claim,) = scene.claim(of=[job]).claims
    assert claim.model == "openchat"
    assert claim.params == {"temperature": 1, "n": 2}


def test_the_job_of_the_highest_priority_goes_first_then_the_oldest(scene: Scene):
    old, new, urgent = scene.job(1), scene.job(1), scene.job(1, priority=1)
    order = [urgent.first_id, old.first_id, new.first_id]
    assert scene.claimed(3) == order


def test_a_claim_goes_on_to_the_next_job(scene: Scene):
    first, second = scene.job(2), scene.job(2)
    got = scene.claim(3)
    assert [one.job_id for one in got.claims] == [first.id, first.id, second.id]
    assert scene.again(first.id).attempts == 2
    assert scene.again(second.id).attempts == 1


def test_only_the_jobs_asked_for_are_worked_on(scene: Scene):
    scene.job(2)
    second = scene.job(2)
    assert scene.claimed(4, of=[second]) == [second.first_id, second.first_id + 1]


def test_a_paused_job_is_left_alone_until_it_is_resumed(scene: Scene):
    job = scene.job(1)
    wishes.pause(scene.connection, job.id, NOON)
    assert scene.claimed() == []
    wishes.pause(scene.connection, job.id, None)
    assert scene.claimed() == [job.first_id]


def test_a_claim_is_never_larger_than_the_free_slots(scene: Scene):
    scene.job(5)
    assert len(scene.claimed(2)) == 2
    assert scene.claimed(0) == []
    assert scene.used() == 2


def test_a_claim_is_never_larger_than_the_room(scene: Scene):
    scene.job(9)
    got = scene.claim(8)
    assert len(got.claims) == 5
    assert [one.used for one in got.standings] == [5]
    assert got.denied_until == MIDNIGHT + GUARD
    assert scene.claim(8).claims == []
    assert scene.used() == 5


def test_kept_credits_are_not_claimed(scene: Scene):
    scene.job(9)
    careful = scene.runner(keep=2)
    assert len(scene.claimed(8, holder=careful)) == 3
    got = scene.claim(8, holder=careful)
    assert got.claims == []
    assert got.denied_until == MIDNIGHT + GUARD
    # Who keeps nothing may have them.
    assert len(scene.claimed(8)) == 2


def test_an_empty_queue_is_no_denial(scene: Scene):
    assert scene.claim(3).denied_until is None
    scene.job(2)
    # Fewer than there are slots, but not for want of credits.
    assert scene.claim(3).denied_until is None


def test_the_last_credit_for_the_last_request_is_no_denial(scene: Scene):
    scene.job(5)
    assert scene.claim(9).denied_until is None


def test_every_claim_has_a_credit_of_its_own(scene: Scene):
    job = scene.job(3)
    ids = scene.claimed(3)
    entries = scene.entries()
    assert [row.request_id for row in entries] == ids
    assert {row.state for row in entries} == {EntryState.RESERVED}
    assert {row.credits for row in entries} == {1}
    assert {row.reserved_at for row in entries} == {NOON}
    assert {row.runner_id for row in entries} == {scene.holder.runner_id}
    assert scene.again(job.id).credits == 3
    assert scene.used() == 3


def test_no_request_has_two_claimants(scene: Scene):
    scene.job(5)
    other = scene.runner()
    mine, theirs = scene.claimed(3), scene.claimed(3, holder=other)
    assert not set(mine) & set(theirs)
    assert sorted(mine + theirs) == scene_ids(scene)


def scene_ids(scene: Scene) -> list[int]:
    return sorted(row.request_id for row in scene.entries())


def test_several_quotas_must_all_grant(scene: Scene):
    both = scene.runner(quotas=[daily(5), by_minute(2)])
    scene.job(9)
    assert len(scene.claimed(4, holder=both)) == 2
    got = scene.claim(4, holder=both)
    assert got.claims == []
    # 12:01 and the two seconds by which clocks may differ.
    assert got.denied_until == NOON + 62 * SECOND
    # The day has not paid for what the minute denied.
    assert scene.used(quota=daily(5)) == 2
    scene.settle(*map(answered, scene_ids(scene)), holder=both, now=NOON + SECOND)
    assert len(scene.claimed(4, NOON + 62 * SECOND, holder=both)) == 2


def test_the_time_of_a_claim_is_told_to_the_millisecond(scene: Scene):
    scene.job(1)
    odd = NOON + timedelta(microseconds=1499)
    scene.claimed(now=odd)
    assert scene.entries()[0].reserved_at == NOON + timedelta(milliseconds=1)
