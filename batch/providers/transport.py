"""Transports for calls: the interface of the two, and the choice between them.

Both send one POST and give its reply as it comes in. The session transport uses
aiohttp's public interface alone. The wire transport makes a call in less time, over
parts of aiohttp that may change with any minor version.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import aiohttp
from yarl import URL

#: Minor versions of aiohttp whose inner parts the wire transport was tested against.
WIRE_VERSIONS = ("3.14",)


class Sending:
    """Progress of a call, from which the meaning of its end is told."""

    __slots__ = ("begun", "ends_at", "incoming")

    def __init__(self, ends_at: float) -> None:
        #: Whether a byte may have reached the endpoint.
        self.begun = False
        #: Deadline of the whole call, by the loop's clock.
        self.ends_at = ends_at
        #: The reply, once that has begun and is read as an answer.
        self.incoming: Incoming | None = None


class Incoming(Protocol):
    """A reply whose head is here, and its body as it comes in."""

    @property
    def status(self) -> int: ...

    @property
    def reason(self) -> str | None: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    @property
    def content_type(self) -> str: ...

    @property
    def content(self) -> aiohttp.StreamReader: ...

    @property
    def proxy(self) -> str | None:
        """The proxy that may have replied itself; None: the reply is the endpoint's."""

    def close(self) -> None:
        """Read nothing more; a body that has not ended takes its connection along."""


class Transport(Protocol):
    """A way to send a POST: once, without redirects and decompression."""

    async def post(self, url: str, body: bytes, sending: Sending) -> Incoming:
        """Send a request; the head of its reply, once it is here."""

    async def close(self) -> None:
        """Close the connections that are kept; those of calls are not touched."""


def chosen(
    connector: aiohttp.TCPConnector,
    headers: Mapping[str, str],
    connect: float,
    *,
    idle: int,
    proxy: str = "",
    version: str = aiohttp.__version__,
) -> Transport:
    """The transport for this version of aiohttp.

    `headers`: of every call. `connect`: seconds to a connection. `idle`: how many
    connections the wire transport keeps for the next calls, at most; the session
    transport keeps none, since aiohttp's own pool does not see that bytes have come in
    on a connection. `proxy`: the setting; see providers.proxies.
    """
    made: Callable[..., Transport]
    if ".".join(version.split(".")[:2]) in WIRE_VERSIONS:
        # Another version may lack what it imports.
        from batch.providers.wire import Wire as made
    else:
        from batch.providers.session import SessionTransport as made
    return made(connector, headers, connect, idle=idle, proxy=proxy)


def without_login(proxy: str) -> tuple[URL, dict[str, str]]:
    """The proxy's URL, and the header with the user and password that it named.

    The header goes to the proxy: with CONNECT where the endpoint speaks TLS, else with
    the request.
    """
    url = URL(proxy)
    if url.user is None and url.password is None:
        return url, {}
    login = f"{url.user or ''}:{url.password or ''}".encode()
    header = {"Proxy-Authorization": f"Basic {b64encode(login).decode()}"}
    return url.with_user(None), header


def by_proxy(url: str, proxy: str | None) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the arguments and headers that send a session's request by a proxy."""
    if proxy is None:
        return {}, {}
    by, login = without_login(proxy)
    if url.lower().startswith("https:"):
        return {"proxy": by, "proxy_headers": login}, {}
    return {"proxy": by}, login
