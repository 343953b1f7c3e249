from __future__ import annotations

import pytest
from books import agreeing
from scene import (
    COMPLETED,
    FAILED,
    HOUR,
    MIDNIGHT,
    MINUTE,
    NOON,
    PENDING,
    RUNNING,
    SECOND,
    SPENT,
    Scene,
    answered,
    daily,
    failed,
    unsent,
)

from batch.core.model import EntryState
from batch.store import runners, submitting, wishes
from batch.store.answers import IN_DOUBT
from batch.store.counting import LONGEST_CALL
from batch.store.runners import MOST_DOUBTS, Orphan

_the_books_agree_at_the_end = pytest.fixture(autouse=True)(agreeing)


def test_a_runner_is_live_until_it_says_that_it_ended(scene: Scene):
    other = scene.runner()
    mine, theirs = runners.live(scene.connection)
    assert (mine.id, theirs.id) == (scene.holder.runner_id, other.runner_id)
    assert (mine.host, mine.pid, mine.lock) == ("here", 4711, "runner-0")
    runners.end(scene.connection, other.runner_id, NOON + SECOND)
    assert [row.id for row in runners.live(scene.connection)] == [mine.id]


def test_a_heartbeat_is_written_down(scene: Scene):
    runners.beat(scene.connection, scene.holder.runner_id, NOON + MINUTE)
    (row,) = runners.live(scene.connection)
    assert (row.started_at, row.heartbeat_at) == (NOON, NOON + MINUTE)


def test_a_runner_s_number_is_never_given_twice(scene: Scene):
    """Else the entries of one that died would be another's."""
    last = scene.runner().runner_id
    scene.connection.exec_driver_sql(f"DELETE FROM runners WHERE id = {last}")
    assert scene.runner().runner_id > last


def test_what_a_process_did_are_its_calls_and_its_answers(scene: Scene):
    """Four calls: an answer, a failure, one that was never sent, one in flight."""
    scene.job(4)
    first, second, third, _ = scene.claimed(4)
    scene.settle(answered(first), failed(second), unsent(third))

    did = runners.did(scene.connection, "here", 4711, 0)

    assert did == {"espai": (3, 1)}
    newest = runners.newest(scene.connection)
    assert newest == scene.holder.runner_id
    # What came before, or is another's, is left out.
    assert runners.did(scene.connection, "here", 4711, newest) == {}
    assert runners.did(scene.connection, "there", 4711, 0) == {}
    assert runners.did(scene.connection, "here", 4712, 0) == {}
    # That it died, and was taken over from, changes nothing in that.
    scene.crash()
    assert runners.did(scene.connection, "here", 4711, 0) == {"espai": (3, 1)}


def test_calls_in_flight_at_a_crash_are_spent_in_doubt_and_asked_again(scene: Scene):
    job = scene.job(3)
    ids = scene.claimed(2)
    orphans = scene.crash(now=NOON + MINUTE)
    assert orphans == [
        Orphan(request_id=one, job_id=job.id, custom_id=f"row-{place}", state=PENDING)
        for place, one in enumerate(ids, 1)
    ]
    assert scene.states(job) == [PENDING] * 3
    assert {row.state for row in scene.entries()} == {SPENT}
    assert {row.settled_at for row in scene.entries()} == {NOON + MINUTE}
    assert [scene.errors(one) for one in ids] == [[IN_DOUBT], [IN_DOUBT]]
    # It is seldom the fault of what was being asked.
    assert [scene.request(one).failures for one in ids] == [0, 0]
    assert scene.used() == 2
    assert scene.again(job.id).credits == 2
    assert runners.live(scene.connection) == []
    # Those that were not tried yet go first.
    assert scene.claimed(3, holder=scene.runner()) == [ids[-1] + 1, *ids]


def test_calls_in_flight_at_a_crash_may_be_held(scene: Scene):
    job = scene.job(1)
    (one,) = scene.claimed()
    (orphan,) = scene.crash(hold=True)
    assert orphan.state is FAILED
    assert scene.state(one) is FAILED
    result = scene.result(one)
    assert result is not None
    assert result.error_code == IN_DOUBT
    assert scene.claimed() == []
    # Until the user has them asked again.
    assert wishes.retry(scene.connection, job, codes=[IN_DOUBT]) == 1
    assert scene.claimed() == [one]


