"""A database's server that goes away, and comes back: nothing is lost or paid twice."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
from world import World, a_world

from batch.core.expected import Expected, OnInvalid
from batch.errors import StoreAwayError
from batch.runner import runner
from batch.runner.queries import RunQueries
from batch.store import kept

GONE = StoreAwayError("the server cannot be reached")


class Line:
    """The way to the database, which can be cut."""

    def __init__(self, world: World, patch: pytest.MonkeyPatch) -> None:
        self._store = world.service.database
        self._write = self._store.write
        #: Transactions so far, those that were never heard of included.
        self.count = 0
        #: Those that are never carried out, and those whose reply is lost.
        self.unsent: Collection[int] = ()
        self.unheard: Collection[int] = ()
        patch.setattr(self._store, "write", self.write)

    def write(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        self.count += 1
        number = self.count
        if number in self.unsent:
            raise GONE
        done = self._write(function, *args, **kwargs)
        if number in self.unheard:
            raise GONE
        return done


@pytest.mark.parametrize("number", range(4, 16))
@pytest.mark.parametrize("what", ["unsent", "unheard"])
@pytest.mark.long
async def test_a_transaction_that_is_lost_costs_neither_answer_nor_credit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, what: str
):
    """The run goes on by itself; what a lost reply had claimed is claimed anew."""
    async with a_world(tmp_path, faults={3: "http:503"}) as world:
        world.submit(8)
        with monkeypatch.context() as patch:
            line = Line(world, patch)
            setattr(line, what, {number})
            outcome = await world.run(concurrency=3)
        assert outcome.exit_code == 0
        world.check()
        assert world.statuses() == {"completed": 8}
        assert len(world.calls) == 9
        assert world.entries()["spent"] == 9
        assert world.used() == {"2026-03-02": 9}
        if number < line.count - 1:
            told = [note for note in world.notes if "Waiting for it" in note]
            assert len(told) == 1
            assert "The database is back." in world.notes


@pytest.mark.parametrize("first", [16, 28])
@pytest.mark.long
async def test_more_outcomes_than_a_transaction_takes_outlast_a_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int
):
    """Outcomes left for the next transaction are of calls that were made."""
    monkeypatch.setattr(runner, "AT_ONCE", 3)
    expected = Expected(schema='{"type": "object"}', on_invalid=OnInvalid.RETRY)
    async with a_world(tmp_path, latency=6.0) as world:
        world.submit(40, max_attempts=2, expected=expected)
        with monkeypatch.context() as patch:
            Line(world, patch).unsent = range(first, first + 12)
            await world.run(concurrency=12, allow_invalid=True)
        world.check()
        assert len(world.calls) == 80
        assert world.entries() == {"spent": 80}


@pytest.mark.long
async def test_many_losses_in_a_row_are_outlasted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async with a_world(tmp_path) as world:
        world.submit(30)
        with monkeypatch.context() as patch:
            line = Line(world, patch)
            line.unheard = range(4, 60, 3)
            line.unsent = range(5, 60, 3)
            outcome = await world.run(concurrency=4)
        assert outcome.exit_code == 0
        world.check()
        assert world.statuses() == {"completed": 30}
        assert len(world.calls) == 30
        assert world.used() == {"2026-03-02": 30}


async def test_a_server_that_stays_away_ends_the_run_with_its_answers_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async with a_world(tmp_path) as world:
        world.submit(20)
        path = world.service.settings.beside_database
        with monkeypatch.context() as patch:
            line = Line(world, patch)
            line.unsent = range(8, 100_000)
            began = world.clock.monotonic()
            with pytest.raises(StoreAwayError, match="kept in") as error:
                await world.run(concurrency=4, max_pause=300.0)
            assert error.value.exit_code == 69
            assert 300 <= world.clock.monotonic() - began < 330
        calls = len(world.calls)
        (file,) = kept.files(path)
        assert file.exists()
        world.service._take_in_answers(world.service.database)
        outcome = await world.run()
        assert outcome.exit_code == 0
        world.check()
        assert world.statuses() == {"completed": 20}
        assert len(world.calls) == 20
        assert calls < 20


async def test_a_word_ends_a_run_that_waits_for_its_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async with a_world(tmp_path) as world:
        world.submit(20)
        with monkeypatch.context() as patch:
            line = Line(world, patch)
            line.unsent = range(6, 100_000)
            note = world.notes.append
            world.notes = Heard(note, lambda: world.handle.interrupt(130))
            with pytest.raises(StoreAwayError):
                await world.run(concurrency=2, wait=True)
        await world.run()
        world.check()


class Heard(list[str]):
    """Notes; at the one that the database is waited for, something happens."""

    def __init__(self, _note: object, act: Callable[[], object]) -> None:
        super().__init__()
        self._act = act

    def append(self, text: str) -> None:
        super().append(text)
        if "Waiting for it" in text:
            self._act()


async def test_a_question_that_is_lost_costs_no_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Also where the transaction before it has granted some."""
    invalid_only, asked = RunQueries.invalid_only, []

    async def lost_once(queries: RunQueries, job_id: int, most: int) -> tuple[str, int]:
        asked.append(job_id)
        if len(asked) == 1:
            raise GONE
        return await invalid_only(queries, job_id, most)

    monkeypatch.setattr(RunQueries, "invalid_only", lost_once)
    async with a_world(tmp_path) as world:
        world.submit(8, expected=Expected(schema='{"type": "object"}'))
        await world.run()
        assert asked
        world.check()
        assert world.statuses() == {"completed": 8}
        assert world.entries() == {"spent": 8}
