from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from scene import (
    CANCELLED,
    COMPLETED,
    FAILED,
    GUARD,
    MIDNIGHT,
    NOON,
    PENDING,
    RELEASED,
    RUNNING,
    SECOND,
    SPENT,
    Scene,
    answered,
    by_minute,
    daily,
    failed,
    idle,
    unsent,
)

from batch.core.model import EntryState
from batch.store import jobs, outcomes, queue, wishes


@pytest.fixture(autouse=True)
def _the_books_agree_at_the_end(scene: Scene):
    yield
    scene.check()


# Claiming


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


# Settling


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
    assert scene.claimed(2) == [one, one + 1]
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
    assert renewed == replace(claim, reserved_at=later)
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
    assert granted == [claims[0], None, None, None]
    assert scene.used() == 5
    scene.check()


def test_a_renewal_keeps_what_is_to_be_left_alone(scene: Scene):
    scene.job(1)
    careful = scene.runner(keep=4)
    claims = scene.claim(holder=careful).claims
    scene.settle(failed(claims[0].request_id, RUNNING), holder=careful)
    assert queue.renew(scene.connection, careful, claims, NOON) == [None]


# Late, twice, and by the wrong hands


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


# Twins: identical requests that share one answer


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
    scene.claimed()
    scene.settle(answered(twins.first_id))
    assert scene.states(twins) == [COMPLETED, COMPLETED, COMPLETED, PENDING]


def test_twins_are_put_back_with_their_leader(scene: Scene, twins):
    scene.claimed()
    scene.settle(failed(twins.first_id))
    outcomes.put_back(scene.connection, [twins.first_id])
    assert scene.states(twins) == [PENDING] * 4


def test_twins_are_cancelled_and_reopened_with_their_leader(scene: Scene, twins):
    assert wishes.cancel(scene.connection, twins.id) == 4
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


# What the user does


def test_cancelling_takes_back_what_waits_and_no_more(scene: Scene):
    job = scene.job(3)
    (one,) = scene.claimed()
    assert wishes.cancel(scene.connection, job.id) == 2
    assert scene.states(job) == [RUNNING, CANCELLED, CANCELLED]
    scene.settle(answered(one))
    assert scene.states(job) == [COMPLETED, CANCELLED, CANCELLED]
    assert scene.claimed() == []


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
    assert wishes.cancel(scene.connection, job.id) == 0
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


def test_a_deleted_job_leaves_its_credits_in_the_ledger(scene: Scene):
    job = scene.job(3)
    scene.settle(*map(answered, scene.claimed(3)))
    while not jobs.discard(scene.connection, job.id, 2):
        pass
    assert jobs.listed(scene.connection) == []
    assert scene.used() == 3
    # Nor does a window that opens anew forget them.
    assert scene.used(quota=daily(5, name="renamed")) == 3


def test_a_late_failure_for_a_deleted_job_hurts_nobody(scene: Scene):
    job = scene.job(1)
    (one,) = scene.claimed()
    while not jobs.discard(scene.connection, job.id, 10):
        pass
    scene.settle(failed(one))
    scene.settle(unsent(one))
    assert scene.used() == 1


def test_a_job_is_seen_by_nobody_until_it_is_whole(scene: Scene):
    scene.job(1)
    scene.connection.exec_driver_sql("UPDATE jobs SET submission = 'submission-1'")
    assert jobs.listed(scene.connection) == []
    assert [name for _, name in jobs.unfinished(scene.connection)] == ["submission-1"]
    assert scene.claimed() == []


def test_the_number_of_a_job_that_was_there_is_never_given_again(scene: Scene):
    job = scene.job(1)
    jobs.withdraw(scene.connection, job.id)
    while not jobs.discard(scene.connection, job.id, 10):
        pass
    assert scene.job(1).id > job.id


def test_the_time_of_a_claim_is_told_to_the_millisecond(scene: Scene):
    scene.job(1)
    odd = NOON + timedelta(microseconds=1499)
    scene.claimed(now=odd)
    assert scene.entries()[0].reserved_at == NOON + timedelta(milliseconds=1)


@pytest.mark.parametrize("earlier", [0, 2])
def test_a_job_that_nobody_ever_saw_leaves_no_gap_in_the_numbers(scene, earlier):
    for _ in range(earlier):
        scene.job(1)
    gone = scene.job(1)
    scene.connection.exec_driver_sql(
        f"UPDATE jobs SET submission = 'submission-1' WHERE id = {gone.id}"
    )
    while not jobs.discard(scene.connection, gone.id, 100):
        pass
    assert scene.job(1).id == gone.id == earlier + 1


def test_long_answers_and_short_ones_are_stored_alike(scene):
    scene.job(4)
    ids = scene.claimed(4)
    texts = ["short", "x" * 200_000, "short too", "y" * 70_000]
    scene.settle(*(answered(one, text) for one, text in zip(ids, texts, strict=True)))
    assert [scene.result(one).text for one in ids] == texts
