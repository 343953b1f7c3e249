"""The figures of a run and of its jobs: they agree, whatever became of each request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from test_progress import Moody, down, states
from world import a_world

from batch.core.expected import Expected, OnInvalid
from batch.service.runs import Outcome

AGAIN = Expected(schema='{"type": "object"}', on_invalid=OnInvalid.RETRY)


class Prosaic(Moody):
    """Answers one prompt with an object, and the others with prose each second time."""

    def _receive(self, body: Any, key: object) -> tuple[str, str]:
        prompt = str(body["message"][-1]["content"])
        before = sum(call.prompt == prompt for call in self.calls)
        self.bad = frozenset() if prompt == "p1" or before % 2 else frozenset([prompt])
        return super()._receive(body, key)


def object_or_prose(body: Mapping[str, Any]) -> str:
    return "{}" if body["message"][-1]["content"] == "p1" else "prose"


def figures(outcome: Outcome) -> tuple[int, int, int]:
    """Return the run's answers, those not valid and failures, which the job's are."""
    (run,) = outcome.progress.values()
    ((_, counts),) = outcome.jobs
    mine = run.completed, run.invalid, run.failed
    assert mine == (counts.completed, counts.invalid, counts.failed)
    return mine


async def test_a_request_that_falls_back_to_an_answer_counts_as_answered(tmp_path):
    async with a_world(tmp_path, kind=Prosaic, answer=object_or_prose) as world:
        world.submit(4, expected=AGAIN)
        outcome = await world.run(concurrency=1)
        assert len(world.calls) == 10
        assert figures(outcome) == (4, 3, 0)


async def test_it_counts_no_more_once_the_failure_is_taken_for_the_service_s(tmp_path):
    async with a_world(tmp_path, kind=Moody, answer=object_or_prose) as world:
        world.submit(12, expected=AGAIN, max_attempts=2)
        down(world, range(3, 100))
        outcome = await world.run(concurrency=1)
        assert outcome.exit_code == 69
        assert states(world) == {"completed": 1, "pending": 11}
        assert figures(outcome) == (1, 0, 0)
