from __future__ import annotations

from scene import (
    COMPLETED,
    NOON,
    PENDING,
    SECOND,
    SPENT,
    Scene,
    answered,
    failed,
)

from batch.core.model import Counts, Job
from batch.store import jobs, reports, states, wishes
from batch.store.answers import IN_DOUBT


def test_counts_say_where_requests_stand(scene: Scene, half_done):
    assert states.counts(scene.connection, half_done) == Counts(
        7, pending=1, running=1, completed=2, failed=3
    )


def calls(scene: Scene, job: Job) -> int:
    counts = states.counts(scene.connection, job)
    asks = states.to_ask(scene.connection, job, counts)
    assert states.has_left(scene.connection, job) == bool(asks)
    return asks


def test_what_is_left_to_ask_counts_no_request_twice(scene: Scene):
    job = scene.job(5, same_as={1: 0, 2: 0})
    assert calls(scene, job) == 3
    scene.claimed()
    assert calls(scene, job) == 3
    scene.settle(answered(job.first_id))
    assert calls(scene, job) == 2


def test_failures_are_told_by_their_cause_the_commonest_first(scene: Scene, half_done):
    assert states.failures(scene.connection, half_done) == [
        ("cut", "no luck", 2),
        ("empty", "no luck", 1),
    ]


def test_failures_of_another_job_are_not_among_them(scene: Scene, half_done):
    other = scene.job(1)
    assert states.failures(scene.connection, other) == []


def test_one_request_is_found_by_its_name(scene: Scene, half_done):
    row = reports.request(scene.connection, half_done, "row-2")
    assert row is not None
    assert (row.state, row.text, row.same_as) == (COMPLETED, "yes", half_done.first_id)
    assert reports.custom_id(scene.connection, row.same_as) == "row-1"
    assert reports.request(scene.connection, half_done, "row-8") is None
    assert reports.request(scene.connection, scene.job(1), "row-2") is None


def test_every_attempt_is_told_with_its_credit_and_its_cause(scene: Scene):
    scene.job(1)
    (one,) = scene.claimed()
    scene.settle(failed(one, PENDING, code="cut"), now=NOON + SECOND)
    scene.claimed()
    scene.crash()
    other = scene.runner()
    scene.claimed(holder=other)
    scene.settle(answered(one), holder=other)
    rows = reports.attempts(scene.connection, one)
    assert [row.code for row in rows] == ["cut", IN_DOUBT, None]
    assert [row.verdict for row in rows] == ["retry", IN_DOUBT, None]
    assert [row.partial for row in rows] == ["half", None, None]
    assert {row.state for row in rows} == {SPENT}
    assert {(row.host, row.pid) for row in rows} == {("here", 4711)}


def test_what_a_job_is_asked_with_may_change(scene: Scene):
    job = scene.job(1)
    wishes.change(
        scene.connection, job.id, model="openchat", params={"n": 1}, max_attempts=9
    )
    changed = scene.again(job.id)
    assert (changed.model, changed.params, changed.max_attempts) == (
        "openchat",
        {"n": 1},
        9,
    )
    wishes.change(scene.connection, job.id, model=None, params=None, max_attempts=None)
    assert scene.again(job.id) == changed


def test_jobs_are_listed_by_provider_and_by_what_is_asked_for(scene: Scene):
    one, two = scene.job(1), scene.job(1)
    connection = scene.connection
    wishes.pause(connection, two.id, NOON)

    def ids(**which) -> list[int]:
        return [job.id for job in jobs.listed(connection, **which)]

    assert ids() == ids(provider="espai") == [one.id, two.id]
    assert ids(provider="other") == ids(ids=[]) == []
    assert ids(active=True) == [one.id]
    assert ids(ids=[two.id, 99]) == [two.id]
    assert scene.again(two.id).paused_at == NOON
