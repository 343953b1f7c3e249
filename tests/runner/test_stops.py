"""A refused key, a wrong address, a service that is down: few calls, and it stops."""

from __future__ import annotations

import asyncio
import socket
from datetime import timedelta

import pytest
from clockwork import NOON
from world import KEY, a_world

from batch.service import reading


@pytest.mark.fault(39)
async def test_a_refused_key_stops_the_run_after_one_call(tmp_path):
    async with a_world(tmp_path, keys=frozenset({"another"})) as world:
        world.submit(20)
        outcome = await world.run()
        world.check()
        assert outcome.exit_code == 77
        assert len(world.calls) == 1
        assert world.statuses() == {"pending": 20}
        message = outcome.endings["espai"].message
        assert "espai refused the key" in message
        assert "quotabatch keys set espai" in message
        assert KEY not in message


@pytest.mark.parametrize("status", [401, 403])
async def test_an_http_refusal_of_the_key_stops_it_as_well(tmp_path, status):
    async with a_world(tmp_path, always=f"http:{status}") as world:
        world.submit(20)
        assert (await world.run()).exit_code == 77
        world.check()
        assert len(world.calls) == 1
        assert world.statuses() == {"pending": 20}


@pytest.mark.parametrize("fault", ["http:401", "http:405"])
async def test_status_says_of_a_refused_key_what_the_run_said(tmp_path, fault):
    async with a_world(tmp_path, always=fault) as world:
        world.submit(20)
        said = (await world.run()).endings["espai"].message
        (report,) = reading.job_reports(world.service)
        assert (report.obstacle == said) == (fault == "http:401"), report.obstacle


@pytest.mark.parametrize("fault", ["http:404", "http:405", "redirect"])
@pytest.mark.fault(40)
async def test_a_wrong_address_stops_the_run_after_one_call(tmp_path, fault):
    async with a_world(tmp_path, always=fault) as world:
        world.submit(20)
        outcome = await world.run()
        world.check()
        assert outcome.exit_code == 78
        assert len(world.calls) == 1
        assert world.statuses() == {"pending": 20}
        assert "base_url" in outcome.endings["espai"].message


@pytest.mark.fault(39)
async def test_a_key_that_is_refused_in_mid_run_lets_the_others_finish(tmp_path):
    faults = dict.fromkeys(range(6, 100), "http:401")
    async with a_world(tmp_path, latency=10.0, faults=faults) as world:
        world.submit(20)
        outcome = await world.run()
        world.check()
        assert outcome.exit_code == 77
        # The seven that had begun, less the two that were refused: one may be to blame.
        assert world.statuses() == {"completed": 5, "pending": 15}
        assert len(world.calls) == 7


@pytest.mark.fault(37)
async def test_a_service_that_is_down_takes_no_more_than_ten_calls(tmp_path):
    async with a_world(tmp_path, always="http:503") as world:
        world.submit(20)
        outcome = await world.run()
        world.check()
        assert outcome.exit_code == 69
        assert len(world.calls) <= 10
        assert world.errors() == {"http_503": len(world.calls)}
        # None of them is given up for it.
        assert world.statuses() == {"pending": 20}
        assert "10 calls in a row failed" in outcome.endings["espai"].message


@pytest.mark.parametrize("fault", ["html", "cut", "empty", "error", "latin1", "drop"])
@pytest.mark.fault(37)
async def test_a_service_that_answers_nonsense_takes_no_more_either(tmp_path, fault):
    async with a_world(tmp_path, always=fault) as world:
        world.submit(20)
        outcome = await world.run(max_failures=5, wait=True)
        world.check()
        assert outcome.exit_code == 69
        assert len(world.calls) == 5
        assert world.statuses() == {"pending": 20}


@pytest.mark.fault(37)
async def test_a_service_that_goes_down_takes_no_more_than_the_row_and_those_in_flight(
    tmp_path,
):
    faults = dict.fromkeys(range(9, 100), "http:500")
    async with a_world(tmp_path, faults=faults) as world:
        world.submit(40)
        outcome = await world.run(concurrency=4)
        world.check()
        assert outcome.exit_code == 69
        assert world.statuses() == {"completed": 8, "pending": 32}
        assert len(world.calls) <= 8 + 10 + 3


@pytest.mark.fault(23)
async def test_a_service_that_is_not_there_costs_nothing(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}/v1"
    async with a_world(tmp_path, base_url=url) as world:
        world.submit(20)
        outcome = await world.run(wait=True)
        world.check()
        assert outcome.exit_code == 69
        assert "cannot be reached" in outcome.endings["espai"].message
        assert "no credit was used" in outcome.endings["espai"].message
        assert world.entries() == {"released": 3}
        assert set(world.used().values()) == {0}
        assert world.statuses() == {"pending": 20}
        assert {line["attempts"] for line in world.export()} == {0}
        assert world.clock.now() - NOON < timedelta(seconds=10)


@pytest.mark.fault(23)
@pytest.mark.long
async def test_a_network_that_comes_back_is_waited_for(tmp_path):
    async with a_world(tmp_path, latency=10.0) as world:
        world.submit(9)
        port = int(world.service.settings["base_url"].split(":")[2].split("/")[0])

        async def outage() -> None:
            await world.clock.sleep(15)
            await world.standin.stop()
            await world.clock.sleep(1800)
            await world.standin.start(port)

        breaking = asyncio.create_task(outage())
        outcome = await world.run(concurrency=1, wait=True)
        await breaking
        world.check()
        assert outcome.exit_code == 0
        assert world.statuses() == {"completed": 9}
        # What was never sent was never paid for.
        assert world.entries()["spent"] == len(world.calls)
        assert world.entries()["released"] > 10


async def test_a_service_that_was_down_takes_no_attempts_from_the_next_run(tmp_path):
    faults = {**dict.fromkeys(range(1, 11), "http:500"), 11: "cut"}
    async with a_world(tmp_path, faults=faults) as world:
        world.submit(5)
        assert (await world.run()).exit_code == 69
        # One hiccup when it is back.
        assert (await world.run()).exit_code == 0
        world.check()
        assert world.statuses() == {"completed": 5}


async def test_a_run_whose_requests_all_failed_for_good_leaves_nothing_to_come_back_for(
    tmp_path,
):
    async with a_world(tmp_path, always="http:400") as world:
        job = world.submit(10)
        outcome = await world.run()
        world.check()
        assert world.statuses() == {"failed": 10}
        assert outcome.exit_code == 1
        assert outcome.endings["espai"].message == ""
        assert (await world.run(job)).exit_code == 1
        assert len(world.calls) == 10


async def test_a_run_that_stops_says_that_only_remaining_requests_are_pending(
    tmp_path,
):
    async with a_world(tmp_path, always="http:400") as world:
        world.submit(11)
        outcome = await world.run()
        assert world.statuses() == {"failed": 10, "pending": 1}
        assert outcome.exit_code == 69
        assert "the remaining requests stay" in outcome.endings["espai"].message
