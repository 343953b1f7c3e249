"""A server of bare bytes: it says exactly what a script says, and counts the requests
that it received. It knows no HTTP beyond finding a request's end.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from socket import SO_LINGER, SOL_SOCKET
from types import TracebackType
from typing import Self

from batch.clock import SystemClock

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Reset:
    """Tear the connection down (RST) instead of closing it."""


@dataclass(frozen=True, slots=True)
class Silence:
    """Say nothing more, until the client leaves."""


@dataclass(frozen=True, slots=True)
class Drip:
    """The same bytes over and over, until the client leaves."""

    data: bytes
    pause: float = 0.0


Step = bytes | Reset | Silence | Drip
Script = Sequence[Step]


class RawServer:
    """Answers every request with the same script, or with what a function chooses."""

    def __init__(
        self,
        script: Script | bytes | Callable[[bytes], Script | bytes],
        *,
        tls: ssl.SSLContext | None = None,
        otherwise: bytes = b"",
    ) -> None:
        self._script = script
        #: What is said to something that is no request.
        self._otherwise = otherwise
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()
        #: Head and body of every request that came in full.
        self.requests: list[bytes] = []
        self.connections = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", 0, ssl=self._tls, backlog=1024
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for talk in self._talks:
            talk.cancel()
        if self._talks:
            await asyncio.wait(self._talks)
        await self._server.wait_closed()

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://127.0.0.1:{self.port}"

    @property
    def bodies(self) -> list[bytes]:
        return [request.partition(b"\r\n\r\n")[2] for request in self.requests]

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
            request = await _request(reader)
            if request is None:
                await _play(self._otherwise, writer)
            else:
                self.requests.append(request)
                script = self._script
                await _play(script(request) if callable(script) else script, writer)
        except (ConnectionError, ssl.SSLError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()


async def _request(reader: asyncio.StreamReader) -> bytes | None:
    """A whole request; None for what is none, such as a TLS hello."""
    try:
        start = await reader.readexactly(1)
        if not start.isalpha():
            return None
        head = start + await reader.readuntil(b"\r\n\r\n")
        found = _LENGTH.search(head)
        return head + await reader.readexactly(int(found[1]) if found else 0)
    except asyncio.IncompleteReadError:
        return None


async def _play(script: Script | bytes, writer: asyncio.StreamWriter) -> None:
    for step in [script] if isinstance(script, bytes) else script:
        match step:
            case bytes():
                writer.write(step)
                await writer.drain()
            case Silence():
                await _left(writer)
            case Drip():
                while not writer.is_closing():
                    writer.write(step.data)
                    await writer.drain()
                    await SystemClock().sleep(step.pause)
            case Reset():
                socket = writer.get_extra_info("socket")
                # A closing with unsent bytes thrown away is a reset.
                socket.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()


async def _left(writer: asyncio.StreamWriter) -> None:
    while not writer.is_closing():
        await SystemClock().sleep(0.002)


def reply(body: bytes, *, status: str = "200 OK", headers: str = "") -> bytes:
    """A reply with its length stated."""
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


def chunked(*pieces: bytes, headers: str = "") -> bytes:
    """A reply in chunks, each piece one of them, with its end."""
    head = f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{headers}\r\n".encode()
    chunks = [
        f"{len(piece):x}\r\n".encode() + piece + b"\r\n" for piece in pieces if piece
    ]
    return b"".join([head, *chunks, b"0\r\n\r\n"])


def until_closed(body: bytes, *, version: str = "1.0") -> bytes:
    """A reply that only the connection's end delimits."""
    return f"HTTP/{version} 200 OK\r\nConnection: close\r\n\r\n".encode() + body
