"""Pages of results: every request once, in input order."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import replace
from itertools import chain
from typing import Any

import pytest
from scene import COMPLETED, FAILED, PENDING, RUNNING, Scene, answered, failed

from batch.core.model import Job, RequestState
from batch.store import pages, states, wishes

Line = namedtuple("Line", pages.COLUMNS)  # type: ignore[misc]


def found(
    scene: Scene, job: Job, after: int = 0, size: int = 100, **more: Any
) -> list[Any]:
    lots = pages.page(scene.connection, job, after, size, **more)
    return [Line._make(row) for row in chain.from_iterable(lots)]


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_pages_bring_every_request_once_in_input_order(scene: Scene, half_done, size):
    scene.job(2)
    rows, after = [], 0
    while page := found(scene, half_done, after, size):
        assert len(page) <= size
        rows += page
        after = page[-1].id
    assert [row.custom_id for row in rows] == [f"row-{n}" for n in range(1, 8)]
    assert [row.text for row in rows] == ["yes", "yes", *[None] * 5]
    assert [row.error_code for row in rows] == [
        None,
        None,
        "cut",
        "cut",
        "empty",
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("only", "numbers"),
    [(COMPLETED, [1, 2]), (FAILED, [3, 4, 5]), (RUNNING, [6]), (PENDING, [7])],
)
def test_pages_may_hold_one_state_only(
    scene: Scene, half_done, only: RequestState, numbers
):
    rows = found(scene, half_done, only=only)
    assert [row.custom_id for row in rows] == [f"row-{n}" for n in numbers]


def test_jobs_between_each_other_keep_to_their_own(scene: Scene):
    """Two submissions at once share a stretch of ids."""
    first, second = scene.job(2), scene.job(2)
    scene.connection.exec_driver_sql(f"UPDATE jobs SET last_id = {second.last_id}")
    first = scene.again(first.id)
    ids = [row.id for row in found(scene, first)]
    assert ids == [first.first_id, first.first_id + 1]


def test_so_many_come_at_once(scene: Scene, half_done):
    lots = pages.page(scene.connection, half_done, 0, 5, at_once=2)
    assert [len(rows) for rows in lots] == [2, 2, 1]


def test_pages_may_hold_what_the_job_did_not_expect_only(scene: Scene):
    job = scene.job(3)
    first, second, _ = scene.claimed(3)
    for one, valid, invalid in ((first, True, None), (second, False, "no")):
        settlement = answered(one)
        assert settlement.completion is not None
        done = replace(settlement.completion, valid=valid, invalid=invalid)
        scene.settle(replace(settlement, completion=done))
    (row,) = found(scene, job, invalid=True)
    assert (row.custom_id, row.valid, row.invalid) == ("row-2", False, "no")
    assert states.invalid(scene.connection, job) == (1, "no")
    # One that is asked anew is pending, for every report: it is flagged no more.
    assert wishes.retry_answered(scene.connection, job, invalid=True) == 1
    assert found(scene, job, invalid=True) == []
    assert states.invalid(scene.connection, job) == (0, "")


def test_a_failure_is_told_by_the_last_of_its_attempts(scene: Scene):
    scene.job(2)
    one, other = scene.claimed(2)
    scene.settle(failed(one, PENDING, code="cut"), answered(other))
    scene.claimed()
    scene.settle(failed(one, code="empty"))
    last = pages.last_errors(scene.connection, [one, other])
    assert {request_id: row.code for request_id, row in last.items()} == {one: "empty"}
    assert pages.last_errors(scene.connection, []) == {}
