"""An endpoint that says its quota is used up is believed, and asked again later."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from clockwork import NOON
from happenings import LONG, OPENS
from world import a_world

pytestmark = pytest.mark.usefixtures("database")

DAILY_20 = """[profiles.espai]
quotas = [{ name = "daily", limit = 20, window = "day" }]
"""


async def test_a_used_up_quota_ends_the_run_and_closes_the_window(tmp_path):
    async with a_world(tmp_path, limit=12, config_toml=DAILY_20) as world:
        world.submit(20)
        outcome = await world.run(concurrency=1)
        world.check()
        assert outcome.exit_code == 75
        # The service knows better: the key is used elsewhere too.
        assert outcome.endings["espai"].resets_at == OPENS
        assert [call.outcome for call in world.calls] == ["answered"] * 12 + ["refused"]
        assert world.statuses() == {"completed": 12, "pending": 8}
        assert (await world.run()).exit_code == 75
        assert len(world.calls) == 13


@pytest.mark.fault(36)
async def test_a_quota_that_should_have_much_left_is_asked_for_once_more(tmp_path):
    async with a_world(tmp_path, limit=4, config_toml=DAILY_20) as world:
        world.submit(20)
        outcome = await world.run(concurrency=1)
        assert outcome.exit_code == 75
        # Five of twenty are used, as far as we know.
        again = NOON + timedelta(minutes=15)
        assert outcome.endings["espai"].resets_at == again
        assert (await world.run()).exit_code == 75
        assert len(world.calls) == 5
        world.clock.time = again
        outcome = await world.run()
        world.check()
        assert outcome.endings["espai"].resets_at == OPENS
        outcomes = [call.outcome for call in world.calls]
        assert outcomes == ["answered"] * 4 + ["refused"] * 2
        assert world.statuses() == {"completed": 4, "pending": 16}
        assert (await world.run()).exit_code == 75
        assert len(world.calls) == 6


@pytest.mark.fault(36)
async def test_no_more_calls_than_those_in_flight_meet_a_used_up_quota(tmp_path):
    async with a_world(tmp_path, limit=9, config_toml=DAILY_20, latency=1.0) as world:
        world.submit(20)
        assert (await world.run(concurrency=4)).exit_code == 75
        world.check()
        outcomes = Counter(call.outcome for call in world.calls)
        assert outcomes["answered"] == 9
        assert 1 <= outcomes["refused"] <= 4
        assert world.statuses() == {"completed": 9, "pending": 11}


async def test_a_used_up_quota_is_waited_for(tmp_path):
    async with a_world(tmp_path, limit=4, config_toml=DAILY_20, nap=LONG) as world:
        world.submit(10)
        assert (await world.run(concurrency=1, wait=True)).exit_code == 0
        world.check()
        days = ["2026-03-02", "2026-03-03", "2026-03-04"]
        assert world.by_day() == dict(zip(days, [4, 4, 2], strict=True))
        # Each of the first two days was refused, and once more to be sure.
        assert len(world.calls) == 10 + 2 * 2


#: The service's day begins eight hours after ours.
LATER = ZoneInfo("Etc/GMT+8")


@pytest.mark.long
async def test_a_fresh_window_that_is_refused_is_tried_with_growing_pauses(tmp_path):
    async with a_world(tmp_path, limit=20, zone=LATER, nap=900.0) as world:
        world.submit(30)
        outcome = await world.run(concurrency=1, wait=True)
        world.check()
        assert outcome.exit_code == 0
        assert world.statuses() == {"completed": 30}
        refused = [c.at for c in world.calls if c.outcome == "refused"]
        assert [at - OPENS for at in refused] == [
            timedelta(minutes=minutes) for minutes in (0, 15, 45, 105, 225, 465)
        ]
        # It is 11:46 when the next one is answered: 7 h 45 min and another 4 h.
        resumed = world.calls[20 + len(refused)].at
        assert resumed - OPENS == timedelta(minutes=705)


@pytest.mark.long
async def test_a_reset_that_comes_later_than_assumed_is_found(tmp_path):
    async with a_world(tmp_path, limit=20, zone=LATER, nap=900.0) as world:
        world.submit(30)
        assert (await world.run(concurrency=4, wait=True)).exit_code == 0
        world.check()
        assert len(world.calls) <= 30 + 10
        assert world.clock.now() < OPENS + timedelta(hours=12)


async def test_a_refusal_of_a_fresh_window_ends_a_run_that_does_not_wait(tmp_path):
    async with a_world(tmp_path, always="exhausted") as world:
        world.submit(5)
        outcome = await world.run()
        world.check()
        assert outcome.exit_code == 75
        assert outcome.endings["espai"].resets_at == NOON + timedelta(minutes=15)
        assert len(world.calls) == 1
        assert (await world.run()).exit_code == 75
        assert len(world.calls) == 1
