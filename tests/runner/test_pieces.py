"""Long work on a queue in short transactions: a run beside it is not held up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from world import World, a_world

from batch.errors import QuotabatchError
from batch.service import upkeep

ROWS, PIECE = 35, 10


@contextmanager
def watched(world: World, patch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """By transaction, how many requests are in another state after it."""
    database = world.service.database
    begin, changed = database.transaction, list[int]()

    def states() -> Counter[Any]:
        return Counter(world.query("SELECT id, state FROM requests"))

    @contextmanager
    def counted(account_id: int | None = None) -> Iterator[Any]:
        before = states()
        with begin(account_id) as connection:
            yield connection
        changed.append((states() - before).total())

    with patch.context() as inner:
        inner.setattr(database, "transaction", counted)
        inner.setattr(upkeep, "PIECE", PIECE)
        yield changed


def cancel(world: World) -> None:
    upkeep.cancel(world.service, "1")


def take_back(world: World) -> None:
    upkeep.retry(world.service, "1", cancelled=True)


def retry(world: World) -> None:
    upkeep.retry(world.service, "1")


def ask_anew(world: World) -> None:
    upkeep.retry(world.service, "1", finish_reasons=["stop"])


@pytest.mark.parametrize(
    ("answered", "deeds", "ends"),
    [
        (False, [cancel], "cancelled"),
        (False, [cancel, take_back], "pending"),
        (True, [ask_anew], "pending"),
        (True, [ask_anew, cancel], "completed"),
    ],
)
async def test_no_transaction_changes_more_requests_than_a_piece(
    tmp_path,
    monkeypatch: pytest.MonkeyPatch,
    answered: bool,
    deeds: list[Callable[[World], None]],
    ends: str,
):
    async with a_world(tmp_path) as world:
        world.submit(ROWS)
        if answered:
            assert (await world.run()).exit_code == 0
        for deed in deeds:
            with watched(world, monkeypatch) as changed:
                deed(world)
            assert sum(changed) == ROWS
            assert max(changed) == PIECE
        assert world.statuses() == {ends: ROWS}


async def test_failed_requests_are_retried_in_pieces(
    tmp_path, monkeypatch: pytest.MonkeyPatch
):
    faults = dict.fromkeys(range(1, ROWS + 1), "http:400")
    async with a_world(tmp_path, faults=faults) as world:
        world.submit(ROWS)
        await world.run(max_failures=100)
        failed = world.statuses()["failed"]
        with watched(world, monkeypatch) as changed:
            retry(world)
        assert sum(changed) == failed > 2 * PIECE
        assert max(changed) == PIECE


@pytest.mark.parametrize("deed", [cancel, take_back])
async def test_what_is_interrupted_says_how_far_it_came_and_goes_on(
    tmp_path, monkeypatch: pytest.MonkeyPatch, deed
):
    async with a_world(tmp_path) as world:
        world.submit(ROWS)
        if deed is take_back:
            cancel(world)
        write, writes = world.service.database.write, list[object]()

        def interrupted(*args: Any, **kwargs: Any) -> Any:
            writes.append(args[0])
            if len(writes) == 3:
                raise KeyboardInterrupt
            return write(*args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(world.service.database, "write", interrupted)
            patch.setattr(upkeep, "PIECE", PIECE)
            with pytest.raises(QuotabatchError) as error:
                deed(world)
        assert error.value.exit_code == 130
        assert f"of {ROWS} requests" in str(error.value)
        assert "the same command goes on" in str(error.value)
        assert len(world.statuses()) == 2
        deed(world)
        assert len(world.statuses()) == 1
