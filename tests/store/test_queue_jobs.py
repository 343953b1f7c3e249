"""A job comes whole and goes whole; its number and its credits are not forgotten."""

from __future__ import annotations

import pytest
from books import agreeing
from scene import Scene, answered, daily, failed, unsent

from batch.store import appending, jobs, submitting

_the_books_agree_at_the_end = pytest.fixture(autouse=True)(agreeing)


def test_a_deleted_job_leaves_its_credits_in_the_ledger(scene: Scene):
    job = scene.job(3)
    scene.settle(*map(answered, scene.claimed(3)))
    while not submitting.discard(scene.connection, job.id, 2):
        pass
    assert jobs.listed(scene.connection) == []
    assert scene.used() == 3
    # Nor does a window that opens anew forget them.
    assert scene.used(quota=daily(5, name="renamed")) == 3


def test_a_late_failure_for_a_deleted_job_hurts_nobody(scene: Scene):
    job = scene.job(1)
    (one,) = scene.claimed()
    while not submitting.discard(scene.connection, job.id, 10):
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


def test_what_a_submission_left_behind_is_removed_only_while_it_is_its_own(
    scene: Scene,
):
    job = scene.job(3)
    # It was published since it was looked at.
    assert submitting.discard(scene.connection, job.id, 2, "submission-1")
    assert [one.id for one in jobs.listed(scene.connection)] == [job.id]
    assert len(scene.claimed(3)) == 3
    # Others removed it.
    assert submitting.discard(scene.connection, job.id + 1, 2, "submission-1")


def test_the_number_of_a_job_that_was_there_is_never_given_again(scene: Scene):
    job = scene.job(1)
    submitting.withdraw(scene.connection, job.id)
    while not submitting.discard(scene.connection, job.id, 10):
        pass
    assert scene.job(1).id > job.id


@pytest.mark.parametrize("earlier", [0, 2])
def test_a_job_that_nobody_ever_saw_leaves_no_gap_in_the_numbers(scene, earlier):
    for _ in range(earlier):
        scene.job(1)
    gone = scene.job(1)
    scene.connection.exec_driver_sql(
        f"UPDATE jobs SET submission = 'submission-1' WHERE id = {gone.id}"
    )
    while not submitting.discard(scene.connection, gone.id, 100):
        pass
    assert scene.job(1).id == gone.id == earlier + 1


@pytest.mark.parametrize("most", [1, 9])
def test_an_appended_row_of_a_name_that_the_job_has_is_left_out(scene: Scene, most):
    """As two appends may have left it. Those that shared its answer are asked."""
    job = scene.job(2)
    into = scene.job(5, same_as={1: 0, 3: 0, 4: 2})
    scene.connection.exec_driver_sql(
        f"UPDATE jobs SET submission = 'into:{job.id}' WHERE id = {into.id}"
    )
    scene.connection.exec_driver_sql(
        "UPDATE jobs SET total = 7, duplicates = 3, "
        f"last_id = {into.last_id} WHERE id = {job.id}"
    )
    left_out = 0
    while step := appending.bring_in(scene.connection, into.id, most):
        assert step.job_id == job.id
        left_out += step.left_out
    assert left_out == 2
    assert jobs.unfinished(scene.connection) == []
    moved = scene.again(job.id)
    assert (moved.total, moved.duplicates) == (5, 1)
    first = into.first_id
    asked = [job.first_id, job.first_id + 1, first + 2, first + 3]
    assert sorted(scene.claimed(5)) == asked
    assert scene.request(first + 4).same_as == first + 2
