from __future__ import annotations

from collections import Counter

import pytest
from crowd import let_loose
from scene import COMPLETED, PENDING, Scene, daily

from batch.core.model import EntryState
from batch.store.engine import Database


@pytest.mark.long
def test_six_processes_on_one_queue_spend_the_limit_and_not_one_call_more(
    database: Database,
):
    """200 calls a day, 300 requests; none is held by two, and nobody is locked out."""
    limit, size = 200, 300
    with database.transaction() as connection:
        job = Scene(connection, daily(limit)).job(size)
    where = getattr(database.address, "url", database.address)
    made = [int(said) for said in let_loose("contender.py", where, limit, number=6)]
    assert sum(made) == limit
    with database.transaction() as connection:
        scene = Scene(connection, daily(limit))
        scene.check()
        entries = scene.entries()
        assert len(entries) == limit
        assert {row.state for row in entries} == {EntryState.SPENT}
        assert scene.used() == limit
        assert scene.again(job.id).credits == limit
        asked = Counter(row.request_id for row in entries)
        assert asked.most_common(1)[0][1] == 1
        # The oldest went first, each to the runner that held it.
        assert scene.states(job) == [COMPLETED] * limit + [PENDING] * (size - limit)
        for entry in entries:
            result = scene.result(entry.request_id)
            assert result is not None
            assert result.text == f"by {entry.runner_id}"
        by_runner = Counter(row.runner_id for row in entries)
        assert sorted(by_runner.values()) == sorted(filter(None, made))
        # It was a race.
        assert len(by_runner) > 1
