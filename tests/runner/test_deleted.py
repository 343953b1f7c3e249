"""A job that is deleted while its calls are in flight takes their answers with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from world import a_world

from batch.core.expected import Expected
from batch.errors import UsageError
from batch.runner.queries import RunQueries
from batch.service import upkeep
from batch.store import submitting
from batch.store.schema import jobs


async def test_a_job_with_calls_in_flight_is_not_deleted(tmp_path: Path):
    async with a_world(tmp_path) as world:
        world.submit(3)

        def delete() -> None:
            with pytest.raises(UsageError, match="calls in flight"):
                upkeep.delete(world.service, "1")

        world.on_call[2] = delete
        await world.run(concurrency=1)
        world.check()
        assert world.statuses() == {"completed": 3}


async def test_no_answer_is_stored_in_a_job_that_was_submitted_after_a_deletion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Even where the deletion went by, as for a runner that was taken for dead."""

    def hide(connection: Any, job_id: int) -> int:
        hidden = update(jobs).where(jobs.c.id == job_id)
        connection.execute(hidden.values(submission=submitting.WITHDRAWN))
        return 0

    monkeypatch.setattr(submitting, "withdraw", hide)
    async with a_world(tmp_path) as world:
        old = world.submit(["old 1", "old 2", "old 3"])

        def replace() -> None:
            upkeep.delete(world.service, str(old.id))
            world.submit(["new 1", "new 2", "new 3"])

        world.on_call[1] = replace
        outcome = await world.run(narrowed=False, concurrency=3)
        assert outcome.exit_code == 0
        new = world.service.job("2")
        assert world.statuses(new) == {"completed": 3}
        for line in world.export(new):
            assert line["completion"].endswith(line["custom_id"])
        told = [note for note in world.notes if "was dropped" in note]
        assert told
        assert "the job was deleted" in told[0]
        assert "reserved" not in world.entries()
        assert world.entries()["spent"] == len(world.calls)


async def test_a_job_that_is_deleted_between_two_calls_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    invalid_only = RunQueries.invalid_only
    async with a_world(tmp_path) as world:
        world.submit(3, expected=Expected(schema='{"type": "object"}'))
        other = world.submit(["p4", "p5"])
        judged = []

        async def deleted(queries: RunQueries, job_id: int, most: int) -> object:
            # While a call of the job is in flight no command deletes it.
            judged.append(job_id)
            return await invalid_only(queries, job_id + 1000, most)

        monkeypatch.setattr(RunQueries, "invalid_only", deleted)
        outcome = await world.run(concurrency=1)
        assert judged
        # Its answers are still there, and invalid.
        assert outcome.exit_code == 1
        assert world.statuses(other) == {"completed": 2}
