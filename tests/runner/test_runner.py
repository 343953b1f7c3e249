from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from aiohttp import web
from clockwork import NOON
from world import KEY, World, a_world

from batch.errors import (
    KeyRefusedError,
    LedgerElsewhereError,
    StoreError,
    UsageError,
)
from batch.service import living, upkeep, work
from batch.standin import FAULTS, Standin, echo
from batch.store import jobs, queue, runners

#: The reset after NOON, and the guard that follows it.
RESET = datetime(2026, 3, 3, tzinfo=UTC)
OPENS = RESET + timedelta(seconds=60)

HOUR = timedelta(hours=1)

#: Long enough for the story of a week to be told in no time.
LONG = 3600.0


# The limit.


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


async def test_as_many_prompts_as_credits_are_all_done(tmp_path):
    async with a_world(tmp_path, limit=5) as world:
        world.submit(5)
        outcome = await world.run()
        world.check()
        assert outcome.exit_code == 0
        assert world.statuses() == {"completed": 5}


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


async def test_a_wait_is_slept_through_up_to_the_longest_pause(tmp_path):
    start = RESET - timedelta(minutes=5)
    async with a_world(tmp_path, limit=2, start=start) as world:
        world.submit(3)
        assert (await world.run(max_pause=359.0)).exit_code == 75
        assert world.clock.now() == start
        assert (await world.run(max_pause=360.0)).exit_code == 0
        world.check()


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
        with pytest.raises(UsageError, match=f"--keep {keep} leaves nothing of espai"):
            await world.run(keep=keep)
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


# How fast.


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
async def test_no_call_is_made_before_the_time_that_the_endpoint_asks_for(tmp_path):
    faults = {5: "http:429"}
    async with a_world(tmp_path, kind=Patient, faults=faults) as world:
        world.submit(20)
        assert (await world.run()).exit_code == 0
        world.check()
        # Those that were claimed with it may be under way.
        assert set(world.times[:5]) == {0}
        assert all(at == 0 or at >= 120 for at in world.times)
        assert world.times[-1] >= 120


# What stops a run.


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
    faults = {6: "http:401"}
    async with a_world(tmp_path, latency=10.0, faults=faults) as world:
        world.submit(20)
        outcome = await world.run()
        world.check()
        assert outcome.exit_code == 77
        # The seven that had begun, less the refused one.
        assert world.statuses() == {"completed": 6, "pending": 14}
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


# What the endpoint says about the quota.


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


DAILY_20 = """[profiles.espai]
quotas = [{ name = "daily", limit = 20, window = "day" }]
"""


# Faults.

PASSING = [
    "error",
    "error:500",
    "late_error",
    "http",
    "http:429",
    "http:500",
    "http:408",
    "html",
    "empty",
    "cut",
    "drop",
    "stall",
    "latin1",
]


def test_every_fault_has_its_story():
    # The last is none to this protocol.
    others = {"exhausted", "redirect", "finish"}
    assert {fault.partition(":")[0] for fault in PASSING} | others == set(FAULTS)


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize("fault", PASSING)
async def test_a_fault_costs_one_call_and_no_answer(tmp_path, fault, number):
    async with a_world(tmp_path, faults={number: fault}) as world:
        world.submit(6)
        outcome = await world.run()
        world.check()
        assert outcome.exit_code == 0
        assert world.statuses() == {"completed": 6}
        assert len(world.calls) == 7
        assert world.entries() == {"spent": 7}
        assert sum(world.errors().values()) == 1
        twice = world.calls[number - 1].prompt
        assert Counter(world.asked)[twice] == 2
        attempts = {line["custom_id"]: line["attempts"] for line in world.export()}
        assert attempts == Counter(world.asked)
        [job] = outcome.jobs
        assert (job[0].attempts, job[0].credits) == (7, 7)


@pytest.mark.parametrize("fault", ["redirect", "http:401", "http:404"])
async def test_a_fault_that_stops_a_run_costs_one_call_and_no_answer(tmp_path, fault):
    async with a_world(tmp_path, faults={1: fault}) as world:
        world.submit(6)
        assert (await world.run()).exit_code in (77, 78)
        assert (await world.run()).exit_code == 0
        world.check()
        assert world.statuses() == {"completed": 6}
        assert world.entries() == {"spent": len(world.calls)} == {"spent": 7}


async def test_a_refusal_in_a_fresh_window_costs_one_call_and_no_answer(tmp_path):
    async with a_world(tmp_path, faults={1: "exhausted"}) as world:
        world.submit(6)
        assert (await world.run(wait=True)).exit_code == 0
        world.check()
        assert world.statuses() == {"completed": 6}
        assert world.entries() == {"spent": len(world.calls)} == {"spent": 7}
        assert world.times[1] == 15 * 60


