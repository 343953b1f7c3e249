"""Which jobs a run works on, in which order, and when it leaves them alone."""

from __future__ import annotations

import asyncio

from happenings import sorry_for
from world import a_world

from batch.service import upkeep, work
from batch.service.runs import Outcome


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
        outcome = await world.run(concurrency=1)
        world.check()
        assert outcome.exit_code == 75
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


async def test_a_paused_job_that_is_named_is_not_done_and_its_work_remains(tmp_path):
    async with a_world(tmp_path) as world:
        job = world.submit(1)
        other = world.submit(["b1"])
        upkeep.pause(world.service, "1")
        assert (await world.run(job, other)).exit_code == 75
        assert world.asked == ["b1"]


async def test_nothing_to_do_is_done_at_once(tmp_path):
    async with a_world(tmp_path) as world:
        outcome = await world.run()
        assert (outcome.exit_code, outcome.endings) == (0, {})
        job = world.submit(2)
        await world.run()
        assert (await world.run(job)).exit_code == 0
        assert len(world.calls) == 2


async def test_a_run_waits_for_what_another_run_has_in_flight(tmp_path, database):
    async with a_world(tmp_path, latency=3.0) as world:
        world.submit(1)
        outcomes = await asyncio.gather(world.run(), world.run())
        world.check()
        assert len(world.calls) == 1
        # Each says so at its own end: neither leaves while the other still asks.
        ends = [one.jobs[0][1] for one in outcomes]
        assert [(one.completed, one.running) for one in ends] == [(1, 0), (1, 0)]
        assert [one.exit_code for one in outcomes] == [0, 0]


async def test_what_another_run_has_in_flight_of_a_paused_job_remains(tmp_path):
    async with a_world(tmp_path, latency=3.0) as world:
        job = world.submit(1)
        beside: list[asyncio.Task[Outcome]] = []

        def pause_and_run() -> None:
            upkeep.pause(world.service, "job")
            beside.append(asyncio.create_task(world.run(job)))

        world.on_call[1] = pause_and_run
        assert (await world.run(job)).exit_code == 0
        second = await beside[0]
        assert second.jobs[0][1].running == 1
        assert second.exit_code == 75


async def test_a_job_that_comes_in_when_a_run_is_over_is_no_work_of_it(
    tmp_path, monkeypatch
):
    async with a_world(tmp_path) as world:
        world.submit(1)
        came: list[str] = []

        def late(*_: object) -> None:
            came.append("late")
            world.submit(["new"])

        # Between the run's last look at the queue and its summary.
        monkeypatch.setattr(work.unchecked, "check", late)
        outcome = await world.run(narrowed=False)
        assert came
        assert outcome.exit_code == 0
        assert world.asked == ["p1"]
        # The summary names it all the same.
        assert [counts.pending for _, counts in outcome.jobs] == [0, 1]
        monkeypatch.undo()
        assert (await world.run()).exit_code == 0
