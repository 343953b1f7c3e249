"""A call that is taken back is no failure, and a closed endpoint sends none."""

from __future__ import annotations

import asyncio

import pytest
from asking import BRIEF, KEY, ask, claim, profile
from bareline import OK, failure
from bareserver import RawServer, Silence

from batch.clock import SystemClock
from batch.providers.espai import EspaiEndpoint


async def test_a_call_that_is_cancelled_is_no_failure():
    heard: list[str] = []
    async with RawServer([OK[:60], Silence()]) as server:
        call = asyncio.create_task(ask(server.url, heard=heard))
        while not heard:
            await SystemClock().sleep(0.001)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert len(server.requests) == 1


async def test_a_closed_endpoint_sends_nothing():
    async with RawServer(OK) as server:
        endpoint = EspaiEndpoint(profile(server.url), KEY, BRIEF)
        await endpoint.close()
        failure(await endpoint.call(claim(), None), "unsendable", sent=False)
        assert server.connections == 0
