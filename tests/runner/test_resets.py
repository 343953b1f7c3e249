"""A run goes on after a reset, and a call close to one counts on both sides of it."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from happenings import LONG, OPENS, RESET
from world import a_world

pytestmark = pytest.mark.usefixtures("database")


async def test_the_next_day_it_goes_on_where_it_stood(tmp_path):
    async with a_world(tmp_path, limit=3) as world:
        world.submit(5)
        await world.run()
        world.clock.time = OPENS
        outcome = await world.run()
        world.check()
        assert outcome.exit_code == 0
        assert outcome.endings["espai"].resets_at is None
        assert Counter(world.asked) == Counter(f"p{n}" for n in range(1, 6))
        assert world.used() == {"2026-03-02": 3, "2026-03-03": 2}


async def test_waiting_goes_over_the_reset_for_days(tmp_path):
    async with a_world(tmp_path, limit=4, nap=LONG) as world:
        world.submit(14)
        outcome = await world.run(wait=True)
        world.check()
        assert outcome.exit_code == 0
        assert world.statuses() == {"completed": 14}
        days = ["2026-03-02", "2026-03-03", "2026-03-04", "2026-03-05"]
        assert world.by_day() == dict(zip(days, [4, 4, 4, 2], strict=True))
        assert world.used() == world.by_day()
        assert outcome.progress["espai"].completed == 14


async def test_the_naps_of_a_night_are_short(tmp_path):
    start = RESET - timedelta(minutes=20)
    async with a_world(tmp_path, limit=2, start=start) as world:
        world.submit(3)
        assert (await world.run(wait=True)).exit_code == 0
        world.check()
        assert world.clock.now() == OPENS
        assert max(world.clock.slept) <= 30


@pytest.mark.fault(44)
async def test_no_call_is_made_near_a_reset_that_another_clock_may_see_otherwise(
    tmp_path,
):
    for ahead in (-50, 50):
        home = tmp_path / str(ahead)
        async with a_world(
            home, limit=3, nap=LONG, ahead=timedelta(seconds=ahead)
        ) as world:
            world.submit(9)
            assert (await world.run(wait=True)).exit_code == 0
            world.check()
            assert "refused" not in {call.outcome for call in world.calls}


async def test_a_wait_is_slept_through_up_to_the_longest_pause(tmp_path):
    start = RESET - timedelta(minutes=5)
    async with a_world(tmp_path, limit=2, start=start) as world:
        world.submit(3)
        assert (await world.run(max_pause=359.0)).exit_code == 75
        assert world.clock.now() == start
        assert (await world.run(max_pause=360.0)).exit_code == 0
        world.check()


@pytest.mark.fault(44)
async def test_a_call_in_flight_at_the_reset_counts_on_both_sides(tmp_path):
    start = RESET - timedelta(minutes=2)
    async with a_world(tmp_path, limit=3, start=start, latency=200.0) as world:
        world.submit(9)
        outcome = await world.run(concurrency=1)
        world.check()
        # Reserved at 23:58:00, answered at 00:01:20.
        assert world.used() == {"2026-03-02": 1, "2026-03-03": 3}
        assert world.by_day() == {"2026-03-02": 1, "2026-03-03": 2}
        assert outcome.endings["espai"].resets_at == OPENS + timedelta(days=1)


@pytest.mark.fault(44)
@pytest.mark.long
async def test_calls_in_flight_at_the_reset_count_on_both_sides_all_of_them(tmp_path):
    start = RESET - timedelta(minutes=10)
    async with a_world(tmp_path, limit=9, start=start, latency=250.0) as world:
        world.submit(30)
        await world.run(concurrency=4)
        world.check()
        today, tomorrow = world.by_day()["2026-03-02"], world.by_day()["2026-03-03"]
        across = sum(
            RESET - timedelta(seconds=310) < call.at < RESET for call in world.calls
        )
        assert across > 1
        assert world.used() == {"2026-03-02": today, "2026-03-03": 9}
        assert tomorrow + across == 9


@pytest.mark.fault(44)
async def test_a_call_close_to_the_reset_counts_on_both_sides(tmp_path):
    start = RESET - timedelta(seconds=30)
    async with a_world(tmp_path, limit=4, start=start) as world:
        world.submit(9)
        outcome = await world.run(max_pause=0)
        world.check()
        assert world.used() == {"2026-03-02": 4, "2026-03-03": 4}
        assert outcome.endings["espai"].resets_at == OPENS + timedelta(days=1)
