"""No run makes more calls than the limit, nor more than it is allowed."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

import pytest
from clockwork import NOON
from happenings import OPENS
from world import a_world


async def test_it_makes_exactly_as_many_calls_as_the_limit(tmp_path):
    async with a_world(tmp_path, limit=7) as world:
        world.submit(20)
        outcome = await world.run()
        world.check()
        assert outcome.exit_code == 75
        assert outcome.endings["espai"].resets_at == OPENS
        assert len(world.calls) == 7
        assert world.entries() == {"spent": 7}
        assert world.statuses() == {"completed": 7, "pending": 13}
        # The oldest come first.
        assert sorted(world.asked) == [f"p{n}" for n in range(1, 8)]
        assert world.clock.now() == NOON


async def test_a_second_run_on_the_same_day_makes_no_call(tmp_path):
    async with a_world(tmp_path, limit=3) as world:
        world.submit(5)
        await world.run()
        outcome = await world.run()
        world.check()
        assert outcome.exit_code == 75
        assert len(world.calls) == 3


async def test_as_many_prompts_as_credits_are_all_done(tmp_path):
    async with a_world(tmp_path, limit=5) as world:
        world.submit(5)
        outcome = await world.run()
        world.check()
        assert outcome.exit_code == 0
        assert world.statuses() == {"completed": 5}


async def test_two_runs_at_once_share_the_limit(tmp_path):
    async with a_world(tmp_path, limit=11) as world:
        job = world.submit(30)
        outcomes = await asyncio.gather(*(world.run(job) for _ in range(3)))
        world.check()
        assert [outcome.exit_code for outcome in outcomes] == [75, 75, 75]
        assert len(world.calls) == len(set(world.asked)) == 11
        assert sum(o.progress["espai"].completed for o in outcomes) == 11


async def test_a_minutes_window_only_paces_a_run(tmp_path):
    config = """[profiles.espai]
quotas = [
    { name = "daily", limit = 50, window = "day" },
    { name = "minute", limit = 5, window = "minute" },
]
"""
    start = NOON + timedelta(seconds=10)
    async with a_world(tmp_path, limit=50, config_toml=config, start=start) as world:
        world.submit(17)
        outcome = await world.run()
        world.check()
        assert outcome.exit_code == 0
        minutes = Counter(call.at.strftime("%H:%M") for call in world.calls)
        assert minutes == {"12:00": 5, "12:01": 5, "12:02": 5, "12:03": 2}


async def test_credits_that_are_kept_stay(tmp_path):
    async with a_world(tmp_path, limit=10) as world:
        world.submit(20)
        outcome = await world.run(keep=4)
        world.check()
        assert outcome.exit_code == 75
        assert outcome.endings["espai"].resets_at == OPENS
        assert len(world.calls) == 6
        # Another time they may be used.
        await world.run(keep=1)
        assert len(world.calls) == 9


@pytest.mark.parametrize("keep", [3, 50])
async def test_keeping_all_that_there_is_is_a_mistake(tmp_path, keep):
    async with a_world(tmp_path, limit=3) as world:
        world.submit(5)
        outcome = await world.run(keep=keep)
        assert outcome.exit_code == 2
        told = outcome.skipped["espai"].message
        assert told.startswith(f"--keep {keep} leaves nothing of espai")
        assert world.calls == []
        assert world.entries() == {}


async def test_a_run_makes_no_more_calls_than_it_is_allowed(tmp_path):
    async with a_world(tmp_path) as world:
        world.submit(20)
        outcome = await world.run(max_calls=6)
        world.check()
        assert outcome.exit_code == 75
        assert outcome.endings["espai"].resets_at is None
        assert "--max-calls" in outcome.endings["espai"].message
        assert len(world.calls) == 6


async def test_further_attempts_are_calls_as_well(tmp_path):
    async with a_world(tmp_path, always="cut") as world:
        world.submit(5)
        outcome = await world.run(max_calls=2)
        world.check()
        assert outcome.exit_code == 75
        assert world.asked == ["p1", "p1"]
        assert world.statuses() == {"pending": 5}


async def test_a_run_makes_no_more_calls_than_it_is_allowed_when_calls_fail(tmp_path):
    faults = dict.fromkeys(range(4, 8), "http:500")
    async with a_world(tmp_path, faults=faults) as world:
        world.submit(20)
        await world.run(concurrency=4, max_calls=8)
        world.check()
        assert len(world.calls) == 8
