"""Errors while outcomes are written: no answer is lost, and none is bought twice."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError
from test_kept import database, reopened
from world import World, a_world

from batch.core.model import Settlement
from batch.runner.isolation import Spool
from batch.runner.runner import MOST_UNWRITABLE
from batch.runner.trade import Trade
from batch.service.context import Service
from batch.store import kept, outcomes

ERRORS = [
    OverflowError("Python int too large to convert to SQLite INTEGER"),
    IntegrityError("INSERT …", {}, sqlite3.IntegrityError("UNIQUE constraint failed")),
    AssertionError("a window changed inside a transaction"),
    UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"),
]


@contextmanager
def unwritable(
    is_bad: Callable[[Settlement], bool], error: Exception
) -> Iterator[None]:
    """The database raises this error at such outcomes."""
    settle = outcomes.settle

    def failing(connection: Any, holder: Any, some: Sequence[Settlement], now: Any):
        # As where it happens: some of it is written already.
        settled = settle(connection, holder, some, now)
        if any(map(is_bad, some)):
            raise error
        return settled

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outcomes, "settle", failing)
        yield


def says(text: str) -> Callable[[Settlement], bool]:
    return lambda one: one.completion is not None and one.completion.text.endswith(text)


async def all_answered(world: World) -> None:
    """The next run takes in what was spooled, and asks for nothing twice."""
    world.service = reopened(world)
    with world.service:
        await world.run(concurrency=4)
        world.check()
    assert world.statuses() == {"completed": 12}
    assert len(world.calls) == len(set(world.asked)) == 12
    assert kept.files(database(world)) == []


@pytest.mark.parametrize("error", ERRORS, ids=lambda one: type(one).__name__)
async def test_one_outcome_that_cannot_be_written_costs_only_itself(
    tmp_path: Path, error: Exception
):
    async with a_world(tmp_path) as world:
        world.submit(12)
        with unwritable(says("p7"), error):
            outcome = await world.run(concurrency=6)
        world.check()
        assert world.statuses() == {"completed": 11, "failed": 1}
        assert len(world.calls) == 12
        assert outcome.exit_code == 1
        (failed,) = [one for one in world.export() if one["status"] == "failed"]
        assert failed["custom_id"] == "p7"
        assert failed["error"]["code"] == "unwritable"
        (file,) = kept.files(database(world))
        assert str(file) in failed["error"]["message"]
        assert len(kept.lines(file)) == 1
        (note,) = [one for one in world.notes if "cannot be stored" in one]
        assert str(file) in note
        await all_answered(world)


@pytest.mark.parametrize("room", [0, 1], ids=lambda lines: f"room for {lines}")
async def test_where_the_spool_takes_nothing_what_the_database_takes_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
):
    spooled = kept._write

    def full(where: Path, data: bytes) -> Path:
        if data.count(b"\n") > room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return spooled(where, data)

    async with a_world(tmp_path) as world:
        world.submit(12)
        with monkeypatch.context() as patch, unwritable(says("p7"), ERRORS[0]):
            patch.setattr(kept, "_write", full)
            if room:
                await world.run(concurrency=6)
            else:
                # An answer was lost: no other is bought.
                with pytest.raises(OverflowError):
                    await world.run(concurrency=6)
        world.check()
        calls = len(world.calls)
        assert world.statuses()["failed"] == 1
        assert world.statuses()["completed"] == calls - 1
        (failed,) = [one for one in world.export() if one["status"] == "failed"]
        assert failed["custom_id"] == "p7"
        (note,) = [one for one in world.notes if "cannot be stored" in one]
        if room:
            await all_answered(world)
            return
        lost = "1 answer is lost, as no file could be written: No space left on device."
        assert lost in note
        assert failed["error"]["message"].endswith(
            "its answer is lost (No space left on device)"
        )
        world.service = reopened(world)
        with world.service:
            await world.run(concurrency=4)
            world.check()
        assert world.statuses() == {"completed": 11, "failed": 1}
        assert len(world.calls) == len(set(world.asked)) == 12


async def test_where_nothing_can_be_written_the_run_ends_with_everything_spooled(
    tmp_path: Path,
):
    async with a_world(tmp_path) as world:
        world.submit(12)
        with (
            unwritable(lambda one: one.completion is not None, ERRORS[0]),
            pytest.raises(OverflowError),
        ):
            await world.run(concurrency=2)
        world.check()
        assert MOST_UNWRITABLE <= len(world.calls) <= MOST_UNWRITABLE + 2
        assert world.statuses()["failed"] == len(world.calls)
        await all_answered(world)


async def test_where_not_even_the_failure_can_be_written_no_answer_is_lost(
    tmp_path: Path,
):
    async with a_world(tmp_path) as world:
        world.submit(12)
        with (
            unwritable(lambda _: len(world.calls) > 5, ERRORS[2]),
            pytest.raises(AssertionError),
        ):
            await world.run(concurrency=3)
        calls = len(world.calls)
        assert 5 < calls <= 9
        spooled = sum(len(kept.lines(one)) for one in kept.files(database(world)))
        done = world.query("SELECT count(*) FROM requests WHERE state = 'completed'")
        assert spooled + done[0][0] == calls
        await all_answered(world)


async def test_an_error_that_is_no_outcome_s_ends_the_run_with_all_outcomes_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async with a_world(tmp_path) as world:
        world.submit(12)
        error = OverflowError("a header's number")

        def overflow(*_: Any) -> None:
            if len(world.calls) > 4:
                raise error

        with monkeypatch.context() as patch:
            patch.setattr(Trade, "_take_over_statements", overflow)
            with pytest.raises(OverflowError, match="a header's number"):
                await world.run(concurrency=3)
        world.check()
        assert 4 < len(world.calls) <= 8
        assert world.statuses()["completed"] == len(world.calls)
        await all_answered(world)


async def test_a_command_beside_that_takes_in_the_spooled_answers_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    drop = Spool.drop
    async with a_world(tmp_path, faults={3: "http:400"}) as world:
        world.submit(12)
        mine = world.service

        def after_a_command(spool: Spool, entry_ids: Sequence[int]) -> None:
            with Service(mine.settings, mine.clock, mine.random, mine.connect) as other:
                assert kept.files(other.database.path) == []
            drop(spool, entry_ids)

        def is_bad(one: Settlement) -> bool:
            return one.failure is not None and one.failure.code != "unwritable"

        monkeypatch.setattr(Spool, "drop", after_a_command)
        with unwritable(is_bad, ERRORS[1]):
            await world.run(concurrency=12)
        world.check()
        assert world.statuses() == {"completed": 11, "failed": 1}
        assert len(world.calls) == 12
