"""An answer that was on its way when the service died tells nothing of it since."""

from __future__ import annotations

from typing import Any

import pytest
from test_progress import ALL, Moody, down, states
from world import a_world

DIES_AT = 7


class Dying(Moody):
    """Answers at once, but for the last answer before it dies."""

    def _receive(self, body: Any, key: object) -> tuple[str, str]:
        self.latency = 12.0 if len(self.calls) + 2 == DIES_AT else 0.0
        return super()._receive(body, key)


@pytest.mark.parametrize("concurrency", [2, 4])
async def test_it_does_not_keep_the_breaker_from_tripping(tmp_path, concurrency):
    async with a_world(tmp_path, kind=Dying) as world:
        world.submit(60)
        down(world, range(DIES_AT, 1000))
        outcome = await world.run(concurrency=concurrency)
        assert outcome.exit_code == 69
        world.check()
        answers = DIES_AT - 1
        assert states(world) == {"completed": answers, "pending": 60 - answers}
        assert len(world.calls) - answers <= ALL + concurrency - 1