async def test_faults_of_every_kind_one_after_the_other(tmp_path):
    faults = {2 * place + 2: fault for place, fault in enumerate(PASSING)}
    async with a_world(tmp_path, faults=faults) as world:
        world.submit(40, max_attempts=20)
        assert (await world.run()).exit_code == 0
        world.check()
        assert world.statuses() == {"completed": 40}
        assert len(world.calls) == world.entries()["spent"] == 40 + len(PASSING)


def sorry_for(*prompts: str) -> Any:
    """Answers all prompts but these, which meet an error each time."""

    def answer(body: Mapping[str, Any]) -> str:
        if body["message"][-1]["content"] in prompts:
            return '{"success": false, "message": "内容违规", "code": 500}'
        return echo(body)

    return answer


@pytest.mark.parametrize("max_attempts", [1, 3])
async def test_a_prompt_that_never_succeeds_fails_alone(tmp_path, max_attempts):
    async with a_world(tmp_path, answer=sorry_for("p3")) as world:
        world.submit(8, max_attempts=max_attempts)
        outcome = await world.run()
        world.check()
        assert outcome.exit_code == 1
        assert world.statuses() == {"completed": 7, "failed": 1}
        assert Counter(world.asked)["p3"] == max_attempts
        assert len(world.calls) == 7 + max_attempts
        [lost] = [line for line in world.export() if line["status"] == "failed"]
        assert lost["custom_id"] == "p3"
        assert lost["error"]["code"] == "endpoint_error"
        assert "内容违规" in lost["error"]["message"]
        assert lost["attempts"] == max_attempts
        # It is not asked again, until the user says so.
        await world.run(world.service.job("1"))
        assert len(world.calls) == 7 + max_attempts


@pytest.mark.fault(38)
async def test_a_prompt_that_is_rejected_fails_after_one_call(tmp_path):
    async with a_world(tmp_path, faults={3: "http:400"}) as world:
        world.submit(8)
        outcome = await world.run(concurrency=1)
        world.check()
        assert outcome.exit_code == 1
        assert world.statuses() == {"completed": 7, "failed": 1}
        assert len(world.calls) == 8


async def test_a_retried_prompt_has_all_its_attempts_again(tmp_path):
    async with a_world(tmp_path, answer=sorry_for("p3")) as world:
        world.submit(5)
        await world.run()
        upkeep.retry(world.service, "1")
        assert (await world.run()).exit_code == 1
        world.check()
        assert Counter(world.asked)["p3"] == 6
        assert set(world.asked) - {"p3"} == {"p1", "p2", "p4", "p5"}
        assert len(world.calls) == 4 + 6


# Jobs.


async def test_jobs_are_worked_on_by_priority_then_by_age(tmp_path):
    async with a_world(tmp_path) as world:
        world.submit(["a1", "a2"], name="a")
        world.submit(["b1", "b2"], name="b", priority=5)
        world.submit(["c1", "c2"], name="c")
        world.submit(["d1", "d2"], name="d", priority=-5)
        assert (await world.run(concurrency=1)).exit_code == 0
        world.check()
        assert world.asked == ["b1", "b2", "a1", "a2", "c1", "c2", "d1", "d2"]


async def test_only_the_jobs_that_are_named_are_worked_on(tmp_path):
    async with a_world(tmp_path) as world:
        world.submit(["a1"], name="a")
        job = world.submit(["b1"], name="b")
        outcome = await world.run(job)
        assert world.asked == ["b1"]
        assert [one.name for one, _ in outcome.jobs] == ["b"]


async def test_a_paused_job_is_left_alone(tmp_path):
    async with a_world(tmp_path) as world:
        paused = world.submit(["a1", "a2"], name="a", priority=9)
        world.submit(["b1", "b2"], name="b")
        upkeep.pause(world.service, "a")
        assert (await world.run()).exit_code == 0
        world.check()
        assert world.asked == ["b1", "b2"]
        assert world.statuses(paused) == {"pending": 2}
        upkeep.resume(world.service, "a")
        await world.run()
        assert world.asked[2:] == ["a1", "a2"]


async def test_a_job_that_is_paused_in_mid_run_is_left_alone_from_then_on(tmp_path):
    async with a_world(tmp_path) as world:
        world.submit(6, name="a")
        world.on_call[2] = lambda: upkeep.pause(world.service, "a")
        await world.run(concurrency=1)
        world.check()
        assert len(world.calls) == 2
        assert world.statuses() == {"completed": 2, "pending": 4}


