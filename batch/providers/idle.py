"""Connections that are kept for the next call, and are fit for it only while silent.

A reply that nobody asked for would be read as the answer to the next request. So a
connection is used again only once it has been silent for a while, and never when bytes
have come in, were they half a line.

That narrows the gap and does not close it: such a reply that comes only once the next
request was sent is read as the answer to that. HTTP/1.1 has no sign by which to tell.
"""

from __future__ import annotations

import asyncio
import select
from collections import deque

from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection

#: Minimum silence before a connection is used again, seconds.
QUIET = 0.25
#: Maximum idle time, seconds: later the server may have closed it, and a call on it
#: costs a credit.
STALE = 15.0


class Idle:
    """The connections to one URL that wait for a call; the oldest comes first."""

    def __init__(self, loop: asyncio.AbstractEventLoop, most: int) -> None:
        self._loop = loop
        self._most = most
        self._waiting: deque[tuple[float, Connection, _Guard]] = deque()
        self._closed = False

    def keep(self, connection: Connection) -> None:
        """Keep a connection whose reply was read to its end."""
        handler = connection.protocol
        transport = None if handler is None else handler.transport
        if handler is None or transport is None or handler.should_close:
            connection.close()
            return
        if self._closed or len(self._waiting) >= self._most:
            connection.close()
            return
        guard = _Guard(handler)
        transport.set_protocol(guard)
        self._waiting.append((self._loop.time(), connection, guard))

    def take(self) -> Connection | None:
        """Take a connection that is fit for a call; None: there is none."""
        now = self._loop.time()
        while self._waiting and now - self._waiting[0][0] >= QUIET:
            since, connection, guard = self._waiting.popleft()
            if now - since < STALE and guard.leave():
                return connection
            connection.close()
        return None

    def close(self) -> None:
        """Close them all, and keep no more."""
        self._closed = True
        while self._waiting:
            _, connection, guard = self._waiting.popleft()
            guard.leave()
            connection.close()


class _Guard(asyncio.Protocol):
    """Stands in for the reader of replies while no reply is due."""

    def __init__(self, handler: ResponseHandler) -> None:
        self._handler = handler
        self._silent = True

    def data_received(self, data: bytes) -> None:
        self._silent = False

    def eof_received(self) -> None:
        self._silent = False

    def connection_lost(self, error: Exception | None) -> None:
        self._silent = False
        self._handler.connection_lost(error)

    def leave(self) -> bool:
        """Give the connection back to its reader; tell whether it was silent."""
        transport = self._handler.transport
        if transport is None:
            return False
        transport.set_protocol(self._handler)
        # What has come in and was not read yet counts too, as does an end.
        poll = select.poll()
        poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        return self._silent and not self._handler.should_close and not poll.poll(0)
