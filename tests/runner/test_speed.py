"""How many calls go at once, and how soon: the first alone, fewer after an overload."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
from aiohttp import web
from happenings import LONG, OPENS, RESET
from world import a_world

from batch.standin.service import Standin


async def test_the_first_call_goes_alone(tmp_path):
    async with a_world(tmp_path, latency=10.0) as world:
        world.submit(12)
        await world.run(concurrency=4)
        world.check()
        # One, then two, then four at a time.
        assert world.times == [0, *[10] * 2, *[20] * 4, *[30] * 4, 40]


@pytest.mark.parametrize("concurrency", [1, 2, 3, 8])
async def test_no_more_are_in_flight_than_allowed(tmp_path, concurrency):
    async with a_world(tmp_path, latency=1.0) as world:
        world.submit(30)
        await world.run(concurrency=concurrency)
        world.check()
        assert world.most_in_flight == concurrency


async def test_an_overload_halves_what_is_in_flight(tmp_path):
    faults = {8: "http:503"}
    async with a_world(tmp_path, latency=10.0, faults=faults) as world:
        world.submit(24)
        assert (await world.run(concurrency=8)).exit_code == 0
        world.check()
        # A fault is answered at once, when seven others are under way.
        at = Counter(world.times)
        assert at[30.0] == 8
        assert at[40.0] <= 4


class Patient(Standin):
    """Asks for two minutes of peace."""

    async def _misbehave(
        self, request: web.Request, body: Mapping[str, Any], fault: str
    ) -> web.StreamResponse:
        return web.Response(status=429, headers={"Retry-After": "120"})


@pytest.mark.fault(35)
@pytest.mark.usefixtures("database")
async def test_no_call_is_made_before_the_time_that_the_endpoint_asks_for(tmp_path):
    faults = {5: "http:429"}
    async with a_world(tmp_path, kind=Patient, faults=faults) as world:
        world.submit(20)
        assert (await world.run()).exit_code == 0
        world.check()
        # Those that were claimed with it may be under way.
        assert set(world.times[:5]) == {0}
        assert all(at == 0 or 120 <= at <= 122 for at in world.times)
        assert world.times[-1] >= 120
        assert len(world.calls) == 21


async def test_after_a_reset_the_first_call_goes_alone(tmp_path):
    async with a_world(tmp_path, limit=6, latency=10.0, nap=LONG) as world:
        world.submit(12)
        await world.run(concurrency=4, wait=True)
        world.check()
        second = [call.at - OPENS for call in world.calls if call.at >= RESET]
        assert [at.total_seconds() for at in second] == [0, 10, 10, 20, 20, 20]