async def test_a_job_that_is_cancelled_in_mid_run_is_asked_no_more(tmp_path):
    async with a_world(tmp_path) as world:
        world.submit(6, name="a")
        world.on_call[2] = lambda: upkeep.cancel(world.service, "a")
        assert (await world.run(concurrency=1)).exit_code == 0
        world.check()
        assert len(world.calls) == 2
        assert world.statuses() == {"completed": 2, "cancelled": 4}


async def test_a_job_that_comes_in_meanwhile_is_picked_up(tmp_path):
    async with a_world(tmp_path) as world:
        world.submit(["a1", "a2", "a3"])
        world.on_call[2] = lambda: world.submit(["b1", "b2"], priority=1)
        assert (await world.run(concurrency=1, narrowed=False)).exit_code == 0
        world.check()
        assert world.asked == ["a1", "a2", "b1", "b2", "a3"]


async def test_a_job_that_comes_in_meanwhile_waits_where_others_were_named(tmp_path):
    async with a_world(tmp_path) as world:
        job = world.submit(["a1", "a2"])
        world.on_call[1] = lambda: world.submit(["b1"], priority=1)
        assert (await world.run(job)).exit_code == 0
        assert world.asked == ["a1", "a2"]


async def test_a_job_that_came_in_meanwhile_and_failed_is_told_by_the_exit_code(
    tmp_path,
):
    async with a_world(tmp_path, answer=sorry_for("b1")) as world:
        world.submit(["a1"])
        world.on_call[1] = lambda: world.submit(["b1"])
        outcome = await world.run(narrowed=False)
        assert world.statuses(world.service.job("2")) == {"failed": 1}
        assert outcome.exit_code == 1


async def test_a_paused_job_that_is_named_is_not_done(tmp_path):
    async with a_world(tmp_path) as world:
        job = world.submit(["a1"])
        upkeep.pause(world.service, "1")
        with pytest.raises(UsageError, match="paused"):
            await world.run(job)


async def test_nothing_to_do_is_done_at_once(tmp_path):
    async with a_world(tmp_path) as world:
        outcome = await world.run()
        assert (outcome.exit_code, outcome.endings) == (0, {})
        job = world.submit(2)
        await world.run()
        assert (await world.run(job)).exit_code == 0
        assert len(world.calls) == 2


TWO_PROFILES = """
[profiles.espai]
quotas = [{ name = "daily", limit = 3, window = "day" }]
[profiles.other]
protocol = "espai"
base_url = "http://127.0.0.1:9"
key_env = "OTHER_KEY"
errors = { refused = ["4003"] }
quotas = [{ name = "daily", limit = 4, window = "day" }]
"""


async def test_every_account_has_its_own_limit(tmp_path):
    environ = {"OTHER_KEY": "sk-other-9876543210"}
    async with a_world(
        tmp_path, limit=None, config_toml=TWO_PROFILES, environ=environ
    ) as world:
        a = world.submit([f"a{n}" for n in range(9)])
        b = world.submit([f"b{n}" for n in range(9)], provider="other")
        outcome = await world.run()
        world.check()
        assert outcome.exit_code == 75
        assert world.statuses(a) == {"completed": 3, "pending": 6}
        assert world.statuses(b) == {"completed": 4, "pending": 5}
        assert set(outcome.endings) == {"espai", "other"}


async def test_an_account_whose_key_is_refused_does_not_stop_the_other(tmp_path):
    environ = {"OTHER_KEY": "sk-other-9876543210"}
    async with a_world(
        tmp_path,
        limit=None,
        keys=frozenset({KEY}),
        config_toml=TWO_PROFILES,
        environ=environ,
    ) as world:
        a = world.submit(["a1", "a2"])
        b = world.submit(["b1", "b2"], provider="other")
        outcome = await world.run()
        world.check()
        assert outcome.exit_code == 77
        assert {k: e.exit_code for k, e in outcome.endings.items()} == {
            "espai": 0,
            "other": 77,
        }
        assert world.statuses(a) == {"completed": 2}
        assert world.statuses(b) == {"pending": 2}


async def test_one_key_is_not_sent_to_two_providers(tmp_path):
    environ = {"ESPAI_API_KEY": "", "QUOTABATCH_API_KEY": KEY}
    async with a_world(tmp_path, config_toml=TWO_PROFILES, environ=environ) as world:
        world.submit(["a1"])
        assert (await world.run()).exit_code == 0
        world.submit(["a2"])
        world.submit(["b1"], provider="other")
        with pytest.raises(KeyRefusedError, match="would be sent to espai and other"):
            await world.run()
        assert len(world.calls) == 1


