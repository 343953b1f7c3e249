"""Rows that can never be answered, dead services, bad models: what a run makes of them.

Three laws. Progress: every row that can be answered is, in few calls. Thrift: a dead
service costs few. Isolation: what cannot proceed is set aside, the others go on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest
from world import MODEL, World, a_world

from batch.core.model import Claim
from batch.runner.evidence import Evidence
from batch.standin.service import Standin
from batch.store import history

ALL = 10
AGAIN = 3


class Moody(Standin):
    """Fails for some prompts and models, and while it is down for all."""

    bad: frozenset[str] = frozenset()
    down: frozenset[int] = frozenset()
    #: The fault of bad prompts.
    fault = "http:500"

    def _receive(self, body: Any, key: object) -> tuple[str, str]:
        prompt = str(body["message"][-1]["content"])
        number = len(self.calls) + 1
        bad = prompt in self.bad or number in self.down
        self.always = self.fault if bad else ""
        return super()._receive(body, key)


def bad_rows(world: World, prompts: Iterable[str]) -> None:
    standin = world.standin
    assert isinstance(standin, Moody)
    standin.bad = frozenset(prompts)


def down(world: World, numbers: Iterable[int]) -> None:
    standin = world.standin
    assert isinstance(standin, Moody)
    standin.down = frozenset(numbers)


def states(world: World) -> Counter[str]:
    return Counter(dict(world.query("SELECT state, count(*) FROM requests GROUP BY 1")))


async def test_rows_that_can_never_be_answered_do_not_block_those_behind(tmp_path):
    async with a_world(tmp_path, kind=Moody) as world:
        world.submit(51)
        bad = {f"p{n}" for n in range(6, 12)}
        bad_rows(world, bad)
        codes = [(await world.run(concurrency=3)).exit_code for _ in range(3)]
        world.check()
        assert states(world) == {"completed": 45, "failed": 6}
        assert 1 in codes
        assert len(world.calls) <= 45 + 3 * 6 + ALL
        assert max(Counter(world.asked).values()) <= 3


@pytest.mark.long
async def test_a_long_stretch_of_them_is_passed_in_a_few_runs(tmp_path):
    async with a_world(tmp_path, kind=Moody) as world:
        world.submit(60)
        bad_rows(world, {f"p{n}" for n in range(6, 31)})
        for _ in range(12):
            await world.run(concurrency=3)
        world.check()
        assert states(world)["completed"] == 35
        good = [prompt for prompt in world.asked if prompt not in world.standin.bad]
        assert max(Counter(good).values()) == 1


@pytest.mark.parametrize("rows", [1, 2, 5, 30])
async def test_a_dead_service_takes_ten_calls_then_three_and_fails_no_row(
    tmp_path, rows
):
    async with a_world(tmp_path, kind=Moody) as world:
        world.submit(rows)
        down(world, range(1, 1000))
        before = 0
        for number in range(12):
            outcome = await world.run(concurrency=4)
            calls = len(world.calls) - before
            before = len(world.calls)
            assert outcome.exit_code == 69
            assert 1 <= calls <= (AGAIN if number else ALL)
        world.check()
        assert states(world) == {"pending": rows}
        down(world, ())
        assert (await world.run()).exit_code == 0
        assert states(world) == {"completed": rows}


async def test_one_bad_job_does_not_hold_up_the_next(tmp_path):
    async with a_world(tmp_path, kind=Moody) as world:
        world.submit([f"bad {n}" for n in range(30)], priority=1)
        world.submit([f"good {n}" for n in range(30)])
        bad_rows(world, {f"bad {n}" for n in range(30)})
        for _ in range(2):
            await world.run()
        world.check()
        assert states(world)["completed"] == 30


async def test_failures_that_are_always_taken_back_are_seen(tmp_path, monkeypatch):
    failure, failed = Evidence.failure, []

    def noting(self: Evidence, claim: Claim, *facts: Any) -> int:
        failed.append(claim.request_id)
        return failure(self, claim, *facts)

    def every(_: Evidence, *, is_open_end: bool) -> dict[str, list[int]]:
        return {MODEL: failed.copy()}

    monkeypatch.setattr(Evidence, "failure", noting)
    monkeypatch.setattr(Evidence, "unexplained", every)
    monkeypatch.setattr(history, "known_to_fail", lambda *_: set[int]())
    with pytest.raises(AssertionError):
        await test_rows_that_can_never_be_answered_do_not_block_those_behind(tmp_path)
