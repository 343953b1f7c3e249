"""A connection that is kept never brings the answer to another prompt."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

import pytest
from asking import claim
from chatting import whole

from batch.clock import one_turn
from batch.core.model import Completion, Failure
from batch.providers import idle, wire
from batch.providers.bounds import Bounds
from batch.providers.openai import OpenaiEndpoint
from batch.providers.profiles import Profile, merged

STRAY = "an answer to nobody"
#: Turns of the loop that a server waits for another request.
MOST_TURNS = 5000


def reply(text: str) -> bytes:
    body = whole({"role": "assistant", "content": text}).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Content-Type: application/json\r\n\r\n".encode() + body


class Ticking:
    """A clock that goes by the server's requests, whatever load the machine is under.

    By the real one, a pause of this process would be silence to the client, and the
    server, which is paused too, would speak only after it.
    """

    def __init__(self) -> None:
        self._now = 0.0

    def time(self) -> float:
        return self._now

    def tick(self) -> None:
        self._now += idle.QUIET / 10

    async def sleep(self, seconds: float) -> None:
        until = self._now + seconds
        for _ in range(MOST_TURNS):
            if self._now >= until:
                break
            await one_turn()


class Keeping:
    """A server that keeps its connections, and says more than was asked."""

    def __init__(self, *after: bytes | float, hangs_up: bool = False) -> None:
        #: What is said behind each reply; a number waits so many seconds of its clock.
        self._after = after
        self.clock = Ticking()
        self._hangs_up = hangs_up
        self.connections = self.requests = 0
        self._talks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        server.close()
        for talk in self._talks:
            talk.cancel()
        if self._talks:
            await asyncio.wait(self._talks)
        await server.wait_closed()

    def _accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        talk = asyncio.ensure_future(self._talk(reader, writer))
        self._talks.add(talk)
        talk.add_done_callback(self._talks.discard)

    async def _talk(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while await self._answer(reader, writer) and not self._hangs_up:
                    pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split()[0])
        body = json.loads(await reader.readexactly(length))
        self.requests += 1
        self.clock.tick()
        said = [reply("re: " + body["messages"][-1]["content"]), *self._after]
        await self._say(writer, said)
        return True

    async def _say(
        self, writer: asyncio.StreamWriter, said: list[bytes | float]
    ) -> None:
        together = b""
        for one in said:
            if isinstance(one, bytes):
                together += one
                continue
            writer.write(together)
            together = b""
            await self.clock.sleep(one)
        writer.write(together)
        await writer.drain()


def ollama(url: str) -> Profile:
    table = {"base_url": url, "stream": False, "connections": "pooled"}
    return merged({"ollama": table}, "test")["ollama"]


async def asked(
    server: Keeping,
    prompts: int,
    between: Callable[[], object] = lambda: None,
    at_once: int = 1,
    idle: int = 256,
) -> list[str | None]:
    """Ask so many prompts, some at a time; the answers, None for a failure."""
    async with server.served() as url:
        endpoint = OpenaiEndpoint(ollama(url), None, Bounds(idle=idle))
        found: list[str | None] = []
        try:
            for start in range(0, prompts, at_once):
                calls = [
                    endpoint.call(claim(f"prompt {place}", model="m"), None)
                    for place in range(start, start + at_once)
                ]
                for done in await asyncio.gather(*calls):
                    assert isinstance(done, Completion | Failure)
                    found.append(done.text if isinstance(done, Completion) else None)
                between()
        finally:
            await endpoint.close()
        return found


def own(prompts: int) -> list[str]:
    return [f"re: prompt {place}" for place in range(prompts)]


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections are used again at once."""
    monkeypatch.setattr(idle, "QUIET", 0.0)


@pytest.mark.parametrize("at_once", [1, 8])
@pytest.mark.parametrize(
    "after",
    [
        [reply(STRAY)],
        [reply(STRAY), reply(STRAY)],
        [0.0, reply(STRAY)],
        [0.001, reply(STRAY)],
        [0.02, reply(STRAY)],
        [reply(STRAY)[:20], 0.02, reply(STRAY)[20:]],
        [0.02, reply(STRAY)[:20], 0.02, reply(STRAY)[20:]],
    ],
)
async def test_a_reply_too_many_is_nobodys_answer(after, at_once, monkeypatch):
    server = Keeping(*after)
    kept = partial(idle.Idle, server.clock)
    monkeypatch.setattr(wire, "Idle", lambda _, most: kept(most))
    assert await asked(server, 40, at_once=at_once) == own(40)
    assert server.requests == 40


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize(
    "after", [[reply(STRAY)], [reply(STRAY), reply(STRAY)], [b"\r\n"], [b"HTTP/1.1 2"]]
)
async def test_a_connection_on_which_bytes_wait_is_not_used(after):
    server = Keeping(*after)
    # Half a head goes with the reply's reader; what follows it would not be HTTP.
    assert STRAY not in await asked(server, 10)


@pytest.mark.usefixtures("eager")
async def test_a_silent_connection_is_used_again(over):
    server = Keeping()
    assert await asked(server, 10) == own(10)
    # A session keeps none.
    assert server.connections == {"wire": 1, "session": 10}[over]


async def test_a_connection_is_used_again_only_once_it_was_silent_for_a_while():
    server = Keeping()
    assert await asked(server, 10) == own(10)
    assert server.connections == 10


@pytest.mark.usefixtures("eager")
async def test_a_connection_that_was_closed_meanwhile_costs_no_call():
    server = Keeping(hangs_up=True)
    found = await asked(server, 10)
    assert [one for one in found if one is not None] == own(10)[: len(found)]


@pytest.mark.usefixtures("eager")
async def test_no_more_connections_are_kept_than_are_allowed(over):
    server = Keeping()
    await asked(server, 16, at_once=8, idle=2)
    assert server.connections == {"wire": 14, "session": 16}[over]


@pytest.mark.usefixtures("eager")
async def test_a_connection_that_has_waited_too_long_is_not_used(monkeypatch):
    monkeypatch.setattr(idle, "STALE", 0.0)
    server = Keeping()
    assert await asked(server, 3) == own(3)
    assert server.connections == 3
