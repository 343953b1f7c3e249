"""The order in which requests are claimed, and which of them are left out."""

from __future__ import annotations

from typing import Any

import pytest
from books import agreeing
from scene import NOON, PENDING, Scene, answered, daily, failed, plans

from batch.core.model import Job
from batch.store import jobs, outcomes, queue
from batch.store.selection import Selection

_the_books_agree_at_the_end = pytest.fixture(autouse=True)(agreeing)


@pytest.fixture
def roomy(scene: Scene) -> Scene:
    """Credits enough for whatever is claimed."""
    scene.holder = scene.runner(quotas=[daily(1000)])
    return scene


def chosen(scene: Scene, slots: int, **selection: Any) -> list[int]:
    """The ids of the requests that a claim with this selection brings."""
    ready = jobs.listed(scene.connection, active=True)
    found = queue.claim(
        scene.connection, scene.holder, ready, slots, NOON, Selection(**selection)
    )
    return [one.request_id for one in found.claims]


def ask(scene: Scene, job: Job, model: str, *places: int) -> None:
    """Let the requests at these places name their model."""
    ids = ", ".join(str(job.first_id + place) for place in places)
    scene.connection.exec_driver_sql(
        f"UPDATE requests SET model = '{model}' WHERE id IN ({ids})"
    )
    listed = f'["{model}"]'
    scene.connection.exec_driver_sql(
        f"UPDATE jobs SET models = '{listed}' WHERE id = {job.id}"
    )


def test_requests_that_failed_come_after_those_that_were_not_tried(roomy: Scene):
    job = roomy.job(4)
    first, second = roomy.claimed(2)
    roomy.settle(failed(first, PENDING), failed(second, PENDING, counts=False))
    # Of those tried the one without a failure of its own comes first.
    assert roomy.claimed(4) == [job.first_id + 2, job.first_id + 3, second, first]


def test_of_failed_requests_the_one_with_the_fewest_failures_comes_first(roomy: Scene):
    job = roomy.job(2)
    for _ in range(2):
        roomy.claimed(2)
        roomy.settle(failed(job.first_id, PENDING), failed(job.first_id + 1, PENDING))
    roomy.claimed()
    roomy.settle(failed(job.first_id, PENDING))
    assert roomy.claimed(2) == [job.first_id + 1, job.first_id]


def test_failures_that_are_taken_back_leave_a_request_behind_the_others(roomy: Scene):
    job = roomy.job(3, max_attempts=1)
    first, second = roomy.claimed(2)
    roomy.settle(failed(first), failed(second, PENDING))
    outcomes.put_back(roomy.connection, [first, second])
    assert [roomy.request(one).failures for one in (first, second)] == [0, 0]
    assert roomy.claimed(3) == [job.first_id + 2, first, second]


def test_as_many_failures_are_taken_back_as_are_named(roomy: Scene):
    roomy.job(1, max_attempts=9)
    for _ in range(3):
        (one,) = roomy.claimed()
        roomy.settle(failed(one, PENDING))
    outcomes.put_back(roomy.connection, [one, one])
    assert roomy.request(one).failures == 1
    outcomes.put_back(roomy.connection, [one, one])
    assert roomy.request(one).failures == 0


def test_nothing_is_claimed_of_a_model_or_a_job_that_is_set_aside(roomy: Scene):
    job, other = roomy.job(3), roomy.job(1)
    ask(roomy, job, "other", 0)
    assert chosen(roomy, 9, models_aside=frozenset({"other"})) == [
        job.first_id + 1,
        job.first_id + 2,
        other.first_id,
    ]
    assert chosen(roomy, 9, jobs_aside=frozenset({job.id})) == []
    assert chosen(roomy, 9) == [job.first_id]


def test_what_is_set_aside_waits_for_no_credit(roomy: Scene):
    """A run must not sleep until the reset for what it would not ask then either."""
    roomy.job(1)
    roomy.holder = roomy.runner(quotas=[daily(1)])
    assert roomy.claimed() != []
    job = roomy.job(1)
    roomy.settle(answered(job.first_id - 1))
    ready = jobs.listed(roomy.connection, active=True)
    for selection, is_denied in (
        (Selection(), True),
        (Selection(models_aside=frozenset({job.model})), False),
        (Selection(jobs_aside=frozenset({job.id})), False),
    ):
        found = queue.claim(roomy.connection, roomy.holder, ready, 3, NOON, selection)
        assert found.claims == []
        assert (found.denied_until is not None) == is_denied


def test_the_first_call_of_each_model_goes_alone(roomy: Scene):
    job, other = roomy.job(5), roomy.job(2)
    ask(roomy, job, "other", 1, 2)
    assert chosen(roomy, 9, proven=frozenset()) == [job.first_id, job.first_id + 1]
    # The second job asks the first model too.
    assert chosen(roomy, 9, proven=frozenset({job.model})) == [
        job.first_id + 2,
        job.first_id + 3,
        job.first_id + 4,
        other.first_id,
        other.first_id + 1,
    ]


def test_while_calls_fail_other_models_and_jobs_come_first(roomy: Scene):
    job, other = roomy.job(4), roomy.job(1)
    ask(roomy, job, "other", 3)
    (first,) = roomy.claimed()
    roomy.settle(failed(first, PENDING))
    failing: dict[str, Any] = {
        "failing_models": frozenset({job.model}),
        "failing_jobs": {job.id: 1},
    }
    # Another model; the other job; what was not tried; and last what failed.
    assert [chosen(roomy, 1, **failing) for _ in range(5)] == [
        [job.first_id + 3],
        [other.first_id],
        [job.first_id + 1],
        [job.first_id + 2],
        [first],
    ]


def test_a_claim_reads_the_index_in_its_order(scene: Scene):
    """No sorting: a claim costs the same, however many requests wait."""
    scene.job(3)
    if scene.connection.dialect.name != "sqlite":
        pytest.skip("PostgreSQL's planner chooses by the size of the table")
    with plans(scene.connection, of="ORDER BY requests") as claims:
        chosen(scene, 1, failing_models=frozenset({"x"}), failing_jobs={1: 1})
    assert len(claims) >= 1
    for plan in claims:
        assert "USING INDEX ix_requests_pending" in plan
        assert "TEMP B-TREE" not in plan
