"""A job with a cap of its own takes no more than that of a day."""

from __future__ import annotations

from datetime import datetime

import pytest
from dealings import every_kind, grants_first_at, some, spend
from recounting import mismatches
from scene import (
    DAY,
    GUARD,
    HOUR,
    MIDNIGHT,
    MINUTE,
    NOON,
    RUNNING,
    Scene,
    answered,
    daily,
    failed,
    unsent,
)
from till import a_job, claims, denial, holding, room, would_get

from batch.core.model import Job
from batch.core.quota import daily_cap
from batch.store import (
    accounts,
    audit,
    ledger,
    queue,
    runners,
    schema,
    submitting,
    wishes,
)
from batch.store.purse import Holder


def test_a_job_takes_no_more_of_a_day_than_its_cap(scene: Scene):
    capped, other = a_job(scene, 9, cap=2), a_job(scene, 9)
    holder = holding(scene, daily(6))
    got = claims(scene, 9, NOON, holder)
    assert [one.job_id for one in got] == [capped.id] * 2 + [other.id] * 4
    scene.settle(*(answered(one.request_id) for one in got), holder=holder)
    tomorrow = MIDNIGHT + GUARD
    # The first of a day goes alone.
    (first,) = claims(scene, 9, tomorrow, holder)
    scene.settle(answered(first.request_id), now=tomorrow, holder=holder)
    got = claims(scene, 9, tomorrow, holder)
    assert [one.job_id for one in [first, *got]] == [capped.id] * 2 + [other.id] * 4


def test_a_capped_job_waits_for_the_midnight_that_the_provider_has(scene: Scene):
    a_job(scene, 9, cap=2)
    holder = holding(scene, daily(50))
    spend(scene, holder, 2, NOON)
    at = denial(scene, NOON, holder)
    assert MIDNIGHT <= at <= MIDNIGHT + GUARD
    assert grants_first_at(scene, at, holder)
    assert room(scene, at, holder) == 2


def test_a_call_that_was_never_sent_gives_its_cap_back(scene: Scene):
    a_job(scene, 9, cap=2)
    holder = holding(scene, daily(50))
    ids = scene.claimed(9, NOON, holder=holder)
    assert len(ids) == 2
    scene.settle(*map(unsent, ids), holder=holder)
    assert len(scene.claimed(9, NOON, holder=holder)) == 2


def test_a_second_attempt_is_bound_by_the_cap_too(scene: Scene):
    a_job(scene, 9, cap=2)
    holder = holding(scene, daily(50))
    first, second = claims(scene, 9, NOON, holder)
    scene.settle(failed(first.request_id, RUNNING), holder=holder)
    assert queue.renew(scene.connection, holder, [first], NOON) == [None]
    later = MIDNIGHT + GUARD
    (again,) = queue.renew(scene.connection, holder, [first], later)
    assert again is not None
    # The other is in flight since yesterday, so it counts in both days.
    assert queue.renew(scene.connection, holder, [second], later) == [None]


def test_what_is_spent_elsewhere_is_not_of_a_jobs_cap(scene: Scene):
    a_job(scene, 9, cap=2)
    holder = holding(scene, daily(50))
    ledger.record(scene.connection, scene.account_id, holder.quotas, 9, None, NOON)
    assert room(scene, NOON, holder) == 2


@every_kind
def test_a_cap_is_of_a_day_under_every_kind(scene: Scene, kind):
    a_job(scene, 9, cap=2)
    holder = holding(scene, some(kind, 50))
    spend(scene, holder, 2, NOON)
    assert would_get(scene, 9, NOON + MINUTE, holder) == 0
    assert room(scene, NOON + DAY + HOUR, holder) == 2


def change(scene: Scene, job: Job, cap: int | None) -> Job:
    """Set a job's daily cap as `change` does, beside a run at work."""
    wishes.amend(scene.connection, job.id, {"daily_cap": cap})
    return scene.again(job.id)


@pytest.mark.parametrize("before", [None, 9])
def test_a_cap_that_is_set_while_calls_are_out_binds_their_further_attempts(
    scene: Scene, before: int | None
):
    job = a_job(scene, 9, cap=before)
    holder = holding(scene, daily(50))
    first, second = claims(scene, 2, NOON, holder)
    change(scene, job, 3)
    got = claims(scene, 9, NOON, holder)
    assert len(got) == 1
    # All three are spent.
    scene.settle(failed(first.request_id, RUNNING), holder=holder)
    assert queue.renew(scene.connection, holder, [first, second], NOON) == [None, None]


