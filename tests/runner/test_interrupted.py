"""A run that is interrupted finishes what is in flight, or names what is in doubt."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

import pytest
from clockwork import NOON
from happenings import OPENS, interrupted
from world import a_world

from batch import worker
from batch.cli import ended
from batch.core.expected import Expected
from batch.service import reading

HOUR = timedelta(hours=1)


async def test_an_interrupted_run_finishes_what_is_in_flight(tmp_path):
    async with a_world(tmp_path, latency=10.0) as world:
        world.submit(20)
        world.on_call[5] = lambda: interrupted(world)
        outcome = await world.run(concurrency=4)
        world.check()
        assert outcome.exit_code == 130
        assert world.statuses() == {"completed": 7, "pending": 13}
        assert len(world.calls) == world.entries()["spent"] == 7
        assert world.notes == []
        assert (await world.run()).exit_code == 0
        world.check()
        assert len(world.calls) == len(set(world.asked)) == 20


async def test_an_interrupted_run_gives_back_what_it_would_try_again(tmp_path):
    async with a_world(tmp_path, always="cut") as world:
        world.submit(5)
        world.on_call[2] = lambda: interrupted(world)
        outcome = await world.run()
        world.check()
        assert outcome.exit_code == 130
        assert world.statuses() == {"pending": 5}
        assert world.entries() == {"spent": 2}


@pytest.mark.long
async def test_a_sleeping_run_ends_at_the_first_word(tmp_path):
    async with a_world(tmp_path, limit=2) as world:
        world.submit(5)

        async def interrupt_at_night() -> None:
            await world.clock.sleep(3600)
            assert world.handle.progress[0].sleeping_until == OPENS
            interrupted(world)

        interrupting = asyncio.create_task(interrupt_at_night())
        outcome = await world.run(wait=True)
        await interrupting
        world.check()
        assert outcome.exit_code == 130
        assert len(world.calls) == 2
        assert world.clock.now() == NOON + HOUR


@pytest.mark.fault(47)
async def test_a_run_that_is_stopped_at_once_names_what_is_in_doubt(tmp_path):
    async with a_world(tmp_path, latency=10.0) as world:
        world.submit(20)
        world.on_call[5] = lambda: interrupted(world, times=2)
        outcome = await world.run(concurrency=4)
        world.check()
        assert outcome.exit_code == 130
        statuses = world.statuses()
        assert statuses == {"completed": 3, "pending": 17}
        # Every call that arrived is paid for, answered or not.
        assert len(world.calls) <= world.entries()["spent"] <= 7
        [note] = world.notes
        assert "This run ended with 4 calls in flight" in note
        assert "to be asked again: p4, p5, p6, p7" in note
        assert world.errors() == {"in_doubt": 4}


async def test_after_a_run_that_was_stopped_at_once_only_the_doubtful_are_asked_again(
    tmp_path,
):
    async with a_world(tmp_path, latency=10.0) as world:
        world.submit(20)
        world.on_call[7] = lambda: interrupted(world, times=2)
        await world.run(concurrency=4)
        assert (await world.run()).exit_code == 0
        world.check()
        assert world.statuses() == {"completed": 20}
        again = {prompt for prompt, n in Counter(world.asked).items() if n > 1}
        assert again <= {"p4", "p5", "p6", "p7"}
        assert len(world.calls) <= 24


async def test_answers_that_were_being_checked_are_told_apart_from_invalid_ones(
    tmp_path, monkeypatch
):
    async with a_world(tmp_path) as world:
        checked: list[str] = []

        async def slowly(_expected: Expected, text: str) -> str | None:
            if text.endswith("p1"):
                # The first call goes alone, until it is known how it ended.
                return "prose"
            checked.append(text)
            if len(checked) == 2:
                interrupted(world, times=2)
            await asyncio.Event().wait()
            return None

        monkeypatch.setattr(worker, "fault_soon", slowly)
        job = world.submit(3, expected=Expected(schema='{"type": "object"}'))
        outcome = await world.run(concurrency=3)
        assert outcome.exit_code == 130
        (run,) = outcome.progress.values()
        ((_, counts),) = outcome.jobs
        (report,) = reading.job_reports(world.service)
        assert (run.completed, run.invalid) == (3, 1)
        assert (counts.completed, counts.invalid, counts.unchecked) == (3, 1, 2)
        assert report.counts == counts
        assert report.invalid == (1, "prose")
        assert "1 invalid" in ended._standing(job, counts)
        assert "2 not checked yet" in ended._standing(job, counts)


async def test_what_is_in_doubt_can_be_held_back(tmp_path):
    async with a_world(tmp_path, latency=10.0) as world:
        world.submit(20)
        world.on_call[5] = lambda: interrupted(world, times=2)
        await world.run(concurrency=4, hold=True)
        world.check()
        assert world.statuses() == {"completed": 3, "failed": 4, "pending": 13}
        assert "held back" in world.notes[0]
        assert {
            line["error"]["code"]
            for line in world.export()
            if line["status"] == "failed"
        } == {"in_doubt"}
        assert (await world.run()).exit_code == 1
        assert len(set(world.asked)) == len(world.asked)
