"""A fault costs one call and no answer; a prompt that never succeeds fails alone."""

from __future__ import annotations

from collections import Counter

import pytest
from happenings import PASSING, sorry_for
from world import a_world

from batch.service import upkeep
from batch.standin.faults import FAULTS


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
        # Where nothing at all is answered it may be the service.
        world.submit(["q1"])
        assert (await world.run()).exit_code == 1
        world.check()
        assert Counter(world.asked)["p3"] == 6
        assert set(world.asked) - {"p3"} == {"p1", "p2", "p4", "p5", "q1"}
        assert len(world.calls) == 5 + 6