async def test_no_key_no_call(tmp_path):
    async with a_world(tmp_path, environ={"ESPAI_API_KEY": ""}) as world:
        world.submit(3)
        with pytest.raises(KeyRefusedError, match="no key for espai: `quotabatch keys"):
            await world.run()
        assert world.calls == []
        assert world.entries() == {}


async def test_a_key_has_one_ledger(tmp_path):
    async with a_world(tmp_path, limit=3) as world:
        world.submit(9)
        await world.run()
        elsewhere = {"QUOTABATCH_DB": str(tmp_path / "other.db")}
        url = world.service.settings["base_url"]
        async with a_world(tmp_path, limit=3, base_url=url, environ=elsewhere) as other:
            other.submit(9)
            with pytest.raises(LedgerElsewhereError, match=r"counted in .*batch\.db"):
                await other.run()
            assert len(world.calls) == 3
            chosen = work.chosen_jobs(other.service, [])
            options = work.Options(concurrency=1, max_calls=1)
            await work.run(other.service, chosen, options, separate_ledger=True)
            assert len(world.calls) == 4


# Interrupted.


def interrupted(world: World, times: int = 1) -> None:
    for _ in range(times):
        world.handle.interrupt(130)


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


async def die(world: World, calls: int) -> None:
    """What a run does that is killed with so many calls in flight."""
    service = world.service
    profile, now = service.settings.profile(), world.clock.now()
    with service.database.transaction() as connection:
        for runner_id in living.dead_runners(connection, service):
            runners.reap(connection, runner_id, hold=False, now=now)
        fingerprint = service.fingerprint(profile)
        holder = work._begin(connection, service, profile, fingerprint, "killed", 0)
        queue.claim(connection, holder, jobs.listed(connection), calls, now)


async def test_the_calls_of_a_run_that_was_killed_are_counted_and_asked_again(tmp_path):
    async with a_world(tmp_path, limit=5) as world:
        world.submit(9)
        await die(world, calls=2)
        outcome = await world.run()
        world.check()
        assert outcome.exit_code == 75
        # Nobody knows whether those two arrived.
        assert len(world.calls) == 3
        assert world.entries() == {"spent": 5}
        [note] = world.notes
        assert "An earlier run ended with 2 calls in flight" in note
        assert "to be asked again: p1, p2" in note
        assert world.asked == ["p1", "p2", "p3"]


async def test_a_prompt_that_kills_every_run_fails_in_the_end(tmp_path):
    async with a_world(tmp_path) as world:
        world.submit(3)
        for _ in range(runners.MOST_DOUBTS):
            await die(world, calls=1)
        outcome = await world.run()
        world.check()
        assert outcome.exit_code == 1
        assert world.asked == ["p2", "p3"]
        lost, *answered = world.export()
        assert (lost["custom_id"], lost["attempts"]) == ("p1", runners.MOST_DOUBTS)
        assert lost["error"]["code"] == "in_doubt"
        assert {line["status"] for line in answered} == {"completed"}
        assert world.errors() == {"in_doubt": runners.MOST_DOUBTS}


async def test_the_text_of_an_answer_can_be_watched(tmp_path):
    async with a_world(tmp_path) as world:
        world.submit(1)
        outcome = await world.run(show_text=True)
        assert outcome.progress["espai"].newest == ("p1", "[qwen2.5:7b] 答：p1")


# The database.


async def test_a_database_that_is_removed_in_mid_run_stops_it(tmp_path):
    async with a_world(tmp_path, latency=1.0) as world:
        world.submit(20)
        path = world.service.settings.database
        world.on_call[5] = path.unlink
        with pytest.raises(StoreError, match="was removed or replaced while"):
            await world.run(concurrency=4)
        # Only those that were in flight.
        assert len(world.calls) <= 7
        assert not path.exists()


async def test_a_database_that_is_replaced_in_mid_run_stops_it(tmp_path):
    async with a_world(tmp_path, latency=1.0) as world:
        world.submit(20)
        path = world.service.settings.database
        copy = path.with_name("copy.db")

        def replace() -> None:
            copy.write_bytes(path.read_bytes())
            copy.rename(path)

        world.on_call[3] = replace
        with pytest.raises(StoreError, match="was removed or replaced while"):
            await world.run(concurrency=1)
        assert len(world.calls) == 3


# Faults of our own.


