"""A fault of our own is not hidden, and leaves nothing amiss."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from world import a_world


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
