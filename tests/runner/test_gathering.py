"""Outcomes that come in together are written together; none waits for one that is late.

A transaction takes nearly the same for many as for one.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from world import MODEL, World, a_world

from batch.clock import one_turn
from batch.core.model import Claim, Completion, Reply
from batch.core.statements import Statement
from batch.providers.base import OnText
from batch.runner import runner
from batch.runner.trade import Trade
from batch.runner.tray import QUIET


class Endpoint:
    """Answers after some turns of the loop, or seconds, by the request's number."""

    def __init__(self, world: World, late: Callable[[int], int | float]) -> None:
        self._world = world
        self._late = late

    async def call(self, claim: Claim, on_text: OnText | None) -> Reply:
        late = self._late(int(claim.custom_id.removeprefix("p")))
        if isinstance(late, float):
            await self._world.clock.sleep(late)
        else:
            for _ in range(late):
                await one_turn()
        return Completion(
            text=f"[{MODEL}] 答：{claim.custom_id}", finish_reason="stop", model=MODEL
        )

    async def time(self) -> datetime | None:
        return None

    async def reach(self) -> datetime | None:
        return None

    async def balance(self, now: datetime) -> Statement | None:
        return None

    async def close(self) -> None:
        pass


async def written(
    home: Path, patch: pytest.MonkeyPatch, late: Callable[[int], int | float]
) -> list[int]:
    """How many outcomes each transaction of a run of 15 took: 1, 2, 4, 8 at once."""
    sizes: list[int] = []
    exchange = Trade.exchange

    async def watched(self: Trade, batch: Any, *args: Any, **out: Any) -> Any:
        sizes.append(len(batch.settlements))
        return await exchange(self, batch, *args, **out)

    patch.setattr(Trade, "exchange", watched)
    async with a_world(home) as world:
        world.submit(15)
        world.service.connect = lambda *_: Endpoint(world, late)
        assert (await world.run(concurrency=8)).exit_code == 0
        assert world.statuses() == {"completed": 15}
        assert world.entries() == {"spent": 15}
    return [size for size in sizes if size]


async def test_what_comes_in_one_after_the_other_is_written_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    sizes = await written(tmp_path, monkeypatch, lambda number: 1 + number % 4)
    assert sizes == [1, 2, 4, 8]


async def test_nobody_waits_for_what_takes_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    late = {7: 60.0, 15: QUIET + 60}
    sizes = await written(tmp_path, monkeypatch, lambda number: late.get(number, 1))
    assert sum(sizes) == 15
    assert sizes[:3] == [1, 2, 3]


@pytest.mark.parametrize("most", [1, 3, 8])
async def test_a_transaction_takes_so_many_and_the_next_one_follows_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
):
    """Halves of many calls would else take turns at waiting for each other."""
    monkeypatch.setattr(runner, "AT_ONCE", most)
    taken: list[tuple[int, int]] = []
    exchange = Trade.exchange

    async def watched(self: Trade, batch: Any, *args: Any, **out: Any) -> Any:
        traded = await exchange(self, batch, *args, **out)
        claims = traded.claimed.claims if traded.claimed else []
        taken.append((len(batch.settlements), len(claims)))
        return traded

    monkeypatch.setattr(Trade, "exchange", watched)
    async with a_world(tmp_path) as world:
        world.submit(30)
        # Nothing is left to claim for as long as the last one takes.
        late = {30: 60.0}
        world.service.connect = lambda *_: Endpoint(world, lambda n: late.get(n, 1))
        began = world.clock.now()
        assert (await world.run(concurrency=16)).exit_code == 0
        assert world.statuses() == {"completed": 30}
        assert world.clock.now() - began < timedelta(seconds=70)
    outcomes, claims = zip(*taken, strict=True)
    assert max(outcomes) == max(claims) == most
    assert sum(outcomes) == sum(claims) == 30
    # None of them is for nothing, but to look whether anything is left.
    assert len([one for one in taken if one == (0, 0)]) < 15


@pytest.mark.parametrize("most", [1, 3, 8])
async def test_slots_that_are_left_are_claimed_for_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
):
    """Not when the first of the calls is answered: that may be in a minute."""
    monkeypatch.setattr(runner, "AT_ONCE", most)
    async with a_world(tmp_path) as world:
        world.submit(15)
        world.service.connect = lambda *_: Endpoint(world, lambda _: 60.0)
        began = world.clock.now()
        assert (await world.run(concurrency=8)).exit_code == 0
        # 1, 2, 4, and 8 at once.
        assert world.clock.now() - began < timedelta(seconds=4 * 60 + 5)