def crash_in_flight(scene: Scene) -> Orphan:
    """A run takes up the one request, and dies of it."""
    holder = scene.runner(quotas=[daily(100)])
    assert len(scene.claimed(holder=holder)) == 1
    (orphan,) = scene.crash(holder)
    return orphan


def test_a_request_that_kills_its_runner_fails_at_last(scene: Scene):
    job = scene.job(1, max_attempts=2)
    orphans = [crash_in_flight(scene) for _ in range(MOST_DOUBTS)]
    assert [one.state for one in orphans] == [PENDING] * (MOST_DOUBTS - 1) + [FAILED]
    assert scene.errors(job.first_id) == [IN_DOUBT] * MOST_DOUBTS
    assert scene.claimed() == []
    result = scene.result(job.first_id)
    assert result is not None
    assert result.error_code == IN_DOUBT


def test_crashes_do_not_use_up_the_attempts(scene: Scene):
    scene.job(1, max_attempts=1)
    crash_in_flight(scene)
    crash_in_flight(scene)
    (claim,) = scene.claim().claims
    assert claim.failures == 0


def test_a_retry_gives_it_as_many_crashes_again(scene: Scene):
    job = scene.job(1)
    for _ in range(MOST_DOUBTS):
        crash_in_flight(scene)
    wishes.retry(scene.connection, job)
    assert crash_in_flight(scene).state is PENDING


def test_a_request_with_no_call_in_flight_simply_goes_back(scene: Scene):
    """Its runner died between two attempts."""
    scene.job(1, max_attempts=2)
    (one,) = scene.claimed()
    scene.settle(failed(one, RUNNING))
    assert scene.crash(hold=True) == []
    assert scene.state(one) is PENDING
    assert scene.request(one).failures == 1
    assert scene.errors(one) == ["http_500"]


def test_what_was_settled_before_the_crash_stays_so(scene: Scene):
    job = scene.job(5)
    first, second, third, fourth, fifth = scene.claimed(5)
    scene.settle(
        answered(first), failed(second), failed(third, PENDING), unsent(fourth)
    )
    (orphan,) = scene.crash()
    assert orphan.request_id == fifth
    assert scene.states(job) == [COMPLETED, FAILED, PENDING, PENDING, PENDING]
    assert scene.used() == 4


def test_another_runner_s_requests_are_left_alone(scene: Scene):
    scene.job(4)
    other = scene.runner()
    mine, theirs = scene.claimed(2), scene.claimed(2, holder=other)
    assert [one.request_id for one in scene.crash()] == mine
    assert {scene.state(one) for one in theirs} == {RUNNING}
    assert [row.id for row in runners.live(scene.connection)] == [other.runner_id]


def test_a_runner_is_taken_over_once(scene: Scene):
    scene.job(1)
    (one,) = scene.claimed()
    assert len(scene.crash()) == 1
    other = scene.runner()
    assert scene.claimed(holder=other) == [one]
    assert scene.crash() == []
    assert scene.state(one) is RUNNING
    assert scene.errors(one) == [IN_DOUBT]


def test_a_call_found_days_later_ended_as_late_as_any_call_can(scene: Scene):
    """Else it would count in the window in which it is found."""
    scene.job(9)
    scene.claimed(3, NOON)
    days_later = MIDNIGHT + 50 * HOUR
    scene.crash(now=days_later)
    assert {row.settled_at for row in scene.entries()} == {NOON + LONGEST_CALL}
    assert len(scene.claimed_in_turn(9, days_later, holder=scene.runner())) == 5


def test_a_deleted_job_leaves_a_dead_runner_s_credits_to_be_settled(scene: Scene):
    job = scene.job(1)
    scene.claimed()
    submitting.withdraw(scene.connection, job.id)
    while not submitting.discard(scene.connection, job.id, 10):
        pass
    assert scene.crash() == []
    assert [row.state for row in scene.entries()] == [SPENT]
    assert scene.used() == 1


def test_a_crash_settles_nothing_that_is_no_longer_its_own(scene: Scene):
    scene.job(1)
    (one,) = scene.claimed()
    scene.crash()
    other = scene.runner()
    scene.claimed(holder=other)
    scene.crash()
    assert [row.state for row in scene.entries(one)] == [SPENT, EntryState.RESERVED]
