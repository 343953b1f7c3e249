"""The outcomes that the ledger remembers of an account."""

from __future__ import annotations

from typing import Any

import pytest
from scene import NOON, PENDING, SECOND, Scene, answered, failed, plans

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
