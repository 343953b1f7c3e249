"""Rows that always fail end as failed, also where nothing else is left to ask.

A service that is away fails none that was not asked while it answered.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from test_progress import AGAIN, ALL, Moody, bad_rows, down, states
from world import World, a_world

from batch.service import upkeep

ATTEMPTS = 3


async def to_the_end(world: World, most: int) -> list[int]:
    """Run until nothing is pending; return the exit codes."""
    codes = []
    while states(world)["pending"] and len(codes) < most:
        codes.append((await world.run(concurrency=3)).exit_code)
    world.check()
    return codes


@pytest.mark.parametrize("fault", ["http:500", "empty"])
@pytest.mark.parametrize("place", [2, 6])
async def test_a_failed_row_that_is_retried_fails_again(tmp_path, fault, place):
    async with a_world(tmp_path, kind=Moody) as world:
        world.standin.fault = fault
        world.submit(6)
        bad_rows(world, {f"p{place}"})
        assert await to_the_end(world, 1) == [1]
        assert states(world) == {"completed": 5, "failed": 1}
        for _ in range(2):
            before = len(world.calls)
            upkeep.retry(world.service, "1")
            assert await to_the_end(world, 1) == [1]
            assert states(world) == {"completed": 5, "failed": 1}
            assert len(world.calls) - before == ATTEMPTS


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        pytest.param(range(1, 11), "http:500", marks=pytest.mark.long),
        pytest.param(range(1, 16), "http:500", marks=pytest.mark.long),
        (range(6, 21), "empty"),
    ],
)
async def test_bad_rows_fail_whether_they_come_first_or_last(tmp_path, bad, fault):
    async with a_world(tmp_path, kind=Moody) as world:
        world.standin.fault = fault
        world.submit(5 + len(bad))
        bad_rows(world, {f"p{n}" for n in bad})
        codes = await to_the_end(world, 20)
        assert states(world) == {"completed": 5, "failed": len(bad)}
        assert (set(codes[:-1]), codes[-1]) == ({69}, 1)
        # What the service may have failed is forgiven.
        assert len(world.calls) <= 5 + ATTEMPTS * len(bad) + 2 * ALL


@pytest.mark.parametrize("html", [False, pytest.param(True, marks=pytest.mark.long)])
@pytest.mark.parametrize("bad", [2, pytest.param(12, marks=pytest.mark.long)])
async def test_rows_that_fail_alone_are_given_up_after_a_day(tmp_path, bad, html):
    async with a_world(tmp_path, kind=Moody) as world:
        world.standin.fault = "html" if html else "http:500"
        world.submit(5 + bad)
        bad_rows(world, {f"p{n}" for n in range(6, 6 + bad)})
        # The credits are used up before them.
        await world.run(max_calls=5)
        codes, began = [], world.clock.time
        while states(world)["pending"] and len(codes) < 60:
            world.clock.time += timedelta(hours=1)
            codes.append((await world.run(concurrency=3)).exit_code)
        world.check()
        assert states(world) == {"completed": 5, "failed": bad}
        assert (set(codes[:-1]), codes[-1]) == ({69}, 1)
        assert world.clock.time - began > timedelta(days=1)
        asked = Counter(world.asked[5:])
        assert min(asked.values()) >= 3 * ATTEMPTS


@pytest.mark.parametrize("left", [13, pytest.param(40, marks=pytest.mark.long)])
@pytest.mark.long
async def test_a_service_that_dies_in_a_run_fails_no_row_within_a_day(tmp_path, left):
    async with a_world(tmp_path, kind=Moody) as world:
        world.submit(5 + left)
        down(world, range(6, 1000))
        assert (await world.run(concurrency=4)).exit_code == 69
        for _ in range(20):
            world.clock.time += timedelta(hours=1)
            assert (await world.run(concurrency=4)).exit_code == 69
        assert states(world) == {"completed": 5, "pending": left}
        down(world, ())
        assert (await world.run()).exit_code == 0


@pytest.mark.parametrize(
    "rows",
    [
        3,
        pytest.param(1, marks=pytest.mark.long),
        pytest.param(20, marks=pytest.mark.long),
    ],
)
async def test_a_service_that_is_away_from_a_run_on_fails_no_row(tmp_path, rows):
    async with a_world(tmp_path, kind=Moody) as world:
        world.submit(5 + rows)
        await world.run(max_calls=5)
        assert states(world) == {"completed": 5, "pending": rows}
        down(world, range(6, 1000))
        world.clock.time += timedelta(minutes=1)
        for number in range(8):
            before = len(world.calls)
            assert (await world.run(concurrency=4)).exit_code == 69
            assert len(world.calls) - before <= (AGAIN if number else ALL)
        assert states(world) == {"completed": 5, "pending": rows}
        down(world, ())
        assert (await world.run()).exit_code == 0


async def test_runs_of_few_calls_to_a_service_that_is_away_fail_no_row(tmp_path):
    async with a_world(tmp_path, kind=Moody) as world:
        world.submit(2)
        down(world, range(1, 1000))
        for _ in range(6):
            assert (await world.run(max_calls=1)).exit_code == 75
        assert states(world) == {"pending": 2}
        down(world, ())
        assert (await world.run()).exit_code == 0
