"""An endpoint with a limit that no profile states: refusals with a wait."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from aiohttp import web
from world import a_world

from batch.standin.http import body_of
from batch.standin.service import Standin

MINUTE = timedelta(minutes=1)
WITHOUT_QUOTAS = "[profiles.espai]\nquotas = []\n"
A_DAY = "[profiles.espai]\nquotas = [{ name = 'daily', limit = 200, window = 'day' }]\n"


class Rationed(Standin):
    """Answers ten calls in any minute, and says how long to wait for the next."""

    refused = 0

    async def _llm(self, request: web.Request) -> web.StreamResponse:
        body = await body_of(request)
        now = self._now()
        recent = [call.at for call in self.calls if call.at > now - MINUTE]
        if len(recent) >= 10:
            self.refused += 1
            wait = math.ceil((recent[-10] + MINUTE - now).total_seconds())
            headers = {"Retry-After": str(wait)}
            return web.Response(status=429, text="slow down", headers=headers)
        self._receive(body, body.get("api_key"))
        return await self._stream(request, self.answer(body))


class Closed(Standin):
    """Refuses every call, with a wait of years."""

    retry_after = ""

    async def _llm(self, request: web.Request) -> web.StreamResponse:
        body = await body_of(request)
        self._receive(body, body.get("api_key"))
        headers = {"Retry-After": self.retry_after}
        return web.Response(status=429, text="not now", headers=headers)


@pytest.mark.parametrize("concurrency", [1, 4])
async def test_a_limit_that_no_profile_states_fails_no_request(tmp_path, concurrency):
    async with a_world(
        tmp_path, limit=None, config_toml=WITHOUT_QUOTAS, kind=Rationed
    ) as world:
        world.submit(45)
        outcome = await world.run(concurrency=concurrency)
        world.check()
        assert outcome.exit_code == 0
        assert world.statuses() == {"completed": 45}
        assert len(world.calls) == 45
        assert world.standin.refused <= 4 * concurrency


@pytest.mark.parametrize("quotas", [WITHOUT_QUOTAS, A_DAY], ids=["none", "a day"])
@pytest.mark.parametrize(
    "retry_after", ["99999999999", "Wed, 01 Jan 2099 00:00:00 GMT"]
)
async def test_a_wait_of_years_is_not_tried_again(tmp_path, retry_after, quotas):
    async with a_world(tmp_path, limit=None, config_toml=quotas, kind=Closed) as world:
        world.standin.retry_after = retry_after
        world.submit(20)
        outcome = await world.run()
        world.check()
        assert outcome.exit_code == 75
        assert world.statuses() == {"pending": 20}
        assert len(world.calls) == 1