@pytest.mark.parametrize("number", [1, 3, 6])
async def test_a_fault_of_our_own_is_not_hidden(tmp_path, number):
    async with a_world(tmp_path) as world:
        world.submit(6)
        world.faults[number] = RuntimeError("bug")
        with pytest.raises(RuntimeError, match=r"^bug$"):
            await world.run()
        world.check()
        # The next run finds nothing amiss.
        assert (await world.run()).exit_code == 0
        world.check()
        assert world.statuses() == {"completed": 6}


async def test_a_fault_of_our_own_during_a_transaction_is_not_hidden(tmp_path):
    async with a_world(tmp_path) as world:
        world.submit(1)
        begun = world.faults[1] = asyncio.Event()
        database = world.service.database
        run = database.run
        transactions = []

        async def crash_during_the_third(*args: Any, **kwargs: Any) -> Any:
            transactions.append(args)
            if len(transactions) == 3:
                begun.set()
                await world.clock.sleep(0)
            return await run(*args, **kwargs)

        database.run = crash_during_the_third  # type: ignore[method-assign]
        with pytest.raises(RuntimeError, match=r"^bug$"):
            await world.run()


async def test_after_a_reset_the_first_call_goes_alone(tmp_path):
    async with a_world(tmp_path, limit=6, latency=10.0, nap=LONG) as world:
        world.submit(12)
        await world.run(concurrency=4, wait=True)
        world.check()
        second = [call.at - OPENS for call in world.calls if call.at >= RESET]
        assert [at.total_seconds() for at in second] == [0, 10, 10, 20, 20, 20]


async def test_a_run_makes_no_more_calls_than_it_is_allowed_when_calls_fail(tmp_path):
    faults = dict.fromkeys(range(4, 8), "http:500")
    async with a_world(tmp_path, faults=faults) as world:
        world.submit(20)
        await world.run(concurrency=4, max_calls=8)
        world.check()
        assert len(world.calls) == 8


async def test_a_service_that_was_down_takes_no_attempts_from_the_next_run(tmp_path):
    faults = {**dict.fromkeys(range(1, 11), "http:500"), 11: "cut"}
    async with a_world(tmp_path, faults=faults) as world:
        world.submit(5)
        assert (await world.run()).exit_code == 69
        # One hiccup when it is back.
        assert (await world.run()).exit_code == 0
        world.check()
        assert world.statuses() == {"completed": 5}


# Everything at once.


@pytest.mark.parametrize("seed", range(16))
@pytest.mark.fault(25, 27, 30, 32, 37)
@pytest.mark.long
async def test_whatever_happens_no_credit_and_no_answer_goes_astray(tmp_path, seed):
    random = Random(seed)
    limit = random.randint(5, 12)
    prompts = random.randint(10, 30)
    # Only what passes, and what ends a run; in plenty.
    kinds = [*PASSING, "exhausted", "http:401", "redirect", "http:404"]
    faults = {
        number: random.choice(kinds)
        for number in range(1, 200)
        if random.random() < random.choice([0.05, 0.3])
    }
    async with a_world(
        tmp_path,
        limit=limit,
        start=RESET - timedelta(seconds=random.choice([10, 70, 600, 40_000])),
        ahead=timedelta(seconds=random.uniform(-50, 50)),
        latency=random.choice([0.0, 1.0, 45.0]),
        faults={n: "cut" if f == "stall" else f for n, f in faults.items()},
        nap=600.0,
    ) as world:
        world.submit(prompts, max_attempts=50)
        runs = 0
        while "pending" in world.statuses():
            runs += 1
            assert runs < 80
            if random.random() < 0.3:
                number = len(world.calls) + random.randint(1, 6)
                times = random.choice([1, 2])
                world.on_call[number] = partial(interrupted, world, times)
            await world.run(
                concurrency=random.randint(1, 5),
                wait=random.random() < 0.7,
                max_calls=random.choice([None, None, random.randint(1, 9)]),
                max_failures=random.choice([3, 10, 50]),
            )
            world.check()
            world.clock.time += timedelta(minutes=random.choice([1, 1, 61, 300]))
        assert world.statuses() == {"completed": prompts}
        # What was paid for and got lost is what was stopped in mid-call.
        doubtful = world.errors().get("in_doubt", 0)
        assert world.entries()["spent"] - len(world.calls) <= doubtful
        answered = Counter(c.prompt for c in world.calls if c.outcome == "answered")
        assert sum(answered.values()) - prompts <= doubtful
        attempts = {line["custom_id"]: line["attempts"] for line in world.export()}
        assert sum(attempts.values()) == world.entries()["spent"]
