"""A job with a cap of its own takes no more than that of a day."""

from __future__ import annotations

import pytest
from dealings import every_kind, grants_first_at, some, spend
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
from batch.store import ledger, queue, wishes


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
