"""A database that is removed or replaced in mid-run stops the run."""

from __future__ import annotations

import pytest
from world import a_world

from batch.errors import StoreError


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
