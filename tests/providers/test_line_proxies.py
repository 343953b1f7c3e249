"""Proxies, to which nothing is told that is meant for the endpoint behind them."""

from __future__ import annotations

import asyncio

import pytest
from asking import KEY, claim

from batch.core.model import Failure
from batch.providers.bounds import Bounds
from batch.providers.openai import OpenaiEndpoint
from batch.providers.profiles import merged


class Proxy:
    """A proxy that wants a login, and keeps the heads of the requests to it."""

    def __init__(self) -> None:
        self.heads: list[str] = []

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()


async def head_to_the_proxy(scheme: str, login: str = "") -> str:
    """Make one call by a proxy; the head of the one request that reaches it."""
    proxy = Proxy()
    async with await asyncio.start_server(proxy.serve, "127.0.0.1", 0) as server:
        where = f"{login}127.0.0.1:{server.sockets[0].getsockname()[1]}"
        table = {
            "protocol": "openai",
            "base_url": f"{scheme}://model.example/v1",
            "quotas": [],
            "proxy": f"http://{where}",
        }
        profile = merged({"mine": table}, "test")["mine"]
        endpoint = OpenaiEndpoint(profile, KEY, Bounds())
        try:
            got = await endpoint.call(claim(), None)
        finally:
            await endpoint.close()
    assert isinstance(got, Failure)
    assert got.status == 407
    (head,) = proxy.heads
    return head


@pytest.mark.parametrize("login", ["", "anna:secret@"])
async def test_a_proxy_that_makes_a_tunnel_is_not_told_the_key(login):
    head = await head_to_the_proxy("https", login)
    assert head.startswith("CONNECT model.example:443 ")
    assert KEY not in head
    assert ("Proxy-Authorization: Basic " in head) == bool(login)


@pytest.mark.parametrize("login", ["", "anna:secret@"])
async def test_the_key_is_no_login_of_a_proxy(login):
    head = await head_to_the_proxy("http", login)
    assert head.startswith("POST http://model.example/v1/chat/completions ")
    assert head.count(KEY) == 1
    assert f"\r\nAuthorization: Bearer {KEY}\r\n" in head
    assert ("Proxy-Authorization: Basic " in head) == bool(login)
