"""The calls of a run that was killed are counted, and asked again only so often."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest
from world import World, a_world

from batch import presence, worker
from batch.cli.status import status_lines
from batch.clock import one_turn
from batch.core.expected import Expected
from batch.core.model import (
    UNCHECKED,
    Completion,
    EntryState,
    Failure,
    RequestState,
    Settlement,
)
from batch.runner import endings
from batch.service import living, reading, unchecked, upkeep, work
from batch.store import jobs, outcomes, queue, runners
from batch.store.purse import Holder
from batch.store.schema import entries

OBJECT = Expected(schema='{"type": "object"}')

pytestmark = pytest.mark.usefixtures("database")


async def die(world: World, calls: int) -> None:
    """What a run does that is killed with so many calls in flight."""
    service = world.service
    hold(world, calls)
    if service.database.lease is not None:
        # No lock tells that it died: its silence does.
        world.clock.time += 2 * service.database.lease


def hold(world: World, calls: int) -> int:
    """Begin a runner with so many calls in flight; its id."""
    service = world.service
    profile, now = service.settings.profile(), world.clock.now()
    with service.database.transaction() as connection:
        for runner_id in living.dead_runners(connection, service):
            runners.reap(connection, runner_id, hold=False, now=now)
        holder = work._begin(connection, service, profile, "killed", 0)
        queue.claim(connection, holder, jobs.listed(connection), calls, now)
    return holder.runner_id


async def test_a_take_over_that_is_not_committed_leaves_the_lock_file(tmp_path):
    async with a_world(tmp_path) as world:
        world.submit(2)
        await die(world, calls=1)
        service = world.service
        service.locks.mkdir(exist_ok=True)
        lock = service.locks / "killed.lock"
        lock.touch()
        with service.database.transaction() as connection:
            assert living.dead_runners(connection, service)
            connection.rollback()
        assert lock.exists()
        await world.run()
        assert not lock.exists()


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
        # Behind those that were not tried yet.
        assert world.asked == ["p3", "p4", "p5"]


async def test_a_prompt_that_kills_every_run_fails_in_the_end(tmp_path):
    async with a_world(tmp_path) as world:
        deadly = world.submit(1)
        for _ in range(runners.MOST_DOUBTS):
            await die(world, calls=1)
        others = world.submit(["p2", "p3"])
        outcome = await world.run()
        world.check()
        assert outcome.exit_code == 1
        assert world.asked == ["p2", "p3"]
        [lost], answered = world.export(deadly), world.export(others)
        assert (lost["custom_id"], lost["attempts"]) == ("p1", runners.MOST_DOUBTS)
        assert lost["error"]["code"] == "in_doubt"
        assert {line["status"] for line in answered} == {"completed"}
        assert world.errors() == {"in_doubt": runners.MOST_DOUBTS}


async def test_what_waited_for_its_next_attempt_is_asked_by_the_run_beside(tmp_path):
    async with a_world(tmp_path) as world:
        world.submit(2)

        def another_fails_and_dies() -> None:
            service, now = world.service, world.clock.now()
            profile = service.settings.profile()
            with service.database.transaction() as connection:
                holder = work._begin(connection, service, profile, "killed", 0)
                (claim,) = queue.claim(
                    connection, holder, jobs.listed(connection), 1, now
                ).claims
                between_attempts = Settlement(
                    entry_id=claim.entry_id,
                    request_id=claim.request_id,
                    state=RequestState.RUNNING,
                    credit=EntryState.SPENT,
                    failure=Failure(code="http_500", message="no luck", sent=True),
                    verdict="retry",
                    counts=True,
                )
                outcomes.settle(connection, holder, [between_attempts], now)

        world.on_call[1] = another_fails_and_dies
        outcome = await world.run(concurrency=1)
        world.check()
        assert outcome.exit_code == 0
        assert world.asked == ["p1", "p2"]


@pytest.mark.long
async def test_a_run_says_when_it_waits_long_for_another(tmp_path):
    async with a_world(tmp_path, latency=200.0) as world:
        world.submit(1)
        await asyncio.gather(world.run(), world.run())
        assert world.notes == [endings.ELSEWHERE]


async def test_answers_are_on_disk_while_they_are_checked(tmp_path, monkeypatch):
    begun, may_end = 0, asyncio.Event()

    async def slowly(_expected: Expected, _text: str) -> str | None:
        nonlocal begun
        begun += 1
        if begun > 1:
            # The first call goes alone, until it is known how it ended.
            await may_end.wait()
        return None

    monkeypatch.setattr(worker, "fault_soon", slowly)
    async with a_world(tmp_path) as world:
        world.submit(2, expected=OBJECT)
        answers = "SELECT count(*) FROM results WHERE text IS NOT NULL"
        run = asyncio.ensure_future(world.run())
        while world.query(answers) != [(2,)]:
            await one_turn()
        assert begun == 2
        states = "SELECT state FROM requests ORDER BY id"
        assert world.query(states) == [("completed",), ("running",)]
        may_end.set()
        assert (await run).exit_code == 0
        assert len(world.calls) == 2
        assert world.query("SELECT valid FROM results") == [(1,), (1,)]


def leave_unchecked(world: World, *texts: str) -> None:
    """Begin a runner that records these answers, and has not checked them."""
    runner_id = hold(world, calls=len(texts))
    with world.service.database.transaction() as connection:
        rows = connection.execute(entries.select()).all()
        holder = Holder(runner_id=runner_id, account_id=rows[0].account_id, quotas=())
        left = [
            Settlement(
                entry_id=row.id,
                request_id=row.request_id,
                state=RequestState.RUNNING,
                credit=EntryState.SPENT,
                completion=Completion(
                    text=text, finish_reason="stop", valid=False, invalid=UNCHECKED
                ),
            )
            for row, text in zip(rows, texts, strict=True)
        ]
        outcomes.settle(connection, holder, left, world.clock.now())


async def test_a_run_checks_the_answers_that_a_dead_one_left_unchecked(tmp_path):
    async with a_world(tmp_path) as world:
        world.submit(2, expected=OBJECT)
        leave_unchecked(world, '{"a": 1}')
        service = world.service
        # No other host is to continue the job.
        assert service.database.look(jobs.listed)[0].host
        if service.database.lease is not None:
            world.clock.time += 2 * service.database.lease

        await world.run()

        assert world.asked == ["p2"]
        first, _ = world.query("SELECT valid, invalid FROM results ORDER BY request_id")
        assert first == (1, None)
        assert "Checked an answer" in world.notes[-1]


@pytest.mark.parametrize("lives", [False, True])
async def test_a_retry_reaches_the_answers_that_a_dead_run_left_unchecked(
    tmp_path, lives
):
    async with a_world(tmp_path) as world:
        job = world.submit(3, expected=OBJECT)
        leave_unchecked(world, "prose", "{}")
        service = world.service
        with ExitStack() as held:
            if lives:
                held.enter_context(presence.Presence(service.locks, "killed"))
            else:
                service.locks.mkdir(exist_ok=True)
                (service.locks / "killed.lock").touch()
            (report,) = reading.job_reports(service)
            unchecked.check(service, world.notes.append)
            done = upkeep.retry(service, str(job.id), invalid=True)
        states = world.query("SELECT state FROM requests ORDER BY id")
        told = (report.interrupted, report.counts.unchecked, report.counts.invalid)
        assert told == ((0, 0, 0) if lives else (0, 2, 0))
        line = "2 answers recorded and not checked yet; the next run checks them"
        text = "\n".join(status_lines(service, report, detailed=True))
        assert (line in text, "died" in text) == (not lives, False)
        if lives:
            assert (done.number, world.notes) == (0, [])
            assert states == [("running",), ("running",), ("pending",)]
        else:
            assert done.number == 1
            assert world.notes[0].startswith("Checked 2 answers")
            assert states == [("pending",), ("completed",), ("pending",)]
