"""The fast transport: a POST over a connection of aiohttp's connector, in one write.

aiohttp's session takes more time for a call than all that is done with its reply: it
makes a task and a hundred fields of it. Connections, names, TLS and the reading of
replies are aiohttp's; what calls do without is its session.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import cached_property

import aiohttp
from aiohttp.client_reqrep import ClientRequest, ConnectionKey
from aiohttp.connector import Connection
from aiohttp.helpers import parse_content_type
from aiohttp.http import RawResponseMessage
from aiohttp.streams import StreamReader
from multidict import CIMultiDictProxy
from yarl import URL

from batch.core.urls import masked
from batch.providers.idle import Idle
from batch.providers.proxies import on_the_way
from batch.providers.transport import Sending, without_login

#: What would end a header, and let another one begin.
_LINE_ENDS = frozenset("\r\n\0")


class Incoming:
    """A reply whose head is here, and its body as it comes in."""

    __slots__ = ("_line", "content", "headers", "reason", "status")

    def __init__(
        self, line: Line, head: RawResponseMessage, content: StreamReader
    ) -> None:
        self._line = line
        self.status = head.code
        self.reason = head.reason
        self.headers: CIMultiDictProxy[str] = head.headers
        self.content = content
        content.on_eof(line.let_go)

    @property
    def proxy(self) -> str | None:
        """The proxy that may have replied itself; None: the reply is the endpoint's."""
        return self._line.relay

    @property
    def content_type(self) -> str:
        found = self.headers.get("Content-Type")
        # What says nothing of how it is to be read.
        return parse_content_type(found)[0] if found else "application/octet-stream"

    def close(self) -> None:
        """Nothing more is read: a body that has not ended takes its line with it."""
        self._line.close()


class Wire:
    """The calls' way through a connector; each is sent once, whatever happens."""

    def __init__(
        self,
        connector: aiohttp.TCPConnector,
        headers: Mapping[str, str],
        connect: float,
        *,
        idle: int,
        proxy: str = "",
    ) -> None:
        """`idle`: connections kept for the next call to the same URL, at most.

        `proxy`: the setting; see providers.proxies.
        """
        self._proxy = proxy
        self._idle = idle
        self._connector = connector
        self._headers = headers
        self._timeout = aiohttp.ClientTimeout(total=None, connect=connect)
        self._targets: dict[str, _Target] = {}

    async def post(self, url: str, body: bytes, sending: Sending) -> Incoming:
        line = await self._connect(url)
        try:
            line.send(body, sending)
            return await line.receive()
        except BaseException:
            line.close()
            raise

    async def _connect(self, url: str) -> Line:
        """A connection to say something on: one that is kept, or a new one."""
        target = self._targets.get(url)
        if target is None:
            proxy = on_the_way(url, self._proxy)
            target = _Target(url, self._headers, proxy, self._idle)
            self._targets[url] = target
        if self._connector.closed:
            raise RuntimeError("the endpoint was closed")
        kept = target.idle.take()
        if kept is not None:
            return Line(kept, target)
        try:
            connection = await self._connector.connect(
                target.request, [], self._timeout
            )
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError from error
        return Line(connection, target)

    async def close(self) -> None:
        for target in self._targets.values():
            target.idle.close()


class Line:
    """A connection, for the length of one call."""

    __slots__ = ("_connection", "_target", "is_open", "protocol")

    def __init__(self, connection: Connection, target: _Target) -> None:
        assert connection.protocol is not None
        self._connection = connection
        self._target = target
        self.protocol = connection.protocol
        #: True until the call has handed the connection on or closed it.
        self.is_open = True

    @property
    def relay(self) -> str | None:
        """The proxy that passes requests on, as it may be shown."""
        return self._target.relay

    def send(self, body: bytes, sending: Sending) -> None:
        """Send the whole request at once."""
        protocol = self.protocol
        protocol.set_response_params(read_until_eof=True, auto_decompress=False)
        transport = protocol.transport
        if transport is None or transport.is_closing():
            raise aiohttp.ClientConnectionResetError("the connection was closed")
        # From here on it may have been received.
        sending.begun = True
        transport.write(b"%b%d\r\n\r\n%b" % (self._target.head, len(body), body))

    async def receive(self) -> Incoming:
        """The head of the reply, once it is here."""
        while True:
            head, content = await self.protocol.read()
            if not 100 <= head.code <= 199 or head.code == 101:
                return Incoming(self, head, content)

    def let_go(self) -> None:
        """Hand it on: its reply was read to its end."""
        if self.is_open:
            self.is_open = False
            if self._target.closes:
                self._connection.release()
            else:
                self._target.idle.keep(self._connection)

    def close(self) -> None:
        """Give it up, for nobody to use again; one that was let go of is another's."""
        if self.is_open:
            self.is_open = False
            self._connection.close()


class _Request(ClientRequest):
    """What the connector asks for the way, the same for every call."""

    @cached_property
    def connection_key(self) -> ConnectionKey:
        return super().connection_key


class _Target:
    """Where calls go, and what stands at the head of each."""

    def __init__(
        self, url: str, headers: Mapping[str, str], proxy: str | None, idle: int
    ) -> None:
        try:
            parsed = URL(url)
        except ValueError:
            raise aiohttp.InvalidURL(url) from None
        if parsed.scheme not in ("http", "https"):
            raise aiohttp.NonHttpUrlClientError(url)
        if not parsed.raw_host:
            raise aiohttp.InvalidURL(url)
        if parsed.raw_user and "Authorization" in headers:
            raise ValueError("two ways to say who calls")
        loop = asyncio.get_running_loop()
        self.closes = not idle
        self.idle = Idle(loop, idle)
        # The connector asks it for the way, and it knows the headers of every call.
        by, login = (None, {}) if proxy is None else without_login(proxy)
        self.request = _Request(
            "POST",
            parsed,
            headers=headers,
            loop=loop,
            proxy=by,
            proxy_headers=login if parsed.scheme == "https" else None,
        )
        sent = self.request.headers
        sent.pop("Content-Length", None)
        if self.closes:
            sent["Connection"] = "close"
        for name, value in sent.items():
            if not _LINE_ENDS.isdisjoint(f"{name}{value}"):
                raise ValueError("a header of more than one line")
        path = self.request.url.raw_path_qs
        lines = [f"{name}: {value}" for name, value in sent.items()]
        #: The proxy that reads the requests and passes them on.
        self.relay: str | None = None
        if proxy is not None and parsed.scheme == "http":
            # With TLS, the connector has the proxy make a tunnel.
            self.relay = masked(proxy)
            path = str(parsed.with_user(None).with_fragment(None))
            lines += [f"{name}: {value}" for name, value in login.items()]
        lines.insert(0, f"POST {path} HTTP/1.1")
        self.head = "\r\n".join([*lines, "Content-Length: "]).encode()
