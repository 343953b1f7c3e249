"""Turns on a server's database: who waits for all others, and who may judge them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

import pytest
from served import FILE, SERVER
from test_killed import hold
from world import MODEL, a_world

from batch.store import runners


async def test_a_run_that_waits_for_another_takes_no_turn_of_the_whole_database(
    tmp_path, monkeypatch: pytest.MonkeyPatch
):
    async with a_world(tmp_path, database=SERVER) as world:
        world.submit(2)
        hold(world, calls=2)
        database = world.service.database
        backend: Any = database._backend
        take_turn = backend.take_turn
        turns: list[tuple[Any, int | None]] = []

        def counted(connection: Any, account_id: int | None) -> None:
            turns.append((world.clock.time, account_id))
            take_turn(connection, account_id)

        monkeypatch.setattr(backend, "take_turn", counted)
        began = world.clock.time
        outcome = await world.run()

        assert outcome.exit_code == 0
        assert (world.clock.time - began) > database.lease
        # At its beginning and its end, and to take over from the one that died.
        exclusive = [at for at, account_id in turns if account_id is None]
        assert len(exclusive) == 3


async def test_a_runner_that_was_not_heard_itself_takes_nobody_for_dead(tmp_path):
    """The whole database was blocked: all were silent, and all live."""
    async with a_world(tmp_path, database=SERVER) as world:
        world.submit(6)
        database = world.service.database
        assert database.lease is not None
        other = hold(world, calls=1)

        def block() -> None:
            world.clock.time += 1.5 * database.lease

        def beat() -> None:
            database.write(runners.beat, other, world.clock.time)

        def end() -> None:
            now = world.clock.time
            database.write(runners.reap, other, hold=False, now=now)

        world.on_call |= {2: block, 3: beat, 4: end}
        outcome = await world.run(concurrency=1)

        assert outcome.exit_code == 0
        assert world.notes == []
        assert len(world.calls) == 6


async def test_questions_of_a_run_are_answered_beside_whoever_writes(tmp_path):
    async with a_world(tmp_path, database=FILE) as world:
        job = world.submit(1)
        began = world.clock.time
        await world.run()
        (runner,) = world.handle.runners
        with closing(
            sqlite3.connect(world.service.settings.database, isolation_level=None)
        ) as other:
            other.execute("BEGIN IMMEDIATE")

            past = await runner._queries.look_back(1)
            assert past == (False, True, {MODEL})
            assert await runner._queries.has_answered(began)
            assert await runner._queries.invalid_only(job.id, 1) == ("job", 0)
