"""The outcomes that the ledger remembers of an account."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from scene import NOON, PENDING, SECOND, Scene, answered, failed, plans, unsent

from batch.core.model import Failure
from batch.store import history

REFUSED = Failure(code="endpoint_error", message="refused", sent=True)


def refused(request_id: int) -> Any:
    return failed(request_id, PENDING, code="endpoint_error")


def test_a_request_was_refused_alone_where_others_were_answered_since(scene: Scene):
    scene.job(3)
    one, two, three = scene.claimed(3)
    account = scene.account_id
    assert history.newest_answer(scene.connection, account) is None

    def alone() -> set[int]:
        wanted = {one, two, three}
        return history.refused_alone(scene.connection, account, wanted, REFUSED)

    scene.settle(refused(one))
    assert alone() == set()
    # Its call began before.
    scene.settle(answered(two), now=NOON + SECOND)
    scene.settle(refused(three), now=NOON + 2 * SECOND)
    assert alone() == {one}


def test_the_newest_answer_is_found_without_sorting_the_ledger(scene: Scene):
    if scene.connection.dialect.name != "sqlite":
        pytest.skip("PostgreSQL's planner chooses by the size of the table")
    with plans(scene.connection) as found:
        history.newest_answer(scene.connection, scene.account_id)
    (plan,) = found
    assert "ix_entries_account_id_settled_at" in plan
    assert "TEMP B-TREE" not in plan


def test_a_request_is_known_to_fail_once_the_model_answered_others(scene: Scene):
    scene.job(5)
    one, two, three, four, _ = scene.claimed(5)
    runner_id = scene.holder.runner_id

    def known(
        runner_id: int = runner_id, model: str = "qwen2.5:7b", most: int = 10
    ) -> set[int]:
        past = history.Past(scene.account_id, model, runner_id, most, NOON)
        return history.known_to_fail(scene.connection, past, [one, two, three, four])

    scene.settle(failed(one, PENDING), now=NOON + SECOND)
    # Nothing was answered: it may be the service.
    assert known() == set()
    scene.settle(answered(two), now=NOON + 2 * SECOND)
    scene.settle(failed(three, PENDING), now=NOON + 3 * SECOND)
    too_fast = failed(four, PENDING)
    too_fast = replace(too_fast, failure=replace(too_fast.failure, status=429))
    scene.settle(too_fast, now=NOON + 4 * SECOND)
    assert known() == {one}
    # Looked at from a later run, also what failed after the last answer.
    assert known(runner_id + 1) == {one, three}
    # Not where that run was stopped by failures, of which this was one.
    assert known(runner_id + 1, most=1) == {one}
    assert known(model="another") == set()


def test_a_request_that_fails_alone_for_a_day_is_known_to_fail(scene: Scene):
    scene.job(2, max_attempts=1)
    seldom, often = scene.claimed(2)

    def known(now: datetime) -> set[int]:
        past = history.Past(scene.account_id, "qwen2.5:7b", 0, 10, now)
        return history.known_to_fail(scene.connection, past, [seldom, often])

    scene.settle(failed(seldom, PENDING, counts=False), now=NOON)
    scene.settle(failed(often, PENDING, counts=False), now=NOON)
    for _ in range(2):
        # The one that was claimed first comes first again.
        again = scene.claimed(2)
        scene.settle(failed(often, PENDING, counts=False), now=NOON + SECOND)
        assert often in again
        scene.settle(unsent(seldom), now=NOON + SECOND)
    assert known(NOON + timedelta(hours=23)) == set()
    assert known(NOON + timedelta(days=1)) == {often}