def test_a_further_attempt_counts_in_a_cap_that_was_set_since(scene: Scene):
    job = a_job(scene, 9)
    holder = holding(scene, daily(50))
    (first,) = claims(scene, 1, NOON, holder)
    change(scene, job, 3)
    (second,) = claims(scene, 1, NOON, holder)
    scene.settle(failed(first.request_id, RUNNING), holder=holder)
    (again,) = queue.renew(scene.connection, holder, [first], NOON)
    assert again is not None
    assert claims(scene, 9, NOON, holder) == []
    scene.settle(failed(second.request_id, RUNNING), holder=holder)
    assert queue.renew(scene.connection, holder, [second], NOON) == [None]


def test_a_cap_that_was_lifted_for_a_while_counts_what_was_spent_then(scene: Scene):
    job = a_job(scene, 20, cap=2)
    holder = holding(scene, daily(50))
    spend(scene, holder, 2, NOON)
    change(scene, job, None)
    spend(scene, holder, 3, NOON)
    change(scene, job, 6)
    assert room(scene, NOON, holder) == 1


def on_another_account(scene: Scene, name: str) -> Holder:
    """A runner with another key, of the same provider."""
    account_id = accounts.account(scene.connection, "espai", name)
    runner_id = runners.begin(
        scene.connection, account_id, host="here", pid=1, lock="runner-1", now=NOON
    )
    return Holder(runner_id=runner_id, account_id=account_id, quotas=(daily(50),))


def check_cap(scene: Scene, job: Job, now: datetime) -> None:
    cap = daily_cap(job.id, job.daily_cap or 0, (daily(50),))
    assert mismatches(scene.connection, scene.account_id, [cap], now) == []
    assert audit.miscounted(scene.connection, 0, [cap], now) == []


def test_a_cap_is_the_jobs_own_whichever_accounts_it_runs_on(scene: Scene):
    job = a_job(scene, 20, cap=3)
    first, second = holding(scene, daily(50)), on_another_account(scene, "second")
    assert len(claims(scene, 1, NOON, first)) == 1
    got = claims(scene, 9, NOON, second)
    assert len(got) == 2
    assert claims(scene, 9, NOON, first) == []
    check_cap(scene, job, NOON)
    # What one gives back, the other may take.
    scene.settle(unsent(got[0].request_id), holder=second)
    check_cap(scene, job, NOON)
    assert len(claims(scene, 9, NOON, first)) == 1
    assert claims(scene, 9, NOON, second) == []
    # In flight over midnight, all three count in the new day too.
    assert claims(scene, 9, MIDNIGHT + HOUR, second) == []
    check_cap(scene, job, MIDNIGHT + HOUR)
    assert denial(scene, MIDNIGHT + HOUR, first) >= MIDNIGHT + DAY


def test_a_cap_counts_what_an_earlier_version_counted_by_account(scene: Scene):
    """Its windows go with the upgrade; the entries stay."""
    job = a_job(scene, 20, cap=3)
    spend(scene, on_another_account(scene, "second"), 2, NOON)
    scene.connection.execute(schema.windows.delete())
    assert room(scene, NOON, holding(scene, daily(50))) == 1
    check_cap(scene, job, NOON)


def test_a_cap_counts_calls_in_flight_of_a_process_that_died_long_ago(scene: Scene):
    job = a_job(scene, 20, cap=3)
    dead, other = holding(scene, daily(50)), on_another_account(scene, "second")
    assert len(claims(scene, 2, MIDNIGHT - 3 * HOUR, dead)) == 2
    morning = MIDNIGHT + 8 * HOUR
    assert len(claims(scene, 1, morning, other)) == 1
    check_cap(scene, job, morning)
    scene.crash(dead, now=morning)
    check_cap(scene, job, morning)
    assert len(claims(scene, 9, morning, other)) == 2
    check_cap(scene, job, morning)


def test_a_deleted_job_leaves_no_window_of_its_cap(scene: Scene):
    job = a_job(scene, 5, cap=3)
    spend(scene, holding(scene, daily(50)), 2, NOON)
    submitting.withdraw(scene.connection, job.id)
    while not submitting.discard(scene.connection, job.id, 100):
        pass
    assert scene.windows("cap") == {}
    assert scene.used(NOON, daily(50)) == 2
